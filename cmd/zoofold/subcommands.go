package main

import (
	"context"
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
	"github.com/zoofold/zoofold/zoo/outcome"
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
		{"explain", "MODEL", "for every per-channel node: what becomes of it, and why", explain},
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
	out := report.NewOutput(stdout)
	code := act(set.Args(), out, stderr)
	if err := out.Err(); err != nil {
		fmt.Fprintf(stderr, "zoofold: standard output: %v\n", err)
		return max(code, exitFailed)
	}
	return code
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
	set.StringVar(&o.State.Graph, "graph", "", "the `file` of a program or model along which a checkpoint is folded")
	set.Func("preset", "the `name` of a preset of pairs, for a checkpoint", func(name string) error {
		o.State.Presets = append(o.State.Presets, name)
		return nil
	})
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
	f, err := format.Open(context.Background(), path, *o)
	if err == nil {
		defer f.Close()
		var p *fold.Plan
		if p, err = fold.Fold(f.Model(), fold.Options{Overridable: overridable, Neutralize: norms == "neutralize", Backend: cpu.New(runtime.NumCPU())}); err == nil {
			return p, true
		}
	}
	fmt.Fprintf(stderr, "zoofold: %s: %s\n", report.Printable(report.Name(path)), report.Printable(err.Error()))
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
			text, err := report.EncodeJSON(p, "", " ")
			if err != nil {
				fmt.Fprintf(stderr, "zoofold: %v\n", err)
				return exitFailed
			}
			fmt.Fprintf(stdout, "%s\n", text)
			return exitDone
		}
		for _, n := range p.Nodes {
			fmt.Fprintf(stdout, "%-8s node   %s\n", n.Edit, report.Printable(n.Node))
		}
		for _, c := range p.Consts {
			fmt.Fprintf(stdout, "%-8s tensor \"%s\" %s\n", c.Edit, report.Printable(c.Name), report.Bytes(c.Bytes))
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
		var m outcome.Model
		for _, x := range p.Maps {
			line := outcome.Map{Node: x.Node, Verdict: string(x.Verdict), Into: x.Into}
			if x.Reason != nil {
				line.Code, line.Reason = string(x.Reason.Code), x.Reason.Text
			}
			m.Maps = append(m.Maps, line)
			fmt.Fprintf(stdout, "%-32s %-7s %s\n", report.Printable(line.Node), line.Verdict, report.Printable(report.Fate(line)))
		}
		for _, x := range p.Remaining {
			m.Remaining = append(m.Remaining, outcome.Left{Node: x.Node, Code: string(x.Reason.Code), Reason: x.Reason.Text})
		}
		fmt.Fprintln(stdout, report.Account(m))
		return exitDone
	}
}
