package run

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	fastjson "github.com/go-json-experiment/json"
	parallel "github.com/sourcegraph/conc/iter"
	"github.com/zeebo/xxh3"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// ledger records which outputs were made from which inputs, so that a run does only new work and knows which files below
// the output folder runs have written. It is a file of lines with checksums that is only appended to. A damaged line costs
// the work of its model and nothing else.
type ledger struct {
	fsys    files
	out     string
	turn    sync.Mutex // of models of several files, from their claims to the ledger
	writing sync.Mutex // of file and torn
	file    writable
	torn    bool       // the file does not end with a whole line
	lock    sync.Mutex // of the rest
	entries map[owner]*entry
	makers  map[string][]owner  // by output path, relative to the output folder: the owners of entries that have it, now or formerly
	begun   map[string][]string // by output path: the contents that were about to be put there
	alike   alike               // what the entries tell
}

// owner identifies the model of an entry, by manifest and path: several manifests may write into one output folder.
type owner struct{ manifest, model string }

// ledgerVersion is that of the lines; lines of another version are not read.
const ledgerVersion = 3

// entry is one model's last success.
type entry struct {
	Version  int      `json:"version"`
	Manifest string   `json:"manifest"`           // path relative to the output folder
	Model    string   `json:"model"`              // path relative to the zoo
	Settings string   `json:"settings,omitempty"` // all that the output depends on besides the inputs: manifests.Rule.Fingerprint and versions
	Asked    []string `json:"asked,omitempty"`    // the checks, with their versions
	Weights  string   `json:"weights,omitempty"`  // manifests.Job.Weights
	Inputs   []stamp  `json:"inputs,omitempty"`   // the model file's first
	Outputs  []stamp  `json:"outputs,omitempty"`  // the model file's first; their paths are relative to the output folder
	Former   []stamp  `json:"former,omitempty"`   // outputs of earlier runs at paths that the model no longer writes
	State    string   `json:"state,omitempty"`    // see below; "" for a success
	Told     *told    `json:"told,omitzero"`      // nil once it is not needed any more: see books.tell
	Orphan   bool     `json:"orphan,omitempty"`   // what a run over several machines found: the model is there no longer, and anyone may have its outputs

	Engineless bool `json:"engineless,omitempty"` // predictions were asked for, and there was no engine
}

// told is the model's result in the report, which is repeated as long as the model is unchanged.
type told struct {
	outcome.Model
	Kept []string `json:"kept,omitempty"` // keep patterns of the rule that name a node of the model
}

// tell is what was told of an entry's model, to be told for the last time: only an entry that has former outputs may be
// written again. Of ten thousand models it is megabytes.
func (l *ledger) tell(e *entry) *told {
	t := e.Told
	if len(e.Former) == 0 {
		e.Told = nil
	}
	return t
}

// The states of lines that are no success.
const (
	forgotten = "forgotten" // the model's entry is removed
	begun     = "begun"     // its outputs are about to be moved into place
)

func (e *entry) owner() owner { return owner{e.Manifest, e.Model} }

