package keras

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
)

// network is a model as its configuration describes it: the file's model, or one that is used as a layer in it.
type network struct {
	layer           *layer // the model itself as a layer
	sequential      bool
	layers          []*layer // as listed
	names           map[string]*layer
	inputs, outputs []*ref // of a functional model
	outlets         map[callKey]*outlet
	bare            bool // every layer could be removed: they are all maps
}

// layer is one layer of a network, or an operation that stands among layers.
type layer struct {
	net     *network // that it is in; nil for the model itself
	class   string
	name    string
	foreign bool            // the class is not one of Keras' layers
	counted bool            // it is a layer: operations (ops.go) are not among a model's layers
	tree    *jsontext.Value // the layer's whole entry in the configuration
	config  *jsontext.Value // its settings, under the names of Keras 2 and 3
	calls   []*call         // where it is used
	inner   *network        // of a model that is used as a layer
	base    [2]int          // the number of the first call in references to a model's calls, by their purpose: see count
	vars    []*variable     // its own weights, as Keras keeps them
	mixed   bool            // of a model whose weights the file stores in an order that is not known
	group   *hdf5.Group     // its group in a .keras file
	twin    bool            // the same object is used as a layer elsewhere too
	old     bool            // it is as Keras 1 wrote it
	timed   bool            // a TimeDistributed, read as the layer that it applies
}

// call is one use of a layer.
type call struct {
	layer *layer
	index int
	tree  *jsontext.Value // the inbound node; nil in a sequential model
	refs  []*ref          // the tensors that it reads
	data  int             // how many of them are data: they come first, a mask may follow
	plain bool            // the data are one tensor or one list, and there are no further arguments
}

const (
	maxLayers = 1 << 16 // of a model, those of models within it included
	maxInner  = 32      // models within each other
)

// parser reads configurations.
type parser struct {
	major  int // version of the Keras that wrote the file: 1, 2 or 3
	layers int
	shared map[string]*layer // by the number that Keras 3 gives shared objects
}

func wrong(l *layer, text string, args ...any) error {
	return fmt.Errorf("layer %q: %s: %w", l.name, fmt.Sprintf(text, args...), format.ErrCorrupt)
}

// parseModel reads a model's configuration: an object with class_name and config.
func parseModel(tree *jsontext.Value, major int) (*network, error) {
	class, ok := tree.Get("class_name").Str()
	if !ok || tree.Get("config").Null() {
		return nil, fmt.Errorf("not the configuration of a Keras model: it has no class_name or no config: %w", format.ErrCorrupt)
	}
	whole := &layer{class: class, name: "model", tree: tree}
	if name, ok := tree.Get("config", "name").Str(); ok {
		whole.name = name
	}
	if !isNetwork(tree) {
		return nil, fmt.Errorf("the model is a %q: only Sequential and functional models have their layers in the file: %w", class, format.ErrUnread)
	}
	p := &parser{major: major, shared: map[string]*layer{}}
	if err := p.network(whole, 0); err != nil {
		return nil, err
	}
	return whole.inner, nil
}

// isNetwork says whether an object describes a model by its layers.
func isNetwork(tree *jsontext.Value) bool {
	class, _ := tree.Get("class_name").Str()
	switch class {
	case "Sequential":
		return tree.Get("config").List() != nil || tree.Get("config", "layers").List() != nil
	case "Functional", "Model":
		return tree.Get("config", "layers").List() != nil
	}
	return false
}

// network reads the layers of a model.
func (p *parser) network(of *layer, depth int) error {
	n := &network{layer: of, names: map[string]*layer{}, outlets: map[callKey]*outlet{}, bare: true}
	of.inner = n
	if depth > maxInner {
		return fmt.Errorf("more than %d models within each other: %w", maxInner, format.ErrLimit)
	}
	config := of.tree.Get("config")
	list := config.Get("layers").List()
	if config.Kind == '[' { // Keras before 2.2.3
		list = config.Items
	}
	n.sequential = of.class == "Sequential"
	if p.layers += len(list); p.layers > maxLayers {
		return fmt.Errorf("more than %d layers: %w", maxLayers, format.ErrLimit)
	}
	for k, tree := range list {
		l, err := p.layer(n, tree, k)
		if err != nil {
			return err
		}
		if n.names[l.name] != nil {
			return wrong(l, "a second layer of that name")
		}
		n.names[l.name] = l
		n.layers = append(n.layers, l)
		n.bare = n.bare && l.leavable()
		if isNetwork(tree) && !l.foreign {
			if err := p.network(l, depth+1); err != nil {
				return err
			}
		}
	}
	if n.sequential {
		n.chain()
		return nil
	}
	return p.connect(n, config)
}

