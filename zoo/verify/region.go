package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// comparison is one region in both models.
type comparison struct {
	region        fold.Region
	regions       []fold.Region // all of the plan
	before, after names
	consts        *op.Folder // of the original
	others        *op.Folder // of the folded model
	unit          float64
	small         float64 // multiplications that are granted whatever the region's size
	products      op.Products
}

var errDiffers = errors.New("differs")

// Bounds of the numbers that a side of a region holds at a time: maxLight if all workers may hold as many, maxHeld if only
// one region in the whole process does.
const (
	maxLight = 1 << 21
	maxHeld  = 1 << 26
)

// large admits one region at a time that needs much memory.
var large = make(chan struct{}, 1)

// attempt says how a region is evaluated.
type attempt struct {
	cut   bool // large images are cropped, if that shows as much
	apart bool // only demanded positions are evaluated
	limit int  // of numbers held by a side
	few   bool // only as many probes as are necessary
}

// run compares, and is the largest share of the limit that was used. It evaluates demanded positions, or whole values where
// those cannot be evaluated apart.
func (c *comparison) run(ctx context.Context) (share float64, err error) {
	for _, a := range []attempt{{cut: true, apart: true}, {cut: true}, {apart: true}, {}} {
		if !a.cut && c.uncut() {
			break
		}
		a.limit = maxLight
		share, err = c.compareAll(ctx, a)
		if errors.Is(err, op.ErrTooLarge) {
			a.few = true
			share, err = c.compareAll(ctx, a)
		}
		if errors.Is(err, op.ErrTooLarge) {
			share, err = c.alone(ctx, a)
		}
		if err == nil || errors.Is(err, errDiffers) || ctx.Err() != nil {
			break
		}
	}
	return share, err
}

// uncut says that the region's images are evaluated at full size.
func (c *comparison) uncut() bool {
	cut, err := c.shapes(c.probed(), true)
	if err != nil {
		return true
	}
	whole, err := c.shapes(c.probed(), false)
	return err != nil || slices.EqualFunc(cut, whole, slices.Equal[[]int64])
}

