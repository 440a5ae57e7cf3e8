package torch

import (
	"fmt"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
)

// program is an exported program: its JSON, and the parts that the graph is built from.
type program struct {
	text    *jsontext.Value
	graph   *jsontext.Value
	inputs  []*input
	nodes   []*node
	outputs []*jsontext.Value // places that name the tensors which the program returns, or writes back
	pinned  []*jsontext.Value // places in the signatures of its modules that name tensors
	metas   map[string]*meta
	metaOf  map[string]*jsontext.Value // the JSON that metas were read from
	free    map[string]int64           // extents that depend on the input, by their expressions
	readers map[string]int             // how often each tensor is named
}

// input is an input of the graph: a tensor that is stored, or one that the caller gives.
type input struct {
	name    string
	kind    string          // "parameter", "buffer", "tensor_constant", "user_input", or another kind
	stored  string          // the name of what is stored
	item    *jsontext.Value // of graph.inputs; nil where the input is no tensor
	spec    *jsontext.Value // of signature.input_specs
	payload *payload
	written bool // the program writes into it
	forms   int  // the number of forms in which it is read
}

// node is one operator of the program.
type node struct {
	target  string // "aten.conv2d.default"
	name    string
	tree    *jsontext.Value
	args    []*arg
	outputs []*jsontext.Value // the names of the tensors that it makes
}

// arg is a named argument: a union of one value.
type arg struct {
	name  string
	tree  *jsontext.Value
	kind  string // "as_tensor"
	value *jsontext.Value
	refs  []*jsontext.Value // the names of the tensors in it
}

// schema is the supported major version of the schema: minor versions add fields only.
const schema = 8

func parseProgram(text *jsontext.Value) (*program, error) {
	major, ok := text.Get("schema_version", "major").Int()
	switch {
	case !ok:
		return nil, fmt.Errorf("no schema_version: not a program of torch.export: %w", format.ErrCorrupt)
	case major != schema:
		return nil, fmt.Errorf("schema version %d, only %d is read: %w", major, schema, format.ErrLimit)
	}
	p := &program{text: text, graph: text.Get("graph_module", "graph"), metas: map[string]*meta{}, metaOf: map[string]*jsontext.Value{}, free: map[string]int64{}, readers: map[string]int{}}
	if p.graph == nil || p.graph.Get("inputs") == nil || p.graph.Get("nodes") == nil || p.graph.Get("outputs") == nil {
		return nil, fmt.Errorf("no graph with inputs, nodes and outputs: %w", format.ErrCorrupt)
	}
	if err := p.parseMetas(); err != nil {
		return nil, err
	}
	if err := p.parseInputs(); err != nil {
		return nil, err
	}
	for k, tree := range p.graph.Get("nodes").List() {
		n, err := parseNode(tree)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", k, err)
		}
		p.nodes = append(p.nodes, n)
	}
	for _, v := range p.graph.Get("outputs").List() {
		p.outputs = append(p.outputs, tensors(v)...)
	}
	root := true
	for _, entry := range text.Get("graph_module", "module_call_graph").List() {
		if fqn, ok := entry.Get("fqn").Str(); ok && fqn == "" && root {
			root = false // the whole program's, whose tensors are its inputs and outputs
			continue
		}
		for _, list := range []string{"inputs", "outputs"} {
			for _, v := range entry.Get("signature", list).List() {
				p.pinned = append(p.pinned, tensors(v)...)
			}
		}
	}
	p.count()
	return p, nil
}

// count notes how often each tensor is named.
func (p *program) count() {
	for _, n := range p.nodes {
		for _, a := range n.args {
			p.named(a.refs)
		}
	}
	p.named(p.outputs)
	p.named(p.pinned)
}

func (p *program) named(refs []*jsontext.Value) {
	for _, v := range refs {
		name, _ := v.Str()
		p.readers[name]++
	}
}

func (p *program) parseMetas() error {
	list := p.graph.Get("tensor_values")
	if list == nil || list.Kind != '{' {
		return fmt.Errorf("the graph has no tensor_values: %w", format.ErrCorrupt)
	}
	for k, v := range list.Items {
		m, err := parseMeta(v, p.extent)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", list.Keys[k], err)
		}
		p.metas[list.Keys[k]], p.metaOf[list.Keys[k]] = m, v
	}
	return nil
}

// firstFree is above the numbers of free extents: see op.Unknown.
const firstFree = -1 << 40

// extent is the number of a free extent: equal expressions are equal extents.
func (p *program) extent(expr string) int64 {
	d, ok := p.free[expr]
	if !ok {
		d = firstFree - int64(len(p.free)) - 1
		p.free[expr] = d
	}
	return d
}

