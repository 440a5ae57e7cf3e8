package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// remoteStore is a store in memory.
type remoteStore struct {
	lock   sync.Mutex
	turn   sync.Mutex
	values map[string][]byte
	at     map[string]uint64
	fail   error // of all operations
	puts   int
}

func (s *remoteStore) Get(_ context.Context, key string) ([]byte, uint64, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return slices.Clone(s.values[key]), s.at[key], s.fail
}

func (s *remoteStore) Put(_ context.Context, key string, value []byte, revision uint64) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	switch {
	case s.fail != nil:
		return s.fail
	case s.at[key] != revision:
		return ErrRevision
	}
	s.puts++
	s.values[key], s.at[key] = slices.Clone(value), s.at[key]+1
	return nil
}

func (s *remoteStore) Set(_ context.Context, key string, value []byte) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.values[key], s.at[key] = slices.Clone(value), s.at[key]+1
	return s.fail
}

func (s *remoteStore) Remove(_ context.Context, key string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.values, key)
	delete(s.at, key)
	return s.fail
}

func (s *remoteStore) Flush(context.Context) error { return nil }

func (s *remoteStore) Each(_ context.Context, word string, do func([]byte) error) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	for key, value := range s.values {
		if strings.HasPrefix(key, word+".") {
			if err := do(value); err != nil {
				return err
			}
		}
	}
	return s.fail
}

func (s *remoteStore) Exclusive(context.Context, string) (func(), error) {
	s.turn.Lock()
	return s.turn.Unlock, nil
}

// post is a queue in memory: one output folder, workers that a test starts.
type post struct {
	store   *remoteStore
	has     Needs
	change  func(*Task) // what becomes of a task on its way
	lock    sync.Mutex
	news    *sync.Cond
	tasks   []Task
	known   map[string]bool // tasks that nobody answered
	answers [][]byte
	handed  int
	roots   []string       // of workers, beside the scene's folder
	options func(*Options) // of workers; may be nil
	twice   bool           // each task goes to two workers, and their answers come together
	held    [][]byte
}

func newPost() *post {
	p := &post{store: &remoteStore{values: map[string][]byte{}, at: map[string]uint64{}}, known: map[string]bool{}}
	p.news = sync.NewCond(&p.lock)
	return p
}

func (p *post) Store(context.Context, string) (Store, error) { return p.store, nil }

func (p *post) Hand(_ context.Context, _ string, t Task) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.change != nil {
		p.change(&t)
	}
	if !p.known[t.ID] {
		p.known[t.ID] = true
		p.handed++
		p.tasks = append(p.tasks, t)
		if p.twice {
			p.tasks = append(p.tasks, t)
		}
		p.news.Broadcast()
	}
	return nil
}

func (p *post) Handed(context.Context) error { return nil }

func (p *post) Answers(ctx context.Context, _ string, do func([]byte)) error {
	stop := context.AfterFunc(ctx, func() { p.lock.Lock(); p.news.Broadcast(); p.lock.Unlock() })
	defer stop()
	p.lock.Lock()
	defer p.lock.Unlock()
	before := len(p.answers)
	for k := 0; ; k++ {
		if k == before {
			p.lock.Unlock()
			do(nil)
			p.lock.Lock()
		}
		for k >= len(p.answers) && ctx.Err() == nil {
			p.news.Wait()
		}
		if ctx.Err() != nil {
			return nil
		}
		message := p.answers[k]
		p.lock.Unlock()
		do(message)
		p.lock.Lock()
	}
}

func (p *post) answer(message []byte) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if said, err := readAnswer(message); p.twice && err == nil && !said.Began {
		if p.held = append(p.held, message); len(p.held)%2 > 0 {
			return
		}
		p.answers = append(p.answers, p.held[len(p.held)-2])
	}
	p.answers = append(p.answers, message)
	p.news.Broadcast()
}

func (p *post) Withdraw(context.Context, string) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.tasks, p.known = nil, map[string]bool{}
	return nil
}

// Forget keeps the answers' numbers: who follows them goes on.
func (p *post) Forget(context.Context, string) error { return nil }

func (p *post) Watch(ctx context.Context, _ func() map[Needs]int, _ func(string)) { <-ctx.Done() }
func (p *post) Has(context.Context) (Needs, error)                                { return p.has, nil }
func (p *post) Name(context.Context) string                                       { return "the post" }

