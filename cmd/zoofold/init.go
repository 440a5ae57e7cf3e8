package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/report"
)

// initialize writes a manifest for the models in a folder.
func initialize(set *flag.FlagSet) action {
	to := set.String("o", "models.yaml", "the `file` of the manifest; - prints it")
	out := set.String("out", "", "the `folder` for the folded models (default: FOLDER-folded)")
	return func(operands []string, stdout, stderr io.Writer) int {
		ctx, stop := interruptible(notes(stderr), func() {})
		defer stop()
		text, found, err := manifestFor(ctx, operands[0], *to, *out)
		if err == nil && *to != "-" {
			err = writeNew(*to, text)
		}
		if err != nil {
			fmt.Fprintf(stderr, "zoofold init: %s\n", report.Printable(err.Error()))
			return exitFailed
		}
		if *to == "-" {
			fmt.Fprint(stdout, text)
			return exitDone
		}
		fmt.Fprintf(stdout, "%s: %s. Next: zoofold -manifest %[1]s -dry-run\n", report.Printable(*to), found)
		return exitDone
	}
}

// writeNew writes a new file, and fails if there is one.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: move it away, or name another file with -o", path)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// weightsOf are the extensions of the second files that models of some formats have.
var weightsOf = map[string]string{"caffe": ".caffemodel", "darknet": ".weights"}

// kindred are a folder's models of one format, by their paths relative to it, with slashes.
type kindred struct {
	format  format.Format
	models  []string          // with weights beside them under their own name, or without second files
	paired  map[string]string // models whose weights have another name
	refused map[string]string // files that cannot be opened, and why
}

// manifestFor is the text of a manifest in the file path for the models in a folder, and a summary of what was found.
func manifestFor(ctx context.Context, folder, path, out string) (text, summary string, err error) {
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return "", "", err
	}
	zoo, err := filepath.Abs(folder)
	if err != nil {
		return "", "", err
	}
	if out == "" {
		out = zoo + "-folded"
	} else if out, err = filepath.Abs(out); err != nil {
		return "", "", err
	}
	files, err := list(zoo)
	if err != nil {
		return "", "", err
	}
	all, err := sortOut(ctx, zoo, files)
	if err != nil {
		return "", "", err
	}
	var parts []string
	models := 0
	for _, f := range all {
		if n := len(f.models) + len(f.paired); n > 0 {
			models += n
			parts = append(parts, fmt.Sprintf("%d %s", n, f.format.Name))
		}
	}
	if models == 0 {
		return "", "", fmt.Errorf("no model that zoofold can read is in %s: %s are known", folder, strings.Join(extensions(), ", "))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by zoofold init on %s. Every key: https://github.com/zoofold/zoofold/blob/main/manifests/example.yaml\n", time.Now().Format(time.DateOnly))
	fmt.Fprintf(&b, "version: 1\nzoo: %s  # the originals; nothing is ever written there\nout: %s  # the folded models, report.html and report.json\n", quoted(relative(base, zoo)), quoted(relative(base, out)))
	b.WriteString("# defaults: {verify: [parity, algebra, predictions], proof: require}  # fail what cannot be proven by all three checks\n")
	b.WriteString("models:  # the first rule that matches a file wins\n")
	for _, f := range all {
		f.write(&b)
	}
	summary = strings.Join(parts, ", ")
	if models == 1 {
		return b.String(), "1 model (" + summary + ")", nil
	}
	return b.String(), fmt.Sprintf("%d models (%s)", models, summary), nil
}

// extensions are those of all formats.
func extensions() (all []string) {
	for _, f := range format.All() {
		all = append(all, f.Extensions...)
	}
	return all
}

// relative is a path as seen from a folder, or the path itself.
func relative(folder, path string) string {
	rel, err := filepath.Rel(folder, path)
	if err != nil {
		return path
	}
	return filepath.ToSlash(rel)
}

// list are the files below a folder, as a run walks it: folders whose names start with a dot are passed over.
func list(folder string) (files []string, err error) {
	err = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && path == folder:
			return err
		case err != nil:
			return fs.SkipDir // a run reports it
		case e.IsDir() && path != folder && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		case !e.IsDir():
			rel, err := filepath.Rel(folder, path)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	return files, err
}

