package hdf5

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Type is the type of elements, as a datatype message of version 1 encodes it (IV.A.2.d). Equal types are ==.
type Type struct{ message string }

// The classes of types; others are refused.
const (
	classInteger  = 0
	classFloat    = 1
	classText     = 3
	classBits     = 4
	classOpaque   = 5
	classEnum     = 8
	classVariable = 9 // of which only text is read
)

var refused = map[byte]string{2: "time", 6: "compound", 7: "reference", 10: "array", 11: "complex"}

// The encodings of ONNX's numbers, little endian.
var numbers = map[tensor.DType]Type{
	tensor.Float16:  {"\x11\x20\x0f\x00\x02\x00\x00\x00\x00\x00\x10\x00\x0a\x05\x00\x0a\x0f\x00\x00\x00"},
	tensor.BFloat16: {"\x11\x20\x0f\x00\x02\x00\x00\x00\x00\x00\x10\x00\x07\x08\x00\x07\x7f\x00\x00\x00"},
	tensor.Float32:  {"\x11\x20\x1f\x00\x04\x00\x00\x00\x00\x00\x20\x00\x17\x08\x00\x17\x7f\x00\x00\x00"},
	tensor.Float64:  {"\x11\x20\x3f\x00\x08\x00\x00\x00\x00\x00\x40\x00\x34\x0b\x00\x34\xff\x03\x00\x00"},
	tensor.Int8:     {"\x10\x08\x00\x00\x01\x00\x00\x00\x00\x00\x08\x00"},
	tensor.Int16:    {"\x10\x08\x00\x00\x02\x00\x00\x00\x00\x00\x10\x00"},
	tensor.Int32:    {"\x10\x08\x00\x00\x04\x00\x00\x00\x00\x00\x20\x00"},
	tensor.Int64:    {"\x10\x08\x00\x00\x08\x00\x00\x00\x00\x00\x40\x00"},
	tensor.Uint8:    {"\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x08\x00"},
	tensor.Uint16:   {"\x10\x00\x00\x00\x02\x00\x00\x00\x00\x00\x10\x00"},
	tensor.Uint32:   {"\x10\x00\x00\x00\x04\x00\x00\x00\x00\x00\x20\x00"},
	tensor.Uint64:   {"\x10\x00\x00\x00\x08\x00\x00\x00\x00\x00\x40\x00"},
}

// dtypes is the inverse of numbers.
var dtypes = func() map[Type]tensor.DType {
	m := map[Type]tensor.DType{}
	for d, t := range numbers {
		m[t] = d
	}
	return m
}()

// variableText is text of variable length in UTF-8, as h5py writes a str.
var variableText = Type{"\x19\x01\x01\x00\x10\x00\x00\x00" + "\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x08\x00"}

// fixedText is text of size bytes, filled up with NUL, as h5py writes numpy's bytes.
func fixedText(size int) Type {
	b := []byte("\x13\x01\x00\x00\x00\x00\x00\x00")
	binary.LittleEndian.PutUint32(b[4:], uint32(size))
	return Type{string(b)}
}

// TypeOf is the type of numbers, little endian; the zero Type, which cannot be written, where d are none that HDF5 has.
func TypeOf(d tensor.DType) Type { return numbers[d] }

// Size is the number of bytes of an element.
func (t Type) Size() int {
	if len(t.message) < 8 {
		return 0
	}
	return int(binary.LittleEndian.Uint32([]byte(t.message[4:8])))
}

func (t Type) class() int {
	if t.message == "" {
		return -1
	}
	return int(t.message[0] & 15)
}

// variable says whether elements are texts of variable length: in the file, references to a heap.
func (t Type) variable() bool { return t.class() == classVariable }

// DType is the type as tensors have it, or Undefined: for what is no number, and for numbers that are big endian or of
// unusual widths.
func (t Type) DType() tensor.DType { return dtypes[t] }

// opaque says whether elements are bytes that HDF5 gives no meaning. Keras stores bfloat16 so, in two bytes, and says it in
// the dataset's attribute "dtype".
func (t Type) opaque() bool { return t.class() == classOpaque }

