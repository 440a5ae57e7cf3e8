package op

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Rules of operators that make a shape of their own of those of several inputs.

func truthShape(in *inference, n *model.Node) { set(n, 0, tensor.Bool, in.of(n.In(0))) }

func dropoutShape(in *inference, n *model.Node) {
	set(n, 0, valueType(n.In(0)), in.of(n.In(0)))
	set(n, 1, tensor.Bool, in.of(n.In(0)))
}

// layerNormShape outputs, besides, the mean and the inverse deviation of each stretch.
func layerNormShape(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	set(n, 0, valueType(n.In(0)), x)
	if axis, ok := countedAxis(n.Int("axis", -1), len(x)); ok {
		kept := slices.Clone(x)
		for k := axis; k < len(kept); k++ {
			kept[k] = 1
		}
		set(n, 1, tensor.Float32, kept)
		set(n, 2, tensor.Float32, kept)
	}
}

func gatherElementsShape(in *inference, n *model.Node) { set(n, 0, valueType(n.In(0)), in.of(n.In(1))) }

func gatherNDShape(in *inference, n *model.Node) {
	x, index, batch := in.of(n.In(0)), in.of(n.In(1)), int(n.Int("batch_dims", 0))
	last := len(index) - 1
	if x == nil || last < 0 || index[last] < 0 || batch < 0 || batch > last || batch+int(index[last]) > len(x) {
		set(n, 0, valueType(n.In(0)), nil)
		return
	}
	set(n, 0, valueType(n.In(0)), slices.Concat([]int64{}, index[:last], x[batch+int(index[last]):]))
}

// scalar is the one element of a value, or noElement.
func (in *inference) scalar(v *model.Value) int64 {
	if x := in.ints(v); len(x) == 1 {
		return x[0]
	}
	return noElement
}

func oneHotShape(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axis, ok := countedAxis(n.Int("axis", -1), len(x)+1)
	if x == nil || !ok {
		set(n, 0, valueType(n.In(2)), nil)
		return
	}
	set(n, 0, valueType(n.In(2)), slices.Insert(slices.Clone(x), axis, extent(in.scalar(n.In(1)))))
}

func topKShape(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axis, ok := countedAxis(n.Int("axis", -1), len(x))
	if !ok {
		set(n, 0, valueType(n.In(0)), nil)
		set(n, 1, tensor.Int64, nil)
		return
	}
	out := slices.Clone(x)
	if out[axis] = n.Int("k", Unknown); n.In(1) != nil {
		out[axis] = extent(in.scalar(n.In(1)))
	}
	set(n, 0, valueType(n.In(0)), out)
	set(n, 1, tensor.Int64, out)
}

func nonZeroShape(in *inference, n *model.Node) {
	out := freeShape(2)
	if x := in.of(n.In(0)); x != nil {
		out[0] = int64(len(x))
	}
	set(n, 0, tensor.Int64, out)
}

func compressShape(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	a := n.Attr("axis")
	if a == nil {
		set(n, 0, valueType(n.In(0)), freeShape(1))
		return
	}
	axis, ok := countedAxis(a.Int, len(x))
	if !ok {
		set(n, 0, valueType(n.In(0)), nil)
		return
	}
	out := slices.Clone(x)
	out[axis] = Unknown
	set(n, 0, valueType(n.In(0)), out)
}

func eyeLikeShape(in *inference, n *model.Node) {
	d := tensor.DType(n.Int("dtype", 0))
	if d == tensor.Undefined {
		d = valueType(n.In(0))
	}
	set(n, 0, d, in.of(n.In(0)))
}

// rangeShape counts from one number to another; from 0 in steps of 1 to a free extent there are as many.
func rangeShape(in *inference, n *model.Node) {
	out := freeShape(1)
	var bounds [3]float64
	known := true
	for k := range bounds {
		a, ok := in.consts.Value(n.In(k))
		if known = known && ok && len(a.Data) == 1; known {
			bounds[k] = a.Data[0]
		}
	}
	switch count := math.Ceil((bounds[1] - bounds[0]) / bounds[2]); {
	case known && count > 0 && count < 1<<31:
		out[0] = int64(count)
	case known && count <= 0:
		out[0] = 0
	case in.scalar(n.In(0)) == 0 && in.scalar(n.In(2)) == 1:
		out[0] = extent(in.scalar(n.In(1)))
	}
	set(n, 0, valueType(n.In(0)), out)
}

