//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/gpu/driver"
	"github.com/zoofold/zoofold/gpu/figures"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// onCard says that sizes may be those of a GPU. Otherwise they are such that the emulator does them in a moment: the same code
// runs, and its figures say nothing.
var onCard = os.Getenv("ZOOFOLD_GPU_SIZES") == "card"

// sized is the second number on a card.
func sized[T any](small, card T) T {
	if onCard {
		return card
	}
	return small
}

// record appends what a test measures to the file that ZOOFOLD_GPU_FIGURES names, and checks that it is a measurement.
func record(t *testing.T, list ...figures.Figure) {
	t.Helper()
	for _, f := range list {
		if f.What == "" || f.Rounds < 1 || f.Seconds <= 0 || math.IsInf(f.Rate, 0) || f.Rate < 0 || f.Ratio < 0 {
			t.Errorf("no measurement: %+v", f)
		}
	}
	path := os.Getenv("ZOOFOLD_GPU_FIGURES")
	if path == "" {
		path = filepath.Join(t.TempDir(), "figures")
	}
	if err := figures.Append(path, list...); err != nil {
		t.Fatal(err)
	}
}

// measured is a figure of f, which moves the figure's bytes so many times over: at most most times, fewer where it is slow.
func measured(t *testing.T, figure figures.Figure, most int, f func(times int) error) figures.Figure {
	t.Helper()
	started := time.Now()
	if err := f(1); err != nil { // to warm up
		t.Fatalf("%s: %v", figure.What, err)
	}
	times := max(1, min(most, int(100*time.Millisecond/(time.Since(started)+1))))
	seconds, done, err := figures.Median(sized(2, 5), sized(0, 500*time.Millisecond), func() error { return f(times) })
	if err != nil {
		t.Fatalf("%s: %v", figure.What, err)
	}
	latest = time.Since(started)
	figure.Seconds, figure.Rounds = seconds/float64(times), done
	figure.Rate = float64(figure.Bytes) / 1e9 / figure.Seconds
	return figure
}

var latest time.Duration // of all that was done for the last figure

// short says, and logs, that there is no time to measure more: what comes first is what matters most. The next size is four
// times as large.
func short(t *testing.T) bool {
	end, limited := t.Deadline()
	if limited && time.Until(end) < 5*time.Second+4*latest {
		t.Log("not everything is measured: the time is short")
		return true
	}
	return false
}

// against gives a figure its ratio.
func against(f, limit figures.Figure, name string) figures.Figure {
	f.Of, f.Ratio = name, f.Rate/limit.Rate
	return f
}

// describeDevice is the first device that the driver has, as JSON, or why there is none.
func describeDevice() error {
	version, err := driver.Load()
	if err != nil {
		return err
	}
	b, err := Open(Options{Worth: Default})
	if err != nil {
		return errors.New(plain(err))
	}
	defer b.Close()
	d := figures.Device{Name: b.all[0].name, Driver: dotted(version)}
	id, err := cu.GetDevice(b.all[0].ordinal)
	if err != nil {
		return err
	}
	attribute := func(a cu.DeviceAttribute) int {
		n, err := id.Attribute(a)
		if err != nil { // not every driver knows all of them
			return 0
		}
		return n
	}
	if major := attribute(cu.ComputeCapabilityMajor); major > 0 {
		d.Capability = fmt.Sprintf("%d.%d", major, attribute(cu.ComputeCapabilityMinor))
	}
	d.Processors, d.CopyEngines = attribute(cu.MultiprocessorCount), attribute(cu.AsyncEngineCount)
	d.Clock, d.MemoryClock, d.MemoryBus = attribute(cu.ClockRate), attribute(cu.MemoryClockRate), attribute(cu.GlobalMemoryBusWidth)
	d.KernelTimeout = attribute(cu.KernelExecTimeout) == 1
	d.PCI = fmt.Sprintf("%04x:%02x:%02x.0", attribute(cu.PciDomainID), attribute(cu.PciBusID), attribute(cu.PciDeviceID))
	err = b.all[0].bound(func() (err error) {
		d.Free, d.Memory, err = cu.MemInfo()
		return err
	})
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(d))
}

