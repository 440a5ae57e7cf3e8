package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Grid is a set of elements of an array: for each axis a set of positions, and all combinations of them. The positions of
// an axis are ranges in ascending order with gaps between them.
type Grid [][]Range

// WholeGrid are all elements of an array of that shape.
func WholeGrid(shape []int64) Grid {
	g := make(Grid, len(shape))
	for k, d := range shape {
		if d > 0 {
			g[k] = []Range{{0, d}}
		}
	}
	return g
}

// Shape is the shape of an array that holds just the grid's elements.
func (g Grid) Shape() []int64 {
	shape := make([]int64, len(g))
	for k, list := range g {
		for _, r := range list {
			shape[k] += r.To - r.From
		}
	}
	return shape
}

// Equal says whether two grids are the same elements.
func (g Grid) Equal(h Grid) bool { return slices.EqualFunc(g, h, slices.Equal[[]Range]) }

// Join is the least grid that holds the elements of both.
func (g Grid) Join(h Grid) Grid {
	switch {
	case g.Equal(h) || slices.Contains(h.Shape(), 0):
		return g
	case slices.Contains(g.Shape(), 0):
		return h
	}
	out := make(Grid, len(g))
	for k := range g {
		out[k] = united(slices.Concat(g[k], h[k]))
	}
	return out
}

// united are ranges in order, those that touch or overlap as one.
func united(list []Range) (out []Range) {
	slices.SortFunc(list, func(a, b Range) int { return int(a.From - b.From) })
	for _, r := range list {
		switch last := len(out) - 1; {
		case r.From >= r.To:
		case last >= 0 && r.From <= out[last].To:
			out[last].To = max(out[last].To, r.To)
		default:
			out = append(out, r)
		}
	}
	return out
}

// maxBoxes bounds the boxes into which boxes cuts a grid.
const maxBoxes = 1 << 10

// boxes are the boxes that make up a grid. Where there would be more than maxBoxes, neighbouring ranges are joined, with
// what lies between them.
func (g Grid) boxes() []Box {
	g = slices.Clone(g)
	for {
		count, widest := 1, 0
		for k, list := range g {
			if count *= len(list); len(list) > len(g[widest]) {
				widest = k
			}
			count = min(count, maxBoxes+1)
		}
		if count <= maxBoxes {
			break
		}
		list := g[widest]
		g[widest] = []Range{{list[0].From, list[len(list)-1].To}}
	}
	counts := make([]int64, len(g))
	for k, list := range g {
		counts[k] = int64(len(list))
	}
	var boxes []Box
	walk(counts, func(index []int64) {
		box := make(Box, len(g))
		for k, i := range index {
			box[k] = g[k][i]
		}
		boxes = append(boxes, box)
	})
	return boxes
}

// GridNeeds is Needs for a grid: the grids of the inputs of which the grid out of output k, whose shape is shape, is
// computed.
func GridNeeds(n *model.Node, in []*Array, k int, shape []int64, out Grid) []Grid {
	grids := make([]Grid, len(in))
	for j, a := range in {
		if a != nil {
			grids[j] = make(Grid, len(a.Shape))
		}
	}
	for _, box := range out.boxes() {
		for j, b := range Needs(n, in, Part{k, shape, box}) {
			if in[j] == nil || b.Empty() {
				continue
			}
			for axis, r := range b {
				grids[j][axis] = append(grids[j][axis], r)
			}
		}
	}
	for _, g := range grids {
		for axis, list := range g {
			g[axis] = united(list)
		}
	}
	return grids
}

// positions are, for each position in to, its index among the positions in from.
func positions(from, to []Range) ([]int32, error) {
	var out []int32
	before, k := int64(0), 0
	for _, r := range to {
		for k < len(from) && from[k].To <= r.From {
			before += from[k].To - from[k].From
			k++
		}
		if k == len(from) || r.From < from[k].From || r.To > from[k].To {
			return nil, fmt.Errorf("positions %v are not among %v", to, from)
		}
		for i := r.From; i < r.To; i++ {
			out = append(out, int32(before+i-from[k].From))
		}
	}
	return out, nil
}

// Part picks the elements of the grid to from an array that holds those of the grid from.
func (a *Array) Part(from, to Grid) (*Array, error) {
	if from.Equal(to) && slices.Equal(a.Shape, to.Shape()) {
		return a, nil
	}
	out, err := NewArray(to.Shape())
	if err != nil {
		return nil, err
	}
	out.DType = a.DType
	err = each(a, from, to, func(inside, e int) { out.Data[e] = a.Data[inside] })
	return out, err
}

