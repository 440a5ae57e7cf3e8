package keras

import (
	"fmt"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	for _, n := range []string{"1D", "2D", "3D"} {
		register(&class{build: func(s *site) (*value, error) { return s.pool("MaxPool") }}, "MaxPooling"+n)
		register(&class{build: func(s *site) (*value, error) { return s.pool("AveragePool") }}, "AveragePooling"+n)
		register(&class{build: func(s *site) (*value, error) { return s.global("ReduceMax") }}, "GlobalMaxPooling"+n)
		register(&class{build: func(s *site) (*value, error) { return s.global("ReduceMean") }, masks: n == "1D"}, "GlobalAveragePooling"+n)
	}
}

// pool builds pooling over windows; averages are over the part of a window that is within the input.
func (s *site) pool(typ string) (*value, error) {
	w, err := s.window("pool_size", 2)
	if err != nil {
		return nil, err
	}
	if s.setting("strides").Null() {
		w.strides = w.kernel
	}
	x := s.in[0]
	x.settled(w.spatial + 2)
	first := s.form(x, w.axis)
	return s.result(s.op(typ, "pool", []*model.Value{first}, w.attrs(first)...), w.spatial+2, w.axis), nil
}

// global reduces all axes but the first and that of the channels.
func (s *site) global(typ string) (*value, error) {
	spatial := int(s.layer.class[len(s.layer.class)-2] - '0')
	x := s.in[0]
	if err := ranked(x, spatial+2); err != nil {
		return nil, err
	}
	axis, err := s.channels(spatial + 2)
	if err != nil {
		return nil, err
	}
	x.settled(spatial + 2)
	var axes []int64
	for k, a := range order(x.rank, x.main) {
		if k > 0 && a != int64(axis) {
			axes = append(axes, int64(k))
		}
	}
	keep := 0
	if s.setting("keepdims").Yes(false) {
		keep = 1
	}
	y := s.op(typ, "pool", []*model.Value{s.form(x, x.main)}, "axes", axes, "keepdims", keep)
	if keep == 1 {
		return s.result(y, x.rank, x.main), nil
	}
	if len(axes) != spatial {
		panic(fmt.Sprintf("keras: %d axes to reduce of %d", len(axes), spatial))
	}
	return s.result(y, 2, 1), nil
}
