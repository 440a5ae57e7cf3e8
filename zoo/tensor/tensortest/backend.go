package tensortest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/tensor"
)

var floats = []tensor.DType{tensor.Float64, tensor.Float32, tensor.Float16, tensor.BFloat16}

// Backend runs the suite on a backend.
func Backend(t *testing.T, b tensor.Backend) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, tensor.Backend)
	}{
		{"ItHasAName", hasName},
		{"EverySizeIsExact", sizes},
		{"Every16BitPatternIsExact", patterns},
		{"SpecialValuesAreExact", specials},
		{"RandomLayoutsAreExact", layouts},
		{"NoFactorOnlyCleansNaN", noFactor},
		{"SourceAndDestinationMayBeTheSame", inPlace},
		{"EndOfFileWithTheLastByteIsNoError", endOfFile},
		{"ConcurrentCallsAreIndependent", concurrent},
		{"ReadErrorNamesItsByte", readError},
		{"ShortSourceIsUnexpectedEOF", shortSource},
		{"WriteErrorNamesItsByte", writeError},
		{"CancelledContextStopsBeforeReading", cancelled},
		{"CancellationStopsBetweenChunks", cancelledMidway},
		{"BadJobsAreRefused", refused},
		{"SumsOfEverySizeAreExact", sumSizes},
		{"SumsOfRandomLayoutsAreExact", sumLayouts},
		{"SpecialSumsAreExact", sumSpecials},
		{"SumsAtOnceAreIndependent", sumsAtOnce},
		{"ErrorsOfSumsNameTheirByte", sumErrors},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, b) })
	}
}

// Large runs a tensor of more than 2^31 bytes through a backend, without such a file or such memory. It takes seconds and
// is skipped under -short. Reference, which is slow, is not asked for it.
func Large(t *testing.T, b tensor.Backend) {
	if testing.Short() {
		t.Skip("moves 2 GiB")
	}
	const size = 8
	layout := tensor.Layout{Blocks: 1, Outer: 348199, Channels: 257, Inner: 3}
	scale := make([]float64, layout.Channels)
	for c := range scale {
		scale[c] = 1 + float64(c)/256
	}
	src := make(pattern, 32749*size)
	for k := 0; k < len(src); k += size {
		binary.LittleEndian.PutUint64(src[k:], math.Float64bits(float64(k+1)))
	}
	dst := &sampled{size: size, look: func(off int64, element []byte) error {
		e := off / size
		want := float64(off%int64(len(src))+1) * scale[e/layout.Inner%layout.Channels]
		if got := math.Float64frombits(binary.LittleEndian.Uint64(element)); got != want {
			return fmt.Errorf("element %d is %v, want %v", e, got, want)
		}
		return nil
	}}
	job := &tensor.Rescale{
		DType: tensor.Float64, Elements: layout.Elements(), Factors: []tensor.Factor{{Layout: layout, Scale: scale}},
	}
	tally, err := b.Rescale(context.Background(), dst, src, job)
	if err != nil {
		t.Fatal(err)
	}
	if err := dst.writes.cover(job.Elements * size); err != nil {
		t.Error(err)
	}
	if tally != tensor.NewTally() {
		t.Errorf("tally %+v of ordinary numbers", tally)
	}
}

// check runs a job and compares bytes, tally and the writes with the oracle's.
func check(t *testing.T, b tensor.Backend, job *tensor.Rescale, src []byte) {
	t.Helper()
	before := slices.Clone(src)
	dst := newOnce(len(src))
	tally, err := b.Rescale(context.Background(), dst, source{src}, job)
	if err != nil {
		t.Fatalf("%v, %d elements: %v", job.DType, job.Elements, err)
	}
	if err := dst.writes.cover(int64(len(src))); err != nil {
		t.Errorf("%v, %d elements: %v", job.DType, job.Elements, err)
	}
	if !slices.Equal(src, before) {
		t.Errorf("%v, %d elements: the source was changed", job.DType, job.Elements)
	}
	want, wantTally := Expect(job, src)
	compare(t, job, src, dst.bytes, want)
	if tally != wantTally {
		t.Errorf("%v, %d elements: tally %+v, want %+v", job.DType, job.Elements, tally, wantTally)
	}
}