// alone compares while it holds large.
func (c *comparison) alone(ctx context.Context, a attempt) (share float64, err error) {
	select {
	case large <- struct{}{}:
		defer func() { <-large }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	a.limit = maxHeld
	return c.compareAll(ctx, a)
}

func (c *comparison) compareAll(ctx context.Context, a attempt) (share float64, err error) {
	probed, outputs := c.probed(), c.outputs()
	shapes, err := c.shapes(probed, a.cut)
	if err != nil {
		return 0, err
	}
	before, after, err := c.sides(probed, outputs, a.limit)
	if err != nil {
		return 0, err
	}
	d := c.demand(before, after, probed, outputs, shapes, a)
	inputs, tops := make([][]*op.Array, len(probed)), []float64(nil)
	for _, p := range d.probes {
		drawn, top, err := c.draw(d, p, probed, shapes)
		if err != nil {
			return 0, err
		}
		if seen(inputs, drawn) {
			continue
		}
		for j, a := range drawn {
			inputs[j] = append(inputs[j], a)
		}
		tops = append(tops, top)
	}
	x, err := before.evaluate(ctx, d, d.before, inputs)
	if err != nil {
		return 0, fmt.Errorf("the original: %w", err)
	}
	y, err := after.evaluate(ctx, d, d.after, inputs)
	if err != nil {
		return 0, fmt.Errorf("the folded model: %w", err)
	}
	for k, top := range tops {
		for j, name := range outputs {
			s, err := c.compare(name, x[j], y[j], k, top, d.grids != nil)
			if share = max(share, s); err != nil {
				return share, err
			}
		}
	}
	return share, nil
}

// draw fills a probe's inputs; top is the largest number among them, or 1.
func (c *comparison) draw(d *demand, p probe, probed []string, shapes [][]int64) (drawn []*op.Array, top float64, err error) {
	rng := rand.New(rand.NewPCG(p.seed, 10))
	top = 1
	for j, name := range probed {
		if twin := c.twin(probed[:j], name); twin >= 0 && slices.Equal(drawn[twin].Shape, d.shape(name, shapes[j])) {
			drawn = append(drawn, drawn[twin])
			continue
		}
		a, err := op.NewArray(d.shape(name, shapes[j]))
		if err != nil {
			return nil, 0, fmt.Errorf("region of %q: %w", name, err)
		}
		p.draw(rng, c.before[name], a)
		for _, x := range a.Data {
			top = max(top, math.Abs(x))
		}
		drawn = append(drawn, a)
	}
	return drawn, top, nil
}

// seen says whether an earlier probe has the same numbers: of rows of numbers, say, one position of each channel is all.
func seen(inputs [][]*op.Array, drawn []*op.Array) bool {
	if len(drawn) == 0 {
		return false
	}
	for k := range inputs[0] {
		same := true
		for j, a := range drawn {
			same = same && slices.Equal(inputs[j][k].Data, a.Data)
		}
		if same {
			return true
		}
	}
	return false
}

// twin is the index of an earlier input that is the same value in the folded model, if other regions prove that the two are
// equal in the original; −1 if there is none.
func (c *comparison) twin(earlier []string, name string) int {
	return slices.IndexFunc(earlier, func(other string) bool {
		return c.region.Folded(other) == c.region.Folded(name) && c.shown(other, name)
	})
}

// shown says whether proven regions show that two values of the original are equal: a region computes one from the other,
// and the folded model has one value for both.
func (c *comparison) shown(a, b string) bool {
	target, same := c.region.Folded(a), map[string]bool{a: true}
	for grew := true; grew; {
		grew = false
		for _, r := range c.regions {
			called := func(name string) bool { return r.Graph == c.region.Graph && r.Folded(name) == target }
			list := slices.DeleteFunc(slices.Clone(r.Outputs), func(name string) bool { return !called(name) })
			if from := slices.DeleteFunc(slices.Clone(r.Inputs), func(name string) bool { return !called(name) }); len(from) == 1 {
				list = append(list, from[0])
			}
			if !slices.ContainsFunc(list, func(name string) bool { return same[name] }) {
				continue
			}
			for _, name := range list {
				grew = grew || !same[name]
				same[name] = true
			}
		}
	}
	return same[b]
}

// probed are the inputs that probes are drawn for. What follows from the shapes of the model's inputs is none: each model
// computes it for itself, and the folded one may have done away with it.
func (c *comparison) probed() []string {
	var out []string
	for _, name := range c.region.Inputs {
		if v := c.before[name]; v != nil {
			if _, known := c.consts.Value(v); known {
				continue
			}
		}
		out = append(out, name)
	}
	return out
}

// outputs are the outputs of the region that have to agree. A value that follows from shapes and that the folded model
// lacks is left out: its readers are in a region of their own.
func (c *comparison) outputs() []string {
	var out []string
	for _, name := range c.region.Outputs {
		if v := c.before[name]; v != nil && !v.Output && c.after[c.region.Folded(name)] == nil {
			if _, known := c.consts.Value(v); known {
				continue
			}
		}
		out = append(out, name)
	}
	return out
}

// subnormal is the distance between the subnormal numbers of the type with that unit roundoff: tiny weights are rounded by
// up to half of it.
func subnormal(unit float64) float64 {
	for _, d := range []tensor.DType{tensor.BFloat16, tensor.Float16, tensor.Float32} {
		if unit >= d.Unit() {
			return 2 * d.Unit() * d.SmallestNormal()
		}
	}
	return 0
}

// errNoNumber says that positions could not be evaluated apart, or that the models compute what is no number.
var errNoNumber = errors.New("no number")

// compare holds the elements of one output of a probe against the limit. largest is the largest number that went in, or 1.
func (c *comparison) compare(name string, x, y measured, probe int, largest float64, apart bool) (share float64, err error) {
	before, beforeSize := x.of(probe)
	after, afterSize := y.of(probe)
	if !slices.Equal(before.Shape, after.Shape) {
		return 0, fmt.Errorf("%w: %q has shape %v in the original, %v folded", errDiffers, name, before.Shape, after.Shape)
	}
	terms := float64(max(x.terms, y.terms) + 8)
	least := terms * subnormal(c.unit) * largest
	for e, a := range before.Data {
		b := after.Data[e]
		s, t := math.Abs(beforeSize.Data[e]), math.Abs(afterSize.Data[e]) // of integers they are the integers themselves
		limit := 8*terms*0x1p-53*(s+t) + 8*c.unit*float64(max(y.weights, 1))*t + least
		d := math.Abs(a - b)
		switch {
		case apart && (math.IsNaN(a) || math.IsNaN(b)):
			return share, fmt.Errorf("output %q of the region: %w", name, errNoNumber)
		case a == b || math.IsNaN(a) && math.IsNaN(b):
			continue
		case math.IsInf(limit, 1) || math.IsNaN(limit):
			return share, fmt.Errorf("output %q of the region: its sums leave float64's range", name)
		case d <= limit:
			share = max(share, d/limit)
		default:
			if over := d / limit; !math.IsNaN(over) {
				share = max(share, over)
			}
			return share, fmt.Errorf("%w: output %q of the region, element %d: %.17g in the original, %.17g folded: the difference is %.2g, the limit %.2g", errDiffers, name, e, a, b, d, limit)
		}
	}
	return share, nil
}

// sides are the two sides of the comparison: the region in each model.
func (c *comparison) sides(probed, outputs []string, limit int) (before, after *side, err error) {
	for _, name := range append(slices.Clone(probed), outputs...) {
		if c.before[name] == nil || c.after[c.region.Folded(name)] == nil {
			return nil, nil, fmt.Errorf("the value %q is not in both models", name)
		}
	}
	if before, err = newSide(c.before, c.consts, probed, outputs, func(name string) string { return name }); err != nil {
		return nil, nil, err
	}
	if after, err = newSide(c.after, c.others, probed, outputs, c.region.Folded); err != nil {
		return nil, nil, err
	}
	for _, s := range []*side{before, after} {
		s.limit, s.products = limit, c.products
	}
	return before, after, nil
}

// list are the values with some names; called gives a name in this model.
func (n names) list(of []string, called func(string) string) []*model.Value {
	var out []*model.Value
	for _, name := range of {
		out = append(out, n[called(name)])
	}
	return out
}