// next is the next task; false when ctx ends.
func (p *post) next(ctx context.Context) (t Task, ok bool) {
	stop := context.AfterFunc(ctx, func() { p.lock.Lock(); p.news.Broadcast(); p.lock.Unlock() })
	defer stop()
	p.lock.Lock()
	defer p.lock.Unlock()
	for len(p.tasks) == 0 && ctx.Err() == nil {
		p.news.Wait()
	}
	if ctx.Err() != nil {
		return t, false
	}
	t, p.tasks = p.tasks[0], p.tasks[1:]
	return t, true
}

// work has a worker do what comes until ctx ends.
func (p *post) work(ctx context.Context, t testing.TB, name string, roots ...string) (done func()) {
	o := Options{Workers: 2, Backend: cpu.New(2), NoEngine: "none in this test", Version: "test"}
	if p.options != nil {
		p.options(&o)
	}
	w, err := NewWorker(name, o, append(roots, p.roots...))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			if w.Ready(ctx) != nil {
				return
			}
			task, ok := p.next(ctx)
			if !ok {
				w.Release()
				return
			}
			all.Go(func() {
				p.answer(Began(name, task.ID))
				reply, err := w.Do(ctx, task.Body, 0, p.Store)
				if errors.Is(err, bucket.ErrChanged) && w.Ready(ctx) == nil { // a queue has it done again
					reply, err = w.Do(ctx, task.Body, 0, p.Store)
				}
				if err != nil {
					if reply, err = GaveUp(task.Body, name, 1, err); err != nil {
						t.Error(err)
					}
				}
				p.answer(reply)
			})
		}
	})
	return func() { all.Wait(); w.Close() }
}

// remote runs a scene with workers.
func (s *scene) remote(p *post, workers int, change func(*Options)) result {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	var ends []func()
	for k := range workers {
		ends = append(ends, p.work(ctx, s.t, fmt.Sprintf("w%d", k), s.folder))
	}
	r := s.must(func(o *Options) {
		o.Remote = p
		if change != nil {
			change(o)
		}
	})
	stop()
	for _, end := range ends {
		end()
	}
	return r
}

// untimed is what is told of models without what differs between two runs of them.
func untimed(models map[string]outcome.Model) map[string]outcome.Model {
	list := map[string]outcome.Model{}
	for path, m := range models {
		m.Seconds = 0
		list[path] = m
	}
	return list
}

