package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gocloud.dev/gcerrors"
)

// timing is how patient a folder is.
type timing struct {
	answer time.Duration // for the answer to a small request
	stall  time.Duration // without a byte that is read
	upload time.Duration // without a byte that is taken to be written: a service takes parts of many MB
	first  time.Duration // the first pause; each is twice the one before
	most   time.Duration // the longest one, whatever the service asks for
	tries  int           // how often something is tried
	lease  time.Duration // how long a lock is good for
	renew  time.Duration // how often it is renewed

	pause func(context.Context, time.Duration) error
}

var usual = timing{
	answer: time.Minute, stall: time.Minute, upload: 5 * time.Minute,
	first: 250 * time.Millisecond, most: time.Minute, tries: 7, lease: time.Minute, renew: 20 * time.Second, pause: pause,
}

// Hurry has the folder wait so long for an answer, and not at all before it tries again: for tests.
func (f *Folder) Hurry(answer time.Duration) {
	f.timing.answer, f.timing.stall, f.timing.upload = answer, answer, answer
	f.timing.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// errNoAnswer says that a service takes too long.
var errNoAnswer = errors.New("the service does not answer")

// attempts are what is tried several times.
type attempts struct {
	*Folder
	failed int
}

// again waits before the next attempt after an error. It returns the error where there is none to be made.
func (a *attempts) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if a.failed++; isFinal(err) || a.failed >= a.timing.tries {
		return err
	}
	wait := a.timing.first << (a.failed - 1)
	wait = wait/2 + rand.N(wait/2+1) // many workers that failed together shall not come back together
	if a.service.after != nil {
		wait = max(wait, a.service.after(err))
	}
	return a.timing.pause(ctx, min(wait, a.timing.most))
}

// try does something until it succeeds, or fails for good. Each attempt has the time of a small request.
func (f *Folder) try(ctx context.Context, what string, do func(context.Context) error) error {
	a := attempts{Folder: f}
	for {
		inner, cancel := context.WithTimeoutCause(ctx, f.timing.answer, errNoAnswer)
		err := do(inner)
		if err != nil && ctx.Err() == nil && inner.Err() != nil {
			err = errNoAnswer
		}
		cancel()
		if err == nil {
			return nil
		}
		if err := a.again(ctx, err); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// isFinal says of an error that another attempt ends in it again.
func isFinal(err error) bool {
	if errors.Is(err, ErrChanged) || errors.Is(err, ErrLost) || errors.Is(err, errContent) {
		return true
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound, gcerrors.PermissionDenied, gcerrors.InvalidArgument, gcerrors.Unimplemented, gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return true
	}
	return false
}

func isMissing(err error) bool { return gcerrors.Code(err) == gcerrors.NotFound }

// isRefused says that a condition of a write did not hold.
func isRefused(err error) bool {
	switch gcerrors.Code(err) {
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists, gcerrors.NotFound: // of an object that was to be replaced
		return true
	}
	return false
}

// watch is a context that ends when nobody has said for a while that something happens.
type watch struct {
	context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func newWatch(ctx context.Context, limit time.Duration) *watch {
	w := &watch{limit: limit}
	w.Context, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(limit, func() { w.cancel(errNoAnswer) })
	return w
}

// happens says that something does.
func (w *watch) happens() { w.timer.Reset(w.limit) }

// rests says that nothing is waited for until happens.
func (w *watch) rests() { w.timer.Stop() }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// explain says of an error that the watch is why.
func (w *watch) explain(err error) error {
	if err != nil && errors.Is(context.Cause(w.Context), errNoAnswer) {
		return errNoAnswer
	}
	return err
}
