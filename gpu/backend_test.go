//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/gpu/kernels"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

// TestMain makes the test binary a program that says what it finds, for tests of drivers that are not as they should be.
func TestMain(m *testing.M) {
	switch os.Getenv("ZOOFOLD_TEST") {
	case "describe":
		fmt.Println(Describe())
		os.Exit(0)
	case "device":
		os.Exit(said(describeDevice()))
	case "start":
		os.Exit(said(start()))
	case "rescale":
		os.Exit(often(rescales))
	case "sum":
		os.Exit(often(sums))
	}
	os.Exit(m.Run())
}

// said is the exit code of a child that ended so.
func said(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const emulator = "bin/libcuda.so.1"

// library is the driver that tests run on: the emulator, unless ZOOFOLD_LIBCUDA names another one, or is empty: then it is
// what the dynamic linker finds.
func library(t *testing.T) string {
	if path, named := os.LookupEnv("ZOOFOLD_LIBCUDA"); named {
		return path
	}
	path, err := filepath.Abs("../" + emulator)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("no emulator: make emulator builds it")
	}
	return path
}

// everything is worth sending.
var everything = Worth{Rescale: 1, Sum: 1, Chunk: Default.Chunk}

func open(t *testing.T, o Options) *Backend {
	t.Helper()
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	if o.CPU = cpu.New(2); o.Worth == (Worth{}) {
		o.Worth = everything
	}
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestKernels(t *testing.T) {
	coverage := filepath.Join(t.TempDir(), "coverage")
	t.Setenv("ZOOFOLD_EMULATOR_COVERAGE", coverage)
	passed := t.Run("PassTheSuiteOfAllBackends", suiteOfBackends)
	passed = t.Run("SumSeveralChunksExactly", sumsOfSeveralChunks) && passed
	passed = t.Run("ScaleElementsBeyond32Bits", elementsBeyond32Bits) && passed
	t.Run("ExecuteEveryInstruction", func(t *testing.T) {
		f, err := os.Open(coverage)
		if !passed || errors.Is(err, fs.ErrNotExist) {
			t.Skip("a test before failed or did not run, or the driver is no emulator, which counts instructions")
		} else if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines, total := map[string]bool{}, 0
		for s := bufio.NewScanner(f); s.Scan(); {
			if _, err := fmt.Sscanf(s.Text(), "total %d", &total); err != nil {
				lines[s.Text()] = true
			}
		}
		t.Logf("%d of %d PTX instructions", len(lines), total)
		if total == 0 || len(lines) < total {
			t.Errorf("only %d of %d PTX instructions were executed; not: line %v", len(lines), total, unexecuted(lines))
		}
	})
}

func suiteOfBackends(t *testing.T) {
	b := open(t, Options{})
	tensortest.Backend(t, b)
	if notes := b.Notes(); len(notes) > 0 {
		t.Errorf("the CPU took over: %v", notes)
	}
}

// gauge is a source that looks, whenever it is read, at how much memory is free on the device.
type gauge struct {
	io.ReaderAt
	lock  sync.Mutex
	least int64
}

func (g *gauge) ReadAt(p []byte, off int64) (int, error) {
	if free, _, err := cu.MemInfo(); err == nil { // otherwise it is the CPU that reads
		g.lock.Lock()
		g.least = min(g.least, free)
		g.lock.Unlock()
	}
	return g.ReaderAt.ReadAt(p, off)
}

func TestDeviceMemory_StaysWithinItsBound(t *testing.T) {
	const all = 2 << 20
	emulated(t, fmt.Sprintf("memory=%d", all))
	src, job := example(200_000)
	want := run(t, tensor.Reference{}, src, job)
	for _, test := range []struct {
		memory, bound int64
		fits          bool // the factors
	}{{0, all / 2, true}, {all + 1, all / 2, true}, {1 << 19, 1 << 19, true}, {1 << 16, 1 << 16, false}} {
		memory, bound := test.memory, test.bound
		b := open(t, Options{Memory: memory})
		g := &gauge{ReaderAt: bytes.NewReader(src), least: all}
		var tensors sync.WaitGroup
		for range 2 * perDevice {
			tensors.Go(func() {
				got := make(tensor.Buffer, len(src))
				if _, err := b.Rescale(context.Background(), got, g, job); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of memory: %v, or other bytes", memory, err)
				}
			})
		}
		tensors.Wait()
		if used := all - g.least; used > bound || test.fits && used < bound/2 {
			t.Errorf("%d bytes of memory: %d are used, at most %d may be", memory, used, bound)
		}
		if notes := b.Notes(); test.fits != (len(notes) == 0) {
			t.Errorf("%d bytes of memory: %q", memory, notes)
		}
		b.Close()
	}
	if _, err := Open(Options{Memory: 1000, Worth: Default}); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "1000 bytes of device memory are too few") {
		t.Error(err)
	}
}

