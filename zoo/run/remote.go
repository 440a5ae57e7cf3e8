package run

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Remote does the models of a run in other processes, workers, of which each has a Worker. It knows output folders by
// their paths. queue.Queue is one.
type Remote interface {
	// Store is where the processes remember what becomes of an output folder.
	Store(ctx context.Context, out string) (Store, error)
	// Hand puts a task before the workers, unless it waits there already. It may return before it is there: Handed waits for
	// all, and its error is that of the first that could not be put there.
	Hand(ctx context.Context, out string, t Task) error
	Handed(ctx context.Context) error
	// Answers calls do with each answer to a folder's tasks, those first that were there before, and what workers say in the
	// meantime, one at a time; once with nil when those that were there are through. It ends with ctx.
	Answers(ctx context.Context, out string, do func(message []byte)) error
	// Withdraw takes back all tasks of a folder that no worker has in hand; Forget drops its answers.
	Withdraw(ctx context.Context, out string) error
	Forget(ctx context.Context, out string) error
	// Watch tells, at times, of tasks that no worker there is can take, until ctx ends; waiting is what is to be done.
	Watch(ctx context.Context, waiting func() map[Needs]int, tell func(string))
	// Has is what the workers have that there are now, all of them together.
	Has(ctx context.Context) (Needs, error)
	// Name says what does the models.
	Name(ctx context.Context) string
}

// remote is the state of a run whose models other processes do.
type remote struct {
	Remote
	out   string
	store Store
	books *mirrored
	now   underWay
	has   Needs
	texts map[*manifests.Rule]*letter // what tasks say of their rules

	lock    sync.Mutex
	waiting map[string]*waits // by task
	failed  []string          // outputs of models that failed
	left    int               // tasks that nobody answered
	all     chan struct{}     // closed when none is left
	through bool              // all tasks were handed out that there are
}

// waits is a task that nobody answered.
type waits struct {
	job    *manifests.Job
	needs  Needs
	handed bool
	worker string // that had it in hand last
}

// letter is a rule as tasks have it.
type letter struct {
	text  json.RawMessage
	needs Needs
}

// openRemote prepares a run whose models are done elsewhere. The output folder is locked.
func (r *runner) openRemote(ctx context.Context) (err error) {
	a := &remote{Remote: r.Options.Remote, out: r.Manifest.Out, texts: map[*manifests.Rule]*letter{}, waiting: map[string]*waits{}, all: make(chan struct{})}
	if a.store, err = a.Store(ctx, a.out); err != nil {
		return err
	}
	value, _, err := a.store.Get(ctx, runKey)
	if err != nil {
		return err
	}
	if value != nil && json.Unmarshal(value, &a.now) != nil {
		a.now = underWay{} // it is none of ours: the models are looked at anew
	}
	if a.books, err = openMirrored(ctx, r.fsys, a.out, a.store, a.now.File, r.DryRun); err != nil {
		return err
	}
	if a.has, err = a.Has(ctx); err != nil {
		return err
	}
	r.books, r.remote = a.books, a
	return nil
}

// plan tells what a run does from what another would do.
func (r *runner) plan() (string, error) {
	words := []string{Makes(), r.Manifest.Zoo, r.manifest, string(r.Force), fmt.Sprint(r.Latency), fmt.Sprint(r.Timeout)}
	for k := range r.Manifest.Rules {
		rule := &r.Manifest.Rules[k]
		l, err := r.letter(rule)
		if err != nil {
			return "", err
		}
		words = append(words, strings.Join(rule.Match, "\n"), strings.Join(rule.Exclude, "\n"), string(l.text))
	}
	return digest(words...), nil
}

// letter is a rule as tasks have it, with what the command line says in its place.
func (r *runner) letter(rule *manifests.Rule) (*letter, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if l := r.remote.texts[rule]; l != nil {
		return l, nil
	}
	said := *rule
	said.Verify = r.checks(rule)
	said.Proof = "try"
	required := rule.Required(r.Verify != nil)
	if required {
		said.Proof = "require"
	}
	if r.Timeout > 0 {
		said.Timeout = r.Timeout
	}
	l := &letter{needs: Needs{CUDA: rule.Device == "cuda"}}
	if slices.Contains(said.Verify, "predictions") { // where they are only tried, they wait for nobody
		l.needs.Engine = required || r.remote.has.Engine
	}
	text, err := said.Text()
	if err != nil {
		return nil, err
	}
	l.text = text
	r.remote.texts[rule] = l
	return l, nil
}

