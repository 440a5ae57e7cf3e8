// Command zoofold folds per-channel scaling into the weights of a zoo of models, and proves every result.
//
//	zoofold -manifest models.yaml -j 8
//
// zoofold help lists its flags and subcommands. The exit code is 0 if all is done, 1 if some models failed (the others are
// done), and 2 for wrong usage or a wrong manifest. It is 3 if another run has the output folder, and 4 if models were kept
// with less proof than was asked for. It is 5 if a dry run with -detailed-exitcode found something to do, and 130 if the
// run was interrupted (committed outputs stay).
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/gpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"

	_ "github.com/zoofold/zoofold/zoo/format/all"
)

// The exit codes, by short names.
const (
	exitDone        = run.ExitDone
	exitFailed      = run.ExitFailed
	exitUsage       = run.ExitUsage
	exitLocked      = run.ExitLocked
	exitUnproven    = run.ExitUnproven
	exitInterrupted = run.ExitInterrupted
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command runs the program and is its exit code.
func command(args []string, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == predict.ServeArgument {
		predict.Serve(args[1], os.Stdin, stdout)
		return exitDone
	}
	if err := wayGiven(); err != nil {
		fmt.Fprintf(stderr, "zoofold: %v\n", err)
		return exitUsage
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		for _, s := range subcommands() {
			if s.name == args[0] {
				return s.run(args[1:], stdout, stderr)
			}
		}
		fmt.Fprintf(stderr, "zoofold: %s\n", report.Printable(stray(args[0])))
		return exitUsage
	}
	log.SetOutput(io.Discard)   // drivers of buckets log errors that they return, too
	debug.SetTraceback("crash") // if Go's runtime fails the process ends by SIGABRT, not with exit code 2, which means wrong usage
	return foldZoo(args, stdout, stderr)
}

// flags are those of a run, and of the subcommand fold, which has some of them.
type flags struct {
	manifest, device, verify, report, metrics, library, log       string
	cache                                                         string
	color, notify                                                 string
	workers, keep                                                 int
	memory, cacheSize                                             int64
	timeout                                                       duration
	latency, dryRun, detailed, prune, json, quiet, version, loads bool
	force                                                         forceFlag

	queue queueFlags
	name  string   // a worker's
	drain duration // a worker's
	plain bool     // no bar is drawn
}

// forceFlag is -force, or -force=hash.
type forceFlag run.Force

func (f *forceFlag) String() string   { return string(*f) }
func (f *forceFlag) IsBoolFlag() bool { return true }
func (f *forceFlag) Set(s string) error {
	switch s {
	case "true", "all":
		*f = forceFlag(run.ForceAll)
	case "false":
		*f = forceFlag(run.ForceNothing)
	case "hash":
		*f = forceFlag(run.ForceHash)
	default:
		return errors.New("-force and -force=hash are known")
	}
	return nil
}

// declare declares them. A name in backquotes says what a flag takes; one with bars lists all that it takes.
func (f *flags) declare(set *flag.FlagSet) {
	f.declareFolding(set, "the manifest's, or ")
	set.StringVar(&f.manifest, "manifest", "", "the manifest `file`; - reads it from standard input")
	set.StringVar(&f.report, "report", "", "the `folder` of report.html and report.json (default: the output folder)")
	set.IntVar(&f.keep, "keep", 30, "of how many `runs` reports are kept, the last one counted")
	set.StringVar(&f.metrics, "metrics", "", "the `file` for metrics as Prometheus's node exporter reads them: DIR/zoofold.prom")
	f.declareCache(set)
	set.BoolVar(&f.dryRun, "dry-run", false, "plan everything, on the CPU; prove nothing, write nothing, load no library")
	set.BoolVar(&f.detailed, "detailed-exitcode", false, "with -dry-run: exit with 5 if there is something to do")
	set.StringVar(&f.notify, "notify", "", "a `command` for the shell, run at the end unless all is done (exit code 0): it gets the run as JSON on its standard input")
	set.BoolVar(&f.prune, "prune", false, "remove outputs without a source model in the zoo")
	set.StringVar(&f.log, "log", "", "log to standard error too, one record per event: `text|json`")
	set.BoolVar(&f.version, "version", false, "print the version, and what would be used here; no library is loaded")
	set.BoolVar(&f.loads, "v", false, "with -version: load ONNX Runtime and the CUDA driver, and print what they say of themselves")
	f.queue.declare(set, "the `address` of NATS servers with JetStream, where zoofold worker waits for models on other machines: nats://host:4222")
	set.Var(&f.force, "force", "fold everything again, or with `hash` what differs by content")
}

// declareFolding declares those that say how models are folded and what is shown. before is what a default is said with: a
// manifest, where there is one, comes first.
func (f *flags) declareFolding(set *flag.FlagSet, before string) {
	defaults := manifests.Defaults()
	f.declareWorkers(set)
	set.StringVar(&f.device, "device", "", "where weights are rescaled: `"+strings.Join(manifests.Devices, "|")+"` (default: "+before+defaults.Device+")")
	set.StringVar(&f.verify, "verify", "", "the checks for all models: `"+strings.Join(manifests.Checks, ",")+"|none` (default: "+before+"all)")
	set.BoolVar(&f.latency, "latency", false, "measure ONNX Runtime's latency before and after, where predictions are checked: about two seconds per model")
	set.Var(&f.timeout, "timeout", "the most `time` that one model may take: 90s, 10m (default: "+before+strings.TrimSuffix(defaults.Timeout.String(), "0s")+")")
	set.Lookup("timeout").DefValue = ""
	f.declareMachine(set)
	f.declareShown(set)
}

func (f *flags) declareWorkers(set *flag.FlagSet) {
	set.IntVar(&f.workers, "j", runtime.NumCPU(), "how many `models` are worked on at once")
	set.Lookup("j").DefValue = "one per core"
}

// declareMachine declares those that say what of the machine is used.
func (f *flags) declareMachine(set *flag.FlagSet) {
	set.Int64Var(&f.memory, "gpu-memory", 0, "how many `bytes` of each device's memory may be used (default: half of what is free)")
	set.StringVar(&f.library, "onnxruntime", "", "the ONNX Runtime `library` for predictions, or none (default: $ONNXRUNTIME_LIB, then the places that the manual page names)")
}

// declareCache declares those that say what is kept of buckets.
func (f *flags) declareCache(set *flag.FlagSet) {
	set.StringVar(&f.cache, "cache", defaultCache(), "the `folder` in which models of buckets are kept while they are read, and after")
	set.Lookup("cache").DefValue = "zoofold in the user's folder of caches"
	set.Int64Var(&f.cacheSize, "cache-size", 20e9, "the most `bytes` that are kept in the cache; the models that are worked on are not counted")
}

// declareShown declares those that say what is shown.
func (f *flags) declareShown(set *flag.FlagSet) {
	set.BoolVar(&f.json, "json", false, "print one JSON event per line")
	set.BoolVar(&f.quiet, "quiet", false, "print failures only")
	set.StringVar(&f.color, "color", "auto", "colour failures and warnings: `auto|always|never`; auto does on terminals, unless $NO_COLOR is set")
}

func parse(args []string) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("zoofold", flag.ContinueOnError)
	f.declare(set)
	operands, err := parseFlags(set, "", args)
	switch {
	case err != nil:
		return nil, err
	case f.version:
		return f, nil
	case f.loads:
		return nil, errors.New("-v goes with -version: zoofold -version -v")
	case len(operands) > 0:
		return nil, errors.New(stray(operands[0]))
	case f.manifest == "":
		return nil, errors.New("-manifest is missing: write zoofold -manifest models.yaml (zoofold init FOLDER writes one)")
	case f.metrics != "" && f.dryRun:
		return nil, errors.New("-metrics cannot be combined with -dry-run: a dry run is no success")
	case bucket.IsURL(f.report):
		return nil, errors.New("-report takes a folder of this host: without it the report goes beside the outputs, in a bucket too")
	case bucket.IsURL(f.metrics):
		return nil, errors.New("-metrics takes a file of this host")
	case f.detailed && !f.dryRun:
		return nil, errors.New("-detailed-exitcode needs -dry-run")
	}
	return f, errors.Join(f.queue.check(), f.onlyHere(set), f.check())
}

