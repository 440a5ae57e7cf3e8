package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// The fields of TensorProto.
const (
	tensorDims         = 1
	tensorDataType     = 2
	tensorFloatData    = 4
	tensorInt32Data    = 5
	tensorStringData   = 6
	tensorInt64Data    = 7
	tensorName         = 8
	tensorRawData      = 9
	tensorDoubleData   = 10
	tensorUint64Data   = 11
	tensorExternalData = 13
	tensorLocation     = 14
)

// stored says where a tensor is in the file.
type stored struct {
	name     string
	where    format.Span // the TensorProto's content
	external *external
}

// external is where a tensor's elements lie in another file.
type external struct {
	path     string // relative to the model's folder, cleaned
	offset   int64
	length   int64
	location *wire.Field // the entry that has the path
	checksum *wire.Field // the entry that has the whole file's hash; nil: there is none
}

// maxDecoded bounds the elements of a tensor that has to be decoded as a whole, since it is stored as varints.
const maxDecoded = 1 << 26

// tensor reads a TensorProto: its type and shape, and where its elements lie.
func (x *index) tensor(where format.Span) (*model.Constant, *stored, error) {
	s := &stored{where: where}
	c := &model.Constant{Shape: []int64{}, Source: s}
	var payload []wire.Field
	var entries map[string]string
	var location, checksum *wire.Field
	isExternal := false
	err := x.Each(where, func(f wire.Field) (err error) {
		switch f.Number {
		case tensorDims:
			c.Shape, err = x.Numbers(c.Shape, f, 64)
		case tensorDataType:
			c.DType = tensor.DType(f.Value)
		case tensorName:
			s.name, err = x.Text(f)
		case tensorLocation:
			isExternal = f.Value == 1
		case tensorExternalData:
			var key, value string
			key, value, err = entry(&x.Reader, f)
			here := f // whose address is taken, in few tensors
			if entries == nil {
				entries = map[string]string{}
			}
			switch entries[key] = value; key {
			case "location":
				location = &here
			case "checksum":
				checksum = &here
			}
		case tensorFloatData, tensorInt32Data, tensorStringData, tensorInt64Data, tensorRawData, tensorDoubleData, tensorUint64Data:
			payload = append(payload, f)
			if len(payload) > maxDecoded {
				err = fmt.Errorf("byte %d: a tensor in more than %d pieces: %w", f.All.From, maxDecoded, format.ErrLimit)
			}
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	elements, ok := c.Elements()
	if !ok {
		return nil, nil, wire.Corrupt(where.From, "tensor %q has shape %v", s.name, c.Shape)
	}
	want := elements * int64(c.DType.Size())
	if elements > 0 && want/elements != int64(c.DType.Size()) {
		return nil, nil, wire.Corrupt(where.From, "tensor %q of shape %v has too many elements", s.name, c.Shape)
	}
	switch {
	case isExternal:
		if err := x.open(s, c, entries, want); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", s.name, err)
		}
		s.external.location, s.external.checksum = location, checksum
	case c.DType.Size() == 0: // strings, packed 4-bit types: copied, never read
		c.Data = io.NewSectionReader(x.File, 0, 0)
	case len(payload) == 1 && contiguous(payload[0], c.DType):
		if got := payload[0].Body.Len(); got != want {
			return nil, nil, wire.Corrupt(payload[0].All.From, "tensor %q of shape %v and type %v needs %d bytes, has %d", s.name, c.Shape, c.DType, want, got)
		}
		c.Data = io.NewSectionReader(x.File, payload[0].Body.From, want)
	default:
		if elements > maxDecoded {
			return nil, nil, fmt.Errorf("tensor %q has %d elements in a form that has to be decoded as a whole: %w", s.name, elements, format.ErrLimit)
		}
		// Every element takes at least a byte: the field's length bounds the number of elements.
		room := int64(0)
		for _, f := range payload {
			room += f.Body.Len()
		}
		if room < elements {
			return nil, nil, wire.Corrupt(where.From, "tensor %q of shape %v has %d bytes of elements", s.name, c.Shape, room)
		}
		c.Data = tensor.Lazily((&decoded{x.File, x.Size, payload, c.DType, elements, s.name}).decode)
	}
	return c, s, nil
}

// entry reads a StringStringEntryProto.
func entry(r *wire.Reader, f wire.Field) (key, value string, err error) {
	err = r.Each(f.Body, func(g wire.Field) (err error) {
		switch g.Number {
		case 1:
			key, err = r.Text(g)
		case 2:
			value, err = r.Text(g)
		}
		return err
	})
	return key, value, err
}

// contiguous says whether a payload field holds the elements as they are.
func contiguous(f wire.Field, d tensor.DType) bool {
	if f.Kind != protowire.BytesType {
		return false
	}
	switch f.Number {
	case tensorRawData:
		return true
	case tensorFloatData:
		return d == tensor.Float32
	case tensorDoubleData:
		return d == tensor.Float64
	}
	return false
}

// decoded is a tensor that is stored as varints, or one field an element.
type decoded struct {
	file     *os.File
	size     int64
	payload  []wire.Field
	dtype    tensor.DType
	elements int64
	name     string
}

// decode is its elements.
func (d *decoded) decode() ([]byte, error) {
	w := &wire.Reader{File: d.file, Size: d.size}
	size := d.dtype.Size()
	out := make([]byte, 0, d.elements*int64(size))
	put := func(bits uint64) error {
		if len(out) == cap(out) {
			return wire.Corrupt(d.payload[0].All.From, "tensor %q has more than %d elements", d.name, d.elements)
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], bits)
		out = append(out, b[:size]...)
		return nil
	}
	for _, f := range d.payload {
		switch {
		case f.Kind != protowire.BytesType && f.Kind != protowire.VarintType:
			bits, err := w.Fixed(f.Body)
			if err == nil {
				err = put(bits)
			}
			if err != nil {
				return nil, err
			}
		case f.Number == tensorFloatData || f.Number == tensorDoubleData || f.Number == tensorRawData:
			b := make([]byte, f.Body.Len())
			if _, err := d.file.ReadAt(b, f.Body.From); err != nil {
				return nil, err
			}
			if len(out)+len(b) > cap(out) {
				return nil, wire.Corrupt(f.All.From, "tensor %q has more than %d elements", d.name, d.elements)
			}
			out = append(out, b...)
		default:
			var list []int64
			list, err := w.Numbers(nil, f, maxDecoded)
			if err != nil {
				return nil, err
			}
			for _, v := range list {
				if err := put(uint64(v)); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(out) != cap(out) {
		return nil, wire.Corrupt(d.payload[0].All.From, "tensor %q has %d of %d bytes of elements", d.name, len(out), cap(out))
	}
	return out, nil
}

// open opens the external file that holds a tensor's elements.
func (x *index) open(s *stored, c *model.Constant, entries map[string]string, want int64) error {
	e := &external{path: spelled(entries["location"]), length: want}
	for key, into := range map[string]*int64{"offset": &e.offset, "length": &e.length} {
		if text, ok := entries[key]; ok {
			v, err := strconv.ParseInt(text, 10, 64)
			if err != nil || v < 0 {
				return fmt.Errorf("external %s %q: %w", key, text, format.ErrCorrupt)
			}
			*into = v
		}
	}
	if e.length != want {
		return fmt.Errorf("shape %v and type %v want %d bytes, the external data has %d: %w", c.Shape, c.DType, want, e.length, format.ErrCorrupt)
	}
	f, size, err := x.other(e.path)
	if err != nil {
		return err
	}
	if e.offset > size || e.length > size-e.offset {
		return fmt.Errorf("external data %s: bytes %d to %d of %d: %w", e.path, e.offset, e.offset+e.length, size, format.ErrCorrupt)
	}
	s.external = e
	c.Data = io.NewSectionReader(f, e.offset, e.length)
	return nil
}

// spelled is a cleaned location: "w.bin", "./w.bin" and "x/../w.bin" are one file.
func spelled(location string) string {
	if location == "" {
		return ""
	}
	return path.Clean(location)
}

// maxOthers bounds the files of a model's external data.
const maxOthers = 4096

// namesOther says whether rel can be the path of a further file of a model that has so many.
func namesOther(rel string, known int) error {
	if known >= maxOthers {
		return fmt.Errorf("external data in more than %d files: %w", maxOthers, format.ErrLimit)
	}
	if rel == "" || !filepath.IsLocal(filepath.FromSlash(rel)) || strings.Contains(rel, "\\") {
		return fmt.Errorf("external data %q: %w", rel, format.ErrOutside)
	}
	return nil
}

// other opens another file of the model, once. It has to lie below the model's folder, or below the folder of the file that
// the model file links to: Hugging Face's cache has both as links into a folder of contents.
func (x *index) other(rel string) (*os.File, int64, error) {
	if o := x.others[rel]; o != nil {
		return o.file, o.size, nil
	}
	if err := namesOther(rel, len(x.others)); err != nil {
		return nil, 0, err
	}
	own := filepath.Join(filepath.Dir(x.path), filepath.FromSlash(rel))
	real, err := filepath.EvalSymlinks(own)
	if err != nil {
		return nil, 0, fmt.Errorf("external data: %w", err)
	}
	if inside, err := x.inside(real); err != nil || !inside {
		return nil, 0, errors.Join(fmt.Errorf("external data %q links to %s: %w", rel, real, format.ErrOutside), err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, 0, fmt.Errorf("external data: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("external data %q is not a regular file: %w", rel, format.ErrCorrupt)
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, 0, fmt.Errorf("external data: %w", err)
	}
	x.others[rel] = &otherFile{f, own, info.Size()}
	x.order = append(x.order, rel)
	return f, info.Size(), nil
}

// inside says whether a file lies below the folder of the model file, or of the file that this links to.
func (x *index) inside(file string) (bool, error) {
	folder, err := filepath.EvalSymlinks(filepath.Dir(x.path))
	if err != nil {
		return false, err
	}
	target, err := filepath.EvalSymlinks(x.path)
	if err != nil {
		return false, err
	}
	for _, root := range []string{folder, filepath.Dir(target)} {
		if rel, err := filepath.Rel(root, file); err == nil && filepath.IsLocal(rel) {
			return true, nil
		}
	}
	return false, nil
}

type otherFile struct {
	file *os.File
	path string
	size int64
}
