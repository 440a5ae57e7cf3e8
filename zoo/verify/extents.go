package verify

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// shapes are the inputs' shapes. Where the whole region works on positions alike, with cut large images are cut to a size at
// which borders and interior are both seen.
func (c *comparison) shapes(probed []string, cut bool) ([][]int64, error) {
	var out [][]int64
	for _, name := range probed {
		v := c.before[name]
		if v == nil || c.after[c.region.Folded(name)] == nil {
			return nil, fmt.Errorf("the value %q is not in both models", name)
		}
		s := slices.Clone(v.Shape)
		if s == nil {
			var ok bool
			if s, ok = wanted(v); !ok {
				return nil, fmt.Errorf("the rank of %q is not known", name)
			}
		}
		for k, d := range s {
			if d >= 0 {
				continue
			}
			s[k] = freePosition(k)
			if w, ok := wanted(v); ok && k == 1 && len(w) == len(s) {
				s[k] = w[k]
			}
		}
		out = append(out, s)
	}
	if cut && len(out) == 1 && len(out[0]) > 2 {
		if reach, stride, alike := c.reach(len(out[0]) - 2); alike {
			for k := 2; k < len(out[0]); k++ {
				if more := out[0][k] - reach; more > 0 {
					out[0][k] = reach + more%stride
				}
			}
		}
	}
	return out, nil
}

// freePosition is the extent that replaces a free axis other than the batch, which gets 1. If an operator needs another
// extent, the region cannot be evaluated.
func freePosition(axis int) int64 {
	if axis == 0 {
		return 1
	}
	return freeExtent / 4
}

// wanted is a shape that a reader of the value accepts.
func wanted(v *model.Value) ([]int64, bool) {
	for _, u := range v.Uses {
		wants := op.Of(u.Node).Wants
		if u.Index != 0 || wants == nil {
			continue
		}
		if s := wants(u.Node); s != nil {
			for k, d := range s {
				if d < 0 {
					s[k] = freePosition(k)
				}
			}
			return s, true
		}
	}
	return nil, false
}

// reach is an extent at which a region's kernels see both borders and an interior: one that some output sees all of. Larger
// ones are alike if they differ by a multiple of the stride, so that windows meet the border in the same way. alike says
// that the region's operators treat all positions alike. The last axes, spatial many, are positions.
func (c *comparison) reach(spatial int) (extent, stride int64, alike bool) {
	s, err := newSide(c.before, c.consts, c.probed(), c.outputs(), func(name string) string { return name })
	if err != nil {
		return 0, 0, false
	}
	extent, stride = 1, 1
	pooled := map[*model.Value]bool{} // values without positions
	for _, n := range s.order {
		behind := !slices.ContainsFunc(n.Inputs, func(v *model.Value) bool { return v != nil && !pooled[v] && !s.given(v) })
		if behind || global(n, spatial+2) {
			for _, v := range n.Outputs {
				pooled[v] = true
			}
			continue
		}
		switch o := op.Of(n); {
		case o.Window != nil:
			w := o.Window(n)
			k, s, d := largest(w.Kernel), largest(w.Strides), largest(w.Dilations)
			extent += (k - 1) * d * stride
			stride *= s
		case o.PerChannel:
		case !o.Elementwise || slices.ContainsFunc(n.Inputs, func(v *model.Value) bool { return c.varies(v, spatial) }):
			return 0, 0, false
		}
	}
	return extent + stride, stride, true
}

// global says whether a node takes all positions of images of that rank together, however many they are.
func global(n *model.Node, rank int) bool {
	switch n.Type {
	case "GlobalAveragePool", "GlobalMaxPool":
		return true
	case "ReduceMean", "ReduceMax", "ReduceMin":
		axes := n.Ints("axes")
		if v := n.In(1); v != nil && v.Const != nil {
			if a, err := op.FromConstant(v.Const, 16); err == nil {
				axes = a.Ints()
			}
		}
		if len(axes) != rank-2 {
			return false
		}
		for k := 2; k < rank; k++ {
			if !slices.Contains(axes, int64(k)) && !slices.Contains(axes, int64(k-rank)) {
				return false
			}
		}
		return n.Int("keepdims", 1) != 0
	}
	return false
}

// largest is the largest of some numbers and 1.
func largest(list []int64) int64 { return slices.Max(append([]int64{1}, list...)) }

// varies says whether a constant differs between positions.
func (c *comparison) varies(v *model.Value, spatial int) bool {
	if v == nil {
		return false
	}
	var shape []int64
	if v.Const != nil {
		shape = v.Const.Shape
	} else if a, known := c.consts.Value(v); known {
		shape = a.Shape
	}
	return slices.ContainsFunc(shape[max(0, len(shape)-spatial):], func(d int64) bool { return d != 1 })
}
