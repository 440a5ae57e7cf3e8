// Package model is the format-neutral graph of a network: nodes named and typed as in ONNX, over values whose constant
// elements stay on disk. Formats open files as a Graph and write an edited Graph; folding edits it.
package model

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Model is one network.
type Model struct {
	Graph     *Graph
	Functions []*Function
	Opset     map[string]int64 // operator set version by domain; "" is ONNX's own

	// Place says whether the model's file can store another constant as input k of a node. Files of formats that store
	// layers, not operators, have places for some constants only, and neither for new nodes nor for nodes of other types or
	// attributes. It is nil where the file stores whatever the graph holds.
	Place func(n *Node, k int) Place

	// Shares names the other readers of the stored constant that is input k of a node, if they are the reason why Place is
	// NoPlace; else "". It is nil if constants may be copied.
	Shares func(n *Node, k int) string

	// Stays says that a node cannot be removed from the model's file, nor absorb a map, and why: its layer is used in
	// several places, for example. The reason is "" for a part of a layer that is not a map of its own. Stays is nil if
	// every node can be removed.
	Stays func(n *Node) (why string, stays bool)

	// ScaleAlone says that the scale of a normalisation with statistics of its input is worth moving even if its shift
	// stays.
	ScaleAlone bool

	// Twins are the nodes that use the same stored constants as n in the same way, n among them, always in the same order:
	// the nodes of one layer in all places where it is used. Their constants change alike or not at all. Together says that
	// they are also removed together or not at all. Twins is nil if constants may be copied; the list is nil if there is
	// one place only.
	Twins func(n *Node) (list []*Node, together bool)

	names map[string]bool // every value and node name in use, for NewName

	nodes, values int // the highest numbers in use: see Enumerate
}

// Place says whether and how a model's file stores an input of a node.
type Place uint8

// The places.
const (
	NoPlace Place = iota // the file cannot store another constant there
	Gained               // it can if the layer's description changes: a bias that the layer lacks so far, a number in its settings
	Stored               // it is a tensor of the file, and can have other elements
)

// Function is a model-local function: an operator type whose definition the model brings along.
type Function struct {
	Domain, Name, Overload string
	Graph                  *Graph // its inputs and outputs carry no type
	Opset                  map[string]int64
	Defaults               []Attr // of its attributes
}

// Graph is a list of nodes in topological order: the main graph, the body of an If, Loop or Scan, or a function.
type Graph struct {
	Name    string
	Model   *Model
	Parent  *Node  // the node whose body this is; nil for a main graph or a function
	Attr    string // the attribute of Parent that holds this body: "then_branch"
	Nodes   []*Node
	Inputs  []*Value
	Outputs []*Value
	Consts  []*Value // initializers, in stored order; Constant nodes are nodes

	behind map[*Node][]*Node // new nodes by the node they follow, until Compact
}

// Node is one operator.
type Node struct {
	Type, Domain string   // as in ONNX: "Conv", ""
	Overload     string   // distinguishes functions of the same type and domain
	Name         string   // may be empty
	Inputs       []*Value // nil for an omitted optional input
	Outputs      []*Value // nil for an omitted output
	Attrs        []Attr
	Bodies       []*Graph // subgraphs, in the order of their attributes
	Graph        *Graph
	Source       any  // the format's own: where this node stands in the file; nil for a new node
	Edited       bool // type, inputs, outputs or attributes differ from the file's
	Number       int  // see Model.Enumerate

	// For a node that stands for a layer without an equivalent in ONNX, or one that the format's package does not
	// understand.
	Why        string // what is not understood: the reason why nothing folds into it
	PerChannel bool   // it holds scales, shifts or statistics of channels: it counts as a per-channel node
}

// Attr is one attribute. The field that Kind names is set.
type Attr struct {
	Name   string
	Kind   AttrKind
	Int    int64
	Float  float64 // stored as float32 in ONNX, widened
	String string
	Ints   []int64
	Floats []float64
	Tensor *Constant
}

// AttrKind names an attribute's type.
type AttrKind uint8

