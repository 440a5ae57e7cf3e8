package run

import "sync"

// meter reports progress while a model's output is written: in steps, and at most the bytes of the model.
type meter struct {
	tell func(int64)

	lock    sync.Mutex
	written int64 // since the last step
	left    int64 // of the model's bytes
}

// meterStep is how many bytes are written between two steps.
const meterStep = 4 << 20

// wrote counts bytes that were written. A nil meter counts nothing.
func (m *meter) wrote(n int64) {
	if m == nil {
		return
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.written += n; m.written >= meterStep {
		step := min(m.written, m.left)
		m.written, m.left = 0, m.left-step
		m.tell(step)
	}
}

// finish is the number of the model's bytes that were not reported yet.
func (m *meter) finish() int64 {
	m.lock.Lock()
	defer m.lock.Unlock()
	left := m.left
	m.left = 0
	return left
}
