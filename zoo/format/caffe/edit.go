package caffe

import (
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/model"
)

// edits are changes of a text: ranges that are replaced.
type edits struct {
	*source
	list []edit
}

type edit struct {
	from, to int
	by       string
}

func (e *edits) replace(from, to int, by string) { e.list = append(e.list, edit{from, to, by}) }

// text is the text with all edits made. Of overlapping ones the first counts.
func (e *edits) text() string {
	slices.SortStableFunc(e.list, func(a, b edit) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, x := range e.list {
		if x.from < at {
			continue
		}
		b.WriteString(e.source.text[at:x.from])
		b.WriteString(x.by)
		at = x.to
	}
	b.WriteString(e.source.text[at:])
	return b.String()
}

// remove deletes a field, with its lines if it has them to itself or else the spaces to its neighbour, and a comment behind
// it.
func (e *edits) remove(f *field) {
	t, from, to := e.source.text, f.from, f.to
	line := strings.LastIndexByte(t[:from], '\n') + 1
	end := len(t)
	if n := strings.IndexByte(t[to:], '\n'); n >= 0 {
		end = to + n + 1
	}
	before, behind := strings.TrimSpace(t[line:from]), strings.TrimSpace(t[to:end])
	switch {
	case behind != "" && behind[0] != '#':
		to += strings.Index(t[to:], behind)
	case before == "":
		from, to = line, end
	default:
		from = line + len(strings.TrimRight(t[line:from], " \t"))
	}
	e.replace(from, to, "")
}

// insert adds a field at the end of a message, on a line of its own if the last field has one.
func (e *edits) insert(m *message, text string) {
	t := e.source.text
	switch content := t[m.from:m.to]; {
	case strings.TrimSpace(content) == "":
		e.replace(m.from, m.to, " "+text+" ")
		return
	case len(m.fields) == 0: // nothing but comments
		e.replace(m.from, m.from, " "+text)
		return
	}
	last := m.fields[len(m.fields)-1]
	line, end := strings.LastIndexByte(t[:last.from], '\n')+1, strings.IndexByte(t[last.to:m.to], '\n')
	indent := t[line:last.from]
	if line > m.from && end >= 0 && strings.TrimSpace(indent) == "" {
		at, newline := last.to+end, "\n"
		if t[at-1] == '\r' {
			at, newline = at-1, "\r\n"
		}
		e.replace(at, at, newline+indent+text)
		return
	}
	if t[m.to-1] > ' ' {
		text = " " + text
	}
	e.replace(m.to, m.to, text+" ")
}

// editText edits the prototxt: removed layers, changed names of blobs, gained biases. gone are the names that no layer has
// any more.
func (f *file) editText(e *edits, changes map[*layer]*change, names map[*model.Value]string) (gone map[string]bool) {
	gone = map[string]bool{}
	for l, c := range changes {
		if c.dropped {
			gone[l.name] = true
		}
	}
	for _, l := range f.net.layers {
		c := changes[l]
		if c.dropped {
			e.remove(l.where)
			continue
		}
		delete(gone, l.name)
		if l.where == nil {
			continue
		}
		for k, v := range c.in {
			e.name(l.bottoms[k], names[v])
		}
		for k, v := range c.out {
			e.name(l.tops[k], names[v])
		}
		if c.gained {
			e.gain(l)
		}
	}
	f.editOthers(e, changes, names, gone)
	return gone
}

func (e *edits) name(f *field, name string) {
	if f.value != name {
		e.replace(f.at, f.end, quoted(name))
	}
}

// gain sets bias_term in the layer's parameters.
func (e *edits) gain(l *layer) {
	const term = "bias_term: true"
	params := l.text.all(l.gains)
	if len(params) == 0 {
		e.insert(l.text, l.gains+" { "+term+" }")
		return
	}
	if old := params[0].inner.all("bias_term"); len(old) > 0 {
		e.replace(old[0].at, old[0].end, "true")
		return
	}
	e.insert(params[0].inner, term)
}

// editOthers removes layers of other phases that would no longer be consistent: those with the name of a removed layer, and
// those that read a blob which only a removed layer made.
func (f *file) editOthers(e *edits, changes map[*layer]*change, names map[*model.Value]string, gone map[string]bool) {
	everyone := slices.Concat(f.net.layers, f.net.others)
	slices.SortStableFunc(everyone, func(a, b *layer) int { return a.start() - b.start() })
	before, after := map[string]bool{}, map[string]bool{} // the blobs that exist
	for _, l := range everyone {
		if c := changes[l]; c != nil {
			for _, t := range l.tops {
				before[t.value] = true
			}
			for _, v := range c.out {
				after[names[v]] = true
			}
			continue
		}
		keep := !gone[l.name]
		for _, b := range l.bottoms {
			keep = keep && (after[b.value] || !before[b.value])
		}
		for _, t := range l.tops {
			before[t.value] = true
			after[t.value] = after[t.value] || keep
		}
		if !keep {
			e.remove(l.where)
		}
	}
}

// start is where the layer stands in the text.
func (l *layer) start() int {
	if l.where == nil {
		return -1
	}
	return l.where.from
}
