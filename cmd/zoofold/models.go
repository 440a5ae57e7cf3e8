package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// verify compares what two model files of any formats predict.
func verify(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("verify", flag.ContinueOnError)
	library := set.String("onnxruntime", "", "the ONNX Runtime `library`")
	tolerance := set.Float64("tolerance", 0, "largest relative difference (default: the jitter rule)")
	epsilon := set.String("epsilon", format.Epsilons[0], "Darknet's `convention`: "+strings.Join(format.Epsilons, ", "))
	list, code, ok := arguments(set, args, 2, stderr)
	if !ok {
		return code
	}
	engine, why := openEngine(*library)
	if engine == nil {
		fmt.Fprintf(stderr, "zoofold: %s\n", why)
		return exitFailed
	}
	ctx, stop := interruptible(stderr)
	defer stop()
	folder, err := os.MkdirTemp("", "zoofold-")
	if err != nil {
		fmt.Fprintf(stderr, "zoofold: %v\n", err)
		return exitFailed
	}
	defer os.RemoveAll(folder)
	runnable := make([]string, 2)
	for k, path := range list {
		if runnable[k], err = asONNX(ctx, path, format.Options{Epsilon: *epsilon}, filepath.Join(folder, fmt.Sprint(k))); err != nil {
			fmt.Fprintf(stderr, "zoofold: %s: %s\n", path, report.Printable(err.Error()))
			return exitFailed
		}
	}
	c := engine.Compare(ctx, predict.Comparison{
		Original: runnable[0], Folded: runnable[1], Tolerance: *tolerance, Unnamed: runnable[0] != list[0] || runnable[1] != list[1],
	})
	fmt.Fprintf(stdout, "predictions %s: off by %.1e, jitter %.1e, %d values compared", c.Status, c.Difference, c.Jitter, c.Compared)
	if c.Note != "" {
		fmt.Fprintf(stdout, "; %s", report.Printable(c.Note))
	}
	fmt.Fprintln(stdout)
	if c.Status != report.Passed {
		return exitFailed
	}
	return exitDone
}

// asONNX is the path of an ONNX model that computes what a model file of any format does, made in a folder if need be.
func asONNX(ctx context.Context, path string, o format.Options, folder string) (string, error) {
	f, err := format.Open(path, o)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return run.Runnable(ctx, f, path, folder, cpu.New(1))
}

// export writes a model file in another form.
func export(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("export", flag.ContinueOnError)
	to := set.String("to", "", "the `form`: metal or onnx")
	o := modelFlags(set)
	list, code, ok := arguments(set, args, 2, stderr)
	if !ok {
		return code
	}
	e, err := format.FindExporter(*to)
	if err != nil {
		fmt.Fprintf(stderr, "zoofold export: -to: %v\n", err)
		return exitUsage
	}
	ctx, stop := interruptible(stderr)
	defer stop()
	f, err := format.Open(list[0], *o)
	if err == nil {
		defer f.Close()
		err = run.Export(ctx, f, e, list[1], cpu.New(1))
	}
	if err != nil {
		fmt.Fprintf(stderr, "zoofold: %s: %s\n", list[0], report.Printable(err.Error()))
		return exitFailed
	}
	fmt.Fprintf(stdout, "%s: %s\n", e.Name, list[1])
	return exitDone
}
