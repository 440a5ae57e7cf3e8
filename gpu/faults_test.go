//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// emulated sets what the emulator is to have or to fail at, and skips on other drivers.
func emulated(t *testing.T, settings string) {
	t.Helper()
	if !strings.HasSuffix(library(t), emulator) {
		t.Skip("for the emulator alone")
	}
	t.Setenv("ZOOFOLD_EMULATOR", settings)
}

// child runs this test binary as a program of its own, with that environment; see TestMain.
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

func TestDriver_AbsentIsAPlainError(t *testing.T) {
	emulated(t, "")
	works := "ZOOFOLD_LIBCUDA=" + library(t)
	whole, err := os.ReadFile(library(t))
	if err != nil {
		t.Fatal(err)
	}
	text, lacking := filepath.Join(t.TempDir(), "text.so"), filepath.Join(t.TempDir(), "lacking.so")
	for path, data := range map[string][]byte{
		text:    []byte("no library"),
		lacking: bytes.Replace(whole, []byte("\x00cuMemHostAlloc\x00"), []byte("\x00cuMemHostAlloX\x00"), 1),
	} {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		env  []string
		want string
	}{
		{"a driver and a device", []string{works}, "emulator 0, driver 12.9"},
		{"two devices", []string{works, "ZOOFOLD_EMULATOR=devices=2"}, "emulator 0, emulator 1, driver 12.9"},
		{"one of two devices fails", []string{works, "ZOOFOLD_EMULATOR=devices=2,context=1"}, "emulator 1, driver 12.9"},
		{"the only device fails", []string{works, "ZOOFOLD_EMULATOR=context=1"}, "device 0 is not used: context: OutOfMemory"},
		{"no driver", []string{"ZOOFOLD_LIBCUDA=/nowhere/libcuda.so.1"}, "/nowhere/libcuda.so.1: cannot open shared object file"},
		{"no device", []string{works, "ZOOFOLD_EMULATOR=devices=0"}, "driver 12.9 found, but no device"},
		{"cuInit fails", []string{works, "ZOOFOLD_EMULATOR=init=100"}, "driver 12.9 found, but cuInit: no CUDA-capable device is detected"},
		{"a library that lacks a symbol", []string{"ZOOFOLD_LIBCUDA=" + lacking}, "lacking.so has no cuMemHostAlloc"},
		{"another library", []string{"ZOOFOLD_LIBCUDA=" + libc(t)}, "libc.so.6 has no cuInit"},
		{"no library", []string{"ZOOFOLD_LIBCUDA=" + text}, "text.so: file too short"},
	} {
		if got := child(t, "describe", test.env...); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q does not say %q", test.name, got, test.want)
		}
	}
}

// libc is a library that is no driver: the C library that this process has.
func libc(t *testing.T) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`/\S*/libc\.so\.6`).Find(maps)
	if path == nil {
		t.Fatalf("no libc.so.6: %s", maps)
	}
	return string(path)
}

// A relative name is a file, and not something that the dynamic linker looks for.
func TestDriver_IsNotSearchedInTheWorkingDirectory(t *testing.T) {
	emulated(t, "")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	near, err := filepath.Rel(here, library(t))
	if err != nil {
		t.Fatal(err)
	}
	const works, refused = "emulator 0, driver 12.9", "not looked for: LD_LIBRARY_PATH has a relative or empty element, which means the current folder"
	for _, test := range []struct {
		name, cuda, path string
		want             string
	}{
		{"a file by its relative path", near, "", works},
		{"a file by its name alone", "libcuda.so.1", "", filepath.Join(here, "libcuda.so.1") + ": cannot open shared object file"},
		{"an absolute search path", library(t), "/nowhere:/usr/lib", works},
		{"an empty search path", library(t), "", works},
		{"a search path of nothing", "", ":", refused},
		{"a search path with an empty end", "", "/usr/lib:", refused},
		{"a search path with a relative element", "", "/usr/lib;../bin", refused},
		{"a search path with an element that may be anywhere", "", "$ORIGIN/../lib", refused},
		{"what the driver itself loads", library(t), "/usr/lib::", refused},
	} {
		if got := child(t, "describe", "ZOOFOLD_LIBCUDA="+test.cuda, "LD_LIBRARY_PATH="+test.path); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q does not say %q", test.name, got, test.want)
		}
	}
}

