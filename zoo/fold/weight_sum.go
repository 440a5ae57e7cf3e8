package fold

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Sum adds the edit that adds alpha·Σ W·t to input b of n, a bias over the channels of layout out (0 if omitted), where W
// is input k and t gives the shift of each element of W. The sum is tensor.Sum's.
func (m *move) Sum(n *model.Node, k, b int, alpha float64, dtype tensor.DType, out tensor.Layout, t tensor.Factor) *Reason {
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

// sums are Σ w·t over the elements of each channel of the layout, with t's scale as the shift of each element. An error of
// the backend fails the plan, since it says nothing about the model.
func (p *planner) sums(w *model.Value, out tensor.Layout, t tensor.Factor) ([]float64, error) {
	job := tensor.Sum{Out: out, Rescale: tensor.Rescale{DType: tensor.Float64, Factors: []tensor.Factor{t}}}
	var src io.ReaderAt
	if w.Const != nil && w.Const.Data != nil {
		src, job.DType, job.Factors = w.Const.Data, w.Const.DType, append(slices.Clone(w.Const.Factors), t)
		job.Elements, _ = w.Const.Elements()
	} else {
		_, values, ok := p.constant(w)
		if !ok {
			return nil, fmt.Errorf("%q is not a constant of moderate size", w.Name)
		}
		raw := make(tensor.Buffer, len(values)*job.DType.Size())
		if err := tensor.Encode(raw, values, job.DType); err != nil {
			return nil, err
		}
		src, job.Elements = raw, int64(len(values))
	}
	if err := job.Check(); err != nil {
		return nil, err
	}
	sums, err := p.opt.Backend.Sum(p.ctx, src, &job)
	p.failed = cmp.Or(p.failed, err)
	return sums, err
}
