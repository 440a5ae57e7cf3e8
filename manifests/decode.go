package manifests

import (
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
)

// keys are the known keys of a mapping, each with the function that reads its value.
type keys map[string]func(ast.Node)

// root is the text's YAML document; nil if it is invalid.
func (f *source) root(data []byte, needs string) ast.Node {
	tokens, ok := f.tokenize(data)
	if !ok {
		return nil
	}
	tree, err := parser.Parse(tokens, 0)
	if err != nil {
		f.fail(syntaxSpot(err), "%s", syntaxMessage(err))
		return nil
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		f.fail(spot{1, 1}, "the manifest is empty: it needs %s", needs)
		return nil
	}
	return tree.Docs[0].Body
}

func (m *Manifest) decode(data []byte) {
	f := m.file
	root := f.root(data, "version, zoo, out and models")
	if root == nil {
		return
	}
	var defaultsNode, models ast.Node
	var included []glob
	version := false
	seen := f.mapping(root, "the manifest", keys{
		"version": func(n ast.Node) {
			version = true
			f.version(n)
		},
		"zoo":      func(n ast.Node) { m.zooSpot = spotOf(n); m.Zoo = f.expanded(spotOf(n), f.text(n, "zoo")) },
		"out":      func(n ast.Node) { m.outSpot = spotOf(n); m.Out = f.expanded(spotOf(n), f.text(n, "out")) },
		"include":  func(n ast.Node) { included = f.list(n, "include") },
		"defaults": func(n ast.Node) { defaultsNode = n },
		"models":   func(n ast.Node) { models = n },
	})
	if !seen {
		return
	}
	for _, key := range []struct {
		name  string
		there bool
	}{{"version: 1", version}, {"zoo", m.zooSpot != spot{}}, {"out", m.outSpot != spot{}}, {"models", models != nil || included != nil}} {
		if !key.there {
			f.fail(spotOf(root), "%s is missing", key.name)
		}
	}
	m.Rules = f.rules(defaultsNode, models)
	if len(included) > maxIncluded {
		f.fail(included[maxIncluded].spot, "more than %d files are included", maxIncluded)
		return
	}
	for _, file := range included {
		if path := f.expanded(file.spot, file.pattern); path != "" {
			m.include(file.spot, below(m.folder, path))
		}
	}
}

// include appends the rules of another file, over the defaults of that file.
func (m *Manifest) include(where spot, path string) {
	data, err := read(path)
	if err != nil {
		m.file.fail(where, "include: %s cannot be read: %v", path, reason(err))
		return
	}
	f := newSource(path, data, m.file.faults)
	root := f.root(trimMark(data), "version and models")
	if root == nil {
		return
	}
	var defaultsNode, models ast.Node
	version := false
	seen := f.mapping(root, "an included file", keys{
		"version": func(n ast.Node) {
			version = true
			f.version(n)
		},
		"defaults": func(n ast.Node) { defaultsNode = n },
		"models":   func(n ast.Node) { models = n },
	})
	switch {
	case !seen:
	case !version:
		f.fail(spotOf(root), "version: 1 is missing")
	case models == nil:
		f.fail(spotOf(root), "models is missing")
	default:
		m.Rules = append(m.Rules, f.rules(defaultsNode, models)...)
	}
}

// rules reads a list of rules, over defaults.
func (f *source) rules(defaultsNode, models ast.Node) (rules []Rule) {
	common := Rule{Settings: Defaults(), places: places{formats: map[string]spot{}}}
	if defaultsNode != nil {
		f.mapping(defaultsNode, "defaults", f.settings(&common.Settings, &common.places))
	}
	if models == nil {
		return nil
	}
	list, ok := models.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		f.fail(spotOf(models), "models must be a list of rules, each with match")
		return nil
	}
	for _, n := range list.Values {
		rules = append(rules, f.rule(n, common))
	}
	return rules
}

