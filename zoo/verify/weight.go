package verify

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// chunk is the number of elements of a weight that are in memory at a time.
const chunk = 1 << 14

// reader reads a constant's elements, factors applied but not rounded, from first to last.
type reader struct {
	constant *model.Constant
	size     int64 // elements
	next     int64
	ahead    []float64 // read and not yet taken
	values   [chunk]float64
	scale    [chunk]float64
	raw      [chunk * 8]byte
}

// readers is a pool of readers, for their buffers.
var readers = sync.Pool{New: func() any { return new(reader) }}

// newReader reads from the first element on; release returns it to the pool.
func newReader(c *model.Constant) (*reader, error) {
	size, ok := c.Elements()
	if !ok || c.Data == nil && int64(len(c.Values)) != size || c.Data != nil && c.DType.Size() == 0 {
		return nil, fmt.Errorf("a constant of type %v and shape %v", c.DType, c.Shape)
	}
	r := readers.Get().(*reader)
	r.constant, r.size, r.next, r.ahead = c, size, 0, nil
	return r, nil
}

func (r *reader) release() {
	r.constant = nil
	readers.Put(r)
}

// take reads the next len(dst) elements.
func (r *reader) take(dst []float64) error {
	for len(dst) > 0 {
		n := copy(dst, r.ahead)
		if r.ahead = r.ahead[n:]; n == 0 && len(dst) < chunk/4 {
			ahead := r.values[:min(chunk, r.size-r.next)]
			if err := r.decode(ahead); err != nil {
				return err
			}
			r.ahead = ahead
		} else if n == 0 {
			n = min(len(dst), chunk)
			if err := r.decode(dst[:n]); err != nil {
				return err
			}
		}
		dst = dst[n:]
	}
	return nil
}

// skip continues at an element.
func (r *reader) skip(to int64) {
	done := r.next - int64(len(r.ahead))
	if to >= done && to <= r.next {
		r.ahead = r.ahead[to-done:]
		return
	}
	r.next, r.ahead = to, nil
}

// decode reads the next elements, at most chunk, past those that are read ahead.
func (r *reader) decode(dst []float64) error {
	c, n := r.constant, int64(len(dst))
	if n == 0 || r.next+n > r.size {
		return io.ErrUnexpectedEOF
	}
	first := r.next
	r.next += n
	if c.Data == nil {
		copy(dst, c.Values[first:])
		return nil
	}
	width := int64(c.DType.Size())
	if err := tensor.ReadFull(c.Data, r.raw[:n*width], first*width); err != nil {
		return err
	}
	if err := op.Widen(dst, r.raw[:n*width], c.DType); err != nil {
		return err
	}
	if len(c.Factors) > 0 {
		scale := r.scale[:n]
		products(scale, &tensor.Rescale{DType: c.DType, Elements: r.size, Factors: c.Factors}, first)
		for k, s := range scale {
			dst[k] *= s
		}
	}
	return nil
}

