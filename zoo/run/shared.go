package run

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/zeebo/xxh3"
)

// Store keeps what several processes, on several machines, remember of one output folder: values of bytes under keys of
// letters, digits and dots. Its methods may be called by several goroutines at once.
type Store interface {
	// Get is a key's value and the value's revision; nil and 0 where there is none. It is the latest one.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put writes a value over the one of a revision, 0 for none. ErrRevision is in the error's chain where there is another one.
	Put(ctx context.Context, key string, value []byte, revision uint64) error
	// Set writes a value over any. It may return before the value is there: Flush waits for all.
	Set(ctx context.Context, key string, value []byte) error
	// Remove drops a key, as Set does.
	Remove(ctx context.Context, key string) error
	Flush(ctx context.Context) error
	// Each goes through the values whose keys begin with a word and a dot, in any order.
	Each(ctx context.Context, word string, do func(value []byte) error) error
	// Exclusive waits until no other process has a key in hand. A process that ends gives back what it has.
	Exclusive(ctx context.Context, key string) (release func(), err error)
}

// ErrRevision says that another process has written a value in the meantime.
var ErrRevision = errors.New("another process has written it")

// ErrObsolete says that the run of a model in hand is over, or that another one began: nobody waits for the model.
var ErrObsolete = errors.New("its run is over")

// What a store has: an entry for each model, as a line of the ledger; for each file that any process put below the output
// folder, or is about to put there, who and with which contents; and which run is under way.
const (
	modelWord = "model"
	placeWord = "place"
	runKey    = "run"
	turnKey   = "turn"
)

func modelKey(o owner) string     { return modelWord + "." + digest(written(o.manifest), written(o.model)) }
func placeKey(path string) string { return placeWord + "." + digest(written(path)) }

// digest tells lists of words apart.
func digest(words ...string) string {
	text, _ := json.Marshal(words) // strings always have a text
	sum := xxh3.Hash128(text).Bytes()
	return fmt.Sprintf("%x", sum[:])
}

// sharedPlace is a file below the output folder, and what is known of it.
type sharedPlace struct {
	Path     string    `json:"path"`
	Contents []content `json:"contents"` // the latest last
}

// content is one that a model has, had, or is about to have in a place.
type content struct {
	Manifest string `json:"manifest,omitempty"`
	Model    string `json:"model,omitempty"`
	Hash     string `json:"hash"`
	Run      string `json:"run,omitempty"` // that put it there, or is about to
}

// maxContents bounds the contents of a place that are remembered: the latest count.
const maxContents = 64

// add notes a content as the latest, and says whether that is news.
func (p *sharedPlace) add(c content) (changed bool) {
	if slices.Contains(p.Contents, c) {
		return false
	}
	same := func(x content) bool { return x.Manifest == c.Manifest && x.Model == c.Model && x.Hash == c.Hash }
	p.Contents = append(slices.DeleteFunc(p.Contents, same), c)
	if len(p.Contents) > maxContents {
		p.Contents = slices.Clone(p.Contents[len(p.Contents)-maxContents:])
	}
	return true
}

// contradicts says whether another model of the same run has the place with another content: the first one has it.
func (p *sharedPlace) contradicts(c content) bool {
	return slices.ContainsFunc(p.Contents, func(x content) bool {
		return x.Run == c.Run && x.Hash != c.Hash && (x.Model != c.Model || x.Manifest != c.Manifest)
	})
}

func readPlace(path string, value []byte) (p sharedPlace, err error) {
	if value == nil {
		return sharedPlace{Path: written(path)}, nil
	}
	text, err := unpack(value)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err == nil && p.Path != written(path) {
		err = errors.New("it is of another file")
	}
	if err != nil {
		return p, fmt.Errorf("what is remembered of %s cannot be read: %w", path, err)
	}
	return p, nil
}

func (p *sharedPlace) value() []byte {
	text, _ := json.Marshal(p) // strings always have a text
	return pack(text)
}

// view are the books of one model that a worker has in hand. It says that the model is about to have its outputs, before
// they are in their places, and brings in what others said of them. Who began the run notes what came of it.
type view struct {
	*ledger
	store Store
	run   string
	added *entry // what was said of the model
	err   error  // why the store could not be asked, or must not be
	again func() // has the outputs looked at anew; may be nil

	asked  []stamp // outputs that the store was asked about
	claims map[string]claim
}

func newView(fsys files, out string, store Store, run string) *view {
	return &view{ledger: newLedger(fsys, out), store: store, run: run}
}