func compare(t *testing.T, job *tensor.Rescale, src, got, want []byte) {
	t.Helper()
	size := job.DType.Size()
	for k := 0; k < len(want); k += size {
		if !slices.Equal(got[k:k+size], want[k:k+size]) {
			e := int64(k / size)
			t.Errorf("%v, %d elements: element %d: %#x (%v) times %v is %#x, want %#x", job.DType, job.Elements, e,
				load(src[k:], size), Value(load(src[k:], size), job.DType), job.Scale(e), load(got[k:], size), load(want[k:], size))
			return
		}
	}
}

// perElement is a job whose every element is a channel of its own.
func perElement(d tensor.DType, scale []float64) *tensor.Rescale {
	n := int64(len(scale))
	return &tensor.Rescale{DType: d, Elements: n, Factors: []tensor.Factor{{
		Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: n, Inner: 1}, Scale: scale,
	}}}
}

// uniform is a job with one scale for all elements.
func uniform(d tensor.DType, elements int64, scale float64) *tensor.Rescale {
	return &tensor.Rescale{DType: d, Elements: elements, Factors: []tensor.Factor{{
		Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: 1, Inner: elements}, Scale: []float64{scale},
	}}}
}

// random is a generator whose seed a failing test prints.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// weights is a tensor of ordinary numbers, and now and then any bit pattern, repeated after a prime number of elements.
func weights(r *rand.Rand, d tensor.DType, elements int64) []byte {
	size := d.Size()
	b := make([]byte, elements*int64(size))
	base := b[:min(len(b), 8191*size)]
	for k := 0; k < len(base); k += size {
		bits := Round(r.NormFloat64()*0.1, d)
		switch r.IntN(64) {
		case 0:
			bits = r.Uint64() // store cuts it to size
		case 1:
			bits = 0
		}
		store(base[k:], size, bits)
	}
	for n := len(base); n < len(b); {
		n += copy(b[n:], b[:n])
	}
	return b
}

// scales is ordinary scales, and now and then one of awkward.
func scales(r *rand.Rand, n int64) []float64 {
	s := make([]float64, n)
	for k := range s {
		s[k] = math.Exp(r.NormFloat64())
		switch r.IntN(16) {
		case 0:
			s[k] = awkward[r.IntN(len(awkward))]
		case 1:
			s[k] = -s[k]
		}
	}
	return s
}

// awkward is scales that overflow, underflow, vanish, or put a product beside the midpoint of two neighbours, where
// rounding twice goes wrong.
var awkward = []float64{
	0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0xfff4000000000001),
	math.SmallestNonzeroFloat64, math.MaxFloat64, 0x1p-1022, 1e300, 1e-300, 65520, 65519.99, 0x1p127, 0x1p-149, 0x1p-126,
	0x1p-14, 0x1p-24, 0x1p-25, 0x1p-25 + 0x1p-70, 0x1p-133, 0x1p-134, 0x1p-134 + 0x1p-180, 0x1p-150, 0x1p-150 + 0x1p-190,
	1.5, 1.25, 1 + 0x1p-52, 1 - 0x1p-53, 1 - 0x1p-12, 1 - 0x1p-9, 1 - 0x1p-25,
	1 + 0x1p-11, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11 - 0x1p-40, 1 + 0x1p-8, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-8 - 0x1p-40,
	1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-52, 1 + 0x1p-24 - 0x1p-52,
}

func hasName(t *testing.T, b tensor.Backend) {
	if b.Name() == "" {
		t.Error("the report shows who rescales: a backend has a name")
	}
}