func einsumShape(in *inference, n *model.Node) {
	var ranks []int
	d := tensor.Undefined
	for _, v := range n.Inputs {
		s := in.of(v)
		if d == tensor.Undefined {
			d = valueType(v)
		}
		if s == nil {
			set(n, 0, d, nil)
			return
		}
		ranks = append(ranks, len(s))
	}
	operands, result, err := Subscripts(n.Str("equation", ""), ranks)
	if err != nil {
		set(n, 0, d, nil)
		return
	}
	extents := map[rune]int64{}
	for k, v := range n.Inputs {
		for j, l := range operands[k] {
			x := in.of(v)[j]
			if old, ok := extents[l]; !ok || old == 1 || old < 0 && x > 1 {
				extents[l] = x
			}
		}
	}
	out := []int64{}
	for _, l := range result {
		x, ok := extents[l]
		if !ok {
			x = Unknown
		}
		out = append(out, x)
	}
	set(n, 0, d, out)
}

// attentionShape outputs the values' size for each query; the keys and values with those of the past; and the scores.
func attentionShape(in *inference, n *model.Node) {
	d := valueType(n.In(0))
	q, k, v := in.of(n.In(0)), in.of(n.In(1)), in.of(n.In(2))
	if len(q) != len(k) || len(q) != len(v) || len(q) != 3 && len(q) != 4 {
		set(n, 0, d, nil)
		return
	}
	split := func(s []int64, heads int64) []int64 { // as [batch, heads, positions, size]
		switch {
		case len(s) == 4:
			return s
		case heads < 1 || s[2] < 0:
			return []int64{s[0], max(heads, Unknown), s[1], Unknown}
		}
		return []int64{s[0], heads, s[1], s[2] / heads}
	}
	queries, shared := n.Int("q_num_heads", Unknown), n.Int("kv_num_heads", Unknown)
	q4, k4, v4 := slices.Clone(split(q, queries)), slices.Clone(split(k, shared)), slices.Clone(split(v, shared))
	for j, s := range [][]int64{k4, v4} {
		if past := n.In(4 + j); past != nil {
			if p := in.of(past); len(p) == 4 && p[2] >= 0 && s[2] >= 0 {
				s[2] += p[2]
			} else {
				s[2] = Unknown
			}
		}
	}
	out := []int64{q4[0], q4[1], q4[2], v4[3]}
	if len(q) == 3 {
		out = []int64{q[0], q[1], Unknown}
		if q4[1] >= 0 && v4[3] >= 0 {
			out[2] = q4[1] * v4[3]
		}
	}
	set(n, 0, d, out)
	set(n, 1, valueType(n.In(1)), k4)
	set(n, 2, valueType(n.In(2)), v4)
	set(n, 3, d, []int64{q4[0], q4[1], q4[2], k4[2]})
}

func gridSampleShape(in *inference, n *model.Node) {
	x, grid := in.of(n.In(0)), in.of(n.In(1))
	if len(x) < 3 || len(grid) != len(x) {
		set(n, 0, valueType(n.In(0)), nil)
		return
	}
	set(n, 0, valueType(n.In(0)), slices.Concat(x[:2], grid[1:len(grid)-1]))
}

func col2imShape(in *inference, n *model.Node) {
	x, image, block := in.of(n.In(0)), in.ints(n.In(1)), in.ints(n.In(2))
	if len(x) != 3 || image == nil {
		set(n, 0, valueType(n.In(0)), nil)
		return
	}
	out := []int64{x[0], Unknown}
	if p := productOfExtents(block); x[1] >= 0 && p > 0 && !slices.ContainsFunc(block, unknown) {
		out[1] = x[1] / p
	}
	for _, d := range image {
		out = append(out, extent(d))
	}
	set(n, 0, valueType(n.In(0)), out)
}

func centerCropPadShape(in *inference, n *model.Node) {
	x, want := in.of(n.In(0)), in.ints(n.In(1))
	axes, ok := countedAxes(n.Ints("axes"), len(x))
	if n.Ints("axes") == nil {
		for k := range x {
			axes = append(axes, k)
		}
	}
	if x == nil || !ok {
		set(n, 0, valueType(n.In(0)), nil)
		return
	}
	out := slices.Clone(x)
	for k, axis := range axes {
		out[axis] = extent(elementAt(want, k, noElement))
	}
	set(n, 0, valueType(n.In(0)), out)
}
