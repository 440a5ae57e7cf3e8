package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

var subcommands = map[string]func(args []string, stdout, stderr io.Writer) int{
	"plan": plan, "explain": explain, "verify": verify,
	"schema": func(args []string, stdout, _ io.Writer) int {
		text := manifests.Schema()
		if slices.Equal(args, []string{"report"}) {
			text = report.JSONSchema()
		}
		_, _ = stdout.Write(text)
		return exitDone
	},
}

// arguments parses a subcommand's flags and takes that many arguments.
func arguments(set *flag.FlagSet, args []string, count int, stderr io.Writer) (list []string, code int, ok bool) {
	set.SetOutput(stderr)
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil, exitDone, false
	case err != nil:
		return nil, exitUsage, false
	case set.NArg() != count:
		fmt.Fprintf(stderr, "zoofold %s: %d arguments, want %d\n", set.Name(), set.NArg(), count)
		return nil, exitUsage, false
	}
	return set.Args(), 0, true
}

// planOf plans one model file by itself.
func planOf(path string, overridable bool, stderr io.Writer) (*fold.Plan, bool) {
	f, err := format.Open(path)
	if err == nil {
		defer f.Close()
		var p *fold.Plan
		if p, err = fold.Fold(f.Model(), fold.Options{Overridable: overridable}); err == nil {
			return p, true
		}
	}
	fmt.Fprintf(stderr, "zoofold: %s: %s\n", path, report.Printable(err.Error()))
	return nil, false
}

func plan(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("plan", flag.ContinueOnError)
	asJSON := set.Bool("json", false, "print the plan as JSON")
	overridable := set.Bool("overridable", false, "initializers that callers may override are constants")
	list, code, ok := arguments(set, args, 1, stderr)
	if !ok {
		return code
	}
	p, ok := planOf(list[0], *overridable, stderr)
	if !ok {
		return exitFailed
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", " ")
		if err := e.Encode(p); err != nil {
			fmt.Fprintf(stderr, "zoofold: %v\n", err)
			return exitFailed
		}
		return exitDone
	}
	for _, n := range p.Nodes {
		fmt.Fprintf(stdout, "%-8s node   %s\n", n.Edit, report.Printable(n.Node))
	}
	for _, c := range p.Consts {
		fmt.Fprintf(stdout, "%-8s tensor %q %s\n", c.Edit, c.Name, report.Bytes(c.Bytes))
	}
	fmt.Fprintf(stdout, "%d -> %d per-channel nodes\n", p.Before, p.After)
	return exitDone
}

func explain(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("explain", flag.ContinueOnError)
	overridable := set.Bool("overridable", false, "initializers that callers may override are constants")
	list, code, ok := arguments(set, args, 1, stderr)
	if !ok {
		return code
	}
	p, ok := planOf(list[0], *overridable, stderr)
	if !ok {
		return exitFailed
	}
	counts, left := map[fold.Verdict]int{}, map[fold.Code]int{}
	for _, m := range p.Maps {
		counts[m.Verdict]++
		text := "it does nothing, or undoes another"
		if len(m.Into) > 0 {
			text = "into " + strings.Join(m.Into, ", ")
		}
		if m.Reason != nil {
			text = fmt.Sprintf("%s: %s", m.Reason.Code, m.Reason.Text)
			if m.Verdict == fold.Merged {
				text = "into " + strings.Join(m.Into, ", ") + "; " + text
			} else {
				left[m.Reason.Code]++
			}
		}
		fmt.Fprintf(stdout, "%-32s %-7s %s\n", report.Printable(m.Node), m.Verdict, report.Printable(text))
	}
	var codes []string
	for code, n := range left {
		codes = append(codes, fmt.Sprintf("%s %d", code, n))
	}
	slices.Sort(codes)
	reasons := ""
	if len(codes) > 0 {
		reasons = " (" + strings.Join(codes, ", ") + ")"
	}
	fmt.Fprintf(stdout, "%d maps: %d folded, %d merged, %d left%s\n", len(p.Maps), counts[fold.Folded], counts[fold.Merged], counts[fold.Left], reasons)
	return exitDone
}

func verify(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("verify", flag.ContinueOnError)
	library := set.String("onnxruntime", "", "the ONNX Runtime `library`")
	tolerance := set.Float64("tolerance", 0, "largest relative difference (default: the jitter rule)")
	list, code, ok := arguments(set, args, 2, stderr)
	if !ok {
		return code
	}
	engine, why := openEngine(*library)
	if engine == nil {
		fmt.Fprintf(stderr, "zoofold: %s\n", why)
		return exitFailed
	}
	c := engine.Compare(context.Background(), predict.Comparison{Original: list[0], Folded: list[1], Tolerance: *tolerance})
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
