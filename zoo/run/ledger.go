package run

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/sourcegraph/conc/iter"
	"github.com/zeebo/blake3"

	"github.com/zoofold/zoofold/zoo/report"
)

// ledger remembers which outputs were made of which inputs, so that a run does only what is new. It is a file of lines,
// each with a checksum, that is only ever added to; a line that is damaged costs the work of its model and nothing else.
type ledger struct {
	fsys    files
	path    string
	lock    sync.Mutex
	file    writable
	torn    bool // the file does not end with a whole line
	entries map[string]*entry
}

// entry is one model's last success.
type entry struct {
	Model   string  `json:"model"` // path relative to the zoo
	Rule    string  `json:"rule"`  // manifests.Rule.Fingerprint and the fold version
	Inputs  []stamp `json:"inputs"`
	Outputs []stamp `json:"outputs,omitempty"`
	Former  []stamp `json:"former,omitempty"` // outputs of earlier runs under names that the model no longer has
	Status  string  `json:"status"`
	Before  int     `json:"before"`
	After   int     `json:"after"`

	Parity      report.Check `json:"parity"`
	Algebra     report.Check `json:"algebra"`
	Predictions report.Check `json:"predictions"`
	Engineless  bool         `json:"engineless,omitempty"` // predictions were asked for, and nothing was there to run them
}

// forgotten is the status of a line that takes its model's entry back.
const forgotten = "forgotten"

// openLedger reads the ledger below an output folder; readonly ones are never written. One with damaged lines, or with more
// old lines than new ones, is written anew.
func openLedger(fsys files, out string, readonly bool) (*ledger, error) {
	l := &ledger{fsys: fsys, path: filepath.Join(out, stateFolder, ledgerFile), entries: map[string]*entry{}}
	data, err := readAll(fsys, l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (if it cannot be mended, delete it: the models are folded again)", err)
	}
	lines, damaged := l.read(data)
	if readonly {
		return l, nil
	}
	l.torn = len(data) > 0 && data[len(data)-1] != '\n'
	if damaged > 0 || lines > 2*len(l.entries)+100 {
		if l.compact() == nil { // otherwise the old one is as good as it was
			l.torn = false
		}
	}
	l.file, err = fsys.Append(l.path)
	return l, err
}

// read takes in the lines of a ledger file and counts them. Ten thousand lines take a tenth of a second to decode: all
// processors do it.
func (l *ledger) read(data []byte) (lines, damaged int) {
	entries := iter.Mapper[[]byte, *entry]{}.Map(slices.Collect(bytes.Lines(data)), func(line *[]byte) *entry { return parseLine(*line) })
	for _, e := range entries {
		lines++
		switch {
		case e == nil:
			damaged++
		case e.Status == forgotten:
			delete(l.entries, e.Model)
		default:
			l.entries[e.Model] = e
		}
	}
	return lines, damaged
}

func line(e *entry) ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s\n", checksum(text), text), nil
}

func checksum(text []byte) string {
	sum := blake3.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// parseLine is a line's entry, or nil if the line is damaged.
func parseLine(line []byte) *entry {
	sum, body, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok || line[len(line)-1] != '\n' || checksum(body) != string(sum) {
		return nil
	}
	e := &entry{}
	if json.Unmarshal(body, e) != nil {
		return nil
	}
	return e
}

// add remembers a success. The line is the system's when add returns, and on disk when the ledger is closed: one that is
// lost costs the work of its model.
func (l *ledger) add(e *entry) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.entries[e.Model] = e
	return l.write(e)
}

// leftOver are the files that a model's earlier runs wrote and this one does not.
func (l *ledger) leftOver(now *entry) []stamp {
	old := l.get(now.Model)
	if old == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Concat(old.Former, old.Outputs), func(s stamp) bool { return now.hashOf(s.Path) != "" })
}

// forget drops a model.
func (l *ledger) forget(model string) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	delete(l.entries, model)
	return l.write(&entry{Model: model, Status: forgotten})
}

// write adds a line, in one piece. What a failed write left of another line is ended first.
func (l *ledger) write(e *entry) error {
	text, err := line(e)
	if err != nil {
		return err
	}
	if l.torn {
		text = append([]byte("\n"), text...)
	}
	n, err := l.file.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	return err
}

// get is what is remembered of a model.
func (l *ledger) get(model string) *entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.entries[model]
}

// all are the entries, in the order of their models.
func (l *ledger) all() []*entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	return slices.SortedFunc(maps.Values(l.entries), func(a, b *entry) int { return cmp.Compare(a.Model, b.Model) })
}

// sharing are the entries of other models that have a file among their outputs.
func (l *ledger) sharing(path, model string) []*entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	var list []*entry
	for _, e := range l.entries {
		if e.Model != model && slices.ContainsFunc(e.Outputs, func(s stamp) bool { return s.Path == path }) {
			list = append(list, e)
		}
	}
	return list
}

// check says whether an entry is of this rule and its files are as they were. It returns the entry with the files' present
// stamps, the same one if they have not changed.
func (e *entry) check(fsys files, rule string, content bool) (now *entry, ok bool) {
	if e == nil || e.Rule != rule || e.Status == string(report.Failed) {
		return e, false
	}
	fresh := *e
	same := true
	for _, list := range []*[]stamp{&fresh.Inputs, &fresh.Outputs} {
		*list = slices.Clone(*list)
		for k, s := range *list {
			if (*list)[k], ok = s.holds(fsys, content); !ok {
				return e, false
			}
			same = same && (*list)[k] == s
		}
	}
	if same {
		return e, true
	}
	return &fresh, true
}

// hashOf is the content that an output of the entry has.
func (e *entry) hashOf(path string) string {
	for _, s := range e.Outputs {
		if s.Path == path {
			return s.Hash
		}
	}
	return ""
}

// compact writes the ledger anew with its live entries alone.
func (l *ledger) compact() error {
	return writeWhole(l.fsys, l.path, func(w io.Writer) error {
		for _, e := range l.all() {
			text, err := line(e)
			if err == nil {
				_, err = w.Write(text)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *ledger) close() error {
	if l.file == nil {
		return nil
	}
	return errors.Join(l.file.Sync(), l.file.Close())
}
