package op_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// needsOf overwrites, for every node of the examples, what stands outside of the parts of its inputs that a part of an output
// is said to need: that part has to stay as it is.
func needsOf(t *testing.T, list []example) {
	tried, smaller := map[string]int{}, map[string]int{}
	for k, e := range list {
		rng := rand.New(rand.NewPCG(uint64(k), 7))
		e.each(t, func(n *model.Node, in, out []*op.Array) {
			for j, y := range out {
				for range 3 {
					if y == nil || n.Out(j) == nil || len(y.Data) == 0 {
						continue
					}
					part := op.Part{Output: j, Shape: y.Shape, Box: drawnBox(rng, y.Shape)}
					for _, given := range [][]*op.Array{in, shapesOnly(in)} {
						boxes := op.Needs(n, given, part)
						tried[n.Type]++
						if slices.ContainsFunc(boxes, func(b op.Box) bool { return b != nil && b.Empty() }) || !slices.EqualFunc(boxes, in, isWhole) {
							smaller[n.Type]++
						}
						if why := unchanged(rng, n, in, y, part, boxes); why != "" {
							t.Errorf("%s: %v, part %v of output %d of shape %v, needs %v of %v: %s", e.name, n, part.Box, j, y.Shape, boxes, extentsOf(in), why)
						}
					}
				}
			}
		})
	}
	t.Logf("parts of %d operators were tried, of %d of them with less than all inputs", len(tried), len(smaller))
	if len(smaller) < 130 {
		t.Errorf("less than all inputs was needed of only %d operators", len(smaller))
	}
}

func isWhole(b op.Box, a *op.Array) bool { return a == nil || slices.Equal(b, op.Whole(a.Shape)) }

func extentsOf(in []*op.Array) (list [][]int64) {
	for _, a := range in {
		if a == nil {
			list = append(list, nil)
		} else {
			list = append(list, a.Shape)
		}
	}
	return list
}

// drawnBox is some part of a shape, a single element often.
func drawnBox(rng *rand.Rand, shape []int64) op.Box {
	box := make(op.Box, len(shape))
	for k, d := range shape {
		from := rng.Int64N(d)
		box[k] = op.Range{From: from, To: from + 1 + rng.Int64N(1+rng.Int64N(d-from))}
	}
	return box
}

// shapesOnly are arrays of which no element is known.
func shapesOnly(in []*op.Array) []*op.Array {
	out := make([]*op.Array, len(in))
	for k, a := range in {
		if a != nil {
			out[k] = &op.Array{DType: a.DType, Shape: a.Shape}
		}
	}
	return out
}

// unchanged overwrites what is not in the boxes and says what of the part is different then.
func unchanged(rng *rand.Rand, n *model.Node, in []*op.Array, want *op.Array, part op.Part, boxes []op.Box) string {
	other := slices.Clone(in)
	for k, a := range in {
		if a == nil {
			continue
		}
		inside := make([]bool, len(a.Data))
		eachIn(boxes[k], a.Shape, func(e int) { inside[e] = true })
		other[k] = &op.Array{DType: a.DType, Shape: a.Shape, Data: slices.Clone(a.Data)}
		for e := range a.Data {
			switch {
			case inside[e]:
			case a.DType.Float() && (want.DType.Float() || want.DType == tensor.Bool): // integers do not hold it
				other[k].Data[e] = math.NaN()
			default: // of its own values, so that indices stay indices
				other[k].Data[e] = a.Data[rng.IntN(len(a.Data))]
			}
		}
	}
	out, err := op.Eval(n, other)
	if err != nil {
		return err.Error()
	}
	got := out[part.Output]
	if !slices.Equal(got.Shape, want.Shape) {
		return fmt.Sprintf("shape %v, was %v", got.Shape, want.Shape)
	}
	why := ""
	eachIn(part.Box, want.Shape, func(e int) {
		if a, b := want.Data[e], got.Data[e]; a != b && !(math.IsNaN(a) && math.IsNaN(b)) {
			why = fmt.Sprintf("element %d is %g, was %g", e, b, a)
		}
	})
	return why
}

// eachIn calls f with the number of each element of a box.
func eachIn(box op.Box, shape []int64, f func(e int)) {
	size, _ := tensor.Elements(shape)
	for e := range int(size) {
		rest, inside := int64(e), true
		for k := len(shape) - 1; k >= 0; k-- {
			i := rest % shape[k]
			rest /= shape[k]
			inside = inside && i >= box[k].From && i < box[k].To
		}
		if inside {
			f(e)
		}
	}
}

