//go:build !cgo

package predict

import (
	"context"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// engine is ONNX Runtime, which a build without cgo cannot load.
type engine struct{}

// loads says whether a library can be loaded.
const loads = false

// load says that the build cannot load the library.
func load(string) (*engine, error) { return nil, ErrNotBuilt }

// Name is empty.
func (*engine) Name() string { return "" }

// Compare reports that it did not run.
func (*engine) Compare(context.Context, Comparison) outcome.Check {
	return outcome.Check{Status: outcome.NotRun, Note: ErrNotBuilt.Error()}
}