// counting is a backend that counts its tensors.
type counting struct {
	tensor.Backend
	tensors int
}

func (c *counting) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	c.tensors++
	return c.Backend.Rescale(ctx, dst, src, job)
}

func TestSmallTensors_StayOnTheCPU(t *testing.T) {
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	host := &counting{Backend: cpu.New(1)}
	b, err := Open(Options{CPU: host, Worth: Default})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for elements, tensors := range map[int64]int{100: 1, Default.Rescale/4 - 100: 1, Default.Rescale / 4: 0} {
		job, src := &tensor.Rescale{DType: tensor.Float32, Elements: elements}, make([]byte, 4*elements)
		if host.tensors = 0; !bytes.Equal(run(t, b, src, job), src) || host.tensors != tensors {
			t.Errorf("%d elements: %d tensors on the CPU", elements, host.tensors)
		}
	}
}

// example is a float32 tensor of three factors.
func example(elements int64) ([]byte, *tensor.Rescale) {
	rng := rand.New(rand.NewPCG(1, 2))
	src := make([]byte, 4*elements)
	for k := range src {
		src[k] = byte(rng.Uint32())
	}
	scales := func(n int64) []float64 {
		s := make([]float64, n)
		for k := range s {
			s[k] = rng.NormFloat64()
		}
		return s
	}
	return src, &tensor.Rescale{DType: tensor.Float32, Elements: elements, Factors: []tensor.Factor{
		{Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: 100, Inner: elements / 100}, Scale: scales(100)},
		{Layout: tensor.Layout{Blocks: 2, Outer: 5, Channels: elements / 100, Inner: 10}, Scale: scales(elements / 50)},
		{Layout: tensor.Layout{Blocks: 1, Outer: elements / 4, Channels: 4, Inner: 1}, Scale: scales(4)},
	}}
}

func run(t *testing.T, b tensor.Backend, src []byte, job *tensor.Rescale) []byte {
	t.Helper()
	dst := make(tensor.Buffer, len(src))
	if _, err := b.Rescale(context.Background(), dst, bytes.NewReader(src), job); err != nil {
		t.Fatal(err)
	}
	return dst
}

var floats = []tensor.DType{tensor.Float64, tensor.Float32, tensor.Float16, tensor.BFloat16}

// far is a source that is the same wherever it is read, and a destination that keeps what is written.
type far struct {
	pattern, got []byte
	off          int64
}

func (f *far) ReadAt(p []byte, _ int64) (int, error) { return copy(p, f.pattern), nil }

func (f *far) WriteAt(p []byte, off int64) (int, error) {
	f.got, f.off = bytes.Clone(p), off
	return len(p), nil
}

// beyond rescales elements whose numbers have more than 32 bits, and says whether they came out right.
func beyond(d *device, dtype tensor.DType) error {
	const inner, count = 1<<30 + 2, 256 + 7 // whole vectors, and a tail
	size := int64(dtype.Size())
	job := &tensor.Rescale{DType: dtype, Elements: 10 * inner, Factors: []tensor.Factor{
		{Layout: tensor.Layout{Blocks: 2, Outer: 1, Channels: 5, Inner: inner}, Scale: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, -10}},
		{Layout: tensor.Layout{Blocks: 1, Outer: 10 * inner / 3, Channels: 3, Inner: 1}, Scale: []float64{1.5, -0.5, 0.75}},
	}}
	first := 8*int64(inner) - count/2 // from the eighth channel into the ninth; 32 bits of it would say other channels
	values, want := make([]float64, count), make([]float64, count)
	for k := range values {
		values[k] = float64(k%100) / 8
		want[k] = values[k] * job.Scale(first+int64(k))
	}
	f, expected := &far{pattern: make([]byte, count*size)}, make([]byte, count*size)
	if err := errors.Join(tensor.Encode(f.pattern, values, dtype), tensor.Encode(expected, want, dtype)); err != nil {
		return err
	}
	r := d.rescaling(f, f, job)
	defer r.close()
	err := errors.Join(r.prepare(context.Background()), d.onLane(context.Background(), func(l *lane) error {
		return r.chunk(context.Background(), l, 0, span{first * size, (first + count) * size})
	}))
	if err == nil && (f.off != first*size || !bytes.Equal(f.got, expected)) {
		err = fmt.Errorf("other values, or not written at %d", f.off)
	}
	return err
}

