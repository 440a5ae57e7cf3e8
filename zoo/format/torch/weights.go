package torch

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// store is one of the two folders in which an archive stores tensors.
type store struct {
	folder string // of the records
	suffix string // of the configuration's name
	prefix string // of records of elements
}

// stores are the one of parameters and buffers, and the one of constants and non-persistent buffers.
var stores = [2]store{
	{"data/weights/", "_weights_config.json", "weight_"},
	{"data/constants/", "_constants_config.json", "tensor_"},
}

// config is a store's configuration: its tensors by name.
type config struct {
	store
	text    *jsontext.Value
	tensors func(string) (format.Stored, bool) // of a checkpoint that replaces the parameters; nil: none does
	list    []*payload                         // in the order of the configuration
	payload map[string]*payload
}

// payload is one stored tensor.
type payload struct {
	config  *config
	name    string // "layer1.0.conv1.weight"
	tree    *jsontext.Value
	path    string // of its record
	pickled bool   // an object, not elements
	meta    *meta  // nil if there is no metadata
	record  *member
	data    io.ReaderAt // the record's bytes
	absent  bool        // the checkpoint lacks it
	fixed   bool        // its elements must not change
}

// meta is a tensor's metadata.
type meta struct {
	dtype   tensor.DType // Undefined where there is no type for it here
	size    int64        // of an element
	sizes   []int64      // negative where free
	strides []int64      // nil where one is free
	offset  int64
}

// dtypes are PyTorch's ScalarTypes as programs number them.
var dtypes = map[int64]tensor.DType{
	1: tensor.Uint8, 2: tensor.Int8, 3: tensor.Int16, 4: tensor.Int32, 5: tensor.Int64, 6: tensor.Float16, 7: tensor.Float32, 8: tensor.Float64,
	10: tensor.Complex64, 11: tensor.Complex128, 12: tensor.Bool, 13: tensor.BFloat16, 28: tensor.Uint16, 34: tensor.Uint32, 35: tensor.Uint64,
}

// otherSizes are the element sizes of types that are only copied: complex halfs and 8-bit floats.
var otherSizes = map[int64]int64{9: 4, 29: 1, 30: 1, 31: 1, 32: 1, 33: 1}

func (s store) open(a archive, program string) (*config, error) {
	name := s.folder + program + s.suffix
	if a.Named(name) == nil && a.Named(s.folder+program+".pt") != nil {
		return nil, fmt.Errorf("%s%s.pt: weights in one pickled file, as older versions of PyTorch wrote them: load it with torch.export.load and save it again with a newer one: %w", s.folder, program, format.ErrLimit)
	}
	text, err := a.json(name)
	if err != nil {
		return nil, err
	}
	return s.parse(text, name, func(path string) (*member, io.ReaderAt) {
		m := a.Named(s.folder + path)
		if m == nil {
			return nil, nil
		}
		return m, a.Data(m)
	})
}

// parse reads a configuration; find finds records.
func (s store) parse(text *jsontext.Value, name string, find func(path string) (*member, io.ReaderAt)) (*config, error) {
	c := &config{store: s, text: text, payload: map[string]*payload{}}
	list := text.Get("config")
	if list == nil || list.Kind != '{' {
		return nil, fmt.Errorf("%s: no object config: %w", name, format.ErrCorrupt)
	}
	for k, tree := range list.Items {
		p := &payload{config: c, name: list.Keys[k], tree: tree, pickled: tree.Get("use_pickle").Yes(false)}
		wrong := func(err error) error { return fmt.Errorf("%s: tensor %q: %w", name, p.name, err) }
		var ok bool
		if p.path, ok = tree.Get("path_name").Str(); !ok {
			return nil, wrong(fmt.Errorf("it has no path_name: %w", format.ErrCorrupt))
		}
		if p.record, p.data = find(p.path); p.record == nil {
			return nil, wrong(fmt.Errorf("the archive has no record %s%s: %w", s.folder, p.path, format.ErrCorrupt))
		}
		if said := tree.Get("tensor_meta"); !said.Null() {
			var err error
			if p.meta, err = parseMeta(said, nil); err != nil {
				return nil, wrong(err)
			}
		}
		if !p.pickled {
			if err := p.fits(); err != nil {
				return nil, wrong(err)
			}
		}
		c.list, c.payload[p.name] = append(c.list, p), p
	}
	return c, nil
}

