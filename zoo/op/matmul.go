package op

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Products of matrices.

func init() {
	register(
		&Operator{Type: "Gemm", Required: 2, Inputs: []string{"input", "weight", "bias"}, Eval: gemm, DType: common, Shape: gemmShape, Magnitude: gemmMagnitude, Terms: gemmTerms, Needs: gemmNeeds, Parts: true, Wants: gemmWants},
		&Operator{Type: "MatMul", Required: 2, Inputs: []string{"weight", "weight"}, Eval: matMul, DType: common, Shape: matMulShape, Magnitude: additive, Terms: matMulTerms, Needs: matMulNeeds, Parts: true},
		&Operator{Type: "MatMulInteger", Required: 2, Inputs: []string{"left matrix", "right matrix", "zero point of the left", "zero point of the right"}, Eval: ofIntegers(matMul, -1), DType: always(tensor.Int32), Shape: matMulShape, Needs: matMulNeeds},
		&Operator{Type: "Einsum", Variadic: true, Eval: einsum, DType: common, Shape: einsumShape, Magnitude: additive, Terms: operandTerms, Needs: einsumNeeds},
	)
}

func gemmMagnitude(n *model.Node, _, m, _ []*Array) ([]*Array, error) { return gemm(positive(n), m) }

func gemmTerms(n *model.Node, in []*Array) int64 {
	return in[0].Shape[1-transposed(n, "transA")] + 1
}

func matMulTerms(_ *model.Node, in []*Array) int64 {
	s := in[0].Shape
	return s[len(s)-1] + 1
}

func gemmWants(n *model.Node) []int64 {
	w := weightShape(n, 1, 2)
	if len(w) != 2 {
		return nil
	}
	return []int64{Unknown, w[transposed(n, "transB")]}
}

// multiply is A·B of [m, k] and [k, n], by strides.
func multiply(y, a, b []float64, m, k, n, aRow, aCol, bRow, bCol int) {
	for i := range m {
		row := y[i*n:][:n]
		for c := range k {
			x := a[i*aRow+c*aCol]
			if bCol == 1 {
				for j, w := range b[c*bRow:][:n] {
					row[j] += x * w
				}
				continue
			}
			for j := range row {
				row[j] += x * b[c*bRow+j*bCol]
			}
		}
	}
}

// gemm is alpha·A'·B' + beta·C, with A' of shape [M, K], B' of shape [K, N], each transposed as its flag says, and C
// broadcast to [M, N].
func gemm(n *model.Node, in []*Array) ([]*Array, error) {
	a, b := in[0], in[1]
	if len(a.Shape) != 2 || len(b.Shape) != 2 {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	m, k, aRow, aCol := int(a.Shape[0]), int(a.Shape[1]), int(a.Shape[1]), 1
	if n.Int("transA", 0) != 0 {
		m, k, aRow, aCol = k, m, 1, int(a.Shape[1])
	}
	rows, cols, bRow, bCol := int(b.Shape[0]), int(b.Shape[1]), int(b.Shape[1]), 1
	if n.Int("transB", 0) != 0 {
		rows, cols, bRow, bCol = cols, rows, 1, int(b.Shape[1])
	}
	if rows != k {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	out, err := NewArray([]int64{int64(m), int64(cols)})
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, int64(m), int64(k), int64(cols)); err != nil {
		return nil, err
	}
	multiply(out.Data, a.Data, b.Data, m, k, cols, aRow, aCol, bRow, bCol)
	return one(out, scaleAndShift(n, out, input(in, 2)))
}

// scaleAndShift turns out, A·B, into alpha·A·B + beta·C in place; C may be nil.
func scaleAndShift(n *model.Node, out, c *Array) (err error) {
	alpha, beta := n.Float("alpha", 1), n.Float("beta", 1)
	for e := range out.Data {
		out.Data[e] *= alpha
	}
	if c == nil || beta == 0 {
		return nil
	}
	if c, err = broadcastTo(c, out.Shape); err != nil {
		return err
	}
	for e := range out.Data {
		out.Data[e] += beta * c.Data[e]
	}
	return nil
}

// matMul is numpy.matmul: Σₖ A[…, i, k]·B[…, k, j], leading axes broadcast; a vector is a row on the left, a column on the
// right.
func matMul(_ *model.Node, in []*Array) ([]*Array, error) {
	a, b := in[0], in[1]
	if len(a.Shape) == 0 || len(b.Shape) == 0 {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	row, column := len(a.Shape) == 1, len(b.Shape) == 1 // a vector's axis of 1 is not in the product
	if row {
		a = &Array{Shape: []int64{1, a.Shape[0]}, Data: a.Data}
	}
	if column {
		b = &Array{Shape: []int64{b.Shape[0], 1}, Data: b.Data}
	}
	ar, br := len(a.Shape), len(b.Shape)
	m, k, n := a.Shape[ar-2], a.Shape[ar-1], b.Shape[br-1]
	batch, err := broadcastShape(a.Shape[:ar-2], b.Shape[:br-2])
	if err != nil || b.Shape[br-2] != k {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	out, err := NewArray(slices.Concat(batch, []int64{m, n}))
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, append(batch, m, k, n)...); err != nil {
		return nil, err
	}
	offset := func(shape []int64, index []int64) int64 {
		at, step := int64(0), int64(1)
		for j := len(shape) - 1; j >= 0; j-- {
			if i := index[len(index)-len(shape)+j]; shape[j] != 1 {
				at += i * step
			}
			step *= shape[j]
		}
		return at
	}
	p := 0
	walk(batch, func(index []int64) {
		x, w := a.Data[offset(a.Shape[:ar-2], index)*m*k:], b.Data[offset(b.Shape[:br-2], index)*k*n:]
		multiply(out.Data[p:], x, w, int(m), int(k), int(n), int(k), 1, int(n), 1)
		p += int(m * n)
	})
	if out.Shape = batch; !row {
		out.Shape = append(out.Shape, m)
	}
	if !column {
		out.Shape = append(out.Shape, n)
	}
	return one(out, nil)
}

// ofIntegers is MatMulInteger and ConvInteger: the product of the operands less their zero points. A zero point is one
// number, or one for each row of the left matrix, column of the right one or output channel of a kernel.
func ofIntegers(product evaluator, axis int64) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		var operands [2]*Array
		for k := range operands {
			operands[k] = &Array{Shape: in[k].Shape, Data: in[k].Data}
			zero := input(in, 2+k)
			if zero == nil {
				continue
			}
			z := &Array{Shape: zero.Shape, Data: zero.Data}
			if len(z.Data) > 1 && len(z.Shape) == 1 { // a vector along its axis
				along := axis
				if axis < 0 {
					along = int64(k) - 2
				}
				at, err := axisOf(along, len(in[k].Shape))
				if err != nil {
					return nil, err
				}
				shape := slices.Repeat([]int64{1}, len(in[k].Shape))
				shape[at] = z.Shape[0]
				z = &Array{Shape: shape, Data: z.Data}
			}
			less, err := combine(subtract, operands[k], z)
			if err != nil {
				return nil, err
			}
			operands[k] = less
		}
		return product(n, operands[:])
	}
}