// consult brings in what the store says of the model's outputs, and says there that they are the model's from now on. The
// claims are those of other models of the same run.
func (v *view) consult(ctx context.Context, o owner, outputs []stamp) (claims map[string]claim, err error) {
	if len(outputs) == 1 && slices.Equal(outputs, v.asked) {
		return v.claims, nil // a place of its own stays the model's for the whole run
	}
	defer func() {
		v.err = errors.Join(v.err, err)
		v.asked, v.claims = slices.Clone(outputs), claims
		if err != nil {
			v.asked = nil
		}
	}()
	if err := v.current(ctx); err != nil {
		return nil, err
	}
	claims = map[string]claim{}
	for _, s := range outputs {
		p, err := v.declare(ctx, o, s)
		if err != nil {
			return nil, fmt.Errorf("the store of the ledger: %w", err)
		}
		for _, c := range p.Contents {
			other := owner{read(c.Manifest), read(c.Model)}
			switch {
			case other != o:
				if err := v.bring(ctx, other, s.Path, c, claims); err != nil {
					return nil, fmt.Errorf("the store of the ledger: %w", err)
				}
			case c.Hash != s.Hash || c.Run != v.run: // which is what is about to be put there
				v.note(s.Path, c.Hash)
			}
		}
	}
	return claims, nil
}

// note enters a content that a run put in a place.
func (v *view) note(path, hash string) {
	v.lock.Lock()
	defer v.lock.Unlock()
	if !slices.Contains(v.begun[path], hash) {
		v.begun[path] = append(v.begun[path], hash)
	}
}

// bring takes in what another model has in a place: its claim in this run, and its entry of an earlier one.
func (v *view) bring(ctx context.Context, other owner, path string, c content, claims map[string]claim) error {
	if c.Run == v.run {
		if _, taken := claims[path]; !taken {
			claims[path] = claim{other.model, c.Hash}
		}
	} else {
		v.note(path, c.Hash)
	}
	if other.model == "" {
		return nil
	}
	value, _, err := v.store.Get(ctx, modelKey(other))
	if err != nil || value == nil {
		return err
	}
	if e, err := readEntry(value, &v.alike); err == nil && e.owner() == other {
		v.lock.Lock()
		defer v.lock.Unlock()
		v.take(e)
	}
	return nil
}

// declare says that a model is about to have a content in a place, in a run, and is all that is known of the place then.
func (v *view) declare(ctx context.Context, o owner, s stamp) (p sharedPlace, err error) {
	for {
		value, revision, err := v.store.Get(ctx, placeKey(s.Path))
		if err != nil {
			return p, err
		}
		if p, err = readPlace(s.Path, value); err != nil {
			return p, err
		}
		mine := content{written(o.manifest), written(o.model), s.Hash, v.run}
		if p.contradicts(mine) || !p.add(mine) {
			return p, nil
		}
		if err := v.store.Put(ctx, placeKey(s.Path), p.value(), revision); !errors.Is(err, ErrRevision) {
			return p, err
		}
	}
}

// current is an error if the view's run is not the one that is under way.
func (v *view) current(ctx context.Context) error {
	value, _, err := v.store.Get(ctx, runKey)
	if err != nil {
		return fmt.Errorf("the store of the ledger: %w", err)
	}
	var now underWay
	if json.Unmarshal(value, &now) != nil || now.ID != v.run || now.Over {
		return ErrObsolete
	}
	return nil
}

func (v *view) exclusive(ctx context.Context) (func(), error) {
	release, err := v.store.Exclusive(ctx, turnKey)
	if err != nil {
		v.err = errors.Join(v.err, err)
	} else if v.again != nil { // who had the turn before may have put the same files there
		v.again()
	}
	return release, err
}

func (v *view) add(e *entry) error {
	said := *e // what was told of the model stays with it
	v.added = &said
	return v.ledger.add(e)
}

func (v *view) takeBack(o owner, before *entry) error {
	v.added = nil
	return v.ledger.takeBack(o, before)
}

// underWay is a run of an output folder over several machines.
type underWay struct {
	ID   string `json:"id"`
	Plan string `json:"plan"`           // tells what the run does from what another would do
	Over bool   `json:"over,omitempty"` // nothing of it is to be done any more
	File string `json:"file,omitempty"` // the ledger's file, as the run wrote or read it
}

// mirrored are the books of who began a run over several machines: the entries of the store, all in memory.
type mirrored struct {
	*ledger
	ctx     context.Context
	store   Store
	dry     bool // nothing is written
	changes int  // of the entries
}

// openMirrored reads the entries of the store. What a run of one process noted in the ledger's file since the store was
// last in step with it counts as well; as is how the file was then.
func openMirrored(ctx context.Context, fsys files, out string, store Store, as string, dry bool) (*mirrored, error) {
	m := &mirrored{ledger: newLedger(fsys, out), ctx: ctx, store: store, dry: dry}
	err := store.Each(ctx, modelWord, func(value []byte) error {
		if e, err := readEntry(value, &m.alike); err == nil {
			m.take(e)
		} // else the model is folded again, as with a damaged line
		return nil
	})
	if err != nil || m.fileStamp() == as {
		return m, err
	}
	file, err := openLedger(fsys, out, true)
	if err != nil {
		return nil, err
	}
	return m, m.bring(file)
}

// tell leaves the entry as it is: the ledger's file is written from it at the end.
func (m *mirrored) tell(e *entry) *told { return e.Told }

// fileStamp is what the ledger's file is like: "" where there is none.
func (m *mirrored) fileStamp() string {
	s, err := stampOf(m.fsys, m.path())
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d@%d#%d", s.Size, s.Time, s.Inode)
}