// start is what a run does before its first tensor, in a process of its own: the driver, then contexts and kernels, then a
// first small tensor.
func start() error {
	started := time.Now()
	if _, err := driver.Load(); err != nil {
		return err
	}
	loaded := time.Now()
	b, err := Open(Options{CPU: cpu.New(1), Worth: everything})
	if err != nil {
		return err
	}
	opened := time.Now()
	src, job := example(1000)
	if _, err := b.Rescale(context.Background(), make(tensor.Buffer, len(src)), bytes.NewReader(src), job); err != nil {
		return err
	}
	first := time.Now()
	b.Close()
	return json.NewEncoder(os.Stdout).Encode([]float64{
		loaded.Sub(started).Seconds(), opened.Sub(loaded).Seconds(), first.Sub(opened).Seconds(), time.Since(first).Seconds(),
	})
}

func TestMeasure_Start(t *testing.T) {
	library := library(t)
	parts := []string{"start: driver", "start: contexts and kernels", "start: first tensor", "start: giving back"}
	cache := t.TempDir()
	for _, compiled := range []string{"kernels compiled", "kernels from the driver's cache"} {
		took := make([][]float64, len(parts))
		for k := range sized(1, 3) {
			if compiled == "kernels compiled" {
				cache = filepath.Join(t.TempDir(), fmt.Sprint(k))
			}
			var seconds []float64
			text := child(t, "start", "ZOOFOLD_LIBCUDA="+library, "CUDA_CACHE_PATH="+cache)
			if err := json.Unmarshal([]byte(text), &seconds); err != nil || len(seconds) != len(parts) {
				t.Fatalf("%v: %s", err, text)
			}
			for p, s := range seconds {
				took[p] = append(took[p], s)
			}
		}
		for p, name := range parts {
			slices.Sort(took[p])
			record(t, figures.Figure{What: name, Where: compiled, Rounds: len(took[p]), Seconds: took[p][len(took[p])/2]})
		}
	}
}

// link is the first device's streams with pinned and device memory for copies that do nothing else.
type link struct {
	*device
	streams  [2]cu.Stream
	host     [2]unsafe.Pointer
	memory   [2]cu.DevicePtr
	bytes    int64
	to, from func() error // one copy each, under way
}

// linked calls f with a link whose copies have that many bytes.
func linked(t *testing.T, d *device, bytes int64, f func(l *link) error) {
	t.Helper()
	l := &link{device: d, bytes: bytes}
	if err := d.bound(func() (err error) {
		defer func() {
			for k := range l.streams {
				if l.memory[k] != 0 {
					err = errors.Join(err, cu.MemFree(l.memory[k]))
				}
				if l.host[k] != nil {
					err = errors.Join(err, cu.MemFreeHost(l.host[k]))
				}
				if l.streams[k] != (cu.Stream{}) {
					err = errors.Join(err, l.streams[k].Destroy())
				}
			}
		}()
		for k := range l.streams {
			if l.streams[k], err = cu.MakeStream(cu.DefaultStream); err != nil {
				return err
			}
			if l.host[k], err = driver.Pinned(int(bytes)); err != nil {
				return err
			}
			if l.memory[k], err = cu.MemAlloc(bytes); err != nil {
				return err
			}
			host := unsafe.Slice((*byte)(l.host[k]), bytes)
			for j := range host {
				host[j] = byte(j)
			}
			if err := cu.MemcpyHtoDAsync(l.memory[k], l.host[k], bytes, l.streams[k]); err != nil {
				return err
			}
		}
		l.to = func() error { return cu.MemcpyHtoDAsync(l.memory[0], l.host[0], bytes, l.streams[0]) }
		l.from = func() error { return cu.MemcpyDtoHAsync(l.host[1], l.memory[1], bytes, l.streams[1]) }
		return errors.Join(l.wait(), f(l))
	}); err != nil {
		t.Fatal(err)
	}
}

func (l *link) wait() error {
	return errors.Join(l.streams[0].Synchronize(), l.streams[1].Synchronize())
}

// often does all of f many times over before it waits.
func (l *link) often(f ...func() error) func(times int) error {
	return func(times int) error {
		for range times {
			for _, one := range f {
				if err := one(); err != nil {
					return err
				}
			}
		}
		return l.wait()
	}
}

const bothWays = "copies both ways at once"

// limit measures what pinned copies of that size in both directions at once come to, in each of them.
func limit(t *testing.T, d *device, bytes int64) (f figures.Figure) {
	linked(t, d, bytes, func(l *link) error {
		f = measured(t, figures.Figure{What: bothWays, Where: "cuda", Bytes: bytes}, many, l.often(l.to, l.from))
		return nil
	})
	return f
}

