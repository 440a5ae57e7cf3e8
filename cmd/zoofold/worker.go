package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/run/queue"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// queueFlags say where a queue of models is.
type queueFlags struct {
	url, credentials, ca string
	replicas             int
}

func (f *queueFlags) declare(set *flag.FlagSet, url string) {
	set.StringVar(&f.url, "queue", "", url)
	set.StringVar(&f.credentials, "queue-creds", "", "the `file` of the credentials for -queue (default: $NATS_CREDS, or none)")
	set.StringVar(&f.ca, "queue-ca", "", "the `file` of the authorities that sign the certificates of -queue (default: $NATS_CA, or the system's)")
	set.IntVar(&f.replicas, "replicas", 0, "how many `servers` of -queue keep what it holds (default: as they do, or 1)")
}

// check is an error if a flag says what does not go.
func (f *queueFlags) check() error {
	if f.url == "" && (f.credentials != "" || f.ca != "" || f.replicas != 0) {
		return errors.New("-queue-creds, -queue-ca and -replicas go with -queue")
	}
	if f.replicas < 0 || f.replicas > 5 {
		return fmt.Errorf("-replicas %d: use 1, 3 or 5", f.replicas)
	}
	return nil
}

// open connects to the queue.
func (f *queueFlags) open(ctx context.Context, client string, note func(string)) (*queue.Queue, error) {
	return queue.Open(ctx, queue.Config{
		URL: f.url, Client: client, Credentials: cmp.Or(f.credentials, os.Getenv("NATS_CREDS")), CA: cmp.Or(f.ca, os.Getenv("NATS_CA")),
		Certificate: os.Getenv("NATS_CERT"), Key: os.Getenv("NATS_KEY"), Replicas: f.replicas, Note: note,
	})
}

// work does models of runs that are begun elsewhere.
func work(set *flag.FlagSet) action {
	f := &flags{plain: true, drain: duration(20 * time.Second)}
	var roots []string
	f.queue.declare(set, "the `address` of NATS servers with JetStream where models wait: nats://host:4222 (default: $NATS_URL)")
	set.Func("root", "a `folder` below which zoos and outputs lie, or one in a bucket: s3://BUCKET/FOLDER; there may be several, and nothing else is read or written for anybody", func(path string) error {
		roots = append(roots, path)
		return nil
	})
	f.declareWorkers(set)
	f.declareCache(set)
	set.StringVar(&f.device, "device", "auto", "where weights are rescaled: `"+strings.Join(manifests.Devices, "|")+"`; auto uses CUDA if there is a driver")
	set.Var(&f.drain, "drain", "how much `time` models in hand have to end when the worker is asked to stop")
	set.Lookup("drain").DefValue = "20s"
	set.StringVar(&f.name, "name", "", "the worker's `name` (default: host and process)")
	f.declareMachine(set)
	f.declareShown(set)
	set.StringVar(&f.log, "log", "", "log to standard error too, one record per event: `text|json`")
	return func(_ []string, stdout, stderr io.Writer) int {
		f.queue.url = cmp.Or(f.queue.url, os.Getenv("NATS_URL"))
		err := errors.Join(f.queue.check(), f.check())
		switch {
		case err != nil:
		case f.queue.url == "":
			err = errors.New("-queue is missing: write -queue nats://host:4222")
		case len(roots) == 0:
			err = errors.New("-root is missing: name the folder that zoos and outputs lie in")
		case slices.ContainsFunc(roots, inBucket):
			err = giveWay(nil)
		}
		if err != nil {
			fmt.Fprintf(stderr, "zoofold worker: %s\n", report.Printable(err.Error()))
			return exitUsage
		}
		return f.serve(openConsole(f, stdout, stderr), roots, stdout)
	}
}

