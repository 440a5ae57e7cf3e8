package run

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/zoofold/zoofold/zoo/model"
)

// listener remembers the first I/O error of reading a constant. Planning treats an unreadable constant as unknown and
// leaves maps because of it, so that such a plan must not be used.
type listener struct {
	lock   sync.Mutex
	err    error
	inputs map[string]*seen // files whose content is hashed
}

// listen observes all reads of a model's constants from now on.
func listen(m *model.Model) *listener {
	l := &listener{}
	hear := func(c *model.Constant) {
		if c != nil && c.Data != nil {
			h := &heard{ReaderAt: c.Data, by: l}
			if part, ok := c.Data.(*io.SectionReader); ok {
				outer, at, _ := part.Outer()
				h.file, _ = outer.(*os.File)
				h.at = at
			}
			c.Data = h
		}
	}
	m.Walk(func(g *model.Graph) {
		for _, v := range g.Consts {
			hear(v.Const)
		}
		for _, n := range g.Nodes {
			for _, a := range n.Attrs {
				hear(a.Tensor)
			}
		}
	})
	return l
}

// failure is the first error of the system, or nil.
func (l *listener) failure() error {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.err
}

type heard struct {
	io.ReaderAt
	by   *listener
	file *os.File // that the constant is a piece of; may be nil
	at   int64    // where it begins
}

func (h *heard) ReadAt(b []byte, off int64) (int, error) {
	n, err := h.ReaderAt.ReadAt(b, off)
	if h.file != nil && n > 0 {
		if s := h.by.input(h.file.Name()); s != nil {
			s.read(h.file, b[:n], h.at+off)
		}
	}
	if _, system := errors.AsType[*fs.PathError](err); system {
		h.by.lock.Lock()
		defer h.by.lock.Unlock()
		if h.by.err == nil {
			h.by.err = err
		}
	}
	return n, err
}
