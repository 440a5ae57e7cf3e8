// Package torch reads and writes the exported programs of PyTorch: the .pt2 files of torch.export.save.
//
// A .pt2 file is a ZIP file whose members are stored as they are, each on a multiple of 64 bytes, all in one folder:
//
//	NAME/models/model.json                          the program: a graph of ATen operators
//	NAME/data/weights/model_weights_config.json     name -> record, type, sizes, strides, offset
//	NAME/data/weights/weight_0 …                    the elements of parameters and buffers, in the order of NAME/byteorder
//	NAME/data/constants/…                           the same for constants, with records tensor_0 …
//
// and further members (sample inputs, versions) that are copied. A program's graph.inputs are its parameters, buffers,
// constants and inputs, in the order of signature.input_specs, which gives the kind and the name of each. Nodes have a
// target ("torch.ops.aten.conv2d.default"), named arguments (as_tensor, as_ints, as_none …) and outputs; arguments at the
// end that have their default values may be omitted. The object tensor_values has type and extents of every tensor. Extents
// are as_int, or as_expr where they are free. So nothing has to be guessed: epsilons, strides and shapes are in the file.
//
// An operator that means the same as some of ONNX's becomes those (site.go and a file for each family), every other one is a
// node of the domain "torch" that nothing folds into. Programs keep operators that write into what they read (relu_) and
// views of one storage: alias.go knows which tensors share a storage, so that whoever reads one later reads what was
// written.
//
// To write an edited graph, the same edits are made to the text of the program and of the configurations of its weights.
// The result is read again and has to match the edited graph (changes.go, edit.go, match.go). What folding does not touch
// stays byte for byte: stack traces, module paths, fields that newer versions add.
package torch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	format.Register(format.Format{Name: "torch", Version: 1, Extensions: []string{".pt2"}, Open: open})
}

// file is an open .pt2 file.
type file struct {
	path    string
	f       *os.File
	archive archive
	name    string // of the program in the archive
	text    *jsontext.Value
	configs [2]*config // of weights and of constants
	built   *builder
}

// open reads a program and where its weights are. The weights stay in the file.
func open(_ context.Context, path string, o format.Options) (format.File, error) {
	h, err := openFile(path, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

func openFile(path string, o format.Options) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is said already
	}
	h := &file{path: path, f: f}
	if err := h.open(o); err != nil {
		f.Close()
		return nil, err
	}
	return h, nil
}

func (h *file) open(o format.Options) error {
	var err error
	if h.archive, err = openArchive(h.f); err != nil {
		return err
	}
	if h.name, err = h.archive.program(); err != nil {
		return err
	}
	if h.text, err = h.archive.json("models/" + h.name + ".json"); err != nil {
		return err
	}
	for k, s := range stores {
		if h.configs[k], err = s.open(h.archive, h.name); err != nil {
			return err
		}
	}
	if o.State.Tensors != nil {
		if err := h.substitute(o.State.Tensors); err != nil {
			return err
		}
	}
	if h.built, err = read(h.text, h.configs); err != nil {
		return fmt.Errorf("models/%s.json: %w", h.name, err)
	}
	h.built.m.Place, h.built.m.Stays = h.built.place, h.built.stays
	if o.State.Tensors != nil {
		h.built.bare()
	}
	return nil
}

// read makes a graph of a program and the configurations of its weights and constants.
func read(text *jsontext.Value, configs [2]*config) (*builder, error) {
	p, err := parseProgram(text)
	if err != nil {
		return nil, err
	}
	if err := p.bind(configs); err != nil {
		return nil, err
	}
	return build(p)
}

// Model is the program's graph as stored, or as edited.
func (h *file) Model() *model.Model { return h.built.m }

// Inputs is the file.
func (h *file) Inputs() []string { return []string{h.path} }

// Close closes the file; constants cannot be read from then on.
func (h *file) Close() error { return h.f.Close() }