// many is how many copies or launches are measured together at most.
var many = sized(2, 1000)

func TestMeasure_Copies(t *testing.T) {
	b := open(t, Options{})
	// A core's copy in host memory is the other limit: what is read goes into pinned memory, and out of it.
	size := sized(int64(64<<10), int64(256<<20))
	from, to := bytes.Repeat([]byte{1}, int(size)), make([]byte, size)
	record(t, measured(t, figures.Figure{What: "copies in host memory, one core", Where: "cpu", Bytes: size}, 1, func(int) error { copy(to, from); return nil }))
	for _, size := range sized([]int64{4 << 10, 64 << 10}, []int64{8 << 20, 64 << 20, 1 << 20, 256 << 10, 2 << 20, 4 << 20, 16 << 20, 256 << 20, 64 << 10}) {
		if short(t) {
			return
		}
		linked(t, b.all[0], size, func(l *link) error {
			one := func(what string, f ...func() error) figures.Figure {
				return measured(t, figures.Figure{What: what, Where: "cuda", Bytes: size}, many, l.often(f...))
			}
			both := one(bothWays, l.to, l.from)
			record(t, against(one("copies to the device", l.to), both, bothWays), against(one("copies from the device", l.from), both, bothWays), both)
			return nil
		})
	}
}

// axes are the two orders in which weights store their channels: rows of one channel, or the channels next to each other.
var axes = []struct {
	name   string
	layout func(elements int64) tensor.Layout
}{
	{"first", func(n int64) tensor.Layout {
		return tensor.Layout{Blocks: 1, Outer: 1, Channels: n / rows(n), Inner: rows(n)}
	}},
	{"last", func(n int64) tensor.Layout {
		return tensor.Layout{Blocks: 1, Outer: n / rows(n), Channels: rows(n), Inner: 1}
	}},
}

// rows divides n, a power of two, into about as many rows as columns.
func rows(n int64) int64 {
	r := int64(1)
	for r*r < n {
		r *= 2
	}
	return min(r, 4096)
}

// weights is a tensor of that many bytes, a power of two.
func weights(d tensor.DType, size int64, layout func(int64) tensor.Layout) *tensor.Rescale {
	n := size / int64(d.Size())
	l := layout(n)
	f := tensor.Factor{Layout: l, Scale: make([]float64, l.Channels)}
	for c := range f.Scale {
		f.Scale[c] = 0.5 + float64(c%1000)/1000
	}
	return &tensor.Rescale{DType: d, Elements: n, Factors: []tensor.Factor{f}}
}

// ordinary fills memory with numbers from 1 to 2 of that type.
func ordinary(t *testing.T, p []byte, d tensor.DType) {
	t.Helper()
	values := make([]float64, 8192)
	for k := range values {
		values[k] = 1 + float64(k*7919%8191)/8191
	}
	n := min(len(p), len(values)*d.Size())
	if err := tensor.Encode(p[:n], values[:n/d.Size()], d); err != nil {
		t.Fatal(err)
	}
	for ; n < len(p); n *= 2 {
		copy(p[n:], p[:n])
	}
}

func TestMeasure_Rescaling(t *testing.T) {
	b := open(t, Options{})
	one, all := cpu.New(1), cpu.New(runtime.NumCPU())
	sizes := sized([]int64{16 << 10, 64 << 10}, []int64{1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30, 4 << 30})
	var memory syscall.Sysinfo_t
	if err := syscall.Sysinfo(&memory); err != nil {
		t.Fatal(err)
	}
	sizes = slices.DeleteFunc(sizes, func(size int64) bool { return uint64(size) > memory.Totalram/4 })
	both := limit(t, b.all[0], min(b.all[0].chunk, sizes[len(sizes)-1]))
	record(t, both)
	src, dst := make([]byte, sizes[len(sizes)-1]), make(tensor.Buffer, sizes[len(sizes)-1])
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Float64} {
		ordinary(t, src, d)
		for _, axis := range axes {
			for _, size := range sizes {
				if d != tensor.Float32 && onCard && size != 1<<20 && size != 64<<20 && size != 1<<30 {
					continue // it is a matter of bytes
				}
				job := weights(d, size, axis.layout)
				through := func(name string, b tensor.Backend) figures.Figure {
					f := figures.Figure{What: "rescaling from host memory to host memory", Where: name, Type: d.String(), Axis: axis.name, Bytes: size}
					return measured(t, f, 1, func(int) error {
						_, err := b.Rescale(context.Background(), dst[:size], bytes.NewReader(src[:size]), job)
						return err
					})
				}
				if short(t) {
					return
				}
				record(t, against(through("cuda", b), both, bothWays))
				if size == sizes[0] || size == 64<<20 {
					record(t, against(through("cpu, 1 worker", one), both, bothWays), against(through(all.Name(), all), both, bothWays))
				}
			}
		}
	}
	unaided(t, b)
}

