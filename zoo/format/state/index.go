package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Index lists the shards of a checkpoint in several files, as transformers writes it:
// {"metadata": {"total_size": BYTES}, "weight_map": {TENSOR: FILE}}.
type Index struct {
	Paths []string // of the shards, sorted

	raw   []byte
	shard map[string]string // path of each tensor's
}

const (
	maxIndex  = 64 << 20
	maxShards = 4096
)

// ReadIndex reads the index at a path, of shards with that extension, which lie beside it.
func ReadIndex(path, extension string) (*Index, error) {
	x, names, err := readNames(path, extension)
	if err != nil {
		return nil, err
	}
	var infos []os.FileInfo
	for _, name := range names {
		at := filepath.Join(filepath.Dir(path), name)
		info, err := os.Stat(at)
		if err != nil {
			return nil, fmt.Errorf("shard %.100q of tensor %.100q: %w: %w", name, x.first(at), errors.Unwrap(err), format.ErrCorrupt)
		}
		for j, other := range infos {
			if os.SameFile(info, other) {
				return nil, fmt.Errorf("shards %.100q and %.100q are one file: %w", filepath.Base(x.Paths[j]), name, format.ErrCorrupt)
			}
		}
		x.Paths, infos = append(x.Paths, at), append(infos, info)
	}
	slices.Sort(x.Paths)
	return x, nil
}

// first is the first tensor, by its name, of the shard at a path.
func (x *Index) first(path string) string {
	for _, name := range slices.Sorted(maps.Keys(x.shard)) {
		if x.shard[name] == path {
			return name
		}
	}
	return ""
}

// readNames reads the index at a path, and the names of the shards, as they come. It does not look for these.
func readNames(path, extension string) (x *Index, names []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, errors.Unwrap(err)
	}
	defer f.Close()
	info, err := format.Regular(f.Stat())
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > maxIndex {
		return nil, nil, fmt.Errorf("an index of %d bytes: %w", info.Size(), format.ErrLimit)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	x = &Index{raw: text, shard: map[string]string{}}
	parsed, err := jsontext.Parse(string(text))
	if err != nil {
		return nil, nil, err
	}
	list := parsed.Get("weight_map")
	if list == nil || list.Kind != '{' {
		return nil, nil, fmt.Errorf("it has no weight_map: no index of shards: %w", format.ErrCorrupt)
	}
	folder := filepath.Dir(path)
	seen := map[string]bool{}
	for k, v := range list.Items {
		name, ok := v.Str()
		switch {
		case !ok || !strings.HasSuffix(strings.ToLower(name), extension):
			return nil, nil, fmt.Errorf("tensor %.100q is in no %s file: %w", list.Keys[k], extension, format.ErrCorrupt)
		case filepath.Base(name) != name:
			return nil, nil, fmt.Errorf("tensor %.100q is in %.100q: %w: %w", list.Keys[k], name, format.ErrOutside, format.ErrCorrupt)
		}
		if x.shard[list.Keys[k]] != "" {
			return nil, nil, fmt.Errorf("tensor %.100q is listed twice: %w", list.Keys[k], format.ErrCorrupt)
		}
		x.shard[list.Keys[k]] = filepath.Join(folder, name)
		if seen[name] {
			continue
		}
		if len(names) >= maxShards {
			return nil, nil, fmt.Errorf("more than %d shards: %w", maxShards, format.ErrLimit)
		}
		names, seen[name] = append(names, name), true
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("it lists no shards: %w", format.ErrCorrupt)
	}
	return x, names, nil
}

// Holds checks that each shard has exactly the tensors that the index lists for it; in gives the path of a tensor's shard.
func (x *Index) Holds(tensors []*Tensor, in func(*Tensor) string) error {
	found := map[string]bool{}
	for _, t := range tensors {
		switch at := x.shard[t.Name]; {
		case at == "":
			return fmt.Errorf("%s holds tensor %.100q, which the index does not list: %w", filepath.Base(in(t)), t.Name, format.ErrCorrupt)
		case at != in(t):
			return fmt.Errorf("%s holds tensor %.100q, which is in %s by the index: %w", filepath.Base(in(t)), t.Name, filepath.Base(at), format.ErrCorrupt)
		}
		found[t.Name] = true
	}
	for name, at := range x.shard {
		if !found[name] {
			return fmt.Errorf("%s does not hold tensor %.100q, which is in it by the index: %w", filepath.Base(at), name, format.ErrCorrupt)
		}
	}
	return nil
}

// Write writes the index with removed and new tensors, and their total size, updated.
func (x *Index) Write(ctx context.Context, out format.Output, edits []Edit, backend tensor.Backend) error {
	text, err := jsontext.Parse(string(x.raw))
	if err != nil {
		return err
	}
	list, size := text.Get("weight_map"), text.Get("metadata", "total_size")
	total, known := size.Int()
	same := true
	for _, e := range edits {
		switch {
		case e.New != "":
			same = false
			list.Set(e.New, jsontext.Quote(filepath.Base(x.shard[e.Tensor.Name])))
			total += format.Size(e.Pieces)
		case e.Gone:
			same = false
			list.Remove(list.Get(e.Tensor.Name))
			n, _ := tensor.Elements(e.Tensor.Shape)
			total -= n * int64(e.Tensor.DType.Size())
		}
	}
	if same {
		return format.Splice(ctx, out, "", nil, []format.Piece{{Made: x.raw}}, backend)
	}
	if known {
		text.Get("metadata").Set("total_size", strconv.FormatInt(total, 10))
	}
	return format.Splice(ctx, out, "", nil, []format.Piece{{Made: []byte(text.String())}}, backend)
}
