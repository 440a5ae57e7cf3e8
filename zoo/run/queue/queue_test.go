package queue

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// What the test's program is, if it was started as something else than the tests.
const roleVariable = "ZOOFOLD_TEST_ROLE"

// Where processes of a test keep what they bring of buckets.
const cacheVariable = "ZOOFOLD_TEST_CACHE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "worker":
		worker(os.Args[1], os.Args[2], os.Args[3])
	case "begins":
		begins(os.Args[1], os.Args[2])
	}
}

// worker is a process that takes models in hand below roots, with commas between. It works, or it hangs or dies in the middle of the first whose
// predictions are to be compared. It says when it is there.
func worker(url, roots, then string) {
	stuck := predictor(func() outcome.Check {
		fmt.Println("in hand")
		if then == "dies" {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		select {}
	})
	if then == "works" {
		stuck = passes
		fmt.Println("in hand")
	}
	q, err := Open(context.Background(), config(url, "child"))
	if err == nil {
		var w *run.Worker
		if w, err = run.NewWorker("child", run.Options{Workers: 1, Backend: cpu.New(1), Predict: stuck, Cache: os.Getenv(cacheVariable), CacheSize: 1 << 30}, strings.Split(roots, ",")); err == nil {
			err = q.Serve(context.Background(), context.Background(), w, Member{Name: "child", Has: run.Needs{Engine: true}, Places: 1})
		}
	}
	fmt.Println("ended:", err)
	os.Exit(1)
}

// begins is a process that begins the run of a manifest, and says each model that is done.
func begins(url, manifest string) {
	q, err := Open(context.Background(), config(url, "begins"))
	if err == nil {
		_, err = runOf(context.Background(), q, manifest, func(m outcome.Model) { fmt.Println("done", m.Path) })
	}
	fmt.Println("ended:", err)
}

// predictor compares nothing and says what a function does.
type predictor func() outcome.Check

func (p predictor) Compare(context.Context, predict.Comparison) outcome.Check { return p() }
func (predictor) Name() string                                                { return "a test's" }

var passes = predictor(func() outcome.Check { return outcome.Check{Status: outcome.Passed} })

// config is impatient.
func config(url, client string) Config {
	return Config{URL: url, Client: client, Lost: time.Second, Patience: 50 * time.Millisecond, Idle: 20 * time.Millisecond, Tries: 2}
}

// node is a server in this process.
func node(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, JetStreamMaxMemory: 1 << 28, JetStreamMaxStore: 8 << 30}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return s
}

// cluster are three servers, of which each stream has a copy.
func cluster(t testing.TB) (nodes []*server.Server, url string) {
	var routes, urls []string
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, "nats://"+l.Addr().String())
		l.Close()
	}
	for k := range 3 {
		nodes = append(nodes, node(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", k)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[k]}
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}))
		urls = append(urls, nodes[k].ClientURL())
	}
	return nodes, strings.Join(urls, ",")
}

