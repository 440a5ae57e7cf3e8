package tensortest

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// ExpectSums are the sums of a job, by its documentation: block by block, channel by channel, element by element.
func ExpectSums(job *tensor.Sum, src []byte) []float64 {
	size, out := int64(job.DType.Size()), job.Out
	var totals []float64
	for channel := range out.Blocks * out.Channels {
		block, c := channel/out.Channels, channel%out.Channels
		var sum, lost [tensor.Ways]float64
		number := 0
		for o := range out.Outer {
			for i := range out.Inner {
				e := ((block*out.Outer+o)*out.Channels+c)*out.Inner + i
				w := number % tensor.Ways
				sum[w], lost[w] = neumaier(sum[w], lost[w], Value(load(src[e*size:], int(size)), job.DType)*job.Scale(e))
				number++
			}
		}
		total, rest := 0.0, 0.0
		for w := range sum {
			total, rest = neumaier(total, rest, sum[w])
			total, rest = neumaier(total, rest, lost[w])
		}
		totals = append(totals, total+rest)
	}
	return totals
}

// neumaier adds x to a sum of which something was lost.
func neumaier(sum, lost, x float64) (float64, float64) {
	t := sum + x
	large, small := sum, x
	if !(math.Abs(sum) >= math.Abs(x)) {
		large, small = x, sum
	}
	lost += (large - t) + small
	return t, lost
}

func checkSums(t *testing.T, b tensor.Backend, job *tensor.Sum, src []byte) {
	t.Helper()
	got, err := b.Sum(context.Background(), source{src}, job)
	if err != nil {
		t.Fatalf("%v, %d elements: %v", job.DType, job.Elements, err)
	}
	want := ExpectSums(job, src)
	if len(got) != len(want) {
		t.Fatalf("%v, %d elements: %d sums, want %d", job.DType, job.Elements, len(got), len(want))
	}
	for c := range want {
		if tensor.Bits64(got[c]) != tensor.Bits64(want[c]) {
			t.Fatalf("%v, %d elements, %+v: sum %d is %v, want %v", job.DType, job.Elements, job.Out, c, got[c], want[c])
		}
	}
}

// over is a job that sums the elements of a tensor with one scale each over a layout.
func over(out tensor.Layout, r *tensor.Rescale) *tensor.Sum {
	return &tensor.Sum{Rescale: *r, Out: out}
}

func sumSizes(t *testing.T, b tensor.Backend) {
	r := random(t)
	for _, d := range floats {
		for _, n := range []int64{0, 1, 2, tensor.Ways - 1, tensor.Ways, tensor.Ways + 1, 1023, 4097, 1<<18 + 3} {
			job := perElement(d, scales(r, n))
			for k := range job.Factors[0].Scale { // mostly sums that stay finite
				if s := &job.Factors[0].Scale[k]; r.IntN(1000) != 0 && !(math.Abs(*s) < 1e6) {
					*s = 1
				}
			}
			src := ordinary(r.NormFloat64, d, n)
			checkSums(t, b, over(tensor.Layout{Blocks: 1, Outer: 1, Channels: 1, Inner: n}, job), src)
			checkSums(t, b, over(tensor.Layout{Blocks: 1, Outer: 1, Channels: n, Inner: 1}, job), src)
			if n%3 == 0 {
				checkSums(t, b, over(tensor.Layout{Blocks: 1, Outer: n / 3, Channels: 3, Inner: 1}, job), src)
			}
		}
	}
}

// ordinary is a tensor of finite numbers.
func ordinary(draw func() float64, d tensor.DType, n int64) []byte {
	size := d.Size()
	b := make([]byte, n*int64(size))
	for k := 0; k < len(b); k += size {
		store(b[k:], size, Round(draw(), d))
	}
	return b
}

func sumLayouts(t *testing.T, b tensor.Backend) {
	r := random(t)
	product := func(axes []int64) int64 {
		n := int64(1)
		for _, a := range axes {
			n *= a
		}
		return n
	}
	for range 60 {
		axes := make([]int64, 5)
		for elements := int64(1 << 20); elements > 1<<15; elements = product(axes) {
			for k := range axes {
				axes[k] = []int64{1, 1, 2, 3, 4, 5, 9, 16, 33, 100, 300}[r.IntN(11)]
			}
		}
		layout := func() tensor.Layout {
			cut := []int{r.IntN(2) * r.IntN(6), r.IntN(6), r.IntN(6)}
			slices.Sort(cut)
			return tensor.Layout{
				Blocks: product(axes[:cut[0]]), Outer: product(axes[cut[0]:cut[1]]), Channels: product(axes[cut[1]:cut[2]]), Inner: product(axes[cut[2]:]),
			}
		}
		job := &tensor.Sum{Out: layout(), Rescale: tensor.Rescale{DType: floats[r.IntN(len(floats))], Elements: product(axes)}}
		for range r.IntN(3) {
			l := layout()
			scale := make([]float64, l.Blocks*l.Channels)
			for c := range scale {
				scale[c] = r.NormFloat64()
			}
			job.Factors = append(job.Factors, tensor.Factor{Layout: l, Scale: scale})
		}
		checkSums(t, b, job, ordinary(r.NormFloat64, job.DType, job.Elements))
	}
}