// unaided fails a test in which the device did not do the work.
func unaided(t *testing.T, b *Backend) {
	t.Helper()
	if notes := b.Notes(); len(notes) > 0 {
		t.Errorf("the CPU took over: %v", notes)
	}
}

// alone runs kernels over memory of the device that holds size bytes twice.
func alone(t *testing.T, d *device, size int64, f func(l *lane) error) {
	t.Helper()
	l := &lane{}
	if err := d.bound(func() (err error) {
		if l.stream, err = cu.MakeStream(cu.DefaultStream); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.stream.Destroy()) }()
		for p, bytes := range map[*cu.DevicePtr]int64{&l.from: size, &l.to: size, &l.counts: tallyBytes} {
			if *p, err = cu.MemAlloc(bytes); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cu.MemFree(*p)) }()
		}
		return f(l)
	}); err != nil {
		t.Fatal(err)
	}
}

const withinDevice = "kernel: a plain copy within the device"

func TestMeasure_Kernels(t *testing.T) {
	b := open(t, Options{})
	d := b.all[0]
	size := sized(int64(32<<10), int64(1<<30))
	for size > free(t, d)/4 {
		size /= 2
	}
	src := make([]byte, size)
	alone(t, d, size, func(l *lane) error {
		fill := func(dtype tensor.DType) error {
			ordinary(t, src, dtype)
			return errors.Join(
				cu.MemcpyHtoDAsync(l.from, unsafe.Pointer(unsafe.SliceData(src)), size, l.stream),
				cu.MemcpyHtoDAsync(l.counts, unsafe.Pointer(unsafe.SliceData(src)), tallyBytes, l.stream), l.stream.Synchronize())
		}
		often := func(f func() error) func(int) error {
			return func(times int) error {
				for range times {
					if err := f(); err != nil {
						return err
					}
				}
				return l.stream.Synchronize()
			}
		}
		if err := fill(tensor.Float32); err != nil {
			return err
		}
		plain := measured(t, figures.Figure{What: withinDevice, Where: "cuda", Bytes: size}, many, often(func() error {
			return cu.MemcpyDtoDAsync(l.to, l.from, size, l.stream)
		}))
		record(t, plain)
		for _, dtype := range floats {
			if err := fill(dtype); err != nil {
				return err
			}
			for _, axis := range axes {
				if short(t) {
					return nil
				}
				job := weights(dtype, size, axis.layout)
				figure := figures.Figure{Where: "cuda", Type: dtype.String(), Axis: axis.name, Bytes: size}
				r, whole := d.rescaling(nil, nil, job), span{0, size}
				if err := r.prepare(context.Background()); err != nil {
					return err
				}
				figure.What = "kernel: rescaling"
				record(t, against(measured(t, figure, many, often(func() error { return r.launch(l, whole) })), plain, withinDevice))
				r.close()
				u := d.summing(nil, &tensor.Sum{Rescale: *job, Out: job.Factors[0].Layout})
				if err := u.prepare(context.Background()); err != nil {
					return err
				}
				figure.What = "kernel: sum"
				record(t, against(measured(t, figure, many, often(func() error { return u.launch(l, whole) })), plain, withinDevice))
				u.close()
			}
		}
		return nil
	})
}

