package tensor

import (
	"context"
	"fmt"
	"io"
	"math"
)

// Sum describes one reduction of a stored tensor: for each channel c of Out, b·Channels + c of several blocks, the sum of
// W·s over the channel's elements, with s as in Rescale. All backends add in float64 and in the same order, so that they
// give the same bits. Element j of a channel, in stored order, is added to the partial sum j mod Ways. The partial sums are
// added up at the end, the first one first. All of these additions are compensated (Partial).
type Sum struct {
	Rescale
	Out Layout
}

// Ways is how many partial sums a channel has.
const Ways = 32

// maxPartials bounds the partial sums of a job, and so its memory.
const maxPartials = 1 << 27

// Check says what is wrong with a job, or nil.
func (s *Sum) Check() error {
	if err := s.Rescale.Check(); err != nil {
		return err
	}
	covered, ok := Elements([]int64{s.Out.Blocks, s.Out.Outer, s.Out.Channels, s.Out.Inner})
	if channels, fit := Elements([]int64{s.Out.Blocks, s.Out.Channels}); !ok || covered != s.Elements || !fit || channels > maxPartials/Ways {
		return fmt.Errorf("sum: the layout %+v for a tensor of %d elements", s.Out, s.Elements)
	}
	return nil
}

// Partials are the job's partial sums, all zero: Ways for each channel.
func (s *Sum) Partials() []Partial { return make([]Partial, s.Out.Blocks*s.Out.Channels*Ways) }

// Partial is the partial sum to which element e is added.
func (s *Sum) Partial(e int64) int64 {
	row := s.Out.Channels * s.Out.Inner
	number := e/row%s.Out.Outer*s.Out.Inner + e%s.Out.Inner
	return s.Out.Channel(e)*Ways + number%Ways
}

// Totals are the channels' sums, given all partial sums.
func (s *Sum) Totals(partials []Partial) []float64 {
	totals := make([]float64, len(partials)/Ways)
	for c := range totals {
		var t Partial
		for _, p := range partials[c*Ways:][:Ways] {
			t.Add(p.Sum)
			t.Add(p.Lost)
		}
		if totals[c] = t.Sum + t.Lost; math.IsNaN(totals[c]) {
			totals[c] = math.NaN() // with the canonical bit pattern
		}
	}
	return totals
}

// Partial is Neumaier's compensated sum (Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, 1974):
// Lost is the sum of the rounding errors of Sum.
type Partial struct{ Sum, Lost float64 }

// Add adds a number.
func (p *Partial) Add(x float64) {
	s := p.Sum + x
	large, small := math.Float64bits(p.Sum), math.Float64bits(x)
	if large<<1 < small<<1 { // in absolute value; a choice that processors make without a branch, which they would often guess wrong
		large, small = small, large
	}
	p.Lost += (math.Float64frombits(large) - s) + math.Float64frombits(small)
	p.Sum = s
}

// Sum adds one element after the other, in parts of 4096.
func (Reference) Sum(ctx context.Context, src io.ReaderAt, job *Sum) ([]float64, error) {
	if err := job.Check(); err != nil {
		return nil, err
	}
	partials := job.Partials()
	var values [4096]float64
	size := int64(job.DType.Size())
	part := make([]byte, int64(len(values))*size)
	for first := int64(0); first < job.Elements; first += int64(len(values)) {
		n := min(int64(len(values)), job.Elements-first)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("sum: stopped before byte %d: %w", first*size, err)
		}
		if err := ReadFull(src, part[:n*size], first*size); err != nil {
			return nil, fmt.Errorf("sum elements %d to %d: %w", first, first+n-1, err)
		}
		if err := Decode(values[:n], part[:n*size], job.DType); err != nil {
			return nil, err
		}
		for k, x := range values[:n] {
			e := first + int64(k)
			partials[job.Partial(e)].Add(float64(x * job.Scale(e))) // rounded here, on every processor
		}
	}
	return job.Totals(partials), nil
}