// The attribute kinds. OtherAttr is copied but not read: graphs (see Node.Bodies), strings, types. RefAttr, in a function,
// refers to the attribute of the call that String names.
const (
	OtherAttr AttrKind = iota
	IntAttr
	FloatAttr
	StringAttr
	IntsAttr
	FloatsAttr
	TensorAttr
	RefAttr
)

// Int, Ints, Float and Text are attributes of one value each.
func Int(name string, x int64) Attr     { return Attr{Name: name, Kind: IntAttr, Int: x} }
func Ints(name string, x ...int64) Attr { return Attr{Name: name, Kind: IntsAttr, Ints: x} }
func Float(name string, x float64) Attr { return Attr{Name: name, Kind: FloatAttr, Float: x} }
func Text(name, x string) Attr          { return Attr{Name: name, Kind: StringAttr, String: x} }

// Attrs are attributes given as names and values in turn: int, int64, float64 (rounded to float32, as ONNX stores it), string,
// []int64 or []float64. One whose list is nil is left out.
func Attrs(list ...any) []Attr {
	var attrs []Attr
	for k := 0; k+1 < len(list); k += 2 {
		name := list[k].(string)
		switch x := list[k+1].(type) {
		case int:
			attrs = append(attrs, Int(name, int64(x)))
		case int64:
			attrs = append(attrs, Int(name, x))
		case float64:
			attrs = append(attrs, Float(name, float64(float32(x))))
		case string:
			attrs = append(attrs, Text(name, x))
		case []int64:
			if x != nil {
				attrs = append(attrs, Ints(name, x...))
			}
		case []float64:
			if x != nil {
				attrs = append(attrs, Attr{Name: name, Kind: FloatsAttr, Floats: x})
			}
		default:
			panic(fmt.Sprintf("model: attribute %q is a %T", name, x))
		}
	}
	return attrs
}

// Value is an edge of the graph: a graph input, a constant, or a node's output.
type Value struct {
	Name     string
	DType    tensor.DType // Undefined where not known
	Shape    []int64      // negative for free extents: −1 is unknown, equal numbers below −1 are equal extents. nil if the rank is unknown (a scalar's is empty)
	Graph    *Graph
	Producer *Node     // nil for inputs and initializers
	Const    *Constant // the elements of an initializer or of a Constant node's output; nil for everything else
	Input    bool      // an input of its graph; together with Const: an initializer that a caller may override
	Output   bool      // an output of its graph
	Uses     []Use     // its readers, with those in bodies of nodes
	Number   int       // see Model.Enumerate
}

// Use is one input of one node.
type Use struct {
	Node  *Node
	Index int
}

// Constant is a stored or computed tensor. Its elements are Data's, multiplied by Factors where there are any; or Values.
type Constant struct {
	DType   tensor.DType
	Shape   []int64
	Data    io.ReaderAt     // Elements·Size bytes, little endian, contiguous from offset 0
	Factors []tensor.Factor // scales of folded maps, applied when the model is written
	Values  []float64       // where Data is nil: rounded once to DType when the model is written
	Source  any             // the format's own: where the tensor stands in the file; nil for a new one
}

// Elements is the number of elements, and false if the shape makes no sense.
func (c *Constant) Elements() (int64, bool) { return tensor.Elements(c.Shape) }

// Bytes is the size of the elements as stored; 0 if the shape makes no sense.
func (c *Constant) Bytes() int64 {
	n, _ := c.Elements()
	return n * int64(c.DType.Size())
}

// Float64s are the constant's elements as float64, Factors applied but not rounded. It fails if there are more than
// limit of them or if the type has no such values.
func (c *Constant) Float64s(limit int64) ([]float64, error) {
	if c.Data == nil {
		return c.Values, nil
	}
	n, ok := c.Elements()
	if !ok || n > limit {
		return nil, fmt.Errorf("constant of shape %v has more than %d elements", c.Shape, limit)
	}
	size := int64(c.DType.Size())
	if size == 0 {
		return nil, fmt.Errorf("constant of type %v has no numeric elements", c.DType)
	}
	raw := make([]byte, n*size)
	if _, err := io.ReadFull(io.NewSectionReader(c.Data, 0, n*size), raw); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	if err := tensor.Decode(out, raw, c.DType); err != nil {
		return nil, err
	}
	if len(c.Factors) > 0 {
		job := tensor.Rescale{DType: c.DType, Elements: n, Factors: c.Factors}
		for e := range out {
			out[e] *= job.Scale(int64(e))
		}
	}
	return out, nil
}

