// Command zoofold folds per-channel scaling into the weights of a zoo of models, and proves every result.
//
//	zoofold -manifest models.yaml -j 8
//
// Run it without arguments for its flags and subcommands. It exits with 0 if all is done, 1 if some models failed (the
// others are done), 2 for wrong usage or a wrong manifest, 3 if another run has the output folder, 4 if models were kept
// with less proof than was asked for, 5 if a dry run with -detailed-exitcode found something to do, and 130 if it was
// interrupted (what was committed stays).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/gpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"

	_ "github.com/zoofold/zoofold/zoo/format/caffe"
	_ "github.com/zoofold/zoofold/zoo/format/checkpoint"
	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	_ "github.com/zoofold/zoofold/zoo/format/keras"
	_ "github.com/zoofold/zoofold/zoo/format/metal"
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	_ "github.com/zoofold/zoofold/zoo/format/safetensors"
	_ "github.com/zoofold/zoofold/zoo/format/torch"
)

var version = "0.1.0"

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitLocked      = 3
	exitInterrupted = 130
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command runs the program and is its exit code.
func command(args []string, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == predict.ServeArgument {
		predict.Serve(args[1], os.Stdin, stdout)
		return exitDone
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		for _, s := range subcommands() {
			if s.name == args[0] {
				return s.run(args[1:], stdout, stderr)
			}
		}
		fmt.Fprintf(stderr, "zoofold: unknown subcommand %q: see zoofold -help\n", args[0])
		return exitUsage
	}
	debug.SetTraceback("crash") // should Go's runtime fail, SIGABRT ends the process: the exit code 2 is wrong usage
	return foldZoo(args, stdout, stderr)
}

// flags are those of a run.
type flags struct {
	manifest, device, verify, report, metrics, library, log       string
	workers                                                       int
	memory                                                        int64
	timeout                                                       time.Duration
	latency, dryRun, detailed, prune, json, quiet, version, loads bool
	force                                                         forceFlag
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
	set.StringVar(&f.manifest, "manifest", "", "the manifest `file`")
	set.IntVar(&f.workers, "j", runtime.NumCPU(), "how many `models` are worked on at once")
	set.Lookup("j").DefValue = "one a core"
	set.StringVar(&f.device, "device", "", "where weights are rescaled: `"+strings.Join(manifests.Devices, "|")+"` (default: what the manifest says, auto if nothing)")
	set.Int64Var(&f.memory, "gpu-memory", 0, "how many `bytes` of each device's memory may be used (default: half of what is free)")
	set.StringVar(&f.verify, "verify", "", "the checks for all models: `"+strings.Join(manifests.Checks, ",")+"|none` (default: what the manifest says)")
	set.StringVar(&f.report, "report", "", "the `folder` of report.html and report.json (default: the output folder)")
	set.StringVar(&f.metrics, "metrics", "", "the `file` for metrics as Prometheus's node exporter reads them: DIR/zoofold.prom")
	set.BoolVar(&f.latency, "latency", false, "measure ONNX Runtime's latency before and after, where predictions are checked: about two seconds a model")
	set.StringVar(&f.library, "onnxruntime", "", "the ONNX Runtime `library` for predictions, or none (default: $ONNXRUNTIME_LIB, then the places that the manual page names)")
	set.DurationVar(&f.timeout, "timeout", 0, "how long one model may take (default: what the manifest says)")
	set.BoolVar(&f.dryRun, "dry-run", false, "plan everything, on the CPU; prove nothing, write nothing, load no library")
	set.BoolVar(&f.detailed, "detailed-exitcode", false, "with -dry-run: exit with 5 if there is something to do")
	set.BoolVar(&f.prune, "prune", false, "remove outputs that no model of the zoo makes any more")
	set.BoolVar(&f.json, "json", false, "print one JSON event a line")
	set.BoolVar(&f.quiet, "quiet", false, "print failures only")
	set.StringVar(&f.log, "log", "", "log to standard error too, a record an event: `text|json`")
	set.BoolVar(&f.version, "version", false, "print the version, and what would be used here; no library is loaded")
	set.BoolVar(&f.loads, "v", false, "with -version: load ONNX Runtime and the CUDA driver, and print what they say of themselves")
	set.Var(&f.force, "force", "fold everything again, or with `hash` what differs by content")
}

func parse(args []string, stderr io.Writer) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("zoofold", flag.ContinueOnError)
	set.SetOutput(stderr)
	f.declare(set)
	set.Usage = func() { help("", stderr) }
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if f.version {
		return f, nil
	}
	switch {
	case len(args) == 0:
		set.Usage()
		return nil, errors.New("no manifest")
	case f.loads:
		return nil, errors.New("-v goes with -version: zoofold -version -v")
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case f.manifest == "":
		return nil, errors.New("-manifest is missing")
	case f.workers < 1 || f.workers > 4096:
		return nil, fmt.Errorf("-j %d: use 1 to 4096", f.workers)
	case f.memory < 0:
		return nil, fmt.Errorf("-gpu-memory %d: use a number of bytes above 0", f.memory)
	case f.metrics != "" && f.dryRun:
		return nil, errors.New("-metrics: a dry run has none, it is no success")
	case f.detailed && !f.dryRun:
		return nil, errors.New("-detailed-exitcode: use it with -dry-run")
	case f.timeout < 0:
		return nil, fmt.Errorf("-timeout %v: use a duration above 0", f.timeout)
	}
	return f, checkChoices(set)
}

