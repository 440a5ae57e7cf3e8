package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	rules["Eltwise"] = eltwise
	rules["Axpy"] = axpy
}

// eltwise adds, multiplies or takes the maximum of blobs of one shape. A sum may have coefficients.
func eltwise(b *builder) error {
	p := b.params("eltwise_param")
	if err := b.counts(-1, 1); err != nil {
		return err
	}
	l := b.layer
	if len(l.in) < 2 {
		return errOpaque
	}
	for k := range l.in {
		if b.shape(0) == nil || !slices.Equal(b.shape(k), b.shape(0)) {
			return opaque("its bottoms are not known to be of one shape")
		}
	}
	op := map[string]string{"PROD": "Mul", "SUM": "Add", "MAX": "Max"}[p.enum("operation", "SUM", "PROD", "SUM", "MAX")]
	var coefficients []float64
	for _, f := range p.list("coeff") {
		x, ok := f.float()
		if !ok {
			p.fail(f, "want a number as value")
		}
		coefficients = append(coefficients, x)
	}
	var in []*model.Value
	for k := range l.in {
		in = append(in, b.in(k))
	}
	switch {
	case op == "" || len(coefficients) > 0 && (op != "Add" || len(coefficients) != len(in)):
		return errOpaque
	case slices.Equal(coefficients, []float64{1, -1}):
		op = "Sub"
	default:
		for k, x := range coefficients {
			if x = float64(float32(x)); x != 1 {
				c := b.added(fmt.Sprintf("coeff%d", k), tensor.Float32, []int64{}, []float64{x})
				in[k] = b.node("Mul", fmt.Sprintf("scaled%d", k), []*model.Value{in[k], c}, 1).Outputs[0]
			}
		}
	}
	x := in[0]
	for k := 1; k < len(in)-1; k++ {
		x = b.node(op, fmt.Sprint(k), []*model.Value{x, in[k]}, 1).Outputs[0]
	}
	b.only(op, []*model.Value{x, in[len(in)-1]})
	return nil
}

// axpy is a·x + y of SENet's Caffe, with a factor a for each channel of each item: [N, C], or [N, C, 1, 1].
func axpy(b *builder) error {
	if err := b.counts(3, 1); err != nil {
		return err
	}
	a, x, y := b.shape(0), b.shape(1), b.shape(2)
	if len(x) < 2 || !slices.Equal(x, y) || len(a) < 2 || !slices.Equal(a[:2], x[:2]) || slices.ContainsFunc(a[2:], func(d int64) bool { return d != 1 }) || len(a) > 2 && len(a) != len(x) {
		return opaque("its bottoms are not of shapes [N, C], [N, C, …] and [N, C, …]")
	}
	factor := b.in(0)
	if len(a) < len(x) {
		var axes []int64
		for k := len(a); k < len(x); k++ {
			axes = append(axes, int64(k))
		}
		factor = b.node("Unsqueeze", "unsqueeze", []*model.Value{factor, b.integers("axes", axes...)}, 1).Outputs[0]
	}
	scaled := b.node("Mul", "scaled", []*model.Value{factor, b.in(1)}, 1)
	b.only("Add", []*model.Value{scaled.Outputs[0], b.in(2)})
	return nil
}
