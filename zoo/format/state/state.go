// Package state gives a checkpoint a graph. A checkpoint stores nothing but tensors with names, as a PyTorch module's
// state_dict has them; which operator reads them, and what lies between two of them, it does not say. So that is said from
// outside, and only what is said is folded:
//
//   - a graph: an exported program, or model, whose parameters have the tensors' names (graph.go);
//   - pairs of a linear operator and the batch normalisation beside it, by name or by pattern (pairs.go), or presets of them
//     (presets.go);
//   - the config.json of a language model, which names its architecture (language.go).
//
// Pairs become little graphs, a chain each: a Conv, ConvTranspose or Gemm with its BatchNormalization, on an input of the
// kernel's size; a normalisation with γ and the Gemms that read it. What a chain is fed and what it gives is called by the
// linear operator's name, so that it has the same name when the normalisation is gone. Large weights are cut into blocks of
// rows, each a Gemm of its own: whoever computes with them needs little memory.
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
	Dict  string       // of several state dicts in the checkpoint, the one that it is in; "" where there is one
	Name  string       // in that
	DType tensor.DType // Undefined where there is no type for it here
	Shape []int64
	Data  io.ReaderAt // the elements, little endian and side by side
	Fixed string      // why it has to stay as it is: "it shares elements with x"; "" where it can change
}

// String is the name for messages.
func (t *Tensor) String() string {
	if t.Dict == "" {
		return t.Name
	}
	return t.Dict + ": " + t.Name
}

// Edit is one tensor that the edited model has not, has otherwise, or has in addition.
type Edit struct {
	Tensor *Tensor // of a new one: the tensor that it stands behind
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
	Used     []string // files besides the checkpoint's own that say what its structure is

	Renamed map[string]string // values of the edited model that are called otherwise when the written one is opened

	edits func() ([]Edit, error)
	close func() error
}

// Edits are what becomes of the tensors, as the model is edited.
func (n *Net) Edits() ([]Edit, error) { return n.edits() }

// Close closes what the structure was read from.
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
