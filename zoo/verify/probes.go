package verify

import (
	"math"
	"math/rand/v2"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// probe fills the inputs of a region, with random numbers from its seed.
type probe struct {
	seed uint64
	fill func(*rand.Rand, *op.Array)
}

// The inputs of a region, in the order in which they are tried. Noise with a mean shows a wrong weight anywhere, and zeros
// show a wrong bias: together they suffice for an affine function. A single element shows errors that are small beside
// others. Behind an activation that passes one sign only, the negated noise reaches what the noise does not; large numbers
// reach both sides of a saturation.
var (
	noise, opposite, zeros         = probe{0, normal}, probe{0, negated(normal)}, probe{1, constant(0)}
	first, middle, last            = probe{2, oneHot(0)}, probe{3, oneHot(0.5)}, probe{4, oneHot(1)}
	above, below                   = probe{5, around(1e3)}, probe{6, around(-1e3)}
	ones, upTo, downTo, more, most = probe{7, constant(1)}, probe{8, scaled(1e3)}, probe{9, scaled(-1e3)}, probe{10, normal}, probe{11, normal}

	affineProbes = []probe{noise, zeros, middle, first, last, opposite, above, below, ones, upTo, downTo, more, most}
	otherProbes  = []probe{noise, zeros, opposite, above, below, middle, first, last, ones, upTo, downTo, more, most}
)

// granted are the multiplications that any region may take, and perElement those for each element of its constants. Those
// have to allow several probes: one or two more of a large region add little.
const (
	granted    = 1 << 16
	perElement = 40
	several    = 5
)

// chosen are the probes of a region that takes work multiplications for each probe and has so many elements of constants:
// as many as small and perElement allow, but at least two for an affine function and five for others. With few, it is no
// more than these.
func chosen(work, constants, small float64, affine, few bool) []probe {
	list, least := otherProbes, 5
	if affine {
		list, least = affineProbes, 2
	}
	if few {
		return list[:least]
	}
	grant := small / max(work, 1)
	if more := perElement * constants / max(work, 1); more >= several {
		grant = max(grant, more)
	}
	return list[:max(least, int(min(grant, float64(len(list)))))]
}

func normal(rng *rand.Rand, a *op.Array) {
	for k := range a.Data {
		a.Data[k] = rng.NormFloat64() + 0.25
	}
}

func negated(fill func(*rand.Rand, *op.Array)) func(*rand.Rand, *op.Array) {
	return func(rng *rand.Rand, a *op.Array) {
		fill(rng, a)
		for k := range a.Data {
			a.Data[k] = -a.Data[k]
		}
	}
}

func constant(x float64) func(*rand.Rand, *op.Array) {
	return func(_ *rand.Rand, a *op.Array) {
		for k := range a.Data {
			a.Data[k] = x
		}
	}
}

// oneHot is 1 at one position of every channel, at that fraction of the way from the first corner to the last.
func oneHot(at float64) func(*rand.Rand, *op.Array) {
	return func(_ *rand.Rand, a *op.Array) {
		plane := 1
		if len(a.Shape) > 2 {
			for _, d := range a.Shape[2:] {
				plane *= int(d)
			}
		}
		for first := 0; first+plane <= len(a.Data) && plane > 0; first += plane {
			a.Data[first+int(at*float64(plane-1))] = 1
		}
	}
}

// scaled is uniform noise between 0 and x.
func scaled(x float64) func(*rand.Rand, *op.Array) {
	return func(rng *rand.Rand, a *op.Array) {
		for k := range a.Data {
			a.Data[k] = x * rng.Float64()
		}
	}
}

// around is near x everywhere: so near that sums of products have the sign that they would have for x exactly, and the
// opposite sign for −x.
func around(x float64) func(*rand.Rand, *op.Array) {
	return func(rng *rand.Rand, a *op.Array) {
		for k := range a.Data {
			a.Data[k] = x * (0.9 + 0.2*rng.Float64())
		}
	}
}

// draw fills a probe of a value, which has the value's type.
func (p probe) draw(rng *rand.Rand, v *model.Value, a *op.Array) {
	if a.DType = v.DType; v.DType == tensor.Undefined || v.DType.Float() {
		p.fill(rng, a)
	} else {
		integers(rng, v, a)
	}
}

// integers fill a probe of integers or truth values: rows of the tables that it takes rows of, as an embedding's does, all
// of them in turn; or zeros and ones.
func integers(rng *rand.Rand, v *model.Value, a *op.Array) {
	count, ok := rows(v)
	for k := range a.Data {
		if ok {
			a.Data[k] = float64(int64(k) % count)
		} else {
			a.Data[k] = float64(rng.IntN(2))
		}
	}
}

// rows is the smallest number of rows of the tables that the value indexes, if it is used for nothing else.
func rows(v *model.Value) (count int64, ok bool) {
	count = math.MaxInt64
	for _, u := range v.Uses {
		positions := op.Of(u.Node).Positions
		if positions == nil {
			return 0, false
		}
		if count = min(count, positions(u.Node, u.Index)); count == 0 {
			return 0, false
		}
	}
	return count, len(v.Uses) > 0
}