// check is an error if a number is not one that its flag takes.
func (f *flags) check() error {
	switch {
	case f.workers < 1 || f.workers > 4096:
		return fmt.Errorf("-j %d: use 1 to 4096", f.workers)
	case f.keep < 0:
		return fmt.Errorf("-keep %d: use 0 or more", f.keep)
	case f.cacheSize < 0:
		return fmt.Errorf("-cache-size %d: use a number of bytes, 0 or more", f.cacheSize)
	case f.memory < 0:
		return fmt.Errorf("-gpu-memory %d: use a number of bytes above 0", f.memory)
	}
	_, err := f.checks()
	return err
}

// foldZoo is the program without a subcommand: a run.
func foldZoo(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		help("", stderr)
		return exitUsage
	}
	f, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help("", stdout)
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "zoofold: %s\n", report.Printable(err.Error()))
		return exitUsage
	case f.version:
		return f.printVersion(stdout)
	}
	c := openConsole(f, stdout, stderr)
	var stdin bytes.Buffer
	m, err := f.readManifest(&stdin)
	if err == nil && (m.ZooURL != nil || m.OutURL != nil) {
		err = giveWay(stdin.Bytes())
	}
	if err != nil {
		c.fail(err)
		return exitUsage
	}
	return f.carryOut(c, m, func(ctx context.Context, o run.Options) (outcome.End, error) {
		o.Report = f.report
		if o.Report == "" && !f.dryRun {
			o.Report = m.Out
		}
		o.Keep = f.keep
		doc := report.NewDocument()
		o.Document, o.Metrics = doc, f.metrics
		o.Cache, o.CacheSize = f.cache, f.cacheSize
		o.Force, o.DryRun, o.Prune, o.Detailed = run.Force(f.force), f.dryRun, f.prune, f.detailed
		end, err := f.run(ctx, c, o)
		if f.notify != "" && (end.Exit != exitDone || err != nil) {
			if e := notify(f.notify, doc, end, err); e != nil {
				c.fail(e)
			}
		}
		return end, err
	})
}