// bring takes over the entries of a ledger's file that say something else than the store's. All that either knows of a place
// stays known.
func (m *mirrored) bring(file *ledger) error {
	places := map[string][]content{}
	note := func(e *entry) {
		for s := range e.files() {
			places[s.Path] = append(places[s.Path], content{written(e.Manifest), written(e.Model), s.Hash, ""})
		}
	}
	for _, e := range file.all() {
		old := m.get(e.owner())
		if old != nil && old.same(e) {
			continue
		}
		if old != nil {
			note(old)
		}
		note(e)
		if err := m.add(e); err != nil {
			return err
		}
	}
	for path, hashes := range file.begun {
		for _, hash := range hashes {
			places[path] = append(places[path], content{Hash: hash})
		}
	}
	if m.dry {
		return nil
	}
	for _, path := range slices.Sorted(maps.Keys(places)) {
		if err := m.remember(path, places[path]); err != nil {
			return err
		}
	}
	return m.store.Flush(m.ctx)
}

// remember notes contents of a place. Nobody works on the folder meanwhile.
func (m *mirrored) remember(path string, contents []content) error {
	value, _, err := m.store.Get(m.ctx, placeKey(path))
	if err != nil {
		return err
	}
	p, err := readPlace(path, value)
	if err != nil {
		p = sharedPlace{Path: written(path)}
	}
	changed := false
	for _, c := range contents {
		changed = p.add(c) || changed
	}
	if !changed {
		return nil
	}
	return m.store.Set(m.ctx, placeKey(path), p.value())
}

// same says whether two entries say the same.
func (e *entry) same(other *entry) bool {
	a, err := line(e)
	b, failed := line(other)
	return err == nil && failed == nil && bytes.Equal(a, b)
}

func (m *mirrored) add(e *entry) error {
	if err := m.ledger.add(e); err != nil || m.dry {
		return err
	}
	m.lock.Lock()
	m.changes++
	m.lock.Unlock()
	text, err := line(e)
	if err != nil {
		return err
	}
	return m.store.Set(m.ctx, modelKey(e.owner()), pack(text))
}

func (m *mirrored) forget(o owner) error {
	if err := m.ledger.forget(o); err != nil || m.dry {
		return err
	}
	m.lock.Lock()
	m.changes++
	m.lock.Unlock()
	return m.store.Remove(m.ctx, modelKey(o))
}

func (m *mirrored) takeBack(o owner, before *entry) error {
	if before == nil {
		return m.forget(o)
	}
	return m.add(before)
}

// orphaned says of each entry whether the model that it is of is there no longer, for workers, which do not know the zoo.
func (m *mirrored) orphaned(gone func(*entry) bool) error {
	for _, e := range m.all() {
		if is := gone(e); is != e.Orphan {
			now := *e
			now.Orphan = is
			if err := m.add(&now); err != nil {
				return err
			}
		}
	}
	return m.store.Flush(m.ctx)
}

// unsettled brings in what the store knows of a place whose model failed: its output may be there all the same.
func (m *mirrored) unsettled(path string) error {
	value, _, err := m.store.Get(m.ctx, placeKey(path))
	if err != nil || value == nil {
		return err
	}
	p, err := readPlace(path, value)
	if err != nil {
		return err
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, c := range p.Contents {
		m.begun[path] = append(m.begun[path], c.Hash)
	}
	return nil
}

// export writes the ledger's file, so that runs of one process know what this one did.
func (m *mirrored) export() error {
	if m.changes == 0 && m.fileStamp() != "" {
		return nil
	}
	for _, e := range m.entries {
		e.Orphan = false
	}
	err := m.compact()
	if errors.Is(err, fs.ErrNotExist) && len(m.entries) == 0 {
		return nil
	}
	return err
}

func (m *mirrored) close() error {
	if m.dry {
		return nil
	}
	return m.store.Flush(m.ctx)
}

// readEntry is the entry of a value.
func readEntry(value []byte, known *alike) (*entry, error) {
	text, err := unpack(value)
	if err != nil {
		return nil, err
	}
	e := parseLine(text, known)
	if e == nil || e.State != "" {
		return nil, errors.New("a damaged entry")
	}
	return e, nil
}

// Values and messages that are longer than smallText are compressed, with a mark before them that no text begins with. A
// list of what became of a thousand nodes is twenty times shorter then. No text is longer than a line of the ledger.
const (
	smallText = 4 << 10
	packMark  = 0
)

func pack(text []byte) []byte {
	if len(text) < smallText {
		return text
	}
	b := bytes.NewBuffer([]byte{packMark})
	w, err := flate.NewWriter(b, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(text)
	}
	if err = errors.Join(err, w.Close()); err != nil { // a buffer takes everything
		return text
	}
	return b.Bytes()
}

// unpack is what was packed; what gives more than a line of the ledger is an error.
func unpack(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != packMark {
		return b, nil
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b[1:])), maxLine+1))
	if err == nil && len(text) > maxLine {
		err = fmt.Errorf("a text of more than %d bytes", maxLine)
	}
	return text, err
}