// sortOut opens every file that may be a model, and pairs it with its weights.
func sortOut(ctx context.Context, zoo string, files []string) (all []*kindred, err error) {
	by := map[string]*kindred{}
	for _, rel := range files {
		kind, err := format.Find(rel)
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		f := by[kind.Name]
		if f == nil {
			f = &kindred{format: kind, paired: map[string]string{}, refused: map[string]string{}}
			by[kind.Name], all = f, append(all, f)
		}
		weights, own, why := weightsFor(rel, weightsOf[kind.Name], files)
		if why == "" {
			why = tried(ctx, zoo, rel, weights)
		}
		switch {
		case why != "":
			f.refused[rel] = why
		case own:
			f.models = append(f.models, rel)
		default:
			f.paired[rel] = weights
		}
	}
	slices.SortFunc(all, func(a, b *kindred) int { return cmp.Compare(a.format.Name, b.format.Name) })
	return all, nil
}

// weightsFor is a model's second file, and whether it has the model's own name; why says that there is none, or that
// several could be meant. If the model's folder has only one such file, its name does not matter.
func weightsFor(model, extension string, files []string) (weights string, own bool, why string) {
	if extension == "" {
		return "", true, ""
	}
	same := strings.TrimSuffix(model, path.Ext(model)) + extension
	var beside []string
	for _, f := range files {
		if f == same {
			return same, true, ""
		}
		if path.Dir(f) == path.Dir(model) && path.Ext(f) == extension {
			beside = append(beside, f)
		}
	}
	switch len(beside) {
	case 0:
		return "", false, fmt.Sprintf("no weights: %s is missing", path.Base(same))
	case 1:
		if strings.ContainsAny(beside[0], "{}") {
			return "", false, "its weights have braces in their path, which weights: cannot name"
		}
		return beside[0], false, ""
	}
	return "", false, fmt.Sprintf("%s is missing, and there are several other %s files: name one with weights:", path.Base(same), extension)
}

// mostReason bounds the characters of a comment.
const mostReason = 160

// tried is the reason why a model cannot be opened, or "".
func tried(ctx context.Context, zoo, rel, weights string) string {
	o := format.Options{}
	if weights != "" {
		o.Weights = filepath.Join(zoo, filepath.FromSlash(weights))
	}
	f, err := format.Open(ctx, filepath.Join(zoo, filepath.FromSlash(rel)), o)
	if err != nil {
		text, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), filepath.Join(zoo, filepath.FromSlash(rel))+": ", ""), "\n")
		if runes := []rune(report.Printable(text)); len(runes) > mostReason {
			return string(runes[:mostReason-1]) + "…"
		}
		return report.Printable(text)
	}
	_ = f.Close() // it was only read
	return ""
}

// write writes the rules of a format.
func (f *kindred) write(b *strings.Builder) {
	extension := weightsOf[f.format.Name]
	for _, model := range sorted(f.paired) {
		fmt.Fprintf(b, "  - match: %s\n    weights: %s\n", quoted(escaped(model)), quoted(f.paired[model]))
	}
	if len(f.models) == 0 {
		for _, model := range sorted(f.refused) {
			fmt.Fprintf(b, "# left out: %s: %s\n", report.Printable(model), f.refused[model])
		}
		return
	}
	var present []string
	for _, model := range slices.Concat(f.models, sorted(f.refused)) {
		if e := strings.TrimPrefix(path.Ext(model), "."); !slices.Contains(present, e) {
			present = append(present, e)
		}
	}
	slices.Sort(present)
	pattern := "**/*." + strings.Join(present, "")
	if len(present) > 1 {
		pattern = "**/*.{" + strings.Join(present, ",") + "}"
	}
	fmt.Fprintf(b, "  - match: %s\n", quoted(pattern))
	if extension != "" {
		fmt.Fprintf(b, "    weights: %s\n", quoted("{dir}/{stem}"+extension))
	}
	if len(f.format.Settings) > 0 {
		fmt.Fprintf(b, "    %s:\n", f.format.Name)
	}
	for _, s := range f.format.Settings {
		fmt.Fprintf(b, "      %s: %s  # %s\n", s.Key, s.Words[0], s.Doc)
	}
	if f.format.Bare {
		b.WriteString("    # state: {preset: torchvision/resnet}  # or graph: net.pt2, or pairs: where the structure is from; without, nothing is folded\n")
	}
	if len(f.refused) > 0 {
		b.WriteString("    exclude:\n")
		for _, model := range sorted(f.refused) {
			fmt.Fprintf(b, "      - %s  # %s\n", quoted(escaped(model)), f.refused[model])
		}
	}
}

func sorted(m map[string]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// quoted is a text as YAML and JSON write it.
func quoted(text string) string {
	out, err := report.EncodeJSON(text, "", "")
	if err != nil {
		return fmt.Sprintf("%q", text)
	}
	return string(out)
}

// escaped is a glob that matches only that path.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`).Replace(path)
}
