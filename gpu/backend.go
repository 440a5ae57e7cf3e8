//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/gpu/driver"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Backend spreads tensors over all devices. A device that loses its context is started once more; after that the CPU does
// its work.
type Backend struct {
	options Options
	name    string
	seats   chan *device // for each tensor that may be on a device, free

	lock  sync.Mutex
	all   []*device
	notes []string
	more  int // notes that were not kept
}

// maxNotes is how many notes are kept: a device that is short of memory fails with every tensor.
const maxNotes = 20

// perDevice is how many tensors are on a device at once: while one waits for the disk, others' copies run.
const perDevice = 4

// Open starts the driver and a context on each device. ErrNone is in the error's chain where there is none to be had.
func Open(o Options) (*Backend, error) {
	version, err := driver.Load()
	if err != nil {
		return nil, none(err)
	}
	count, err := cu.NumDevices()
	if err != nil || count == 0 {
		return nil, fmt.Errorf("%w: driver %s found, but no device", ErrNone, dotted(version))
	}
	b := &Backend{options: o, seats: make(chan *device, count*perDevice)}
	var names []string
	for k := range count {
		d := &device{backend: b, ordinal: k}
		if err := d.start(); err != nil {
			b.note("device %d is not used: %v", k, err)
			continue
		}
		names = append(names, d.name)
		b.all = append(b.all, d)
	}
	if len(b.all) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNone, strings.Join(b.notes, "; "))
	}
	for range perDevice {
		for _, d := range b.all { // by turns
			b.seats <- d
		}
	}
	b.name = fmt.Sprintf("cuda: %s, driver %s", strings.Join(names, ", "), dotted(version))
	return b, nil
}

// find checks whether there is a driver, without starting it.
func find() error {
	if err := driver.Find(); err != nil {
		return none(err)
	}
	return nil
}

// none is ErrNone with the driver's reason.
func none(err error) error {
	return fmt.Errorf("%w: %s", ErrNone, strings.TrimPrefix(err.Error(), driver.ErrAbsent.Error()+": "))
}

func dotted(version int) string { return fmt.Sprintf("%d.%d", version/1000, version%1000/10) }

// Sought says what a run would load, for -version. Nothing is loaded.
func Sought() string {
	library, err := driver.Library()
	if err != nil {
		return plain(err)
	}
	return library + " is looked for when a run starts; -version -v looks now"
}

// plain is an error's text without "no CUDA", for places that name CUDA already.
func plain(err error) string { return strings.TrimPrefix(err.Error(), ErrNone.Error()+": ") }

// Describe describes the driver and the devices, for -version -v.
func Describe() string {
	b, err := Open(Options{Worth: Default})
	if err != nil {
		return plain(err)
	}
	defer b.Close()
	return strings.TrimPrefix(b.name, "cuda: ")
}

// Name names the devices and the driver.
func (b *Backend) Name() string { return b.name }

// Notes are the problems with devices, a sentence each.
func (b *Backend) Notes() []string {
	b.lock.Lock()
	defer b.lock.Unlock()
	notes := slices.Clone(b.notes)
	if b.more > 0 {
		notes = append(notes, fmt.Sprintf("devices failed %d times more", b.more))
	}
	return notes
}

func (b *Backend) note(text string, args ...any) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if len(b.notes) == maxNotes {
		b.more++
		return
	}
	b.notes = append(b.notes, fmt.Sprintf(text, args...))
}

// Close releases the devices, and all device and host memory that was allocated for them. A device on which work is still
// under way is left to the end of the process.
func (b *Backend) Close() {
	for _, d := range b.all {
		d.lock.Lock()
		if d.users == 0 {
			d.stop()
		}
		d.lock.Unlock()
	}
}

// Rescale is tensor.Backend's.
func (b *Backend) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	if err := job.Check(); err != nil {
		return tensor.NewTally(), err
	}
	if job.Elements*int64(job.DType.Size()) < b.options.Worth.Rescale {
		return b.options.CPU.Rescale(ctx, dst, src, job)
	}
	d, err := b.seat(ctx)
	if err != nil {
		return tensor.NewTally(), err
	}
	tally, left, err := d.rescale(ctx, dst, src, job)
	b.seats <- d
	var failed *deviceError
	switch {
	case err == nil:
		return tally, nil
	case !errors.As(err, &failed):
		return tensor.NewTally(), err
	case left == nil:
		return b.options.CPU.Rescale(ctx, dst, src, job)
	}
	// Chunks that were written are not done again: if src and dst are the same file, their source is overwritten.
	for _, part := range left {
		rest, err := tensor.Reference{}.Range(ctx, dst, src, job, part.first, part.end)
		if err != nil {
			return rest, err
		}
		tally.Add(rest)
	}
	return tally, nil
}

// Sum is tensor.Backend's.
func (b *Backend) Sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	if err := job.Check(); err != nil {
		return nil, err
	}
	if job.Elements*int64(job.DType.Size()) < b.options.Worth.Sum {
		return b.options.CPU.Sum(ctx, src, job)
	}
	d, err := b.seat(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { b.seats <- d }()
	if job.Out.Blocks*job.Out.Channels*tensor.Ways*partialBytes > d.scales/2 { // many short channels
		return b.options.CPU.Sum(ctx, src, job)
	}
	sums, err := d.sum(ctx, src, job)
	if failed := (*deviceError)(nil); errors.As(err, &failed) {
		return b.options.CPU.Sum(ctx, src, job)
	}
	return sums, err
}

// seat waits for a free seat.
func (b *Backend) seat(ctx context.Context) (*device, error) {
	select {
	case <-ctx.Done():
	case d := <-b.seats:
		if ctx.Err() == nil { // select chooses at random where both are ready
			return d, nil
		}
		b.seats <- d
	}
	return nil, fmt.Errorf("stopped before byte 0: %w", ctx.Err())
}

// deviceError is a failure of the device or the driver, not of src, dst or the context.
type deviceError struct {
	what string
	err  error
}

func (e *deviceError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }
func (e *deviceError) Unwrap() error { return e.err }

func onDevice(what string, err error) error {
	if err == nil {
		return nil
	}
	return &deviceError{what, err}
}

// bound runs f on one thread with the device's context; a context belongs to the thread that made it current.
func (d *device) bound(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(d.context); err != nil {
		return onDevice("context", err)
	}
	return f()
}
