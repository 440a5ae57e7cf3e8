package gpu

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/zoofold/zoofold/zoo/tensor"
)

var (
	_ tensor.Noter  = (*Later)(nil)
	_ tensor.Closer = (*Later)(nil)
)

// Later is the backend of a run that need not use a device. It begins on the CPU, and opens the devices in the background
// once the run has had Worth.Begin bytes of work: a short run never starts a driver, and no run waits for it.
type Later struct {
	options Options
	open    func(Options) (*Backend, error)

	lock   sync.Mutex
	seen   int64         // bytes of tensors that are worth sending
	opened chan struct{} // closed when the devices are open, or cannot be opened; nil: opening has not begun
	device *Backend      // nil: none is open
	failed error
	closed bool
}

// OpenLater finds the driver, and starts nothing. ErrNone is in the error's chain where there is no driver, or where nothing is
// worth sending to a device.
func OpenLater(o Options) (*Later, error) {
	if o.Worth.Nothing() {
		return nil, fmt.Errorf("%w: no work is worth sending to a device", ErrNone)
	}
	if err := find(); err != nil {
		return nil, err
	}
	return &Later{options: o, open: Open}, nil
}

// Name names the backend that the work begins on, and says when devices are opened.
func (l *Later) Name() string {
	return fmt.Sprintf("%s, and CUDA behind %d MB of large tensors", l.options.CPU.Name(), l.options.Worth.Begin/1e6)
}

// backend is the backend for a tensor of that many bytes; tensors of least bytes and more are worth sending.
func (l *Later) backend(bytes, least int64) tensor.Backend {
	if bytes < least {
		return l.options.CPU
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.device != nil {
		return l.device
	}
	if l.seen += bytes; l.seen > l.options.Worth.Begin && l.opened == nil && !l.closed {
		l.opened = make(chan struct{})
		go l.begin()
	}
	return l.options.CPU
}

// begin opens the devices.
func (l *Later) begin() {
	device, err := l.open(l.options)
	l.lock.Lock()
	defer l.lock.Unlock()
	switch {
	case err != nil:
		l.failed = err
	case l.closed: // the run has ended
		device.Close()
	default:
		l.device = device
	}
	close(l.opened)
}

// Rescale is tensor.Backend's.
func (l *Later) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	if err := job.Check(); err != nil {
		return tensor.NewTally(), err
	}
	return l.backend(job.Elements*int64(job.DType.Size()), l.options.Worth.Rescale).Rescale(ctx, dst, src, job)
}

// Sum is tensor.Backend's.
func (l *Later) Sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	if err := job.Check(); err != nil {
		return nil, err
	}
	return l.backend(job.Elements*int64(job.DType.Size()), l.options.Worth.Sum).Sum(ctx, src, job)
}

// Notes say which devices were opened, or why none was, and which problems they had.
func (l *Later) Notes() []string {
	l.lock.Lock()
	defer l.lock.Unlock()
	switch {
	case l.failed != nil:
		return []string{l.failed.Error()}
	case l.device != nil:
		return append([]string{l.device.Name() + ": opened when the run had had " + fmt.Sprint(l.seen/1e6) + " MB of large tensors"}, l.device.Notes()...)
	}
	return nil
}

// Close releases the devices. It does not wait for devices that are being opened. No call may be running.
func (l *Later) Close() {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.closed = true; l.device != nil {
		l.device.Close()
	}
}