// files are the outputs that it has, now or formerly.
func (e *entry) files() iter.Seq[stamp] {
	return func(yield func(stamp) bool) {
		for _, list := range [][]stamp{e.Outputs, e.Former} {
			for _, s := range list {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// openLedger reads the ledger below an output folder; a readonly one is never written. A ledger with damaged lines, or with
// many superseded ones, is compacted.
func openLedger(fsys files, out string, readonly bool) (*ledger, error) {
	l := newLedger(fsys, out)
	lines, damaged, err := l.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (if it cannot be mended, delete it: the models are folded again)", err)
	}
	if readonly {
		return l, nil
	}
	if damaged > 0 || lines > 4*len(l.entries)+100 {
		if l.compact() == nil { // if that fails the old one stays
			l.torn = false
		}
	}
	l.file, err = fsys.Append(l.path())
	return l, err
}

// newLedger is an empty ledger that is not stored in a file.
func newLedger(fsys files, out string) *ledger {
	return &ledger{fsys: fsys, out: out, entries: map[owner]*entry{}, makers: map[string][]owner{}, begun: map[string][]string{}}
}

func (l *ledger) path() string { return statePath(l.out, ledgerFile) }

// maxLine bounds the bytes of a line; one that is longer counts as damaged. maxBatch lines, or batchBytes, are decoded at a
// time.
const (
	maxLine    = 32 << 20
	maxBatch   = 4096
	batchBytes = 32 << 20
)

// load reads the lines of the file and counts them. Ten thousand lines take a tenth of a second to decode: all processors
// do it.
func (l *ledger) load() (lines, damaged int, err error) {
	f, err := l.fsys.Open(l.path())
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	var batch [][]byte
	size := 0
	decode := func() {
		for _, e := range (parallel.Mapper[[]byte, *entry]{}).Map(batch, func(line *[]byte) *entry { return parseLine(*line, &l.alike) }) {
			lines++
			if e == nil {
				damaged++
				continue
			}
			l.take(e)
		}
		batch, size = batch[:0], 0
	}
	for {
		line, err := readLine(r)
		if len(line) > 0 {
			batch, size = append(batch, line), size+len(line)
			l.torn = line[len(line)-1] != '\n'
		}
		if len(batch) >= maxBatch || size >= batchBytes || err != nil {
			decode()
		}
		if err == io.EOF {
			l.settle()
			return lines, damaged, nil
		}
		if err != nil {
			return lines, damaged, err
		}
	}
}

// settle forgets of what was begun all that entries have.
func (l *ledger) settle() {
	for path, hashes := range l.begun {
		if hashes = slices.DeleteFunc(hashes, func(hash string) bool { return l.has(path, hash) }); len(hashes) == 0 {
			delete(l.begun, path)
		} else {
			l.begun[path] = hashes
		}
	}
}

// readLine is the next line with its line feed; of one that is too long only the beginning, which fails its checksum.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) < maxLine {
			line = append(line, part...)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// take applies a line.
func (l *ledger) take(e *entry) {
	switch e.State {
	case forgotten:
		l.drop(e.owner())
	case begun:
		for _, s := range e.Outputs {
			l.begun[s.Path] = append(l.begun[s.Path], s.Hash)
		}
	default:
		l.drop(e.owner())
		l.entries[e.owner()] = e
		for s := range e.files() {
			l.makers[s.Path] = append(l.makers[s.Path], e.owner())
		}
	}
}

// drop removes an entry.
func (l *ledger) drop(o owner) {
	old := l.entries[o]
	if old == nil {
		return
	}
	delete(l.entries, o)
	for s := range old.files() {
		if l.makers[s.Path] = slices.DeleteFunc(l.makers[s.Path], func(x owner) bool { return x == o }); len(l.makers[s.Path]) == 0 {
			delete(l.makers, s.Path)
		}
	}
}

func line(e *entry) ([]byte, error) {
	named := *e.written()
	named.Version = ledgerVersion
	text, err := json.Marshal(&named)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(checksum(text)), []byte(" "), text, []byte("\n")), nil
}

func checksum(text []byte) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, xxh3.Hash(text)))
}

// parseLine is a line's entry, or nil if the line is damaged. It tells of its nodes what is held already, if that is the same.
func parseLine(line []byte, known *alike) *entry {
	sum, body, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok || line[len(line)-1] != '\n' || checksum(body) != string(sum) {
		return nil
	}
	var said struct {
		entry
		Told *struct {
			told
			nodesText
		} `json:"told"`
	}
	if fastjson.Unmarshal(body, &said) != nil {
		return nil
	}
	e := new(said.entry) // without the texts
	if said.Told != nil {
		e.Told = new(said.Told.told)
		if known.read(&e.Told.Model, said.Told.nodesText) != nil {
			return nil
		}
	}
	if e.Version != ledgerVersion || e.State == "" && len(e.Inputs) == 0 {
		return nil
	}
	e.rename(read)
	return e
}

// add records a success. The line is written when add returns, and synced when the ledger is closed: a lost line costs the
// work of its model, and so does a line whose outputs are lost.
func (l *ledger) add(e *entry) error {
	if e.Version != ledgerVersion { // before others have it
		e.Version = ledgerVersion
	}
	l.lock.Lock()
	l.take(e)
	l.lock.Unlock()
	return l.write(e)
}

// begin records that outputs are about to be moved into place: if the run is killed before add, the next run recognises
// them all the same. It also records what they replace: if the power fails, the line may survive and the renames may not.
// The line is on disk when begin returns.
func (l *ledger) begin(e *entry) error {
	if err := l.announce(e); err != nil || l.file == nil {
		return err
	}
	return l.file.Sync()
}

func (l *ledger) announce(e *entry) error {
	now := entry{Manifest: e.Manifest, Model: e.Model, State: begun, Outputs: slices.Clone(e.Outputs)}
	l.lock.Lock()
	for _, s := range e.Outputs {
		for _, o := range l.makers[s.Path] {
			if old := l.entries[o].hashOf(s.Path); old != "" && old != s.Hash {
				now.Outputs = append(now.Outputs, stamp{Path: s.Path, Hash: old})
			}
		}
	}
	l.take(&now)
	l.lock.Unlock()
	return l.write(&now)
}

// made says whether a run put that content at an output's path, relative to the output folder.
func (l *ledger) made(path, hash string) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.has(path, hash) || slices.Contains(l.begun[path], hash)
}

// knows says whether a run has put a file there, whatever it holds now.
func (l *ledger) knows(path string) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return len(l.makers[path])+len(l.begun[path]) > 0
}

// has says whether an entry has that content of an output, now or formerly.
func (l *ledger) has(path, hash string) bool {
	is := func(s stamp) bool { return s.Path == path && s.Hash == hash }
	return slices.ContainsFunc(l.makers[path], func(o owner) bool {
		e := l.entries[o]
		return slices.ContainsFunc(e.Outputs, is) || slices.ContainsFunc(e.Former, is)
	})
}

