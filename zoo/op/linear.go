package op

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Linear is a node as matrix products: each group of rows of its weight times columns that are drawn from its input. So the
// weight is read in parts, and only once for any number of inputs.
type Linear struct {
	Input, Weight       int  // which of the node's inputs
	Groups, Rows, Depth int  // the weight is Groups matrices of Rows × Depth, one behind the other
	Across              bool // each is stored as Depth × Rows
	Columns             int  // for one input

	node  *model.Node
	shape []int64                                              // of the part of the output
	draw  func(x []float64, group int, to *Columns, first int) // fills the columns from first on
	place func(y []float64, width, first int, out []float64)   // adds what columns from first on of the product are to the output
}

// LinearOf describes a node as a product: given are the grids of its inputs, of those shapes, that are available, and out
// is the wanted grid of its output; nil grids mean everything. The result is false if the node is not such a product, or
// does not need its whole weight.
func LinearOf(n *model.Node, shapes [][]int64, given []Grid, out Grid) (*Linear, bool) {
	if n.Domain != "" && n.Domain != "ai.onnx" || len(shapes) < 2 || shapes[0] == nil || shapes[1] == nil {
		return nil, false
	}
	given = slices.Clone(given)
	for k := range given {
		if given[k] == nil {
			given[k] = WholeGrid(shapes[k])
		}
	}
	var l *Linear
	switch n.Type {
	case "Conv":
		l = linearConv(n, shapes, given, out)
	case "ConvTranspose":
		l = linearConvTranspose(n, shapes, given, out)
	case "MatMul":
		l = linearMatMul(n, shapes, given)
	case "Gemm":
		l = linearGemm(n, shapes, given)
	}
	if l == nil || l.Rows < 1 || l.Depth < 1 || l.Columns < 1 || out != nil && !slices.Equal(out.Shape(), l.shape) {
		return nil, false
	}
	l.node = n
	return l, true
}

// Draw fills columns from first on with what the weight's group is multiplied with.
func (l *Linear) Draw(x *Array, group int, to *Columns, first int) { l.draw(x.Data, group, to, first) }

// Finish makes the part of the output from the products. The array y has Groups·Rows rows of width numbers, of which Finish
// uses the columns from first on; nil means zeros. The bias is the node's third input, or nil. With absolute, the products
// are of absolute values.
func (l *Linear) Finish(y []float64, width, first int, bias *Array, absolute bool) (*Array, error) {
	out, err := NewArray(l.shape)
	if err != nil {
		return nil, err
	}
	if y != nil {
		l.place(y, width, first, out.Data)
	}
	n := l.node
	if n.Type == "Gemm" {
		if absolute {
			n = positive(n)
		}
		return out, scaleAndShift(n, out, bias)
	}
	if bias != nil {
		if int64(len(bias.Data)) != out.Shape[1] {
			return nil, fmt.Errorf("%v: a bias of shape %v for %d channels", n, bias.Shape, out.Shape[1])
		}
		perChannel(out, func(e, o int) { out.Data[e] += bias.Data[o] })
	}
	return out, nil
}

func arraysOf(shapes [][]int64) []*Array {
	in := make([]*Array, len(shapes))
	for k, s := range shapes {
		if s != nil {
			in[k] = &Array{Shape: s}
		}
	}
	return in
}

// spatialTaps are, for each output position in row-major order and each tap of the kernel, the offset of the element that
// the tap reads in an image of the positions given; −1 in the padding. It is not ok if the image lacks one of them.
func spatialTaps(given, out Grid, kernel []int64, read func(axis int, position, tap int64) (int64, bool)) (taps [][]int32, ok bool) {
	shape, step := out.Shape(), strides(given.Shape())
	tables := make([][]int32, len(out)) // by axis: for each position and tap
	for axis, list := range out {
		at := map[int64]int32{}
		number := int32(0)
		for _, r := range given[axis] {
			for i := r.From; i < r.To; i++ {
				at[i] = number
				number++
			}
		}
		for _, r := range list {
			for o := r.From; o < r.To; o++ {
				for k := range kernel[axis] {
					i, inside := read(axis, o, k)
					e, there := at[i]
					if inside && !there {
						return nil, false
					}
					if !inside {
						e = -1
					}
					tables[axis] = append(tables[axis], e)
				}
			}
		}
	}
	walk(shape, func(o []int64) {
		row := make([]int32, 0, product(kernel))
		walk(kernel, func(k []int64) {
			at := int32(0)
			for axis := range o {
				e := tables[axis][o[axis]*kernel[axis]+k[axis]]
				if e < 0 {
					at = -1
					break
				}
				at += e * int32(step[axis])
			}
			row = append(row, at)
		})
		taps = append(taps, row)
	})
	return taps, true
}

