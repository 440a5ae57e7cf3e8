//go:build cgo

package predict

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock is the processor time of the calling thread, which does not depend on what else the machine does.
func clock() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
