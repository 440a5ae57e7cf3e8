//go:build cgo && !linux

package predict

import "time"

var origin = time.Now()

// clock is the time on the wall, where the system has no processor time of threads that is simply told.
func clock() time.Duration { return time.Since(origin) }
