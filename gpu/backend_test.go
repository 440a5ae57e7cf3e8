//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
	case "rescale":
		os.Exit(rescaleOnce())
	}
	folder, err := os.MkdirTemp("", "zoofold-")
	if err == nil {
		err = os.Setenv("ZOOFOLD_EMULATOR_COVERAGE", filepath.Join(folder, "coverage"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(folder) // it is in the system's temporary folder
	os.Exit(code)
}

// ran says which of the tests that the kernels' instructions are counted over have run.
var ran struct{ suite, far bool }

// library is the driver that tests run on: the emulator, unless ZOOFOLD_LIBCUDA names another one.
func library(t *testing.T) string {
	if path := os.Getenv("ZOOFOLD_LIBCUDA"); path != "" {
		return path
	}
	path, err := filepath.Abs("../bin/libcuda.so.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("no emulator: make emulator builds it")
	}
	return path
}

func open(t *testing.T, o Options) *Backend {
	t.Helper()
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	o.CPU, o.Smallest = cpu.New(2), 1
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestTheDevicePassesTheSuiteOfAllBackends(t *testing.T) {
	b := open(t, Options{})
	tensortest.Backend(t, b)
	ran.suite = true
	if notes := b.Notes(); len(notes) > 0 {
		t.Errorf("the CPU took over: %v", notes)
	}
}

func TestLittleDeviceMemoryMakesSmallChunks(t *testing.T) {
	b := open(t, Options{Memory: 1 << 18})
	if b.all[0].chunk > 1<<15 {
		t.Fatalf("chunks of %d bytes", b.all[0].chunk)
	}
	src, job := example(100_000)
	got, want := run(t, b, src, job), run(t, tensor.Reference{}, src, job)
	if !bytes.Equal(got, want) {
		t.Error("chunks give other bytes")
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

// child runs this test binary as a program of its own, with that environment.
func child(t *testing.T, what string, env ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(append(os.Environ(), "ZOOFOLD_TEST="+what), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestADriverThatIsNotThereIsSaidPlainly(t *testing.T) {
	emulator := "ZOOFOLD_LIBCUDA=" + library(t)
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		env  []string
		want string
	}{
		{"a driver and a device", []string{emulator}, "emulator 0, driver 12.9"},
		{"no driver", []string{"ZOOFOLD_LIBCUDA=/nowhere/libcuda.so.1"}, "/nowhere/libcuda.so.1: cannot open shared object file"},
		{"no device", []string{emulator, "ZOOFOLD_EMULATOR=devices=0"}, "driver 12.9 found, but no device"},
		{"cuInit fails", []string{emulator, "ZOOFOLD_EMULATOR=init=100"}, "driver 12.9 found, but cuInit: no CUDA-capable device is detected"},
		{"a library that lacks symbols", []string{"ZOOFOLD_LIBCUDA=libc.so.6"}, "libc.so.6 has no cuInit"},
		{"no library", []string{"ZOOFOLD_LIBCUDA=" + text}, "text.so: file too short"},
	} {
		if got := child(t, "describe", test.env...); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q does not say %q", test.name, got, test.want)
		}
	}
}

// rescaleOnce rescales several tensors, compares them with the reference, and prints the backend's notes.
func rescaleOnce() int {
	b, err := Open(Options{CPU: cpu.New(1), Smallest: 1, Memory: 1 << 18})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	src, job := example(40_000)
	want := make(tensor.Buffer, len(src))
	wanted, err := (tensor.Reference{}).Rescale(context.Background(), want, bytes.NewReader(src), job)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for range 4 {
		got := make(tensor.Buffer, len(src))
		tally, err := b.Rescale(context.Background(), got, bytes.NewReader(src), job)
		if err != nil || !bytes.Equal(got, want) || tally != wanted {
			fmt.Printf("wrong: %v, tally %+v, want %+v\n", err, tally, wanted)
			return 1
		}
	}
	fmt.Println(strings.Join(b.Notes(), "\n"))
	return 0
}

func TestWhateverFailsOnTheDeviceTheBytesAreRight(t *testing.T) {
	emulator := "ZOOFOLD_LIBCUDA=" + library(t)
	for _, test := range []struct{ fault, want string }{
		{"none=0", ""},
		{"alloc=1", "the CPU took over"}, {"alloc=5", "the CPU took over"}, {"alloc=9", "the CPU took over"},
		{"launch=1", "was started anew"}, {"launch=3", "was started anew"}, {"launch=9", "was started anew"},
		{"lost=1", "was started anew"}, {"lost=4", "was started anew"}, {"lost=7", "was started anew"},
	} {
		got := child(t, "rescale", emulator, "ZOOFOLD_EMULATOR="+test.fault)
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q does not say %q", test.fault, got, test.want)
		}
	}
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
	r := (&seat{device: d}).take(f, f, job)
	err := d.bound(func() error {
		defer r.give()
		defer r.close()
		return errors.Join(r.prepare(), r.send(&r.lanes[0], first*size, count*size), r.collect(&r.lanes[0]))
	})
	if err == nil && (f.off != first*size || !bytes.Equal(f.got, expected)) {
		err = fmt.Errorf("other values, or not written at %d", f.off)
	}
	return err
}

func TestElementsBeyond32BitsHaveTheirScales(t *testing.T) {
	b := open(t, Options{})
	for _, dtype := range floats {
		if err := beyond(b.all[0], dtype); err != nil {
			t.Errorf("%v: %v", dtype, err)
		}
	}
	ran.far = true
}

func TestErrorsOfFilesAreNotTheDevices(t *testing.T) {
	b := open(t, Options{})
	src, job := example(10_000)
	_, err := b.Rescale(context.Background(), make(tensor.Buffer, len(src)), bytes.NewReader(src[:len(src)/2]), job)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(b.Notes()) > 0 {
		t.Errorf("%v, %v", err, b.Notes())
	}
}

func TestZEveryInstructionOfTheKernelsRan(t *testing.T) {
	if !ran.suite || !ran.far {
		t.Skip("only some of the tests ran")
	}
	f, err := os.Open(os.Getenv("ZOOFOLD_EMULATOR_COVERAGE"))
	if err != nil {
		t.Skip("the driver does not count instructions: it is no emulator")
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