// often has a backend work, as a child does, and prints its notes.
func often(work func(*Backend) error) int {
	b, err := Open(Options{CPU: cpu.New(1), Worth: everything, Memory: 1 << 18})
	if err == nil {
		defer b.Close()
		err = work(b)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(strings.Join(b.Notes(), "\n"))
	return 0
}

// rescales rescales tensors, by turns into another file and in place, and compares them with the reference.
func rescales(b *Backend) error {
	src, job := example(40_000)
	want := make(tensor.Buffer, len(src))
	wanted, err := (tensor.Reference{}).Rescale(context.Background(), want, bytes.NewReader(src), job)
	if err != nil {
		return err
	}
	for k := range 4 {
		got := tensor.Buffer(slices.Clone(src))
		var from io.ReaderAt = got
		if k%2 == 1 {
			from, got = bytes.NewReader(src), make(tensor.Buffer, len(src))
		}
		tally, err := b.Rescale(context.Background(), got, from, job)
		if err != nil || !bytes.Equal(got, want) || tally != wanted {
			return fmt.Errorf("wrong: %v, tally %+v, want %+v", err, tally, wanted)
		}
	}
	return nil
}

// fault is something that the emulator fails at, and parts of the notes that follow, in order.
type fault struct {
	setting string
	notes   []string
}

// noted runs a child under each fault.
func noted(t *testing.T, what string, faults []fault) {
	t.Helper()
	for _, f := range faults {
		got := child(t, what, "ZOOFOLD_LIBCUDA="+library(t), "ZOOFOLD_EMULATOR="+f.setting)
		notes := strings.FieldsFunc(got, func(r rune) bool { return r == '\n' })
		if !slices.EqualFunc(notes, f.notes, strings.Contains) {
			t.Errorf("%s: %q, want %q", f.setting, notes, f.notes)
		}
	}
}

func TestDeviceFailures_BytesAreRight(t *testing.T) {
	emulated(t, "")
	const tookOver, anew, lost = "; the CPU took over a tensor of which ", "emulator 0 was started anew", "emulator 0 was lost twice: "
	noted(t, "rescale", []fault{
		{"", nil}, {"others=1", nil},
		{"alloc=1", []string{tookOver}}, {"alloc=5", []string{tookOver}}, {"alloc=9", []string{tookOver}},
		{"alloc=1+", []string{tookOver, tookOver, tookOver, tookOver}},
		{"pinned=1", []string{tookOver}}, {"pinned=2", []string{tookOver}},
		{"launch=1", []string{tookOver + "0 ", anew}}, {"launch=5", []string{tookOver, anew}},
		{"launch=15", []string{tookOver, anew}},
		{"launch=1+", []string{tookOver, anew, tookOver, lost}},
		{"lost=1", []string{tookOver + "0 ", anew}}, {"lost=4", []string{tookOver + "0 ", anew}},
		{"lost=7", []string{tookOver, anew}}, {"lost=21", []string{tookOver, anew}},
		{"lost=7,lost=20", []string{tookOver, anew, tookOver, lost}},
		{"lost=1+", []string{tookOver, anew, tookOver, lost}},
		{"lost=7,context=2", []string{tookOver, "restart: context: OutOfMemory" + tookOver, lost}},
		{"devices=2,lost=1", []string{"emulator 0: copy of factors: IllegalAddress" + tookOver, anew}},
	})
}

// sums sums tensors up and compares with the reference.
func sums(b *Backend) error {
	const n = 40_000
	values, src := make([]float64, n), make([]byte, 4*n)
	for k := range values {
		values[k] = float64(k%1000) / 7
	}
	out := tensor.Layout{Blocks: 1, Outer: 1, Channels: 4, Inner: n / 4}
	job := &tensor.Sum{Out: out, Rescale: tensor.Rescale{DType: tensor.Float32, Elements: n, Factors: []tensor.Factor{{Layout: out, Scale: []float64{1, -2, 0.3, 4}}}}}
	if err := tensor.Encode(src, values, job.DType); err != nil {
		return err
	}
	want, err := (tensor.Reference{}).Sum(context.Background(), bytes.NewReader(src), job)
	if err != nil {
		return err
	}
	for range 4 {
		if got, err := b.Sum(context.Background(), bytes.NewReader(src), job); err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("wrong: %v, %v, want %v", err, got, want)
		}
	}
	return nil
}

