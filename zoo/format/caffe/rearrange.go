package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	rules["Concat"] = concat
	rules["Slice"] = slice
	rules["Split"] = split
	rules["Permute"] = permute
	rules["Flatten"] = flatten
	rules["Reshape"] = reshape
	rules["Crop"] = crop
	rules["Dropout"] = dropout
	rules["ShuffleChannel"] = shuffle
	rules["Interp"] = interp
	rules["PriorBox"] = priorBox
}

// axis is an axis of the first bottom counted from 0; −1 where it has no such axis or its rank is not known.
func (b *builder) axis(n int64) int64 {
	rank := int64(len(b.shape(0)))
	if n < 0 {
		n += rank
	}
	if n < 0 || n >= rank {
		return -1
	}
	return n
}

func concat(b *builder) error {
	p := b.params("concat_param")
	if err := b.counts(-1, 1); err != nil {
		return err
	}
	axis := b.axis(p.int("axis", p.int("concat_dim", 1)))
	if axis < 0 {
		return errOpaque
	}
	var in []*model.Value
	for k := range b.layer.in {
		if len(b.shape(k)) != len(b.shape(0)) {
			return errOpaque
		}
		in = append(in, b.in(k))
	}
	b.only("Concat", in, model.Int("axis", axis))
	return nil
}

// slice cuts an axis at the slice points, or into equal parts.
func slice(b *builder) error {
	p := b.params("slice_param")
	if err := b.counts(1, -1); err != nil {
		return err
	}
	axis, points, tops := b.axis(p.int("axis", p.int("slice_dim", 1))), p.ints("slice_point"), len(b.layer.out)
	if axis < 0 || b.shape(0)[axis] < 0 {
		return errOpaque
	}
	extent := b.shape(0)[axis]
	if len(points) == 0 && extent%int64(tops) == 0 {
		for k := 1; k < tops; k++ {
			points = append(points, extent/int64(tops)*int64(k))
		}
	}
	if len(points) != tops-1 {
		return fmt.Errorf("%d slice points for %d tops of an axis of extent %d: %w", len(points), tops, extent, format.ErrCorrupt)
	}
	var sizes []int64
	from := int64(0)
	for _, to := range append(points, extent) {
		if to <= from {
			return fmt.Errorf("slice points %v of an axis of extent %d: %w", points, extent, format.ErrCorrupt)
		}
		sizes, from = append(sizes, to-from), to
	}
	n := b.node("Split", "", []*model.Value{b.in(0), b.integers("sizes", sizes...)}, tops, model.Int("axis", axis))
	b.tops(n)
	return nil
}

// split gives its bottom several names.
func split(b *builder) error {
	if err := b.counts(1, -1); err != nil {
		return err
	}
	var tops []*model.Node
	for k := range b.layer.out {
		tops = append(tops, b.node("Identity", fmt.Sprint(k), []*model.Value{b.in(0)}, 1))
	}
	b.tops(tops...)
	return nil
}

