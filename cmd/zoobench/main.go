// Command zoobench measures zoofold beside plain copies of the same files, in turn, in one run, and prints ratios.
//
//	zoobench -zoofold bin/zoofold
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/zoo/zootest"
)

func main() {
	program := flag.String("zoofold", "bin/zoofold", "the program")
	models := flag.Int("models", 20, "how many models the speed is measured on")
	width := flag.Int64("width", 384, "their channels")
	many := flag.Int("many", 10000, "how many small models an unchanged zoo has")
	rounds := flag.Int("rounds", 5, "how often everything is measured")
	published := flag.String("published", ".cache/zoo", "folder of published models, measured too; one that is not there is passed over")
	python := flag.String("python", ".cache/compare/bin/python", "the Python with ONNX Runtime, onnxslim and onnxsim, whose processor time is put beside; one that is not there is passed over")
	huge := flag.Float64("huge", 0, "GB of one more model, with external data, beside one of 0.1 GB; 0: none")
	checkpoint := flag.Float64("checkpoint", 0, "GB of a language model in shards, measured beside cp -r and nothing else; 0: none")
	queued := flag.Bool("queue", false, "runs over a queue with one worker, measured beside runs here and nothing else")
	jobs := flag.Int("j", runtime.NumCPU(), "with -queue: how many models are worked on at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *queued:
		err = queue(ctx, *program, *models, *width, *many, *rounds, *jobs)
	case *checkpoint > 0:
		err = shards(ctx, *program, *checkpoint, *rounds)
	default:
		err = measure(ctx, *program, *models, *width, *many, *rounds, *published, *python, *huge)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "zoobench: %v\n", err)
		os.Exit(1)
	}
}

// bench holds the folder in which everything is measured.
type bench struct {
	ctx             context.Context // whose end ends the programs, so that the folder is removed
	folder, program string
	jobs            int
}

// newBench creates the folder; close removes it.
func newBench(ctx context.Context, program string, jobs int) (*bench, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "zoobench-")
	return &bench{ctx, folder, program, jobs}, err
}

func (b *bench) close() { _ = os.RemoveAll(b.folder) }

func measure(ctx context.Context, program string, models int, width int64, many, rounds int, published, python string, huge float64) error {
	b, err := newBench(ctx, program, runtime.NumCPU())
	if err != nil {
		return err
	}
	defer b.close()
	folder := b.folder
	fmt.Printf("%s; page cache warm, -j %d, each ending in a sync; medians of %d rounds after one to warm up, processor time of all processors\n", machine(), b.jobs, rounds)
	if _, err := zootest.Write(filepath.Join(folder, "zoo"), models, width, 4); err != nil {
		return err
	}
	if err := b.speed("generated models", filepath.Join(folder, "zoo"), rounds); err != nil {
		return err
	}
	if found, _ := filepath.Glob(filepath.Join(published, "*")); len(found) > 0 {
		zoo := filepath.Join(folder, "published")
		if err := onnxFiles(published, zoo); err != nil {
			return err
		}
		if err := b.speed("published models", zoo, rounds); err != nil {
			return err
		}
		if err := b.peers(python, zoo); err != nil {
			return err
		}
	}
	if err := b.unchanged(many, rounds); err != nil {
		return err
	}
	if huge > 0 {
		return b.huge(huge)
	}
	return nil
}

// machine is what the figures were measured on.
func machine() string {
	name := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			name, _, _ = strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
		}
	}
	return fmt.Sprintf("%d processors of %s, %s", runtime.NumCPU(), name, runtime.GOOS)
}

// contestant is one way to make a second zoo from the first.
type contestant struct {
	name  string
	run   func(out string) (ended, error)
	took  []float64 // seconds
	spent []float64 // processor seconds
	peak  int64
}

// speed measures copies of a zoo beside foldings of it.
func (b *bench) speed(name, zoo string, rounds int) error {
	models, bytes, err := size(zoo)
	if err != nil {
		return err
	}
	fold := func(checks string) *contestant {
		return &contestant{name: "zoofold -verify " + checks, run: func(out string) (ended, error) { return b.fold(zoo, out, checks) }}
	}
	list := []*contestant{
		{name: "cp -r", run: func(out string) (ended, error) { return b.command("cp", "-r", zoo, out) }},
		{name: "parallel copy", run: func(out string) (ended, error) { return ended{}, b.copy(zoo, out) }},
		fold("none"), fold("parity"), fold("parity,algebra"),
	}
	if err := b.compete(list, rounds); err != nil {
		return err
	}
	fmt.Printf("\n%-32s %8s %10s %8s %8s %8s %12s\n", fmt.Sprintf("%d %s, %d MB", models, name, bytes/1e6), "seconds", "processor", "GB/s", "x cp -r", "x copy", "peak memory")
	for _, c := range list {
		peak := ""
		if c.peak > 0 {
			peak = fmt.Sprintf("%d MiB", c.peak>>20)
		}
		t := median(c.took)
		fmt.Printf("%-32s %8.2f %10.2f %8.2f %8.2f %8.2f %12s\n", c.name, t, median(c.spent), float64(bytes)/1e9/t, t/median(list[0].took), t/median(list[1].took), peak)
	}
	return nil
}

