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
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Worker does models of runs that were begun elsewhere, with the steps and the proof of a run: it takes messages, and answers
// them. What it may read and write lies below its roots.
type Worker struct {
	o     Options
	name  string
	roots []string // absolute, links resolved

	heavy, hands, placing, waiting chan struct{}

	lock  sync.Mutex
	sites []*site
}

// ErrRoots says that a message names a folder that does not lie below a worker's roots.
var ErrRoots = errors.New("does not lie below the roots of this worker")

// NewWorker is a worker of a name, with the backends, the engine and as many models at once as the options say; its other
// options come with the messages.
func NewWorker(name string, o Options, roots []string) (*Worker, error) {
	w := &Worker{o: o, name: name}
	for _, root := range roots {
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
	if len(w.roots) == 0 {
		return nil, errors.New("a worker needs a root: the folder that the zoo and the output folder lie in")
	}
	r := newRunner(o, &places{}, nil, "")
	w.heavy, w.hands, w.placing, w.waiting = r.heavy, r.hands, r.placing, r.waiting
	return w, nil
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
	for _, folder := range []string{t.Zoo, t.Out} {
		if err := w.allows(folder); err != nil {
			return nil, err
		}
	}
	m, zoo, err := manifests.Single(t.Zoo, t.Out, t.Rule, t.Model)
	if err != nil {
		return w.refuse(t, err, most), nil
	}
	for _, f := range zoo.Failures { // another worker may have what is missing here
		return nil, fmt.Errorf("%s: %w", f.Path, f.Err)
	}
	j := &zoo.Jobs[0]
	for _, path := range []string{j.Source, j.Weights, j.Graph} {
		if err := w.allows(path); path != "" && err != nil {
			return nil, err
		}
	}
	folder, err := of(ctx, t.Out)
	if err != nil {
		return nil, err
	}
	s, err := w.site(t, m, zoo)
	if err != nil {
		return nil, err
	}
	defer w.leave(s)
	heard := &hears{to: w}
	books := newView(s.places.fsys, t.Out, folder, t.Run)
	r := w.runner(t, m, s, books, heard)
	if r.settings(j.Rule, j.Source) != t.Settings {
		return w.refuse(t, errors.New("the rule says something else to the worker "+w.name+": it is of another version of zoofold"), most), nil
	}
	given = true // job gives the place back
	r.job(ctx, j)
	switch {
	case books.err != nil:
		return nil, books.err
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
		Options: o, fsys: s.places.fsys, guard: s.places.guard, manifest: t.Manifest, books: books, stages: s.stages,
		claims: map[string]claim{}, parts: map[string]bool{}, kept: map[*manifests.Rule]map[string]bool{}, end: outcome.End{Counts: map[outcome.Status]int{}},
		heavy: w.heavy, hands: w.hands, placing: w.placing, waiting: w.waiting,
	}
}

// site is an output folder on which a worker works for a run.
type site struct {
	zoo, out, run string
	places        *places
	stages        *stages
	users         int
}

// maxSites bounds the folders that a worker keeps open while it has no model of them in hand.
const maxSites = 8

// site opens a task's output folder, or has it open. The originals of the task are guarded from then on.
func (w *Worker) site(t *task, m *manifests.Manifest, zoo *manifests.Zoo) (*site, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, s := range w.sites {
		if s.zoo == t.Zoo && s.out == t.Out && s.run == t.Run {
			s.places.guard.Folders(zoo.Folders...)
			s.places.guard.Files(zoo.Files...)
			s.users++
			return s, nil
		}
	}
	places, err := openPlaces(&Options{Manifest: m, over: w.o.over}, zoo)
	if err != nil {
		return nil, err
	}
	s := &site{zoo: t.Zoo, out: t.Out, run: t.Run, places: places, users: 1}
	s.stages = &stages{fsys: places.fsys, below: statePath(t.Out, stagePlace)}
	w.sites = append(w.sites, s)
	return s, nil
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
	_ = s.stages.close() // who began the run sweeps what is left
	s.places.close()
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