// layer reads one layer, without its inputs.
func (p *parser) layer(n *network, tree *jsontext.Value, at int) (*layer, error) {
	l := &layer{net: n, tree: tree, counted: true}
	class, ok := tree.Get("class_name").Str()
	if !ok || tree.Get("config") == nil {
		return nil, fmt.Errorf("layer %d of %q has no class_name or no config: %w", at, n.layer.name, format.ErrCorrupt)
	}
	l.class = class
	for _, v := range []*jsontext.Value{tree.Get("name"), tree.Get("config", "name")} {
		if name, ok := v.Str(); ok && l.name == "" {
			l.name = name
		}
	}
	if l.name == "" {
		l.name = fmt.Sprintf("%s_%d", snake(class), at)
	}
	module, said := tree.Get("module").Str()
	switch {
	case strings.HasPrefix(module, "keras.src.ops") || strings.HasPrefix(module, "keras.ops"):
		l.foreign, l.counted = true, false
	case said || tree.Get("registered_name") != nil:
		registered, _ := tree.Get("registered_name").Str()
		l.foreign = !strings.HasPrefix(module, "keras.") && module != "keras" || registered != "" && registered != class
	default:
		l.foreign = strings.Contains(class, ">")
	}
	l.config = tree.Get("config")
	if p.major == 1 {
		if err := l.modern(); err != nil {
			return nil, fmt.Errorf("layer %q: %w", l.name, err)
		}
	}
	if p.major > 1 {
		l.untimed()
	}
	if id := tree.Get("shared_object_id"); !id.Null() {
		if first := p.shared[id.String()]; first != nil {
			first.twin, l.twin = true, true
		}
		p.shared[id.String()] = l
	}
	return l, nil
}

// chain connects the layers of a sequential model: each reads the one before it, the first one the model's input.
func (n *network) chain() {
	var before *layer
	for k, l := range n.layers {
		if k == 0 && l.class == "InputLayer" {
			continue
		}
		c := &call{layer: l, plain: true, data: 1, refs: []*ref{{layer: before}}}
		l.calls = []*call{c}
		before = l
	}
	n.outputs = []*ref{{layer: before}}
}

// connect reads which tensors the layers of a functional model read, and which are its inputs and outputs.
func (p *parser) connect(n *network, config *jsontext.Value) error {
	for _, l := range n.layers {
		for k, tree := range l.tree.Get("inbound_nodes").List() {
			c := &call{layer: l, index: k, tree: tree}
			l.calls = append(l.calls, c)
			var err error
			if c.refs, err = n.refs(tree); err != nil {
				return fmt.Errorf("layer %q: %w", l.name, err)
			}
			c.data, c.plain = n.plain(tree, len(c.refs))
		}
		if len(l.calls) == 0 && l.class != "InputLayer" {
			return wrong(l, "nothing says what it reads")
		}
	}
	var err error
	if n.inputs, err = n.refs(config.Get("input_layers")); err != nil {
		return fmt.Errorf("input_layers of %q: %w", n.layer.name, err)
	}
	if n.outputs, err = n.refs(config.Get("output_layers")); err != nil {
		return fmt.Errorf("output_layers of %q: %w", n.layer.name, err)
	}
	if len(n.inputs) == 0 || len(n.outputs) == 0 {
		return fmt.Errorf("the model %q has no input_layers or no output_layers: %w", n.layer.name, format.ErrCorrupt)
	}
	for _, r := range n.inputs {
		if r.layer.class != "InputLayer" || len(r.layer.calls) > 0 {
			return wrong(r.layer, "it is named as an input and is none")
		}
	}
	var read []*ref
	for _, l := range n.layers {
		for _, c := range l.calls {
			read = append(read, c.refs...)
		}
	}
	p.count(read, reading)
	p.count(slices.Concat(n.inputs, n.outputs), facing)
	if err := n.look(slices.Concat(read, n.outputs)); err != nil {
		return err
	}
	for _, r := range slices.Concat(read, n.inputs, n.outputs) {
		if calls := r.layer.used(); r.call < 0 || r.call >= calls || r.output < 0 {
			return wrong(r.layer, "output %d of its call %d is read, it has %d calls", r.output, r.call, calls)
		}
	}
	return nil
}

// used is the number of the layer's calls, to whose outputs references can point.
func (l *layer) used() int {
	if l.class == "InputLayer" {
		return 1
	}
	return len(l.calls)
}

// shapeOf reads a shape; nil where v is none.
func shapeOf(v *jsontext.Value) []int64 {
	if v == nil || v.Kind != '[' || len(v.Items) > 16 {
		return nil
	}
	shape := []int64{}
	for _, item := range v.Items {
		d, ok := item.Int()
		switch {
		case item.Null():
			d = -1
		case !ok || d < 0:
			return nil
		}
		shape = append(shape, d)
	}
	return shape
}

// className is an object's class_name.
func className(v *jsontext.Value) string {
	class, _ := v.Get("class_name").Str()
	return class
}
