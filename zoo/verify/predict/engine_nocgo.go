//go:build !cgo

package predict

import (
	"context"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Engine is ONNX Runtime, which a build without cgo cannot load.
type Engine struct{}

// loads says whether a library can be loaded.
const loads = false

// Open says that the build cannot load the library.
func Open(string) (*Engine, error) { return nil, ErrNotBuilt }

// Name is empty.
func (*Engine) Name() string { return "" }

// Compare reports that it did not run.
func (*Engine) Compare(context.Context, Comparison) outcome.Check {
	return outcome.Check{Status: outcome.NotRun, Note: ErrNotBuilt.Error()}
}
