package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that pad or crop axes at their ends, and those that move blocks of positions into channels and back.

func init() {
	register(
		&Operator{Type: "Pad", Inputs: []string{"input", "pads", "value", "axes"}, Eval: pad, Moves: []int{0, 2}, Shape: padShape, Magnitude: padMagnitude, Needs: padNeeds},
		&Operator{Type: "CenterCropPad", Required: 2, Inputs: []string{"input", "shape"}, Eval: centerCropPad, Moves: []int{0}, Shape: centerCropPadShape, Magnitude: additive, Needs: centerCropPadNeeds},
		&Operator{Type: "DepthToSpace", Eval: depthToSpace, Moves: []int{0}, Shape: depthToSpaceShape, Magnitude: additive, Needs: depthToSpaceNeeds, Rearranges: true},
		&Operator{Type: "SpaceToDepth", Eval: spaceToDepth, Moves: []int{0}, Shape: spaceToDepthShape, Magnitude: additive, Needs: spaceToDepthNeeds, Rearranges: true},
		&Operator{Type: "Col2Im", Required: 3, Inputs: []string{"input", "shape of the image", "shape of the block"}, Eval: col2im, Shape: col2imShape, Magnitude: additive, Needs: batchNeeds},
	)
}

func padMagnitude(n *model.Node, _, m, _ []*Array) ([]*Array, error) { return pad(positive(n), m) }

// pad surrounds the input by a constant, or by elements of its own: reflect, edge and wrap as numpy.pad has them.
func pad(n *model.Node, in []*Array) ([]*Array, error) {
	lists, err := padSources(n, in)
	if err != nil {
		return nil, err
	}
	return one(padFrom(in[0], lists, padValue(n, in)))
}

// padPart evaluates a part of a Pad from a part of its input, of shape from, with magnitudes.
func padPart(n *model.Node, in, m []*Array, given Grid, from []int64, out Grid) (value, magnitude *Array, err error) {
	known := slices.Clone(in)
	known[0] = &Array{DType: in[0].DType, Shape: from}
	lists, err := padSources(n, known)
	if err != nil || len(lists) != len(out) || in[0].wide != nil {
		return nil, nil, fmt.Errorf("%v: a part of the output: %w", n, errors.Join(err, ErrUnsupported))
	}
	for axis, list := range lists {
		number := make([]int32, from[axis]) // index among the given positions, from 1
		count := int32(0)
		for _, r := range given[axis] {
			for i := r.From; i < r.To; i++ {
				count++
				number[i] = count
			}
		}
		var taken []int32
		for _, r := range out[axis] {
			for _, i := range list[r.From:r.To] {
				if i >= 0 {
					if i = number[i] - 1; i < 0 {
						return nil, nil, fmt.Errorf("%v: elements of shape %v that are not among %v: %w", n, from, given, ErrUnsupported)
					}
				}
				taken = append(taken, i)
			}
		}
		lists[axis] = taken
	}
	if value, err = padFrom(in[0], lists, padValue(n, in)); err != nil {
		return nil, nil, err
	}
	if value.DType != tensor.Undefined && !value.DType.Float() {
		return value, value, nil
	}
	magnitude, err = padFrom(m[0], lists, math.Abs(padValue(n, m)))
	return value, magnitude, err
}

// padValue is the constant with which a Pad pads.
func padValue(n *model.Node, in []*Array) float64 {
	if v := input(in, 2); v != nil && len(v.Data) == 1 {
		return v.Data[0]
	}
	return n.Float("value", 0)
}

// padSources are, for each position along each axis of a Pad's output, the position of the input that it copies; negative
// for the constant.
func padSources(n *model.Node, in []*Array) ([][]int32, error) {
	x := in[0]
	begin, shape, err := padded(n, in)
	if err != nil {
		return nil, err
	}
	if _, err := elements(shape); err != nil {
		return nil, err
	}
	mode := n.Str("mode", "constant")
	if mode != "constant" && product(x.Shape) == 0 {
		return nil, fmt.Errorf("nothing to pad with in shape %v", x.Shape)
	}
	if mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap" {
		return nil, fmt.Errorf("mode %q: %w", mode, ErrUnsupported)
	}
	lists := make([][]int32, len(shape))
	for k, d := range x.Shape {
		lists[k] = make([]int32, shape[k])
		for o := range lists[k] {
			i := int64(o) - begin[k]
			if i < 0 || i >= d {
				switch mode {
				case "constant":
					i = -1
				case "edge":
					i = min(max(i, 0), d-1)
				case "reflect":
					if period := 2 * (d - 1); period > 0 {
						i = ((i % period) + period) % period
						i = min(i, period-i)
					} else {
						i = 0
					}
				case "wrap":
					i = ((i % d) + d) % d
				}
			}
			lists[k][o] = int32(i)
		}
	}
	return lists, nil
}