// Encode are a computed constant's elements as they are stored: Values, rounded once to the type.
func (c *Constant) Encode() ([]byte, error) {
	n, ok := c.Elements()
	if !ok || n != int64(len(c.Values)) {
		return nil, fmt.Errorf("%d values for shape %v", len(c.Values), c.Shape)
	}
	raw := make([]byte, c.Bytes())
	if c.DType.Float() {
		return raw, tensor.Encode(raw, c.Values, c.DType)
	}
	size := c.DType.Size()
	if size == 0 || size > 8 {
		return nil, fmt.Errorf("values of type %v cannot be written", c.DType)
	}
	var b [8]byte
	for k, x := range c.Values {
		binary.LittleEndian.PutUint64(b[:], uint64(int64(x)))
		copy(raw[k*size:], b[:size])
	}
	return raw, nil
}

// Attr is the named attribute, or nil.
func (n *Node) Attr(name string) *Attr {
	for k := range n.Attrs {
		if n.Attrs[k].Name == name {
			return &n.Attrs[k]
		}
	}
	return nil
}

// Int is the named integer attribute, or the default.
func (n *Node) Int(name string, def int64) int64 {
	if a := n.Attr(name); a != nil && a.Kind == IntAttr {
		return a.Int
	}
	return def
}

// Float is the named float attribute, or the default.
func (n *Node) Float(name string, def float64) float64 {
	if a := n.Attr(name); a != nil && a.Kind == FloatAttr {
		return a.Float
	}
	return def
}

// Str is the named string attribute, or the default.
func (n *Node) Str(name, def string) string {
	if a := n.Attr(name); a != nil && a.Kind == StringAttr {
		return a.String
	}
	return def
}

// Ints is the named list of integers, or nil.
func (n *Node) Ints(name string) []int64 {
	if a := n.Attr(name); a != nil && a.Kind == IntsAttr {
		return a.Ints
	}
	return nil
}

// In is input k, or nil where it is omitted.
func (n *Node) In(k int) *Value {
	if k < len(n.Inputs) {
		return n.Inputs[k]
	}
	return nil
}

// Out is output k, or nil where it is omitted.
func (n *Node) Out(k int) *Value {
	if k < len(n.Outputs) {
		return n.Outputs[k]
	}
	return nil
}

// Floats is the named list of floats, or nil.
func (n *Node) Floats(name string) []float64 {
	if a := n.Attr(name); a != nil && a.Kind == FloatsAttr {
		return a.Floats
	}
	return nil
}

// Label is the node's name, or the name of its first output where it has none.
func (n *Node) Label() string {
	if n.Name == "" && n.Out(0) != nil {
		return n.Outputs[0].Name
	}
	return n.Name
}

// String names the node for messages: its type and its Label.
func (n *Node) String() string {
	typ, label := n.Type, n.Label()
	if plain(typ) && plain(label) {
		return typ + ` "` + label + `"`
	}
	typ = strconv.Quote(typ) // a file may contain any characters
	return typ[1:len(typ)-1] + " " + strconv.Quote(label)
}

