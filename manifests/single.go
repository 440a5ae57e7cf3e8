package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/zoofold/zoofold/zoo/bucket"
)

// Text is the rule as the text of a manifest would have it, with what it leaves to the defaults written out: a process that
// reads it with Single has the same settings. It is JSON, and so YAML. A rule that no text can say is an error.
func (r *Rule) Text() ([]byte, error) {
	s := r.Settings
	rule := map[string]any{
		"match": []string{"**"}, "output": r.Output, "verify": s.Verify, "device": s.Device, "timeout": s.Timeout.String(),
		"unfoldable": s.Unfoldable, "overridable": s.Overridable, "max_duplicate_bytes": s.MaxDuplicateBytes,
		"norms": s.Norms, "latency": s.Latency, "overwrite": s.Overwrite,
	}
	if len(s.Verify) == 0 {
		rule["verify"] = "none"
	}
	for _, f := range withSettings() {
		words := map[string]string{}
		for _, setting := range f.Settings {
			if word := s.Formats[f.Name+"."+setting.Key]; word != "" {
				words[setting.Key] = word
			}
		}
		if len(words) > 0 {
			rule[f.Name] = words
		}
	}
	given := func(key string, value any, is bool) {
		if is {
			rule[key] = value
		}
	}
	given("weights", r.Weights, r.Weights != "")
	given("proof", s.Proof, s.Proof != "")
	given("tolerance", s.Tolerance, s.Tolerance != 0)
	given("keep", s.Keep, len(s.Keep) > 0)
	given("fold", s.Fold, len(s.Fold) > 0)
	given("export", s.Export, len(s.Export) > 0)
	given("state", s.State.text(), !reflect.ValueOf(s.State).IsZero())
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ") // a line of a manifest is bounded
	if err := e.Encode(rule); err != nil {
		return nil, err
	}
	back, err := parseRule(b.Bytes())
	if err == nil && (!reflect.DeepEqual(written(back.Settings), written(s)) || back.Output != r.Output || back.Weights != r.Weights) {
		err = errors.New("its text says something else")
	}
	if err != nil {
		return nil, fmt.Errorf("a rule cannot be written down: %w", err)
	}
	return b.Bytes(), nil
}

// written are settings without what no text tells apart: empty lists and none.
func written(s Settings) Settings {
	s.Verify, s.Keep, s.Export = slices.Concat(s.Verify), slices.Concat(s.Keep), slices.Concat(s.Export)
	s.State.Presets, s.State.Pairs = slices.Concat(s.State.Presets), slices.Concat(s.State.Pairs)
	for _, m := range []any{&s.Fold, &s.Formats} {
		if v := reflect.ValueOf(m).Elem(); v.Len() == 0 {
			v.SetZero()
		}
	}
	return s
}

// text is the state as a manifest has it.
func (s State) text() map[string]any {
	m := map[string]any{}
	given := func(key string, value any, is bool) {
		if is {
			m[key] = value
		}
	}
	given("graph", s.Graph, s.Graph != "")
	given("preset", s.Presets, len(s.Presets) > 0)
	given("epsilon", s.Epsilon, s.Epsilon != 0)
	given("untie", s.Untie, s.Untie)
	var pairs []map[string]any
	for _, p := range s.Pairs {
		pair := map[string]any{"linear": p.Linear, "norm": p.Norm, "norm_first": p.First, "transposed": p.Transposed}
		if p.Epsilon != 0 {
			pair["epsilon"] = p.Epsilon
		}
		pairs = append(pairs, pair)
	}
	given("pairs", pairs, len(pairs) > 0)
	return m
}

// ruleText names the text of a rule in errors.
const ruleText = "rule"

// parseRule reads what Text wrote, or somebody else.
func parseRule(text []byte) (*Rule, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", ruleText, ErrManifest, maxSize)
	}
	f := newSource(ruleText, text, &faults{})
	root := f.root(text, "a rule")
	if root == nil {
		return nil, f.err()
	}
	rule := f.rule(root, Rule{Settings: Defaults(), places: places{formats: map[string]spot{}}})
	return &rule, f.err()
}

// Place is a folder of the host, by its absolute path, or one in a bucket, whose path stands for it.
type Place struct {
	Path string
	URL  *bucket.URL // nil for one of the host
}

// Single is a manifest of one rule, by the text that Text wrote, and what WalkIn would find of one model of the zoo, by its
// path relative to it: the model, or its failure. Folders hold the zoo's own alone, and notes are not made. The tree is nil for
// a zoo of the host.
func Single(zoo, out Place, tree Tree, rule []byte, model string) (*Manifest, *Zoo, error) {
	if !filepath.IsLocal(filepath.FromSlash(model)) || path.Clean(model) != model || model == "." {
		return nil, nil, fmt.Errorf("%q is no path of a model within a zoo: %w", model, ErrManifest)
	}
	r, err := parseRule(rule)
	if err != nil {
		return nil, nil, err
	}
	m := &Manifest{
		Path: ruleText, Zoo: filepath.Clean(zoo.Path), Out: filepath.Clean(out.Path), ZooURL: zoo.URL, OutURL: out.URL,
		folder: filepath.Clean(out.Path), Rules: []Rule{*r}, file: r.file, readDir: os.ReadDir,
	}
	if tree == nil {
		tree = host{os.ReadDir}
	}
	w := &walker{Manifest: m, tree: tree, weights: map[string]bool{}, taken: map[string]bool{}}
	info, err := tree.Stat(m.Zoo)
	if err != nil {
		return nil, nil, fmt.Errorf("the zoo: %w: %w", ErrManifest, err)
	}
	w.zoo.Folders = append(w.zoo.Folders, info)
	m.checkFolders()
	if file, err := regular(w.tree, w.at(model)); err != nil {
		w.fail(model, err)
	} else {
		w.job(model, file, &m.Rules[0])
		w.checkTargets(info)
	}
	return m, &w.zoo, m.file.err()
}
