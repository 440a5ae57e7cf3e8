//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/gpu/kernels"
)

// Product multiplies float64 matrices in rows: c, of m×n elements, is a·b, of m×k and k×n. The terms of an element are
// added from the first one on, each product and each sum rounded once, so that c has the bits of a plain loop, except for
// the bits of NaNs. An error, of ctx or of a device, says that c was not computed: the caller computes it on the CPU.
func (b *Backend) Product(ctx context.Context, c, left, right []float64, m, n, k int) error {
	if m < 0 || n < 0 || k < 0 || len(c) != m*n || len(left) != m*k || len(right) != k*n {
		return fmt.Errorf("product of %d×%d and %d×%d: there are %d and %d elements, and room for %d", m, k, k, n, len(left), len(right), len(c))
	}
	if m*n*k == 0 {
		clear(c)
		return nil
	}
	d, err := b.seat(ctx)
	if err != nil {
		return err
	}
	defer func() { b.seats <- d }()
	if err := d.use(); err != nil {
		return err
	}
	err = d.product(ctx, c, left, right, m, n, k)
	d.release(err, 0)
	return err
}

func (d *device) product(ctx context.Context, c, left, right []float64, m, n, k int) error {
	if need := int64(len(c)+len(left)+len(right)) * 8; need > d.scales {
		return onDevice("product", fmt.Errorf("%w: it takes %d bytes, and %d are its", cu.OutOfMemory, need, d.scales))
	}
	var memory [3]cu.DevicePtr
	defer func() { d.free(memory[:]...) }()
	return d.onLane(ctx, func(l *lane) (err error) {
		f, err := d.productKernel()
		if err != nil {
			return err
		}
		for j, from := range [][]float64{left, right} {
			if memory[j], err = l.upload(unsafe.Pointer(unsafe.SliceData(from)), int64(len(from))*8); err != nil {
				return err
			}
		}
		bytes := int64(len(c)) * 8
		if memory[2], err = cu.MemAlloc(bytes); err != nil {
			return onDevice("device memory", err)
		}
		const tile = 4 // product.cu's
		threads := (int64(m) + tile - 1) / tile * ((int64(n) + tile - 1) / tile)
		arguments := [6]uint64{uint64(memory[2]), uint64(memory[0]), uint64(memory[1]), uint64(m), uint64(n), uint64(k)}
		var pointers [len(arguments)]unsafe.Pointer
		for j := range arguments {
			pointers[j] = unsafe.Pointer(&arguments[j])
		}
		grid := min((threads+threadsPerBlock-1)/threadsPerBlock, d.blocks)
		if err := f.Launch(int(grid), 1, 1, threadsPerBlock, 1, 1, 0, l.stream, pointers[:]); err != nil {
			return onDevice("launch", err)
		}
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(c)), memory[2], bytes, l.stream); err != nil {
			return onDevice("copy from the device", err)
		}
		return onDevice("wait", l.stream.Synchronize())
	})
}

// productKernel is the kernel in the device's context, loaded on first use, since most runs do not need it.
func (d *device) productKernel() (f cu.Function, err error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	if d.products.start != d.starts {
		module, err := cu.LoadDataEx(kernels.Product)
		if err != nil {
			return f, onDevice("kernels", err)
		}
		if d.products.kernel, err = module.Function("product_f64"); err != nil {
			return f, onDevice("product_f64", err)
		}
		d.products.start = d.starts
	}
	return d.products.kernel, nil
}
