package predict

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// value is a tensor that goes into a model or comes out of it.
type value struct {
	dtype tensor.DType
	shape []int64
	data  []float64
}

// jitter moves every float by at most one unit in the last place.
func jitter(inputs []value, seed uint64) []value {
	rng := rand.New(rand.NewPCG(seed, 9))
	unit := map[tensor.DType]float64{tensor.Float16: 0x1p-10, tensor.BFloat16: 0x1p-7, tensor.Float32: 0x1p-23, tensor.Float64: 0x1p-52}
	out := make([]value, len(inputs))
	for k, v := range inputs {
		out[k] = v
		if !v.dtype.Float() {
			continue
		}
		out[k].data = make([]float64, len(v.data))
		for j, x := range v.data {
			out[k].data[j] = v.dtype.Round(x * (1 + (2*rng.Float64()-1)*unit[v.dtype]))
		}
	}
	return out
}

// difference is how far outputs are apart.
type difference struct {
	largest  float64 // relative to the largest value of its output; finite
	output   string
	element  int
	compared int64
	note     string // a difference that no tolerance allows
}

// gap compares outputs. A NaN or infinity has to be the same in both.
func gap(labels []string, want, got []value) (d difference) {
	for k, a := range want {
		b := got[k]
		if a.dtype != b.dtype || len(a.data) != len(b.data) || !slices.Equal(a.shape, b.shape) {
			return difference{largest: math.MaxFloat64, note: fmt.Sprintf("%s has shape %v in the original, %v in the folded model", labels[k], a.shape, b.shape)}
		}
		top := a.top()
		for j, x := range a.data {
			y := b.data[j]
			d.compared++
			switch {
			case x == y || math.IsNaN(x) && math.IsNaN(y):
				continue
			case !finite(x) || !finite(y):
				return difference{largest: math.MaxFloat64, note: fmt.Sprintf("%s is %g in the original and %g in the folded model at element %d", labels[k], x, y, j)}
			}
			if r := min(math.Abs(x-y)/(top+1e-30), math.MaxFloat64); r > d.largest {
				d.largest, d.output, d.element = r, labels[k], j
			}
		}
	}
	return d
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// top is the largest magnitude of a value's finite elements.
func (v value) top() (top float64) {
	for _, x := range v.data {
		if finite(x) {
			top = max(top, math.Abs(x))
		}
	}
	return top
}

// decide compares, row by row, which element of the last axis is the largest. A different decision is a failure if its
// margin, relative to the output's largest value, exceeds the limit; else it is noise.
func decide(want, got []value, limit float64) (decisions, flipped int64, worst string) {
	for k, a := range want {
		b := got[k]
		if !a.dtype.Float() || len(a.shape) == 0 {
			continue
		}
		row := int(a.shape[len(a.shape)-1])
		if row < 2 {
			continue
		}
		top := a.top()
		for first := 0; first+row <= len(a.data); first += row {
			x, y := a.data[first:first+row], b.data[first:first+row]
			decisions++
			i, j := argMax(x), argMax(y)
			if i == j {
				continue
			}
			flipped++
			if margin := x[i] - x[j]; margin > limit*top {
				worst = fmt.Sprintf("a decision changes from %d to %d of %d although the margin is %.2g", i, j, row, margin)
			}
		}
	}
	return decisions, flipped, worst
}

func argMax(x []float64) (at int) {
	for k := range x {
		if x[k] > x[at] {
			at = k
		}
	}
	return at
}

// over is a failed check that keeps its figures.
func over(c outcome.Check, text string, args ...any) outcome.Check {
	c.Status, c.Note = outcome.Mismatch, fmt.Sprintf(text, args...)
	return c
}

func failed(text string, args ...any) outcome.Check { return over(outcome.Check{}, text, args...) }

// foldedFails is the result if only the folded model has an error: failed, or not run if memory ran out.
func foldedFails(what string, err error) (outcome.Check, error) {
	if exhausted(err.Error()) {
		return outcome.Check{}, err
	}
	return failed("%s: %s", what, firstLine(err)), nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}
