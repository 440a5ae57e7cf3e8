// Package checkpoint reads and writes the files of PyTorch's torch.save: a pickle of dicts that hold tensors, and their
// storages. Newer files are ZIP files:
//
//	NAME/data.pkl      the pickle; a storage is ("storage", type, KEY, device, elements), stored elsewhere
//	NAME/data/KEY …    the elements of each storage, in the order of NAME/byteorder
//
// and older ones five pickles one behind the other (a magic number, a version, what machine it was, the object, the keys of
// the storages) and then the storages, each behind its number of elements. Both are those of torch/serialization.py; how a
// pickle names tensors is that of torch/_utils.py. Nothing in a pickle is executed (package pickle), and objects other than
// data and tensors are refused by name.
//
// Large models are split into several such files, each a dict of tensors. MODEL.bin.index.json lists them, and is the model
// file then.
//
// A checkpoint has no graph: package state finds one. Each dict with tensors is one state dict.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
)

func init() {
	format.Register(format.Format{Name: "checkpoint", Version: 2, Extensions: []string{".pt", ".pth", ".ckpt", ".bin", ".bin.index.json"}, Bare: true, Open: open, Files: files})
}

// files is what format.Files says of a checkpoint.
func files(_ context.Context, path string, o format.Options) ([]string, error) {
	return state.Named(path, ".bin", o)
}

// file is an open checkpoint.
type file struct {
	state.Files
	shards []*shard
}

// shard is one open file.
type shard struct {
	path string
	f    *os.File
	size int64
	box  container
	tree *tree
}

// open reads the pickles, and finds the structure. The storages stay in the files.
func open(ctx context.Context, path string, o format.Options) (format.File, error) {
	h := &file{Files: state.Files{Path: path}}
	if err := h.open(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), h.Close())
	}
	return h, nil
}

func (h *file) open(ctx context.Context, o format.Options) error {
	paths, err := h.Paths(".bin")
	if err != nil {
		return err
	}
	var list []*state.Tensor
	in := map[*state.Tensor]string{}
	for _, p := range paths {
		s, err := openShard(p)
		if err != nil && h.Index != nil {
			return fmt.Errorf("a shard that it lists: %s: %w", filepath.Base(p), err)
		}
		if err != nil {
			return err
		}
		h.Keep(s.f)
		h.shards = append(h.shards, s)
		if h.Index != nil && (len(s.tree.dicts) > 1 || s.tree.dicts[0].name != "") {
			return fmt.Errorf("a shard that it lists: %s: it holds dicts of tensors within each other: %w", filepath.Base(p), format.ErrLimit)
		}
		for _, t := range s.tree.list() {
			in[t] = p
			list = append(list, t)
		}
	}
	return h.Structure(ctx, list, func(t *state.Tensor) string { return in[t] }, o)
}

// openShard opens a file and reads its pickle.
func openShard(path string) (*shard, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is said already
	}
	s := &shard{path: path, f: f}
	if err := s.read(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *shard) read() error {
	info, err := format.Regular(s.f.Stat())
	if err != nil {
		return err
	}
	s.size = info.Size()
	var magic [512]byte
	n, err := s.f.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch head := magic[:n]; {
	case n >= 4 && string(head[:4]) == "PK\x03\x04":
		s.box, err = openZip(s.f)
	case n >= 2 && head[0] == 0x80:
		s.box, err = openLegacy(s.f, s.size)
	case n >= 262 && string(head[257:262]) == "ustar":
		return fmt.Errorf("in the form of PyTorch before 0.1.10: load it with torch.load and save it again: %w", format.ErrLimit)
	default:
		return fmt.Errorf("neither a ZIP file nor a pickle, as torch.save writes them, or one that was cut off: %w", format.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	s.tree, err = parse(s.box)
	return err
}

// Notes are notes on other contents of the files, and on the source of the structure.
func (h *file) Notes() (list []string) {
	for _, s := range h.shards {
		list = append(list, s.tree.warnings...)
	}
	return append(list, h.Files.Notes()...)
}
