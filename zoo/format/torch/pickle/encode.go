package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Encode writes a value as a pickle of protocol 2. Shared objects are shared when it is read again.
func Encode(v Value) ([]byte, error) {
	e := &encoder{memo: map[Value]uint32{}}
	e.code(0x80, 2)
	if err := e.value(v, 0); err != nil {
		return nil, err
	}
	e.code('.')
	return e.out, nil
}

type encoder struct {
	out  []byte
	memo map[Value]uint32
}

func (e *encoder) code(b ...byte)  { e.out = append(e.out, b...) }
func (e *encoder) uint32(n uint32) { e.out = binary.LittleEndian.AppendUint32(e.out, n) }
func (e *encoder) values(list []Value, depth int) error {
	for _, v := range list {
		if err := e.value(v, depth); err != nil {
			return err
		}
	}
	return nil
}

// keep stores the value that was written last in the memo.
func (e *encoder) keep(v Value) {
	n := uint32(len(e.memo))
	e.memo[v] = n
	if n < 256 {
		e.code('q', byte(n))
		return
	}
	e.code('r')
	e.uint32(n)
}

// kept writes a reference to the memo if the value was written before, and says so.
func (e *encoder) kept(v Value) bool {
	n, ok := e.memo[v]
	switch {
	case !ok:
		return false
	case n < 256:
		e.code('h', byte(n))
	default:
		e.code('j')
		e.uint32(n)
	}
	return true
}

func (e *encoder) value(v Value, depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	switch v := v.(type) {
	case None:
		e.code('N')
	case bool:
		if v {
			e.code(0x88)
		} else {
			e.code(0x89)
		}
	case int64:
		e.int(v)
	case *big.Int:
		return e.long(v)
	case float64:
		e.code('G')
		e.out = binary.BigEndian.AppendUint64(e.out, math.Float64bits(v))
	case string:
		if !e.kept(v) {
			e.code('X')
			e.uint32(uint32(len(v)))
			e.out = append(e.out, v...)
			e.keep(v)
		}
	case Global:
		return e.global(v)
	default:
		return e.object(v, depth)
	}
	return nil
}

func (e *encoder) int(n int64) {
	switch {
	case 0 <= n && n < 1<<8:
		e.code('K', byte(n))
	case 0 <= n && n < 1<<16:
		e.code('M', byte(n), byte(n>>8))
	case n == int64(int32(n)):
		e.code('J')
		e.uint32(uint32(n))
	default:
		e.code(0x8a, 8)
		e.out = binary.LittleEndian.AppendUint64(e.out, uint64(n))
	}
}

// long is a number in two's complement.
func (e *encoder) long(n *big.Int) error {
	size := n.BitLen()/8 + 1
	if size > 255 {
		return fmt.Errorf("a number of %d bytes: %w", size, ErrLimit)
	}
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	b := n.FillBytes(make([]byte, size))
	e.code(0x8a, byte(size))
	for k := range b {
		e.code(b[len(b)-1-k])
	}
	return nil
}

func (e *encoder) global(g Global) error {
	if strings.ContainsRune(g.Module+g.Name, '\n') {
		return fmt.Errorf("a class called %q: %w", g, ErrUnsupported)
	}
	if !e.kept(g) {
		e.out = append(e.out, "c"+g.Module+"\n"+g.Name+"\n"...)
		e.keep(g)
	}
	return nil
}

// object writes a value that may contain itself: it is stored in the memo before its contents, in the order in which Python
// constructs it.
func (e *encoder) object(v Value, depth int) error {
	if e.kept(v) {
		return nil
	}
	switch v := v.(type) {
	case Bytes:
		return e.bytes(v)
	case *List:
		e.code(']')
		e.keep(v)
		return e.appends(v.Items, depth+1)
	case *Dict:
		e.code('}')
		e.keep(v)
		return e.items(v.Items, depth+1)
	case *Tuple:
		return e.tuple(v, depth+1)
	case *Persistent:
		if err := e.value(v.ID, depth+1); err != nil {
			return err
		}
		e.code('Q')
		e.keep(v)
		return nil
	case *Object:
		return e.call(v, depth+1)
	}
	return fmt.Errorf("a %T: %w", v, ErrUnsupported)
}

// bytes are a call, as protocol 2 has it: _codecs.encode(text, "latin1").
func (e *encoder) bytes(b Bytes) error {
	var text strings.Builder
	for k := range len(b) {
		text.WriteRune(rune(b[k]))
	}
	return e.value(&Object{Func: Global{"_codecs", "encode"}, Args: &Tuple{[]Value{text.String(), "latin1"}}}, 0)
}

func (e *encoder) appends(list []Value, depth int) error {
	if len(list) == 0 {
		return nil
	}
	e.code('(')
	if err := e.values(list, depth); err != nil {
		return err
	}
	e.code('e')
	return nil
}

func (e *encoder) items(list []Item, depth int) error {
	if len(list) == 0 {
		return nil
	}
	e.code('(')
	for _, i := range list {
		if err := e.values([]Value{i.Key, i.Value}, depth); err != nil {
			return err
		}
	}
	e.code('u')
	return nil
}

func (e *encoder) tuple(t *Tuple, depth int) error {
	n := len(t.Items)
	if n == 0 {
		e.code(')')
		return nil
	}
	if n > 3 {
		e.code('(')
	}
	if err := e.values(t.Items, depth); err != nil {
		return err
	}
	if n > 3 {
		e.code('t')
	} else {
		e.code(0x84 + byte(n))
	}
	if _, done := e.memo[t]; done {
		return fmt.Errorf("a tuple that holds itself: %w", ErrUnsupported)
	}
	e.keep(t)
	return nil
}

func (e *encoder) call(o *Object, depth int) error {
	if err := e.values([]Value{o.Func, o.Args}, depth); err != nil {
		return err
	}
	if _, done := e.memo[o]; done {
		return fmt.Errorf("an object that is its own argument: %w", ErrUnsupported)
	}
	if o.New {
		e.code(0x81)
	} else {
		e.code('R')
	}
	e.keep(o)
	if err := e.appends(o.List, depth); err != nil {
		return err
	}
	if err := e.items(o.Dict, depth); err != nil {
		return err
	}
	if o.State == nil {
		return nil
	}
	if err := e.value(o.State, depth); err != nil {
		return err
	}
	e.code('b')
	return nil
}