// compete runs the contestants in turn, for so many rounds after a warm-up; with 0 rounds the warm-up counts.
func (b *bench) compete(list []*contestant, rounds int) error {
	out := filepath.Join(b.folder, "out")
	for round := range rounds + 1 {
		for _, c := range list {
			started, before := time.Now(), processor(syscall.RUSAGE_SELF)
			r, err := c.run(out)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			syscall.Sync()
			took := time.Since(started)
			if r.spent == 0 {
				r.spent = processor(syscall.RUSAGE_SELF) - before
			}
			if c.peak = max(c.peak, r.PeakMemory); round > 0 || rounds == 0 {
				c.took, c.spent = append(c.took, took.Seconds()), append(c.spent, r.spent.Seconds())
			}
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// processor is the processor time that this process, or its ended children, have taken.
func processor(who int) time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u) // it fails for other arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// onnxFiles copies the ONNX files below a folder into a new one.
func onnxFiles(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".onnx" {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyFile(path, filepath.Join(to, rel), make([]byte, 256<<10))
	})
}

// unchanged measures runs that have every one of many small models to do, nothing, and one.
func (b *bench) unchanged(models, rounds int) error {
	paths, err := zootest.Write(filepath.Join(b.folder, "many"), models, 2, 1)
	if err != nil {
		return err
	}
	var all, none, one []float64
	var spent time.Duration
	var out string
	peak := int64(0)
	for k := range max(1, rounds) {
		out = filepath.Join(b.folder, fmt.Sprint("manyout", k)) // a new one, since file systems take their time to reuse what was removed
		syscall.Sync()
		r, err := b.fold("many", out, "none")
		if err != nil {
			return err
		}
		all, spent, peak = append(all, r.took.Seconds()), spent+r.spent, max(peak, r.PeakMemory)
	}
	for k := range rounds {
		r, err := b.fold("many", out, "none")
		if err != nil {
			return err
		}
		none, peak = append(none, r.took.Seconds()), max(peak, r.PeakMemory)
		other, err := zootest.Kinds[0].Bytes(uint64(models+k+1), 2, 1) // paths[0] is of that kind too
		if err != nil {
			return err
		}
		if err := os.WriteFile(paths[0], other, 0o666); err != nil {
			return err
		}
		if r, err = b.fold("many", out, "none"); err != nil {
			return err
		}
		if r.Counts["folded"] != 1 || r.Counts["unchanged"] != models-1 {
			return fmt.Errorf("one model changed, the run ended in %v", r.Counts)
		}
		one = append(one, r.took.Seconds())
	}
	fmt.Printf("\n%d small models: folded in %.1f s (%.0f a second, processor %.1f s), found unchanged in %.2f s, one of them changed in %.2f s, %d MiB\n",
		models, median(all), float64(models)/median(all), spent.Seconds()/float64(len(all)), median(none), median(one), peak>>20)
	return nil
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// size is how many files a folder has, and their bytes.
func size(folder string) (count int, bytes int64, err error) {
	err = filepath.Walk(folder, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			count, bytes = count+1, bytes+info.Size()
		}
		return err
	})
	return count, bytes, err
}

// command runs a program to its end.
func (b *bench) command(name string, args ...string) (ended, error) {
	c := exec.CommandContext(b.ctx, name, args...)
	out, err := c.CombinedOutput()
	if err != nil {
		return ended{}, fmt.Errorf("%w: %s", err, out)
	}
	return ended{spent: c.ProcessState.UserTime() + c.ProcessState.SystemTime()}, nil
}

// ended is how a run of zoofold ended.
type ended struct {
	Counts     map[string]int
	PeakMemory int64 `json:"peak_memory"` // bytes
	took       time.Duration
	spent      time.Duration // of processors
}

// fold runs zoofold over a zoo. Every model has to be folded, or unchanged.
func (b *bench) fold(zoo, out, checks string, more ...string) (ended, error) {
	manifest := filepath.Join(b.folder, "models.yaml")
	text := fmt.Sprintf("version: 1\nzoo: %q\nout: %q\nmodels:\n  - match: '**/*.{onnx,safetensors}'\n", zoo, out)
	if err := os.WriteFile(manifest, []byte(text), 0o666); err != nil {
		return ended{}, err
	}
	started := time.Now()
	process, err := b.command(b.program, append([]string{"-manifest", manifest, "-j", strconv.Itoa(b.jobs), "-verify", checks, "-quiet"}, more...)...)
	took := time.Since(started)
	if err != nil {
		return ended{}, err
	}
	data, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		return ended{}, err
	}
	var report struct{ End ended }
	if err := json.Unmarshal(data, &report); err != nil {
		return ended{}, err
	}
	r := report.End
	r.took, r.spent = took, process.spent
	if c := r.Counts; c["failed"] > 0 || c["folded"]+c["unchanged"] == 0 {
		return r, fmt.Errorf("the run ended in %v", c)
	}
	return r, nil
}

// copy is the plain parallel copier: as many files at once as there are processors, 256 KiB at a time.
func (b *bench) copy(zoo, out string) error {
	paths := make(chan string)
	errs := make([]error, b.jobs)
	var group sync.WaitGroup
	for k := range b.jobs {
		group.Go(func() {
			buffer := make([]byte, 256<<10)
			for path := range paths {
				if errs[k] == nil {
					errs[k] = copyFile(path, out+strings.TrimPrefix(path, zoo), buffer)
				}
			}
		})
	}
	err := filepath.Walk(zoo, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			paths <- path
		}
		return err
	})
	close(paths)
	group.Wait()
	if err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, buffer []byte) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buffer); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}
