//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// rescale rescales a tensor. If it fails, left are the elements that are not written, nil if no chunk was written, and
// tally is the tally of the others.
func (d *device) rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tally tensor.Tally, left []span, err error) {
	if err := d.use(); err != nil {
		return tensor.NewTally(), nil, err
	}
	r := d.rescaling(dst, src, job)
	err = r.prepare(ctx)
	if err == nil {
		err = d.each(ctx, r.job.Elements*r.size, r.chunk)
	}
	r.close()
	d.release(err, r.bytes)
	if err != nil {
		left = r.left()
	}
	return r.tally, left, err
}

// rescaling is one tensor on the device.
type rescaling struct {
	*device
	job     *tensor.Rescale
	dst     io.WriterAt
	src     io.ReaderAt
	size    int64 // of an element
	scales  []cu.DevicePtr
	factors cu.DevicePtr
	table   []uint64 // the pointers that factors holds; it has to live until the copy is done

	lock    sync.Mutex // of what follows
	tally   tensor.Tally
	written []bool // chunks
	bytes   int64  // of them
}

func (d *device) rescaling(dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) *rescaling {
	r := &rescaling{device: d, job: job, dst: dst, src: src, size: int64(job.DType.Size()), tally: tensor.NewTally()}
	r.written = make([]bool, (job.Elements*r.size+d.chunk-1)/d.chunk)
	return r
}

// left are the elements of the chunks that are not written; nil if no chunk was written.
func (r *rescaling) left() (list []span) {
	if r.bytes == 0 {
		return nil
	}
	per := r.device.chunk / r.size
	list = []span{}
	for k, written := range r.written {
		first := int64(k) * per
		switch end := min(first+per, r.job.Elements); {
		case written:
		case len(list) > 0 && list[len(list)-1].end == first:
			list[len(list)-1].end = end
		default:
			list = append(list, span{first, end})
		}
	}
	return list
}

// prepare copies the factors to the device.
func (r *rescaling) prepare(ctx context.Context) error {
	factors := r.job.Factors
	if len(factors) == 0 { // the kernels need at least one
		factors = []tensor.Factor{{Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: 1, Inner: r.job.Elements}, Scale: []float64{1}}}
	}
	need := int64(0)
	for _, f := range factors {
		need += factorBytes + int64(len(f.Scale))*8
	}
	if need > r.device.scales {
		return onDevice("factors", fmt.Errorf("%w: they take %d bytes, and %d are theirs", cu.OutOfMemory, need, r.device.scales))
	}
	return r.onLane(ctx, func(l *lane) error {
		for _, f := range factors {
			p, err := l.upload(unsafe.Pointer(unsafe.SliceData(f.Scale)), int64(len(f.Scale))*8)
			if p != 0 {
				r.scales = append(r.scales, p)
			}
			if err != nil {
				return err
			}
			r.table = append(r.table, uint64(f.Inner), uint64(f.Channels), uint64(f.Outer*f.Channels*f.Inner), uint64(p))
		}
		var err error
		r.factors, err = l.upload(unsafe.Pointer(unsafe.SliceData(r.table)), int64(len(r.table))*8)
		return err
	})
}

// onLane calls f with a lane, on a thread with the device's context.
func (d *device) onLane(ctx context.Context, f func(l *lane) error) error {
	return d.bound(func() error {
		l, err := d.take(ctx)
		if err != nil {
			return err
		}
		defer func() { d.lanes <- l }()
		if err = f(l); err != nil {
			_ = l.stream.Synchronize() // what was begun goes on until then
		}
		return err
	})
}

// upload copies Go memory to the device, and waits for that.
func (l *lane) upload(from unsafe.Pointer, bytes int64) (cu.DevicePtr, error) {
	p, err := cu.MemAlloc(bytes)
	if err != nil {
		return 0, onDevice("device memory", err)
	}
	if err := cu.MemcpyHtoDAsync(p, from, bytes, l.stream); err != nil {
		return p, onDevice("copy of factors", err)
	}
	return p, onDevice("copy of factors", l.stream.Synchronize())
}

// counted is the lane's tally in host memory.
func (r *rescaling) counted(l *lane) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(l.host, r.device.chunk)), tallyBytes)
}

// chunk reads a chunk, sends it through the device and writes it.
func (r *rescaling) chunk(_ context.Context, l *lane, k int64, at span) error {
	data := l.chunk(at.end - at.first)
	if err := tensor.ReadFull(r.src, data, at.first); err != nil {
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
	if err := cmp.Or(
		cu.MemcpyHtoDAsync(l.from, l.host, int64(len(data)), l.stream),
		cu.MemcpyHtoDAsync(l.counts, unsafe.Pointer(unsafe.SliceData(counts)), tallyBytes, l.stream),
	); err != nil {
		return onDevice("copy to the device", err)
	}
	if err := r.launch(l, at); err != nil {
		return onDevice("launch", err)
	}
	if err := cmp.Or(
		cu.MemcpyDtoHAsync(l.host, l.to, int64(len(data)), l.stream),
		cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(counts)), l.counts, tallyBytes, l.stream),
	); err != nil {
		return onDevice("copy from the device", err)
	}
	if err := l.stream.Synchronize(); err != nil {
		return onDevice("wait", err)
	}
	if err := tensor.WriteFull(r.dst, data, at.first); err != nil {
		return err
	}
	var n [6]int64
	for k := range n {
		n[k] = int64(binary.LittleEndian.Uint64(counts[8*k:])) // no first element: -1
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.tally.Add(tensor.Tally{NonFinite: n[0], FirstNonFinite: n[1], Overflow: n[2], FirstOverflow: n[3], Subnormal: n[4], FirstSubnormal: n[5]})
	r.written[k] = true
	r.bytes += int64(len(data))
	return nil
}

// launch starts the kernel on the lane's stream.
func (r *rescaling) launch(l *lane, at span) error {
	bytes := at.end - at.first
	grid := min((bytes+threadsPerBlock*vector-1)/(threadsPerBlock*vector), r.device.blocks)
	arguments := [7]uint64{
		uint64(l.to), uint64(l.from), uint64(bytes / r.size), uint64(at.first / r.size),
		uint64(r.factors), uint64(len(r.table) / 4), uint64(l.counts),
	}
	var pointers [7]unsafe.Pointer
	for k := range arguments {
		pointers[k] = unsafe.Pointer(&arguments[k])
	}
	return r.device.kernels[r.job.DType].Launch(int(grid), 1, 1, threadsPerBlock, 1, 1, 0, l.stream, pointers[:])
}

// close frees the factors. No chunk may be in flight.
func (r *rescaling) close() { r.device.free(append(r.scales, r.factors)...) }

// free frees device memory.
func (d *device) free(list ...cu.DevicePtr) {
	_ = d.bound(func() error { // with a lost context the memory is gone already
		for _, p := range list {
			if p != 0 {
				_ = cu.MemFree(p)
			}
		}
		return nil
	})
}
