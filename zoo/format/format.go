// Package format is the meeting place of the model file formats: each format is one package that registers itself here.
// A format opens files as a model.Model whose constants stay on disk, and writes an edited model.Model.
package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Errors that callers test for with errors.Is.
var (
	ErrUnknown = errors.New("no format is known for this file")
	ErrCorrupt = errors.New("corrupt model")              // the file breaks its format's own rules
	ErrLimit   = errors.New("limit exceeded")             // a well-formed file asks for more than the program grants
	ErrOutside = errors.New("outside the model's folder") // external data that points elsewhere
)

// Format opens one kind of model file.
type Format struct {
	Name       string   // "onnx"
	Extensions []string // with the dot, lower case: ".onnx"
	Open       func(path string) (File, error)
}

// File is an open model. Its Model's constants read from the open files until Close.
type File interface {
	// Model is the network as stored. Callers may edit it: Write writes what it is then.
	Model() *model.Model
	// Inputs are the paths of all files that the model is made of, the opened one first.
	Inputs() []string
	// Write writes the model as edited, its rescaled constants through the backend, the files that belong to it beside
	// it. Bytes that no edit touches are copied. It asks out for every file it writes.
	Write(ctx context.Context, out Output, backend tensor.Backend) error
	Close() error
}

// Output makes the files of one written model. The caller of Write decides where they are and when they count.
type Output interface {
	// Create makes a file for a path relative to the model's own folder; "" is the model file itself. It fails if the
	// path leaves the folder or was created before. Write closes what it creates.
	Create(rel string) (OutputFile, error)
}

// OutputFile is a file being written, usually an *os.File.
type OutputFile interface {
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
}

// OverflowError says that a rescaled constant cannot be stored in its type: folding has to be planned again without it.
type OverflowError struct {
	Tensor string // the constant's name in the original model
	Tally  tensor.Tally
}

func (e *OverflowError) Error() string {
	return fmt.Sprintf("tensor %q: %d elements do not fit its type after folding, %d became subnormal, %d were not finite before", e.Tensor, e.Tally.Overflow, e.Tally.Subnormal, e.Tally.NonFinite)
}

var registry struct {
	sync.RWMutex
	formats []Format
}

// Register makes a format known; format packages call it from init.
func Register(f Format) {
	registry.Lock()
	defer registry.Unlock()
	registry.formats = append(registry.formats, f)
}

// All are the formats that are known, in the order of their names.
func All() []Format {
	registry.RLock()
	defer registry.RUnlock()
	return slices.SortedFunc(slices.Values(registry.formats), func(a, b Format) int { return strings.Compare(a.Name, b.Name) })
}

// Find is the format for a path, by its extension.
func Find(path string) (Format, error) {
	registry.RLock()
	defer registry.RUnlock()
	lower := strings.ToLower(path)
	for _, f := range registry.formats {
		for _, ext := range f.Extensions {
			if strings.HasSuffix(lower, ext) {
				return f, nil
			}
		}
	}
	return Format{}, fmt.Errorf("%s: %w", path, ErrUnknown)
}

// Open opens a model file with the format that its path names.
func Open(path string) (File, error) {
	f, err := Find(path)
	if err != nil {
		return nil, err
	}
	return f.Open(path)
}
