//go:build cgo && !linux

package predict

import "time"

var origin = time.Now()

// clock is wall time: there is no simple way to get a thread's processor time on this system.
func clock() time.Duration { return time.Since(origin) }