// run runs, here or on the workers of a queue.
func (f *flags) run(ctx context.Context, c *console, o run.Options) (outcome.End, error) {
	if f.remote() {
		q, err := f.queue.open(ctx, "run of "+o.Manifest.Path, c.note)
		if err != nil {
			return outcome.End{Exit: exitFailed}, err
		}
		defer q.Close()
		o.Remote, o.Tell = q, c.note
	}
	return run.Run(ctx, o)
}

// readManifest reads the manifest, for "-" from standard input: what was read of that goes into stdin.
func (f *flags) readManifest(stdin io.Writer) (*manifests.Manifest, error) {
	if f.manifest == "-" {
		return manifests.Read(io.TeeReader(os.Stdin, stdin))
	}
	return manifests.Load(f.manifest)
}

// printVersion says what the program is, and what it would use.
func (f *flags) printVersion(stdout io.Writer) int {
	predictions, cuda := found(f)
	fmt.Fprintf(stdout, "zoofold %s %s %s/%s\npredictions: %s\nCUDA: %s\nbuckets: %s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, predictions, cuda, buckets())
	return exitDone
}

// defaultCache is the folder in which models of buckets are kept unless -cache names another; "" if the user has no folder of
// caches. Others could put files into a folder of temporary files.
func defaultCache() string {
	folder, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, "zoofold")
}

// carryOut opens the backend and the engine, folds, and returns the exit code.
func (f *flags) carryOut(c *console, m *manifests.Manifest, fold func(context.Context, run.Options) (outcome.End, error)) int {
	defer runtime.KeepAlive(ballast())
	checks, err := f.checks()
	if err != nil {
		c.fail(err)
		return exitUsage
	}
	if f.device != "" {
		for k := range m.Rules {
			m.Rules[k].Device = f.device
		}
	}
	o := run.Options{
		Manifest: m, Workers: f.workers, Verify: checks, Timeout: time.Duration(f.timeout), Version: version(), Latency: f.latency, Sink: c,
	}
	engine, closed := engineOf(f, o.Asks("predictions"))
	defer closed()
	backend, host, why, err := openBackend(f, m)
	if err != nil {
		c.fail(fmt.Errorf("device cuda: %w", err))
		return exitUsage
	}
	if device, ok := backend.(tensor.Closer); ok {
		defer device.Close()
	}
	ctx, stop := interruptible(c.stopping, c.gone)
	defer stop()
	o.Engine, o.Backend, o.Host, o.Why = engine, backend, host, why
	end, err := fold(ctx, o)
	lost := c.lost()
	if lost != nil {
		c.fail(fmt.Errorf("standard output: %w", lost))
	}
	if err != nil {
		c.fail(err)
	}
	if code := exitOf(end, err); err != nil || lost == nil || code == exitInterrupted {
		return code
	}
	return exitFailed
}

// exitOf is the exit code for the result of a run.
func exitOf(end outcome.End, err error) int {
	switch {
	case err == nil:
		return end.Exit
	case errors.Is(err, manifests.ErrManifest), errors.Is(err, run.ErrPlace), errors.Is(err, predict.ErrNamed):
		return exitUsage
	case errors.Is(err, run.ErrLocked):
		return exitLocked
	case end.Exit == exitInterrupted:
		return exitInterrupted
	}
	return exitFailed
}