// permute: axis k of the top is axis order[k] of the bottom; axes that are not named follow.
func permute(b *builder) error {
	p := b.params("permute_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	order, rank := p.ints("order"), int64(len(b.shape(0)))
	for k := range rank {
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
	}
	if rank == 0 || int64(len(order)) != rank || slices.Max(order) >= rank {
		return errOpaque
	}
	b.only("Transpose", []*model.Value{b.in(0)}, model.Ints("perm", order...))
	return nil
}

// flatten makes one axis of the axes from axis to end_axis.
func flatten(b *builder) error {
	p := b.params("flatten_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in := b.shape(0)
	from, to := b.axis(p.int("axis", 1)), b.axis(p.int("end_axis", -1))
	if from < 0 || to < from {
		return errOpaque
	}
	if from == 1 && int(to) == len(in)-1 {
		b.only("Flatten", []*model.Value{b.in(0)}, model.Int("axis", 1))
		return nil
	}
	return b.reshaped(slices.Concat(in[:from], []int64{product(in[from : to+1])}, in[to+1:]))
}

// reshaped writes a Reshape to a shape that has one free extent at most.
func (b *builder) reshaped(to []int64) error {
	free := 0
	for _, d := range to {
		if d < 0 {
			free++
		}
	}
	if slices.Contains(to, 0) || free > 1 || len(to) > maxAxes {
		return errOpaque
	}
	b.only("Reshape", []*model.Value{b.in(0), b.integers("shape", to...)})
	return nil
}

// reshape replaces num_axes axes from axis on by dims, of which 0 is the bottom's extent in that place and −1 what is left.
func reshape(b *builder) error {
	p := b.params("reshape_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in := b.shape(0)
	axis, num := p.int("axis", 0), p.int("num_axes", -1)
	f := p.one("shape")
	if f == nil || in == nil || p.err != nil {
		return errOpaque
	}
	dims := b.within(f).ints("dim")
	if axis < 0 {
		axis += int64(len(in)) + 1
	}
	if num == -1 {
		num = int64(len(in)) - axis
	}
	if axis < 0 || num < 0 || axis+num > int64(len(in)) {
		return errOpaque
	}
	for k, d := range dims {
		if d == 0 {
			if axis+int64(k) >= int64(len(in)) {
				return errOpaque
			}
			dims[k] = in[axis+int64(k)]
		}
		if d < -1 {
			return errOpaque
		}
	}
	return b.reshaped(slices.Concat(in[:axis], dims, in[axis+num:]))
}

// crop cuts the axes from axis on down to the second bottom's extents.
func crop(b *builder) error {
	p := b.params("crop_param")
	if err := b.counts(2, 1); err != nil {
		return err
	}
	in, like := b.shape(0), b.shape(1)
	axis, offsets := b.axis(p.int("axis", 2)), p.ints("offset")
	if axis < 0 || len(like) != len(in) || product(in[axis:]) < 0 || product(like[axis:]) < 0 {
		return errOpaque
	}
	count := len(in) - int(axis)
	switch len(offsets) {
	case 0, 1:
		offsets = slices.Repeat(append(offsets, 0)[:1], count)
	}
	if len(offsets) != count {
		return errOpaque
	}
	var ends, axes []int64
	for k, from := range offsets {
		to := from + like[int(axis)+k]
		if from < 0 || to > in[int(axis)+k] {
			return errOpaque
		}
		ends, axes = append(ends, to), append(axes, axis+int64(k))
	}
	b.node("Shape", "like", []*model.Value{b.in(1)}, 1) // only the second bottom's shape is used
	b.only("Slice", []*model.Value{b.in(0), b.integers("starts", offsets...), b.integers("ends", ends...), b.integers("axes", axes...)})
	return nil
}

// dropout is the identity in phase TEST, unless scale_train is false: then it scales, and stays opaque.
func dropout(b *builder) error {
	p := b.params("dropout_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	if !p.bool("scale_train", true) {
		return errOpaque
	}
	b.only("Dropout", []*model.Value{b.in(0)})
	return nil
}

// shuffle interleaves groups of channels.
func shuffle(b *builder) error {
	p := b.params("shuffle_channel_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in, group := b.shape(0), p.int("group", 1)
	if len(in) != 4 || product(in) < 0 || group < 1 || in[1]%group != 0 {
		return errOpaque
	}
	cut := b.node("Reshape", "cut", []*model.Value{b.in(0), b.integers("groups", in[0], group, in[1]/group, in[2], in[3])}, 1)
	turned := b.node("Transpose", "turn", cut.Outputs, 1, model.Ints("perm", 0, 2, 1, 3, 4))
	b.only("Reshape", []*model.Value{turned.Outputs[0], b.integers("shape", in...)})
	return nil
}

// interp resizes bilinearly with aligned corners.
func interp(b *builder) error {
	p := b.params("interp_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in := b.shape(0)
	if len(in) != 4 || product(in) < 0 {
		return errOpaque
	}
	out := slices.Clone(in)
	shrink, zoom := p.int("shrink_factor", 0), p.int("zoom_factor", 0)
	switch {
	case p.has("height", "width") && !p.has("shrink_factor", "zoom_factor"):
		out[2], out[3] = p.int("height", 0), p.int("width", 0)
	case p.has("shrink_factor", "zoom_factor") && shrink >= 0 && zoom >= 0 && !p.has("height", "width"):
		for k := 2; k < 4; k++ {
			if shrink > 0 {
				out[k] = (out[k]-1)/shrink + 1
			}
			if zoom > 0 {
				out[k] += (out[k] - 1) * (zoom - 1)
			}
		}
	default:
		return errOpaque
	}
	if p.int("pad_beg", 0) != 0 || p.int("pad_end", 0) != 0 || out[2] < 1 || out[3] < 1 {
		return errOpaque
	}
	empty := b.added("scales", tensor.Float32, []int64{0}, []float64{})
	b.only("Resize", []*model.Value{b.in(0), nil, empty, b.integers("sizes", out...)},
		model.Text("mode", "linear"),
		model.Text("coordinate_transformation_mode", "align_corners"))
	return nil
}

// priorBox makes boxes from the shapes of its bottoms alone.
func priorBox(b *builder) error {
	if err := b.counts(2, 1); err != nil {
		return err
	}
	var shapes []*model.Value
	for k, part := range []string{"shape", "image"} {
		shapes = append(shapes, b.node("Shape", part, []*model.Value{b.in(k)}, 1).Outputs[0])
	}
	b.tops(b.add(domain, b.layer.typ, "", shapes, 1))
	return nil
}
