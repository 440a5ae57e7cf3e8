//go:build !amd64

package op

// FastProducts are the fastest that this processor has.
var FastProducts Products = PlainProducts{}