// fits says whether the tensor's elements are in its record.
func (p *payload) fits() error {
	if p.meta == nil {
		return fmt.Errorf("it has no tensor_meta: %w", format.ErrCorrupt)
	}
	n, ok := tensor.Elements(p.meta.sizes)
	switch {
	case !ok || p.meta.strides == nil || p.meta.offset < 0:
		return fmt.Errorf("sizes, strides or storage_offset are no numbers: %w", format.ErrCorrupt)
	case n == 0:
		return nil
	}
	last, size := p.meta.offset, p.record.Len/p.meta.size
	for k, d := range p.meta.sizes {
		if stride := p.meta.strides[k]; stride < 0 || d > 1 && stride > (size-last)/(d-1) {
			last = size
			break
		}
		last += (d - 1) * p.meta.strides[k]
	}
	if last >= size || p.record.Len%p.meta.size != 0 {
		return fmt.Errorf("sizes %v with strides %v from element %d are not in record %s, which has %d bytes: %w",
			p.meta.sizes, p.meta.strides, p.meta.offset, p.path, p.record.Len, format.ErrCorrupt)
	}
	return nil
}

// maxRank bounds the axes of a tensor.
const maxRank = 32

// parseMeta reads a tensor's metadata. free gives the numbers of extents that depend on the input, by their expressions.
func parseMeta(v *jsontext.Value, free func(expr string) int64) (*meta, error) {
	code, ok := v.Get("dtype").Int()
	if !ok {
		return nil, fmt.Errorf("no dtype: %w", format.ErrCorrupt)
	}
	m := &meta{dtype: dtypes[code]}
	if m.size = int64(m.dtype.Size()); m.size == 0 {
		if m.size = otherSizes[code]; m.size == 0 {
			return nil, fmt.Errorf("dtype %d is not known: %w", code, format.ErrLimit)
		}
	}
	if layout, ok := v.Get("layout").Int(); ok && layout != 7 {
		return nil, fmt.Errorf("layout %d: only strided tensors are read: %w", layout, format.ErrLimit)
	}
	sizes, strides := v.Get("sizes").List(), v.Get("strides").List()
	if v.Get("sizes") == nil || len(sizes) != len(strides) || len(sizes) > maxRank {
		return nil, fmt.Errorf("%d sizes and %d strides: %w", len(sizes), len(strides), format.ErrCorrupt)
	}
	m.sizes, m.strides = make([]int64, len(sizes)), make([]int64, len(sizes))
	for k, s := range sizes {
		d, ok := s.Get("as_int").Int()
		if expr, is := s.Get("as_expr", "expr_str").Str(); !ok && is && free != nil {
			d, ok = free(expr), true
		} else if d < 0 {
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("size %d is no number: %w", k, format.ErrCorrupt)
		}
		m.sizes[k] = d
	}
	for k, s := range strides {
		d, ok := s.Get("as_int").Int()
		if !ok {
			m.strides = nil
			break
		}
		m.strides[k] = d
	}
	m.offset, _ = v.Get("storage_offset", "as_int").Int()
	return m, nil
}

// stored are the tensor's axes in the order in which the record stores them, the slowest first. The result is false if the
// elements are not contiguous: some are skipped, or read several times.
func (m *meta) stored() ([]int, bool) {
	order := make([]int, len(m.sizes))
	for k := range order {
		order[k] = k
	}
	if !slices.Equal(m.strides, tensor.Strides(m.sizes)) {
		slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(m.strides[j], m.strides[i]) })
	}
	perm, step := make([]int, len(order)), int64(1)
	for p, k := range slices.Backward(order) {
		if perm[k] = p; m.sizes[k] == 1 {
			continue
		}
		if m.strides[k] != step {
			return nil, false
		}
		step *= m.sizes[k]
	}
	return perm, true
}
