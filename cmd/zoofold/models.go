package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// verifySchema names the layout of what verify -json prints.
const verifySchema = "zoofold-verify/1"

// verify compares what two model files of any formats predict.
func verify(set *flag.FlagSet) action {
	asJSON := set.Bool("json", false, "print the result as JSON")
	library := set.String("onnxruntime", "", "the ONNX Runtime `library` (default: $ONNXRUNTIME_LIB, then the places that the manual page names)")
	tolerance := set.Float64("tolerance", 0, "the largest `difference` that passes, relative to an output's largest value (default: what a jitter of the inputs changes)")
	o := &format.Options{Settings: settingFlags(set)}
	return func(operands []string, stdout, stderr io.Writer) int {
		ctx, stop := interruptible(notes(stderr), func() {})
		defer stop()
		result := struct {
			Schema      string        `json:"schema"`
			Original    string        `json:"original"`
			Folded      string        `json:"folded"`
			Engine      string        `json:"engine,omitempty"`
			Predictions outcome.Check `json:"predictions"`
		}{Schema: verifySchema, Original: report.Name(operands[0]), Folded: report.Name(operands[1])}
		engine, closed, why, err := openEngine(*library)
		if err != nil {
			fmt.Fprintf(stderr, "zoofold: %v\n", err)
			return exitUsage
		}
		defer closed()
		if engine != nil {
			result.Engine = engine.Name()
			if result.Predictions, err = compare(ctx, engine, operands[0], operands[1], *o, *tolerance); err != nil {
				why = err.Error()
			}
		}
		c := &result.Predictions
		if c.Status == "" {
			*c = outcome.Check{Status: outcome.NotRun, Note: why}
		}
		switch {
		case *asJSON:
			e := json.NewEncoder(stdout)
			e.SetIndent("", " ")
			if err := e.Encode(result); err != nil {
				fmt.Fprintf(stderr, "zoofold: %v\n", err)
				return exitFailed
			}
		case c.Status == outcome.NotRun:
			fmt.Fprintf(stderr, "zoofold: could not compare: %s\n", report.Printable(c.Note))
		default:
			fmt.Fprintf(stdout, "predictions %s: %s, %d values compared", c.Status, report.Difference(*c), c.Compared)
			if c.Note != "" {
				fmt.Fprintf(stdout, "; %s", report.Printable(c.Note))
			}
			fmt.Fprintln(stdout)
		}
		switch c.Status {
		case outcome.Passed:
			return exitDone
		case outcome.Mismatch:
			return exitFailed
		}
		return exitUnproven
	}
}

// compare runs both models as ONNX.
func compare(ctx context.Context, engine run.Predictor, original, folded string, o format.Options, tolerance float64) (check outcome.Check, err error) {
	folder, err := os.MkdirTemp("", "zoofold-")
	if err != nil {
		return check, err
	}
	defer os.RemoveAll(folder)
	a, err := asONNX(ctx, original, o, filepath.Join(folder, "original"))
	if err != nil {
		return check, fmt.Errorf("%s: %w", original, err)
	}
	b, err := asONNX(ctx, folded, o, filepath.Join(folder, "folded"))
	if err != nil {
		return check, fmt.Errorf("%s: %w", folded, err)
	}
	return engine.Compare(ctx, predict.Comparison{Original: a, Folded: b, Tolerance: tolerance, Unnamed: a != original || b != folded}), nil
}

// asONNX is the path of an ONNX model that computes what a model file of any format does, made in a folder if need be.
func asONNX(ctx context.Context, path string, o format.Options, folder string) (string, error) {
	return run.AsONNX(ctx, path, o, folder, cpu.New(1))
}

// export writes a model file in another form.
func export(set *flag.FlagSet) action {
	to := set.String("to", "", "the form: `"+strings.Join(format.Exporters(), "|")+"`; a model of that form is copied")
	o := modelFlags(set)
	return func(operands []string, stdout, stderr io.Writer) int {
		e, err := format.FindExporter(*to)
		if err != nil {
			fmt.Fprintf(stderr, "zoofold export: -to is required: %s\n", strings.Join(format.Exporters(), " or "))
			return exitUsage
		}
		ctx, stop := interruptible(notes(stderr), func() {})
		defer stop()
		f, err := format.Open(ctx, operands[0], *o)
		if err == nil {
			defer f.Close()
			err = run.Export(ctx, f, e, operands[1], cpu.New(1))
		}
		if err != nil {
			fmt.Fprintf(stderr, "zoofold: %s: %s\n", report.Printable(report.Name(operands[0])), report.Printable(err.Error()))
			return exitFailed
		}
		fmt.Fprintf(stdout, "%s: %s\n", e.Name, operands[1])
		return exitDone
	}
}