// begin goes on with the run that is under way, if it does what this one would, or begins a new one. Nobody else does so: the
// output folder is locked.
func (a *remote) begin(ctx context.Context, plan string) (goesOn bool, err error) {
	if goesOn = !a.now.Over && a.now.Plan == plan && a.now.ID != ""; !goesOn {
		a.now = underWay{ID: strings.ToLower(rand.Text()[:12]), Plan: plan}
	}
	a.now.File = a.books.fileStamp()
	if err := a.note(ctx); err != nil || goesOn {
		return goesOn, err
	}
	return false, a.Withdraw(ctx, a.out) // what waits is of an earlier run
}

// note says which run is under way.
func (a *remote) note(ctx context.Context) error {
	value, err := json.Marshal(a.now)
	if err == nil {
		err = a.store.Set(ctx, runKey, value)
	}
	return errors.Join(err, a.store.Flush(ctx))
}

// id is that of a model's task.
func (r *runner) id(j *manifests.Job) string {
	return digest(r.remote.now.ID, written(r.manifest), written(j.Path))
}

// allRemote has the jobs done elsewhere that are to be done, and waits until they are.
func (r *runner) allRemote(ctx context.Context, jobs []manifests.Job) (err error) {
	a := r.remote
	plan, err := r.plan()
	if err != nil {
		return err
	}
	goesOn, err := a.begin(ctx, plan)
	if err != nil {
		return err
	}
	if !goesOn {
		r.note("sweep", sweep(r.fsys, a.out))
	}
	if err := mark(r.fsys, a.out, a.Name(ctx)); err != nil {
		return err
	}
	if err := a.books.orphaned(r.gone); err != nil {
		return err
	}
	for k := range jobs {
		a.waiting[r.id(&jobs[k])] = &waits{job: &jobs[k]}
	}
	a.left = len(jobs)
	following, stop := context.WithCancel(ctx)
	defer stop()
	before, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- a.Answers(following, a.out, func(message []byte) {
			if message == nil {
				close(before)
				return
			}
			r.answered(message)
		})
	}()
	select {
	case <-before:
	case err = <-ended:
		return err
	}
	if !goesOn {
		if err := a.Forget(ctx, a.out); err != nil { // what they say is in the ledger
			return err
		}
	}
	if r.Tell != nil {
		go a.Watch(following, a.unanswered, r.Tell)
	}
	r.all(ctx, r.unsettled(jobs))
	if err := a.Handed(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	a.close()
	select {
	case <-a.all:
	case <-ctx.Done():
	case err = <-ended:
	}
	stop()
	return err
}

// unsettled are the jobs to which nobody has answered before.
func (r *runner) unsettled(jobs []manifests.Job) (rest []manifests.Job) {
	r.remote.lock.Lock()
	defer r.remote.lock.Unlock()
	for k := range jobs {
		if r.remote.waiting[r.id(&jobs[k])] != nil {
			rest = append(rest, jobs[k])
		}
	}
	return rest
}

// unanswered are how many of the tasks that were handed out wait, by what they need.
func (a *remote) unanswered() map[Needs]int {
	a.lock.Lock()
	defer a.lock.Unlock()
	counts := map[Needs]int{}
	for _, w := range a.waiting {
		if w.handed && w.worker == "" {
			counts[w.needs]++
		}
	}
	return counts
}

// settle takes a task from those that wait, for who tells of it; nil where it does not wait. Settled is called then.
func (a *remote) settle(id string) *waits {
	a.lock.Lock()
	defer a.lock.Unlock()
	w := a.waiting[id]
	delete(a.waiting, id)
	return w
}

// settled says that a task was told of.
func (a *remote) settled() {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.left--
	a.done()
}

// close says that all tasks were handed out.
func (a *remote) close() {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.through = true
	a.done()
}

func (a *remote) done() {
	if a.left == 0 && a.through {
		close(a.all)
	}
}

// hand puts a model that is to be done before the workers.
func (w *work) hand(ctx context.Context) error {
	a, id := w.remote, w.id(w.job)
	l, err := w.letter(w.job.Rule)
	if err != nil {
		return err
	}
	t := &task{
		Version: messageVersion, ID: id, Run: a.now.ID, Zoo: nameOf(w.Manifest.Zoo, w.Manifest.ZooURL), Out: nameOf(a.out, w.Manifest.OutURL),
		Manifest: w.manifest, Model: w.job.Path, Bytes: w.job.Size, Rule: l.text, Settings: w.settings(w.job.Rule, w.job.Source), Latency: w.Latency,
	}
	message, err := t.message()
	if err != nil {
		return err
	}
	a.lock.Lock()
	waiting := a.waiting[id]
	if waiting != nil {
		waiting.needs, waiting.handed = l.needs, true
	}
	a.lock.Unlock()
	if waiting == nil {
		return nil // a worker that had it in hand in a run that was cut off has answered meanwhile
	}
	if err := a.Hand(ctx, a.out, Task{ID: id, Needs: l.needs, Body: message}); err != nil {
		return fmt.Errorf("the queue: %w", err)
	}
	return nil
}

