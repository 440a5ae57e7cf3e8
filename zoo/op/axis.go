package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that run along one axis.

func init() {
	register(
		alongAxis(Operator{Type: "Softmax", Eval: normalized(softmaxLine), Terms: axisTerms, Needs: normalizedNeeds, Lines: true, Saturates: true}),
		alongAxis(Operator{Type: "LogSoftmax", Eval: normalized(logSoftmaxLine), Terms: axisTerms, Needs: normalizedNeeds, Lines: true, Saturates: true}),
		alongAxis(Operator{Type: "Hardmax", Eval: normalized(hardmaxLine), Needs: normalizedNeeds, Lines: true}),
		alongAxis(Operator{Type: "LpNormalization", Eval: lpNorm, Terms: axisTerms, Needs: lineNeeds, Lines: true}),
		alongAxis(Operator{Type: "CumSum", Required: 2, Inputs: []string{"input", "axis"}, Eval: cumulative(0, add), Magnitude: additive, Terms: axisTerms, Needs: cumulativeNeeds}),
		alongAxis(Operator{Type: "CumProd", Required: 2, Inputs: []string{"input", "axis"}, Eval: cumulative(1, times), Magnitude: additive, Needs: cumulativeNeeds}),
		&Operator{Type: "ArgMax", Eval: arg(func(a, b float64) bool { return a > b }), DType: always(tensor.Int64), Shape: argShape, Needs: argNeeds},
		&Operator{Type: "ArgMin", Eval: arg(func(a, b float64) bool { return a < b }), DType: always(tensor.Int64), Shape: argShape, Needs: argNeeds},
		&Operator{Type: "TopK", Inputs: []string{"input", "number"}, Eval: topK, DType: withPlaces, Shape: topKShape, Needs: lineNeeds},
	)
}

// alongAxis completes an operator that computes each line along an axis from the input's line at the same place.
func alongAxis(o Operator) *Operator {
	o.Shape = sameShape
	return &o
}

// lines calls f with every line of an array along an axis: its elements, and where each of them stands.
func lines(x *Array, axis int, f func(line []float64, at func(k int) int)) {
	extent, inner := int(x.Shape[axis]), int(product(x.Shape[axis+1:]))
	line := make([]float64, extent)
	for first := 0; extent*inner > 0 && first < len(x.Data); first += extent * inner {
		for i := range inner {
			at := func(k int) int { return first + k*inner + i }
			for k := range line {
				line[k] = x.Data[at(k)]
			}
			f(line, at)
		}
	}
}

// changed is an array of which every line along an axis was changed.
func changed(x *Array, axis int, f func(line []float64)) *Array {
	out := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	lines(x, axis, func(line []float64, at func(int) int) {
		f(line)
		for k, v := range line {
			out.Data[at(k)] = v
		}
	})
	return out
}

// normalized applies f along one axis; before operator set 13, to all axes from that one on, as one line.
func normalized(f func(line []float64)) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		x, old := in[0], opset(n) < 13
		def := int64(-1)
		if old {
			def = 1
		}
		axis, err := axisOf(n.Int("axis", def), len(x.Shape))
		if err != nil {
			return nil, err
		}
		if old {
			flat := changed(&Array{Shape: []int64{product(x.Shape[:axis]), product(x.Shape[axis:])}, Data: x.Data}, 1, f)
			return one(&Array{Shape: x.Shape, Data: flat.Data}, nil)
		}
		return one(changed(x, axis, f), nil)
	}
}

func softmaxLine(line []float64) {
	top, sum := slices.Max(line), 0.0
	for k, x := range line {
		line[k] = math.Exp(x - top)
		sum += line[k]
	}
	for k := range line {
		line[k] /= sum
	}
}

func logSoftmaxLine(line []float64) {
	top, sum := slices.Max(line), 0.0
	for _, x := range line {
		sum += math.Exp(x - top)
	}
	sum = math.Log(sum)
	for k, x := range line {
		line[k] = x - top - sum
	}
}

func hardmaxLine(line []float64) {
	top := 0
	for k, x := range line {
		if x > line[top] {
			top = k
		}
	}
	clear(line)
	line[top] = 1
}

// lpNorm divides each line by its norm; a line of zeros stays.
func lpNorm(n *model.Node, in []*Array) ([]*Array, error) {
	axis, err := axisOf(n.Int("axis", -1), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	p := n.Int("p", 2)
	return one(changed(in[0], axis, func(line []float64) {
		norm := 0.0
		for _, x := range line {
			if p == 1 {
				norm += math.Abs(x)
			} else {
				norm += x * x
			}
		}
		if p != 1 {
			norm = math.Sqrt(norm)
		}
		for k := range line {
			if norm != 0 {
				line[k] /= norm
			}
		}
	}), nil)
}

// cumulative combines each element with all before it, or all behind it in reverse.
func cumulative(start float64, step func(a, b float64) float64) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if len(in[1].Data) != 1 {
			return nil, fmt.Errorf("an axis of shape %v", in[1].Shape)
		}
		axis, err := axisOf(in[1].Int(0), len(in[0].Shape))
		if err != nil {
			return nil, err
		}
		exclusive, reverse := n.Int("exclusive", 0) != 0, n.Int("reverse", 0) != 0
		return one(changed(in[0], axis, func(line []float64) {
			if reverse {
				slices.Reverse(line)
			}
			sum := start
			for k, x := range line {
				if exclusive {
					line[k], sum = sum, step(sum, x)
				} else {
					sum = step(sum, x)
					line[k] = sum
				}
			}
			if reverse {
				slices.Reverse(line)
			}
		}), nil)
	}
}

