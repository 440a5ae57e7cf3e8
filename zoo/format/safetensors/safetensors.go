// Package safetensors reads and writes safetensors files, one or several of one checkpoint: a header, JSON behind its length
// of 8 bytes, that says type, shape and place of each tensor, and then the elements, little endian, without gaps. Several
// files are shards that MODEL.safetensors.index.json lists: it is the model file then. The format is that of
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
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/state"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	format.Register(format.Format{Name: "safetensors", Version: 1, Extensions: []string{".safetensors", ".safetensors.index.json"}, Bare: true, Open: Open})
}

// file is an open checkpoint.
type file struct {
	path   string
	index  *index // nil where there is one file
	shards []*shard
	of     map[*state.Tensor]*stored
	net    *state.Net
}

// stored is where a tensor is.
type stored struct {
	shard *shard
	entry *entry
}

// Open reads the headers, and finds the structure. The elements stay in the files.
func Open(ctx context.Context, path string, o format.Options) (format.File, error) {
	h := &file{path: path, of: map[*state.Tensor]*stored{}}
	if err := h.open(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), h.Close())
	}
	return h, nil
}

func (h *file) open(ctx context.Context, o format.Options) error {
	paths := []string{h.path}
	if strings.HasSuffix(strings.ToLower(h.path), ".json") {
		var err error
		if h.index, err = readIndex(h.path); err != nil {
			return err
		}
		paths = h.index.paths
	}
	for _, p := range paths {
		s, err := openShard(p)
		if err != nil {
			return h.missing(err)
		}
		h.shards = append(h.shards, s)
	}
	if h.index != nil {
		if err := h.index.holds(h.shards); err != nil {
			return err
		}
	}
	var list []*state.Tensor
	for _, s := range h.shards {
		for _, e := range s.entries {
			t := &state.Tensor{Name: e.name, DType: dtypes[e.dtype], Shape: e.shape, Data: io.NewSectionReader(s.f, s.from+e.from, e.to-e.from)}
			h.of[t] = &stored{s, e}
			list = append(list, t)
		}
	}
	var err error
	h.net, err = state.Open(ctx, h.path, list, o)
	return err
}

// missing is the error of opening a file, which says of a shard who asks for it.
func (h *file) missing(err error) error {
	if h.index == nil {
		if pe := (*os.PathError)(nil); errors.As(err, &pe) {
			return pe.Err // the path is said already
		}
		return err
	}
	return fmt.Errorf("a shard that it lists: %w", err)
}

// Model is the checkpoint's graph.
func (h *file) Model() *model.Model { return h.net.Model }

// Partial is why the model cannot be run.
func (h *file) Partial() string { return h.net.Partial }

// Notes are about what the structure was found in.
func (h *file) Notes() []string { return h.net.Warnings }

// Inputs are the file, or the index and its shards.
func (h *file) Inputs() []string {
	if h.index == nil {
		return []string{h.path}
	}
	return append([]string{h.path}, h.index.paths...)
}

// Close closes the files.
func (h *file) Close() (err error) {
	for _, s := range h.shards {
		err = errors.Join(err, s.f.Close())
	}
	if h.net != nil {
		err = errors.Join(err, h.net.Close())
	}
	return err
}

// index is an index of shards.
type index struct {
	raw   []byte
	text  *jsontext.Value
	paths []string          // of the shards, sorted
	shard map[string]string // path of each tensor's
}

const (
	maxIndex  = 64 << 20
	maxShards = 4096
)

// readIndex reads an index: {"metadata": {"total_size": …}, "weight_map": {TENSOR: FILE}}.
func readIndex(path string) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("not a file: %w", format.ErrCorrupt)
	case info.Size() > maxIndex:
		return nil, fmt.Errorf("an index of %d bytes: %w", info.Size(), format.ErrLimit)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	x := &index{raw: text, shard: map[string]string{}}
	if x.text, err = jsontext.Parse(string(text)); err != nil {
		return nil, err
	}
	list := x.text.Get("weight_map")
	if list == nil || list.Kind != '{' {
		return nil, fmt.Errorf("it has no weight_map: no index of safetensors: %w", format.ErrCorrupt)
	}
	folder := filepath.Dir(path)
	var infos []os.FileInfo
	for k, v := range list.Items {
		name, ok := v.Str()
		switch {
		case !ok || !strings.HasSuffix(strings.ToLower(name), ".safetensors"):
			return nil, fmt.Errorf("tensor %.100q is in no safetensors file: %w", list.Keys[k], format.ErrCorrupt)
		case filepath.Base(name) != name:
			return nil, fmt.Errorf("tensor %.100q is in %.100q: %w: %w", list.Keys[k], name, format.ErrOutside, format.ErrCorrupt)
		}
		if x.shard[list.Keys[k]] != "" {
			return nil, fmt.Errorf("tensor %.100q is listed twice: %w", list.Keys[k], format.ErrCorrupt)
		}
		at := filepath.Join(folder, name)
		x.shard[list.Keys[k]] = at
		if slices.Contains(x.paths, at) {
			continue
		}
		info, err := os.Stat(at)
		if err != nil {
			return nil, fmt.Errorf("shard %.100q of tensor %.100q: %w: %w", name, list.Keys[k], errors.Unwrap(err), format.ErrCorrupt)
		}
		for j, other := range infos {
			if os.SameFile(info, other) {
				return nil, fmt.Errorf("shards %.100q and %.100q are one file: %w", filepath.Base(x.paths[j]), name, format.ErrCorrupt)
			}
		}
		if len(x.paths) >= maxShards {
			return nil, fmt.Errorf("more than %d shards: %w", maxShards, format.ErrLimit)
		}
		x.paths, infos = append(x.paths, at), append(infos, info)
	}
	if len(x.paths) == 0 {
		return nil, fmt.Errorf("it lists no shards: %w", format.ErrCorrupt)
	}
	slices.Sort(x.paths)
	return x, nil
}

// holds says whether each shard has the tensors that the index says, and no others.
func (x *index) holds(shards []*shard) error {
	found := map[string]bool{}
	for _, s := range shards {
		for _, e := range s.entries {
			switch at := x.shard[e.name]; {
			case at == "":
				return fmt.Errorf("%s holds tensor %.100q, which the index does not list: %w", filepath.Base(s.path), e.name, format.ErrCorrupt)
			case at != s.path:
				return fmt.Errorf("%s holds tensor %.100q, which is in %s by the index: %w", filepath.Base(s.path), e.name, filepath.Base(at), format.ErrCorrupt)
			}
			found[e.name] = true
		}
	}
	for name, at := range x.shard {
		if !found[name] {
			return fmt.Errorf("%s does not hold tensor %.100q, which is in it by the index: %w", filepath.Base(at), name, format.ErrCorrupt)
		}
	}
	return nil
}
