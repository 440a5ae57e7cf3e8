package checkpoint

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// container is a file with a pickle and storages.
type container interface {
	// root is the pickled object.
	root() pickle.Value
	// storage are the bytes of a storage; nil if there is none.
	storage(key string) *io.SectionReader
}

// storage is one storage that the pickle names.
type storage struct {
	key   string
	class pickle.Global // its type
	where pickle.Value  // the device
	data  *io.SectionReader
	views []*view
	named int // how often the pickle names it
}

// view is a tensor: a view of a storage.
type view struct {
	*state.Tensor
	dict    *dict
	object  *pickle.Object // the call that constructs it
	wrapper *pickle.Object // the call that makes it a parameter, or nil
	storage *storage
	offset  int64
	strides []int64
	size    int64    // of an element
	span    [2]int64 // of bytes in the storage
}

// dict is one state dict.
type dict struct {
	name  string
	items *[]pickle.Item
	views map[string]*view // by key
}

// tree is the content of the pickle.
type tree struct {
	box      container
	value    pickle.Value
	storages map[string]*storage
	dicts    []*dict
	views    map[*state.Tensor]*view
	held     map[pickle.Value]int // the number of containers that hold an object
	warnings []string
}

// allowed are the functions and classes whose calls are plain data.
var allowed = map[string]bool{
	"collections.OrderedDict": true, "collections.Counter": true, "__builtin__.set": true, "builtins.set": true,
	"__builtin__.complex": true, "builtins.complex": true, "__builtin__.bytearray": true, "builtins.bytearray": true, "_codecs.encode": true,
	"torch.Size": true, "torch.device": true, "torch.serialization._get_layout": true, "torch.storage.UntypedStorage": true, "torch.storage.TypedStorage": true,
	"torch._utils._rebuild_tensor": true, "torch._utils._rebuild_tensor_v2": true, "torch._utils._rebuild_tensor_v3": true,
	"torch._utils._rebuild_parameter": true, "torch._utils._rebuild_parameter_with_state": true,
	"torch._utils._rebuild_qtensor": true, "torch._utils._rebuild_sparse_tensor": true, "torch._utils._rebuild_meta_tensor_no_storage": true,
	"torch.per_tensor_affine": true, "torch.per_channel_affine": true, "torch.nn.parameter.Parameter": true, "torch.Tensor": true,
	"torch._tensor._rebuild_from_type_v2": true,
}

// types are the element types by class of storage or name of dtype; Undefined if this program has no such type.
var types = map[string]tensor.DType{
	"FloatStorage": tensor.Float32, "DoubleStorage": tensor.Float64, "HalfStorage": tensor.Float16, "BFloat16Storage": tensor.BFloat16,
	"LongStorage": tensor.Int64, "IntStorage": tensor.Int32, "ShortStorage": tensor.Int16, "CharStorage": tensor.Int8, "ByteStorage": tensor.Uint8, "BoolStorage": tensor.Bool,
	"ComplexFloatStorage": tensor.Complex64, "ComplexDoubleStorage": tensor.Complex128, "UntypedStorage": tensor.Uint8,
	"QInt8Storage": tensor.Undefined, "QUInt8Storage": tensor.Undefined, "QInt32Storage": tensor.Undefined, "QUInt4x2Storage": tensor.Undefined, "QUInt2x4Storage": tensor.Undefined,
	"float32": tensor.Float32, "float64": tensor.Float64, "float16": tensor.Float16, "bfloat16": tensor.BFloat16, "int64": tensor.Int64, "int32": tensor.Int32,
	"int16": tensor.Int16, "int8": tensor.Int8, "uint8": tensor.Uint8, "bool": tensor.Bool, "complex64": tensor.Complex64, "complex128": tensor.Complex128, "complex32": tensor.Undefined,
	"uint16": tensor.Uint16, "uint32": tensor.Uint32, "uint64": tensor.Uint64, "qint8": tensor.Undefined, "quint8": tensor.Undefined, "qint32": tensor.Undefined,
	"float8_e4m3fn": tensor.Undefined, "float8_e5m2": tensor.Undefined, "float8_e4m3fnuz": tensor.Undefined, "float8_e5m2fnuz": tensor.Undefined, "float8_e8m0fnu": tensor.Undefined,
}

