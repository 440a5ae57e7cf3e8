package keras

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// class describes a class of layers.
type class struct {
	build   func(*site) (*value, error) // nil: its layers are not computed with ONNX operators
	weights func(*layer) []string       // their roles in the order in which Keras keeps them, those that can be trained first
	merges  bool                        // it reads several tensors
	masks   bool                        // it uses a mask
	gains   map[string]string           // the settings that say whether a layer has a weight of some role
	said    map[string]string           // the settings that are parameters, one number or a list with one for each channel, by their role
}

// classes are the known layers of Keras, by name.
var classes = map[string]*class{}

// register makes a class known under some names.
func register(c *class, names ...string) {
	for _, name := range names {
		classes[name] = c
	}
}

// frozen are the roles of weights that are not trained: they are stored behind the trained ones.
var frozen = map[string]bool{"moving_mean": true, "moving_variance": true, "mean": true, "variance": true, "count": true}

func (s *site) setting(key string) *jsontext.Value { return s.layer.config.Get(key) }

// word is a setting that is a word.
func (s *site) word(key, def string) string {
	if w, ok := s.setting(key).Str(); ok {
		return w
	}
	return def
}

// number is a setting that is a number; null stands for the default.
func (s *site) number(key string, def float64) (float64, error) {
	v := s.setting(key)
	if v.Null() {
		return def, nil
	}
	x, ok := v.Float()
	if !ok {
		x, ok = v.Get("config", "value").Float() // a number of numpy's
	}
	if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, unclear(fmt.Sprintf("%s is %s", key, short(v)))
	}
	return x, nil
}

// sizes is a setting that is one number for each of n axes, or one for all.
func (s *site) sizes(key string, n int, def int64) ([]int64, error) {
	v, out := s.setting(key), make([]int64, n)
	for k, item := range each(v, n) {
		if v.Null() {
			out[k] = def
			continue
		}
		x, ok := item.Int()
		if !ok || x < 0 || x > maxSize {
			return nil, unclear(fmt.Sprintf("%s is %s", key, short(v)))
		}
		out[k] = x
	}
	return out, nil
}

// each are the items of a list of n, or n times the only one of a list, or n times what is no list.
func each(v *jsontext.Value, n int) []*jsontext.Value {
	switch list := v.List(); len(list) {
	case n:
		return list
	case 1:
		return slices.Repeat(list, n)
	}
	return slices.Repeat([]*jsontext.Value{v}, n)
}

// maxSize bounds kernels, strides and paddings.
const maxSize = 1 << 20

// positive refuses sizes of zero.
func positive(sizes []int64) error {
	for _, x := range sizes {
		if x < 1 {
			return unclear("a size of 0")
		}
	}
	return nil
}

// short is a value's text for a message.
func short(v *jsontext.Value) string {
	if v == nil {
		return "not there"
	}
	if t := v.String(); len(t) <= 40 {
		return t
	}
	return "not a simple value"
}

// channels is the axis, in Keras' order, of the channels of a spatial layer's input of that rank: data_format says which.
func (s *site) channels(rank int) (int, error) {
	switch format := s.word("data_format", "channels_last"); format {
	case "channels_last":
		return rank - 1, nil
	case "channels_first":
		return 1, nil
	default:
		return 0, unclear("data_format is " + format)
	}
}

// axis is the setting axis, counted from 0.
func (s *site) axis(rank int, def int64) (int, error) {
	v := s.setting("axis")
	if list := v.List(); len(list) == 1 {
		v = list[0]
	}
	a := def
	if !v.Null() {
		x, ok := v.Int()
		if !ok {
			return 0, unclear("axis is " + short(v))
		}
		if a = x; a >= 0 {
			a += int64(s.steps)
		}
	}
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		return 0, unclear("axis is " + short(v))
	}
	return int(a), nil
}

// ranked checks that a tensor has that many axes.
func ranked(v *value, rank int) error {
	if v.rank != rank && v.rank >= 0 {
		return unclear(fmt.Sprintf("a tensor of %d axes", v.rank))
	}
	return nil
}

