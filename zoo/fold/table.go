package fold

import "slices"

// table holds something for nodes or values of a model, by their Number. What was not set is the zero value.
type table[T any] []T

func (t table[T]) at(number int) (x T) {
	if number < len(t) {
		x = t[number]
	}
	return x
}

func (t *table[T]) set(number int, x T) {
	if number >= len(*t) {
		*t = slices.Grow(*t, number+1-len(*t))[:number+1] // which at least doubles the room
	}
	(*t)[number] = x
}
