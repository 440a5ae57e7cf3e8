package format_test

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestOverflowError_SaysWhatHappened(t *testing.T) {
	for want, tally := range map[string]tensor.Tally{
		`tensor "w": 2 elements would overflow float16`:            {Overflow: 2, Subnormal: 5},
		`tensor "w": 5 elements would become subnormal in float16`: {Subnormal: 5},
		`tensor "w": 1 elements are not finite`:                    {NonFinite: 1, Overflow: 2, Subnormal: 5},
	} {
		if got := (&format.OverflowError{Tensor: "w", DType: tensor.Float16, Tally: tally}).Error(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