// gemmShape is [M, N].
func gemmShape(in *Inference, n *model.Node) [][]int64 {
	a, b := in.of(n.In(0)), in.of(n.In(1))
	out := freeShape(2)
	if len(a) == 2 {
		out[0] = a[transposed(n, "transA")]
	}
	if len(b) == 2 {
		out[1] = b[1-transposed(n, "transB")]
	}
	return shapes(out)
}

// transposed is 1 where a flag of a Gemm is set.
func transposed(n *model.Node, flag string) int {
	if n.Int(flag, 0) != 0 {
		return 1
	}
	return 0
}

// matMulShape is numpy.matmul's: the broadcast leading axes, rows of A, columns of B.
func matMulShape(in *Inference, n *model.Node) [][]int64 {
	a, b := in.of(n.In(0)), in.of(n.In(1))
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	var out []int64
	if len(a) >= 2 && len(b) >= 2 {
		out = slices.Clone(broadcastExtents(a[:len(a)-2], b[:len(b)-2]))
	} else if len(a) >= 2 {
		out = slices.Clone(a[:len(a)-2])
	} else if len(b) >= 2 {
		out = slices.Clone(b[:len(b)-2])
	}
	if len(a) >= 2 { // a vector is a row on the left and a column on the right: that axis is not in the product
		out = append(out, a[len(a)-2])
	}
	if len(b) >= 2 {
		out = append(out, b[len(b)-1])
	}
	if out == nil {
		out = []int64{}
	}
	return shapes(out)
}

func gemmNeeds(n *model.Node, in []*Array, out Part) []Box {
	a, b, c := in[0], input(in, 1), input(in, 2)
	if len(out.Box) != 2 || b == nil || len(a.Shape) != 2 || len(b.Shape) != 2 {
		return nil
	}
	boxes := []Box{Whole(a.Shape), Whole(b.Shape), nil}
	boxes[0][transposed(n, "transA")] = out.Box[0]
	boxes[1][1-transposed(n, "transB")] = out.Box[1]
	if c != nil {
		boxes[2] = broadcastBox(out.Box, c.Shape)
	}
	return boxes
}

func matMulNeeds(_ *model.Node, in []*Array, out Part) []Box {
	a, b := in[0], input(in, 1)
	if b == nil || len(a.Shape) == 0 || len(b.Shape) == 0 {
		return nil
	}
	box, left, right := out.Box, Whole(a.Shape), Whole(b.Shape)
	take := func(matrix Box, axis int) { // a vector's only axis is summed over
		if len(matrix) > 1 && len(box) > 0 {
			matrix[len(matrix)+axis] = box[len(box)-1]
			box = box[:len(box)-1]
		}
	}
	take(right, -1)
	take(left, -2)
	for matrix, shape := range map[*Box][]int64{&left: a.Shape, &right: b.Shape} {
		if axes := len(shape) - 2; axes > 0 {
			batch := broadcastBox(box, shape[:axes])
			if batch == nil {
				return nil
			}
			copy(*matrix, batch)
		}
	}
	return []Box{left, right}
}