// answered takes what a worker says.
func (r *runner) answered(message []byte) {
	a := r.remote
	said, err := readAnswer(message)
	if err != nil {
		r.note("queue", err)
		return
	}
	if said.Began {
		a.lock.Lock()
		w := a.waiting[said.ID]
		if w != nil {
			w.worker = said.Worker
		}
		a.lock.Unlock()
		if w != nil {
			r.begin(w.job)
		}
		return
	}
	r.alike.share(&said.Model)
	e := said.entry()
	if said.Run != a.now.ID { // of a run that was cut off, in which another plan was made
		if e != nil && e.Manifest == r.manifest {
			r.note("ledger", r.recall(e))
		}
		return
	}
	w := a.settle(said.ID)
	if w == nil {
		return // it has come twice
	}
	defer a.settled()
	r.report(r.taken(said, e, w), w.job.Size)
}

// taken is what is told of a model that a worker answered for. A success is in the ledger then.
func (r *runner) taken(said *answer, e *entry, w *waits) outcome.Model {
	m := said.Model
	m.Path = w.job.Path
	for _, n := range said.Notes {
		r.note(said.Worker, errors.New(n))
	}
	fails := func(why string) {
		m = outcome.Model{Path: m.Path, Bytes: m.Bytes, Status: outcome.Failed, Error: why, Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
	}
	switch {
	case said.GivenUp > 0:
		fails(givenUp(said, w.worker))
	case !m.Kept():
	case e == nil:
		fails(said.Worker + " answered without saying what it made")
	case e.Manifest != r.manifest || e.Model != w.job.Path || len(e.Outputs) > 0 && r.books.abs(e.Outputs[0].Path) != w.job.Target:
		fails(said.Worker + " answered for another model")
	default:
		e.Told = &told{m, said.Kept}
		if err := r.recall(e); err != nil {
			r.note("ledger", fmt.Errorf("%w: %s is folded again the next time", err, w.job.Path))
		}
		(&work{runner: r, job: w.job}).keeps(said.Kept)
	}
	if !m.Kept() {
		r.remote.lock.Lock()
		r.remote.failed = append(r.remote.failed, w.job.Target)
		r.remote.lock.Unlock()
	}
	return m
}

// recall notes a success of a worker in the ledger.
func (r *runner) recall(e *entry) error {
	e.Former = r.books.leftOver(e)
	return r.books.add(e)
}

// givenUp is the error of a model that workers had in hand and nobody answered.
func givenUp(said *answer, last string) string {
	text := fmt.Sprintf("given up: %d workers had it in hand and none came to an end with it", said.GivenUp)
	if last != "" {
		text += ", " + last + " the last"
	}
	if said.Model.Error != "" {
		text += ": " + said.Model.Error
	}
	return text
}

// endRemote ends what was done elsewhere: models that nobody answered are interrupted, and the run is over.
func (r *runner) endRemote(ctx context.Context) {
	a := r.remote
	end := context.WithoutCancel(ctx)
	if ctx.Err() != nil {
		r.note("queue", a.Withdraw(end, a.out))
	}
	r.note("ledger", a.store.Flush(end))
	a.lock.Lock()
	waiting := a.waiting
	a.waiting = map[string]*waits{}
	a.lock.Unlock()
	for _, w := range waiting {
		m := outcome.Model{Path: w.job.Path, Bytes: w.job.Size, Status: outcome.Interrupted, Error: outcome.NotBegun, Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
		if w.worker != "" {
			m.Error = "interrupted"
		}
		r.report(m, w.job.Size)
		a.failed = append(a.failed, w.job.Target)
	}
}

// closeRemote writes the ledger's file and says that the run is over.
func (r *runner) closeRemote(ctx context.Context) {
	a, end := r.remote, context.WithoutCancel(ctx)
	for _, target := range a.failed {
		r.note("ledger", a.books.unsettled(a.books.rel(target)))
	}
	r.note("ledger", errors.Join(a.books.export(), a.store.Flush(end)))
	a.now.Over, a.now.File = true, a.books.fileStamp()
	r.note("queue", a.note(end))
	if ctx.Err() == nil {
		r.note("queue", a.Forget(end, a.out))
	}
	r.note("queue", unmark(r.fsys, a.out))
}
