// Command zoobench measures zoofold beside plain copies of the same files, in turn, in one run, and prints ratios.
//
//	zoobench -zoofold bin/zoofold
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
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
	flag.Parse()
	if err := measure(*program, *models, *width, *many, *rounds); err != nil {
		fmt.Fprintf(os.Stderr, "zoobench: %v\n", err)
		os.Exit(1)
	}
}

// bench is a folder to work in.
type bench struct {
	folder, program string
	jobs            int
}

func measure(program string, models int, width int64, many, rounds int) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "zoobench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := &bench{folder, program, runtime.NumCPU()}
	if err := b.speed(models, width, rounds); err != nil {
		return err
	}
	return b.unchanged(many, rounds)
}

// contestant is one way to make a second zoo of the first.
type contestant struct {
	name string
	run  func(out string) (peak int64, err error)
	took []float64
	peak int64
}

func (b *bench) speed(models int, width int64, rounds int) error {
	zoo := filepath.Join(b.folder, "zoo")
	if _, err := zootest.Write(zoo, models, width, 4); err != nil {
		return err
	}
	bytes, err := size(zoo)
	if err != nil {
		return err
	}
	list := []*contestant{
		{name: "cp -r", run: func(out string) (int64, error) { return 0, b.command("cp", "-r", zoo, out) }},
		{name: "parallel copy", run: func(out string) (int64, error) { return 0, b.copy(zoo, out) }},
		{name: "zoofold -verify none", run: func(out string) (int64, error) { return b.peak("zoo", out, "none") }},
		{name: "zoofold -verify parity", run: func(out string) (int64, error) { return b.peak("zoo", out, "parity") }},
	}
	for range rounds + 1 {
		for _, c := range list {
			out := filepath.Join(b.folder, "out")
			started := time.Now()
			peak, err := c.run(out)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			syscall.Sync()
			c.took, c.peak = append(c.took, time.Since(started).Seconds()), max(c.peak, peak)
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d models, %d MB, page cache warm, -j %d, each ending in a sync; medians of %d rounds after one to warm up\n\n", models, bytes/1e6, b.jobs, rounds)
	fmt.Printf("%-32s %8s %8s %8s %15s %12s\n", "", "seconds", "GB/s", "x cp -r", "x parallel copy", "peak memory")
	for _, c := range list {
		peak := ""
		if c.peak > 0 {
			peak = fmt.Sprintf("%d MiB", c.peak>>20)
		}
		t := median(c.took[1:])
		fmt.Printf("%-32s %8.2f %8.2f %8.2f %15.2f %12s\n", c.name, t, float64(bytes)/1e9/t, t/median(list[0].took[1:]), t/median(list[1].took[1:]), peak)
	}
	started := time.Now()
	peak, err := b.peak("zoo", filepath.Join(b.folder, "out"), "parity,algebra")
	if err != nil {
		return err
	}
	t := time.Since(started).Seconds()
	fmt.Printf("%-32s %8.2f %8.2f %8.2f %15.2f %8d MiB   (once)\n", "zoofold -verify parity,algebra", t, float64(bytes)/1e9/t, t/median(list[0].took[1:]), t/median(list[1].took[1:]), peak>>20)
	return nil
}

// unchanged measures runs that have nothing to do, and runs that have one model to do.
func (b *bench) unchanged(models, rounds int) error {
	paths, err := zootest.Write(filepath.Join(b.folder, "many"), models, 2, 1)
	if err != nil {
		return err
	}
	out := filepath.Join(b.folder, "manyout")
	first, err := b.fold("many", out, "none")
	if err != nil {
		return err
	}
	var none, one []float64
	peak := int64(0)
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
	fmt.Printf("\n%d small models: folded in %.1f s, found unchanged in %.2f s, one of them changed in %.2f s, %d MiB\n", models, first.took.Seconds(), median(none), median(one), peak>>20)
	return nil
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func size(folder string) (bytes int64, err error) {
	err = filepath.Walk(folder, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

func (b *bench) command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// ended is how a run of zoofold ended.
type ended struct {
	Counts     map[string]int
	PeakMemory int64 `json:"peak_memory"` // bytes
	took       time.Duration
}

// fold runs zoofold over a zoo. Every model has to be folded, or unchanged.
func (b *bench) fold(zoo, out, checks string) (ended, error) {
	manifest := filepath.Join(b.folder, "models.yaml")
	text := fmt.Sprintf("version: 1\nzoo: %s\nout: %s\nmodels:\n  - match: '**/*.onnx'\n", zoo, out)
	if err := os.WriteFile(manifest, []byte(text), 0o666); err != nil {
		return ended{}, err
	}
	started := time.Now()
	err := b.command(b.program, "-manifest", manifest, "-j", strconv.Itoa(b.jobs), "-verify", checks, "-quiet")
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
	r.took = took
	if c := r.Counts; c["failed"]+c["copied"] > 0 || c["folded"]+c["unchanged"] == 0 {
		return r, fmt.Errorf("the run ended in %v", c)
	}
	return r, nil
}

// peak is fold's memory.
func (b *bench) peak(zoo, out, checks string) (int64, error) {
	r, err := b.fold(zoo, out, checks)
	return r.PeakMemory, err
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
