//go:build linux

// Command gpucheck checks zoofold on a machine with a GPU and measures it there. It is a part of gpu-kit, whose check.sh
// starts it; docs/gpu/README.md says what it does.
//
//	gpucheck -kit FOLDER -out FOLDER
//	gpucheck -models FOLDER
//
// It writes figures.json, figures.md and log.txt into the folder that -out names, anew after each step, and prints the steps
// as a table at the end. It exits with 0 if no step failed, 1 if one did, and 2 for wrong usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/gpu/figures"
)

func main() {
	kit := flag.String("kit", "", "the kit's `folder`: bin, lib and models")
	out := flag.String("out", "", "the `folder` for figures.json, figures.md and log.txt")
	limit := flag.Duration("limit", 280*time.Second, "how long all steps together may take")
	models := flag.String("models", "", "write the kit's small models into a `folder` instead")
	flag.Parse()
	if flag.NArg() > 0 || (*models == "") == (*kit == "" || *out == "") {
		fmt.Fprintln(os.Stderr, "usage: gpucheck -kit FOLDER -out FOLDER [-limit 280s], or gpucheck -models FOLDER")
		os.Exit(2)
	}
	if *models != "" {
		if err := smallZoo(*models); err != nil {
			fmt.Fprintf(os.Stderr, "gpucheck: %v\n", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	failed, err := check(ctx, *kit, *out, *limit)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "gpucheck: %v\n", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// checker is a check under way.
type checker struct {
	kit, out, work string
	driver         string // the driver's library, or "" for what the dynamic linker finds
	search         string // LD_LIBRARY_PATH of what is started
	library        string // ONNX Runtime's; "": there is none that can be loaded
	log            *log
	report         figures.Report
}

// check goes through all steps.
func check(ctx context.Context, kit, out string, limit time.Duration) (failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := &checker{report: figures.Report{Time: time.Now()}}
	if c.kit, err = filepath.Abs(kit); err != nil {
		return false, err
	}
	if c.out, err = filepath.Abs(out); err != nil {
		return false, err
	}
	if err := os.MkdirAll(c.out, 0o777); err != nil {
		return false, err
	}
	if c.log, err = openLog(filepath.Join(c.out, "log.txt")); err != nil {
		return false, err
	}
	defer c.log.Close()
	if c.work, err = os.MkdirTemp("", "gpucheck-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(c.work)
	c.report.Machine = machine()
	for _, s := range c.steps() {
		c.do(ctx, s)
		if err := c.save(); err != nil {
			return true, err
		}
		failed = failed || c.report.Steps[len(c.report.Steps)-1].Result == figures.Failed
	}
	if filepath.Dir(c.library) == c.out {
		if err := os.Remove(c.library); err != nil {
			return true, err
		}
	}
	fmt.Println()
	return failed, c.report.Summary(os.Stdout)
}

// step is one part of a check, with a limit of its own.
type step struct {
	name   string
	limit  time.Duration
	device bool // it needs one
	do     func(ctx context.Context) (said string, err error)
}

// notRun is the error of a step that cannot run on this machine. It is not a failure.
type notRun struct{ why string }

func (n notRun) Error() string { return n.why }

// do does a step and records its result. The step has to end within its limit.
func (c *checker) do(ctx context.Context, s step) {
	done := figures.Step{Name: s.name, Result: figures.Passed}
	started := time.Now()
	var err error
	switch {
	case ctx.Err() != nil:
		err = notRun{"the time is over"}
	case s.device && c.report.NoDevice != "":
		err = notRun{"no device: " + c.report.NoDevice}
	default:
		fmt.Printf("%s …\n", s.name)
		c.log.printf("\n==== %s\n", s.name)
		of, cancel := context.WithTimeout(ctx, s.limit)
		done.Said, err = s.do(of)
		if errors.Is(of.Err(), context.DeadlineExceeded) && err != nil {
			err = fmt.Errorf("stopped after %.0f s: %w", time.Since(started).Seconds(), err)
		}
		cancel()
	}
	done.Seconds = time.Since(started).Seconds()
	var not notRun
	switch {
	case errors.As(err, &not):
		done.Result, done.Said = figures.NotRun, not.why
	case err != nil:
		done.Result, done.Said = figures.Failed, err.Error()
	}
	c.log.printf("%s: %s: %s\n", s.name, done.Result, done.Said)
	c.report.Steps = append(c.report.Steps, done)
}

// save writes the report as it is so far.
func (c *checker) save() error {
	if !c.report.Small {
		c.report.Judge()
	}
	text, err := json.MarshalIndent(c.report, "", " ")
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(c.out, "figures.md"))
	if err != nil {
		return err
	}
	return errors.Join(c.report.Markdown(f), f.Close(), os.WriteFile(filepath.Join(c.out, "figures.json"), append(text, '\n'), 0o666))
}