// SpecialSums is a job of sums that overflow, cancel, lose all but what compensation keeps, or are no numbers.
func SpecialSums(d tensor.DType) (*tensor.Sum, []byte) {
	list := [][]float64{
		{1e300, 1e300, -1e300}, {math.MaxFloat64, math.MaxFloat64}, {1, 1e16, -1e16}, {1e16, 1, -1e16}, {0x1p60, 1, 1, -0x1p60},
		{math.Inf(1), 1}, {math.Inf(1), math.Inf(-1)}, {math.NaN(), 1}, {math.Copysign(0, -1)}, {0x1p-1074, 0x1p-1074}, {1e-300, -1e-300},
		{3, -3, 0x1p-60}, {0.1, 0.2, 0.3}, {-1e16, 3, 1e16, 5}, {1, -1e16, 1e16},
	}
	const inner = 4 * tensor.Ways
	count := int64(2*len(list) + 1)
	job := &tensor.Sum{
		Out:     tensor.Layout{Blocks: 1, Outer: 1, Channels: count, Inner: inner},
		Rescale: tensor.Rescale{DType: d, Elements: count * inner},
	}
	scale, elements := make([]float64, job.Elements), make([]float64, job.Elements)
	for e := range elements {
		elements[e] = 1
	}
	for c, values := range list {
		for k, x := range values {
			scale[c*inner+k*tensor.Ways] = x                     // in one partial sum
			scale[(len(list)+c)*inner+k*(tensor.Ways-1)+2*c] = x // in several ones
		}
	}
	for e := 2 * len(list) * inner; e < len(elements); e++ { // subnormals of both signs
		elements[e], scale[e] = math.Copysign(d.SmallestNormal()/2, float64(e%3)-1), 1
	}
	one := tensor.Layout{Blocks: 1, Outer: 1, Channels: job.Elements, Inner: 1}
	job.Factors = []tensor.Factor{{Layout: one, Scale: scale}}
	size := d.Size()
	src := make([]byte, len(elements)*size)
	for e, x := range elements {
		store(src[e*size:], size, Round(x, d))
	}
	return job, src
}

func sumSpecials(t *testing.T, b tensor.Backend) {
	for _, d := range floats {
		job, src := SpecialSums(d)
		checkSums(t, b, job, src)
	}
}

func sumErrors(t *testing.T, b tensor.Backend) {
	job := over(tensor.Layout{Blocks: 1, Outer: 1, Channels: 3, Inner: faultElements / 3}, uniform(tensor.Float32, faultElements, 2))
	for _, at := range faults {
		src := &faultySource{Buffer: make(tensor.Buffer, 4*faultElements), at: at, err: errPlanted}
		sums, err := b.Sum(context.Background(), src, job)
		if sums != nil {
			t.Errorf("byte %d: sums beside an error", at)
		}
		named(t, tensor.NewTally(), err, errPlanted, src.offsets)
	}
	_, err := b.Sum(context.Background(), make(tensor.Buffer, 4*faultElements-1), job)
	named(t, tensor.NewTally(), err, io.ErrUnexpectedEOF, nil)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Sum(ctx, &endless{first: func() { t.Error("read though the context was cancelled") }}, job); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	bad := *job
	for _, out := range []tensor.Layout{{}, {Blocks: 1, Outer: 1, Channels: 2, Inner: faultElements / 2}, {Blocks: -1, Outer: 1, Channels: -1, Inner: faultElements}, {Blocks: 1, Outer: 1 << 62, Channels: 1 << 62, Inner: 1}} {
		bad.Out = out
		if _, err := b.Sum(context.Background(), &endless{first: func() { t.Errorf("%+v: read", out) }}, &bad); err == nil {
			t.Errorf("%+v: no error", out)
		}
	}
}

func sumsAtOnce(t *testing.T, b tensor.Backend) {
	var group sync.WaitGroup
	for k := range int64(8) {
		group.Go(func() {
			n := 100_000 + 1000*k
			src := ordinary(func() float64 { return float64(k) }, tensor.Float32, n)
			got, err := b.Sum(context.Background(), source{src}, over(tensor.Layout{Blocks: 1, Outer: 1, Channels: 1, Inner: n}, uniform(tensor.Float32, n, 2)))
			if err != nil || got[0] != float64(2*k*n) {
				t.Errorf("%v %v, want %d", got, err, 2*k*n)
			}
		})
	}
	group.Wait()
}
