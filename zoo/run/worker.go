package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Worker does models of runs that were begun elsewhere, with the steps and the proof of a run: it takes messages, and answers
// them. What it may read and write lies below its roots.
type Worker struct {
	o     Options
	name  string
	roots []string     // absolute, links resolved
	inner []bucket.URL // roots in buckets

	heavy, hands, placing, waiting chan struct{}

	lock  sync.Mutex
	sites []*site
}

// ErrRoots says that a message names a folder, or a folder in a bucket, that does not lie below a worker's roots.
var ErrRoots = errors.New("does not lie below the roots of this worker")

// NewWorker is a worker of a name, with the backends, the engine, the cache and as many models at once as the options say; its
// other options come with the messages. Roots are folders, or URLs of folders in buckets; of these nothing is asked yet.
func NewWorker(name string, o Options, roots []string) (*Worker, error) {
	w := &Worker{o: o, name: name}
	for _, root := range roots {
		if path, isFile, err := bucket.File(root); err != nil {
			return nil, fmt.Errorf("root: %w", err)
		} else if isFile {
			root = path
		} else if bucket.IsURL(root) {
			if err := w.rootIn(root); err != nil {
				return nil, err
			}
			continue
		}
		real, err := filepath.Abs(root)
		if err == nil {
			real, err = filepath.EvalSymlinks(real)
		}
		if err == nil {
			var info os.FileInfo
			if info, err = os.Stat(real); err == nil && !info.IsDir() {
				err = errors.New("it is no folder")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("root %s: %w", root, err)
		}
		w.roots = append(w.roots, real)
	}
	if len(w.roots)+len(w.inner) == 0 {
		return nil, errors.New("a worker needs a root: the folder that the zoo and the output folder lie in")
	}
	r := newRunner(o, &places{}, nil, "")
	w.heavy, w.hands, w.placing, w.waiting = r.heavy, r.hands, r.placing, r.waiting
	return w, nil
}

// rootIn adds a root in a bucket, which can be opened.
func (w *Worker) rootIn(text string) error {
	u, err := bucket.Parse(text)
	if err != nil {
		return fmt.Errorf("root: %w", err) // there may be a password in the text
	}
	if w.o.Cache == "" {
		return fmt.Errorf("root %s: a zoo or outputs in a bucket need a cache on this host: name its folder (-cache)", u)
	}
	f, err := openBucket(context.Background(), &w.o, u)
	if err != nil {
		return fmt.Errorf("root %w", err)
	}
	w.inner = append(w.inner, u)
	return f.Close()
}

// Ready waits until the worker can take a model in hand, and takes a place for it: for Do, or to be given back with Release.
func (w *Worker) Ready(ctx context.Context) error {
	select {
	case w.hands <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release gives back the place of a model that did not come.
func (w *Worker) Release() { <-w.hands }

// Do does the model of a message, and is the reply, of at most so many bytes. An error says that this worker could not come
// to an answer, and another may, or the same one later; one with ErrObsolete or ErrMessage in its chain, that nobody can.
// of opens the store of an output folder.
func (w *Worker) Do(ctx context.Context, message []byte, most int, of func(ctx context.Context, out string) (Store, error)) (reply []byte, err error) {
	given := false
	defer func() {
		if !given {
			w.Release()
		}
	}()
	t, err := readTask(message)
	if err != nil {
		return nil, err
	}
	var from, out manifests.Place
	for _, p := range []struct {
		to   *manifests.Place
		name string
	}{{&from, t.Zoo}, {&out, t.Out}} {
		if *p.to, err = placeOf(p.name); err == nil {
			err = w.allowsPlace(p.to)
		}
		if err != nil {
			return nil, err
		}
	}
	s, err := w.site(t, from)
	if err != nil {
		return nil, err
	}
	defer w.leave(s)
	originals, tree := s.tree()
	m, zoo, err := manifests.Single(from, out, tree, t.Rule, t.Model)
	if err != nil {
		return w.refuse(t, err, most), nil
	}
	for _, f := range zoo.Failures { // another worker may have what is missing here
		return nil, fmt.Errorf("%s: %w", f.Path, f.Err)
	}
	j := &zoo.Jobs[0]
	for _, path := range []string{j.Source, j.Weights, j.Graph} {
		if from.URL != nil { // it is below the zoo, and nothing leads out of a bucket
			break
		}
		if err := w.allows(path); path != "" && err != nil {
			return nil, err
		}
	}
	folder, err := of(ctx, m.Out)
	if err != nil {
		return nil, err
	}
	if err := w.open(s, m, zoo); err != nil {
		return nil, err
	}
	heard := &hears{to: w}
	fsys, again := w.files(s, originals)
	books := newView(fsys, m.Out, folder, t.Run)
	books.again = again
	r := w.runner(t, m, s, books, heard)
	r.fsys, r.zoo, r.local = fsys, originals, s.places.work
	if r.settings(j.Rule, j.Source) != t.Settings {
		return w.refuse(t, errors.New("the rule says something else to the worker "+w.name+": it is of another version of zoofold"), most), nil
	}
	given = true // job gives the place back
	r.job(ctx, j)
	switch {
	case books.err != nil:
		return nil, books.err
	case r.behind != nil: // perhaps another worker did the model, too
		return nil, r.behind
	case heard.model.Status == outcome.Interrupted:
		return nil, cmp.Or(context.Cause(ctx), context.Canceled)
	}
	a := &answer{ID: t.ID, Run: t.Run, Worker: w.name, Model: heard.model, Notes: r.end.Notes}
	if e := books.added; e != nil && a.Model.Kept() {
		a.Kept = e.Told.Kept
		bare := *e
		bare.Told = nil
		text, err := line(&bare)
		if err != nil {
			return nil, err
		}
		a.Entry = string(text)
	}
	return a.message(most), nil
}

// refuse is the answer to a task that no worker of this version can do.
func (w *Worker) refuse(t *task, why error, most int) []byte {
	m := outcome.Model{Path: t.Model, Bytes: t.Bytes, Status: outcome.Failed, Error: oneLine(why), Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
	return (&answer{ID: t.ID, Run: t.Run, Worker: w.name, Model: m}).message(most)
}

// allowsPlace is an error if a place does not lie below a root. One in a bucket gets the region of its root.
func (w *Worker) allowsPlace(p *manifests.Place) error {
	if p.URL == nil {
		return w.allows(p.Path)
	}
	for _, root := range w.inner {
		if root.Holds(*p.URL) {
			p.URL.Region = root.Region
			return nil
		}
	}
	return fmt.Errorf("%s %w", p.URL, ErrRoots)
}

// allows is an error if a path, with its links resolved as far as it exists, does not lie below a root.
func (w *Worker) allows(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		if _, e := os.Lstat(path); e == nil {
			return fmt.Errorf("%s links to nothing: %w", path, err)
		}
		return w.allows(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	for _, root := range w.roots {
		if rel, err := filepath.Rel(root, real); err == nil && filepath.IsLocal(rel) {
			return nil
		}
	}
	return fmt.Errorf("%s %w", path, ErrRoots)
}

// runner is a run of one model.
func (w *Worker) runner(t *task, m *manifests.Manifest, s *site, books books, heard outcome.Sink) *runner {
	o := w.o
	o.Manifest, o.Verify, o.Timeout, o.Force, o.Latency, o.Sink = m, nil, 0, ForceAll, t.Latency, heard
	return &runner{
		Options: o, guard: s.places.guard, manifest: t.Manifest, books: books, stages: s.stages,
		claims: map[string]claim{}, parts: map[string]bool{}, kept: map[*manifests.Rule]map[string]bool{}, end: outcome.End{Counts: map[outcome.Status]int{}},
		heavy: w.heavy, hands: w.hands, placing: w.placing, waiting: w.waiting,
	}
}

// site is an output folder on which a worker works for a run.
type site struct {
	zoo, out, run string
	from          *bucket.Folder // the zoo; nil where it is a folder of the host
	places        *places        // nil until the first model is opened
	stages        *stages
	users         int
}

// tree is the zoo for one model, where it is in a bucket; nil where it is a folder of the host.
func (s *site) tree() (*bucket.Folder, manifests.Tree) {
	if s.from == nil {
		return nil, nil
	}
	zoo := s.from.Asking()
	return zoo, &mounted{ctx: context.Background(), folders: []*bucket.Folder{zoo}}
}

// files are those of one model of a site; again has its outputs looked at anew.
func (w *Worker) files(s *site, zoo *bucket.Folder) (fsys files, again func()) {
	if s.places.mounted == nil {
		return s.places.fsys, nil
	}
	task := s.places.mounted.asking(zoo)
	if task.out != nil {
		again = task.out.Forget
	}
	if w.o.over != nil {
		return w.o.over(task), again
	}
	return task, again
}

// maxSites bounds the folders that a worker keeps open while it has no model of them in hand.
const maxSites = 8

// site is that of a task.
func (w *Worker) site(t *task, from manifests.Place) (*site, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, s := range w.sites {
		if s.zoo == t.Zoo && s.out == t.Out && s.run == t.Run {
			s.users++
			return s, nil
		}
	}
	s := &site{zoo: t.Zoo, out: t.Out, run: t.Run, users: 1}
	if from.URL != nil {
		var err error
		if s.from, err = openBucket(context.Background(), &w.o, *from.URL); err != nil {
			return nil, err
		}
	}
	w.sites = append(w.sites, s)
	return s, nil
}

// open opens the output folder of a site, unless that was done. The originals of the model are guarded from then on.
func (w *Worker) open(s *site, m *manifests.Manifest, zoo *manifests.Zoo) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if s.places != nil {
		if s.from == nil {
			s.places.guard.Folders(zoo.Folders...)
			s.places.guard.Files(zoo.Files...)
		}
		return nil
	}
	places, err := openPlaces(&Options{Manifest: m, Cache: w.o.Cache, CacheSize: w.o.CacheSize, over: w.o.over, bucket: w.o.bucket}, zoo, s.from)
	if err != nil {
		return err
	}
	s.places, s.stages = places, &stages{fsys: places.fsys, below: places.staging}
	return nil
}

// leave says that a model of a site is done. The sites that were opened last stay open.
func (w *Worker) leave(s *site) {
	w.lock.Lock()
	defer w.lock.Unlock()
	s.users--
	for k := 0; len(w.sites) > maxSites && k < len(w.sites); k++ {
		if w.sites[k].users == 0 {
			w.sites[k].close()
			w.sites = slices.Delete(w.sites, k, k+1)
			k--
		}
	}
}

func (s *site) close() {
	if s.places != nil {
		_ = s.stages.close() // who began the run sweeps what is left
		s.places.close()
	}
	if s.from != nil {
		_ = s.from.Close() // it was only read
	}
}

// Close closes the folders that the worker has open. It may have no model in hand.
func (w *Worker) Close() {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, s := range w.sites {
		s.close()
	}
	w.sites = nil
}

// hears takes what is told of the one model of a run, and tells the worker's Sink.
type hears struct {
	to    *Worker
	model outcome.Model
}

func (h *hears) tell(f func(outcome.Sink)) {
	if h.to.o.Sink != nil {
		h.to.lock.Lock()
		defer h.to.lock.Unlock()
		f(h.to.o.Sink)
	}
}

func (h *hears) Start(outcome.Start)   {}
func (h *hears) Begin(b outcome.Begin) { h.tell(func(s outcome.Sink) { s.Begin(b) }) }
func (h *hears) Progress(int64)        {}
func (h *hears) Done(m outcome.Model)  { h.model = m; h.tell(func(s outcome.Sink) { s.Done(m) }) }
func (h *hears) End(outcome.End)       {}
