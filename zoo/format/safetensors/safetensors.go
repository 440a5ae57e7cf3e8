// Package safetensors reads and writes safetensors files, one or several of one checkpoint: a header, JSON behind its
// length of 8 bytes, that says type, shape and place of each tensor, and then the elements, little endian, without gaps.
// Several files are shards: MODEL.safetensors.index.json lists them, and is the model file then. The format is that of
// huggingface/safetensors, README.md and safetensors/src/tensor.rs; the index that of transformers.
//
// A file has no graph: package state finds one.
package safetensors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
)

func init() {
	format.Register(format.Format{Name: "safetensors", Version: 1, Extensions: []string{".safetensors", ".safetensors.index.json"}, Bare: true, Open: open, Files: files})
}

// files is what format.Files says of a checkpoint.
func files(_ context.Context, path string, o format.Options) ([]string, error) {
	return state.Named(path, ".safetensors", o)
}

// file is an open checkpoint.
type file struct {
	state.Files
	shards []*shard
	of     map[*state.Tensor]*stored
}

// stored says where a tensor is stored.
type stored struct {
	shard *shard
	entry *entry
}

// open reads the headers, and finds the structure. The elements stay in the files.
func open(ctx context.Context, path string, o format.Options) (format.File, error) {
	h := &file{Files: state.Files{Path: path}, of: map[*state.Tensor]*stored{}}
	if err := h.open(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), h.Close())
	}
	return h, nil
}

func (h *file) open(ctx context.Context, o format.Options) error {
	paths, err := h.Paths(".safetensors")
	if err != nil {
		return err
	}
	for _, p := range paths {
		s, err := openShard(p)
		if err != nil {
			return h.missing(err)
		}
		h.Keep(s.f)
		h.shards = append(h.shards, s)
	}
	var list []*state.Tensor
	for _, s := range h.shards {
		for _, e := range s.entries {
			t := &state.Tensor{Name: e.name, DType: dtypes[e.dtype], Shape: e.shape, Data: io.NewSectionReader(s.f, s.from+e.from, e.to-e.from)}
			h.of[t] = &stored{s, e}
			list = append(list, t)
		}
	}
	return h.Structure(ctx, list, func(t *state.Tensor) string { return h.of[t].shard.path }, o)
}

// missing is the error of opening a file; for a shard it says that the index lists it.
func (h *file) missing(err error) error {
	if h.Index == nil {
		if pe := (*os.PathError)(nil); errors.As(err, &pe) {
			return pe.Err // the path is said already
		}
		return err
	}
	return fmt.Errorf("a shard that it lists: %w", err)
}
