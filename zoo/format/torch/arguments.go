package torch

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// tensor is the value of an argument that is one tensor.
func (s *site) tensor(name string) (*model.Value, error) {
	r := s.ref(name)
	if r == nil {
		return nil, unclear(name + " is no tensor")
	}
	return s.value(r)
}

// ref is the argument as a reference to one tensor; nil if it is none, or several.
func (s *site) ref(name string) *ref {
	a := s.node.arg(name)
	if a == nil || len(a.refs) != 1 || a.kind != "as_tensor" && a.kind != "as_optional_tensor" {
		return nil
	}
	for _, r := range s.refs {
		if r.arg == a {
			return r
		}
	}
	return nil
}

// weight is the stored tensor of an argument, with axes of extent 1 appended up to the rank.
func (s *site) weight(name string, rank int) (*model.Value, error) {
	r := s.ref(name)
	if r == nil {
		return nil, unclear(name + " is no tensor")
	}
	e := s.entries[r.name]
	if e.form == nil || e.stale != nil || len(e.form.shape) > rank {
		return nil, unclear(name + " is not stored")
	}
	f := &stored{input: e.form.input, shape: slices.Clone(e.form.shape), perm: slices.Clone(e.form.perm)}
	for len(f.shape) < rank {
		f.shape, f.perm = append(f.shape, 1), append(f.perm, len(f.perm))
	}
	if len(f.shape) == len(e.form.shape) {
		return s.value(r)
	}
	r.form = e.form
	r.was = s.builder.constant(s.unique(fmt.Sprintf("%s/rank%d", e.name, rank)), f)
	return r.was, nil
}

// stored says whether an argument is a stored tensor.
func (s *site) isStored(name string) bool {
	r := s.ref(name)
	return r != nil && s.entries[r.name].form != nil && s.entries[r.name].stale == nil
}

// x is the value of the first of these arguments that is there, and its rank.
func (s *site) x(names ...string) (*model.Value, int, error) {
	for _, name := range names {
		if s.ref(name) == nil {
			continue
		}
		v, err := s.tensor(name)
		if err != nil {
			return nil, 0, err
		}
		if v.Shape == nil || v.DType == tensor.Undefined || len(v.Shape) > maxBuilt {
			return nil, 0, unclear("the shape or type of " + name + " is not known")
		}
		return v, len(v.Shape), nil
	}
	return nil, 0, unclear(names[0] + " is no tensor")
}

// maxBuilt bounds the rank of tensors that are computed here.
const maxBuilt = 8

// float is an argument that is a number, or the default where it is left out.
func (s *site) float(name string, def float64) (float64, error) {
	a := s.node.arg(name)
	if a == nil {
		return def, nil
	}
	if a.kind != "as_float" && a.kind != "as_int" {
		return 0, unclear(name + " is no number")
	}
	x, ok := a.value.Float()
	if word, isWord := a.value.Str(); isWord { // NaN and infinities, which JSON has no numbers for, are written as strings
		x, ok = map[string]float64{"Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[word]
	}
	if !ok || math.IsNaN(x) {
		return 0, unclear(name + " is no number")
	}
	return x, nil
}

// int is an argument that is a whole number, or the default where it is left out.
func (s *site) int(name string, def int64) (int64, error) {
	a := s.node.arg(name)
	if a == nil {
		return def, nil
	}
	x, ok := whole(a.value)
	if a.kind == "as_sym_int" {
		x, ok = whole(a.value.Get("as_int"))
	} else if a.kind != "as_int" {
		ok = false
	}
	if !ok {
		return 0, unclear(name + " is no whole number")
	}
	return x, nil
}

// whole is an integer; the largest int64, which stands for "no limit", is clipped.
func whole(v *jsontext.Value) (int64, bool) {
	if x, ok := v.Int(); ok {
		return x, true
	}
	if x, ok := v.Float(); ok && x > 1<<40 && x == math.Trunc(x) {
		return math.MaxInt64, true
	}
	return 0, false
}

// ints is an argument that is a list of whole numbers, or one; nil where it is left out.
func (s *site) ints(name string) ([]int64, error) {
	a := s.node.arg(name)
	if a == nil {
		return nil, nil
	}
	items := a.value.List()
	switch a.kind {
	case "as_int":
		items = []*jsontext.Value{a.value}
	case "as_ints", "as_sym_ints":
	default:
		return nil, unclear(name + " is no list of whole numbers")
	}
	out := make([]int64, len(items))
	for k, item := range items {
		if a.kind == "as_sym_ints" {
			item = item.Get("as_int")
		}
		x, ok := whole(item)
		if !ok {
			return nil, unclear(name + " holds what is no number")
		}
		out[k] = x
	}
	return out, nil
}

// each is ints for n axes: one number stands for all, the default for none.
func (s *site) each(name string, n int, def int64) ([]int64, error) {
	list, err := s.ints(name)
	if err != nil {
		return nil, err
	}
	switch len(list) {
	case 0:
		return slices.Repeat([]int64{def}, n), nil
	case 1:
		return slices.Repeat(list, n), nil
	case n:
	default:
		return nil, unclear(fmt.Sprintf("%s has %d numbers for %d axes", name, len(list), n))
	}
	return list, nil
}

// yes is an argument that is a truth value, or the default.
func (s *site) yes(name string, def bool) bool {
	a := s.node.arg(name)
	if a == nil {
		return def
	}
	return a.value.Yes(def)
}

// word is an argument that is a text, or the default.
func (s *site) word(name, def string) string {
	a := s.node.arg(name)
	if a == nil {
		return def
	}
	word, _ := a.value.Str()
	return word
}

// axis is an argument that names an axis of a tensor of that rank, counted from 0.
func (s *site) axis(name string, rank int, def int64) (int, error) {
	x, err := s.int(name, def)
	if err != nil {
		return 0, err
	}
	return axisOf(x, rank)
}

// along are the value and the axis that an operator works on: the arguments self and dim.
func (s *site) along() (x *model.Value, axis int, err error) {
	x, rank, err := s.x("self", "input")
	if err != nil {
		return nil, 0, err
	}
	axis, err = s.axis("dim", rank, 0)
	return x, axis, err
}

func axisOf(x int64, rank int) (int, error) {
	if x < 0 {
		x += int64(rank)
	}
	if x < 0 || x >= int64(rank) {
		return 0, unclear("an axis that there is not")
	}
	return int(x), nil
}

// only refuses any given argument that is not among names.
func (s *site) only(names ...string) error {
	for _, a := range s.node.args {
		if !slices.Contains(names, a.name) && s.node.arg(a.name) != nil {
			return unclear("its argument " + a.name)
		}
	}
	return nil
}

// expect checks the shape of a weight; negative extents fit all.
func expect(v *model.Value, what string, shape ...int64) error {
	if v == nil {
		return nil
	}
	if !slices.EqualFunc(v.Shape, shape, func(a, b int64) bool { return a == b || b < 0 && a >= 0 }) {
		return fmt.Errorf("its %s %q has shape %v, want %v: %w", what, v.Name, v.Shape, shape, format.ErrCorrupt)
	}
	return nil
}