func TestRemote_MakesAndTellsWhatARunHereDoes(t *testing.T) {
	here, there := newScene(t, 12), newScene(t, 12)
	for _, s := range []*scene{here, there} {
		if err := os.WriteFile(filepath.Join(s.zoo(), "broken.onnx"), []byte("no model"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want := here.must(nil)
	p := newPost()
	got := there.remote(p, 3, nil)
	if a, b := contents(t, here.out()), contents(t, there.out()); !equal(withoutReport(a), withoutReport(b)) {
		t.Errorf("other files: %d here, %d there", len(a), len(b))
	}
	a, b := untimed(want.models), untimed(got.models)
	for path, m := range a {
		m.Error = strings.ReplaceAll(m.Error, here.folder, there.folder)
		if x := b[path]; !reflect.DeepEqual(m, x) {
			t.Errorf("%s: here %+v, there %+v", path, m, x)
		}
	}
	if len(a) != len(b) || !reflect.DeepEqual(want.Counts, got.Counts) || got.Exit != want.Exit || len(got.Notes) > 0 {
		t.Errorf("here %+v, there %+v", want.End, got.End)
	}
	if want.Counts[outcome.Failed] != 1 || want.Counts[outcome.Folded] == 0 {
		t.Errorf("the scene shows nothing: %v", want.Counts)
	}

	p.handed = 0
	again := there.remote(p, 1, nil)
	if again.Counts[outcome.Unchanged] != 12 || p.handed != 1 {
		t.Errorf("the second time: %v, %d tasks", again.Counts, p.handed)
	}
	local := there.must(nil)
	if local.Counts[outcome.Unchanged] != 12 {
		t.Errorf("a run here does not know what was done elsewhere: %v", local.Counts)
	}
}

// withoutReport leaves out what a run writes of itself.
func withoutReport(files map[string]string) map[string]string {
	delete(files, "report.html")
	delete(files, "report.json")
	return files
}

func TestRemote_KnowsWhatRunsHereDid(t *testing.T) {
	s, p := newScene(t, 6), newPost()
	s.must(nil)
	if r := s.remote(p, 1, nil); r.Counts[outcome.Unchanged] != 6 {
		t.Errorf("the first time: %v", r.Counts)
	}
	s.rules = strings.Replace(s.rules, "verify", "norms: neutralize\n    verify", 1)
	if r := s.must(nil); r.Counts[outcome.Failed] > 0 || r.Counts[outcome.Unchanged] > 0 {
		t.Errorf("here: %v", r.Counts)
	}
	if r := s.remote(p, 1, nil); r.Counts[outcome.Unchanged] != 6 {
		t.Errorf("what a run here did in between is not known: %v", r.Counts)
	}
	s.rules = strings.Replace(s.rules, "neutralize", "remove", 1)
	if r := s.remote(p, 1, nil); r.Counts[outcome.Failed] > 0 || r.Counts[outcome.Unchanged] > 0 {
		t.Errorf("elsewhere: %v %v", r.Counts, r.models)
	}
}

func TestRemote_ReplacesOnlyWhatItMade(t *testing.T) {
	s, p := newScene(t, 2), newPost()
	foreign := filepath.Join(s.out(), "mobile", "00000.onnx")
	if err := errors.Join(os.MkdirAll(filepath.Dir(foreign), 0o777), os.WriteFile(foreign, []byte("mine"), 0o666)); err != nil {
		t.Fatal(err)
	}
	r := s.remote(p, 1, nil)
	if m := r.models["mobile/00000.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, ErrForeign.Error()) {
		t.Errorf("%+v", m)
	}
	if data, _ := os.ReadFile(foreign); string(data) != "mine" {
		t.Error("it was replaced")
	}
}

// A run that is cut off leaves its tasks and its answers. The next one with the same plan goes on with them.
func TestRemote_GoesOnWhereARunWasCutOff(t *testing.T) {
	s, p := newScene(t, 10), newPost()
	ctx, cut := context.WithCancel(t.Context())
	told := 0
	working, stop := context.WithCancel(t.Context())
	end := p.work(working, t, "w", s.folder)
	cutOff := &severed{post: p}
	_, err := s.run(ctx, func(o *Options) {
		o.Remote = cutOff
		o.Sink = counting{func() {
			if told++; told == 4 {
				cutOff.gone = true
				cut()
			}
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	handed := p.handed
	var now underWay
	if value, _, _ := p.store.Get(t.Context(), runKey); json.Unmarshal(value, &now) != nil || now.Over {
		t.Fatalf("the run was not cut off: %+v", now)
	}
	r := s.must(func(o *Options) { o.Remote = p })
	stop()
	end()
	if n := r.Counts[outcome.Folded] + r.Counts[outcome.Copied]; n != 10 || len(r.models) != 10 {
		t.Errorf("the report is not whole: %v", r.Counts)
	}
	if p.handed != handed || handed != 10 {
		t.Errorf("%d tasks, then %d", handed, p.handed)
	}
}

// severed is a queue from which a process that was killed can say nothing any more.
type severed struct {
	*post
	gone bool
}

func (s *severed) Store(ctx context.Context, out string) (Store, error) {
	return severedStore{s.store, s}, nil
}
func (s *severed) Withdraw(ctx context.Context, out string) error {
	if s.gone {
		return nil
	}
	return s.post.Withdraw(ctx, out)
}

type severedStore struct {
	*remoteStore
	by *severed
}

func (s severedStore) Set(ctx context.Context, key string, value []byte) error {
	if s.by.gone {
		return nil
	}
	return s.remoteStore.Set(ctx, key, value)
}

// counting calls a function for each model that has ended.
type counting struct{ done func() }

func (counting) Start(outcome.Start)    {}
func (counting) Begin(outcome.Begin)    {}
func (counting) Progress(int64)         {}
func (c counting) Done(m outcome.Model) { c.done() }
func (counting) End(outcome.End)        {}

func TestWorker_RefusesWhatIsNotBelowItsRoots(t *testing.T) {
	s, p := newScene(t, 2), newPost()
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(s.folder, "link")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(s.zoo(), "secret.onnx")
	if err := errors.Join(os.WriteFile(filepath.Join(elsewhere, "x.onnx"), nil, 0o666), os.Symlink(filepath.Join(elsewhere, "x.onnx"), link)); err != nil {
		t.Fatal(err)
	}
	var sent []byte
	p.change = func(t *Task) { sent = t.Body }
	r := s.remote(p, 1, nil)
	if m := r.models["secret.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, ErrRoots.Error()) {
		t.Errorf("a link out of the zoo: %+v", m)
	}
	good, err := readTask(sent)
	if err != nil {
		t.Fatal(err)
	}
	good.Model = "mobile/00000.onnx"
	w, err := NewWorker("w", Options{Workers: 1, Backend: cpu.New(1)}, []string{s.folder})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	outputs := contents(t, s.out())
	for name, change := range map[string]func(*task){
		"an output folder elsewhere":       func(t *task) { t.Out = elsewhere },
		"an output folder to be made":      func(t *task) { t.Out = filepath.Join(elsewhere, "a", "b") },
		"an output folder behind a link":   func(t *task) { t.Out = filepath.Join(s.folder, "link", "out") },
		"a zoo elsewhere":                  func(t *task) { t.Zoo = elsewhere },
		"a zoo behind a link":              func(t *task) { t.Zoo = filepath.Join(s.folder, "link") },
		"a path that is not clean":         func(t *task) { t.Out = s.folder + "/x/../out" },
		"a path that is not absolute":      func(t *task) { t.Out = "out" },
		"a model outside":                  func(t *task) { t.Model = "../models.yaml" },
		"a rule with an unknown key":       func(t *task) { t.Rule = json.RawMessage(`{"match": "**", "exec": "true"}`) },
		"an output outside":                func(t *task) { t.Rule = json.RawMessage(`{"match": "**", "output": "../../x"}`) },
		"an output in the zoo":             func(t *task) { t.Out = filepath.Join(s.zoo(), "out") },
		"other settings than its sender's": func(t *task) { t.Settings = "others" },
		"another version":                  func(t *task) { t.Version = 99 },
		"no run":                           func(t *task) { t.Run = "" },
		"a run that is over":               func(t *task) { t.Run = "another" },
	} {
		bad := *good
		change(&bad)
		message, err := bad.message()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := contents(t, s.zoo())
		reply, err := w.Do(t.Context(), message, 0, p.Store)
		if err == nil {
			a, e := readAnswer(reply)
			if e != nil || a.Model.Status != outcome.Failed {
				t.Errorf("%s: %+v, %v", name, a, e)
			}
		}
		if len(w.hands) != 0 {
			t.Fatalf("%s: the place was not given back", name)
		}
		if !equal(before, contents(t, s.zoo())) || len(contents(t, elsewhere)) != 1 || !equal(outputs, contents(t, s.out())) {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestMessages_AreBoundedAndStrict(t *testing.T) {
	good := &task{Version: 1, ID: "a", Run: "b", Zoo: "/z", Out: "/o", Manifest: "m", Model: "x\xff.onnx", Rule: json.RawMessage(`{}`)}
	message, err := good.message()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := readTask(message); err != nil || !reflect.DeepEqual(back, good) {
		t.Errorf("%+v, %v", back, err)
	}
	zeros := pack(make([]byte, maxLine+1))
	for name, m := range map[string][]byte{
		"nothing": nil, "no JSON": []byte("x"), "an unknown key": []byte(`{"version": 1, "code": "x"}`), "more behind it": append(slices.Clone(message), message...),
		"too long": make([]byte, maxTask+1), "a bomb": zeros, "half of what was packed": zeros[:len(zeros)/2], "null": []byte("null"),
	} {
		if _, err := readTask(m); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
		if a, err := readAnswer(m); !errors.Is(err, ErrMessage) {
			t.Errorf("an answer, %s: %+v, %v", name, a, err)
		}
	}
	if _, err := (&task{Rule: json.RawMessage(`"` + strings.Repeat("x", maxTask) + `"`)}).message(); err == nil {
		t.Error("a rule that is too long was written")
	}
}

// Two workers that do one model twice do no harm: the file is whole, and what comes second changes nothing.
func TestRemote_OneModelTwice(t *testing.T) {
	s, p := newScene(t, 4), newPost()
	ctx, stop := context.WithCancel(t.Context())
	first, second := p.work(ctx, t, "first", s.folder), p.work(ctx, t, "second", s.folder)
	twice := map[string]bool{}
	p.change = func(t *Task) {
		if !twice[t.ID] {
			twice[t.ID] = true
			p.tasks = append(p.tasks, *t) // and once more
		}
	}
	r := s.must(func(o *Options) { o.Remote = p })
	stop()
	first()
	second()
	if len(r.models) != 4 || r.Counts[outcome.Failed] > 0 {
		t.Errorf("%v %+v", r.Counts, r.models)
	}
	if again := s.must(nil); again.Counts[outcome.Unchanged] != 4 {
		t.Errorf("then %v", again.Counts)
	}
}

func TestRemote_FailsWhatTheStoreCannotRemember(t *testing.T) {
	s, p := newScene(t, 2), newPost()
	p.change = func(*Task) { p.store.fail = errors.New("the store is gone") }
	r := s.remote(p, 1, nil)
	for path, m := range r.models {
		if m.Status != outcome.Failed || !strings.Contains(m.Error, "the store is gone") {
			t.Errorf("%s: %+v", path, m)
		}
	}
	if files := withoutReport(contents(t, s.out())); len(files) > 0 {
		t.Errorf("%d outputs that nobody knows", len(files))
	}
}

func TestRemote_ModelsThatShareExternalData(t *testing.T) {
	s, p := newScene(t, 0), newPost()
	twice := func(change func(*Options)) {
		t.Helper()
		if r := s.remote(p, 3, change); r.Counts[outcome.Failed] > 0 || len(r.Notes) > 0 {
			t.Fatalf("%v: %+v %v", r.Counts, r.models, r.Notes)
		}
		kept := withoutReport(contents(t, s.out()))
		if r := s.remote(p, 3, nil); r.Counts[outcome.Unchanged] != len(r.models) || !equal(kept, withoutReport(contents(t, s.out()))) {
			t.Fatalf("once more: %v", r.Counts)
		}
	}
	s.pair(1, 2)
	s.twins(1)
	s.settled()
	twice(nil)
	twice(func(o *Options) { o.Force = ForceAll })
	s.pair(1, 3)
	s.twins(2)
	s.settled()
	twice(nil)
	if slices.Equal(s.reads("encoder.onnx"), s.reads("decoder.onnx")) {
		t.Error("encoder and decoder have one file")
	}
}

// The place of a model that the zoo has lost may be taken, by whoever does the model that is written there now.
func TestRemote_OrphansPlacesMayBeTaken(t *testing.T) {
	s, p := newScene(t, 3), newPost()
	s.remote(p, 2, nil)
	old, now := filepath.Join(s.zoo(), "mobile", "00000.onnx"), filepath.Join(s.zoo(), "renamed.onnx")
	if err := os.Rename(old, now); err != nil {
		t.Fatal(err)
	}
	s.rules = "models:\n  - match: renamed.onnx\n    output: mobile/00000.onnx\n    norms: neutralize\n    verify: [parity]\n" + strings.TrimPrefix(s.rules, "models:\n")
	if r := s.remote(p, 2, nil); r.Counts[outcome.Failed] > 0 || len(r.Orphans) > 0 {
		t.Errorf("%v %v %+v", r.Counts, r.Orphans, r.models)
	}
}

func FuzzMessages(f *testing.F) {
	message, err := (&task{Version: 1, ID: "a", Run: "b", Zoo: "/z", Out: "/o", Manifest: "m", Model: "x.onnx", Rule: json.RawMessage(`{"match": "**"}`)}).message()
	if err != nil {
		f.Fatal(err)
	}
	e := &entry{Manifest: "m", Model: "x.onnx", Inputs: []stamp{{Path: "/z/x.onnx", Hash: "h"}}, Outputs: []stamp{{Path: "x.onnx", Hash: "h"}}}
	text, err := line(e)
	if err != nil {
		f.Fatal(err)
	}
	reply := (&answer{ID: "a", Run: "b", Worker: "w", Entry: string(text), Model: outcome.Model{Status: outcome.Folded}}).message(0)
	for _, m := range [][]byte{message, reply, pack(make([]byte, smallText)), []byte(`{"version":1}`), {packMark}} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		if task, err := readTask(m); err == nil {
			again, err := task.message()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := readTask(again); err != nil || back.Model != task.Model || back.Zoo != task.Zoo || back.Out != task.Out {
				t.Errorf("%+v comes back as %+v, %v", task, back, err)
			}
		}
		if a, err := readAnswer(m); err == nil {
			a.entry()
		}
	})
}
