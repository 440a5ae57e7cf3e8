package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/run/queue"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// What the test's program is, if it was started as something else than the tests.
const roleVariable = "ZOOFOLD_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "" {
		os.Exit(m.Run())
	}
	if err := beginRun(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beginRun is a process that begins the run of a manifest on a queue, with a report as the program writes it.
func beginRun(manifest, url string) error {
	m, err := manifests.Load(manifest)
	if err != nil {
		return err
	}
	q, err := queue.Open(context.Background(), queue.Config{URL: url, Client: "begins"})
	if err != nil {
		return err
	}
	defer q.Close()
	_, err = run.Run(context.Background(), run.Options{
		Manifest: m, Workers: runtime.NumCPU(), Backend: cpu.New(1), Version: "test", Sink: outcome.Tee{}, Document: report.NewDocument(), Report: m.Out,
		Remote: q, Tell: func(text string) { fmt.Fprintln(os.Stderr, text) },
	})
	return err
}

// simulated is a worker that makes empty outputs.
type simulated struct {
	name   string
	places chan struct{}
}

func (s *simulated) Ready(ctx context.Context) error {
	select {
	case s.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *simulated) Release() { <-s.places }

func (s *simulated) Do(_ context.Context, message []byte, _ int, _ func(context.Context, string) (run.Store, error)) ([]byte, error) {
	defer s.Release()
	return run.Simulate(message, s.name)
}

// A run of a zoo of empty files is planned while no worker is there, then simulated workers answer, and then another run finds
// that nothing is to be done. make scale does it with a million models and a thousand workers.
func TestScale(t *testing.T) {
	models, workers := oracle.Setting(t, "ZOOFOLD_MODELS", 300), oracle.Setting(t, "ZOOFOLD_WORKERS", 10)
	folder := t.TempDir()
	for k := range models {
		path := filepath.Join(folder, "zoo", fmt.Sprintf("%03d", k/1000), fmt.Sprintf("%06d.onnx", k))
		if k%1000 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	manifest := filepath.Join(folder, "models.yaml")
	if err := os.WriteFile(manifest, []byte("version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: '**/*.onnx'\n    verify: none\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(folder, "jetstream"), NoLog: true, NoSigs: true, MaxConn: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	begun := time.Now()
	first := begin(t, manifest, s.ClientURL())
	queued(t, s.ClientURL(), uint64(models))
	planned := time.Since(begun)
	stored := jetStreamBytes(t, s)
	working, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	answering := time.Now()
	for k := range workers {
		all.Go(func() {
			name := fmt.Sprintf("w%d", k)
			q, err := queue.Open(working, queue.Config{URL: s.ClientURL(), Client: name})
			if err != nil {
				t.Error(err)
				return
			}
			defer q.Close()
			if err := q.Serve(working, working, &simulated{name, make(chan struct{}, 2)}, queue.Member{Name: name, Places: 2}); err != nil {
				t.Error(err)
			}
		})
	}
	end, spent := first()
	answered := time.Since(answering)
	if end.Counts[outcome.Folded] != models {
		t.Fatalf("%v of %d models", end.Counts, models)
	}
	stop()
	all.Wait()
	seen, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := jetStreamBytes(t, s)
	begun = time.Now()
	again, spentAgain := begin(t, manifest, s.ClientURL())()
	if again.Counts[outcome.Unchanged] != models {
		t.Fatalf("once more: %v", again.Counts)
	}
	n := float64(models)
	t.Logf("%d models, %d workers: planned and queued in %.1f s, answered in %.1f s (%.0f a second), found unchanged in %.1f s; processor time of who began it %.1f s, then %.1f s",
		models, workers, planned.Seconds(), answered.Seconds(), n/answered.Seconds(), time.Since(begun).Seconds(), spent.Seconds(), spentAgain.Seconds())
	t.Logf("who began the run: %d MiB at most, %d MiB when nothing is to be done; report.json %s", end.PeakMemory>>20, again.PeakMemory>>20, size(filepath.Join(folder, "out", "report.json")))
	t.Logf("messages to the server %.1f a model, %.0f bytes; from it %.1f, %.0f bytes; JetStream keeps %d MiB when all are queued, %d MiB at the end",
		float64(seen.InMsgs)/n, float64(seen.InBytes)/n, float64(seen.OutMsgs)/n, float64(seen.OutBytes)/n, stored>>20, kept>>20)
}

func size(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d MiB", info.Size()>>20)
}

// begin starts a run in a process of its own; what it is has to be called for its end.
func begin(t *testing.T, manifest, url string) func() (outcome.End, time.Duration) {
	t.Helper()
	c := exec.Command(os.Args[0], manifest, url)
	c.Env = append(os.Environ(), roleVariable+"=begins")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // it has ended
	return func() (end outcome.End, spent time.Duration) {
		t.Helper()
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join(filepath.Dir(manifest), "out", "report.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var report struct {
			End outcome.End `json:"end"`
		}
		if err := json.NewDecoder(f).Decode(&report); err != nil {
			t.Fatal(err)
		}
		return report.End, c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
}

// queued waits until so many models were queued.
func queued(t *testing.T, url string, models uint64) {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for {
		s, err := js.Stream(t.Context(), "zoofold-work")
		if err == nil && s.CachedInfo().State.LastSeq >= models {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func jetStreamBytes(t *testing.T, s *server.Server) uint64 {
	t.Helper()
	info, err := s.Jsz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return info.Store
}
