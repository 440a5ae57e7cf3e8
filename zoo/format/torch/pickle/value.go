// Package pickle reads and writes Python's pickles as plain data. Nothing is imported, called or constructed: a call in a
// pickle is read as an Object that names the function and holds its arguments; the reader decides what it means.
//
// Protocols 0 to 5 are read, without the codes that PyTorch's files do not use (instances of Python 2, extensions,
// out-of-band buffers). Protocol 2 is written, in the codes that torch.load(weights_only=True) accepts. The codes are those
// of Python's Lib/pickletools.py.
package pickle

import (
	"errors"
	"math/big"
)

// Errors that callers test for with errors.Is.
var (
	ErrCorrupt     = errors.New("not a pickle, or a damaged one")
	ErrUnsupported = errors.New("a pickle of a kind that is not read")
	ErrLimit       = errors.New("a pickle that is too large")
)

// A Value is one of None, bool, int64, *big.Int, float64, string, Bytes, *List, *Tuple, *Dict, Global, *Object and
// *Persistent. Pointers that are equal are one object in Python.
type Value any

// None is Python's None.
type None struct{}

// Bytes is a bytes object.
type Bytes string

// List is a list.
type List struct{ Items []Value }

// Tuple is a tuple.
type Tuple struct{ Items []Value }

// Item is a key and its value.
type Item struct{ Key, Value Value }

// Dict is a dict, in the order in which its items were set. A key may be there twice: the last one counts.
type Dict struct{ Items []Item }

// Global is a class or function, by module and name.
type Global struct{ Module, Name string }

// Object is the result of calling Func with Args and then setting state, list items and dict items. State is nil if none is
// set.
type Object struct {
	Func  Value
	Args  *Tuple
	New   bool // made by the class's __new__
	State Value
	List  []Value
	Dict  []Item
}

// Persistent is a reference to an object that is stored outside of the pickle.
type Persistent struct{ ID Value }

// String is the dotted name.
func (g Global) String() string { return g.Module + "." + g.Name }

// Int is a whole number that an int64 holds.
func Int(v Value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case *big.Int:
		return v.Int64(), v.IsInt64()
	}
	return 0, false
}

// Ints is a tuple of whole numbers.
func Ints(v Value) ([]int64, bool) {
	t, ok := v.(*Tuple)
	if !ok {
		return nil, false
	}
	list := make([]int64, len(t.Items))
	for k, x := range t.Items {
		if list[k], ok = Int(x); !ok {
			return nil, false
		}
	}
	return list, true
}

// IntTuple is a tuple of these numbers.
func IntTuple(list []int64) *Tuple {
	t := &Tuple{}
	for _, x := range list {
		t.Items = append(t.Items, x)
	}
	return t
}

// maxDepth bounds how deep values are nested.
const maxDepth = 500

// Walk calls visit for every value that can be reached, once for each object, in the order in which Encode writes them. It
// fails where visit does, and where values are nested too deep.
func Walk(v Value, visit func(Value) error) error {
	w := walker{visit: visit, seen: map[Value]bool{}}
	return w.walk(v, 0)
}

type walker struct {
	visit func(Value) error
	seen  map[Value]bool
}

func (w *walker) walk(v Value, depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	switch v.(type) {
	case *List, *Tuple, *Dict, *Object, *Persistent:
		if w.seen[v] {
			return nil
		}
		w.seen[v] = true
	}
	if err := w.visit(v); err != nil {
		return err
	}
	for _, x := range Parts(v) {
		if err := w.walk(x, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Parts are the values that v contains directly.
func Parts(v Value) []Value {
	items := func(list []Item) (out []Value) {
		for _, i := range list {
			out = append(out, i.Key, i.Value)
		}
		return out
	}
	switch v := v.(type) {
	case *List:
		return v.Items
	case *Tuple:
		return v.Items
	case *Dict:
		return items(v.Items)
	case *Persistent:
		return []Value{v.ID}
	case *Object:
		out := append([]Value{v.Func, v.Args}, v.List...)
		out = append(out, items(v.Dict)...)
		if v.State != nil {
			out = append(out, v.State)
		}
		return out
	}
	return nil
}