// variable is an environment variable in a path, or the beginning of one.
var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*\})?`)

// expanded is a path with its environment variables, such as ${ZOO}, replaced.
func (f *source) expanded(where spot, path string) string {
	return variable.ReplaceAllStringFunc(path, func(written string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(written, "${"), "}")
		value, set := os.LookupEnv(name)
		switch {
		case name == "":
			f.fail(where, "%q: ${ is not followed by the name of an environment variable and a }", path)
		case !set:
			f.fail(where, "the environment variable %s is not set", name)
		case value == "":
			f.fail(where, "the environment variable %s is empty", name)
		}
		return value
	})
}

// version refuses versions that this program does not know.
func (f *source) version(n ast.Node) {
	switch _, isText := n.(*ast.StringNode); {
	case isText && text(n) == "1":
		f.fail(spotOf(n), "version must be the number 1, not a string")
	case isText || !number(n) || text(n) != "1":
		f.fail(spotOf(n), "version is %s, this program knows version 1", text(n))
	}
}

// rule reads one rule, over the defaults.
func (f *source) rule(n ast.Node, common Rule) Rule {
	r := Rule{Settings: common.Settings, Output: "{dir}/{name}"}
	r.places = places{verify: common.verify, keep: common.keep, graph: common.graph, formats: map[string]spot{}}
	r.Fold, r.Formats = maps.Clone(common.Fold), maps.Clone(common.Formats)
	known := f.settings(&r.Settings, &r.places)
	known["match"] = func(n ast.Node) {
		r.match = f.globs(n, "match")
		if len(r.match) == 0 {
			f.fail(spotOf(n), "match is empty")
		}
	}
	known["exclude"] = func(n ast.Node) { r.exclude = f.globs(n, "exclude") }
	known["optional"] = func(n ast.Node) { r.Optional = f.truth(n, "optional") }
	known["output"] = func(n ast.Node) { r.output, r.Output = spotOf(n), f.template(n, "output") }
	known["weights"] = func(n ast.Node) { r.weights, r.Weights = spotOf(n), f.template(n, "weights") }
	if f.mapping(n, "a rule", known) && r.match == nil {
		f.fail(spotOf(n), "match is missing")
	}
	r.Match, r.Exclude = patterns(r.match), patterns(r.exclude)
	r.file = f
	return r
}

// checks reads the checks of verify.
func (f *source) checks(n ast.Node) []string {
	list := f.list(n, "verify")
	if slices.Equal(patterns(list), []string{"none"}) {
		return nil
	}
	for _, check := range list {
		if check.pattern == "none" {
			f.fail(check.spot, "none cannot be combined with other checks")
			continue
		}
		f.among(check.spot, check.pattern, checksOrNone)
	}
	return patterns(list)
}

// duration reads a time with its unit.
func (f *source) duration(n ast.Node, what string) time.Duration {
	written := text(n)
	if _, err := strconv.ParseFloat(written, 64); err == nil {
		f.fail(spotOf(n), "%s needs a unit: 10s, 10m", what)
		return 0
	}
	d, err := time.ParseDuration(f.text(n, what))
	if err != nil || d <= 0 {
		f.fail(spotOf(n), "%s must be a duration such as 90s or 10m, not %s", what, written)
	}
	return d
}

// settings are the keys that rules and defaults share.
func (f *source) settings(s *Settings, p *places) keys {
	known := keys{
		"verify": func(n ast.Node) {
			p.verify = spotOf(n)
			s.Verify = f.checks(n)
		},
		"proof":       func(n ast.Node) { s.Proof = f.word(n, "proof", proofs) },
		"overwrite":   func(n ast.Node) { s.Overwrite = f.truth(n, "overwrite") },
		"device":      func(n ast.Node) { s.Device = f.word(n, "device", Devices) },
		"unfoldable":  func(n ast.Node) { s.Unfoldable = f.word(n, "unfoldable", unfoldable) },
		"overridable": func(n ast.Node) { s.Overridable = f.word(n, "overridable", overridable) },
		"timeout": func(n ast.Node) {
			s.Timeout = f.duration(n, "timeout")
		},
		"tolerance": func(n ast.Node) {
			s.Tolerance = f.positive(n, "tolerance")
		},
		"max_duplicate_bytes": func(n ast.Node) {
			bytes, ok := size(text(n))
			if !ok {
				f.fail(spotOf(n), "max_duplicate_bytes must be a number of bytes such as 4096 or 64MiB, not %s", text(n))
			}
			s.MaxDuplicateBytes = bytes
		},
		"export": func(n ast.Node) {
			p.export = spotOf(n)
			list := f.list(n, "export")
			s.Export = patterns(list)
			for _, to := range list {
				f.among(to.spot, to.pattern, format.Exporters())
			}
		},
		"state": func(n ast.Node) {
			p.state = spotOf(n)
			s.State = f.state(n, p)
		},
		"norms":   func(n ast.Node) { s.Norms = f.word(n, "norms", Norms) },
		"latency": func(n ast.Node) { s.Latency = f.word(n, "latency", latencies) },
		"keep": func(n ast.Node) {
			p.keep = f.globs(n, "keep")
			s.Keep = patterns(p.keep)
		},
		"fold": func(n ast.Node) {
			known := keys{}
			for _, family := range fold.Families() {
				known[family] = func(n ast.Node) { s.Fold[family] = f.truth(n, family) }
			}
			f.mapping(n, "fold", known)
		},
	}
	for _, from := range withSettings() {
		known[from.Name] = func(n ast.Node) {
			p.formats[from.Name] = spotOf(n)
			inner := keys{}
			for _, setting := range from.Settings {
				inner[setting.Key] = func(n ast.Node) { s.Formats[from.Name+"."+setting.Key] = f.word(n, setting.Key, setting.Words) }
			}
			f.mapping(n, from.Name, inner)
		}
	}
	return known
}

// withSettings are the formats whose files do not say all.
func withSettings() []format.Format {
	return slices.DeleteFunc(format.All(), func(f format.Format) bool { return len(f.Settings) == 0 })
}

// mapping reads a mapping with known keys, each at most once, and says whether n is a mapping.
func (f *source) mapping(n ast.Node, what string, known keys) bool {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		f.fail(spotOf(n), "%s must be a mapping of keys to values, not %s", what, kind(n))
		return false
	}
	seen := map[string]bool{}
	for _, v := range values {
		key := v.Key.GetToken().Value
		read := known[key]
		switch {
		case read == nil:
			var names []string
			for name := range known {
				names = append(names, name)
			}
			slices.Sort(names)
			f.fail(at(v.Key.GetToken()), "unknown key %q%s", key, meant(key, names))
		case seen[key]:
			f.fail(at(v.Key.GetToken()), "%q is there twice", key)
		case v.Value == nil || v.Value.Type() == ast.NullType:
			f.fail(at(v.Key.GetToken()), "%q has no value", key)
		case refers(v.Value):
			f.fail(spotOf(v.Value), "anchors, aliases and tags are not used in manifests: write the value out")
		default:
			read(v.Value)
		}
		seen[key] = true
	}
	return true
}

func refers(n ast.Node) bool {
	t := n.Type()
	return t == ast.AnchorType || t == ast.AliasType || t == ast.TagType || t == ast.MergeKeyType
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	}
	return text(n)
}

// text is a scalar as it is written in the file.
func text(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode, *ast.MappingNode, *ast.MappingValueNode:
		return kind(n)
	}
	if t := n.GetToken(); t != nil {
		return t.Value
	}
	return n.String()
}

func number(n ast.Node) bool {
	return n.Type() == ast.IntegerType || n.Type() == ast.FloatType
}

// text reads a string.
func (f *source) text(n ast.Node, what string) string {
	switch n := n.(type) {
	case *ast.StringNode:
		if n.Value != "" {
			return n.Value
		}
	case *ast.LiteralNode:
		return n.Value.Value
	}
	f.fail(spotOf(n), "%s must be a string, not %s", what, kind(n))
	return ""
}

func (f *source) truth(n ast.Node, what string) bool {
	switch text(n) {
	case "true", "on":
		return true
	case "false", "off":
		return false
	}
	f.fail(spotOf(n), "%s is on or off, not %s", what, text(n))
	return false
}

func (f *source) word(n ast.Node, what string, words []string) string {
	w := f.text(n, what)
	if w != "" {
		f.among(spotOf(n), w, words)
	}
	return w
}

// among adds an error for a word that is not in the list.
func (f *source) among(at spot, w string, list []string) {
	if !slices.Contains(list, w) {
		f.fail(at, "%q is not one of %s%s", w, strings.Join(list, ", "), meant(w, list))
	}
}

func patterns(list []glob) (out []string) {
	for _, g := range list {
		out = append(out, g.pattern)
	}
	return out
}

// list reads a string, or a list of them.
func (f *source) list(n ast.Node, what string) []glob {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return []glob{{f.text(n, what), spotOf(n)}}
	}
	var out []glob
	for _, v := range list.Values {
		if v == nil || refers(v) {
			f.fail(spotOf(n), "%s must be a list of strings", what)
			continue
		}
		out = append(out, glob{f.text(v, what), spotOf(v)})
	}
	return out
}

// template reads a path with fields in braces.
func (f *source) template(n ast.Node, what string) string {
	t := f.text(n, what)
	rest := t
	for _, field := range fields {
		rest = strings.ReplaceAll(rest, field, "")
	}
	if strings.ContainsAny(rest, "{}") {
		f.fail(spotOf(n), "%s %q has a field that is not one of %s", what, t, strings.Join(fields, " "))
	}
	return t
}

// size reads a number of bytes, with KiB, MiB or GiB behind it or not.
func size(s string) (int64, bool) {
	unit := int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if strings.HasSuffix(s, suffix) {
			s, unit = strings.TrimSpace(strings.TrimSuffix(s, suffix)), u
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n * unit, err == nil && n >= 0 && n <= math.MaxInt64/unit
}

// syntaxError is the interface of the YAML parser's errors.
type syntaxError interface {
	GetMessage() string
	GetToken() *token.Token
}

func syntaxSpot(err error) spot {
	if e, ok := err.(syntaxError); ok {
		return at(e.GetToken())
	}
	return spot{1, 1}
}

func syntaxMessage(err error) string {
	e, ok := err.(syntaxError)
	if !ok {
		return "not YAML: " + strings.SplitN(err.Error(), "\n", 2)[0]
	}
	m := e.GetMessage()
	for _, w := range syntaxWords {
		if strings.Contains(m, w.parser) {
			return w.says
		}
	}
	return "not YAML: " + m
}

// syntaxWords replace messages of the parser by ones that say what to do.
var syntaxWords = []struct{ parser, says string }{
	{"tab character", "tabs cannot indent YAML; use spaces"},
	{"'\t'", "tabs cannot indent YAML; use spaces"},
	{"map key-value is pre-defined", "this line is indented more than its neighbours"},
	{"mapping value is not allowed in this context", "quote texts that have a colon and a space in them"},
	{"value is not allowed in this context", "this line is not indented as its neighbours are"},
	{"unexpected scalar value type", `quote globs: "**/*.onnx"`},
	{"could not find end character of", "this quote has no end"},
	{"could not find flow map content", "this brace has no end"},
	{"could not find '['", "this bracket has no beginning"},
	{"could not find '{'", "this brace has no beginning"},
	{"sequence end token ']' not found", "this bracket has no end"},
	{"already defined at", "this key is there twice"},
	{"is a reserved character", "quote texts that begin with @ or a backquote"},
	{"unknown escape character", "a backslash escapes in double quotes: use single quotes"},
	{"unexpected key name", "a colon is missing behind the key"},
}
