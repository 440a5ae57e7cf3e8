//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// rescale does a tensor. done is how many of its bytes, from the first on, are written, and tally that of their elements.
func (s *seat) rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tally tensor.Tally, done int64, err error) {
	if err := s.device.use(); err != nil {
		return tensor.NewTally(), 0, err
	}
	r := s.take(dst, src, job)
	err = s.device.bound(func() error {
		defer r.close()
		if err := r.prepare(); err != nil {
			return err
		}
		return r.run(ctx)
	})
	s.device.release(err, r.done)
	return r.tally, r.done, err
}

// rescaling is one tensor on the device.
type rescaling struct {
	*seat
	job     *tensor.Rescale
	dst     io.WriterAt
	src     io.ReaderAt
	size    int64 // of an element
	scales  []cu.DevicePtr
	factors cu.DevicePtr
	table   []uint64 // what factors points to holds; it lives until the copy is done
	tally   tensor.Tally
	done    int64 // bytes written
}

func (s *seat) take(dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) *rescaling {
	return &rescaling{seat: s, job: job, dst: dst, src: src, size: int64(job.DType.Size()), tally: tensor.NewTally()}
}

// prepare puts the factors on the device.
func (r *rescaling) prepare() error {
	if err := r.ready(); err != nil {
		return err
	}
	factors := r.job.Factors
	if len(factors) == 0 { // the kernels take one at least
		factors = []tensor.Factor{{Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: 1, Inner: r.job.Elements}, Scale: []float64{1}}}
	}
	need := int64(0)
	for _, f := range factors {
		need += factorBytes + int64(len(f.Scale))*8
	}
	if need > r.device.scales {
		return onDevice("factors", fmt.Errorf("%w: they take %d bytes, and %d are theirs", cu.OutOfMemory, need, r.device.scales))
	}
	for _, f := range factors {
		p, err := r.upload(unsafe.Pointer(unsafe.SliceData(f.Scale)), int64(len(f.Scale))*8)
		if err != nil {
			return err
		}
		r.scales = append(r.scales, p)
		r.table = append(r.table, uint64(f.Inner), uint64(f.Channels), uint64(f.Outer*f.Channels*f.Inner), uint64(p))
	}
	var err error
	r.factors, err = r.upload(unsafe.Pointer(unsafe.SliceData(r.table)), int64(len(r.table))*8)
	return err
}

// upload copies host memory of ours to the device, and waits for it.
func (r *rescaling) upload(from unsafe.Pointer, bytes int64) (cu.DevicePtr, error) {
	p, err := cu.MemAlloc(bytes)
	if err != nil {
		return 0, onDevice("device memory", err)
	}
	stream := r.lanes[0].stream
	if err := cu.MemcpyHtoDAsync(p, from, bytes, stream); err != nil {
		return p, onDevice("copy of factors", err)
	}
	return p, onDevice("copy of factors", stream.Synchronize())
}

// run sends chunk after chunk, each on the next lane; before a lane is used again, its chunk is taken off and written.
func (r *rescaling) run(ctx context.Context) error {
	total := r.job.Elements * r.size
	turn := 0
	for first := int64(0); first < total; first += r.device.chunk {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before byte %d: %w", first, err)
		}
		l := &r.lanes[turn]
		turn = (turn + 1) % lanes
		if err := r.collect(l); err != nil {
			return err
		}
		if err := r.send(l, first, min(r.device.chunk, total-first)); err != nil {
			return err
		}
	}
	for range lanes {
		if err := r.collect(&r.lanes[turn]); err != nil {
			return err
		}
		turn = (turn + 1) % lanes
	}
	return nil
}

func (l *lane) chunk(bytes int64) []byte { return unsafe.Slice((*byte)(l.host), bytes) }

// counted is where the lane's tally is on the host.
func (r *rescaling) counted(l *lane) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(l.host, r.device.chunk)), tallyBytes)
}

// send reads a chunk and puts its copies and its kernel on the lane's stream.
func (r *rescaling) send(l *lane, first, bytes int64) error {
	if err := tensor.ReadFull(r.src, l.chunk(bytes), first); err != nil {
		return err
	}
	counts := r.counted(l)
	for k := range 6 {
		none := uint64(0)
		if k%2 == 1 {
			none = math.MaxUint64
		}
		binary.LittleEndian.PutUint64(counts[8*k:], none)
	}
	if err := errors.Join(
		cu.MemcpyHtoDAsync(l.from, l.host, bytes, l.stream),
		cu.MemcpyHtoDAsync(l.counts, unsafe.Pointer(unsafe.SliceData(counts)), tallyBytes, l.stream),
	); err != nil {
		return onDevice("copy to the device", err)
	}
	if err := r.launch(l, first, bytes); err != nil {
		return onDevice("launch", err)
	}
	if err := errors.Join(
		cu.MemcpyDtoHAsync(l.host, l.to, bytes, l.stream),
		cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(counts)), l.counts, tallyBytes, l.stream),
	); err != nil {
		return onDevice("copy from the device", err)
	}
	l.first, l.bytes = first, bytes
	return nil
}

// launch puts the kernel on the lane's stream.
func (r *rescaling) launch(l *lane, first, bytes int64) error {
	grid := min((bytes+threadsPerBlock*vector-1)/(threadsPerBlock*vector), r.device.blocks)
	arguments := [7]uint64{
		uint64(l.to), uint64(l.from), uint64(bytes / r.size), uint64(first / r.size),
		uint64(r.factors), uint64(len(r.table) / 4), uint64(l.counts),
	}
	var pointers [7]unsafe.Pointer
	for k := range arguments {
		pointers[k] = unsafe.Pointer(&arguments[k])
	}
	return r.device.kernels[r.job.DType].Launch(int(grid), 1, 1, threadsPerBlock, 1, 1, 0, l.stream, pointers[:])
}

// collect waits for the lane's chunk and writes it.
func (r *rescaling) collect(l *lane) error {
	if l.bytes == 0 {
		return nil
	}
	bytes := l.bytes
	l.bytes = 0
	if err := l.stream.Synchronize(); err != nil {
		return onDevice("wait", err)
	}
	if err := tensor.WriteFull(r.dst, l.chunk(bytes), l.first); err != nil {
		return err
	}
	r.done = l.first + bytes
	var n [6]int64
	counts := r.counted(l)
	for k := range n {
		n[k] = int64(binary.LittleEndian.Uint64(counts[8*k:])) // no first element: -1
	}
	r.tally.Add(tensor.Tally{NonFinite: n[0], FirstNonFinite: n[1], Overflow: n[2], FirstOverflow: n[3], Subnormal: n[4], FirstSubnormal: n[5]})
	return nil
}

// close gives the factors back. A lane's work may still be under way after an error: it is waited for, since the next tensor
// takes the lane.
func (r *rescaling) close() {
	for k := range r.lanes {
		if l := &r.lanes[k]; l.bytes > 0 {
			_ = l.stream.Synchronize()
			l.bytes = 0
		}
	}
	for _, p := range append(r.scales, r.factors) {
		if p != 0 {
			_ = cu.MemFree(p)
		}
	}
}
