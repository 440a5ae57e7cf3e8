package pickle

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Bounds of a pickle. Names, shapes and numbers of a million tensors take less.
const (
	maxBytes  = 256 << 20
	maxValues = 1 << 23
	maxText   = 16 << 20 // bytes of one string, or of a line
)

var errDeep = fmt.Errorf("values are nested more than %d deep: %w", maxDepth, ErrLimit)

// Decode reads one pickle of n bytes, and not a byte beyond it.
func Decode(r *bufio.Reader) (v Value, n int64, err error) {
	d := &decoder{r: r, memo: map[int64]Value{}}
	if v, err = d.run(); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("it is cut off: %w", ErrCorrupt)
		}
		return nil, d.at, fmt.Errorf("byte %d of the pickle: %w", d.at, err)
	}
	return v, d.at, Walk(v, func(Value) error { return nil })
}

type decoder struct {
	r      *bufio.Reader
	at     int64
	values int
	stack  []Value
	marks  []int
	memo   map[int64]Value
}

func (d *decoder) count(n int) error {
	if d.at += int64(n); d.at > maxBytes {
		return fmt.Errorf("more than %d bytes: %w", maxBytes, ErrLimit)
	}
	return nil
}

func (d *decoder) byte() (byte, error) {
	b, err := d.r.ReadByte()
	if err != nil {
		return 0, err
	}
	return b, d.count(1)
}

// number is a little-endian number of so many bytes.
func (d *decoder) number(size int) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(d.r, b[:size]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), d.count(size)
}

// text is a string of so many bytes.
func (d *decoder) text(n uint64) (string, error) {
	if n > maxText {
		return "", fmt.Errorf("a string of %d bytes: %w", n, ErrLimit)
	}
	var b strings.Builder
	if _, err := io.CopyN(&b, d.r, int64(n)); err != nil { // memory grows with the bytes that are read, not with the claimed length
		return "", err
	}
	return b.String(), d.count(int(n))
}

// sized is a string behind its length, a number of so many bytes.
func (d *decoder) sized(size int) (string, error) {
	n, err := d.number(size)
	if err != nil {
		return "", err
	}
	return d.text(n)
}

// line is text up to the end of a line.
func (d *decoder) line() (string, error) {
	var b strings.Builder
	for {
		c, err := d.byte()
		switch {
		case err != nil:
			return "", err
		case c == '\n':
			return strings.TrimSuffix(b.String(), "\r"), nil
		case b.Len() >= maxText:
			return "", fmt.Errorf("a line of more than %d bytes: %w", maxText, ErrLimit)
		}
		b.WriteByte(c)
	}
}

var (
	errEmpty = fmt.Errorf("something is taken from an empty stack: %w", ErrCorrupt)
	errOther = fmt.Errorf("something is set of a value that does not have it: %w", ErrCorrupt)
)

func (d *decoder) push(v Value) error {
	if d.values++; d.values > maxValues {
		return fmt.Errorf("more than %d values: %w", maxValues, ErrLimit)
	}
	d.stack = append(d.stack, v)
	return nil
}

// floor is the lowest index of the stack that may be popped.
func (d *decoder) floor() int {
	if len(d.marks) == 0 {
		return 0
	}
	return d.marks[len(d.marks)-1]
}

func (d *decoder) pop() (Value, error) {
	if len(d.stack) <= d.floor() {
		return nil, errEmpty
	}
	v := d.stack[len(d.stack)-1]
	d.stack = d.stack[:len(d.stack)-1]
	return v, nil
}

func (d *decoder) top() (Value, error) {
	if len(d.stack) <= d.floor() {
		return nil, errEmpty
	}
	return d.stack[len(d.stack)-1], nil
}

// marked are the values since the last mark.
func (d *decoder) marked() ([]Value, error) {
	if len(d.marks) == 0 {
		return nil, errEmpty
	}
	at := d.marks[len(d.marks)-1]
	d.marks = d.marks[:len(d.marks)-1]
	list := append([]Value(nil), d.stack[at:]...)
	d.stack = d.stack[:at]
	return list, nil
}

// last are the last n values.
func (d *decoder) last(n int) ([]Value, error) {
	if len(d.stack)-n < d.floor() {
		return nil, errEmpty
	}
	list := append([]Value(nil), d.stack[len(d.stack)-n:]...)
	d.stack = d.stack[:len(d.stack)-n]
	return list, nil
}

