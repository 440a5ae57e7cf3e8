package keras

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// ref names a tensor: an output of a call.
type ref struct {
	tree   *jsontext.Value // a list of the layer's name, the call and the output; nil in a sequential model
	layer  *layer          // nil for the input of a sequential model
	call   int             // counted from 0
	output int
	shape  []int64 // if it is given; −1 for free extents
	dtype  tensor.DType
	tensor bool // it is in Keras 3's form, with shape and type
}

// What references are for.
const (
	reading = 0 // what a layer reads
	facing  = 1 // an input or output of the model
)

// count makes references to the calls of models that are used as layers count from 0. In most versions of Keras the model's
// own construction counts as such a model's first call.
func (p *parser) count(refs []*ref, what int) {
	of := map[*layer][]*ref{}
	for _, r := range refs {
		if r.layer.inner != nil {
			of[r.layer] = append(of[r.layer], r)
		}
	}
	for l, refs := range of {
		base := 1
		if p.major >= 3 && (what == reading || l.class == "Sequential") {
			base = 0
		}
		outside := func(r *ref) bool { return r.call < base || r.call >= base+len(l.calls) }
		if slices.ContainsFunc(refs, outside) {
			base = 1 - base
		}
		l.base[what] = base
		for _, r := range refs {
			r.call -= base
		}
	}
}

// refs are the tensors that a value names, in the order in which Keras flattens nested structures: lists in order, dicts by
// sorted keys.
func (n *network) refs(v *jsontext.Value) ([]*ref, error) {
	if v == nil {
		return nil, nil
	}
	var list []*ref
	var walk func(*jsontext.Value) error
	walk = func(v *jsontext.Value) error {
		if class, _ := v.Get("class_name").Str(); class == "__keras_tensor__" {
			r, ok := n.ref(v.Get("config", "keras_history"))
			if !ok {
				return fmt.Errorf("a tensor of no layer of the model: %w", format.ErrCorrupt)
			}
			r.tensor = true
			r.shape, r.dtype = shapeOf(v.Get("config", "shape")), tensor.Float32
			if name, ok := v.Get("config", "dtype").Str(); ok {
				r.dtype = dtypes[name]
			}
			list = append(list, r)
			return nil
		}
		items := v.Items
		if r, ok := n.ref(v); ok {
			list, items = append(list, r), v.Items[3:]
		} else if isRef(v) {
			name, _ := v.Items[0].Str()
			if v.Items[1].String() != "-1" { // otherwise a constant, as TensorFlow's Keras writes it
				return fmt.Errorf("there is no layer %q: %w", name, format.ErrCorrupt)
			}
		}
		order := make([]int, len(items))
		for k := range order {
			order[k] = k
		}
		if v.Kind == '{' {
			slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(v.Keys[i], v.Keys[j]) })
		}
		for _, k := range order {
			if err := walk(items[k]); err != nil {
				return err
			}
		}
		return nil
	}
	return list, walk(v)
}

// isRef says whether a value has the form of a tensor's name: a list of a text and two whole numbers, and perhaps of
// further arguments.
func isRef(v *jsontext.Value) bool {
	if v.Kind != '[' || len(v.Items) != 3 && len(v.Items) != 4 || v.Items[0].Kind != '"' {
		return false
	}
	_, first := v.Items[1].Int()
	_, second := v.Items[2].Int()
	return first && second
}

func (n *network) ref(v *jsontext.Value) (*ref, bool) {
	if v == nil || !isRef(v) {
		return nil, false
	}
	name, _ := v.Items[0].Str()
	call, _ := v.Items[1].Int()
	output, _ := v.Items[2].Int()
	l := n.names[name]
	return &ref{tree: v, layer: l, call: int(call), output: int(output)}, l != nil
}

// plain says whether an inbound node, which names that many tensors, gives the layer only data, one tensor or one list, and
// perhaps a mask; and how many tensors are data.
func (n *network) plain(v *jsontext.Value, tensors int) (data int, plain bool) {
	args, more := v.List(), (*jsontext.Value)(nil)
	isTensor := func(v *jsontext.Value) bool {
		_, ok := n.ref(v)
		return ok && (len(v.Items) == 3 || silent(v.Items[3]))
	}
	if v.Kind == '{' {
		args, more = v.Get("args").List(), v.Get("kwargs")
		if len(args) == 1 && args[0].Kind == '[' {
			args = args[0].Items
		} else if len(args) > 1 {
			return tensors, false
		}
		isTensor = func(v *jsontext.Value) bool { return className(v) == "__keras_tensor__" }
	}
	if slices.ContainsFunc(args, func(v *jsontext.Value) bool { return !isTensor(v) }) || !silent(more) || v.Kind != '{' && len(args) != tensors {
		return tensors, false
	}
	return len(args), true
}

// silent says whether further arguments have no effect: training is false or missing. Masks are checked by layer.
func silent(v *jsontext.Value) bool {
	if v.Null() || v.Kind != '{' {
		return v.Null()
	}
	for k, item := range v.Items {
		if v.Keys[k] != "mask" && item.Kind != 'n' && item.Kind != 'f' {
			return false
		}
	}
	return true
}
