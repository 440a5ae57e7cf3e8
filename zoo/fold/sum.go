package fold

import (
	"fmt"
	"io"
	"math"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Sum leaves the edit that input b of n, a bias over the channels of layout out (0 where omitted), gains
// alpha·Σ W·t, where W is input k and t gives each element of W its shift. The sum is taken in float64, compensated, in
// the order in which W is stored.
func (m *Move) Sum(n *model.Node, k, b int, alpha float64, dtype tensor.DType, out tensor.Layout, t tensor.Factor) *Reason {
	channels := int(out.Blocks * out.Channels)
	if v := n.In(b); v != nil {
		dtype = v.DType
	}
	if _, why := m.vector(n, b, channels); why != nil {
		return why
	}
	m.Check(func() *Reason {
		old, why := m.vector(n, b, channels)
		if why != nil {
			return why
		}
		sums, err := m.p.sums(n.Inputs[k], out, t)
		if err != nil {
			return because(Unsupported, "the weight of %v cannot be read: %v", n, err)
		}
		for c := range sums {
			sums[c] = old[c] + alpha*sums[c]
		}
		return m.Values(n, b, dtype, []int64{int64(channels)}, sums)
	})
	return nil
}

// sums are Σ w·t over the elements of each channel of the layout, with t's scale as the shift of each element.
func (p *Planner) sums(w *model.Value, out tensor.Layout, t tensor.Factor) ([]float64, error) {
	sum := make([]float64, out.Blocks*out.Channels)
	lost := make([]float64, len(sum))
	add := func(first int64, values []float64) {
		for j, x := range values {
			c := out.Channel(first + int64(j))
			x *= t.Scale[t.Channel(first+int64(j))]
			s := sum[c] + x
			if math.Abs(sum[c]) >= math.Abs(x) { // Neumaier: keep what the larger term swallows
				lost[c] += sum[c] - s + x
			} else {
				lost[c] += x - s + sum[c]
			}
			sum[c] = s
		}
	}
	if w.Const == nil || w.Const.Data == nil {
		_, values, ok := p.constant(w)
		if !ok {
			return nil, fmt.Errorf("%q is not a constant of moderate size", w.Name)
		}
		add(0, values)
	} else if err := eachChunk(w.Const, add); err != nil {
		return nil, err
	}
	for c := range sum {
		sum[c] += lost[c]
	}
	return sum, nil
}

// eachChunk calls f with a stored constant's elements, factors applied, in order and in chunks of bounded size.
func eachChunk(c *model.Constant, f func(first int64, values []float64)) error {
	const chunk = 1 << 15
	elements, ok := c.Elements()
	if !ok {
		return fmt.Errorf("shape %v makes no sense", c.Shape)
	}
	size := int64(c.DType.Size())
	job := tensor.Rescale{DType: c.DType, Elements: elements, Factors: c.Factors}
	raw, values := make([]byte, chunk*size), make([]float64, chunk)
	for first := int64(0); first < elements; first += chunk {
		n := min(chunk, elements-first)
		if _, err := io.ReadFull(io.NewSectionReader(c.Data, first*size, n*size), raw[:n*size]); err != nil {
			return err
		}
		if err := tensor.Decode(values[:n], raw[:n*size], c.DType); err != nil {
			return err
		}
		if len(c.Factors) > 0 {
			for j := range values[:n] {
				values[j] *= job.Scale(first + int64(j))
			}
		}
		f(first, values[:n])
	}
	return nil
}
