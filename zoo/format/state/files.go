package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Files are the files of an open checkpoint, one or an index with its shards, and the network of their tensors. The
// packages of checkpoint formats embed it.
type Files struct {
	Path  string
	Index *Index // nil where there is one file
	Net   *Net   // nil until Structure

	files []*os.File // to be closed
}

// Paths are the files that hold the tensors. Those of an index, whose name ends in .json, have that extension.
func (c *Files) Paths(extension string) (paths []string, err error) {
	if !strings.HasSuffix(strings.ToLower(c.Path), ".json") {
		return []string{c.Path}, nil
	}
	if c.Index, err = ReadIndex(c.Path, extension); err != nil {
		return nil, err
	}
	return c.Index.Paths, nil
}

// Named implements format.Files for a checkpoint with shards of that extension: those that an index lists, and a
// config.json if nothing else gives the structure.
func Named(path, extension string, o format.Options) (names []string, err error) {
	if strings.HasSuffix(strings.ToLower(path), ".json") {
		if _, names, err = readNames(path, extension); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	s, beside := o.State, filepath.Join(filepath.Dir(path), modelConfig)
	if s.Graph == "" && len(s.Pairs) == 0 && len(s.Presets) == 0 && (s.Config == "" || s.Config == beside) {
		names = append(names, modelConfig)
	}
	return names, nil
}

// Keep records a file that Close closes.
func (c *Files) Keep(f *os.File) { c.files = append(c.files, f) }

// Structure finds the tensors' graph. in gives the path of a tensor's file.
func (c *Files) Structure(ctx context.Context, tensors []*Tensor, in func(*Tensor) string, o format.Options) (err error) {
	if c.Index != nil {
		if err := c.Index.Holds(tensors, in); err != nil {
			return err
		}
	}
	c.Net, err = open(ctx, c.Path, tensors, o)
	return err
}

// Model is the checkpoint's graph.
func (c *Files) Model() *model.Model { return c.Net.Model }

// Partial is the reason why the model cannot be run.
func (c *Files) Partial() string { return c.Net.Partial }

// Notes are notes on the source of the structure.
func (c *Files) Notes() []string { return c.Net.Warnings }

// Inputs are the file, or the index and its shards.
func (c *Files) Inputs() []string {
	if c.Index == nil {
		return []string{c.Path}
	}
	return append([]string{c.Path}, c.Index.Paths...)
}

// Rel is the path to which a file is written, relative to the checkpoint's; "" is the checkpoint itself.
func (c *Files) Rel(path string) string {
	if c.Index == nil {
		return ""
	}
	return format.Beside(c.Path, path)
}

// Finish writes the index, if there is one, after all files are written, and returns the renamed values for File.Write.
func (c *Files) Finish(ctx context.Context, out format.Output, edits []Edit, backend tensor.Backend) (renamed map[string]string, err error) {
	if c.Index == nil {
		return c.Net.Renamed, nil
	}
	return c.Net.Renamed, c.Index.Write(ctx, out, edits, backend)
}

// Close closes the files.
func (c *Files) Close() (err error) {
	for _, f := range c.files {
		err = errors.Join(err, f.Close())
	}
	if c.Net != nil {
		err = errors.Join(err, c.Net.Close())
	}
	return err
}
