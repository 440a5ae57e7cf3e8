package onnx

import (
	"container/heap"
	"errors"
	"fmt"
	"strconv"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
)

// ONNX requires nodes in topological order, but runtimes load files with nodes in any order, and some programs write them.
// A file is read as if it were sorted; if a node reads an unknown name, the file is read again with its nodes sorted.

// errUnsorted says that a node reads a value that no earlier node computes.
var errUnsorted = errors.New("nodes that are not sorted")

// link holds a node's place in the order: the names that it reads and makes, and the nodes before and behind it.
type link struct {
	label       string
	makes       []string
	reads       []string // with those that its bodies read from outer graphs
	before      []int    // the nodes that it waits for
	behind      []int    // the nodes that wait for it
	left        int      // how many of before are still to come
	number, key int      // among the graph's nodes, and of its field
}

// sorted are the fields of a graph's nodes in topological order: among the nodes that may come next, the one stored first.
func (x *index) sorted(i *graphIndex, nodes []int, depth int) ([]int, error) {
	links := make([]*link, len(nodes))
	maker := map[string]int{}
	for number, k := range nodes {
		if err := x.ended(); err != nil {
			return nil, err
		}
		l, err := x.link(i.fields[k], depth)
		if err != nil {
			return nil, fmt.Errorf("node %d%s: %w", number, l.label, err)
		}
		l.number, l.key = number, k
		links[number] = l
		for _, name := range l.makes {
			if _, ok := maker[name]; !ok {
				maker[name] = number
			}
		}
	}
	var ready numbers
	for number, l := range links {
		seen := map[int]bool{}
		for _, name := range l.reads {
			if from, ok := maker[name]; ok && !seen[from] {
				seen[from] = true
				l.before = append(l.before, from)
				links[from].behind = append(links[from].behind, number)
			}
		}
		if l.left = len(l.before); l.left == 0 {
			heap.Push(&ready, number)
		}
	}
	var order []int
	for len(ready) > 0 {
		l := links[heap.Pop(&ready).(int)]
		order = append(order, l.key)
		for _, next := range l.behind {
			if links[next].left--; links[next].left == 0 {
				heap.Push(&ready, next)
			}
		}
	}
	if len(order) < len(nodes) {
		return nil, cycle(i, links)
	}
	return order, nil
}

// cycle is the error for nodes that depend on each other: it names two of them.
func cycle(i *graphIndex, links []*link) error {
	at := 0
	for links[at].left == 0 {
		at++
	}
	seen := map[int]bool{}
	for !seen[at] { // a node that is left waits for another one that is left
		seen[at] = true
		for _, from := range links[at].before {
			if links[from].left > 0 {
				at = from
				break
			}
		}
	}
	l := links[at]
	for _, from := range l.before {
		switch b := links[from]; {
		case from == at:
			return wire.Corrupt(i.fields[l.key].All.From, "node %d%s reads its own output", l.number, l.label)
		case b.left > 0:
			return wire.Corrupt(i.fields[l.key].All.From, "the nodes are in a cycle: node %d%s reads what node %d%s makes, which depends on it", l.number, l.label, b.number, b.label)
		}
	}
	panic("onnx: a node that waits for nobody")
}

// numbers is a heap of numbers, the smallest first.
type numbers []int

func (h numbers) Len() int           { return len(h) }
func (h numbers) Less(i, j int) bool { return h[i] < h[j] }
func (h numbers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *numbers) Push(x any)        { *h = append(*h, x.(int)) }
func (h *numbers) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// link reads a node's names.
func (x *index) link(f wire.Field, depth int) (*link, error) {
	l := &link{}
	if depth > maxDepth {
		return l, fmt.Errorf("byte %d: %w", f.All.From, errDeep)
	}
	typ, name := "", ""
	err := x.Each(f.Body, func(e wire.Field) (err error) {
		var text string
		switch e.Number {
		case nodeInput:
			text, err = x.Text(e)
			l.reads = append(l.reads, text)
		case nodeOutput:
			if text, err = x.Text(e); text != "" {
				l.makes = append(l.makes, text)
			}
		case nodeName:
			name, err = x.Text(e)
		case nodeType:
			typ, err = x.Text(e)
		case nodeAttribute:
			err = x.Each(e.Body, func(a wire.Field) error {
				if a.Number != attrGraph && a.Number != attrGraphs {
					return nil
				}
				free, err := x.free(a.Body, depth+1)
				l.reads = append(l.reads, free...)
				return err
			})
		}
		return err
	})
	if name == "" && len(l.makes) > 0 {
		name = l.makes[0]
	}
	if typ != "" {
		typ = strconv.Quote(typ)
		l.label = fmt.Sprintf(" (%s %q)", typ[1:len(typ)-1], name)
	}
	return l, err
}

// free are the names that a body reads from the graphs around it, each once.
func (x *index) free(body format.Span, depth int) ([]string, error) {
	own, read := map[string]bool{}, map[string]bool{}
	var order []string
	reads := func(names ...string) {
		for _, name := range names {
			if !read[name] {
				read[name] = true
				order = append(order, name)
			}
		}
	}
	err := x.Each(body, func(f wire.Field) error {
		if err := x.ended(); err != nil {
			return err
		}
		switch f.Number {
		case graphNode:
			l, err := x.link(f, depth)
			if err != nil {
				return err
			}
			reads(l.reads...)
			for _, name := range l.makes {
				own[name] = true
			}
		case graphOutput:
			name, _, _, err := x.valueInfo(f)
			reads(name)
			return err
		case graphInput:
			name, _, _, err := x.valueInfo(f)
			own[name] = true
			return err
		case graphInitializer:
			return x.Each(f.Body, func(t wire.Field) (err error) {
				if t.Number == tensorName {
					var name string
					name, err = x.Text(t)
					own[name] = true
				}
				return err
			})
		}
		return nil
	})
	var free []string
	for _, name := range order {
		if !own[name] {
			free = append(free, name)
		}
	}
	return free, err
}
