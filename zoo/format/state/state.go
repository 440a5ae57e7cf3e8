// Package state gives a checkpoint a graph. A checkpoint stores nothing but tensors with names, as a PyTorch module's
// state_dict has them; it does not say which operators read them, or what comes between two of them. So this has to be
// given, and only what is given is folded:
//
//   - a graph: an exported program, or model, whose parameters have the tensors' names (graph.go);
//   - pairs of a linear operator and the batch normalisation beside it, by name or by pattern (pairs.go), or presets of them
//     (presets.go);
//   - the config.json of a language model, which names its architecture (language.go).
//
// Pairs become little graphs, a chain each: a Conv, ConvTranspose or Gemm with its BatchNormalization, on an input of the
// kernel's size; a normalisation with γ and the Gemms that read it. A chain's input and output are named after the linear
// operator, so that they have the same names when the normalisation is gone. Large weights are cut into blocks of rows,
// each a Gemm of its own, so that the algebra check needs little memory.
package state

import (
	"context"
	"fmt"
	"io"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Tensor is one tensor of a checkpoint.
type Tensor struct {
	Dict  string       // the state dict that holds it; "" if the checkpoint has only one
	Name  string       // its name in the dict
	DType tensor.DType // Undefined where there is no type for it here
	Shape []int64
	Data  io.ReaderAt // the elements, little endian and side by side
	Fixed string      // why it must not change: "it shares elements with x"; "" if it can
}

// String is the name for messages.
func (t *Tensor) String() string {
	if t.Dict == "" {
		return t.Name
	}
	return t.Dict + ": " + t.Name
}

// Edit is one tensor that is dropped, changed or added.
type Edit struct {
	Tensor *Tensor // of a new one: the tensor behind which it is stored
	New    string  // name of a new tensor
	Shape  []int64
	Gone   bool
	Pieces []format.Piece // the elements
}

// Net is a checkpoint with its graph.
type Net struct {
	Model    *model.Model
	Partial  string   // why the model cannot be run: see format.Partial
	Warnings []string // whole sentences without a full stop
	Used     []string // further files, from which the structure was read

	Renamed map[string]string // values of the edited model that have other names when the written one is opened

	edits func() ([]Edit, error)
	close func() error
}

// Edits are the changes of the tensors that the edits of the model make.
func (n *Net) Edits() ([]Edit, error) { return n.edits() }

// Close closes the files from which the structure was read.
func (n *Net) Close() error {
	if n.close == nil {
		return nil
	}
	return n.close()
}

// open finds the structure of the checkpoint at a path.
func open(ctx context.Context, path string, tensors []*Tensor, o format.Options) (*Net, error) {
	for _, t := range tensors {
		if _, ok := tensor.Elements(t.Shape); !ok {
			return nil, fmt.Errorf("tensor %q: shape %v: %w", t, t.Shape, format.ErrCorrupt)
		}
	}
	if o.State.Graph != "" {
		return alongGraph(ctx, tensors, o)
	}
	b := newBuilder(tensors)
	pairs, err := pairsOf(o.State)
	switch {
	case err != nil:
		return nil, err
	case pairs != nil:
		b.pairs(pairs)
	default:
		if err := b.language(path, o.State); err != nil {
			return nil, err
		}
	}
	return b.net()
}