func linearConv(n *model.Node, shapes [][]int64, given []Grid, out Grid) *Linear {
	x, w, groups, err := convolution(n, arraysOf(shapes[:2]))
	if err != nil || w.Shape[1]*groups != x.Shape[1] || product(w.Shape) == 0 || !given[0][1:2].Equal(WholeGrid(x.Shape[1:2])) {
		return nil
	}
	win, err := newWindow(n, x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil
	}
	if out == nil {
		out = WholeGrid(slices.Concat([]int64{x.Shape[0], w.Shape[0]}, win.out))
	}
	taps, ok := spatialTaps(given[0][2:], out[2:], w.Shape[2:], func(axis int, o, k int64) (int64, bool) {
		i := o*win.stride[axis] + k*win.dilation[axis] - win.begin[axis]
		return i, i >= 0 && i < win.in[axis]
	})
	images, err := positions(given[0][0], out[0]) // the numbers of those wanted among those given
	if !ok || err != nil {
		return nil
	}
	size, kernel, in := int(product(given[0][2:].Shape())), int(product(w.Shape[2:])), int(w.Shape[1])
	l := &Linear{Input: 0, Weight: 1, Groups: int(groups), Rows: int(w.Shape[0] / groups), Depth: in * kernel, Columns: len(images) * len(taps)}
	l.shape = slices.Concat([]int64{int64(len(images)), w.Shape[0]}, out[2:].Shape())
	l.draw = func(x []float64, group int, to *Columns, first int) {
		for b, image := range images {
			planes := x[(int(image)*in*int(groups)+group*in)*size:][:in*size]
			for p, row := range taps {
				column := to.column(first + b*len(taps) + p)
				for i := range in {
					plane, part := planes[i*size:][:size], column[i*kernel*Panel:]
					for t, at := range row {
						if at >= 0 {
							part[t*Panel] = plane[at]
						}
					}
				}
			}
		}
	}
	rows := int(w.Shape[0])
	l.place = func(y []float64, width, first int, out []float64) {
		for b := range images {
			for o := range rows {
				copy(out[(b*rows+o)*len(taps):][:len(taps)], y[o*width+first+b*len(taps):])
			}
		}
	}
	return l
}

func linearConvTranspose(n *model.Node, shapes [][]int64, given []Grid, out Grid) *Linear {
	x, w, groups, err := convolution(n, arraysOf(shapes[:2]))
	if err != nil || w.Shape[0] != x.Shape[1] || product(w.Shape) == 0 || !given[0][1:2].Equal(WholeGrid(x.Shape[1:2])) {
		return nil
	}
	s, err := newSpread(n, x, w)
	if err != nil || slices.ContainsFunc(s.stride, func(d int64) bool { return d < 1 }) {
		return nil
	}
	spatial := len(x.Shape) - 2
	if out == nil {
		shape := []int64{x.Shape[0], w.Shape[1] * groups}
		for k := range spatial {
			shape = append(shape, max(0, (x.Shape[2+k]-1)*s.stride[k]+s.extra[k]+(w.Shape[2+k]-1)*s.dilation[k]+1-s.pads[k]-s.pads[k+spatial]))
		}
		if _, err := elements(shape); err != nil {
			return nil
		}
		out = WholeGrid(shape)
	}
	taps, ok := spatialTaps(given[0][2:], out[2:], w.Shape[2:], func(axis int, o, k int64) (int64, bool) {
		i := o + s.pads[axis] - k*s.dilation[axis]
		return floorDiv(i, s.stride[axis]), i%s.stride[axis] == 0 && i >= 0 && i/s.stride[axis] < x.Shape[2+axis]
	})
	images, err := positions(given[0][0], out[0]) // the numbers of those wanted among those given
	if !ok || err != nil {
		return nil
	}
	size, kernel, outs, in := int(product(given[0][2:].Shape())), int(product(w.Shape[2:])), int(w.Shape[1]), int(x.Shape[1]/groups)
	l := &Linear{Input: 0, Weight: 1, Groups: int(groups), Rows: outs * kernel, Depth: in, Across: true, Columns: len(images) * size}
	l.shape = slices.Concat([]int64{int64(len(images)), w.Shape[1] * groups}, out[2:].Shape())
	l.draw = func(x []float64, group int, to *Columns, first int) {
		for b, image := range images {
			planes := x[(int(image)*in*int(groups)+group*in)*size:][:in*size]
			for p := range size {
				column := to.column(first + b*size + p)
				for i := range in {
					column[i*Panel] = planes[i*size+p]
				}
			}
		}
	}
	l.place = func(y []float64, width, first int, out []float64) {
		channels := outs * int(groups)
		for b := range images {
			for o := range channels {
				to := out[(b*channels+o)*len(taps):][:len(taps)]
				for p, row := range taps {
					for t, at := range row {
						if at >= 0 {
							to[p] += y[(o*kernel+t)*width+first+b*size+int(at)]
						}
					}
				}
			}
		}
	}
	return l
}