// connect opens the queue.
func connect(t testing.TB, url, client string, change func(*Config)) *Queue {
	t.Helper()
	c := config(url, client)
	if change != nil {
		change(&c)
	}
	q, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// scene is a zoo of generated models and its manifest.
type scene struct {
	folder, manifest string
	roots            []string // of workers, beside the folder
}

func newScene(t testing.TB, models int, rules string) *scene {
	t.Helper()
	s := &scene{folder: t.TempDir()}
	if _, err := zootest.Write(filepath.Join(s.folder, "zoo"), models, 4, 2); err != nil {
		t.Fatal(err)
	}
	s.manifest = filepath.Join(s.folder, "models.yaml")
	if rules == "" {
		rules = "verify: [parity, algebra]"
	}
	text := "version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: '**/*.onnx'\n    " + rules + "\n"
	if err := os.WriteFile(s.manifest, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return s
}

// outputs are the contents of the output folder, without what runs keep there.
func (s *scene) outputs(t testing.TB) map[string]string {
	t.Helper()
	return files(t, filepath.Join(s.folder, "out"))
}

// files are the contents of a folder, without what runs keep there.
func files(t testing.TB, folder string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".zoofold":
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(folder, path)
		list[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// told is what a run told.
type told struct {
	outcome.End
	models map[string]outcome.Model
	times  map[string]int
	notes  []string
}

// sink takes it.
type sink struct {
	*told
	done func(outcome.Model)
}

func (sink) Start(outcome.Start) {}
func (sink) Begin(outcome.Begin) {}
func (sink) Progress(int64)      {}
func (s sink) Done(m outcome.Model) {
	s.models[m.Path] = m
	s.times[m.Path]++
	if s.done != nil {
		s.done(m)
	}
}
func (sink) End(outcome.End) {}

// runOf runs a manifest, on the queue or, where it is nil, here.
func runOf(ctx context.Context, q *Queue, manifest string, done func(outcome.Model)) (*told, error) {
	m, err := manifests.Load(manifest)
	if err != nil {
		return nil, err
	}
	r := &told{models: map[string]outcome.Model{}, times: map[string]int{}}
	var lock sync.Mutex
	o := run.Options{Manifest: m, Workers: 4, Backend: cpu.New(2), NoEngine: "none", Predict: passes, Version: "test", Sink: sink{r, done}, Cache: os.Getenv(cacheVariable), CacheSize: 1 << 30}
	if q != nil {
		o.Remote = q
		o.Tell = func(text string) {
			lock.Lock()
			defer lock.Unlock()
			r.notes = append(r.notes, text)
		}
	}
	r.End, err = run.Run(ctx, o)
	lock.Lock()
	defer lock.Unlock()
	return r, err
}

func must(t testing.TB, q *Queue, manifest string, done func(outcome.Model)) *told {
	t.Helper()
	r, err := runOf(t.Context(), q, manifest, done)
	if err != nil {
		t.Fatal(err)
	}
	for path, n := range r.times {
		if n != 1 {
			t.Errorf("%s was told of %d times", path, n)
		}
	}
	return r
}

// serve has workers in this process until stop is called, which waits for them.
func serve(t testing.TB, url string, s *scene, workers int, change func(*run.Options, *Member, *Config)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for k := range workers {
		o := run.Options{Workers: 2, Backend: cpu.New(1), NoEngine: "none", Predict: passes, Version: "test", Cache: os.Getenv(cacheVariable), CacheSize: 1 << 30}
		me := Member{Name: fmt.Sprintf("w%d", k), Places: 2, Has: run.Needs{Engine: true}}
		q := connect(t, url, me.Name, func(c *Config) {
			if change != nil {
				change(&o, &me, c)
			}
		})
		w, err := run.NewWorker(me.Name, o, append([]string{s.folder}, s.roots...))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := q.Serve(ctx, ctx, w, me); err != nil {
				t.Error(err)
			}
			w.Close()
		})
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(stop)
	return stop
}

// same fails where a run over the queue made or told something else than one here.
func (s *scene) same(t testing.TB, got *told) {
	t.Helper()
	here := &scene{folder: t.TempDir()}
	here.manifest = filepath.Join(here.folder, "models.yaml")
	text, err := os.ReadFile(s.manifest)
	if err == nil {
		err = errors.Join(os.WriteFile(here.manifest, text, 0o666), os.CopyFS(filepath.Join(here.folder, "zoo"), os.DirFS(filepath.Join(s.folder, "zoo"))))
	}
	if err != nil {
		t.Fatal(err)
	}
	want := must(t, nil, here.manifest, nil)
	if a, b := here.outputs(t), s.outputs(t); !maps.Equal(a, b) {
		t.Errorf("other outputs: %d here, %d over the queue", len(a), len(b))
	}
	if got == nil {
		return
	}
	if !reflect.DeepEqual(want.Counts, got.Counts) || want.Exit != got.Exit || len(got.Notes) > 0 {
		t.Errorf("here %v, exit %d; over the queue %v, exit %d, notes %v", want.Counts, want.Exit, got.Counts, got.Exit, got.Notes)
	}
	for path, m := range want.models {
		x := got.models[path]
		m.Seconds, x.Seconds = 0, 0
		if !reflect.DeepEqual(m, x) {
			t.Errorf("%s: here %+v, over the queue %+v", path, m, x)
		}
	}
}

// child starts the test's program in a role, and reads what it says line by line.
func child(t testing.TB, role string, args ...string) (c *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	c = exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), roleVariable+"="+role)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c, bufio.NewScanner(out)
}

func kill(t testing.TB, c *exec.Cmd) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // it was killed
}

func TestRun_OverTheQueueIsAsOneHere(t *testing.T) {
	s := newScene(t, 24, "")
	url := node(t, nil).ClientURL()
	stop := serve(t, url, s, 3, nil)
	q := connect(t, url, "begins", nil)
	s.same(t, must(t, q, s.manifest, nil))
	if again := must(t, q, s.manifest, nil); again.Counts[outcome.Unchanged] != 24 {
		t.Errorf("once more: %v", again.Counts)
	}
	stop()
	if local := must(t, nil, s.manifest, nil); local.Counts[outcome.Unchanged] != 24 {
		t.Errorf("a run here knows nothing of it: %v", local.Counts)
	}
	if list, err := q.Members(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("workers that have left: %v, %v", list, err)
	}
	empty(t, q)
}

