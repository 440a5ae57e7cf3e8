package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/report"
)

// subcommand is what zoofold does under a name, besides folding a zoo.
type subcommand struct {
	name, operands, does string
	// declare declares the subcommand's flags, and is what runs once they are parsed.
	declare func(*flag.FlagSet) action
}

// action is a subcommand under way: its operands, as many as the table has, and its exit code.
type action func(operands []string, stdout, stderr io.Writer) int

// subcommands are all of them. Help, the manual page and the shells' completions are made from this table.
func subcommands() []subcommand {
	return []subcommand{
		{"plan", "MODEL", "what folding would change", plan},
		{"explain", "MODEL", "for every affine map: what becomes of it, and why", explain},
		{"verify", "A B", "whether two models predict the same", verify},
		{"export", "MODEL OUT", "write a model's weights for Metal, or the model as ONNX", export},
		{"schema", "", "print the JSON Schema of manifests, or of report.json", schema},
		{"completion", "bash|zsh|fish", "print what a shell completes zoofold's command lines with", completion},
		{"man", "", "print the manual page", man},
	}
}

// run parses a subcommand's arguments and runs it.
func (s *subcommand) run(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet(s.name, flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() { help(s.name, stderr) }
	act := s.declare(set)
	operands := strings.Fields(s.operands)
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	case checkChoices(set) != nil:
		fmt.Fprintf(stderr, "zoofold %s: %v\n", s.name, checkChoices(set))
		return exitUsage
	case set.NArg() != len(operands):
		fmt.Fprintf(stderr, "zoofold %s: %d arguments, want %d: see zoofold %s -help\n", s.name, set.NArg(), len(operands), s.name)
		return exitUsage
	}
	for k, o := range operands {
		if choices := words(o); len(choices) > 1 && !slices.Contains(choices, set.Arg(k)) {
			fmt.Fprintf(stderr, "zoofold %s: %q is none of %s\n", s.name, set.Arg(k), strings.Join(choices, ", "))
			return exitUsage
		}
	}
	return act(set.Args(), stdout, stderr)
}

func schema(set *flag.FlagSet) action {
	ofReport := set.Bool("report", false, "that of report.json")
	return func(_ []string, stdout, _ io.Writer) int {
		text := manifests.Schema()
		if *ofReport {
			text = report.JSONSchema()
		}
		_, _ = stdout.Write(text)
		return exitDone
	}
}

func completion(*flag.FlagSet) action {
	return func(operands []string, stdout, stderr io.Writer) int { return page(operands[0], stdout, stderr) }
}

func man(*flag.FlagSet) action {
	return func(_ []string, stdout, stderr io.Writer) int { return page("man", stdout, stderr) }
}

// modelFlags are the flags of what a model file does not say by itself.
func modelFlags(set *flag.FlagSet) *format.Options {
	o := &format.Options{}
	set.StringVar(&o.Weights, "weights", "", "the `file` with the weights (default: the one beside the model file that has its name)")
	epsilonFlag(set, o)
	return o
}

func epsilonFlag(set *flag.FlagSet, o *format.Options) {
	set.StringVar(&o.Epsilon, "epsilon", format.Epsilons[0], "Darknet's convention: `"+strings.Join(format.Epsilons, "|")+"`")
}

// foldFlags are the flags of folding by itself, which a manifest says for a zoo.
func foldFlags(set *flag.FlagSet) (overridable *bool, norms *string) {
	overridable = set.Bool("overridable", false, "initializers that callers may override are constants")
	norms = set.String("norms", manifests.Norms[0], "what becomes of batch normalisations: `"+strings.Join(manifests.Norms, "|")+"`")
	return overridable, norms
}

// planOf plans one model file by itself.
func planOf(path string, o *format.Options, overridable bool, norms string, stderr io.Writer) (*fold.Plan, bool) {
	o.Neutralize = norms == "neutralize"
	f, err := format.Open(context.Background(), path, *o)
	if err == nil {
		defer f.Close()
		var p *fold.Plan
		if p, err = fold.Fold(f.Model(), fold.Options{Overridable: overridable, Neutralize: o.Neutralize, Backend: cpu.New(runtime.NumCPU())}); err == nil {
			return p, true
		}
	}
	fmt.Fprintf(stderr, "zoofold: %s: %s\n", path, report.Printable(err.Error()))
	return nil, false
}

func plan(set *flag.FlagSet) action {
	asJSON := set.Bool("json", false, "print the plan as JSON")
	overridable, norms := foldFlags(set)
	o := modelFlags(set)
	return func(operands []string, stdout, stderr io.Writer) int {
		p, ok := planOf(operands[0], o, *overridable, *norms, stderr)
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
}

func explain(set *flag.FlagSet) action {
	overridable, norms := foldFlags(set)
	o := modelFlags(set)
	return func(operands []string, stdout, stderr io.Writer) int {
		p, ok := planOf(operands[0], o, *overridable, *norms, stderr)
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
}