// constantPart are the elements of a grid of a constant.
func constantPart(c *model.Constant, grid op.Grid) (*op.Array, error) {
	out, err := op.NewArray(grid.Shape())
	if err != nil {
		return nil, err
	}
	out.DType = c.DType
	r, err := newReader(c)
	if err != nil {
		return nil, err
	}
	defer r.release()
	axis := len(grid) // the last one of which not all is asked for
	for axis > 0 && slices.Equal(grid[axis-1:axis].Shape(), c.Shape[axis-1:axis]) {
		axis--
	}
	inner := int64(1)
	for _, d := range c.Shape[axis:] {
		inner *= d
	}
	rest := out.Data
	var rows func(k int, first int64) error
	rows = func(k int, first int64) error {
		if k == axis {
			r.skip(first * inner)
			n := min(inner, int64(len(rest)))
			err := r.take(rest[:n])
			rest = rest[n:]
			return err
		}
		for _, list := range grid[k] {
			for i := list.From; i < list.To; i++ {
				if err := rows(k+1, first*c.Shape[k]+i); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if len(out.Data) > 0 {
		if err := rows(0, 0); err != nil {
			return nil, err
		}
	}
	if !c.DType.Float() && slices.ContainsFunc(out.Data, func(x float64) bool { return math.Abs(x) >= 1<<53 }) {
		return nil, fmt.Errorf("integers beyond 2^53 of shape %v: %w", c.Shape, op.ErrUnsupported)
	}
	return out, nil
}

// weight is the left operand of products: its elements in order, and their magnitudes where they are not the absolute values.
type weight struct{ value, magnitude source }

// source yields elements in order.
type source interface{ take(dst []float64) error }

// list is a source in memory.
type list struct{ rest []float64 }

func (l *list) take(dst []float64) error {
	l.rest = l.rest[copy(dst, l.rest):]
	return nil
}

// product computes a node that is a product with a weight, on all probes together, so that the weight is read once. false: it
// is none.
func (e *evaluation) product(ctx context.Context, n *model.Node) (bool, error) {
	if t := n.Type; t != "Conv" && t != "ConvTranspose" && t != "MatMul" && t != "Gemm" || len(n.Outputs) != 1 || n.Outputs[0] == nil {
		return false, nil
	}
	v := n.Outputs[0]
	var out op.Grid
	if e.needs != nil {
		if out = e.needs[v]; out == nil {
			return true, nil // nobody needs it
		}
		out = everyRow(n, out, e.shapes[v])
	}
	shapes, given := make([][]int64, len(n.Inputs)), make([]op.Grid, len(n.Inputs))
	for k, x := range n.Inputs {
		switch m, ok := e.values[x]; {
		case x == nil:
		case ok:
			if given[k], shapes[k] = m.grid, e.shapes[x]; m.grid == nil {
				shapes[k] = m.value[0].Shape
			}
		case e.given(x):
			shapes[k] = e.argument(x).Shape
		default:
			return false, nil
		}
	}
	l, ok := op.LinearOf(n, shapes, given, out)
	if !ok {
		return false, nil
	}
	x, isValue := e.values[n.Inputs[l.Input]]
	if !isValue {
		return false, nil
	}
	w, terms, weights, err := e.weightOf(n.Inputs[l.Weight], l)
	if w == nil || err != nil {
		return false, err
	}
	if r, ok := w.value.(*reader); ok {
		defer r.release()
	}
	in := make([]*op.Array, len(shapes))
	for k, s := range shapes {
		if s != nil {
			in[k] = &op.Array{Shape: s}
		}
	}
	result := measured{grid: out, terms: max(x.terms, terms), weights: max(x.weights, weights)}
	var bias *measured
	if b := n.In(2); b != nil {
		var grid op.Grid
		if out != nil {
			grid = op.GridNeeds(n, in, 0, e.shapes[v], out)[2]
		}
		m, err := e.read(b, grid)
		if err != nil {
			return false, err
		}
		bias = &m
		result.terms, result.weights = max(result.terms, m.terms), max(result.weights, m.weights)
	}
	result.terms, result.weights = result.terms+op.Terms(n, in), result.weights+1
	return true, e.multiply(ctx, n, l, x, w, bias, result)
}

// everyRow is the grid of a convolution's output with all channels, if not much fewer are asked for and the bias is at hand as
// a whole.
func everyRow(n *model.Node, out op.Grid, shape []int64) op.Grid {
	if n.Type != "Conv" && n.Type != "ConvTranspose" || len(out) < 2 || n.In(2) != nil && n.In(2).Const == nil {
		return out
	}
	all := slices.Clone(out)
	all[1] = []op.Range{{From: 0, To: shape[1]}}
	if volume(all.Shape()) > 4*volume(out.Shape()) {
		return out
	}
	return all
}

// weightOf is a weight that is the same on all probes, with the terms and weights behind it; nil for other values.
func (e *evaluation) weightOf(v *model.Value, l *op.Linear) (w *weight, terms, weights int64, err error) {
	if m, ok := e.values[v]; ok {
		if len(m.value) != 1 || len(m.value[0].Data) != l.Groups*l.Rows*l.Depth {
			return nil, 0, 0, nil
		}
		return &weight{&list{m.value[0].Data}, &list{m.magnitude[0].Data}}, m.terms, m.weights, nil
	}
	if v.Const == nil || !v.Const.DType.Float() {
		return nil, 0, 0, nil
	}
	r, err := newReader(v.Const)
	if err != nil {
		return nil, 0, 0, err
	}
	return &weight{value: r}, 0, 1, nil
}

func (e *evaluation) multiply(ctx context.Context, n *model.Node, l *op.Linear, x measured, w *weight, bias *measured, result measured) error {
	var active []int // the probes that are not all zeros
	for p := range x.value {
		if slices.ContainsFunc(x.value[p].Data, func(x float64) bool { return x != 0 }) || slices.ContainsFunc(x.magnitude[p].Data, func(x float64) bool { return x != 0 }) {
			active = append(active, p)
		}
	}
	columns := len(active) * l.Columns
	width := (columns + op.Panel - 1) / op.Panel * op.Panel
	if err := e.grant(2*float64(width)*float64(l.Depth+l.Groups*l.Rows)+4*chunk, n); err != nil {
		return err
	}
	var values, magnitudes []float64 // Groups·Rows × width
	if columns > 0 {
		values, magnitudes = make([]float64, l.Groups*l.Rows*width), make([]float64, l.Groups*l.Rows*width)
		b, m := op.NewColumns(l.Depth, columns), op.NewColumns(l.Depth, columns)
		for g := range l.Groups {
			if err := ctx.Err(); err != nil {
				return err
			}
			if g > 0 {
				clear(b.Data)
				clear(m.Data)
			}
			for k, p := range active {
				l.Draw(x.value[p], g, b, k*l.Columns)
				l.Draw(x.magnitude[p], g, m, k*l.Columns)
			}
			first, size := g*l.Rows*width, l.Rows*width
			if err := e.group(l, w, b, m, values[first:][:size], magnitudes[first:][:size]); err != nil {
				return fmt.Errorf("%v: %w", n, err)
			}
		}
	}
	for p := range x.value {
		var biasValue, biasMagnitude *op.Array
		if bias != nil {
			biasValue, biasMagnitude = bias.of(p)
		}
		y, z, first := values, magnitudes, slices.Index(active, p)*l.Columns
		if first < 0 {
			y, z, first = nil, nil, 0
		}
		value, err := l.Finish(y, width, first, biasValue, false)
		if err != nil {
			return err
		}
		magnitude, err := l.Finish(z, width, first, biasMagnitude, true)
		if err != nil {
			return err
		}
		result.value, result.magnitude = append(result.value, value), append(result.magnitude, magnitude)
	}
	e.keep(n.Outputs[0], result)
	return nil
}

// group multiplies one group of rows of a weight, chunk after chunk.
func (e *evaluation) group(l *op.Linear, w *weight, b, m *op.Columns, values, magnitudes []float64) error {
	panels, stride := b.Panels(), b.Depth*op.Panel
	width := panels * op.Panel
	rows, depth := min(max(chunk/l.Depth, 8)/8*8, l.Rows), l.Depth // rows go eight at a time
	switch {
	case l.Across:
		rows, depth = l.Rows, min(max(chunk/l.Rows, 8), l.Depth)
	case depth > chunk:
		rows, depth = 1, chunk
	}
	part, turned := make([]float64, rows*depth), []float64(nil)
	if l.Across {
		turned = make([]float64, rows*depth)
	}
	for row := 0; row < l.Rows; row += rows {
		r := min(rows, l.Rows-row)
		for from := 0; from < l.Depth; from += depth {
			n := min(depth, l.Depth-from)
			next := func(s source) ([]float64, error) {
				err := s.take(part[:r*n])
				if !l.Across || err != nil {
					return part[:r*n], err
				}
				turn(turned, part[:r*n], n, r)
				return turned[:r*n], nil
			}
			a, err := next(w.value)
			if err != nil {
				return err
			}
			e.products.Add(values[row*width:][:r*width], a, b.Data[from*op.Panel:], r, n, panels, stride, false)
			if w.magnitude != nil {
				if a, err = next(w.magnitude); err != nil {
					return err
				}
			}
			e.products.Add(magnitudes[row*width:][:r*width], a, m.Data[from*op.Panel:], r, n, panels, stride, true)
		}
	}
	return nil
}

// turn makes columns of rows, a few columns at a time, since where they go to lies far apart.
func turn(dst, src []float64, rows, columns int) {
	for first := 0; first < columns; first += 64 {
		few := min(64, columns-first)
		for r := range rows {
			to := first*rows + r
			for _, x := range src[r*columns+first:][:few] {
				dst[to] = x
				to += rows
			}
		}
	}
}
