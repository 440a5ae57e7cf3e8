package fold

import (
	"math"
	"slices"
)

// affine is a map on one channel axis: z_c = Scale_c·x_c + Shift_c. A uniform map, the same for every element, has Axis
// uniform and one scale and one shift.
type affine struct {
	Axis         int // of the value it applies to, counted from 0
	Scale, Shift []float64
}

// uniform is the Axis of a map that treats all elements alike.
const uniform = -1

// scaling is the map that only scales.
func scaling(axis int, scale []float64) affine {
	return affine{axis, scale, make([]float64, len(scale))}
}

// shifting is the map that only shifts.
func shifting(axis int, shift []float64) affine {
	return affine{axis, ones(len(shift)), shift}
}

func ones(n int) []float64 { return slices.Repeat([]float64{1}, n) }

// Then is the map that applies a first and b to its result. It needs both on one axis with as many channels, or one of them
// uniform. A scale or shift that differs from 1 or 0 by no more than float64's rounding of a map and its inverse becomes 1
// or 0.
func (a affine) Then(b affine) (affine, bool) {
	n := max(len(a.Scale), len(b.Scale))
	a, okA := a.Over(max(a.Axis, b.Axis), n)
	b, okB := b.Over(max(a.Axis, b.Axis), n)
	if !okA || !okB {
		return affine{}, false
	}
	z := affine{a.Axis, make([]float64, n), make([]float64, n)}
	for c := range z.Scale {
		if z.Scale[c] = b.Scale[c] * a.Scale[c]; math.Abs(z.Scale[c]-1) <= rounding {
			z.Scale[c] = 1
		}
		if z.Shift[c] = b.Scale[c]*a.Shift[c] + b.Shift[c]; math.Abs(z.Shift[c]) <= rounding*math.Abs(b.Shift[c]) {
			z.Shift[c] = 0
		}
	}
	return z, true
}

// rounding bounds the error of x·(1/x) in float64, relative to 1.
const rounding = 0x1p-50

// Inverse is the map that undoes a, and false where a scale is 0.
func (a affine) Inverse() (affine, bool) {
	z := affine{a.Axis, make([]float64, len(a.Scale)), make([]float64, len(a.Scale))}
	for c, s := range a.Scale {
		z.Scale[c], z.Shift[c] = 1/s, -a.Shift[c]/s
	}
	return z, z.Finite()
}

// Over is the map written for n channels of an axis: a uniform map repeats its numbers, a map on this axis stays as it is.
// It refuses n above maxValues, since a file can claim any number of channels.
func (a affine) Over(axis, n int) (affine, bool) {
	switch {
	case a.Axis == axis && len(a.Scale) == n:
		return a, true
	case a.Axis == uniform && 0 <= n && n <= maxValues:
		return affine{axis, slices.Repeat(a.Scale, n), slices.Repeat(a.Shift, n)}, true
	}
	return affine{}, false
}

// On is the map of the same channels on another axis, for a value whose axes were permuted; a uniform map stays uniform.
func (a affine) On(axis int) affine {
	if a.Axis != uniform {
		a.Axis = axis
	}
	return a
}

// Flat is the map as a uniform one, and false if its channels differ.
func (a affine) Flat() (affine, bool) {
	for c := range a.Scale {
		if a.Scale[c] != a.Scale[0] || a.Shift[c] != a.Shift[0] {
			return affine{}, false
		}
	}
	if len(a.Scale) == 0 {
		return affine{}, false
	}
	return affine{uniform, a.Scale[:1], a.Shift[:1]}, true
}

// Slice is the map of channels from to to.
func (a affine) Slice(from, to int) affine {
	if a.Axis == uniform {
		return a
	}
	return affine{a.Axis, a.Scale[from:to], a.Shift[from:to]}
}

// Scales says whether some scale is not 1.
func (a affine) Scales() bool {
	return slices.ContainsFunc(a.Scale, func(s float64) bool { return s != 1 })
}

// Shifts says whether some shift is not 0.
func (a affine) Shifts() bool {
	return slices.ContainsFunc(a.Shift, func(t float64) bool { return t != 0 })
}

// Identity says whether the map does nothing.
func (a affine) Identity() bool { return !a.Scales() && !a.Shifts() }

func (a affine) equal(b affine) bool {
	return a.Axis == b.Axis && slices.Equal(a.Scale, b.Scale) && slices.Equal(a.Shift, b.Shift)
}

// Positive says whether every scale is above 0.
func (a affine) Positive() bool {
	return !slices.ContainsFunc(a.Scale, func(s float64) bool { return !(s > 0) })
}

// Finite says whether every scale and shift is a finite number.
func (a affine) Finite() bool {
	infinite := func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }
	return !slices.ContainsFunc(a.Scale, infinite) && !slices.ContainsFunc(a.Shift, infinite)
}

// OnlyScale is the map's scale without its shift.
func (a affine) OnlyScale() affine { return scaling(a.Axis, a.Scale) }
