//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// figures are what make gpu-check writes: GB/s, a tensor's bytes counted once.
type figures struct {
	Device string  `json:"device"`
	Sizes  []speed `json:"sizes"`
}

type speed struct {
	Bytes    int64   `json:"bytes"`
	Rescale  float64 `json:"rescale_gbps"`          // in host memory, through the device, back in host memory
	CPU      float64 `json:"cpu_gbps"`              // the same on one core
	Onboard  float64 `json:"device_to_device_gbps"` // a plain copy within the device
	Transfer float64 `json:"to_device_gbps"`        // a plain copy of pinned memory to the device
}

func TestMeasureTheDevice(t *testing.T) {
	path := os.Getenv("ZOOFOLD_GPU_JSON")
	if path == "" {
		t.Skip("make gpu-check measures")
	}
	b := open(t, Options{})
	host := cpu.New(1)
	out := figures{Device: b.Name()}
	for size := int64(1 << 20); size <= 256<<20; size *= 4 {
		src, job := example(size / 4 / 100 * 100)
		dst := make(tensor.Buffer, len(src))
		rate := func(f func() error) float64 {
			best := time.Duration(1 << 62)
			for range 5 {
				started := time.Now()
				if err := f(); err != nil {
					t.Fatal(err)
				}
				best = min(best, time.Since(started))
			}
			return float64(len(src)) / 1e9 / best.Seconds()
		}
		through := func(b tensor.Backend) func() error {
			return func() error {
				_, err := b.Rescale(context.Background(), dst, bytes.NewReader(src), job)
				return err
			}
		}
		s := speed{Bytes: int64(len(src)), Rescale: rate(through(b)), CPU: rate(through(host))}
		d := b.all[0]
		r := (&seat{device: d}).take(nil, nil, job)
		err := d.bound(func() error {
			defer r.give()
			defer r.close()
			if err := r.prepare(); err != nil {
				return err
			}
			l := &r.lanes[0]
			repeat := func(f func() error) func() error {
				return func() error {
					for done := int64(0); done < int64(len(src)); done += d.chunk {
						if err := f(); err != nil {
							return err
						}
					}
					return l.stream.Synchronize()
				}
			}
			s.Transfer = rate(repeat(func() error { return cu.MemcpyHtoDAsync(l.from, l.host, d.chunk, l.stream) }))
			s.Onboard = rate(repeat(func() error { return cu.MemcpyDtoDAsync(l.to, l.from, d.chunk, l.stream) }))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		out.Sizes = append(out.Sizes, s)
	}
	if notes := b.Notes(); len(notes) > 0 {
		t.Fatalf("the CPU took over: %v", notes)
	}
	text, err := json.MarshalIndent(out, "", " ")
	if err := errors.Join(err, os.WriteFile(path, append(text, '\n'), 0o666)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
}
