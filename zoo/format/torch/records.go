package torch

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

// records are the changed records by name: the new content, or nil for a removed one.
func (c *changes) records() (map[string]*content, error) {
	records := map[string]*content{}
	p := c.h.built.p
	for _, i := range p.inputs {
		if c.dead[i] {
			records[i.payload.config.folder+i.payload.path] = nil
		}
	}
	for _, config := range c.h.configs {
		dead := map[string]bool{}
		for _, i := range p.inputs {
			if c.dead[i] && i.payload.config == config {
				dead[i.stored] = true
			}
		}
		for _, o := range config.list { // other tensors are stored in them
			if !dead[o.name] {
				delete(records, config.folder+o.path)
			}
		}
	}
	put := func(folder, path, name string, v *model.Value) error {
		k, err := contentOf(v, name)
		records[folder+path] = k
		return err
	}
	for _, i := range p.inputs {
		if x := c.changed[i]; x != nil {
			if err := put(i.payload.config.folder, x.path, i.name, x.value); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range c.fresh {
		if err := put(f.like.payload.config.folder, f.path, f.value.Name, f.value); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// content is the new content of a record.
type content struct {
	made   []byte
	scaled *format.Scaled
}

func (c *content) size() int64 {
	if c.scaled != nil {
		return c.scaled.Elements * int64(c.scaled.DType.Size())
	}
	return int64(len(c.made))
}

// contentOf is a constant as a record: computed elements, or those of a form, multiplied in the order of its record.
func contentOf(v *model.Value, name string) (*content, error) {
	k := v.Const
	if k.Data == nil {
		made, err := k.Encode()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		return &content{made: made}, nil
	}
	f, ok := k.Source.(*stored)
	if !ok {
		return nil, fmt.Errorf("tensor %q: its elements are in no record", name)
	}
	s := format.NewScaled(name, f.input.name, k)
	if !inOrder(f.perm) {
		p := f.input.payload
		s.Data = io.NewSectionReader(p.data, p.meta.offset*p.meta.size, s.Elements*p.meta.size)
		s.Factors = slices.Clone(s.Factors)
		for j := range s.Factors {
			s.Factors[j] = s.Factors[j].Stored(f.shape, f.perm)
		}
	}
	return &content{scaled: s}, nil
}

// reader reads the new content of a record, without the rescaling that is done when it is written.
func (c *content) reader() io.ReaderAt {
	if c.scaled != nil {
		return c.scaled.Data
	}
	return bytes.NewReader(c.made)
}