// checks are those of -verify; nil where it was not given.
func (f *flags) checks() (*[]string, error) {
	if f.verify == "" {
		return nil, nil
	}
	list := []string{}
	if f.verify == "none" {
		return &list, nil
	}
	for c := range strings.SplitSeq(f.verify, ",") {
		switch {
		case c == "none":
			return nil, errors.New("-verify: none cannot be combined with other checks")
		case !slices.Contains(manifests.Checks, c):
			return nil, fmt.Errorf("-verify: %q is not one of %s, none%s", c, strings.Join(manifests.Checks, ", "), didYouMean(c, "", manifests.Checks))
		}
		list = append(list, c)
	}
	return &list, nil
}

// openBackend is the backend that rescales, a GPU if there is one and a rule may use it, otherwise the host, and the reason
// for the choice.
func openBackend(f *flags, m *manifests.Manifest) (b, host tensor.Backend, why string, err error) {
	host = cpu.New(f.workers)
	asked := func(device string) bool {
		return slices.ContainsFunc(m.Rules, func(r manifests.Rule) bool { return r.Device == device })
	}
	if !asked("auto") && !asked("cuda") {
		return host, host, "", nil
	}
	switch {
	case f.dryRun:
		return host, host, "a dry run opens no device", nil
	case f.remote() && !f.plain:
		return host, host, "workers have the devices", nil
	}
	o := gpu.Options{CPU: host, Memory: f.memory, Worth: gpu.Default}
	if smallest, _ := strconv.ParseInt(os.Getenv("ZOOFOLD_CUDA_SMALLEST"), 10, 64); smallest > 0 {
		o.Worth.Rescale, o.Worth.Sum = smallest, smallest
	}
	if asked("cuda") {
		device, err := gpu.Open(o)
		if err != nil {
			return nil, nil, "", err
		}
		return device, host, "", nil
	}
	later, err := gpu.OpenLater(o)
	if err != nil {
		return host, host, err.Error(), nil
	}
	return later, host, "", nil
}

// engineOf starts a run's engine in the background, if one is needed or the user named one. get waits for it, and says why
// there is none.
func engineOf(f *flags, needed bool) (get func() (run.Predictor, string, error), closed func()) {
	none := ""
	switch {
	case f.dryRun:
		none = "a dry run proves nothing"
	case f.remote():
		none = "workers compare predictions"
	case !needed && f.library == "":
		none = "not asked for"
	}
	if none != "" {
		return func() (run.Predictor, string, error) { return nil, none, nil }, func() {}
	}
	var engine run.Predictor
	var end func()
	var why string
	var err error
	var starting sync.WaitGroup
	starting.Go(func() { engine, end, why, err = openEngine(f.library) })
	get = func() (run.Predictor, string, error) {
		starting.Wait()
		return engine, why, err
	}
	return get, func() {
		if starting.Wait(); err == nil {
			end()
		}
	}
}

// openEngine finds ONNX Runtime and starts it, or says why predictions cannot run. The engine has to be closed. It is an
// error if the user named a library that cannot be used.
func openEngine(flag string) (e run.Predictor, closed func(), why string, err error) {
	p, err := startEngine(flag)
	switch {
	case err == nil:
		return p, p.Close, "", nil
	case errors.Is(err, predict.ErrNamed):
		return nil, nil, "", err
	}
	return nil, func() {}, err.Error(), nil
}

func startEngine(flag string) (*predict.Processes, error) {
	library, err := predict.Find(flag)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return predict.Start(program, library)
}

// found says what predictions and rescaling would use: by the names of files or, with -v, by asking the libraries.
func found(f *flags) (predictions, cuda string) {
	if f.loads {
		p, err := startEngine(f.library)
		if err != nil {
			return missing(err), gpu.Describe()
		}
		defer p.Close()
		return p.Name(), gpu.Describe()
	}
	library, err := predict.Find(f.library)
	if err != nil {
		return missing(err), gpu.Sought()
	}
	return library.String(), gpu.Sought()
}

// missing says why there are no predictions. If the build is the reason, the named library does not matter.
func missing(err error) string {
	if errors.Is(err, predict.ErrNotBuilt) {
		err = predict.ErrNotBuilt
	}
	return err.Error()
}

// interruptible is a context that ends at the first SIGINT or SIGTERM; the second one ends the process, once gone has returned.
func interruptible(note func(string), gone func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		go note("stopping cleanly; press Ctrl-C again to stop now") // in the background, since a stopped terminal blocks, and the run has to stop all the same
		<-signals
		gone()
		os.Exit(exitInterrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}