func (d *decoder) run() (Value, error) {
	for {
		code, err := d.byte()
		if err != nil {
			return nil, err
		}
		if code == '.' {
			return d.pop()
		}
		if err := d.step(code); err != nil {
			return nil, err
		}
	}
}

// pushed pushes a value that was read, or returns the error of reading it.
func (d *decoder) pushed(v Value, err error) error {
	if err != nil {
		return err
	}
	return d.push(v)
}

func (d *decoder) step(code byte) error {
	switch code {
	case 0x80: // protocol
		n, err := d.byte()
		if err == nil && n > 5 {
			return fmt.Errorf("protocol %d: %w", n, ErrUnsupported)
		}
		return err
	case 0x95: // frame
		_, err := d.number(8)
		return err
	case '(':
		d.marks = append(d.marks, len(d.stack))
		if len(d.marks) > maxValues {
			return fmt.Errorf("more than %d marks: %w", maxValues, ErrLimit)
		}
		return nil
	case '0':
		_, err := d.pop()
		return err
	case '1':
		_, err := d.marked()
		return err
	case '2':
		return d.pushed(d.top())
	case 'N':
		return d.push(None{})
	case 0x88, 0x89:
		return d.push(code == 0x88)
	case 'I', 'L', 'F', 'J', 'K', 'M', 0x8a, 0x8b, 'G':
		return d.pushed(d.numeral(code))
	case 'S', 'T', 'U', 'V', 'X', 0x8c, 0x8d, 'B', 'C', 0x8e:
		return d.pushed(d.str(code))
	case ']', 'l':
		return d.list(code)
	case '}', 'd':
		return d.dict(code)
	case ')', 't', 0x85, 0x86, 0x87:
		return d.tuple(code)
	case 'a', 'e':
		return d.appends(code)
	case 's', 'u':
		return d.setItems(code)
	case 'g', 'h', 'j', 'p', 'q', 'r', 0x94:
		return d.remember(code)
	case 'c', 0x93:
		return d.global(code)
	case 'R', 0x81:
		return d.call(code)
	case 'b':
		return d.build()
	case 'Q':
		id, err := d.pop()
		if err != nil {
			return err
		}
		return d.push(&Persistent{id})
	}
	if d.at == 1 {
		return fmt.Errorf("it begins with %#02x: %w", code, ErrCorrupt)
	}
	return fmt.Errorf("code %#02x: %w", code, ErrUnsupported)
}

func (d *decoder) numeral(code byte) (Value, error) {
	switch code {
	case 'J':
		n, err := d.number(4)
		return int64(int32(uint32(n))), err
	case 'K':
		n, err := d.number(1)
		return int64(n), err
	case 'M':
		n, err := d.number(2)
		return int64(n), err
	case 'G':
		var b [8]byte
		if _, err := io.ReadFull(d.r, b[:]); err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b[:])), d.count(8)
	case 0x8a, 0x8b:
		s, err := d.sized(map[byte]int{0x8a: 1, 0x8b: 4}[code])
		return twos(s), err
	}
	text, err := d.line()
	if err != nil {
		return nil, err
	}
	switch {
	case code == 'F':
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%.40q is no number: %w", text, ErrCorrupt)
		}
		return x, nil
	case code == 'I' && (text == "00" || text == "01"):
		return text == "01", nil
	}
	text = strings.TrimSuffix(text, "L")
	if len(text) > maxDigits {
		return nil, fmt.Errorf("a number of %d digits: %w", len(text), ErrLimit)
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return nil, fmt.Errorf("%.40q is no number: %w", text, ErrCorrupt)
	}
	return small(n), nil
}

// maxDigits bounds numbers in text: the time to parse one grows faster than its length.
const maxDigits = 4096