// leftOver are the files that earlier runs wrote for a model and this one does not.
func (l *ledger) leftOver(now *entry) []stamp {
	old := l.get(now.owner())
	if old == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Concat(old.Former, old.Outputs), func(s stamp) bool { return now.hashOf(s.Path) != "" })
}

// forget drops a model.
func (l *ledger) forget(o owner) error {
	l.lock.Lock()
	l.drop(o)
	l.lock.Unlock()
	return l.write(&entry{Manifest: o.manifest, Model: o.model, State: forgotten})
}

// takeBack restores a model's previous entry.
func (l *ledger) takeBack(o owner, before *entry) error {
	if before == nil {
		return l.forget(o)
	}
	return l.add(before)
}

// write appends a line in one write. If an earlier write failed in the middle of a line, it ends that line first. Lines of
// different models may come in any order. A file in a bucket takes several at once, since each request takes its time.
func (l *ledger) write(e *entry) error {
	if l.file == nil { // it is kept nowhere
		return nil
	}
	text, err := line(e)
	if err != nil {
		return err
	}
	if _, several := l.file.(interface{ together() }); several {
		_, err := l.file.Write(text)
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.torn {
		text = append([]byte("\n"), text...)
	}
	n, err := l.file.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	return err
}

// get is a model's entry, or nil.
func (l *ledger) get(o owner) *entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.entries[o]
}

// all are the entries, in the order of their models.
func (l *ledger) all() []*entry { return l.some(func(*entry) bool { return true }) }

// some are the entries that are so, in the order of all.
func (l *ledger) some(so func(*entry) bool) []*entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	var list []*entry
	for _, e := range l.entries {
		if so(e) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Manifest, b.Manifest))
	})
	return list
}

// sharing are the entries of other models that have a file among their outputs.
func (l *ledger) sharing(path string, o owner) []*entry {
	l.lock.Lock()
	defer l.lock.Unlock()
	var list []*entry
	for _, other := range l.makers[path] {
		if e := l.entries[other]; other != o && e.hashOf(path) != "" {
			list = append(list, e)
		}
	}
	return list
}

// check says whether an entry's files are as they were. It returns the entry with the files' present stamps, the same one
// if they have not changed.
func (l *ledger) check(ctx context.Context, e *entry, content bool) (now *entry, ok bool) {
	inputs, ok := recognised(e.Inputs, func(s stamp) (stamp, bool) { return s.holds(ctx, l.fsys, content) })
	if !ok {
		return e, false
	}
	outputs, ok := recognised(e.Outputs, func(s stamp) (stamp, bool) { return l.holds(ctx, s, content) })
	if !ok {
		return e, false
	}
	if slices.Equal(inputs, e.Inputs) && slices.Equal(outputs, e.Outputs) {
		return e, true
	}
	fresh := *e
	fresh.Inputs, fresh.Outputs = inputs, outputs
	return &fresh, true
}

// recognised are the present stamps of files that are as they were; the same list if none has changed.
func recognised(list []stamp, look func(stamp) (stamp, bool)) (now []stamp, ok bool) {
	now = list
	for k, s := range list {
		fresh, ok := look(s)
		if !ok {
			return nil, false
		}
		if fresh != s {
			if &now[0] == &list[0] {
				now = slices.Clone(list)
			}
			now[k] = fresh
		}
	}
	return now, true
}

// holds says whether an output is as its stamp says.
func (l *ledger) holds(ctx context.Context, s stamp, content bool) (now stamp, ok bool) {
	rel := s.Path
	s.Path = l.abs(rel)
	info, err := l.fsys.Lstat(s.Path)
	if err != nil || !info.Mode().IsRegular() { // a link is no output
		return s, false
	}
	now, ok = s.holdsAs(ctx, l.fsys, stampAs(s.Path, info), content)
	now.Path = rel
	return now, ok
}

// abs is the place of an output; rel its path in the ledger.
func (l *ledger) abs(rel string) string {
	if path := filepath.FromSlash(rel); filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.out, filepath.FromSlash(rel))
}

func (l *ledger) rel(path string) string {
	rel, err := filepath.Rel(l.out, path)
	if err != nil {
		return path
	}
	return filepath.ToSlash(rel)
}

// hashOf is the hash of an output's content in the entry.
func (e *entry) hashOf(path string) string {
	for _, s := range e.Outputs {
		if s.Path == path {
			return s.Hash
		}
	}
	return ""
}

// compact rewrites the ledger without superseded and damaged lines.
func (l *ledger) compact() error {
	rest := &entry{State: begun}
	l.settle()
	for _, path := range slices.Sorted(maps.Keys(l.begun)) {
		for _, hash := range l.begun[path] {
			rest.Outputs = append(rest.Outputs, stamp{Path: path, Hash: hash})
		}
	}
	return writeWhole(l.fsys, statePath(l.out, stagePlace), l.path(), func(w io.Writer) error {
		live := l.all()
		if len(rest.Outputs) > 0 {
			live = append(live, rest)
		}
		for _, e := range live {
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
