package manifests

import (
	"math"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"github.com/zoofold/zoofold/zoo/format/state"
)

// maxPairs bounds the pairs of a rule.
const maxPairs = 1000

// positive reads a number above 0.
func (f *source) positive(n ast.Node, what string) float64 {
	x, err := strconv.ParseFloat(text(n), 64)
	if _, isText := n.(*ast.StringNode); !number(n) && !isText || err != nil || !(x > 0) || math.IsInf(x, 0) {
		f.fail(spotOf(n), "%s must be a number above 0, not %s", what, text(n))
	}
	return x
}

// state reads where the graph of checkpoints is from.
func (f *source) state(n ast.Node, p *places) (s State) {
	p.graph = spot{}
	var pairs, untie ast.Node
	f.mapping(n, "state", keys{
		"graph": func(n ast.Node) { p.graph, s.Graph = spotOf(n), f.template(n, "graph") },
		"preset": func(n ast.Node) {
			list := f.list(n, "preset")
			s.Presets = patterns(list)
			for _, name := range list {
				f.among(name.spot, name.pattern, state.Presets())
			}
		},
		"epsilon": func(n ast.Node) { s.Epsilon = f.positive(n, "epsilon") },
		"pairs":   func(n ast.Node) { pairs = n },
		"untie":   func(n ast.Node) { untie, s.Untie = n, f.truth(n, "untie") },
	})
	if pairs != nil { // after the epsilon, which they use, in whichever order the keys are
		list, ok := pairs.(*ast.SequenceNode)
		switch {
		case !ok || len(list.Values) == 0:
			f.fail(spotOf(pairs), "pairs must be a list, each with linear and norm")
			return s
		case len(list.Values) > maxPairs:
			f.fail(spotOf(pairs), "more than %d pairs: write patterns", maxPairs)
			return s
		}
		for _, v := range list.Values {
			s.Pairs = append(s.Pairs, f.pair(v, s.Epsilon))
		}
	}
	if s.Graph != "" && (len(s.Pairs) > 0 || len(s.Presets) > 0 || s.Epsilon > 0) {
		f.fail(p.graph, "graph says all there is: leave out pairs, preset and epsilon")
	}
	if named := s.Graph != "" || len(s.Pairs) > 0 || len(s.Presets) > 0; named && s.Untie {
		f.fail(spotOf(untie), "untie is of language models, whose config.json names their architecture: leave out graph, pairs and preset")
	} else if !named && untie == nil {
		f.fail(spotOf(n), "state names neither a graph nor pairs nor a preset")
	}
	return s
}

// pair reads one pair.
func (f *source) pair(n ast.Node, epsilon float64) (p Pair) {
	read := f.mapping(n, "a pair", keys{
		"linear": func(n ast.Node) {
			p.Linear = f.text(n, "linear")
			if _, err := regexp.Compile(p.Linear); err != nil {
				f.fail(spotOf(n), "linear is no regular expression: %v", err)
			}
		},
		"norm":       func(n ast.Node) { p.Norm = f.text(n, "norm") },
		"norm_first": func(n ast.Node) { p.First = f.truth(n, "norm_first") },
		"transposed": func(n ast.Node) { p.Transposed = f.truth(n, "transposed") },
		"epsilon":    func(n ast.Node) { p.Epsilon = f.positive(n, "epsilon") },
	})
	switch {
	case !read:
	case p.Linear == "" || p.Norm == "":
		f.fail(spotOf(n), "a pair needs linear and norm")
	case p.Epsilon == 0 && epsilon == 0:
		f.fail(spotOf(n), "the pair has no epsilon: give one, to it or to state, as the network's code has it")
	}
	return p
}