// each calls f with every node that can be evaluated, its inputs and outputs, of graphs without bodies.
func (e example) each(t *testing.T, f func(n *model.Node, in, out []*op.Array)) {
	m := e.open(t)
	known := map[*model.Value]*op.Array{}
	for _, v := range m.Graph.Inputs {
		for _, s := range e.Inputs {
			if s.Name == v.Name {
				known[v] = s.array(t)
			}
		}
	}
nodes:
	for _, n := range m.Graph.Nodes {
		in := make([]*op.Array, len(n.Inputs))
		for k, v := range n.Inputs {
			if v == nil {
				continue
			}
			if in[k] = known[v]; in[k] == nil && v.Const != nil {
				in[k], _ = op.FromConstant(v.Const, 1<<24)
			}
			if in[k] == nil {
				continue nodes
			}
		}
		out, err := op.Eval(n, in)
		if errors.Is(err, op.ErrUnsupported) || err != nil {
			continue
		}
		for k, v := range n.Outputs {
			if v != nil && k < len(out) {
				known[v] = out[k]
			}
		}
		f(n, in, out)
	}
}

func TestNeeds_AreSufficientAndNoMore(t *testing.T) {
	r := func(list ...int64) op.Box {
		var box op.Box
		for k := 0; k+1 < len(list); k += 2 {
			box = append(box, op.Range{From: list[k], To: list[k+1]})
		}
		return box
	}
	of := func(shapes ...[]int64) (in []*op.Array) {
		for _, s := range shapes {
			in = append(in, &op.Array{Shape: s})
		}
		return in
	}
	image := []int64{2, 6, 20, 20}
	for _, test := range []struct {
		name  string
		node  *model.Node
		in    []*op.Array
		shape []int64
		box   op.Box
		want  []op.Box
	}{
		{"a sum", node("Add"), of(image, []int64{6, 1, 1}), image, r(1, 2, 2, 4, 3, 5, 7, 8), []op.Box{r(1, 2, 2, 4, 3, 5, 7, 8), r(2, 4, 0, 1, 0, 1)}},
		{"a batch normalisation", node("BatchNormalization"), of(image, []int64{6}, []int64{6}), image, r(1, 2, 2, 4, 3, 5, 7, 8), []op.Box{r(1, 2, 2, 4, 3, 5, 7, 8), r(2, 4), r(2, 4)}},
		{"a convolution, at the border", node("Conv", "pads", []int64{1, 1, 1, 1}), of(image, []int64{4, 6, 3, 3}, []int64{4}), []int64{2, 4, 20, 20}, r(0, 1, 1, 3, 0, 1, 19, 20), []op.Box{r(0, 1, 0, 6, 0, 2, 18, 20), r(1, 3, 0, 6, 0, 3, 0, 3), r(1, 3)}},
		{"a convolution in strides, dilated", node("Conv", "strides", []int64{2, 3}, "dilations", []int64{3, 1}), of(image, []int64{4, 6, 3, 3}), []int64{2, 4, 7, 6}, r(1, 2, 0, 4, 2, 4, 1, 2), []op.Box{r(1, 2, 0, 6, 4, 13, 3, 6), r(0, 4, 0, 6, 0, 3, 0, 3)}},
		{"a convolution of groups", node("Conv", "group", 3), of(image, []int64{6, 2, 1, 1}), image, r(0, 2, 2, 3, 0, 20, 0, 20), []op.Box{r(0, 2, 2, 4, 0, 20, 0, 20), r(2, 3, 0, 2, 0, 1, 0, 1)}},
		{"a transposed convolution", node("ConvTranspose", "strides", []int64{2, 2}), of(image, []int64{6, 4, 3, 3}, []int64{4}), []int64{2, 4, 41, 41}, r(0, 1, 1, 2, 4, 5, 5, 6), []op.Box{r(0, 1, 0, 6, 1, 3, 2, 3), r(0, 6, 1, 2, 0, 3, 0, 3), r(1, 2)}},
		{"pooling", node("MaxPool", "kernel_shape", []int64{2, 2}, "strides", []int64{2, 2}), of(image), []int64{2, 6, 10, 10}, r(0, 1, 3, 4, 2, 4, 9, 10), []op.Box{r(0, 1, 3, 4, 4, 8, 18, 20)}},
		{"a mean of images", node("GlobalAveragePool"), of(image), []int64{2, 6, 1, 1}, r(0, 1, 3, 5, 0, 1, 0, 1), []op.Box{r(0, 1, 3, 5, 0, 20, 0, 20)}},
		{"a mean over an axis that is gone", node("ReduceMean", "axes", []int64{1}, "keepdims", 0), of(image), []int64{2, 20, 20}, r(0, 1, 3, 5, 4, 6), []op.Box{r(0, 1, 0, 6, 3, 5, 4, 6)}},
		{"a product of matrices", node("MatMul"), of([]int64{5, 4, 7, 3}, []int64{4, 3, 9}), []int64{5, 4, 7, 9}, r(1, 2, 2, 3, 3, 5, 8, 9), []op.Box{r(1, 2, 2, 3, 3, 5, 0, 3), r(2, 3, 0, 3, 8, 9)}},
		{"a row times a matrix", node("MatMul"), of([]int64{3}, []int64{3, 9}), []int64{9}, r(8, 9), []op.Box{r(0, 3), r(0, 3, 8, 9)}},
		{"a fully connected layer", node("Gemm", "transB", 1), of([]int64{7, 3}, []int64{9, 3}, []int64{9}), []int64{7, 9}, r(3, 5, 8, 9), []op.Box{r(3, 5, 0, 3), r(8, 9, 0, 3), r(8, 9)}},
		{"a sum of products", node("Einsum", "equation", "bhqd,bhkd->bhqk"), of([]int64{2, 3, 5, 4}, []int64{2, 3, 6, 4}), []int64{2, 3, 5, 6}, r(0, 1, 2, 3, 1, 3, 4, 5), []op.Box{r(0, 1, 2, 3, 1, 3, 0, 4), r(0, 1, 2, 3, 4, 5, 0, 4)}},
		{"a transpose", node("Transpose", "perm", []int64{0, 2, 3, 1}), of(image), []int64{2, 20, 20, 6}, r(0, 1, 3, 5, 7, 8, 2, 4), []op.Box{r(0, 1, 2, 4, 3, 5, 7, 8)}},
		{"axes joined", node("Reshape"), of(image, []int64{3}), []int64{2, 6, 400}, r(0, 1, 2, 4, 45, 61), []op.Box{r(0, 1, 2, 4, 2, 4, 0, 20), r(0, 3)}},
		{"an axis split", node("Reshape"), of([]int64{2, 6, 400}, []int64{4}), image, r(0, 1, 2, 4, 3, 4, 5, 9), []op.Box{r(0, 1, 2, 4, 65, 69), r(0, 4)}},
		{"parts of two", node("Concat", "axis", 1), of([]int64{2, 3, 4}, []int64{2, 5, 4}), []int64{2, 8, 4}, r(0, 2, 2, 4, 1, 2), []op.Box{r(0, 2, 2, 3, 1, 2), r(0, 2, 0, 1, 1, 2)}},
		{"none of the second", node("Concat", "axis", 1), of([]int64{2, 3, 4}, []int64{2, 5, 4}), []int64{2, 8, 4}, r(0, 2, 1, 3, 1, 2), []op.Box{r(0, 2, 1, 3, 1, 2), r(0, 2, 0, 0, 1, 2)}},
		{"every second from behind", node("Slice"), []*op.Array{{Shape: []int64{9}}, array([]int64{1}, -1), array([]int64{1}, -100), array([]int64{1}, 0), array([]int64{1}, -2)}, []int64{5}, r(1, 3), []op.Box{r(4, 7), r(0, 1), r(0, 1), r(0, 1), r(0, 1)}},
		{"rows of a table", node("Gather"), []*op.Array{{Shape: []int64{100, 8}}, array([]int64{4}, 7, 50, 60, 3)}, []int64{4, 8}, r(1, 3, 0, 2), []op.Box{r(50, 61, 0, 2), r(1, 3)}},
		{"padding in front", node("Pad"), []*op.Array{{Shape: []int64{9}}, array([]int64{2}, 3, 0)}, []int64{12}, r(2, 5), []op.Box{r(0, 2), r(0, 2)}},
		{"a larger image", node("Resize", "mode", "nearest", "coordinate_transformation_mode", "asymmetric"), []*op.Array{{Shape: image}, nil, array([]int64{4}, 1, 1, 2, 2)}, []int64{2, 6, 40, 40}, r(0, 1, 2, 3, 6, 8, 39, 40), []op.Box{r(0, 1, 2, 3, 3, 4, 19, 20), nil, r(0, 4)}},
		{"a layer normalised", node("LayerNormalization"), of([]int64{2, 5, 8}, []int64{8}, []int64{8}), []int64{2, 5, 8}, r(0, 1, 2, 3, 4, 6), []op.Box{r(0, 1, 2, 3, 0, 8), r(4, 6), r(4, 6)}},
		{"queries", node("Attention"), of([]int64{2, 3, 5, 8}, []int64{2, 3, 7, 8}, []int64{2, 3, 7, 8}), []int64{2, 3, 5, 8}, r(0, 1, 1, 2, 2, 3, 0, 8), []op.Box{r(0, 1, 1, 2, 2, 3, 0, 8), r(0, 1, 0, 3, 0, 7, 0, 8), r(0, 1, 0, 3, 0, 7, 0, 8)}},
		{"a recurrent layer", node("LSTM"), of([]int64{5, 7, 3}, []int64{1, 8, 3}, []int64{1, 8, 2}), []int64{5, 1, 7, 2}, r(1, 2, 0, 1, 3, 5, 0, 1), []op.Box{r(0, 5, 3, 5, 0, 3), r(0, 1, 0, 8, 0, 3), r(0, 1, 0, 8, 0, 2)}},
		{"no more than a shape", node("Shape"), of(image), []int64{4}, r(0, 4), []op.Box{r(0, 0, 0, 0, 0, 0, 0, 0)}},
		{"what is not known", node("NonZero"), of(image), []int64{4, 9}, r(0, 1, 0, 1), []op.Box{op.Whole(image)}},
		{"nothing", node("NonZero"), of(image), []int64{4, 9}, r(0, 0, 0, 1), []op.Box{r(0, 0, 0, 0, 0, 0, 0, 0)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := op.Needs(test.node, test.in, op.Part{Shape: test.shape, Box: test.box})
			if !slices.EqualFunc(got, test.want, slices.Equal[op.Box]) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