func sizes(t *testing.T, b tensor.Backend) {
	r := random(t)
	for _, d := range floats {
		counts := []int64{0, 1, 2, 3, 7, 8, 9, 31, 33, 1023, 1024, 1025, 4095, 4097}
		for _, bytes := range []int64{64 << 10, 512 << 10} {
			n := bytes / int64(d.Size())
			counts = append(counts, n-1, n, n+1)
		}
		counts = append(counts, 1<<20/int64(d.Size())+1)
		for _, n := range counts {
			check(t, b, perElement(d, scales(r, n)), weights(r, d, n))
		}
	}
}

func patterns(t *testing.T, b tensor.Backend) {
	all := make([]byte, 2*65536)
	for k := range 65536 {
		binary.LittleEndian.PutUint16(all[2*k:], uint16(k))
	}
	r := random(t)
	for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16} {
		for _, s := range awkward {
			check(t, b, uniform(d, 65536, s), all)
		}
		check(t, b, uniform(d, 65536, r.Float64()), all)
		check(t, b, perElement(d, scales(r, 65536)), all)
	}
}

// Special is a tensor of every special value times every awkward scale, each element with its own.
func Special(d tensor.DType) (*tensor.Rescale, []byte) {
	f := formats[d]
	infinity := f.infinity()
	magnitudes := []uint64{
		0, 1, 2, 1<<f.fraction - 1, 1 << f.fraction, 1<<f.fraction + 1, infinity - 1, infinity,
		infinity | 1, infinity | 1<<(f.fraction-1), infinity | 1<<(f.fraction-1) | 5, infinity | (1<<f.fraction - 1),
		Round(1, d), Round(1, d) + 1, Round(1, d) - 1, Round(3, d), Round(0.1, d),
	}
	var src []byte
	var scale []float64
	for _, m := range magnitudes {
		for _, sign := range []uint64{0, 1 << (8*f.size() - 1)} {
			for _, s := range awkward {
				src = append(src, make([]byte, f.size())...)
				store(src[len(src)-f.size():], f.size(), m|sign)
				scale = append(scale, s)
			}
		}
	}
	return perElement(d, scale), src
}

func specials(t *testing.T, b tensor.Backend) {
	r := random(t)
	for _, d := range floats {
		job, src := Special(d)
		scale, size := job.Factors[0].Scale, d.Size()
		check(t, b, job, src)
		tail := 16/size - 1 // what the elements of a vector of 16 bytes leave at most
		for k := 0; k < len(scale); k += tail {
			end := min(k+tail, len(scale))
			check(t, b, perElement(d, scale[k:end]), src[k*size:end*size])
		}
		for k := range src[:256] { // special values among others, at every place of a vector
			if k%size == 0 {
				one := weights(r, d, 64)
				copy(one[k%len(one):], src[k:k+size])
				check(t, b, uniform(d, 64, scale[k/size]), one)
			}
		}
	}
}

func layouts(t *testing.T, b tensor.Backend) {
	r := random(t)
	for range 150 {
		var axes [5]int64
		elements := int64(1 << 20)
		for elements > 1<<16 {
			elements = 1
			for k := range axes {
				axes[k] = []int64{1, 1, 2, 3, 4, 5, 9, 16, 31, 100, 700}[r.IntN(11)]
				elements *= axes[k]
			}
		}
		product := func(axes []int64) int64 {
			n := int64(1)
			for _, a := range axes {
				n *= a
			}
			return n
		}
		job := &tensor.Rescale{DType: floats[r.IntN(len(floats))], Elements: elements}
		for range 1 + r.IntN(3) {
			cut := []int{r.IntN(6), r.IntN(6), r.IntN(6)}
			if r.IntN(2) == 0 {
				cut[0] = 0 // one block, as most operators have
			}
			slices.Sort(cut)
			l := tensor.Layout{
				Blocks: product(axes[:cut[0]]), Outer: product(axes[cut[0]:cut[1]]),
				Channels: product(axes[cut[1]:cut[2]]), Inner: product(axes[cut[2]:]),
			}
			job.Factors = append(job.Factors, tensor.Factor{Layout: l, Scale: scales(r, l.Blocks*l.Channels)})
		}
		check(t, b, job, weights(r, job.DType, elements))
		if t.Failed() {
			t.Fatalf("axes %v, factors' layouts %v", axes, job.Factors)
		}
	}
}