// sizes are the element sizes of types that are only copied.
var sizes = map[string]int64{
	"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1, "complex32": 4, "qint8": 1, "quint8": 1, "qint32": 4,
	"float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
}

// sizeOf is the size of an element, 0 where the type is not known.
func sizeOf(name string) int64 { return max(int64(types[name].Size()), sizes[name]) }

// parse finds storages and tensors in a pickle, and refuses all objects that are neither these nor plain data.
func parse(box container) (*tree, error) {
	t := &tree{box: box, value: box.root(), storages: map[string]*storage{}, views: map[*state.Tensor]*view{}, held: map[pickle.Value]int{}}
	err := pickle.Walk(t.value, func(v pickle.Value) error {
		for _, p := range pickle.Parts(v) {
			switch p := p.(type) {
			case *pickle.Object:
				t.held[p]++
			case *pickle.Persistent:
				s, err := t.storageOf(p)
				if err != nil {
					return err
				}
				s.named++
			}
		}
		switch v := v.(type) {
		case pickle.Global:
			return known(v)
		case *pickle.Persistent: // the root may be one
			_, err := t.storageOf(v)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := t.find("", t.value, 0, map[pickle.Value]bool{}); err != nil {
		return nil, err
	}
	if len(t.dicts) == 0 {
		return nil, fmt.Errorf("it holds no dict of tensors: save model.state_dict(): %w", format.ErrCorrupt)
	}
	t.shared()
	return t, nil
}

// known refuses a function or class that is no plain data.
func known(g pickle.Global) error {
	_, isType := types[g.Name]
	if allowed[g.String()] || isType && (g.Module == "torch" || g.Module == "torch.storage") {
		return nil
	}
	return fmt.Errorf("its pickle calls for %.200q, which is neither data nor a tensor and is not executed: save model.state_dict() alone: %w", g, format.ErrLimit)
}

// storageOf is the storage that an identifier names.
func (t *tree) storageOf(p *pickle.Persistent) (*storage, error) {
	id, ok := p.ID.(*pickle.Tuple)
	wrong := func(what string, args ...any) error {
		return fmt.Errorf("a storage: %s: %w", fmt.Sprintf(what, args...), format.ErrCorrupt)
	}
	if !ok || len(id.Items) < 5 || id.Items[0] != "storage" {
		return nil, wrong("its identifier is not read")
	}
	class, isClass := id.Items[1].(pickle.Global)
	key, isKey := id.Items[2].(string)
	count, isCount := pickle.Int(id.Items[4])
	if !isClass || !isKey || !isCount || count < 0 {
		return nil, wrong("its identifier has no type, key or number of elements")
	}
	if len(id.Items) > 5 && id.Items[5] != (pickle.None{}) {
		return nil, fmt.Errorf("storage %.40q is a part of another one: load the file with torch.load and save it again: %w", key, format.ErrLimit)
	}
	size := sizeOf(class.Name)
	if size == 0 {
		return nil, wrong("%.40q is of type %.100q, which is not known", key, class)
	}
	data := t.box.storage(key)
	switch {
	case data == nil:
		return nil, wrong("%.40q is not in the file", key)
	case count > (1<<62)/size || data.Size() != count*size:
		return nil, wrong("%.40q has %d elements of %d bytes by the pickle, and %d bytes in the file", key, count, size, data.Size())
	}
	s := t.storages[key]
	if s == nil {
		s = &storage{key: key, class: class, where: id.Items[3], data: data}
		t.storages[key] = s
	}
	if s.class != class {
		return nil, wrong("%.40q is of two types, %s and %s", key, s.class, class)
	}
	return s, nil
}

// maxDicts bounds the depth at which dicts of tensors are looked for.
const maxDicts = 8

// find looks for dicts of tensors.
func (t *tree) find(path string, v pickle.Value, depth int, seen map[pickle.Value]bool) error {
	var items *[]pickle.Item
	switch v := v.(type) {
	case *pickle.Dict:
		items = &v.Items
	case *pickle.Object:
		items = &v.Dict
	}
	if items == nil || depth > maxDicts || seen[v] {
		return nil
	}
	seen[v] = true
	d := &dict{name: path, items: items, views: map[string]*view{}}
	for _, i := range *items {
		key, ok := i.Key.(string)
		if !ok {
			continue
		}
		w, err := t.view(i.Value)
		if err != nil {
			return fmt.Errorf("tensor %.100q: %w", key, err)
		}
		if w == nil {
			below := key
			if path != "" {
				below = path + "." + key
			}
			if strings.Contains(key, "optim") {
				t.warnings = append(t.warnings, fmt.Sprintf("%q is of the parameters before folding: training cannot go on with it", below))
				continue
			}
			if err := t.find(below, i.Value, depth+1, seen); err != nil {
				return err
			}
			continue
		}
		if t.held[w.object] > 1 || w.wrapper != nil && t.held[w.wrapper] > 1 {
			w.Fixed = "the checkpoint holds it in several places"
		}
		if d.views[key] != nil {
			return fmt.Errorf("tensor %.100q is there twice: %w", key, format.ErrCorrupt)
		}
		w.dict, w.Name, w.Dict = d, key, path
		d.views[key] = w
	}
	if len(d.views) > 0 {
		t.dicts = append(t.dicts, d)
	}
	return nil
}

// view reads a tensor; nil if the value is not a tensor, or one of a kind that is only copied.
func (t *tree) view(v pickle.Value) (*view, error) {
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil, nil
	}
	name, _ := o.Func.(pickle.Global)
	args := o.Args.Items
	switch name.String() {
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
		if len(args) == 0 {
			return nil, fmt.Errorf("a parameter of nothing: %w", format.ErrCorrupt)
		}
		w, err := t.view(args[0])
		if w != nil {
			if w.wrapper != nil {
				return nil, fmt.Errorf("a parameter of a parameter: %w", format.ErrCorrupt)
			}
			w.wrapper = o
		}
		return w, err
	case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3":
	default:
		return nil, nil
	}
	wrong := fmt.Errorf("its storage, offset, sizes and strides are not read: %w", format.ErrCorrupt)
	if len(args) < 4 {
		return nil, wrong
	}
	p, ok := args[0].(*pickle.Persistent)
	if !ok {
		return nil, wrong
	}
	s, err := t.storageOf(p)
	if err != nil {
		return nil, err
	}
	w := &view{Tensor: &state.Tensor{}, object: o, storage: s}
	var okay [3]bool
	w.offset, okay[0] = pickle.Int(args[1])
	w.Shape, okay[1] = pickle.Ints(size(args[2]))
	w.strides, okay[2] = pickle.Ints(args[3])
	if okay != [3]bool{true, true, true} || len(w.Shape) != len(w.strides) || len(w.Shape) > maxRank {
		return nil, wrong
	}
	of := s.class.Name
	if strings.HasSuffix(name.Name, "_v3") {
		g := pickle.Global{}
		if len(args) > 6 {
			g, _ = args[6].(pickle.Global)
		}
		of = g.Name
	}
	w.DType, w.size = types[of], sizeOf(of)
	if w.size == 0 {
		return nil, fmt.Errorf("its type %.100q is not known: %w", of, format.ErrLimit)
	}
	if err := w.place(); err != nil {
		return nil, err
	}
	return w, nil
}

// size is the tuple of a torch.Size.
func size(v pickle.Value) pickle.Value {
	if o, ok := v.(*pickle.Object); ok && o.Func == (pickle.Global{Module: "torch", Name: "Size"}) && len(o.Args.Items) == 1 {
		return o.Args.Items[0]
	}
	return v
}

const (
	maxRank   = 32
	maxPermed = 256 << 20 // bytes of a tensor with permuted axes, which is read whole
)

// place finds the tensor's elements in its storage.
func (w *view) place() error {
	n, ok := tensor.Elements(w.Shape)
	all := w.storage.data.Size() / w.size
	last := w.offset
	for k, d := range w.Shape {
		if !ok || w.strides[k] < 0 || n > 0 && d > 1 && w.strides[k] > (all-last)/(d-1) || last < 0 {
			ok = false
			break
		}
		if n > 0 {
			last += (d - 1) * w.strides[k]
		}
	}
	if !ok || w.offset < 0 || w.offset > all || n > 0 && last >= all {
		return fmt.Errorf("sizes %v with strides %v from element %d are not in storage %.40q, which has %d elements: %w", w.Shape, w.strides, w.offset, w.storage.key, all, format.ErrCorrupt)
	}
	if n > 0 {
		w.span = [2]int64{w.offset * w.size, (last + 1) * w.size}
	}
	w.storage.views = append(w.storage.views, w)
	perm, dense := stored(w.Shape, w.strides)
	data := io.NewSectionReader(w.storage.data, w.offset*w.size, n*w.size)
	switch {
	case !dense:
		w.Fixed = "its elements do not stand side by side"
	case slices.IsSorted(perm):
		w.Data = data
	case n*w.size > maxPermed:
		w.Fixed = "its axes are stored in another order, and it is too large to be put in order"
	default:
		at := make([]int64, len(perm))
		for k, p := range perm {
			at[p] = w.Shape[k]
		}
		w.Data = tensor.Permuted(data, at, perm, int(w.size))
	}
	if w.Data == nil {
		w.Data = unread{}
	}
	return nil
}

// unread are the elements of a tensor that is never read.
type unread struct{}

func (unread) ReadAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("its elements do not stand side by side: %w", format.ErrLimit)
}

// stored are a tensor's axes in the order in which its storage has them, the slowest first. The result is false if elements
// are skipped, or read several times.
func stored(shape, strides []int64) ([]int, bool) {
	order := make([]int, len(shape))
	for k := range order {
		order[k] = k
	}
	in := tensor.Strides(shape)
	if !slices.EqualFunc(order, order, func(k, _ int) bool { return strides[k] == in[k] || shape[k] == 1 }) {
		slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(strides[j], strides[i]) })
	}
	perm, step := make([]int, len(order)), int64(1)
	for p, k := range slices.Backward(order) {
		if perm[k] = p; shape[k] == 1 {
			continue
		}
		if strides[k] != step {
			return nil, false
		}
		step *= shape[k]
	}
	return perm, true
}

// shared records which tensors share elements.
func (t *tree) shared() {
	for _, s := range t.storages {
		slices.SortStableFunc(s.views, func(a, b *view) int { return cmp.Compare(a.span[0], b.span[0]) })
		var widest *view
		for _, w := range s.views {
			if widest != nil && w.span[0] < widest.span[1] && w.span[1] > w.span[0] {
				w.Fixed = fmt.Sprintf("it shares elements with %s", widest)
				widest.Fixed = fmt.Sprintf("it shares elements with %s", w)
			}
			if widest == nil || w.span[1] > widest.span[1] {
				widest = w
			}
		}
	}
}

// list are the tensors, in the order of their dicts.
func (t *tree) list() (list []*state.Tensor) {
	for _, d := range t.dicts {
		for _, i := range *d.items {
			if key, ok := i.Key.(string); ok && d.views[key] != nil {
				w := d.views[key]
				t.views[w.Tensor] = w
				list = append(list, w.Tensor)
			}
		}
	}
	return list
}
