package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Reductions, and what runs along one axis.

// reduction takes all elements along some axes together: before is done to each of them, after to the result.
type reduction struct {
	start  float64
	step   func(a, b float64) float64
	before func(x float64) float64
	after  func(x, count float64) float64
}

func init() {
	add := func(a, b float64) float64 { return a + b }
	square := func(x float64) float64 { return x * x }
	for name, r := range map[string]reduction{
		"ReduceSum":       {step: add},
		"ReduceMean":      {step: add, after: func(x, count float64) float64 { return x / count }},
		"ReduceMax":       {start: math.Inf(-1), step: math.Max},
		"ReduceMin":       {start: math.Inf(1), step: math.Min},
		"ReduceProd":      {start: 1, step: func(a, b float64) float64 { return a * b }},
		"ReduceL1":        {step: add, before: math.Abs},
		"ReduceL2":        {step: add, before: square, after: func(x, _ float64) float64 { return math.Sqrt(x) }},
		"ReduceSumSquare": {step: add, before: square},
		"ReduceLogSum":    {step: add, after: func(x, _ float64) float64 { return math.Log(x) }},
	} {
		operators[name] = r.node
	}
	operators["ReduceLogSumExp"] = logSumExp
	operators["ArgMax"] = arg(func(a, b float64) bool { return a > b })
	operators["ArgMin"] = arg(func(a, b float64) bool { return a < b })
	operators["Softmax"] = normalized(softmaxLine)
	operators["LogSoftmax"] = normalized(logSoftmaxLine)
	operators["Hardmax"] = normalized(hardmaxLine)
	operators["LpNormalization"] = lpNorm
	operators["CumSum"] = cumulative(add)
	operators["CumProd"] = cumulative(func(a, b float64) float64 { return a * b })
	operators["TopK"] = topK
}

// reduced says which axes a reduction takes together, and the shape of the result, with and without them as ones. No axes
// are all of them, unless noop is asked for: then none.
func reduced(n *model.Node, in []*Array) (which []bool, kept, final []int64, err error) {
	if err := need(in, 1); err != nil {
		return nil, nil, nil, err
	}
	x, axes := in[0], ints(n, "axes", in, 1)
	which = make([]bool, len(x.Shape))
	for k := range which {
		which[k] = len(axes) == 0 && n.Int("noop_with_empty_axes", 0) == 0
	}
	for _, a := range axes {
		axis, err := axisOf(a, len(x.Shape))
		if err != nil {
			return nil, nil, nil, err
		}
		which[axis] = true
	}
	kept, final = slices.Clone(x.Shape), []int64{}
	for k, d := range x.Shape {
		switch {
		case !which[k]:
			final = append(final, d)
			continue
		case n.Int("keepdims", 1) != 0:
			final = append(final, 1)
		}
		kept[k] = 1
	}
	return which, kept, final, nil
}

func (r reduction) node(n *model.Node, in []*Array) ([]*Array, error) {
	which, kept, final, err := reduced(n, in)
	if err != nil {
		return nil, err
	}
	x := in[0]
	out, err := NewArray(kept)
	if err != nil {
		return nil, err
	}
	for k := range out.Data {
		out.Data[k] = r.start
	}
	step, e, count := strides(kept), 0, 1.0
	for k, d := range x.Shape {
		if which[k] {
			step[k], count = 0, count*float64(d)
		}
	}
	walk(x.Shape, func(index []int64) {
		at, v := int64(0), x.Data[e]
		for k, i := range index {
			at += i * step[k]
		}
		if r.before != nil {
			v = r.before(v)
		}
		out.Data[at] = r.step(out.Data[at], v)
		e++
	})
	for k, v := range out.Data {
		if r.after != nil {
			v = r.after(v, count)
		}
		out.Data[k] = ofType(v, x.DType)
	}
	out.Shape = final
	return one(out, nil)
}

// ofType is a reduction's result as an integer type has it: a mean rounded towards 0, and the least and largest number for
// what no element is compared with.
func ofType(x float64, d tensor.DType) float64 {
	if !integer(d) && d != tensor.Bool {
		return x
	}
	if math.IsInf(x, 0) {
		return saturated(x, d)
	}
	return math.Trunc(x)
}

// logSumExp is log Σ eˣ, with the largest x taken out so that nothing overflows.
func logSumExp(n *model.Node, in []*Array) ([]*Array, error) {
	keep := *n
	keep.Attrs = append(slices.DeleteFunc(slices.Clone(n.Attrs), func(a model.Attr) bool { return a.Name == "keepdims" }), model.Int("keepdims", 1))
	tops, err := reduction{start: math.Inf(-1), step: math.Max}.node(&keep, in)
	if err != nil {
		return nil, err
	}
	for k, x := range tops[0].Data {
		if math.IsInf(x, 0) {
			tops[0].Data[k] = 0
		}
	}
	less, err := combine(func(x, top float64) float64 { return math.Exp(x - top) }, in[0], tops[0])
	if err != nil {
		return nil, err
	}
	list := slices.Clone(in)
	list[0] = less
	out, err := reduction{step: func(a, b float64) float64 { return a + b }}.node(n, list)
	if err != nil {
		return nil, err
	}
	for k := range out[0].Data {
		out[0].Data[k] = math.Log(out[0].Data[k]) + tops[0].Data[k]
	}
	return out, nil
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

// normalized works along one axis from operator set 13 on, along all axes from one on before.
func normalized(f func(line []float64)) operator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
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
	if err := need(in, 1); err != nil {
		return nil, err
	}
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
func cumulative(step func(a, b float64) float64) operator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 2); err != nil {
			return nil, err
		}
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
			sum := step(0, 0)
			if n.Type == "CumProd" {
				sum = 1
			}
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

// arg is the position of the first, or the last, element of a line that none is better than.
func arg(better func(a, b float64) bool) operator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
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

// topK are the largest or smallest elements along an axis, and where they stand; of equal ones the first.
func topK(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
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
