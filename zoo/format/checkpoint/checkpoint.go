// Package checkpoint reads and writes the files of PyTorch's torch.save: a pickle of dicts that hold tensors, and their
// storages. Newer files are ZIP files:
//
//	NAME/data.pkl      the pickle; a storage is ("storage", type, KEY, device, elements), stored elsewhere
//	NAME/data/KEY …    the elements of each storage, in the order of NAME/byteorder
//
// and older ones five pickles one behind the other (a magic number, a version, what machine it was, the object, the keys of the
// storages) and then the storages, each behind its number of elements. Both are those of torch/serialization.py; how a
// pickle names tensors is that of torch/_utils.py. Nothing of a pickle is executed (package pickle), and what is neither
// data nor a tensor is refused by name.
//
// A checkpoint has no graph: package state finds one. Each dict with tensors is one state dict.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	format.Register(format.Format{Name: "checkpoint", Version: 1, Extensions: []string{".pt", ".pth", ".ckpt", ".bin"}, Bare: true, Open: Open})
}

// file is an open checkpoint.
type file struct {
	path string
	f    *os.File
	size int64
	box  container
	tree *tree
	net  *state.Net
}

// Open reads the pickle, and finds the structure. The storages stay in the file.
func Open(ctx context.Context, path string, o format.Options) (format.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	h := &file{path: path, f: f}
	if err := h.open(ctx, o); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

func (h *file) open(ctx context.Context, o format.Options) error {
	info, err := h.f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("not a file: %w", format.ErrCorrupt)
	}
	h.size = info.Size()
	var magic [512]byte
	n, err := h.f.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch head := magic[:n]; {
	case n >= 4 && string(head[:4]) == "PK\x03\x04":
		h.box, err = openZip(h.f)
	case n >= 2 && head[0] == 0x80:
		h.box, err = openLegacy(h.f, h.size)
	case n >= 262 && string(head[257:262]) == "ustar":
		return fmt.Errorf("in the form of PyTorch before 0.1.10: load it with torch.load and save it again: %w", format.ErrLimit)
	default:
		return fmt.Errorf("neither a ZIP file nor a pickle, as torch.save writes them, or one that was cut off: %w", format.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if h.tree, err = parse(h.box); err != nil {
		return err
	}
	h.net, err = state.Open(ctx, h.path, h.tree.list(), o)
	return err
}

// Model is the checkpoint's graph.
func (h *file) Model() *model.Model { return h.net.Model }

// Partial is why the model cannot be run.
func (h *file) Partial() string { return h.net.Partial }

// Notes are about what the structure was found in.
func (h *file) Notes() []string { return slices.Concat(h.tree.warnings, h.net.Warnings) }

// Inputs is the file.
func (h *file) Inputs() []string { return []string{h.path} }

// Close closes the file.
func (h *file) Close() error { return errors.Join(h.f.Close(), h.net.Close()) }