func noFactor(t *testing.T, b tensor.Backend) {
	r := random(t)
	for _, d := range floats {
		check(t, b, &tensor.Rescale{DType: d, Elements: 5000}, weights(r, d, 5000))
	}
}

func inPlace(t *testing.T, b tensor.Backend) {
	r := random(t)
	for _, d := range floats {
		n := int64(1<<20)/int64(d.Size()) + 3
		job, src := perElement(d, scales(r, n)), weights(r, d, n)
		want, wantTally := Expect(job, src)
		file := tensor.Buffer(slices.Clone(src))
		tally, err := b.Rescale(context.Background(), file, file, job)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, job, src, file, want)
		if tally != wantTally {
			t.Errorf("%v: tally %+v, want %+v", d, tally, wantTally)
		}
	}
}

func endOfFile(t *testing.T, b tensor.Backend) {
	r := random(t)
	job, src := uniform(tensor.Float32, 1000, 2), weights(r, tensor.Float32, 1000)
	dst := newOnce(len(src))
	if _, err := b.Rescale(context.Background(), dst, eager{src}, job); err != nil {
		t.Fatal(err)
	}
	want, _ := Expect(job, src)
	compare(t, job, src, dst.bytes, want)
}

func concurrent(t *testing.T, b tensor.Backend) {
	var all sync.WaitGroup
	for k := range 8 {
		d := floats[k%len(floats)]
		r := random(t)
		n := int64(100_000*(k%3) + 1000 + k)
		job, src := perElement(d, scales(r, n)), weights(r, d, n)
		all.Go(func() { check(t, eachFails{b}, job, src) })
	}
	all.Wait()
}

// eachFails turns an error into a wrong tally, because only a test's own goroutine may end it.
type eachFails struct{ tensor.Backend }

func (b eachFails) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	tally, err := b.Backend.Rescale(ctx, dst, src, job)
	if err != nil {
		tally.FirstNonFinite = -2
	}
	return tally, nil
}

var errPlanted = errors.New("planted fault")

// faults is the elements and the bytes to fail at of a float32 tensor of several chunks.
const faultElements = 1<<20 + 5

var faults = []int64{0, 4, 1<<20 + 1, 4*faultElements - 1}

func readError(t *testing.T, b tensor.Backend) {
	for _, at := range faults {
		for _, short := range []int{0, 1, 4} {
			src := &faultySource{Buffer: make(tensor.Buffer, 4*faultElements), at: at, err: errPlanted, short: short}
			tally, err := b.Rescale(context.Background(), nowhere{}, src, uniform(tensor.Float32, faultElements, 2))
			named(t, tally, err, errPlanted, src.offsets)
		}
	}
}

func shortSource(t *testing.T, b tensor.Backend) {
	for _, missing := range []int{1, 4, 4096, 4 * faultElements} {
		src := make(tensor.Buffer, 4*faultElements-missing)
		tally, err := b.Rescale(context.Background(), nowhere{}, src, uniform(tensor.Float32, faultElements, 2))
		named(t, tally, err, io.ErrUnexpectedEOF, nil)
	}
	silent := &faultySource{Buffer: make(tensor.Buffer, 4*faultElements), at: 1 << 20, short: 8}
	tally, err := b.Rescale(context.Background(), nowhere{}, silent, uniform(tensor.Float32, faultElements, 2))
	named(t, tally, err, io.ErrUnexpectedEOF, silent.offsets)
}