// serve opens what models need, and works until the process is asked to stop.
func (f *flags) serve(c *console, roots []string, stdout io.Writer) int {
	defer runtime.KeepAlive(ballast())
	engine, closed, noEngine, err := openEngine(f.library)
	if err != nil {
		c.fail(err)
		return exitUsage
	}
	defer closed()
	backend, host, why, err := f.openAtOnce()
	if err != nil {
		c.fail(fmt.Errorf("device cuda: %w", err))
		return exitUsage
	}
	if device, ok := backend.(tensor.Closer); ok {
		defer device.Close()
	}
	me := queue.Member{Name: f.name, Version: version(), Places: f.workers, Memory: memory(), CUDA: why, Engine: noEngine, Has: run.Needs{CUDA: backend != host, Engine: engine != nil}}
	if me.Host, err = os.Hostname(); err != nil {
		me.Host = "unknown"
	}
	me.Name = cmp.Or(me.Name, fmt.Sprintf("%s-%d", me.Host, os.Getpid()))
	if me.Has.CUDA {
		me.CUDA = backend.Name()
	}
	if me.Has.Engine {
		me.Engine = engine.Name()
	}
	w, err := run.NewWorker(me.Name, run.Options{
		Workers: f.workers, Backend: backend, Host: host, Why: why, NoEngine: noEngine, Predict: engine, Version: version(), Sink: c,
		Cache: f.cache, CacheSize: f.cacheSize,
	}, roots)
	if err != nil {
		c.fail(err)
		return exitUsage
	}
	defer w.Close()
	ctx, stop := interruptible(func(string) { c.stopping("no more models are taken; press Ctrl-C again to stop now") }, c.gone)
	defer stop()
	q, err := f.queue.open(ctx, me.Name, c.note)
	if err != nil {
		c.fail(err)
		return exitFailed
	}
	defer q.Close()
	if !f.quiet && !f.json {
		fmt.Fprintf(stdout, "zoofold %s: worker %s for %d models at once, below %s\npredictions: %s\ndevice: %s\n", me.Version, report.Printable(me.Name),
			f.workers, report.Printable(strings.Join(roots, ", ")), report.Printable(me.Engine), report.Printable(cmp.Or(me.CUDA, backend.Name())))
	}
	hands, give := context.WithCancelCause(context.Background())
	defer give(nil)
	context.AfterFunc(ctx, func() {
		time.AfterFunc(time.Duration(f.drain), func() { give(errors.New("the worker was asked to stop")) })
	})
	if err := q.Serve(ctx, hands, w, me); err != nil {
		c.fail(err)
		return exitFailed
	}
	if err := c.lost(); err != nil {
		c.fail(fmt.Errorf("standard output: %w", err))
		return exitFailed
	}
	return exitDone
}

// openAtOnce is openBackend for a process that works for long: a device that it says it has is open.
func (f *flags) openAtOnce() (b, host tensor.Backend, why string, err error) {
	m := &manifests.Manifest{Rules: []manifests.Rule{{Settings: manifests.Settings{Device: f.device}}}}
	if f.device == "auto" {
		m.Rules[0].Device = "cuda"
	}
	b, host, why, err = openBackend(f, m)
	if err != nil && f.device == "auto" {
		m.Rules[0].Device, why = "cpu", err.Error()
		b, host, _, err = openBackend(f, m)
	}
	return b, host, why, err
}

// memory is how much the machine has, or the container that the process is in, in bytes; 0 where the system does not say.
func memory() (bytes int64) {
	if f, err := os.Open("/proc/meminfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			var kib int64
			if n, _ := fmt.Sscanf(s.Text(), "MemTotal: %d kB", &kib); n == 1 {
				bytes = kib << 10
			}
		}
	}
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			bytes = min(cmp.Or(bytes, most), most)
		}
	}
	return bytes
}

// remote says whether models are done by workers.
func (f *flags) remote() bool { return f.queue.url != "" }

// onlyHere are flags that say what this process has, which is nothing where workers do the models.
func (f *flags) onlyHere(set *flag.FlagSet) error {
	var name string
	set.Visit(func(x *flag.Flag) {
		if slices.Contains([]string{"gpu-memory", "onnxruntime"}, x.Name) {
			name = x.Name
		}
	})
	if name != "" && f.remote() {
		return fmt.Errorf("-%s is for who folds: give it to zoofold worker", name)
	}
	return nil
}