// known checks that a tensor's rank is known and at least least.
func known(v *value, least int) error {
	if v.rank < least {
		return unclear("a tensor of unknown or too small rank")
	}
	return nil
}

// settled sets the rank of a tensor of unknown rank: the layer accepts no other.
func (v *value) settled(rank int) {
	if x := v.forms[v.main]; v.rank < 0 {
		v.rank = rank
		if x.Shape == nil {
			x.Shape = make([]int64, rank)
			for k := range x.Shape {
				x.Shape[k] = -1
			}
		}
	}
}

// sound refuses layers whose settings make them store or compute something that their class does not by default.
func (s *site) sound() error {
	name, ok := s.setting("dtype").Str()
	if !ok {
		name, _ = s.setting("dtype").Get("config", "name").Str()
		if class := className(s.setting("dtype")); class != "" && class != "DTypePolicy" && class != "Policy" && class != "FloatDTypePolicy" {
			return unclear("its type is " + class)
		}
	}
	if _, known := dtypes[name]; name != "" && !known && name != "mixed_float16" && name != "mixed_bfloat16" {
		return unclear("its type is " + name)
	}
	if !s.setting("lora_rank").Null() || !s.setting("quantization_config").Null() {
		return unclear("it is made of more weights than its class has")
	}
	return nil
}

// stored says where a constant's elements are stored: axis k of the constant is axis perm[k] of the stored weight; a nil
// perm means the same order.
type stored struct {
	v    *variable
	perm []int
}

// constKey tells forms of stored weights apart.
type constKey struct {
	v    *variable
	perm string
}

// weight is one of the layer's weights, with its stored axes permuted by perm and then reshaped to shape. Call expect for
// it first.
func (s *site) weight(role string, shape []int64, perm ...int) *model.Value {
	v := s.layer.variable(role)
	key := constKey{v, fmt.Sprint(perm)}
	if c := s.consts[key]; c != nil {
		return c
	}
	c := &model.Constant{DType: v.dtype, Shape: shape, Data: v.data, Source: &stored{v, perm}}
	if !inOrder(perm) {
		c.Data = tensor.Permuted(v.data, v.set.Shape, perm, c.DType.Size())
	}
	x := s.addConst(s.name+"/"+role, c)
	s.consts[key] = x
	return x
}

func inOrder(perm []int) bool {
	for k, p := range perm {
		if k != p {
			return false
		}
	}
	return true
}

// expect checks that the layer has a weight of that shape, -1 standing for any extent, of the type that it is used with.
// The file may store the weights of such a layer in another type: Keras converts them when it loads them.
func (s *site) expect(role string, d tensor.DType, shape ...int64) error {
	v := s.layer.variable(role)
	if v == nil {
		return wrong(s.layer, "its %s is not in the file", role)
	}
	if v.set.Null || !fits(v.set.Shape, shape) {
		return wrong(s.layer, "its %s has shape %v, its settings and what it reads ask for %v", role, v.set.Shape, shape)
	}
	if d != tensor.Undefined && v.set.Type.DType() == d && v.set.Data != nil {
		v.dtype, v.data = d, v.set.Data
		return nil
	}
	if data, ok := v.set.Floats(d); ok && s.keeps() == d {
		v.dtype, v.data = d, data
		return nil
	}
	return unclear(fmt.Sprintf("its %s is %v, it works on %v", role, v.set.Type, d))
}

// keeps is the type of the layer's variables.
func (s *site) keeps() tensor.DType {
	name, ok := s.setting("dtype").Str()
	if !ok {
		name, _ = s.setting("dtype").Get("config", "name").Str()
	}
	if name == "" {
		return tensor.Float32
	}
	return dtypes[name] // undefined for mixed types
}

func fits(shape, want []int64) bool {
	if len(shape) != len(want) {
		return false
	}
	for k, d := range want {
		if shape[k] < 1 || d >= 0 && shape[k] != d {
			return false
		}
	}
	return true
}

// has says whether the layer has a weight of that role.
func (s *site) has(role string) bool { return s.layer.variable(role) != nil }
