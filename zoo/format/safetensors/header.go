package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// shard is one open file.
type shard struct {
	path     string
	f        *os.File
	from     int64  // of the elements, behind the header
	size     int64  // of the file
	metadata []byte // as written in the header; nil if there is none
	first    bool   // the metadata comes before all tensors
	entries  []*entry
}

// entry is one tensor of a header.
type entry struct {
	name     string
	dtype    string
	shape    []int64
	from, to int64 // behind the header
}

// maxHeader bounds a header, which has about a hundred bytes for each tensor.
const maxHeader = 16 << 20

// bits are the sizes of elements. Some types are only copied.
var bits = map[string]int64{
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}

var dtypes = map[string]tensor.DType{
	"BOOL": tensor.Bool, "U8": tensor.Uint8, "I8": tensor.Int8, "I16": tensor.Int16, "U16": tensor.Uint16, "I32": tensor.Int32, "U32": tensor.Uint32,
	"I64": tensor.Int64, "U64": tensor.Uint64, "F16": tensor.Float16, "BF16": tensor.BFloat16, "F32": tensor.Float32, "F64": tensor.Float64, "C64": tensor.Complex64,
}

// openShard opens a file and reads its header. Nothing but the header is read.
func openShard(path string) (s *shard, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s = &shard{path: path, f: f}
	if err := s.header(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return s, nil
}

func (s *shard) header() error {
	info, err := format.Regular(s.f.Stat())
	if err != nil {
		return err
	}
	s.size = info.Size()
	var length [8]byte
	if _, err := s.f.ReadAt(length[:], 0); err != nil {
		if err == io.EOF {
			return fmt.Errorf("%d bytes are no safetensors file: %w", s.size, format.ErrCorrupt)
		}
		return err
	}
	n := binary.LittleEndian.Uint64(length[:])
	switch {
	case n > uint64(s.size-8):
		return fmt.Errorf("a header of %d bytes is claimed, the file has %d: not a safetensors file, or one that was cut off: %w", n, s.size, format.ErrCorrupt)
	case n > maxHeader:
		return fmt.Errorf("a header of %d bytes: %w", n, format.ErrLimit)
	}
	text := make([]byte, n)
	if _, err := s.f.ReadAt(text, 8); err != nil {
		return err
	}
	s.from = 8 + int64(n)
	if err := s.parse(text); err != nil {
		return fmt.Errorf("the header: %w", err)
	}
	return s.laidOut()
}

// parse reads the header's text: an object of tensors by name, and of the metadata.
func (s *shard) parse(text []byte) error {
	if len(text) == 0 || text[0] != '{' {
		return fmt.Errorf("it is no JSON object: %w", format.ErrCorrupt)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", err, format.ErrCorrupt)
		}
		name := key.(string) // keys of an object are strings
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fmt.Errorf("%.100q: %w: %w", name, err, format.ErrCorrupt)
		}
		if seen[name] {
			return fmt.Errorf("tensor %.100q is there twice: %w", name, format.ErrCorrupt)
		}
		seen[name] = true
		if name == "__metadata__" {
			var texts map[string]string
			if err := json.Unmarshal(raw, &texts); err != nil {
				return fmt.Errorf("__metadata__: %w: %w", err, format.ErrCorrupt)
			}
			s.metadata, s.first = slices.Clone(raw), len(s.entries) == 0
			continue
		}
		e, err := parseEntry(name, raw)
		if err != nil {
			return fmt.Errorf("tensor %.100q: %w", name, err)
		}
		s.entries = append(s.entries, e)
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows its object: %w", format.ErrCorrupt)
	}
	return nil
}

// maxRank bounds the axes of a tensor.
const maxRank = 32

func parseEntry(name string, raw []byte) (*entry, error) {
	var said struct {
		DType   *string  `json:"dtype"`
		Shape   *[]int64 `json:"shape"`
		Offsets []int64  `json:"data_offsets"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&said); err != nil {
		return nil, fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	if said.DType == nil || said.Shape == nil || len(said.Offsets) != 2 {
		return nil, fmt.Errorf("it has no dtype, shape or two data_offsets: %w", format.ErrCorrupt)
	}
	e := &entry{name: name, dtype: *said.DType, shape: *said.Shape, from: said.Offsets[0], to: said.Offsets[1]}
	size := bits[e.dtype]
	n, ok := tensor.Elements(e.shape)
	switch {
	case size == 0:
		return nil, fmt.Errorf("dtype %.20q is not known: %w", e.dtype, format.ErrLimit)
	case !ok || len(e.shape) > maxRank || n > (1<<62)/size:
		return nil, fmt.Errorf("shape %v: %w", e.shape[:min(len(e.shape), maxRank)], format.ErrCorrupt)
	case e.from < 0 || e.to < e.from || n*size%8 != 0 || e.to-e.from != n*size/8:
		return nil, fmt.Errorf("%d elements of %s are not bytes %d to %d: %w", n, e.dtype, e.from, e.to, format.ErrCorrupt)
	}
	return e, nil
}

// laidOut says whether the tensors lie one behind the other and fill the file.
func (s *shard) laidOut() error {
	at := int64(0)
	for _, e := range s.order() {
		switch {
		case e.from < at:
			return fmt.Errorf("tensor %.100q: another tensor has its bytes from %d on too: %w", e.name, e.from, format.ErrCorrupt)
		case e.from > at:
			return fmt.Errorf("tensor %.100q: no tensor has bytes %d to %d before it: %w", e.name, at, e.from, format.ErrCorrupt)
		}
		at = e.to
	}
	if at != s.size-s.from {
		return fmt.Errorf("its tensors have %d bytes, the file has %d behind its header: it was cut off, or something follows: %w", at, s.size-s.from, format.ErrCorrupt)
	}
	return nil
}

// order are the tensors in the order of their bytes.
func (s *shard) order() []*entry {
	list := slices.Clone(s.entries)
	slices.SortStableFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	return list
}

// encode is a header with these tensors, padded so that the elements behind it start at a multiple of eight bytes.
func (s *shard) encode(entries []*entry) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	put := func(name string, value []byte) error {
		key, err := quoted(name)
		if err != nil {
			return err
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
		return nil
	}
	if s.metadata != nil && s.first {
		if err := put("__metadata__", s.metadata); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		shape := slices.Clone(e.shape)
		if shape == nil {
			shape = []int64{}
		}
		value, err := json.Marshal(struct {
			DType   string   `json:"dtype"`
			Shape   []int64  `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{e.dtype, shape, [2]int64{e.from, e.to}})
		if err == nil {
			err = put(e.name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.metadata != nil && !s.first {
		if err := put("__metadata__", s.metadata); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	out := b.Bytes()
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, nil
}

// quoted is a JSON string with the fewest escapes.
func quoted(s string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