// number is DType for numbers of either byte order, and for the numbers of an enumeration.
func (t Type) number() (d tensor.DType, bigEndian bool) {
	switch t.class() {
	case classEnum:
		return Type{t.message[8:20]}.number()
	case classInteger, classFloat:
		b := []byte(t.message)
		b[1] &^= 1
		return Type{string(b)}.DType(), t.message[1]&1 == 1
	}
	return tensor.Undefined, false
}

func (t Type) String() string {
	if d, bigEndian := t.number(); d != tensor.Undefined {
		name := d.String()
		if bigEndian {
			name = "big-endian " + name
		}
		if t.class() == classEnum {
			name = "enumeration of " + name
		}
		return name
	}
	switch t.class() {
	case classVariable:
		return "text of variable length"
	case classText:
		return fmt.Sprintf("text of %d bytes", t.Size())
	case classOpaque:
		return fmt.Sprintf("opaque of %d bytes", t.Size())
	case classBits:
		return fmt.Sprintf("bit field of %d bytes", t.Size())
	case classInteger, classFloat, classEnum:
		return fmt.Sprintf("number of %d bytes of an unusual kind", t.Size())
	}
	return "no type"
}

// datatype reads a datatype message. Versions differ in the names of enumerations alone, as far as types are read.
func (c *cursor) datatype() Type {
	at, head := c.pos(), c.bytes(8)
	if c.wrong != nil {
		return Type{}
	}
	class, version := head[0]&15, head[0]>>4
	count, size := int(binary.LittleEndian.Uint16(head[1:])), binary.LittleEndian.Uint32(head[4:])
	if version < 1 || version > 5 {
		c.fail(unsupported(at, "datatype version %d", version))
	}
	if size == 0 || size > math.MaxInt32 {
		c.fail(corrupt(at, "elements of %d bytes", size))
	}
	var m encoded
	m.u8(1<<4 | class)
	m.u8(head[1:]...)
	switch class {
	case classInteger, classBits:
		m.u8(c.bytes(4)...)
	case classFloat:
		m.u8(c.bytes(12)...)
	case classText:
	case classOpaque:
		m.u8(c.bytes(count & 0xff)...) // a tag
	case classEnum:
		base := c.base()
		m.text(base.message)
		for k := 0; k < count && c.wrong == nil; k++ {
			name := c.text() + "\x00"
			padding := -len(name) & 7
			m.text(name)
			m.u8(make([]byte, padding)...)
			if version < 3 {
				c.skip(padding)
			}
		}
		m.u8(c.bytes(count * base.Size())...)
	case classVariable:
		if count&15 != 1 {
			c.fail(unsupported(at, "lists of variable length as elements"))
		}
		if m.text(c.base().message); size != referenceSize {
			c.fail(corrupt(at, "references of %d bytes", size))
		}
	default:
		name := refused[class]
		if name == "" {
			name = fmt.Sprintf("class %d", class)
		}
		c.fail(unsupported(at, "elements of type %s", name))
	}
	if c.wrong != nil {
		return Type{}
	}
	return Type{string(m.b)}
}

// base reads the datatype that another one is made of: integers.
func (c *cursor) base() Type {
	if c.left() > 0 && c.b[c.off]&15 != classInteger {
		c.fail(unsupported(c.pos(), "a type made of elements of class %d", c.b[c.off]&15))
		return Type{}
	}
	return c.datatype()
}

// dataspace reads a shape (IV.A.2.b), and whether there is none at all.
func (c *cursor) dataspace() (shape []int64, null bool) {
	at := c.pos()
	version, rank := c.u8(), int(c.u8())
	c.skip(1)
	switch version {
	case 1:
		c.skip(5)
	case 2:
		null = c.u8() == 2
	default:
		c.fail(unsupported(at, "dataspace version %d", version))
	}
	if rank > maxRank || null && rank > 0 {
		c.fail(corrupt(at, "%d dimensions", rank))
	}
	shape = []int64{}
	for range rank {
		if c.wrong != nil {
			break
		}
		shape = append(shape, c.length())
	}
	return shape, null
}
