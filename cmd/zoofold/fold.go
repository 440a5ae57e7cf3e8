package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
)

// foldModels folds model files without a manifest.
func foldModels(set *flag.FlagSet) action {
	f := &flags{}
	f.declareFolding(set, "")
	rule := manifests.Rule{Settings: manifests.Defaults()}
	out := set.String("o", "", "the `file` of the folded model, or the folder of the folded models")
	set.BoolVar(&rule.Overwrite, "overwrite", false, "files in the places of outputs may be replaced")
	set.Float64Var(&rule.Tolerance, "tolerance", 0, "the largest `difference` of predictions that passes, relative to an output's largest value (default: what a jitter of the inputs changes)")
	foldFlags(set, &rule.Settings)
	o := modelFlags(set)
	return func(models []string, stdout, stderr io.Writer) int {
		rule.Formats, rule.State.Presets = o.Settings, o.State.Presets
		folder, jobs, err := jobsOf(models, *out, o, &rule)
		if err == nil {
			err = f.check()
		}
		if err != nil {
			fmt.Fprintf(stderr, "zoofold fold: %s\n", report.Printable(err.Error()))
			return exitUsage
		}
		m := &manifests.Manifest{Out: folder, Rules: []manifests.Rule{rule}}
		for k := range jobs {
			jobs[k].Rule = &m.Rules[0]
		}
		return f.carryOut(openConsole(f, stdout, stderr), m, func(ctx context.Context, options run.Options) (outcome.End, error) {
			return run.Fold(ctx, options, jobs)
		})
	}
}

// jobsOf are model files to be folded, and the folder in which their outputs are.
func jobsOf(models []string, out string, o *format.Options, rule *manifests.Rule) (folder string, jobs []manifests.Job, err error) {
	weights, graph := o.Weights, o.State.Graph
	switch {
	case out == "":
		return "", nil, fmt.Errorf("-o is missing: write -o FOLDER, or -o FILE for one model")
	case weights != "" && len(models) > 1:
		return "", nil, fmt.Errorf("-weights is for one model: fold the others in a run of their own")
	}
	for _, path := range []*string{&weights, &graph} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return "", nil, err
		}
	}
	folder, name, err := placeOf(models, out)
	if err != nil {
		return "", nil, err
	}
	for _, path := range models {
		job := manifests.Job{Path: filepath.ToSlash(path), Weights: weights, Graph: graph, Rule: rule}
		if job.Source, err = filepath.Abs(path); err != nil {
			return "", nil, err
		}
		for _, file := range []string{job.Source, weights} {
			if file == "" {
				continue
			}
			info, err := os.Stat(file)
			if err != nil {
				return "", nil, err
			}
			if info.IsDir() {
				return "", nil, fmt.Errorf("%s", stray(path))
			}
			job.Size += info.Size()
		}
		job.Target = filepath.Join(folder, cmp.Or(name, filepath.Base(path)))
		if same(job.Source, job.Target) {
			return "", nil, fmt.Errorf("-o %s: %s is the model itself, and originals are never changed: name another place", out, path)
		}
		jobs = append(jobs, job)
	}
	return folder, jobs, nil
}

// same says whether two paths are of one file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// placeOf is the folder of the outputs, and the name of the only one where out is a file: it has the extension of the model
// then. Everything else is a folder.
func placeOf(models []string, out string) (folder, name string, err error) {
	info, err := os.Stat(out)
	isFolder := err == nil && info.IsDir() || strings.HasSuffix(out, "/") || strings.HasSuffix(out, string(filepath.Separator))
	abs, err := filepath.Abs(out)
	ext := filepath.Ext(out)
	switch {
	case err != nil:
		return "", "", err
	case isFolder || ext == "":
		return abs, "", nil
	case len(models) > 1:
		return "", "", fmt.Errorf("-o %s: several models need a folder: write -o %s/", out, strings.TrimSuffix(out, ext))
	case strings.EqualFold(ext, filepath.Ext(models[0])):
		return filepath.Dir(abs), filepath.Base(abs), nil
	}
	if _, err := format.Find(out); err == nil {
		return "", "", fmt.Errorf("-o %s: a folded model keeps its format: name a %s file (zoofold export -to onnx writes others as ONNX)", out, filepath.Ext(models[0]))
	}
	return "", "", fmt.Errorf("-o %s: name a %s file, or a folder with / at its end", out, filepath.Ext(models[0]))
}