// arg is the position of a line's best element: of equal ones the first or, with select_last_index, the last.
func arg(better func(a, b float64) bool) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		x := in[0]
		axis, err := axisOf(n.Int("axis", 0), len(x.Shape))
		if err != nil {
			return nil, err
		}
		if x.Shape[axis] == 0 {
			return nil, fmt.Errorf("nothing along axis %d of shape %v", axis, x.Shape)
		}
		shape := slices.Clone(x.Shape)
		if shape[axis] = 1; n.Int("keepdims", 1) == 0 {
			shape = slices.Delete(shape, axis, axis+1)
		}
		out, err := NewArray(shape)
		if err != nil {
			return nil, err
		}
		last, e := n.Int("select_last_index", 0) != 0, 0
		lines(x, axis, func(line []float64, _ func(int) int) {
			best := 0
			for k, v := range line {
				if better(v, line[best]) || last && v == line[best] {
					best = k
				}
			}
			out.Data[e] = float64(best)
			e++
		})
		return one(out, nil)
	}
}

// argShape has extent 1 on the axis or, with keepdims 0, lacks the axis.
func argShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axis, err := axisOf(n.Int("axis", 0), len(x))
	if err != nil {
		return nil
	}
	out := slices.Clone(x)
	out[axis] = 1
	if n.Int("keepdims", 1) == 0 {
		out = slices.Delete(out, axis, axis+1)
	}
	return shapes(out)
}

// topK are the largest or smallest elements along an axis, and their positions. Of equal elements the one with the lower
// position comes first.
func topK(n *model.Node, in []*Array) ([]*Array, error) {
	x, k := in[0], n.Int("k", 0)
	axis, err := axisOf(n.Int("axis", -1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	if a := input(in, 1); a != nil && len(a.Data) == 1 {
		k = a.Int(0)
	}
	if k < 0 || k > x.Shape[axis] {
		return nil, fmt.Errorf("%d of %d elements", k, x.Shape[axis])
	}
	shape := slices.Clone(x.Shape)
	shape[axis] = k
	values, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	places, _ := NewArray(shape)
	largest, inner, e := n.Int("largest", 1) != 0, int(product(x.Shape[axis+1:])), 0
	lines(x, axis, func(line []float64, _ func(int) int) {
		order := make([]int, len(line))
		for j := range order {
			order[j] = j
		}
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case line[a] == line[b]:
				return 0
			case line[a] > line[b] == largest:
				return -1
			}
			return 1
		})
		first := e/inner*int(k)*inner + e%inner
		for j := range int(k) {
			values.Data[first+j*inner], places.Data[first+j*inner] = line[order[j]], float64(order[j])
		}
		e++
	})
	return []*Array{values, places}, nil
}

// topKShape has k elements on the axis, in both outputs: values and indices.
func topKShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axis, err := axisOf(n.Int("axis", -1), len(x))
	if err != nil {
		return nil
	}
	out := slices.Clone(x)
	if out[axis] = n.Int("k", Unknown); n.In(1) != nil {
		out[axis] = extent(in.scalar(n.In(1)))
	}
	return shapes(out, out)
}

// lineNeeds are whole lines along the axis that an attribute names.
var lineNeeds = alongNeeds(func(n *model.Node, _ int) []int64 { return []int64{n.Int("axis", -1)} })

var normalizedNeeds = alongNeeds(func(n *model.Node, rank int) []int64 {
	if opset(n) >= 13 {
		return []int64{n.Int("axis", -1)}
	}
	return axesFrom(n.Int("axis", 1), rank)
})

// cumulativeNeeds are the elements up to the wanted ones along the axis; with reverse, those from them on.
func cumulativeNeeds(n *model.Node, in []*Array, out Part) []Box {
	at, ok := given(n, "", in, 1)
	if !ok || len(at) != 1 {
		return nil
	}
	axis, err := axisOf(at[0], len(out.Box))
	if err != nil {
		return nil
	}
	box := slices.Clone(out.Box)
	if n.Int("reverse", 0) != 0 {
		box[axis].To = out.Shape[axis]
	} else {
		box[axis].From = 0
	}
	return []Box{box}
}

func argNeeds(n *model.Node, in []*Array, out Part) []Box {
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil {
		return nil
	}
	box := slices.Clone(out.Box)
	if n.Int("keepdims", 1) == 0 && axis <= len(box) {
		box = slices.Insert(box, axis, Range{})
	}
	if len(box) != len(in[0].Shape) {
		return nil
	}
	box[axis] = Range{0, in[0].Shape[axis]}
	return []Box{box}
}