func writeError(t *testing.T, b tensor.Backend) {
	for _, at := range faults {
		for cause, want := range map[error]error{errPlanted: errPlanted, nil: io.ErrShortWrite} {
			src, dst := make(tensor.Buffer, 4*faultElements), &faultySink{at: at, err: cause}
			dst.Buffer = make(tensor.Buffer, len(src))
			tally, err := b.Rescale(context.Background(), dst, src, uniform(tensor.Float32, faultElements, 2))
			named(t, tally, err, want, dst.offsets)
		}
	}
}

// named checks that a call failed for that cause, with no tally, and that its error names one of the offsets.
func named(t *testing.T, tally tensor.Tally, err, cause error, offsets []int64) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want one that wraps %v", err, cause)
		return
	}
	if tally != tensor.NewTally() {
		t.Errorf("tally %+v beside an error", tally)
	}
	names := func(off int64) bool {
		return slices.Contains(regexp.MustCompile(`\d+`).FindAllString(err.Error(), -1), strconv.FormatInt(off, 10))
	}
	if len(offsets) > 0 && !slices.ContainsFunc(offsets, names) {
		t.Errorf("error %q does not name byte %v", err, offsets)
	}
}

func cancelled(t *testing.T, b tensor.Backend) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, n := range []int64{1, faultElements} {
		src := &endless{first: func() { t.Errorf("%d elements: read though the context was cancelled", n) }}
		tally, err := b.Rescale(ctx, nowhere{}, src, uniform(tensor.Float32, n, 2))
		named(t, tally, err, context.Canceled, []int64{0})
	}
}

func cancelledMidway(t *testing.T, b tensor.Backend) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	src := &endless{first: cancel}
	const elements = 1 << 28
	tally, err := b.Rescale(ctx, nowhere{}, src, uniform(tensor.Float32, elements, 2))
	named(t, tally, err, context.Canceled, nil)
	if src.read > 4*elements/2 {
		t.Errorf("%d of %d bytes read after the context was cancelled", src.read, 4*elements)
	}
}

func refused(t *testing.T, b tensor.Backend) {
	l := func(blocks, outer, channels, inner int64) tensor.Layout {
		return tensor.Layout{Blocks: blocks, Outer: outer, Channels: channels, Inner: inner}
	}
	for _, job := range []*tensor.Rescale{
		{DType: tensor.Int8, Elements: 4},
		{DType: tensor.Undefined, Elements: 4},
		{DType: tensor.Float32, Elements: -1},
		{DType: tensor.Float64, Elements: math.MaxInt64 / 4},
		{DType: tensor.Float32, Elements: 4, Factors: []tensor.Factor{{Layout: l(1, 1, 3, 1), Scale: make([]float64, 3)}}},
		{DType: tensor.Float32, Elements: 4, Factors: []tensor.Factor{{Layout: l(1, 1, 4, 1), Scale: make([]float64, 3)}}},
		{DType: tensor.Float32, Elements: 4, Factors: []tensor.Factor{{Layout: l(2, 1, 2, 1), Scale: make([]float64, 2)}}},
		{DType: tensor.Float32, Elements: 4, Factors: []tensor.Factor{{Layout: l(-1, 1, -4, 1), Scale: make([]float64, 4)}}},
		{DType: tensor.Float32, Elements: 4, Factors: []tensor.Factor{
			{Layout: l(1, 1, 4, 1), Scale: make([]float64, 4)}, {Layout: l(1, 2, 4, 1), Scale: make([]float64, 4)},
		}},
		{DType: tensor.Float32, Elements: 4, Factors: []tensor.Factor{ // 2^64 + 4 elements
			{Layout: l(1, 1<<62+1, 1, 4), Scale: make([]float64, 1)},
		}},
	} {
		src := &endless{first: func() { t.Errorf("%+v: read", job) }}
		if tally, err := b.Rescale(context.Background(), nowhere{}, src, job); err == nil {
			t.Errorf("%+v: no error", job)
		} else if tally != tensor.NewTally() {
			t.Errorf("%+v: tally %+v beside an error", job, tally)
		}
	}
}