// padFrom is the array of the elements of x at those positions along each axis; of the value where one is below 0.
func padFrom(x *Array, lists [][]int32, value float64) (*Array, error) {
	shape := make([]int64, len(lists))
	for k, list := range lists {
		shape[k] = int64(len(list))
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	out.DType = x.DType
	if len(lists) == 0 {
		copy(out.Data, x.Data)
		return out, nil
	}
	step, last, e := strides(x.Shape), lists[len(lists)-1], 0
	walk(shape[:len(shape)-1], func(index []int64) {
		row, at := out.Data[e:][:len(last)], int64(0)
		e += len(last)
		for k, o := range index {
			i := int64(lists[k][o])
			if i < 0 {
				at = -1
				break
			}
			at += i * step[k]
		}
		for o, i := range last {
			if row[o] = value; at >= 0 && i >= 0 {
				row[o] = x.Data[at+int64(i)]
			}
		}
	})
	return out, nil
}

// padded are the numbers of elements that a Pad puts in front of each axis, and the shape that comes of it.
func padded(n *model.Node, in []*Array) (begin, shape []int64, err error) {
	x, pads := in[0], ints(n, "pads", in, 1)
	which := axesFrom(0, len(x.Shape))
	if a := input(in, 3); a != nil {
		which = a.Ints()
	}
	axes, err := axesOf(which, len(x.Shape))
	if err != nil {
		return nil, nil, err
	}
	if len(pads) != 2*len(axes) {
		return nil, nil, fmt.Errorf("%d pads for %d axes", len(pads), len(axes))
	}
	begin, shape = make([]int64, len(x.Shape)), slices.Clone(x.Shape)
	for k, axis := range axes {
		begin[axis] = pads[k]
		if shape[axis] += pads[k] + pads[k+len(axes)]; shape[axis] < 0 {
			return nil, nil, fmt.Errorf("pads %v of shape %v", pads, x.Shape)
		}
	}
	return begin, shape, nil
}

// padShape is the input's and what pads add at both ends of an axis; negative ones take away.
func padShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	if x == nil {
		return nil
	}
	pads := n.Ints("pads")
	if pads == nil {
		pads = in.ints(n.In(1))
	}
	axes, ok := in.axes(n, 3, len(x))
	if n.In(3) == nil {
		axes = nil
		for k := range x {
			axes = append(axes, k)
		}
	}
	out := slices.Clone(x)
	for k, axis := range axes {
		before, after := elementAt(pads, k, noElement), elementAt(pads, len(axes)+k, noElement)
		switch {
		case !ok || unknown(before) || unknown(after):
			out[axis] = Unknown
			continue
		case out[axis] < 0 && before+after == 0:
			continue
		case out[axis] < 0:
			out[axis] = Unknown
			continue
		}
		out[axis] += before + after
	}
	if !ok {
		out = freeShape(len(x))
	}
	return shapes(out)
}

