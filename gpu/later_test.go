//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// later is a Later of the driver of the tests, and what its CPU does is counted.
func later(t *testing.T, w Worth) (*Later, *counting) {
	t.Helper()
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	host := &counting{Backend: cpu.New(1)}
	l, err := OpenLater(Options{CPU: host, Worth: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, host
}

func TestLater_OpensADeviceAfterEnoughWork(t *testing.T) {
	src, job := example(1000)
	size := int64(len(src))
	w := everything
	w.Rescale, w.Begin = size, 3*size
	l, host := later(t, w)
	small, few := example(100)
	for range 10 {
		if !bytes.Equal(run(t, l, small, few), run(t, tensor.Reference{}, small, few)) {
			t.Error("other bytes")
		}
	}
	if l.opened != nil || host.tensors != 10 || !strings.Contains(l.Name(), "cpu, 1 worker, and CUDA behind") {
		t.Fatalf("small tensors open a device, or %d of ten are on the CPU: %s", host.tensors, l.Name())
	}
	want := run(t, tensor.Reference{}, src, job)
	for k := range 4 {
		if l.opened != nil || len(l.Notes()) > 0 {
			t.Errorf("a device is opened for %d tensors", k)
		}
		if !bytes.Equal(run(t, l, src, job), want) {
			t.Error("other bytes")
		}
	}
	if l.opened == nil || host.tensors != 14 {
		t.Fatalf("four tensors open no device, or %d are on the CPU", host.tensors)
	}
	<-l.opened
	if !bytes.Equal(run(t, l, src, job), want) || host.tensors != 14 {
		t.Error("the device is not used")
	}
	out := tensor.Layout{Blocks: 1, Outer: 1, Channels: 10, Inner: 100}
	sum := &tensor.Sum{Out: out, Rescale: *job}
	got, err := l.Sum(context.Background(), bytes.NewReader(src), sum)
	wanted, _ := tensor.Reference{}.Sum(context.Background(), bytes.NewReader(src), sum)
	if err != nil || !slices.EqualFunc(got, wanted, func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) }) {
		t.Errorf("%v: %v", err, got)
	}
	if notes := l.Notes(); len(notes) != 1 || !strings.HasPrefix(notes[0], "cuda: ") {
		t.Errorf("%q", notes)
	}
}

func TestLater_DeviceThatCannotBeOpenedLeavesTheCPU(t *testing.T) {
	src, job := example(1000)
	l, host := later(t, everything)
	l.open = func(Options) (*Backend, error) { return nil, fmt.Errorf("%w: it is gone", ErrNone) }
	want := run(t, tensor.Reference{}, src, job)
	for k := range 3 {
		if !bytes.Equal(run(t, l, src, job), want) || host.tensors != k+1 {
			t.Errorf("other bytes, or %d tensors on the CPU", host.tensors)
		}
		<-l.opened
	}
	if notes := l.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "it is gone") {
		t.Errorf("%q", notes)
	}
}

func TestLater_CloseDoesNotWaitForADevice(t *testing.T) {
	src, job := example(1000)
	l, _ := later(t, everything)
	ended := make(chan struct{})
	var device *Backend
	l.open = func(o Options) (*Backend, error) {
		<-ended
		var err error
		device, err = Open(o)
		return device, err
	}
	run(t, l, src, job)
	l.Close()
	close(ended)
	<-l.opened
	if l.device != nil || len(l.Notes()) > 0 || device.all[0].open {
		t.Errorf("the device is not given back: %q", l.Notes())
	}
}

func TestLater_OpensNothingForLittleWork(t *testing.T) {
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	_, err := OpenLater(Options{CPU: cpu.New(1), Worth: Worth{Rescale: Never, Sum: Never}})
	if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "no work is worth") {
		t.Error(err)
	}
}