// small is a number as an int64 where that holds it.
func small(n *big.Int) Value {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

// twos is a number in two's complement, the lowest byte first.
func twos(s string) Value {
	b := make([]byte, len(s))
	for k := range s {
		b[len(s)-1-k] = s[k]
	}
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return small(n)
}

func (d *decoder) str(code byte) (Value, error) {
	switch code {
	case 'S', 'V':
		text, err := d.line()
		if err == nil && code == 'S' {
			if len(text) < 2 || text[0] != '\'' && text[0] != '"' || text[len(text)-1] != text[0] {
				return nil, fmt.Errorf("a string without its quotes: %w", ErrCorrupt)
			}
			text = text[1 : len(text)-1]
		}
		if err == nil && strings.Contains(text, `\`) {
			return nil, fmt.Errorf("a string with escapes, as protocol 0 has them: %w", ErrUnsupported)
		}
		return text, err
	case 'B', 'C', 0x8e:
		s, err := d.sized(map[byte]int{'B': 4, 'C': 1, 0x8e: 8}[code])
		return Bytes(s), err
	}
	s, err := d.sized(map[byte]int{'T': 4, 'U': 1, 'X': 4, 0x8c: 1, 0x8d: 8}[code])
	return s, err
}

func (d *decoder) list(code byte) error {
	if code == ']' {
		return d.push(&List{})
	}
	items, err := d.marked()
	return d.pushed(&List{items}, err)
}

func (d *decoder) tuple(code byte) error {
	var items []Value
	var err error
	switch code {
	case ')':
	case 't':
		items, err = d.marked()
	default:
		items, err = d.last(int(code) - 0x84)
	}
	return d.pushed(&Tuple{items}, err)
}

func pairs(list []Value) ([]Item, error) {
	if len(list)%2 != 0 {
		return nil, fmt.Errorf("a key without a value: %w", ErrCorrupt)
	}
	var items []Item
	for k := 0; k < len(list); k += 2 {
		items = append(items, Item{list[k], list[k+1]})
	}
	return items, nil
}

func (d *decoder) dict(code byte) error {
	if code == '}' {
		return d.push(&Dict{})
	}
	list, err := d.marked()
	if err != nil {
		return err
	}
	items, err := pairs(list)
	return d.pushed(&Dict{items}, err)
}

// added pops the values that are added to the container below them: the last n, or all behind the mark.
func (d *decoder) added(few bool, n int) (values []Value, to Value, err error) {
	if few {
		values, err = d.last(n)
	} else {
		values, err = d.marked()
	}
	if err == nil {
		to, err = d.top()
	}
	return values, to, err
}

func (d *decoder) appends(code byte) error {
	items, to, err := d.added(code == 'a', 1)
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *List:
		to.Items = append(to.Items, items...)
	case *Object:
		to.List = append(to.List, items...)
	default:
		return errOther
	}
	return nil
}

func (d *decoder) setItems(code byte) error {
	list, to, err := d.added(code == 's', 2)
	if err != nil {
		return err
	}
	items, err := pairs(list)
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *Dict:
		to.Items = append(to.Items, items...)
	case *Object:
		to.Dict = append(to.Dict, items...)
	default:
		return errOther
	}
	return nil
}

// remember stores the top of the stack in the memo, or pushes a value from the memo.
func (d *decoder) remember(code byte) error {
	var n uint64
	var err error
	switch code {
	case 'g', 'p':
		var text string
		if text, err = d.line(); err == nil {
			if n, err = strconv.ParseUint(text, 10, 32); err != nil {
				return fmt.Errorf("%.40q is no number: %w", text, ErrCorrupt)
			}
		}
	case 'h', 'q':
		n, err = d.number(1)
	case 'j', 'r':
		n, err = d.number(4)
	default:
		n = uint64(len(d.memo))
	}
	if err != nil {
		return err
	}
	switch code {
	case 'g', 'h', 'j':
		v, ok := d.memo[int64(n)]
		if !ok {
			return fmt.Errorf("value %d was not kept: %w", n, ErrCorrupt)
		}
		return d.push(v)
	}
	v, err := d.top()
	d.memo[int64(n)] = v
	return err
}

func (d *decoder) global(code byte) error {
	if code == 'c' {
		module, err := d.line()
		if err != nil {
			return err
		}
		name, err := d.line()
		return d.pushed(Global{module, name}, err)
	}
	list, err := d.last(2)
	if err != nil {
		return err
	}
	module, ok := list[0].(string)
	name, also := list[1].(string)
	if !ok || !also {
		return fmt.Errorf("a class without a name: %w", ErrCorrupt)
	}
	return d.push(Global{module, name})
}

func (d *decoder) call(code byte) error {
	list, err := d.last(2)
	if err != nil {
		return err
	}
	args, ok := list[1].(*Tuple)
	if !ok {
		return fmt.Errorf("a call without a tuple of arguments: %w", ErrCorrupt)
	}
	return d.push(&Object{Func: list[0], Args: args, New: code == 0x81})
}

func (d *decoder) build() error {
	state, err := d.pop()
	if err != nil {
		return err
	}
	to, err := d.top()
	if err != nil {
		return err
	}
	o, ok := to.(*Object)
	if !ok || o.State != nil {
		return errOther
	}
	o.State = state
	return nil
}