// spread is the array of that shape in which an array's elements are those of a grid. Elsewhere stand numbers that are none,
// or zeros where it holds integers: what is computed of them cannot be taken for a result.
func (a *Array) spread(grid Grid, shape []int64) (*Array, error) {
	all := WholeGrid(shape)
	if grid.Equal(all) {
		return a, nil
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	if out.DType = a.DType; a.DType == tensor.Undefined || a.DType.Float() {
		for e := range out.Data {
			out.Data[e] = math.NaN()
		}
	}
	err = each(out, all, grid, func(inside, e int) { out.Data[inside] = a.Data[e] })
	return out, err
}

// each calls f for each element of grid with its offset in an array that holds the elements of the grid of, and its index
// within grid.
func each(a *Array, of, grid Grid, f func(inside, e int)) error {
	if len(of) != len(grid) || len(of) != len(a.Shape) || !slices.Equal(of.Shape(), a.Shape) || a.wide != nil {
		return fmt.Errorf("the elements %v of %v in an array of shape %v: %w", grid, of, a.Shape, ErrUnsupported)
	}
	if len(grid) == 0 {
		f(0, 0)
		return nil
	}
	lists, step := make([][]int32, len(grid)), strides(a.Shape)
	for k := range grid {
		var err error
		if lists[k], err = positions(of[k], grid[k]); err != nil {
			return err
		}
	}
	last, e := lists[len(lists)-1], 0
	walk(grid[:len(grid)-1].Shape(), func(index []int64) {
		first := 0
		for k, i := range index {
			first += int(lists[k][i]) * int(step[k])
		}
		for _, i := range last {
			f(first+int(i), e)
			e++
		}
	})
	return nil
}

// InParts says whether EvalPart needs no more memory than the parts themselves.
func InParts(n *model.Node, given []Grid, out Grid) bool {
	o := Of(n)
	switch {
	case flat[n.Type] || cuts[n.Type] || n.Type == "Pad":
		return true
	case len(given) == 0 || given[0] == nil:
		return false
	}
	return o.Parts || o.Elementwise || o.PerChannel || o.Lines && out.Equal(given[0])
}

// flat are the operators that change the shape and keep the elements in row-major order.
var flat = map[string]bool{"Reshape": true, "Flatten": true, "Squeeze": true, "Unsqueeze": true}

// cuts are the operators whose outputs are the first input at some positions of each axis.
var cuts = map[string]bool{"Slice": true, "Split": true}

// cutPart evaluates a part of output k, of shape to, of one of cuts: in[0] and m[0] hold the part given of the first input,
// of shape from, and of its magnitudes.
func cutPart(n *model.Node, in, m []*Array, given Grid, from []int64, k int, to []int64, out Grid) (value, magnitude *Array, err error) {
	known := slices.Clone(in)
	known[0] = &Array{DType: in[0].DType, Shape: from}
	taken, lists := make(Grid, len(out)), make([][]int32, len(out))
	for axis, list := range out {
		var places []int64
		for _, r := range list {
			for i := r.From; i < r.To; i++ {
				box := make(Box, len(to))
				for a := range box {
					box[a] = Range{0, 1}
				}
				box[axis] = Range{i, i + 1}
				need := Needs(n, known, Part{k, to, box})[0]
				if len(need) != len(out) || need[axis].To != need[axis].From+1 {
					return nil, nil, fmt.Errorf("%v: a part of output %d: %w", n, k, ErrUnsupported)
				}
				places = append(places, need[axis].From)
				taken[axis] = append(taken[axis], need[axis])
			}
		}
		taken[axis] = united(taken[axis])
		at := map[int64]int32{}
		for _, r := range taken[axis] {
			for i := r.From; i < r.To; i++ {
				at[i] = int32(len(at))
			}
		}
		for _, i := range places { // steps may be negative
			lists[axis] = append(lists[axis], at[i])
		}
	}
	take := func(a *Array) (*Array, error) {
		part, err := a.Part(given, taken)
		if err != nil {
			return nil, err
		}
		result := &Array{DType: a.DType, Shape: out.Shape(), Data: make([]float64, len(part.Data))}
		step, e := strides(part.Shape), 0
		if len(part.Data) != int(product(result.Shape)) {
			return nil, fmt.Errorf("%v: a part of output %d: %w", n, k, ErrUnsupported)
		}
		walk(result.Shape, func(index []int64) {
			from := int64(0)
			for axis, i := range index {
				from += int64(lists[axis][i]) * step[axis]
			}
			result.Data[e] = part.Data[from]
			e++
		})
		return result, nil
	}
	if value, err = take(in[0]); err != nil || m[0] == in[0] {
		return value, value, err
	}
	magnitude, err = take(m[0])
	return value, magnitude, err
}

// reshapedPart evaluates the part out of a reshape from one shape to another, from the part given of the input and of its
// magnitudes.
func reshapedPart(value, magnitude *Array, given Grid, from, to []int64, out Grid) (*Array, *Array, error) {
	if product(from) != product(to) || value.wide != nil {
		return nil, nil, fmt.Errorf("shape %v for %v: %w", to, from, ErrUnsupported)
	}
	numbers := make([][]int32, len(from)) // by axis: the index in the part of each position, −1 for those that it lacks
	for axis, list := range given {
		numbers[axis] = slices.Repeat([]int32{-1}, int(from[axis]))
		count := int32(0)
		for _, r := range list {
			for i := r.From; i < r.To; i++ {
				numbers[axis][i] = count
				count++
			}
		}
	}
	lists := make([][]int32, len(out))
	for axis, list := range out {
		for _, r := range list {
			for i := r.From; i < r.To; i++ {
				lists[axis] = append(lists[axis], int32(i))
			}
		}
	}
	result, err := NewArray(out.Shape())
	if err != nil {
		return nil, nil, err
	}
	result.DType = value.DType
	size := &Array{DType: magnitude.DType, Shape: result.Shape, Data: make([]float64, len(result.Data))}
	fine, coarse, step := strides(to), strides(from), strides(given.Shape())
	e, missing := 0, false
	walk(result.Shape, func(index []int64) {
		at, inside := int64(0), int64(0)
		for axis, i := range index {
			at += int64(lists[axis][i]) * fine[axis]
		}
		for axis, s := range coarse {
			i := numbers[axis][at/s]
			at %= s
			missing = missing || i < 0
			inside += int64(max(i, 0)) * step[axis]
		}
		result.Data[e], size.Data[e] = value.Data[inside], magnitude.Data[inside]
		e++
	})
	if missing {
		return nil, nil, fmt.Errorf("elements of shape %v that are not among %v: %w", from, given, ErrUnsupported)
	}
	if value == magnitude {
		return result, result, nil
	}
	return result, size, nil
}

// EvalPart evaluates the grid out of output k, whose whole shape is whole. in[j] holds the elements given[j] of input j,
// whose whole shape is shapes[j]; m holds their magnitudes, and the output's are returned with it. What depends on an
// element outside given is NaN.
func EvalPart(n *model.Node, in, m []*Array, given []Grid, shapes [][]int64, k int, whole []int64, out Grid) (value, magnitude *Array, err error) {
	if cuts[n.Type] && k < len(n.Outputs) {
		return cutPart(n, in, m, given[0], shapes[0], k, whole, out)
	}
	if k == 0 && flat[n.Type] {
		return reshapedPart(in[0], m[0], given[0], shapes[0], whole, out)
	}
	if k == 0 && n.Type == "Pad" {
		return padPart(n, in, m, given[0], shapes[0], out)
	}
	if !InParts(n, given, out) {
		in, m = slices.Clone(in), slices.Clone(m)
		for j, a := range in {
			if a == nil {
				continue
			}
			if in[j], err = a.spread(given[j], shapes[j]); err != nil {
				return nil, nil, err
			}
			if m[j] == a {
				m[j] = in[j]
			} else if m[j], err = m[j].spread(given[j], shapes[j]); err != nil {
				return nil, nil, err
			}
		}
	}
	values, err := Eval(n, in)
	if err != nil {
		return nil, nil, err
	}
	magnitudes, err := Magnitude(n, in, m, values)
	if err != nil {
		return nil, nil, err
	}
	if k >= len(values) || k >= len(magnitudes) || values[k] == nil || magnitudes[k] == nil || len(values[k].Shape) != len(out) || !slices.Equal(values[k].Shape, magnitudes[k].Shape) {
		return nil, nil, fmt.Errorf("%v: a part of output %d: %w", n, k, ErrUnsupported)
	}
	computed, all := slices.Clone(out), WholeGrid(whole) // an operator that takes an axis as a whole gets whole inputs, and makes a whole output, along it
	for axis, d := range out.Shape() {
		if values[k].Shape[axis] != d {
			computed[axis] = all[axis]
		}
	}
	if value, err = values[k].Part(computed, out); err != nil {
		return nil, nil, fmt.Errorf("%v: %w", n, err)
	}
	if values[k] == magnitudes[k] {
		return value, value, nil
	}
	if magnitude, err = magnitudes[k].Part(computed, out); err != nil {
		return nil, nil, fmt.Errorf("%v: %w", n, err)
	}
	return value, magnitude, nil
}
