package tensor

import "io"

// Permuted presents a stored tensor with its axes in another order: axis k of what is read is axis perm[k] of what is
// stored, whose shape is given. Elements have size bytes. The tensor is read whole when its first element is asked for.
func Permuted(stored io.ReaderAt, shape []int64, perm []int, size int) io.ReaderAt {
	return Lazily(func() ([]byte, error) { return permuted(stored, shape, perm, int64(size)) })
}

func permuted(stored io.ReaderAt, shape []int64, perm []int, size int64) ([]byte, error) {
	n, _ := Elements(shape)
	raw := make([]byte, n*size)
	if err := ReadFull(stored, raw, 0); err != nil {
		return nil, err
	}
	out, strides := make([]byte, 0, len(raw)), Strides(shape)
	var walk func(axis int, at int64)
	walk = func(axis int, at int64) {
		if axis == len(perm) {
			out = append(out, raw[at*size:(at+1)*size]...)
			return
		}
		for range shape[perm[axis]] {
			walk(axis+1, at)
			at += strides[perm[axis]]
		}
	}
	walk(0, 0)
	return out, nil
}

// Strides are the distances, in elements, between neighbours along each axis of a contiguous tensor.
func Strides(shape []int64) []int64 {
	strides, step := make([]int64, len(shape)), int64(1)
	for k := len(shape) - 1; k >= 0; k-- {
		strides[k] = step
		step *= shape[k]
	}
	return strides
}

// Stored is a factor of a tensor of the given shape, written for the same tensor as it is stored: axis k of the shape is
// axis perm[k] of the stored one. The scale repeats along the axes that stand between those it depends on.
func (f Factor) Stored(shape []int64, perm []int) Factor {
	stored, axis := make([]int64, len(shape)), make([]int, len(shape)) // axis[p] of the shape is stored as axis p
	for k, p := range perm {
		stored[p], axis[p] = shape[k], k
	}
	strides := Strides(shape)
	first, last := len(shape), -1
	for p, k := range axis {
		if f.varies(strides[k], strides[k]*shape[k]) {
			first, last = min(first, p), max(last, p)
		}
	}
	if f.Elements() == 0 {
		return f
	}
	if last < 0 {
		return Factor{Layout{1, f.Elements(), 1, 1}, f.Scale[:1]}
	}
	out := Factor{Layout: Layout{1, 1, 1, 1}}
	for p, d := range stored {
		switch {
		case p < first:
			out.Outer *= d
		case p > last:
			out.Inner *= d
		default:
			out.Channels *= d
		}
	}
	var walk func(p int, e int64)
	walk = func(p int, e int64) {
		if p > last {
			out.Scale = append(out.Scale, f.Scale[f.Channel(e)])
			return
		}
		for range stored[p] {
			walk(p+1, e)
			e += strides[axis[p]]
		}
	}
	walk(first, 0)
	return out
}

// varies says whether an axis, one step along which moves by from elements and all of which spans to elements, affects an
// element's channel.
func (f Factor) varies(from, to int64) bool {
	block := f.Outer * f.Channels * f.Inner
	return from < f.Inner*f.Channels && f.Inner < to || from < block*f.Blocks && block < to
}
