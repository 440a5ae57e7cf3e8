package cpu

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

// The loops in plain Go do what the vector kernels leave; here they do everything, as on other processors.
func TestSuite_PlainLoops(t *testing.T) {
	b := New(2)
	b.kernel = loops
	tensortest.Backend(t, b)
}