// plain says whether a text is the same when it is quoted.
func plain(text string) bool {
	for k := range len(text) {
		if c := text[k]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Set makes v input k of the node, growing the inputs with omitted ones where needed; nil omits it.
func (n *Node) Set(k int, v *Value) {
	for len(n.Inputs) <= k {
		n.Inputs = append(n.Inputs, nil)
	}
	if old := n.Inputs[k]; old != nil {
		old.Uses = slices.DeleteFunc(old.Uses, func(u Use) bool { return u.Node == n && u.Index == k })
	}
	n.Inputs[k] = v
	if v != nil {
		v.Uses = append(v.Uses, Use{n, k})
	}
	n.Edited = true
}

// SetAttr adds or replaces an attribute.
func (n *Node) SetAttr(a Attr) {
	n.Edited = true
	if old := n.Attr(a.Name); old != nil {
		*old = a
		return
	}
	n.Attrs = append(n.Attrs, a)
}

// Remove removes the node's uses of its inputs. Compact removes it from the graph's Nodes.
func (n *Node) Remove() {
	for k := range n.Inputs {
		n.Set(k, nil)
	}
	for _, v := range n.Outputs {
		if v != nil {
			v.Producer = nil
		}
	}
	n.Graph = nil
}

// Removed says whether Remove was called.
func (n *Node) Removed() bool { return n.Graph == nil }

// Append adds a node at the end of a graph that is being read, and makes its outputs.
func (g *Graph) Append(typ, name string, inputs []*Value, attrs []Attr, outputs ...string) *Node {
	n := &Node{Type: typ, Name: name, Attrs: attrs, Graph: g}
	for k, v := range inputs {
		n.Set(k, v)
	}
	for _, name := range outputs {
		n.Outputs = append(n.Outputs, &Value{Name: name, Graph: g, Producer: n})
	}
	n.Edited = false
	g.Nodes = append(g.Nodes, n)
	return n
}

// NewNode adds a node behind another one of the graph, or before all where after is nil. Its name is made from the hint.
// An output that another node produced is produced by the new one from now on. The graph's Nodes list it after Compact.
func (g *Graph) NewNode(after *Node, typ, hint string, inputs, outputs []*Value) *Node {
	n := &Node{Type: typ, Name: g.Model.NewName(hint), Graph: g, Outputs: outputs, Edited: true, Number: next(&g.Model.nodes)}
	for k, v := range inputs {
		n.Set(k, v)
	}
	for _, v := range outputs {
		if v != nil {
			v.Producer = n
		}
	}
	if g.behind == nil {
		g.behind = map[*Node][]*Node{}
	}
	g.behind[after] = slices.Insert(g.behind[after], 0, n) // nodes that were added before may read it
	return n
}

// NewValue makes a value of the graph, with a name made from the hint, that has the type and shape of another.
func (g *Graph) NewValue(hint string, like *Value) *Value {
	return &Value{Name: g.Model.NewName(hint), DType: like.DType, Shape: like.Shape, Graph: g, Number: next(&g.Model.values)}
}

// Compact brings the graph's list of nodes up to date: new nodes in their places, removed ones gone.
func (g *Graph) Compact() {
	nodes := make([]*Node, 0, len(g.Nodes))
	var add func(*Node)
	add = func(n *Node) {
		if n != nil && !n.Removed() {
			nodes = append(nodes, n)
		}
		for _, next := range g.behind[n] {
			add(next)
		}
	}
	add(nil)
	for _, n := range g.Nodes {
		add(n)
	}
	g.Nodes, g.behind = nodes, nil
}

// Absorb removes a node of one output whose work the producer of its data input takes over: that producer outputs the
// node's output instead of its own, so that names downstream, also of graph outputs, stay. Other readers of the input read
// the output from now on.
func (g *Graph) Absorb(n *Node, data int) {
	in, out := n.Inputs[data], n.Outputs[0]
	producer := in.Producer
	n.Remove()
	k := slices.Index(producer.Outputs, in)
	producer.Outputs[k], producer.Edited = out, true
	out.Producer, in.Producer = producer, nil
	in.replace(out)
}

// replace makes all readers of v read w.
func (v *Value) replace(w *Value) {
	for len(v.Uses) > 0 {
		u := v.Uses[len(v.Uses)-1]
		u.Node.Set(u.Index, w)
	}
}

// Bypass removes a node of one output whose work its readers take over: they read its data input. The output may not be a
// graph output.
func (g *Graph) Bypass(n *Node, data int) {
	in, out := n.Inputs[data], n.Outputs[0]
	n.Remove()
	out.replace(in)
}

// Path says where the graph stands in its model: "" for the main graph, "If \"n\" then_branch" for a body, outermost first,
// separated by slashes; functions start with "function NAME".
func (g *Graph) Path() string {
	if g.Parent == nil {
		for _, f := range g.Model.Functions {
			if f.Graph == g {
				return "function " + f.Name
			}
		}
		return ""
	}
	path := g.Parent.String() + " " + g.Attr
	if outer := g.Parent.Graph; outer != nil && outer.Path() != "" {
		path = outer.Path() + "/" + path
	}
	return path
}

// NewConst adds an initializer with a name made from the hint.
func (g *Graph) NewConst(hint string, c *Constant) *Value {
	return g.AddConst(g.Model.NewName(hint), c)
}

// AddConst adds a constant under that name, to a graph that is being read.
func (g *Graph) AddConst(name string, c *Constant) *Value {
	v := &Value{Name: name, DType: c.DType, Shape: c.Shape, Graph: g, Const: c, Number: next(&g.Model.values)}
	g.Consts = append(g.Consts, v)
	return v
}

// Integers are a list as a constant of int64.
func Integers(list ...int64) *Constant {
	values := make([]float64, len(list))
	for k, x := range list {
		values[k] = float64(x)
	}
	return &Constant{DType: tensor.Int64, Shape: []int64{int64(len(list))}, Values: values}
}

// Foreign are the main graph's nodes that an ONNX model cannot express: nodes of domains for which the model imports no
// operator set, such as a detector's head, and all that depend on them.
func (m *Model) Foreign() map[*Node]bool {
	foreign := map[*Node]bool{}
	for _, n := range m.Graph.Nodes {
		_, known := m.Opset[n.Domain]
		if !known || slices.ContainsFunc(n.Inputs, func(v *Value) bool { return v != nil && foreign[v.Producer] }) {
			foreign[n] = true
		}
	}
	return foreign
}

// NewName returns the hint, or the hint with a number behind it, such that nothing else in the model has that name.
func (m *Model) NewName(hint string) string {
	if m.names == nil {
		m.names = map[string]bool{}
		m.Walk(func(g *Graph) {
			for _, v := range slices.Concat(g.Inputs, g.Consts) {
				m.names[v.Name] = true
			}
			for _, n := range g.Nodes {
				m.names[n.Name] = true
				for _, v := range n.Outputs {
					if v != nil {
						m.names[v.Name] = true
					}
				}
			}
		})
	}
	name := hint
	for k := 1; m.names[name]; k++ {
		name = hint + "_" + strconv.Itoa(k)
	}
	m.names[name] = true
	return name
}

// Walk calls f for every graph: the main one, functions, and the bodies of nodes, outer graphs before inner ones.
func (m *Model) Walk(f func(*Graph)) {
	var walk func(*Graph)
	walk = func(g *Graph) {
		f(g)
		for _, n := range g.Nodes {
			for _, b := range n.Bodies {
				walk(b)
			}
		}
	}
	walk(m.Graph)
	for _, fn := range m.Functions {
		walk(fn.Graph)
	}
}

// Enumerate numbers the nodes of the model, from 1 on in the order of Walk, and its values, so that what is known of them can be kept in slices
// instead of maps. NewNode, NewValue and NewConst number what they add from then on.
func (m *Model) Enumerate() {
	m.nodes, m.values = 0, 0
	m.Walk(func(g *Graph) {
		forget(g.Inputs)
		for _, n := range g.Nodes {
			forget(n.Inputs)
			forget(n.Outputs)
		}
		forget(g.Outputs)
		forget(g.Consts)
	})
	m.Walk(func(g *Graph) {
		m.number(g.Inputs)
		for _, n := range g.Nodes {
			n.Number = next(&m.nodes)
			m.number(n.Inputs)
			m.number(n.Outputs)
		}
		m.number(g.Outputs)
		m.number(g.Consts)
	})
}

// forget takes the numbers of values away.
func forget(values []*Value) {
	for _, v := range values {
		if v != nil {
			v.Number = 0
		}
	}
}

// number numbers those of the values that have no number.
func (m *Model) number(values []*Value) {
	for _, v := range values {
		if v != nil && v.Number == 0 {
			v.Number = next(&m.values)
		}
	}
}

// next is the next number.
func next(last *int) int {
	*last++
	return *last
}