// foldZoo is the program without a subcommand: a run.
func foldZoo(args []string, stdout, stderr io.Writer) int {
	f, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "zoofold: %v\n", err)
		return exitUsage
	}
	if f.version {
		predictions, cuda := found(f)
		fmt.Fprintf(stdout, "zoofold %s %s %s/%s\npredictions: %s\nCUDA: %s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, predictions, cuda)
		return exitDone
	}
	c := openConsole(f, stdout, stderr)
	checks, err := checkList(f.verify)
	if err != nil {
		c.fail(fmt.Errorf("-verify: %w", err))
		return exitUsage
	}
	m, err := manifests.Load(f.manifest)
	if err != nil {
		c.fail(err)
		return exitUsage
	}
	if f.device != "" {
		for k := range m.Rules {
			m.Rules[k].Device = f.device
		}
	}
	engine, closed, noEngine, err := engineOf(f)
	if err != nil {
		c.fail(err)
		return exitUsage
	}
	defer closed()
	backend, host, why, err := openBackend(f, m)
	if err != nil {
		c.fail(fmt.Errorf("device cuda: %w", err))
		return exitUsage
	}
	if device, ok := backend.(tensor.Closer); ok {
		defer device.Close()
	}
	ctx, stop := interruptible(c.note)
	defer stop()
	folder := f.report
	if folder == "" && !f.dryRun {
		folder = m.Out
	}
	o := run.Options{
		Manifest: m, Workers: f.workers, Backend: backend, Host: host, Why: why, Verify: checks, Timeout: f.timeout,
		Force: run.Force(f.force), DryRun: f.dryRun, Prune: f.prune, Version: version, NoEngine: noEngine, Predict: engine, Latency: f.latency,
		Detailed: f.detailed, Sink: c, Document: report.NewDocument(), Report: folder, Metrics: f.metrics,
	}
	end, err := run.Run(ctx, o)
	lost := c.lost()
	if lost != nil {
		c.fail(fmt.Errorf("standard output: %w", lost))
	}
	switch {
	case err != nil:
		c.fail(err)
	case lost != nil && end.Exit != exitInterrupted:
		return exitFailed
	default:
		return end.Exit
	}
	switch {
	case errors.Is(err, manifests.ErrManifest), errors.Is(err, run.ErrPlace):
		return exitUsage
	case errors.Is(err, run.ErrLocked):
		return exitLocked
	case end.Exit == exitInterrupted:
		return exitInterrupted
	}
	return exitFailed
}

// checkList is -verify's; nil where it was not given.
func checkList(s string) (*[]string, error) {
	if s == "" {
		return nil, nil
	}
	list := []string{}
	if s == "none" {
		return &list, nil
	}
	for c := range strings.SplitSeq(s, ",") {
		if !slices.Contains(manifests.Checks, c) {
			return nil, fmt.Errorf("%q is none of %s, none", c, strings.Join(manifests.Checks, ", "))
		}
		list = append(list, c)
	}
	return &list, nil
}

// openBackend is what rescales, a GPU if there is one and a rule may use it, otherwise the host, and why.
func openBackend(f *flags, m *manifests.Manifest) (b, host tensor.Backend, why string, err error) {
	host = cpu.New(f.workers)
	asked := func(device string) bool {
		return slices.ContainsFunc(m.Rules, func(r manifests.Rule) bool { return r.Device == device })
	}
	if !asked("auto") && !asked("cuda") {
		return host, host, "", nil
	}
	if f.dryRun {
		return host, host, "a dry run opens no device", nil
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

// engineOf is a run's engine, or why it has none. A dry run loads nothing: it has nothing to prove.
func engineOf(f *flags) (e run.Predictor, closed func(), why string, err error) {
	if f.dryRun {
		return nil, func() {}, "a dry run proves nothing", nil
	}
	return openEngine(f.library)
}

// openEngine finds ONNX Runtime and starts it, or says why predictions cannot run. The engine has to be closed. It is an
// error if somebody named a library and it cannot be used.
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

// found says what predictions and rescaling would use: by the names of files or, with -v, as the libraries say themselves.
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

// missing says why there are no predictions. Where the build is the reason, it does not matter what was named.
func missing(err error) string {
	if errors.Is(err, predict.ErrNotBuilt) {
		err = predict.ErrNotBuilt
	}
	return err.Error()
}

// interruptible is a context that ends at the first SIGINT or SIGTERM; the second one ends the process.
func interruptible(note func(string)) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		go note("leaving off cleanly; once more to stop at once") // who has stopped the terminal can still stop the run
		<-signals
		os.Exit(exitInterrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}
