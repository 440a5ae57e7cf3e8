// Package hdf5 reads and writes HDF5 files as h5py makes them for Keras, without libhdf5: a tree of groups and datasets
// that have attributes. Open reads the tree whole, as plain data to be edited; the elements of datasets stay in the file.
// Write writes a tree in the layout that every reader knows: superblock 0, symbol tables, contiguous datasets.
//
// It reads superblocks 0 to 3 and object headers 1 and 2. Groups may be symbol tables, link messages or in fractal heaps;
// attributes may be in headers or in fractal heaps. Datasets may be compact, contiguous, or chunked in a version 1 B-tree
// with the filters deflate, shuffle and fletcher32. Element types are numbers, booleans and other enumerations, text of
// fixed and of variable length, bit fields and opaque bytes. Other features of HDF5 (compound and reference types, soft and
// external links, shared messages, newer chunk indexes, other filters) are refused with an error that names them.
//
// Roman numbers in comments are sections of the HDF5 File Format Specification, version 3.0.
//
// Errors wrap format.ErrCorrupt where a file breaks the rules, format.ErrLimit where it asks for more than is granted, and
// errors.ErrUnsupported where it uses what this package does not know.
package hdf5

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Object is a *Group or a *Dataset. An object that several links name is one object, and is written once.
type Object interface{ object() }

// Group is a folder of named objects.
type Group struct {
	Attrs Attributes
	Links map[string]Object // names are not empty, not ".", and without "/" and NUL
}

// Dataset is an array of elements of one type.
type Dataset struct {
	Attrs Attributes
	Type  Type
	Shape []int64 // no dimensions: a scalar
	Null  bool    // without elements and even without a shape, as h5py.Empty

	// Data holds the elements as the type encodes them, big endian or little, in row-major order: Bytes bytes from offset
	// 0 on. Where they lie in one piece in the file that was opened it is an *io.SectionReader of the reader given to Open,
	// whose method Outer says where. Several goroutines may read. It may be nil where there are no bytes.
	Data    io.ReaderAt
	Strings []string // instead of Data, the elements of text of variable length
}

func (*Group) object()   {}
func (*Dataset) object() {}

// Names are the names of the group's objects in byte order.
func (g *Group) Names() []string { return slices.Sorted(maps.Keys(g.Links)) }

// Get is the object at a path of names separated by "/", or nil.
func (g *Group) Get(path string) Object {
	var at Object = g
	for name := range strings.SplitSeq(path, "/") {
		group, ok := at.(*Group)
		if !ok || group.Links[name] == nil {
			return nil
		}
		at = group.Links[name]
	}
	return at
}

// Set puts an object at a path of names separated by "/", in place of what is there. Groups that are missing on the way
// are made; it is an error if something on the way is a dataset.
func (g *Group) Set(path string, o Object) error {
	names := strings.Split(path, "/")
	for _, name := range names {
		if !validName(name) {
			return fmt.Errorf("path %q: %q cannot be a name", path, name)
		}
	}
	last := len(names) - 1
	for _, name := range names[:last] {
		next, ok := g.Links[name]
		if !ok {
			next = &Group{}
			g.link(name, next)
		}
		if g, ok = next.(*Group); !ok {
			return fmt.Errorf("path %q: %q is a dataset", path, name)
		}
	}
	g.link(names[last], o)
	return nil
}

func (g *Group) link(name string, o Object) {
	if g.Links == nil {
		g.Links = map[string]Object{}
	}
	g.Links[name] = o
}

func validName(name string) bool {
	return name != "" && name != "." && !strings.ContainsAny(name, "/\x00")
}

// Bytes is the number of bytes of the dataset's elements; that of references where text has variable length. It is −1 if
// the shape is invalid.
func (d *Dataset) Bytes() int64 { return byteSize(d.Type, d.Shape, d.Null) }

// copyBuffer is what Copy reads at a time.
const copyBuffer = 256 << 10

// Copy writes the dataset's bytes to offset 0 of w.
func (d *Dataset) Copy(w io.WriterAt) error {
	n := d.Bytes()
	if n <= 0 {
		return nil
	}
	if d.Data == nil {
		return errors.New("the dataset has no data")
	}
	copied, err := io.CopyBuffer(io.NewOffsetWriter(w, 0), io.NewSectionReader(d.Data, 0, n), make([]byte, min(n, copyBuffer)))
	if err == nil && copied < n {
		err = fmt.Errorf("the dataset's data end after %d of %d bytes: %w", copied, n, io.ErrUnexpectedEOF)
	}
	return err
}

// byteSize is the number of bytes of an array, -1 where it is no number of bytes.
func byteSize(t Type, shape []int64, null bool) int64 {
	if null {
		return 0
	}
	n, ok := tensor.Elements(shape)
	if size := int64(t.Size()); !ok || size == 0 || n > math.MaxInt64/size {
		return -1
	}
	return n * int64(t.Size())
}

func corrupt(at int64, text string, args ...any) error {
	return fmt.Errorf("byte %d: %s: %w", at, fmt.Sprintf(text, args...), format.ErrCorrupt)
}

func limited(at int64, text string, args ...any) error {
	return fmt.Errorf("byte %d: %s: %w", at, fmt.Sprintf(text, args...), format.ErrLimit)
}

func unsupported(at int64, text string, args ...any) error {
	return fmt.Errorf("byte %d: %s: %w", at, fmt.Sprintf(text, args...), errors.ErrUnsupported)
}
