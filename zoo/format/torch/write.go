package torch

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/zipped"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Write copies the file if nothing was edited. Otherwise it makes the same edits to the program's text and to the
// configurations, writes changed records anew and copies all others.
func (h *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	c, err := h.changes()
	if err != nil {
		return nil, err
	}
	if c.none() {
		return nil, format.Splice(ctx, out, "", h.f, []format.Piece{{Copied: format.Span{To: h.archive.Size}}}, backend)
	}
	e := &edition{c: c, texts: map[string]string{}}
	if e.records, err = c.records(); err != nil {
		return nil, err
	}
	e.texts["models/"+h.name+".json"] = c.program().String()
	for _, config := range h.configs {
		e.texts[config.folder+h.name+config.suffix] = c.config(config).String()
	}
	renamed, err := e.again()
	if err != nil {
		return nil, fmt.Errorf("the edited program would be read as another one: %w", err)
	}
	to, err := out.Create("")
	if err != nil {
		return nil, err
	}
	return renamed, errors.Join(e.write(ctx, to, backend), to.Close())
}

// edition is an edited archive: the changed texts and records.
type edition struct {
	c       *changes
	texts   map[string]string
	records map[string]*content // nil for removed ones
}

// again reads the edited program back, and checks that it equals the edited graph.
func (e *edition) again() (map[string]string, error) {
	h := e.c.h
	text, err := jsontext.Parse(e.texts["models/"+h.name+".json"])
	if err != nil {
		return nil, err
	}
	var configs [2]*config
	for k, s := range stores {
		name := s.folder + h.name + s.suffix
		v, err := jsontext.Parse(e.texts[name])
		if err != nil {
			return nil, err
		}
		configs[k], err = s.parse(v, name, func(path string) (*member, io.ReaderAt) {
			is, edited := e.records[s.folder+path]
			switch m := h.archive.Named(s.folder + path); {
			case is != nil:
				return &member{Path: s.folder + path, Len: is.size()}, is.reader()
			case edited || m == nil:
				return nil, nil
			default:
				return m, h.archive.Data(m)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	built, err := read(text, configs)
	if err != nil {
		return nil, err
	}
	return e.c.match(h.built, built)
}

// write writes the archive: members in their order, each new record behind the one that it was added to.
func (e *edition) write(ctx context.Context, to format.OutputFile, backend tensor.Backend) error {
	h := e.c.h
	w := zipped.NewWriter(to)
	written := map[string]bool{}
	beside := map[string][]string{}
	for _, i := range h.built.p.inputs {
		if x := e.c.changed[i]; x != nil && x.path != i.payload.path {
			at := i.payload.config.folder + i.payload.path
			beside[at] = append(beside[at], i.payload.config.folder+x.path)
		}
	}
	for _, f := range e.c.fresh {
		folder := f.like.payload.config.folder
		beside[folder+f.like.payload.path] = append(beside[folder+f.like.payload.path], folder+f.path)
	}
	put := func(header zip.FileHeader, name string) error {
		written[name] = true
		header.Name = h.archive.Folder + name
		is := e.records[name]
		if is.scaled == nil {
			return w.Bytes(header, is.made)
		}
		return w.Pieces(header, is.size(), func(to io.WriterAt) error { return is.scaled.Write(ctx, backend, to, 0) })
	}
	for _, m := range h.archive.Members {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, isText := e.texts[m.Path]
		is, edited := e.records[m.Path]
		var err error
		switch {
		case isText:
			err = w.Bytes(m.FileHeader, []byte(text))
		case !edited:
			err = w.Copy(ctx, m.FileHeader, h.archive.Data(m))
		default:
			if err = h.archive.Check(m); err == nil && is != nil {
				err = put(m.FileHeader, m.Path)
			}
		}
		for _, name := range beside[m.Path] {
			if err == nil {
				err = put(m.FileHeader, name)
			}
		}
		if err != nil {
			return fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	for name, is := range e.records {
		if is != nil && !written[name] {
			return fmt.Errorf("record %q has no place in the archive", name)
		}
	}
	return w.Close()
}