func (p *program) parseInputs() error {
	items, specs := p.graph.Get("inputs").List(), p.text.Get("graph_module", "signature", "input_specs").List()
	if len(items) != len(specs) {
		return fmt.Errorf("the graph has %d inputs, its signature %d: %w", len(items), len(specs), format.ErrCorrupt)
	}
	seen := map[string]bool{}
	for k, item := range items {
		kind, spec := union(specs[k])
		name, ok := item.Get("as_tensor", "name").Str()
		if !ok {
			continue
		}
		i := &input{name: name, kind: kind, item: item, spec: specs[k]}
		said, _ := spec.Get("arg", "name").Str()
		if kind == "user_input" {
			said, _ = spec.Get("arg", "as_tensor", "name").Str()
		}
		switch {
		case seen[name]:
			return fmt.Errorf("two inputs are called %q: %w", name, format.ErrCorrupt)
		case said != name:
			return fmt.Errorf("input %d is called %q in the graph and %q in the signature: %w", k, name, said, format.ErrCorrupt)
		case p.metas[name] == nil:
			return fmt.Errorf("input %q is not among the tensor_values: %w", name, format.ErrCorrupt)
		}
		seen[name] = true
		for _, key := range []string{"parameter_name", "buffer_name", "tensor_constant_name"} {
			if stored, ok := spec.Get(key).Str(); ok {
				i.stored = stored
			}
		}
		p.inputs = append(p.inputs, i)
	}
	return nil
}

// bind finds the stored tensors of the program's inputs.
func (p *program) bind(configs [2]*config) error {
	bound := map[*payload]bool{}
	for _, i := range p.inputs {
		c := configs[0]
		switch persistent := i.spec.Get("buffer", "persistent").Yes(true); {
		case i.kind == "tensor_constant", i.kind == "buffer" && !persistent:
			c = configs[1]
		case i.kind != "parameter" && i.kind != "buffer":
			continue
		}
		i.payload = c.payload[i.stored]
		switch {
		case i.payload == nil:
			return fmt.Errorf("%s %q of input %q is in no record of %s: %w", i.kind, i.stored, i.name, c.folder, format.ErrCorrupt)
		case bound[i.payload]:
			return fmt.Errorf("%s %q is two inputs of the graph: %w", i.kind, i.stored, format.ErrCorrupt)
		}
		bound[i.payload] = true
		if m, o := p.metas[i.name], i.payload.meta; o != nil && !i.payload.pickled && (m.dtype != o.dtype || !equal(m.sizes, o.sizes)) {
			return fmt.Errorf("%s %q has type %v and sizes %v in the graph, %v and %v where it is stored: %w", i.kind, i.stored, m.dtype, m.sizes, o.dtype, o.sizes, format.ErrCorrupt)
		}
	}
	return nil
}

func equal(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return true
}

// union is the one field of a union, and its value.
func union(v *jsontext.Value) (string, *jsontext.Value) {
	if v == nil || v.Kind != '{' {
		return "", nil
	}
	for k, item := range v.Items {
		if item.Kind != 'n' {
			return v.Keys[k], item
		}
	}
	return "", nil
}

func parseNode(tree *jsontext.Value) (*node, error) {
	target, ok := tree.Get("target").Str()
	if !ok || tree.Get("inputs") == nil {
		return nil, fmt.Errorf("it has no target or no inputs: %w", format.ErrCorrupt)
	}
	n := &node{target: strings.TrimPrefix(target, "torch.ops."), tree: tree}
	for _, v := range tree.Get("inputs").List() {
		a := &arg{tree: v}
		a.name, _ = v.Get("name").Str()
		a.kind, a.value = union(v.Get("arg"))
		a.refs = tensors(v.Get("arg"))
		n.args = append(n.args, a)
	}
	for _, v := range tree.Get("outputs").List() {
		n.outputs = append(n.outputs, tensors(v)...)
	}
	if n.name, ok = tree.Get("name").Str(); !ok && len(n.outputs) > 0 {
		n.name, _ = n.outputs[0].Str()
	}
	return n, nil
}

// tensors are the names of all tensors in an argument, in their order. Tensors within a graph that is an argument do not
// count.
func tensors(v *jsontext.Value) (names []*jsontext.Value) {
	if v == nil {
		return nil
	}
	for k, item := range v.Items {
		if v.Kind != '{' {
			names = append(names, tensors(item)...)
			continue
		}
		switch key := v.Keys[k]; {
		case key == "as_graph":
		case key == "as_tensor":
			if name := item.Get("name"); name != nil && name.Kind == '"' {
				names = append(names, name)
			}
		case key == "as_tensors", key == "as_nested_tensors":
			names = append(names, listed(item)...)
		default:
			names = append(names, tensors(item)...)
		}
	}
	return names
}

// listed are the names in lists of tensors.
func listed(v *jsontext.Value) (names []*jsontext.Value) {
	if name := v.Get("name"); name != nil && name.Kind == '"' {
		return []*jsontext.Value{name}
	}
	for _, item := range v.List() {
		names = append(names, listed(item)...)
	}
	return names
}

// arg is the named argument, nil where it is left out or None.
func (n *node) arg(name string) *arg {
	for _, a := range n.args {
		if a.name == name {
			if a.kind == "as_none" || a.kind == "" || a.kind == "as_optional_tensor" && len(a.refs) == 0 {
				return nil
			}
			return a
		}
	}
	return nil
}
