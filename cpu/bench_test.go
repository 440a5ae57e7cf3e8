package cpu

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// benchmarkLayouts is the shapes that weights have: [Blocks, Outer, Channels, Inner] of about 64 MiB of float32.
var benchmarkLayouts = []struct {
	name string
	tensor.Layout
}{
	{"matmul columns", tensor.Layout{Blocks: 1, Outer: 4096, Channels: 4096, Inner: 1}},
	{"convolution 3x3 inputs", tensor.Layout{Blocks: 1, Outer: 3640, Channels: 512, Inner: 9}},
	{"convolution outputs", tensor.Layout{Blocks: 1, Outer: 1, Channels: 4096, Inner: 4096}},
}

func benchmarkJob(d tensor.DType, l tensor.Layout, factors int, scale func(c int) float64) *tensor.Rescale {
	job := &tensor.Rescale{DType: d, Elements: l.Elements()}
	for range factors {
		f := tensor.Factor{Layout: l, Scale: make([]float64, l.Channels)}
		for c := range f.Scale {
			f.Scale[c] = scale(c)
		}
		job.Factors = append(job.Factors, f)
	}
	return job
}

// benchmarkWeights is elements between 1 and 2, so that nothing leaves the range of a 16-bit type.
func benchmarkWeights(b *testing.B, d tensor.DType, elements int64) tensor.Buffer {
	values := make([]float64, elements)
	for k := range values {
		values[k] = 1 + float64(k*7919%8191)/8191
	}
	w := make(tensor.Buffer, elements*int64(d.Size()))
	if err := tensor.Encode(w, values, d); err != nil {
		b.Fatal(err)
	}
	return w
}

// BenchmarkKernel is the multiplication alone, in a core's cache: GB/s of one core.
func BenchmarkKernel(b *testing.B) {
	for _, d := range []tensor.DType{tensor.Float64, tensor.Float32, tensor.Float16, tensor.BFloat16} {
		kernels := map[string]kernel{"vector": fastest(d), "loop": loops(d)}
		for _, kind := range []string{"vector", "loop"} {
			for _, l := range benchmarkLayouts {
				for factors := 1; factors <= 2; factors++ {
					b.Run(fmt.Sprintf("%v/%s/%s/%d factors", d, kind, l.name, factors), func(b *testing.B) {
						sign := func(c int) float64 { return float64(1 - c%2*2) } // the elements never leave their range
						job := benchmarkJob(d, l.Layout, factors, sign)
						data := benchmarkWeights(b, d, int64(chunkBytes/d.Size()))
						tally, s := tensor.NewTally(), new(scales)
						b.SetBytes(chunkBytes)
						for b.Loop() {
							multiply(data, job, kernels[kind], 0, s, &tally)
						}
					})
				}
			}
		}
	}
}

// BenchmarkFile rescales a file into another, by turns with a plain parallel copy of it in the same chunks, and reports
// how much longer rescaling takes (ratio) and how fast it is.
func BenchmarkFile(b *testing.B) {
	for _, d := range []tensor.DType{tensor.Float64, tensor.Float32, tensor.Float16, tensor.BFloat16} {
		for _, l := range benchmarkLayouts {
			for _, workers := range []int{1, 2} {
				b.Run(fmt.Sprintf("%v/%s/%d workers", d, l.name, workers), func(b *testing.B) {
					job := benchmarkJob(d, l.Layout, 1, func(c int) float64 { return 0.5 + float64(c%1000)/1000 })
					src, dst := benchmarkFile(b, "src"), benchmarkFile(b, "dst")
					weights := benchmarkWeights(b, d, job.Elements)
					for _, f := range []*os.File{src, dst} { // both in the page cache
						if _, err := f.WriteAt(weights, 0); err != nil {
							b.Fatal(err)
						}
					}
					backend := New(workers)
					var rescaling, copying time.Duration
					for b.Loop() {
						start := time.Now()
						if err := parallelCopy(dst, src, int64(len(weights)), workers); err != nil {
							b.Fatal(err)
						}
						middle := time.Now()
						if _, err := backend.Rescale(context.Background(), dst, src, job); err != nil {
							b.Fatal(err)
						}
						copying += middle.Sub(start)
						rescaling += time.Since(middle)
					}
					b.ReportMetric(float64(rescaling)/float64(copying), "ratio")
					b.ReportMetric(float64(len(weights))*float64(b.N)/rescaling.Seconds()/1e9, "GB/s")
				})
			}
		}
	}
}

func benchmarkFile(b *testing.B, name string) *os.File {
	f, err := os.Create(filepath.Join(b.TempDir(), name))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// parallelCopy copies size bytes in the backend's chunks.
func parallelCopy(dst io.WriterAt, src io.ReaderAt, size int64, workers int) error {
	var next atomic.Int64
	p := pool.New().WithErrors()
	for range workers {
		p.Go(func() error {
			chunk := make([]byte, chunkBytes)
			for {
				off := next.Add(chunkBytes) - chunkBytes
				if off >= size {
					return nil
				}
				part := chunk[:min(chunkBytes, size-off)]
				if err := tensor.ReadFull(src, part, off); err != nil {
					return err
				}
				if err := tensor.WriteFull(dst, part, off); err != nil {
					return err
				}
			}
		})
	}
	return p.Wait()
}