func TestDeviceFailures_SumsAreRight(t *testing.T) {
	emulated(t, "")
	const tookOver, anew, lost = "; the CPU took over a tensor of which 0 ", "emulator 0 was started anew", "emulator 0 was lost twice: "
	noted(t, "sum", []fault{
		{"", nil}, {"others=1", nil},
		{"alloc=1", []string{tookOver}}, {"alloc=9", []string{tookOver}}, {"pinned=2", []string{tookOver}},
		{"launch=1", []string{tookOver, anew}}, {"launch=3", []string{tookOver, anew}},
		{"launch=1+", []string{tookOver, anew, tookOver, lost}},
		{"lost=2", []string{tookOver, anew}}, {"lost=5", []string{tookOver, anew}}, {"lost=9", []string{tookOver, anew}},
		{"lost=1+", []string{tookOver, anew, tookOver, lost}},
	})
}

// What a real device can be made to do: to have no memory left, and to lose its context to a wild pointer.
func TestDeviceFailures_WithoutMemoryOrContextTheCPUComputes(t *testing.T) {
	t.Setenv("ZOOFOLD_EMULATOR", "memory=16777216")
	b := open(t, Options{Memory: 1 << 20})
	d := b.all[0]
	src, job := example(100_000)
	want := run(t, tensor.Reference{}, src, job)
	step := func(what string, notes int) {
		t.Helper()
		for range len(b.all) * perDevice { // each seat
			if !bytes.Equal(run(t, b, src, job), want) {
				t.Fatalf("%s: other bytes", what)
			}
		}
		if got := b.Notes(); len(got) != notes {
			t.Fatalf("%s: %q", what, got)
		}
	}
	step("all is well", 0)
	var taken []cu.DevicePtr
	onThread := func(f func() error) {
		t.Helper()
		if err := d.bound(f); err != nil {
			t.Fatal(err)
		}
	}
	onThread(func() error {
		for size := int64(1) << 40; size >= 256; size /= 2 {
			for p, err := cu.MemAlloc(size); err == nil; p, err = cu.MemAlloc(size) {
				taken = append(taken, p)
			}
		}
		return nil
	})
	step("no memory", perDevice)
	onThread(func() error {
		for _, p := range taken {
			if err := cu.MemFree(p); err != nil {
				return err
			}
		}
		return nil
	})
	step("memory again", perDevice)
	r := d.rescaling(nil, nil, job)
	if err := r.prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.factors = 8 // the kernel reads there
	err := d.onLane(context.Background(), func(l *lane) error {
		return errors.Join(r.launch(l, span{0, d.chunk}), l.stream.Synchronize())
	})
	if err == nil {
		t.Fatal("a wild pointer was followed")
	}
	step("another context", perDevice+2) // the loss, and the new start
}

// met is a source whose first read waits until others are read too, and notes the context that it is read in.
type met struct {
	io.ReaderAt
	all     *sync.WaitGroup
	once    sync.Once
	context cu.CUContext
}

func (m *met) ReadAt(p []byte, off int64) (int, error) {
	m.once.Do(func() {
		m.context, _ = cu.CurrentContext()
		m.all.Done()
		m.all.Wait()
	})
	return m.ReaderAt.ReadAt(p, off)
}

func TestDevices_ShareTheTensors(t *testing.T) {
	emulated(t, "devices=3")
	b := open(t, Options{})
	src, job := example(10_000)
	var all, done sync.WaitGroup
	sources := make([]*met, len(b.all))
	all.Add(len(sources))
	for k := range sources {
		sources[k] = &met{ReaderAt: bytes.NewReader(src), all: &all}
		done.Go(func() {
			if _, err := b.Rescale(context.Background(), make(tensor.Buffer, len(src)), sources[k], job); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	contexts := map[string]bool{}
	for _, s := range sources {
		contexts[s.context.String()] = true
	}
	if len(contexts) != 3 || len(b.Notes()) > 0 {
		t.Errorf("three tensors at once are on %d of %d devices, %q", len(contexts), len(b.all), b.Notes())
	}
}
