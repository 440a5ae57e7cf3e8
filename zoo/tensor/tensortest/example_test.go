package tensortest_test

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

// halves is a backend that rescales both halves of a tensor at once. Sums it leaves to the reference.
type halves struct{ tensor.Reference }

// Name is "two halves".
func (halves) Name() string { return "two halves" }

// Rescale is tensor.Backend's. The error is that of the half which comes first.
func (h halves) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	if err := job.Check(); err != nil {
		return tensor.NewTally(), err
	}
	bounds := []int64{0, job.Elements / 2, job.Elements}
	var tallies [2]tensor.Tally
	var errs [2]error
	var wait sync.WaitGroup
	for k := range errs {
		wait.Go(func() { tallies[k], errs[k] = h.Range(ctx, dst, src, job, bounds[k], bounds[k+1]) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return tensor.NewTally(), err
		}
	}
	tallies[0].Add(tallies[1])
	return tallies[0], nil
}

func TestSuite_BackendOfTwoHalves(t *testing.T) { tensortest.Backend(t, halves{}) }