// empty fails where a run has left messages.
func empty(t testing.TB, q *Queue) {
	t.Helper()
	work, err := q.work.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answers, err := q.answers.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if work.State.Msgs > 0 || answers.State.Msgs > 0 {
		t.Errorf("%d tasks and %d answers are left", work.State.Msgs, answers.State.Msgs)
	}
}

func TestWorker_KilledInAModelLosesNothing(t *testing.T) {
	s := newScene(t, 3, "verify: [predictions]")
	url := node(t, nil).ClientURL()
	q := connect(t, url, "begins", nil)
	victim, lines := child(t, "worker", url, s.folder, "hangs")
	go func() {
		for lines.Scan() && lines.Text() != "in hand" {
		}
		kill(t, victim)
		serve(t, url, s, 1, nil)
	}()
	r := must(t, q, s.manifest, nil)
	s.same(t, r)
}

func TestWorker_AModelThatKillsThemIsGivenUp(t *testing.T) {
	s := newScene(t, 1, "verify: [predictions]")
	url := node(t, nil).ClientURL()
	q := connect(t, url, "begins", nil)
	go func() {
		for range 2 {
			victim, lines := child(t, "worker", url, s.folder, "dies")
			for lines.Scan() {
			}
			_ = victim.Wait() // it has killed itself
		}
		serve(t, url, s, 1, nil)
	}()
	r := must(t, q, s.manifest, nil)
	for path, m := range r.models {
		if m.Status != outcome.Failed || m.Error != "given up: 2 workers had it in hand and none came to an end with it, child the last" {
			t.Errorf("%s: %s, %s", path, m.Status, m.Error)
		}
	}
	if r.Exit != run.ExitFailed || len(s.outputs(t)) > 0 {
		t.Errorf("exit %d, %d outputs", r.Exit, len(s.outputs(t)))
	}
	empty(t, q)
}