// centerCropPad crops axes to an extent, or pads them with zeros, on both sides; of an odd difference the larger half is
// behind.
func centerCropPad(n *model.Node, in []*Array) ([]*Array, error) {
	x := in[0]
	shape, shift, err := centred(n, in)
	if err != nil {
		return nil, err
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	step, e := strides(x.Shape), 0
	walk(shape, func(index []int64) {
		at, inside := int64(0), true
		for k, i := range index {
			i += shift[k]
			inside = inside && i >= 0 && i < x.Shape[k]
			at += i * step[k]
		}
		if inside {
			out.Data[e] = x.Data[at]
		}
		e++
	})
	return one(out, nil)
}

// centred are the shape that a CenterCropPad makes, and where in the input the first element of each axis lies.
func centred(n *model.Node, in []*Array) (shape, shift []int64, err error) {
	x, want, which := in[0], in[1].Ints(), n.Ints("axes")
	if which == nil {
		which = axesFrom(0, len(x.Shape))
	}
	axes, err := axesOf(which, len(x.Shape))
	if err != nil {
		return nil, nil, err
	}
	if len(axes) != len(want) {
		return nil, nil, fmt.Errorf("%d extents for %d axes", len(want), len(axes))
	}
	shape, shift = slices.Clone(x.Shape), make([]int64, len(x.Shape))
	for k, axis := range axes {
		if shape[axis] = want[k]; want[k] < x.Shape[axis] {
			shift[axis] = (x.Shape[axis] - want[k]) / 2
		} else {
			shift[axis] = -((want[k] - x.Shape[axis]) / 2)
		}
	}
	return shape, shift, nil
}

// centerCropPadShape is the input's with the wanted extents.
func centerCropPadShape(in *Inference, n *model.Node) [][]int64 {
	x, want := in.of(n.In(0)), in.ints(n.In(1))
	axes, err := axesOf(n.Ints("axes"), len(x))
	if n.Ints("axes") == nil {
		for k := range x {
			axes = append(axes, k)
		}
	}
	if x == nil || err != nil {
		return nil
	}
	out := slices.Clone(x)
	for k, axis := range axes {
		out[axis] = extent(elementAt(want, k, noElement))
	}
	return shapes(out)
}

// depthToSpace moves channels into blocks of b×b positions: channel (i·b + j)·C + c becomes position (i, j) of a block of
// channel c (DCR); with CRD it is channel c·b² + i·b + j.
func depthToSpace(n *model.Node, in []*Array) ([]*Array, error) {
	x, b := in[0], n.Int("blocksize", 0)
	if len(x.Shape) != 4 || b < 1 || b > maxBlock || x.Shape[1]%(b*b) != 0 {
		return nil, fmt.Errorf("shape %v, blocks of %d", x.Shape, b)
	}
	few, h, w := x.Shape[1]/(b*b), x.Shape[2], x.Shape[3]
	step := strides(x.Shape)
	block := few * step[1] // the step in channels between positions of a block, in DCR order
	channel := step[1]
	if n.Str("mode", "DCR") == "CRD" {
		block, channel = step[1], b*b*step[1]
	}
	out, err := NewArray([]int64{x.Shape[0], few, h * b, w * b})
	if err != nil {
		return nil, err
	}
	e := 0
	walk(out.Shape, func(i []int64) {
		out.Data[e] = x.Data[i[0]*step[0]+i[1]*channel+((i[2]%b)*b+i[3]%b)*block+i[2]/b*step[2]+i[3]/b]
		e++
	})
	return one(out, nil)
}

// depthToSpaceShape is [N, C/b², H·b, W·b].
func depthToSpaceShape(in *Inference, n *model.Node) [][]int64 {
	return blockShape(in, n, func(c, b int64) int64 { return c / (b * b) }, func(d, b int64) int64 { return d * b })
}

// blockShape is the output shape of DepthToSpace and SpaceToDepth; channels and positions compute a known extent from the
// one before and the block size b.
func blockShape(in *Inference, n *model.Node, channels, positions func(d, b int64) int64) [][]int64 {
	x, b := in.of(n.In(0)), n.Int("blocksize", 0)
	if len(x) != 4 || b < 1 || b > maxBlock {
		return nil
	}
	out := freeShape(4)
	out[0] = x[0]
	for k, becomes := range []func(d, b int64) int64{1: channels, 2: positions, 3: positions} {
		if k > 0 && x[k] >= 0 {
			out[k] = becomes(x[k], b)
		}
	}
	return shapes(out)
}

// spaceToDepth moves blocks of b×b positions into channels: the inverse of depthToSpace with DCR.
func spaceToDepth(n *model.Node, in []*Array) ([]*Array, error) {
	x, b := in[0], n.Int("blocksize", 0)
	if len(x.Shape) != 4 || b < 1 || b > maxBlock || x.Shape[2]%b != 0 || x.Shape[3]%b != 0 {
		return nil, fmt.Errorf("shape %v, blocks of %d", x.Shape, b)
	}
	step, few, crd := strides(x.Shape), x.Shape[1], n.Str("mode", "DCR") == "CRD"
	out, err := NewArray([]int64{x.Shape[0], few * b * b, x.Shape[2] / b, x.Shape[3] / b})
	if err != nil {
		return nil, err
	}
	e := 0
	walk(out.Shape, func(i []int64) {
		channel, block := i[1]%few, i[1]/few
		if crd {
			channel, block = i[1]/(b*b), i[1]%(b*b)
		}
		out.Data[e] = x.Data[i[0]*step[0]+channel*step[1]+(i[2]*b+block/b)*step[2]+i[3]*b+block%b]
		e++
	})
	return one(out, nil)
}

// spaceToDepthShape is [N, C·b², H/b, W/b].
func spaceToDepthShape(in *Inference, n *model.Node) [][]int64 {
	return blockShape(in, n, func(c, b int64) int64 { return c * b * b }, func(d, b int64) int64 { return d / b })
}

// col2im adds the columns, one window each, up at the windows' places in the image: the inverse of im2col, with overlaps
// summed.
func col2im(n *model.Node, in []*Array) ([]*Array, error) {
	x, image, block := in[0], in[1].Ints(), in[2].Ints()
	if len(x.Shape) != 3 || len(image) != len(block) {
		return nil, fmt.Errorf("shape %v, image %v, blocks %v", x.Shape, image, block)
	}
	w, err := newWindow(n, image, block)
	if err != nil {
		return nil, err
	}
	taps, kernel := w.taps(), int(product(block))
	if x.Shape[1]%int64(kernel) != 0 || x.Shape[2] != int64(len(taps)) {
		return nil, fmt.Errorf("shape %v, image %v, blocks %v", x.Shape, image, block)
	}
	channels := x.Shape[1] / int64(kernel)
	out, err := NewArray(slices.Concat([]int64{x.Shape[0], channels}, image))
	if err != nil {
		return nil, err
	}
	size := int(product(image))
	for plane := range int(x.Shape[0] * channels) {
		for p, row := range taps {
			for k, at := range row {
				if at >= 0 {
					out.Data[plane*size+int(at)] += x.Data[(plane*kernel+k)*len(taps)+p]
				}
			}
		}
	}
	return one(out, nil)
}

// col2imShape is [N, C, image…] for an input [N, C·block, positions].
func col2imShape(in *Inference, n *model.Node) [][]int64 {
	x, image, block := in.of(n.In(0)), in.ints(n.In(1)), in.ints(n.In(2))
	if len(x) != 3 || image == nil {
		return nil
	}
	out := []int64{x[0], Unknown}
	if p := extents(block); x[1] >= 0 && p > 0 && !slices.ContainsFunc(block, unknown) {
		out[1] = x[1] / p
	}
	for _, d := range image {
		out = append(out, extent(d))
	}
	return shapes(out)
}

// padNeeds are the positions within the input that the part covers or, with reflect, edge and wrap, repeats.
func padNeeds(n *model.Node, in []*Array, out Part) []Box {
	for _, k := range []int{1, 3} {
		if a := input(in, k); a != nil && a.Data == nil {
			return nil
		}
	}
	begin, _, err := padded(n, in)
	if err != nil || len(out.Box) != len(begin) {
		return nil
	}
	box := make(Box, len(begin))
	for k, r := range out.Box {
		r, d := r.shifted(-begin[k]), in[0].Shape[k]
		switch inside := r.From >= 0 && r.To <= d; {
		case inside || n.Str("mode", "constant") == "constant":
			box[k] = r
		case n.Str("mode", "constant") == "edge":
			box[k] = Range{min(r.From, d-1), max(r.To, 1)}
		default:
			box[k] = Range{0, d}
		}
	}
	return []Box{box}
}

func centerCropPadNeeds(n *model.Node, in []*Array, out Part) []Box {
	if a := input(in, 1); a == nil || a.Data == nil {
		return nil
	}
	_, shift, err := centred(n, in)
	if err != nil || len(out.Box) != len(shift) {
		return nil
	}
	box := make(Box, len(shift))
	for k, r := range out.Box {
		box[k] = r.shifted(shift[k])
	}
	return []Box{box}
}

func depthToSpaceNeeds(n *model.Node, in []*Array, out Part) []Box {
	b := n.Int("blocksize", 0)
	if len(out.Box) != 4 || len(in[0].Shape) != 4 || b < 1 || b > maxBlock {
		return nil
	}
	box := Box{out.Box[0], {0, in[0].Shape[1]}}
	for _, r := range out.Box[2:] {
		box = append(box, Range{r.From / b, (r.To-1)/b + 1})
	}
	return []Box{box}
}

func spaceToDepthNeeds(n *model.Node, in []*Array, out Part) []Box {
	b := n.Int("blocksize", 0)
	if len(out.Box) != 4 || len(in[0].Shape) != 4 || b < 1 || b > maxBlock {
		return nil
	}
	box := Box{out.Box[0], {0, in[0].Shape[1]}}
	for _, r := range out.Box[2:] {
		box = append(box, Range{r.From * b, r.To * b})
	}
	return []Box{box}
}

// batchNeeds are whole members of a batch.
func batchNeeds(_ *model.Node, in []*Array, out Part) []Box {
	if len(in[0].Shape) == 0 || len(out.Box) == 0 {
		return nil
	}
	box := Whole(in[0].Shape)
	box[0] = out.Box[0]
	return []Box{box}
}
