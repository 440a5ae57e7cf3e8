package fold

import "slices"

// table holds something for nodes or for values of a model, by their Number. What was not set is the zero value.
type table[T any] []T

func (t table[T]) at(number int) (x T) {
	if number < len(t) {
		x = t[number]
	}
	return x
}

func (t *table[T]) set(number int, x T) {
	if number == 0 {
		panic("fold: a node or value without a number: Enumerate has not seen it")
	}
	if number >= len(*t) {
		*t = slices.Grow(*t, max(number+1, 2*len(*t))-len(*t))[:number+1]
	}
	(*t)[number] = x
}
