//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// What can be tested on every driver: gpu-kit runs it on a card, and go test on the emulator.

// endless is a tensor that repeats a pattern, and what is written of it, which is compared with the pattern's expected values.
type endless struct {
	pattern, want []byte
	written       atomic.Int64
	wrong         atomic.Int64 // the first byte that is not as it should be, + 1
}

func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], e.pattern[(off+int64(n))%int64(len(e.pattern)):])
	}
	return len(p), nil
}

func (e *endless) WriteAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		part := e.want[(off+int64(n))%int64(len(e.want)):]
		part = part[:min(len(part), len(p)-n)]
		if !bytes.Equal(p[n:n+len(part)], part) {
			e.wrong.CompareAndSwap(0, off+int64(n)+1)
		}
		n += len(part)
	}
	e.written.Add(int64(len(p)))
	return len(p), nil
}

// On a card the tensors have more than 4 GiB, and float16 more than 2^32 elements.
func TestLargeTensors_AreExact(t *testing.T) {
	b := open(t, Options{})
	for _, d := range floats {
		const channels, rows = 1021, 64 // the pattern is rows of all channels
		period := int64(channels * rows)
		bytes := sized(int64(3<<16), int64(4<<30+5<<20))
		if onCard && d == tensor.Float16 {
			bytes *= 2
		}
		layout := tensor.Layout{Blocks: 1, Outer: bytes / int64(d.Size()) / period * rows, Channels: channels, Inner: 1}
		job := &tensor.Rescale{DType: d, Elements: layout.Elements(), Factors: []tensor.Factor{{Layout: layout}}}
		for c := range channels {
			job.Factors[0].Scale = append(job.Factors[0].Scale, 0.5+float64(c)/1021)
		}
		values := make([]float64, period)
		for k := range values {
			values[k] = float64(k%251) - 125
		}
		e := &endless{pattern: make([]byte, period*int64(d.Size())), want: make(tensor.Buffer, period*int64(d.Size()))}
		if err := tensor.Encode(e.pattern, values, d); err != nil {
			t.Fatal(err)
		}
		small := layout
		small.Outer = rows
		pattern := &tensor.Rescale{DType: d, Elements: period, Factors: []tensor.Factor{{Layout: small, Scale: job.Factors[0].Scale}}}
		copy(e.want, run(t, tensor.Reference{}, e.pattern, pattern))
		if _, err := b.Rescale(context.Background(), e, e, job); err != nil {
			t.Fatal(err)
		}
		if wrong := e.wrong.Load(); wrong != 0 || e.written.Load() != job.Elements*int64(d.Size()) {
			t.Errorf("%v: byte %d is wrong, %d of %d are written", d, wrong-1, e.written.Load(), job.Elements*int64(d.Size()))
		}
	}
	unaided(t, b)
}

// free is how much memory of the device is free, in a context that stays.
func free(t *testing.T, d *device) (bytes int64) {
	t.Helper()
	if err := d.bound(func() (err error) {
		bytes, _, err = cu.MemInfo()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return bytes
}

// gaugeOf is a source that notes how little memory is free on a device while it is read.
type gaugeOf struct {
	io.ReaderAt
	look func()
}

func (g *gaugeOf) ReadAt(p []byte, off int64) (int, error) {
	g.look()
	return g.ReaderAt.ReadAt(p, off)
}

// A driver hands memory out in pieces of 2 MiB, so that each allocation may take so much more than was asked for; what others
// do on the same card at that time is taken for ours.
func TestBoundsOfDeviceMemory_HoldForManyTensorsAtOnce(t *testing.T) {
	const piece = 2 << 20
	watch := open(t, Options{})
	for _, bound := range sized([]int64{256 << 10, 4 << 20}, []int64{64 << 20, 256 << 20, 1 << 30}) {
		b, err := Open(Options{CPU: cpu.New(2), Worth: everything, Memory: bound})
		if err != nil {
			t.Fatal(err)
		}
		before := free(t, watch.all[0])
		var lock sync.Mutex
		least := before
		src, job := example(sized[int64](20_000, 10_000_000))
		want := run(t, cpu.New(4), src, job)
		g := &gaugeOf{ReaderAt: bytes.NewReader(src), look: func() {
			if now, _, err := cu.MemInfo(); err == nil {
				lock.Lock()
				least = min(least, now)
				lock.Unlock()
			}
		}}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				got := make(tensor.Buffer, len(src))
				if _, err := b.Rescale(context.Background(), got, g, job); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of memory: %v, or other bytes", bound, err)
				}
			})
		}
		all.Wait()
		unaided(t, b)
		slack := sized[int64](0, (maxLanes*3+perDevice*8)*piece)
		if used := before - least; used > bound+slack {
			t.Errorf("%d bytes of memory: %d are used", bound, used)
		} else {
			t.Logf("%d bytes of memory: %d are used", bound, used)
		}
		b.Close()
	}
}