// A worker that is asked to end gives what it has in hand to others at once: here a lost one is missed after an hour.
func TestWorker_ThatEndsGivesItsModelsBack(t *testing.T) {
	s := newScene(t, 2, "verify: [predictions]")
	url := node(t, nil).ClientURL()
	patient := func(c *Config) { c.Lost = time.Hour }
	q := connect(t, url, "begins", patient)
	reached := make(chan struct{}, 1)
	w, err := run.NewWorker("ends", run.Options{Workers: 1, Backend: cpu.New(1), Predict: hanging(reached)}, []string{s.folder})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	go func() {
		<-reached
		end()
	}()
	ended := make(chan error, 1)
	go func() {
		ended <- connect(t, url, "ends", patient).Serve(ctx, ctx, w, Member{Name: "ends", Has: run.Needs{Engine: true}})
		serve(t, url, s, 1, func(_ *run.Options, _ *Member, c *Config) { patient(c) })
	}()
	s.same(t, must(t, q, s.manifest, nil))
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// hanging is an engine that does not end before its context does.
type hanging chan struct{}

func (h hanging) Compare(ctx context.Context, _ predict.Comparison) outcome.Check {
	h <- struct{}{}
	<-ctx.Done()
	return outcome.Check{Status: outcome.NotRun, Note: "interrupted"}
}
func (hanging) Name() string { return "one that hangs" }

func TestRun_GoesOnWhenItWasKilled(t *testing.T) {
	s := newScene(t, 30, "")
	url := node(t, nil).ClientURL()
	killed, lines := child(t, "begins", url, s.manifest)
	serve(t, url, s, 2, nil)
	for range 5 {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "done") {
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	kill(t, killed)
	if _, err := runOf(t.Context(), nil, s.manifest, nil); !errors.Is(err, run.ErrLocked) || !strings.Contains(err.Error(), "is locked by another run, whose models are done by ") {
		t.Errorf("a run here meanwhile: %v", err)
	}
	q := connect(t, url, "begins", nil)
	s.same(t, must(t, q, s.manifest, nil))
	empty(t, q)
	if here := must(t, nil, s.manifest, nil); here.Counts[outcome.Unchanged] != 30 {
		t.Errorf("here, after that: %v", here.Counts)
	}
}

func TestRun_SaysThatNoWorkerHasWhatIsNeeded(t *testing.T) {
	s := newScene(t, 2, "device: cuda")
	url := node(t, nil).ClientURL()
	q := connect(t, url, "begins", nil)
	text, err := json.Marshal(Member{Name: "old", Version: "0.0.1", Makes: "others", Has: run.Needs{CUDA: true, Engine: true}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		workers int
		old     bool
		want    string
	}{
		"none":            {0, false, "2 models wait for a worker that has CUDA: there is none"},
		"one without":     {1, false, "2 models wait for a worker that has CUDA: none of w0 has"},
		"another version": {0, true, "there is none, only old (zoofold 0.0.1, others)"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		stop := serve(t, url, s, c.workers, func(_ *run.Options, m *Member, _ *Config) { m.Has = run.Needs{} })
		if c.old {
			if _, err := q.workers.Put(ctx, "old", text); err != nil {
				t.Fatal(err)
			}
		}
		var said []string
		m, err := manifests.Load(s.manifest)
		if err != nil {
			t.Fatal(err)
		}
		r := &told{models: map[string]outcome.Model{}, times: map[string]int{}}
		o := run.Options{Manifest: m, Workers: 1, Backend: cpu.New(1), Verify: &[]string{}, Sink: sink{r, nil}, Remote: q, Tell: func(text string) {
			said = append(said, text)
			cancel()
		}}
		end, err := run.Run(ctx, o)
		stop()
		if err != nil || end.Exit != run.ExitInterrupted || len(said) == 0 || !strings.Contains(said[0], c.want) {
			t.Errorf("%s: %v, %+v, %v", name, said, end, err)
		}
		if c.old {
			if err := q.workers.Delete(t.Context(), "old"); err != nil {
				t.Fatal(err)
			}
		}
		empty(t, q)
	}
}

func TestWorker_EndsMessagesThatAreNone(t *testing.T) {
	s := newScene(t, 2, "")
	url := node(t, nil).ClientURL()
	q := connect(t, url, "begins", nil)
	serve(t, url, s, 1, nil)
	for k, data := range []string{"", "x", `{"version":1}`, `{"version":1,"id":"a","run":"b","zoo":"/","out":"/","manifest":"m","model":"../x","rule":{},"settings":""}`} {
		m := &nats.Msg{Subject: fmt.Sprintf("%s.%s.any.place.%d", workWord, q.makes, k), Data: []byte(data)}
		if err := q.post(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	s.same(t, must(t, q, s.manifest, nil))
}

func TestExclusive_IsGivenBackByWhoWasKilled(t *testing.T) {
	url := node(t, nil).ClientURL()
	turn := func(name string) (q *Queue, release func()) {
		t.Helper()
		q = connect(t, url, name, nil)
		s, err := q.Store(t.Context(), "/out")
		if err == nil {
			release, err = s.Exclusive(t.Context(), "turn")
		}
		if err != nil {
			t.Fatal(err)
		}
		return q, release
	}
	first, release := turn("first")
	s, err := first.Store(t.Context(), "/out")
	if err != nil {
		t.Fatal(err)
	}
	waits, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Exclusive(waits, "turn"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two have it: %v", err)
	}
	release()
	killed, _ := turn("killed")
	killed.Close()
	_, release = turn("next")
	release()
}

func TestPasswords_AreNotShown(t *testing.T) {
	for in, want := range map[string]string{
		"nats://a:b@c:1,nats://d": "nats://c:1,nats://d", "tls://tok@en@h": "tls://h", "h:4222": "h:4222", "u:p@h": "h",
	} {
		if got := redacted(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if _, err := Open(t.Context(), Config{URL: "nats://user:secret@127.0.0.1:1"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// Workers share a zoo of tiny models. In make soak it is a large one, and some of them are killed now and then.
func TestRun_ManyModels(t *testing.T) {
	models, kills := oracle.Setting(t, "ZOOFOLD_MODELS", 200), oracle.Setting(t, "ZOOFOLD_KILLED", 3)
	s := newScene(t, models, "")
	url := node(t, nil).ClientURL()
	serve(t, url, s, 7, nil)
	q := connect(t, url, "begins", nil)
	next := make(chan struct{}, models)
	var victims sync.WaitGroup
	victims.Go(func() { // a worker each time that some models are done, until so many are
		for range kills {
			victim, lines := child(t, "worker", url, s.folder, "works")
			for lines.Scan() && lines.Text() != "in hand" {
			}
			for range models / (2 * kills) {
				<-next
			}
			_ = victim.Process.Kill() // wherever it is
			_ = victim.Wait()
		}
	})
	r := must(t, q, s.manifest, func(outcome.Model) { next <- struct{}{} })
	victims.Wait()
	s.same(t, r)
	empty(t, q)
}
