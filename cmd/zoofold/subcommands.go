package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// subcommand is one of zoofold's subcommands.
type subcommand struct {
	name, operands, does string
	// declare declares the subcommand's flags, and returns the action to run once they are parsed.
	declare func(*flag.FlagSet) action
}

// action runs a subcommand: it takes the operands, checked against the table, and returns the exit code.
type action func(operands []string, stdout, stderr io.Writer) int

// subcommands are all of them. Help, the manual page and the shells' completions are made from this table. Operands are as
// checkOperands takes them.
func subcommands() []subcommand {
	return []subcommand{
		{"fold", "MODEL...", "fold models without a manifest, and prove the results", foldModels},
		{"worker", "", "fold models of runs that are begun with -queue on other machines", work},
		{"init", "FOLDER", "write a manifest for the models in a folder", initialize},
		{"plan", "MODEL", "what folding would change", plan},
		{"explain", "MODEL", "for every per-channel node: what becomes of it, and why", explain},
		{"verify", "A B", "whether two models predict the same: exit code 0 if they do, 1 if they differ, 4 if they could not be compared", verify},
		{"export", "MODEL OUT", "write a model's weights for Metal, or the model as ONNX", export},
		{"schema", "", "print the JSON Schema of manifests, or of report.json", schema},
		{"completion", "bash|zsh|fish", "print what a shell completes zoofold's command lines with", completion},
		{"man", "", "print the manual page", man},
		{"help", "[SUBCOMMAND]", "print the flags and subcommands, or those of one subcommand", helpOn},
		{"version", "", "print the version, and what would be used here; no library is loaded", printVersion},
	}
}

// run parses a subcommand's arguments and runs it.
func (s *subcommand) run(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet(s.name, flag.ContinueOnError)
	act := s.declare(set)
	operands, err := parseFlags(set, s.name, args)
	if errors.Is(err, flag.ErrHelp) {
		help(s.name, stdout)
		return exitDone
	}
	if err == nil {
		err = checkOperands(s.name, s.operands, operands)
	}
	if err != nil {
		fmt.Fprintf(stderr, "zoofold %s: %s\n", s.name, report.Printable(err.Error()))
		return exitUsage
	}
	out := report.NewOutput(stdout)
	code := act(operands, out, stderr)
	if err := out.Err(); err != nil {
		fmt.Fprintf(stderr, "zoofold: standard output: %v\n", err)
		return max(code, exitFailed)
	}
	return code
}

func helpOn(*flag.FlagSet) action {
	return func(operands []string, stdout, stderr io.Writer) int {
		name := ""
		if len(operands) > 0 {
			name = operands[0]
			if !slices.ContainsFunc(subcommands(), func(s subcommand) bool { return s.name == name }) {
				fmt.Fprintf(stderr, "zoofold: %s\n", report.Printable(stray(name)))
				return exitUsage
			}
		}
		help(name, stdout)
		return exitDone
	}
}

func printVersion(set *flag.FlagSet) action {
	f := &flags{}
	set.BoolVar(&f.loads, "v", false, "load ONNX Runtime and the CUDA driver, and print what they say of themselves")
	set.StringVar(&f.library, "onnxruntime", "", "the ONNX Runtime `library`, or none")
	return func(_ []string, stdout, _ io.Writer) int { return f.printVersion(stdout) }
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

// modelFlags are the flags for what a model file does not tell: see format.Options.
func modelFlags(set *flag.FlagSet) *format.Options {
	o := &format.Options{Settings: settingFlags(set)}
	set.StringVar(&o.Weights, "weights", "", "the `file` with the weights (default: the one beside the model file that has its name)")
	set.StringVar(&o.State.Graph, "graph", "", "the `file` of a program or model along which a checkpoint is folded")
	set.Func("preset", "the `name` of a preset of pairs, for a checkpoint", func(name string) error {
		o.State.Presets = append(o.State.Presets, name)
		return nil
	})
	return o
}

// settingFlags are the flags of what formats declare, and the settings that they set.
func settingFlags(set *flag.FlagSet) map[string]string {
	settings := map[string]string{}
	for name, s := range format.Settings() {
		settings[name] = s.Words[0]
		set.Var(settingFlag{settings, name}, s.Key, s.Doc+": `"+strings.Join(s.Words, "|")+"`")
	}
	return settings
}

// settingFlag is a flag that sets one of some settings.
type settingFlag struct {
	all  map[string]string
	name string
}

func (s settingFlag) String() string { return s.all[s.name] }

func (s settingFlag) Set(word string) error {
	s.all[s.name] = word
	return nil
}

// foldFlags are the flags of what a manifest says of folding.
func foldFlags(set *flag.FlagSet, s *manifests.Settings) {
	set.BoolFunc("overridable", "initializers that callers may override are constants", func(text string) error {
		constant, err := strconv.ParseBool(text)
		if constant {
			s.Overridable = "constant"
		}
		return err
	})
	set.StringVar(&s.Norms, "norms", s.Norms, "what becomes of batch normalisations: `"+strings.Join(manifests.Norms, "|")+"`")
}

// planOf plans one model file by itself.
func planOf(path string, o *format.Options, s *manifests.Settings, stderr io.Writer) (*fold.Plan, bool) {
	ctx := context.Background()
	f, err := format.Open(ctx, path, *o)
	if err == nil {
		defer f.Close()
		how := s.Folding()
		how.Backend = cpu.New(runtime.NumCPU())
		var p *fold.Plan
		if p, err = fold.Fold(ctx, f.Model(), how); err == nil {
			return p, true
		}
	}
	fmt.Fprintf(stderr, "zoofold: %s: %s\n", report.Printable(report.Name(path)), report.Printable(err.Error()))
	return nil, false
}

func plan(set *flag.FlagSet) action {
	asJSON := set.Bool("json", false, "print the plan as JSON")
	s := manifests.Defaults()
	foldFlags(set, &s)
	o := modelFlags(set)
	return func(operands []string, stdout, stderr io.Writer) int {
		p, ok := planOf(operands[0], o, &s, stderr)
		if !ok {
			return exitFailed
		}
		if *asJSON {
			text, err := report.EncodeJSON(report.NewPlan(operands[0], p), "", " ")
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
	s := manifests.Defaults()
	foldFlags(set, &s)
	o := modelFlags(set)
	return func(operands []string, stdout, stderr io.Writer) int {
		p, ok := planOf(operands[0], o, &s, stderr)
		if !ok {
			return exitFailed
		}
		var m outcome.Model
		m.Maps, m.Remaining = p.Account()
		for _, x := range m.Maps {
			fmt.Fprintf(stdout, "%-32s %-7s %s\n", report.Printable(x.Node), x.Verdict, report.Printable(report.Fate(x)))
		}
		fmt.Fprintln(stdout, report.Account(m))
		return exitDone
	}
}
