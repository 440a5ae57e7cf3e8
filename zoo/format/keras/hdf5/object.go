package hdf5

import (
	"fmt"
	"slices"
)

// place is where an object is in the tree, for errors.
type place struct {
	group *place // nil for the root
	name  string
	depth int
}

func (p *place) String() string {
	if p.group == nil {
		return "/"
	}
	if p.group.group == nil {
		return "/" + p.name
	}
	return p.group.String() + "/" + p.name
}

func (p *place) below(name string) *place { return &place{p, name, p.depth + 1} }

// wrap says where an error is.
func (p *place) wrap(err error) error { return fmt.Errorf("%s: %w", p, err) }

// object reads the object whose header is at that address, and all below it.
func (f *file) object(at int64, here *place) (Object, error) {
	if o, ok := f.known[at]; ok {
		if o == nil {
			return nil, here.wrap(unsupported(at, "a group that contains itself"))
		}
		return o, nil
	}
	if here.depth > maxDepth {
		return nil, here.wrap(limited(at, "more than %d groups within each other", maxDepth))
	}
	f.known[at] = nil
	messages, err := f.header(at)
	if err != nil {
		return nil, here.wrap(err)
	}
	attributes, err := f.attributes(messages)
	if err != nil {
		return nil, here.wrap(err)
	}
	isGroup := slices.ContainsFunc(messages, func(m message) bool {
		return slices.Contains([]uint16{messageSymbols, messageLinkInfo, messageLink, messageGroupInfo}, m.kind)
	})
	if !isGroup {
		d, err := f.dataset(at, messages)
		if err != nil {
			return nil, here.wrap(err)
		}
		d.Attrs = attributes
		f.known[at] = d
		return d, nil
	}
	links, err := f.links(messages)
	if err != nil {
		return nil, here.wrap(err)
	}
	g := &Group{Attrs: attributes, Links: make(map[string]Object, len(links))}
	for _, l := range links {
		if !validName(l.name) || g.Links[l.name] != nil {
			return nil, here.wrap(corrupt(at, "a second link %q, or one that cannot be", l.name))
		}
		if g.Links[l.name], err = f.object(l.at, here.below(l.name)); err != nil {
			return nil, err
		}
	}
	f.known[at] = g
	return g, nil
}
