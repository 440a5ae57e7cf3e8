package run

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/zoofold/zoofold/zoo/report"
)

// ledger remembers which outputs were made of which inputs, so that a run does only what is new. It is a file of lines,
// each with a checksum, that is only ever added to; a line that is damaged costs the work of its model and nothing else.
type ledger struct {
	path    string
	lock    sync.Mutex
	file    *os.File
	entries map[string]*entry
	lines   int // in the file
}

// entry is one model's last success.
type entry struct {
	Model   string  `json:"model"` // path relative to the zoo
	Rule    string  `json:"rule"`  // manifests.Rule.Fingerprint and the fold version
	Inputs  []stamp `json:"inputs"`
	Outputs []stamp `json:"outputs,omitempty"`
	Status  string  `json:"status"`
	Before  int     `json:"before"`
	After   int     `json:"after"`

	Parity      report.Check `json:"parity"`
	Algebra     report.Check `json:"algebra"`
	Predictions report.Check `json:"predictions"`
	Engineless  bool         `json:"engineless,omitempty"` // predictions were asked for, and nothing was there to run them
}

// stamp is how a file is recognised without reading it, and its content's BLAKE3.
type stamp struct {
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	Time  int64  `json:"time"` // of the last change, in nanoseconds
	Inode uint64 `json:"inode,omitempty"`
	Hash  string `json:"hash"`
}

// openLedger reads the ledger below an output folder; readonly ones are never written.
func openLedger(out string, readonly bool) (*ledger, error) {
	l := &ledger{path: filepath.Join(out, stateFolder, "ledger"), entries: map[string]*entry{}}
	data, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	lines := strings.SplitAfter(string(data), "\n")
	for _, line := range lines {
		if e := parseLine(line); e != nil {
			l.entries[e.Model] = e
		}
		if line != "" {
			l.lines++
		}
	}
	if readonly {
		return l, nil
	}
	if l.lines > 2*len(l.entries)+100 {
		if err := l.compact(); err != nil {
			return nil, err
		}
	}
	l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err == nil && len(data) > 0 && !strings.HasSuffix(string(data), "\n") {
		_, err = l.file.WriteString("\n") // a line that a dying run left unfinished ends here
	}
	return l, err
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
func parseLine(text string) *entry {
	sum, body, ok := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
	if !ok || !strings.HasSuffix(text, "\n") || checksum([]byte(body)) != sum {
		return nil
	}
	e := &entry{}
	if json.Unmarshal([]byte(body), e) != nil {
		return nil
	}
	return e
}

// add remembers a success, on disk before it returns.
func (l *ledger) add(e *entry) error {
	text, err := line(e)
	if err != nil {
		return err
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	l.entries[e.Model] = e
	_, err = l.file.Write(text)
	return err
}

// get is what is remembered of a model.
func (l *ledger) get(model string) *entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.entries[model]
}

// owner is the model whose output a file is, or "".
func (l *ledger) owner(path string) string {
	l.lock.Lock()
	defer l.lock.Unlock()
	for _, e := range l.entries {
		for _, s := range e.Outputs {
			if s.Path == path {
				return e.Model
			}
		}
	}
	return ""
}

// compact writes the ledger anew with its live entries alone.
func (l *ledger) compact() error {
	f, err := os.CreateTemp(filepath.Dir(l.path), "ledger-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriter(f)
	for _, e := range l.entries {
		text, err := line(e)
		if err == nil {
			_, err = w.Write(text)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	l.lines = len(l.entries)
	return os.Rename(f.Name(), l.path)
}

func (l *ledger) close() error {
	if l.file == nil {
		return nil
	}
	return errors.Join(l.file.Sync(), l.file.Close())
}

// stampOf recognises a file; its content is hashed if asked for.
func stampOf(path string, hash bool) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	s := stamp{Path: path, Size: info.Size(), Time: info.ModTime().UnixNano(), Inode: inode(info)}
	if hash {
		s.Hash, err = hashFile(path)
	}
	return s, err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := blake3.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 256<<10)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// same says whether a file is as its stamp says: by size, time and inode, or, where these differ or always if asked for,
// by its content.
func (s stamp) same(always bool) bool {
	now, err := stampOf(s.Path, false)
	if err != nil || now.Size != s.Size {
		return false
	}
	if now.Time == s.Time && now.Inode == s.Inode && !always {
		return true
	}
	now.Hash, err = hashFile(s.Path)
	return err == nil && now.Hash == s.Hash
}

// unchanged says whether the entry's inputs and outputs are all as they were.
func (e *entry) unchanged(rule string, hash bool) bool {
	if e == nil || e.Rule != rule {
		return false
	}
	for _, s := range append(append([]stamp{}, e.Inputs...), e.Outputs...) {
		if !s.same(hash) {
			return false
		}
	}
	return e.Status != string(report.Failed)
}