// Float64 products are what the algebra check spends its time on.
func TestMeasure_Products(t *testing.T) {
	b := open(t, Options{})
	for _, n := range sized([]int{8, 16}, []int{1024, 256, 4096}) {
		if short(t) {
			return
		}
		a, c, want := make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)
		for k := range a {
			a[k] = 1 + float64(k%97)/97
		}
		f := figures.Figure{What: "product of float64 matrices (Rate: 10^9 multiplications a second)", Type: "float64", Bytes: int64(n) * int64(n) * 8}
		rate := func(where string, multiply func() error) figures.Figure {
			f.Where = where
			f := measured(t, f, 1, func(int) error { return multiply() })
			f.Rate = float64(n) * float64(n) * float64(n) / 1e9 / f.Seconds
			return f
		}
		device := rate("cuda", func() error { return b.Product(context.Background(), c, a, a, n, n, n) })
		if n > 1024 { // a plain loop takes a minute
			record(t, device)
			continue
		}
		record(t, device, rate("cpu, a plain loop", func() error { product(want, a, a, n, n, n); return nil }))
		if !slices.Equal(c, want) {
			t.Errorf("%d×%d: other values", n, n)
		}
	}
}

func TestMeasure_Sums(t *testing.T) {
	b := open(t, Options{})
	all := cpu.New(runtime.NumCPU())
	sizes := sized([]int64{16 << 10}, []int64{1 << 20, 16 << 20, 256 << 20})
	src := make([]byte, sizes[len(sizes)-1])
	ordinary(t, src, tensor.Float32)
	for _, axis := range axes {
		for _, size := range sizes {
			job := weights(tensor.Float32, size, axis.layout)
			sum := &tensor.Sum{Rescale: *job, Out: job.Factors[0].Layout}
			if short(t) {
				return
			}
			var results [2][]float64
			for k, on := range []struct {
				name string
				tensor.Backend
			}{{"cuda", b}, {all.Name(), all}} {
				record(t, measured(t, figures.Figure{What: "sum from host memory", Where: on.name, Type: "float32", Axis: axis.name, Bytes: size}, 1, func(int) (err error) {
					results[k], err = on.Sum(context.Background(), bytes.NewReader(src[:size]), sum)
					return err
				}))
			}
			if !slices.Equal(results[0], results[1]) {
				t.Errorf("%s, %d bytes: the device has other sums", axis.name, size)
			}
		}
	}
	unaided(t, b)
}

// The sweep says where Default should be: which chunk is the fastest, and from which size on a device is quicker than one
// core, and than all of them. Several tensors are under way at once, as in a run.
func TestMeasure_Chunks(t *testing.T) {
	const atOnce = 4
	sizes := sized([]int64{16 << 10}, []int64{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20})
	largest := sizes[len(sizes)-1]
	src := make([]byte, largest)
	ordinary(t, src, tensor.Float32)
	var dst [atOnce]tensor.Buffer
	for k := range dst {
		dst[k] = make(tensor.Buffer, largest)
	}
	sweep := func(name string, chunk int64, b tensor.Backend) {
		for _, size := range sizes {
			job := weights(tensor.Float32, size, axes[0].layout)
			f := figures.Figure{What: "sweep of four tensors at once", Where: name, Type: "float32", Axis: "first", Bytes: size, Chunk: chunk}
			if short(t) {
				return
			}
			f = measured(t, f, many, func(times int) error {
				var all sync.WaitGroup
				errs := make([]error, atOnce)
				for k := range atOnce {
					all.Go(func() {
						for range times {
							_, err := b.Rescale(context.Background(), dst[k][:size], bytes.NewReader(src[:size]), job)
							errs[k] = errors.Join(errs[k], err)
						}
					})
				}
				all.Wait()
				return errors.Join(errs...)
			})
			f.Rate *= atOnce
			record(t, f)
		}
	}
	for _, workers := range []int{1, 4, runtime.NumCPU()} {
		host := cpu.New(workers)
		sweep(host.Name(), 0, host)
	}
	for _, chunk := range sized([]int64{4 << 10, 16 << 10}, []int64{8 << 20, 2 << 20, 16 << 20, 4 << 20, 1 << 20, 32 << 20, 256 << 10}) {
		worth := everything
		worth.Chunk = chunk
		b := open(t, Options{Worth: worth})
		sweep("cuda", chunk, b)
		unaided(t, b)
		b.Close()
	}
}

func TestMeasure_DescriptionOfTheDeviceIsJSON(t *testing.T) {
	var d figures.Device
	text := child(t, "device", "ZOOFOLD_LIBCUDA="+library(t))
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.Name == "" || d.Memory == 0 || !strings.Contains(d.Driver, ".") {
		t.Errorf("%v: %s", err, text)
	}
}