// resident is the memory that this process has, and what of it is locked, in bytes.
func resident(t *testing.T) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		for _, name := range []string{"RssFile:", "RssShmem:", "VmPin:", "VmLck:"} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				bytes += kib << 10
			}
		}
	}
	return bytes
}

// The first backend may leave behind what a driver keeps; no later one may add to that. (The emulator tells of every
// allocation that is left when a context ends; a card's driver is asked for what is free.)
func TestClose_NoMemoryIsLeft(t *testing.T) {
	watch := open(t, Options{})
	src, job := example(sized[int64](20_000, 20_000_000))
	var device, host []int64
	for range sized(3, 5) {
		b, err := Open(Options{CPU: cpu.New(1), Worth: everything})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range perDevice {
			all.Go(func() {
				if _, err := b.Rescale(context.Background(), make(tensor.Buffer, len(src)), bytes.NewReader(src), job); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		unaided(t, b)
		b.Close()
		device, host = append(device, free(t, watch.all[0])), append(host, resident(t))
	}
	last := len(device) - 1
	if device[last] < device[0]-1<<20 {
		t.Errorf("free memory of the device after each backend: %d", device)
	}
	if host[last] > host[0]+48<<20 { // a backend here has 64 MiB of pinned memory
		t.Errorf("locked and shared memory of the process after each backend: %d", host)
	}
}

// forever is a kernel that ends when somebody ends it.
const forever = `.version 6.3
.target sm_70
.address_size 64
.visible .entry forever(
	.param .u64 forever_param_0
)
{
$again:
	bra.uni 	$again;
}
`

// A kernel is stopped by the driver where kernels have a limit, which is so on cards that have a display; the emulator has one
// too. On others nothing from user space stops it but the end of the process.
func TestKernelThatIsStopped_IsReplacedByTheCPU(t *testing.T) {
	b := open(t, Options{})
	d := b.all[0]
	src, job := example(10_000)
	want := run(t, tensor.Reference{}, src, job)
	limited := strings.HasPrefix(d.name, "emulator")
	if id, err := cu.GetDevice(d.ordinal); err == nil && !limited {
		has, err := id.Attribute(cu.KernelExecTimeout)
		limited = err == nil && has == 1
	}
	if !limited {
		t.Skip("kernels have no time limit on this device")
	}
	err := d.bound(func() error {
		module, err := cu.LoadDataEx(forever)
		if err != nil {
			t.Fatal(err)
		}
		f, err := module.Function("forever")
		if err != nil {
			t.Fatal(err)
		}
		s, err := cu.MakeStream(cu.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		unused := uint64(0)
		if err := f.Launch(1, 1, 1, 1, 1, 1, 0, s, pointersTo(&unused)); err != nil {
			t.Fatal(err)
		}
		return s.Synchronize()
	})
	if err == nil {
		t.Fatal("a kernel without an end ended")
	}
	for range len(b.all) * perDevice { // each seat
		if !bytes.Equal(run(t, b, src, job), want) {
			t.Error("other bytes")
		}
	}
	if notes := fmt.Sprint(b.Notes()); !strings.Contains(notes, "started anew") {
		t.Error(notes)
	}
}

func pointersTo(arguments ...*uint64) (list []unsafe.Pointer) {
	for _, a := range arguments {
		list = append(list, unsafe.Pointer(a))
	}
	return list
}
