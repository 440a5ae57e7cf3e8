package keras

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Weights that save_weights splits (max_shard_size) are an index and HDF5 files beside it, each laid out as in a .keras
// file: {"metadata": {"total_size": BYTES}, "weight_map": {"/layers/conv2d/vars": FILE, or a list of files}}. A layer's
// weights may be in several of them, each with another number. The format is that of keras/src/saving/saving_lib.py,
// ShardedH5IOStore. Here they are one tree, which records the file of each dataset.

// shards are an open index and its files.
type shards struct {
	text  string   // of the index
	paths []string // of the files, sorted
	files []*os.File
	home  map[*hdf5.Dataset]int // the number of the file that it is in
}

// maxShards bounds the files of an index.
const maxShards = 4096

// openShards opens the files that the index at a path names, and returns the tree of all their weights.
func openShards(path string) (s *shards, root *hdf5.Group, err error) {
	s, root = &shards{home: map[*hdf5.Dataset]int{}}, &hdf5.Group{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	text, places, err := readShards(path)
	if err != nil {
		return s, nil, err
	}
	s.text = text
	names, err := namesOf(places)
	if err != nil {
		return s, nil, err
	}
	for k, name := range names {
		at := filepath.Join(filepath.Dir(path), name)
		tree, err := s.open(at)
		if err != nil {
			return s, nil, fmt.Errorf("%.100q: %w", name, err)
		}
		if err := s.merge(root, tree, k, "", places); err != nil {
			return s, nil, fmt.Errorf("%.100q: %w", name, err)
		}
	}
	for group, files := range places { // each is one that merge found
		if len(files) > 0 {
			return s, nil, fmt.Errorf("%.100q has no weights of %.100q, which the index says are there: %w", files[0], group, format.ErrCorrupt)
		}
	}
	return s, root, nil
}

// shardNames are the names of the files that the index at a path names.
func shardNames(path string) ([]string, error) {
	_, places, err := readShards(path)
	if err != nil {
		return nil, err
	}
	return namesOf(places)
}

// namesOf are the names of all files, sorted.
func namesOf(places map[string][]string) (names []string, err error) {
	for _, files := range places {
		names = append(names, files...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 || len(names) > maxShards {
		return nil, fmt.Errorf("an index of %d files: %w", len(names), format.ErrLimit)
	}
	return names, nil
}

// readShards reads the index at a path: its text, and the files of each group that it lists.
func readShards(path string) (text string, places map[string][]string, err error) {
	if text, err = readConfig(path); err != nil {
		return "", nil, err
	}
	index, err := jsontext.Parse(text)
	if err != nil {
		return "", nil, err
	}
	places, err = placesOf(index)
	return text, places, err
}

// placesOf are the files of each group that an index lists.
func placesOf(index *jsontext.Value) (map[string][]string, error) {
	list := index.Get("weight_map")
	if list == nil || list.Kind != '{' {
		return nil, fmt.Errorf("it has no weight_map: it is no index of weights in several files: %w", format.ErrCorrupt)
	}
	places := map[string][]string{}
	for k, v := range list.Items {
		group, files := list.Keys[k], []*jsontext.Value{v}
		if v.Kind == '[' {
			files = v.List()
		}
		if _, twice := places[group]; twice {
			return nil, fmt.Errorf("%.100q is listed twice: %w", group, format.ErrCorrupt)
		}
		for _, f := range files {
			name, ok := f.Str()
			switch {
			case !ok:
				return nil, fmt.Errorf("%.100q is in no file: %w", group, format.ErrCorrupt)
			case filepath.Base(name) != name || !filepath.IsLocal(name):
				return nil, fmt.Errorf("%.100q is in %.100q: %w: %w", group, name, format.ErrOutside, format.ErrCorrupt)
			case slices.Contains(places[group], name):
				return nil, fmt.Errorf("%.100q is in %.100q twice: %w", group, name, format.ErrCorrupt)
			}
			places[group] = append(places[group], name)
		}
	}
	return places, nil
}

// open opens a file and reads its tree.
func (s *shards) open(path string) (*hdf5.Group, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the index names it: %w: %w", errors.Unwrap(err), format.ErrCorrupt)
	}
	s.paths, s.files = append(s.paths, path), append(s.files, f)
	info, err := format.Regular(f.Stat())
	if err != nil {
		return nil, err
	}
	return hdf5.Open(f, info.Size())
}

// merge adds a file's tree, and takes what it found from the places that the index lists.
func (s *shards) merge(into, tree *hdf5.Group, file int, path string, places map[string][]string) error {
	if into.Links == nil {
		into.Links = map[string]hdf5.Object{}
	}
	if len(into.Attrs) == 0 {
		into.Attrs = tree.Attrs
	}
	listed := false
	for _, name := range tree.Names() {
		switch o := tree.Links[name].(type) {
		case *hdf5.Group:
			inner, ok := into.Links[name].(*hdf5.Group)
			if !ok {
				if into.Links[name] != nil {
					return fmt.Errorf("%q is a group here and weights in another file: %w", path+"/"+name, format.ErrCorrupt)
				}
				inner = &hdf5.Group{}
				into.Links[name] = inner
			}
			if err := s.merge(inner, o, file, path+"/"+name, places); err != nil {
				return err
			}
		case *hdf5.Dataset:
			if into.Links[name] != nil {
				return fmt.Errorf("%q is in another file, too: %w", path+"/"+name, format.ErrCorrupt)
			}
			into.Links[name], s.home[o], listed = o, file, true
		}
	}
	if !listed {
		return nil
	}
	k := slices.Index(places[path], filepath.Base(s.paths[file]))
	if k < 0 {
		return fmt.Errorf("it holds weights of %q, which the index does not say: %w", path, format.ErrCorrupt)
	}
	places[path] = slices.Delete(places[path], k, k+1)
	return nil
}

// part is the part of a tree in one file: its datasets, and the groups that contain them. The first file also has the
// groups without datasets.
func (s *shards) part(tree *hdf5.Group, file int) *hdf5.Group {
	own := &hdf5.Group{Attrs: tree.Attrs, Links: map[string]hdf5.Object{}}
	for name, o := range tree.Links {
		switch o := o.(type) {
		case *hdf5.Group:
			if inner := s.part(o, file); len(inner.Links) > 0 || len(o.Links) == 0 && file == 0 {
				own.Links[name] = inner
			}
		case *hdf5.Dataset:
			if s.home[o] == file {
				own.Links[name] = o
			}
		}
	}
	return own
}

// settle finds a file for each changed weight: that of the old weight, or of the one beside a new one.
func (s *shards) settle(p *placer) {
	for key, set := range p.sets {
		like := key.layer.variable(key.role)
		if like == nil && len(key.layer.vars) > 0 {
			like = key.layer.vars[0]
		}
		if like != nil {
			s.home[set] = s.home[like.set]
		}
	}
}

// listing is the content of a tree's index: the files of each group, and the bytes of all weights.
func (s *shards) listing(tree *hdf5.Group, path string, into map[string]any) (bytes int64) {
	var files []string
	for _, name := range tree.Names() {
		switch o := tree.Links[name].(type) {
		case *hdf5.Group:
			bytes += s.listing(o, path+"/"+name, into)
		case *hdf5.Dataset:
			bytes += o.Bytes()
			if file := filepath.Base(s.paths[s.home[o]]); !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	switch slices.Sort(files); len(files) {
	case 0:
	case 1:
		into[path] = files[0]
	default:
		into[path] = files
	}
	return bytes
}

// edited is the text of the index of another tree.
func (s *shards) edited(tree *hdf5.Group) (string, error) {
	index, err := jsontext.Parse(s.text)
	if err != nil {
		return "", err
	}
	listing := map[string]any{}
	bytes := s.listing(tree, "", listing)
	text, err := json.MarshalIndent(listing, "    ", "    ")
	if err != nil {
		return "", err
	}
	index.Set("weight_map", string(text))
	if size := index.Get("metadata", "total_size"); size != nil {
		index.Get("metadata").Set("total_size", strconv.FormatInt(bytes, 10)+".0") // as Keras writes it
	}
	return index.String(), nil
}

// write writes the index and all files. at gives the new path of a file.
func (s *shards) write(ctx context.Context, out format.Output, at func(string) string, index string, tree *hdf5.Group, content func(*hdf5.Dataset, io.WriterAt) error, backend tensor.Backend) error {
	text, err := s.edited(tree)
	if err != nil {
		return err
	}
	if err := format.Splice(ctx, out, at(index), nil, []format.Piece{{Made: []byte(text)}}, backend); err != nil {
		return err
	}
	for k, path := range s.paths {
		to, err := out.Create(at(path))
		if err != nil {
			return err
		}
		_, err = hdf5.Write(to, s.part(tree, k), content)
		if err := errors.Join(err, to.Close()); err != nil {
			return err
		}
	}
	return nil
}

// copy copies the index and all files.
func (s *shards) copy(ctx context.Context, out format.Output, at func(string) string, index string, backend tensor.Backend) error {
	if err := format.Splice(ctx, out, at(index), nil, []format.Piece{{Made: []byte(s.text)}}, backend); err != nil {
		return err
	}
	for k, f := range s.files {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if err := format.Splice(ctx, out, at(s.paths[k]), f, []format.Piece{{Copied: format.Span{To: info.Size()}}}, backend); err != nil {
			return err
		}
	}
	return nil
}

func (s *shards) close() (err error) {
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