// matrix is a product of one matrix: element k of column j stands at from[j] + k·down in the input, and row r of it at
// to[j] + r·step in the output.
func (l *Linear) matrix(from []int, down int, to []int, step int) *Linear {
	l.Groups, l.Columns = 1, len(from)
	l.draw = func(x []float64, _ int, columns *Columns, first int) {
		for j, start := range from {
			column := columns.column(first + j)
			for k := range l.Depth {
				column[k*Panel] = x[start+k*down]
			}
		}
	}
	l.place = func(y []float64, width, first int, out []float64) {
		for j, start := range to {
			for r := range l.Rows {
				out[start+r*step] = y[r*width+first+j]
			}
		}
	}
	return l
}

func linearMatMul(n *model.Node, shapes [][]int64, given []Grid) *Linear {
	left := ofFile(n, 0) && !ofFile(n, 1)
	weight, input := 1, 0
	if left {
		weight, input = 0, 1
	}
	w, x := shapes[weight], given[input].Shape()
	rank := len(x)
	if len(w) != 2 || rank == 0 || product(w) == 0 || product(x) == 0 || len(shapes) != 2 {
		return nil
	}
	if !left { // rows of numbers
		if x[rank-1] != w[0] || shapes[input][rank-1] != w[0] {
			return nil
		}
		l := &Linear{Input: 0, Weight: 1, Rows: int(w[1]), Depth: int(w[0]), Across: true, shape: slices.Concat(x[:rank-1], w[1:])}
		var from, to []int
		for j := range int(product(x[:rank-1])) {
			from, to = append(from, j*l.Depth), append(to, j*l.Rows)
		}
		return l.matrix(from, 1, to, 1)
	}
	axis, beside := max(rank-2, 0), 1
	if rank > 1 {
		beside = int(x[rank-1])
	}
	if x[axis] != w[1] || shapes[input][axis] != w[1] {
		return nil
	}
	l := &Linear{Input: 1, Weight: 0, Rows: int(w[0]), Depth: int(w[1]), shape: slices.Clone(x)}
	l.shape[axis] = w[0]
	var from, to []int
	for b := range int(product(x[:axis])) {
		for j := range beside {
			from, to = append(from, b*l.Depth*beside+j), append(to, b*l.Rows*beside+j)
		}
	}
	return l.matrix(from, beside, to, beside)
}

func linearGemm(n *model.Node, shapes [][]int64, given []Grid) *Linear {
	weight, input := 1, 0
	if ofFile(n, 0) && !ofFile(n, 1) {
		weight, input = 0, 1
	}
	w, x := shapes[weight], given[input].Shape()
	if len(w) != 2 || len(x) != 2 || product(w) == 0 || product(x) == 0 {
		return nil
	}
	l := &Linear{Input: input, Weight: weight}
	var summed int // the input's axis that is summed over
	if weight == 1 {
		t := transposed(n, "transB") == 1
		l.Across, summed = !t, 1-transposed(n, "transA")
	} else {
		l.Across, summed = transposed(n, "transA") == 1, transposed(n, "transB")
	}
	l.Rows, l.Depth = int(w[0]), int(w[1])
	if l.Across {
		l.Rows, l.Depth = l.Depth, l.Rows
	}
	if x[summed] != int64(l.Depth) || shapes[input][summed] != int64(l.Depth) {
		return nil
	}
	count, step := int(x[1-summed]), strides(x)
	var from, to []int
	for j := range count {
		from = append(from, j*int(step[1-summed]))
		if weight == 1 {
			to = append(to, j*l.Rows)
		} else {
			to = append(to, j)
		}
	}
	if weight == 1 {
		l.shape = []int64{int64(count), int64(l.Rows)}
		return l.matrix(from, int(step[summed]), to, 1)
	}
	l.shape = []int64{int64(l.Rows), int64(count)}
	return l.matrix(from, int(step[summed]), to, count)
}

// ofFile says whether input k is a constant of the file.
func ofFile(n *model.Node, k int) bool { return n.In(k) != nil && n.In(k).Const != nil }