func sumsOfSeveralChunks(t *testing.T) {
	b := open(t, Options{Memory: 1 << 20})
	for _, d := range floats {
		for _, j := range sumJobs(t, d) {
			got, err := b.Sum(context.Background(), bytes.NewReader(j.src), j.Sum)
			if err != nil || !slices.EqualFunc(got, j.want, func(x, y float64) bool { return tensor.Bits64(x) == tensor.Bits64(y) }) {
				t.Errorf("%v, %+v: %v", d, j.Out, err)
			}
		}
	}
	if notes := b.Notes(); len(notes) > 0 {
		t.Errorf("the CPU took over: %v", notes)
	}
	if chunk := b.all[0].chunk; chunk*2 > int64(len(sumJobs(t, tensor.Float16)[1].src)) {
		t.Errorf("chunks of %d bytes: there was one", chunk)
	}
}

// sumBeyond adds elements whose numbers, and numbers within their channels, have more than 32 bits.
func sumBeyond(d *device, dtype tensor.DType) error {
	const inner, count = 1<<32 + 6, 999
	size := int64(dtype.Size())
	job := &tensor.Sum{Out: tensor.Layout{Blocks: 2, Outer: 3, Channels: 5, Inner: inner}, Rescale: tensor.Rescale{
		DType: dtype, Elements: 30 * inner, Factors: []tensor.Factor{
			{Layout: tensor.Layout{Blocks: 2, Outer: 1, Channels: 15, Inner: inner}, Scale: make([]float64, 30)},
			{Layout: tensor.Layout{Blocks: 1, Outer: 10 * inner, Channels: 3, Inner: 1}, Scale: []float64{1.5, -0.5, 0.75}},
		},
	}}
	for c := range job.Factors[0].Scale {
		job.Factors[0].Scale[c] = 1 + float64(c)/8
	}
	values := make([]float64, count)
	for k := range values {
		values[k] = float64(k%100) / 8
	}
	f := &far{pattern: make([]byte, count*size)}
	if err := tensor.Encode(f.pattern, values, dtype); err != nil {
		return err
	}
	for _, row := range []int64{17, 28} { // its first element is amid those that are added
		first, want := row*inner-count/2, job.Partials()
		for k, x := range values {
			want[job.Partial(first+int64(k))].Add(x * job.Scale(first+int64(k)))
		}
		u := d.summing(f, job)
		err := errors.Join(u.prepare(context.Background()), d.onLane(context.Background(), func(l *lane) error {
			return u.chunk(context.Background(), l, 0, span{first * size, (first + count) * size})
		}), u.fetch(context.Background()))
		u.close()
		if err != nil {
			return err
		}
		if !slices.Equal(u.partials, want) {
			return fmt.Errorf("row %d: other partial sums", row)
		}
	}
	return nil
}

func elementsBeyond32Bits(t *testing.T) {
	b := open(t, Options{})
	for _, dtype := range floats {
		if err := errors.Join(beyond(b.all[0], dtype), sumBeyond(b.all[0], dtype)); err != nil {
			t.Errorf("%v: %v", dtype, err)
		}
	}
}

// A file fails while the chunks before it are under way; the next tensor takes their lanes.
func TestErrorsOfFiles_AreNotDeviceFailures(t *testing.T) {
	b := open(t, Options{Memory: 1 << 18})
	src, job := example(20_000)
	want := run(t, tensor.Reference{}, src, job)
	for range len(b.all) * perDevice { // each seat
		_, err := b.Rescale(context.Background(), make(tensor.Buffer, len(src)), bytes.NewReader(src[:len(src)/2]), job)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	}
	for range len(b.all) * perDevice {
		if !bytes.Equal(run(t, b, src, job), want) {
			t.Error("the next tensor has other bytes")
		}
	}
	if notes := b.Notes(); len(notes) > 0 {
		t.Error(notes)
	}
}

// unexecuted are the lines of the PTX that hold an instruction and are not among those given.
func unexecuted(lines map[string]bool) (missing []string) {
	for k, line := range strings.Split(kernels.PTX, "\n") {
		n := strconv.Itoa(k + 1)
		if strings.HasSuffix(line, ";") && !strings.Contains(line, "\t.") && !strings.HasPrefix(line, ".") && !lines[n] {
			missing = append(missing, n+": "+strings.TrimSpace(line))
		}
	}
	return missing
}
