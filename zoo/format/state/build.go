package state

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// domain is the domain of nodes that stand for readers of a value through which no map passes.
const domain = "state"

// builder makes chains of tensors.
type builder struct {
	m        *model.Model
	tensors  []*Tensor
	named    map[string]map[string]*Tensor // of each dict
	dicts    []string
	complete bool // no new tensor may be added
	places   []*place
	taken    map[*Tensor]bool  // tensors of normalisations and weights that belong to a chain already
	odd      map[string]string // by module of a language model: a tensor that is neither a weight nor a bias
	untie    bool
	used     []string
	warnings []string
}

// place says which tensor, or rows of one, an input of a node is, or which missing tensor it could be.
type place struct {
	node   *model.Node
	input  int
	tensor *Tensor // nil if it is missing
	name   string  // of a missing tensor
	beside *Tensor // the tensor behind which the missing one would be stored
	rows   [2]int64
	was    *model.Constant
	offset float64 // the node reads the stored elements plus this
	apart  bool    // the tensor shares its elements: when it changes it gets its own, and the others keep theirs
}

func newBuilder(tensors []*Tensor) *builder {
	b := &builder{m: &model.Model{Opset: map[string]int64{"": 23}}, tensors: tensors, named: map[string]map[string]*Tensor{}, taken: map[*Tensor]bool{}}
	b.m.Graph = &model.Graph{Name: "state", Model: b.m}
	b.m.Place = b.place
	for _, t := range tensors {
		if b.named[t.Dict] == nil {
			b.named[t.Dict] = map[string]*Tensor{}
			b.dicts = append(b.dicts, t.Dict)
		}
		b.named[t.Dict][t.Name] = t
	}
	return b
}

// net is the finished network.
func (b *builder) net() (*Net, error) {
	if len(b.m.Graph.Nodes) == 0 && len(b.warnings) == 0 {
		b.warnings = append(b.warnings, "nothing says what computes and what reads the tensors of a checkpoint: the manifest's state: names a graph, pairs or a preset")
	}
	return &Net{
		Model: b.m, Warnings: b.warnings, Used: b.used, edits: b.edits,
		Partial: "a checkpoint is no network that can be run: with a graph (state: graph:) it is",
	}, nil
}

// within are the tensors of one dict.
type within struct {
	*builder
	dict string
}

// get is a tensor by its name.
func (w within) get(name string) *Tensor { return w.named[w.dict][name] }

// full is a name within the whole checkpoint.
func (w within) full(name string) string {
	if w.dict == "" {
		return name
	}
	return w.dict + ": " + name
}

// input is a new input of the graph. The name says what it is.
func (w within) input(name string, d tensor.DType, shape ...int64) *model.Value {
	v := &model.Value{Name: w.m.NewName(w.full(name)), DType: d, Shape: shape, Graph: w.m.Graph, Input: true}
	w.m.Graph.Inputs = append(w.m.Graph.Inputs, v)
	return v
}

// output makes a value an output of the graph.
func (w within) output(v *model.Value) {
	v.Output = true
	w.m.Graph.Outputs = append(w.m.Graph.Outputs, v)
}

// node adds a node of one output. Its name is taken from the checkpoint.
func (w within) node(typ, name, output string, shape []int64, inputs []*model.Value, attrs ...any) *model.Node {
	n := w.m.Graph.Append(typ, w.full(name), inputs, model.Attrs(attrs...), w.m.NewName(w.full(output)))
	n.Outputs[0].DType, n.Outputs[0].Shape = inputs[0].DType, shape
	return n
}

// read makes rows of a tensor input k of a node.
func (w within) read(n *model.Node, k int, t *Tensor, rows [2]int64) {
	shape := slices.Clone(t.Shape)
	data := t.Data
	name := w.full(t.Name)
	if rows[1]-rows[0] != shape[0] {
		count, _ := tensor.Elements(shape)
		row := count / shape[0] * int64(t.DType.Size())
		shape[0] = rows[1] - rows[0]
		data = io.NewSectionReader(data, rows[0]*row, shape[0]*row)
		name = fmt.Sprintf("%s[%d:%d]", name, rows[0], rows[1])
	}
	c := &model.Constant{DType: t.DType, Shape: shape, Data: data}
	n.Set(k, w.m.Graph.NewConst(name, c))
	n.Edited = false
	w.places = append(w.places, &place{node: n, input: k, tensor: t, rows: rows, was: c})
}

// whole are all rows.
func whole(t *Tensor) [2]int64 { return [2]int64{0, t.Shape[0]} }

// gains says that input k of a node may become a new tensor.
func (w within) gains(n *model.Node, k int, name string, beside *Tensor, rows [2]int64) {
	w.places = append(w.places, &place{node: n, input: k, name: name, beside: beside, rows: rows})
}

// computed makes a constant that is not stored input k of a node.
func (w within) computed(n *model.Node, k int, name string, d tensor.DType, count int64, x float64) {
	c := &model.Constant{DType: d, Shape: []int64{count}, Values: slices.Repeat([]float64{x}, int(count))}
	n.Set(k, w.m.Graph.NewConst(w.full(name), c))
	n.Edited = false
}

// linear is a linear operator of a dict: a convolution or a fully connected layer.
type linear struct {
	name       string
	weight     *Tensor
	bias       *Tensor // or nil
	transposed bool    // the weight's first axis is the input's
}

// linear is the operator of that name, or nil: its weight has to be of floats, and of as many axes as one has.
func (w within) linear(name string, transposed bool) *linear {
	l := &linear{name: name, weight: w.get(name + ".weight"), bias: w.get(name + ".bias"), transposed: transposed}
	if l.weight == nil || !l.weight.DType.Float() || len(l.weight.Shape) < 2 || len(l.weight.Shape) > 5 || slices.Contains(l.weight.Shape, 0) {
		return nil
	}
	if l.bias != nil && (!l.bias.DType.Float() || len(l.bias.Shape) != 1) {
		return nil
	}
	return l
}

// maxBlock is the number of rows of a fully connected layer's weight in each node: the algebra check holds a node's output
// on all probes in memory, but not its weight.
const maxBlock = 1 << 14

// blocks are the ranges of rows into which a weight is cut, one for each node.
func (l *linear) blocks() (list [][2]int64) {
	rows, step := l.weight.Shape[0], l.weight.Shape[0]
	if len(l.weight.Shape) == 2 && !l.transposed {
		step = maxBlock
	}
	for at := int64(0); at < rows; at += step {
		list = append(list, [2]int64{at, min(at+step, rows)})
	}
	return list
}

// fully adds the Gemms of a fully connected layer that reads x, and returns their outputs.
func (w within) fully(l *linear, x *model.Value, blocks [][2]int64, output string) (out []*model.Value) {
	for k, rows := range blocks {
		name := output
		if k > 0 {
			name = fmt.Sprintf("%s[%d:]", output, rows[0])
		}
		attrs, outputs := []any{"transB", 1}, rows
		if l.transposed { // one block, of all inputs
			attrs, outputs = nil, [2]int64{0, l.weight.Shape[1]}
		}
		n := w.node("Gemm", l.name, name, []int64{x.Shape[0], outputs[1] - outputs[0]}, []*model.Value{x}, attrs...)
		w.read(n, 1, l.weight, rows)
		w.biased(n, l, outputs)
		out = append(out, n.Outputs[0])
	}
	return out
}

// biased gives a linear operator its bias, or lets it gain one.
func (w within) biased(n *model.Node, l *linear, rows [2]int64) {
	if l.bias != nil {
		w.read(n, 2, l.bias, rows)
		return
	}
	w.gains(n, 2, l.name+".bias", l.weight, rows)
}

// conv adds the node of a convolution that reads x.
func (w within) conv(l *linear, x *model.Value, channels int64, output string) *model.Value {
	typ, shape, groups := "Conv", slices.Repeat([]int64{1}, len(l.weight.Shape)), int64(1)
	if l.transposed {
		typ, groups = "ConvTranspose", channels/l.weight.Shape[1]
		copy(shape[2:], l.weight.Shape[2:])
	}
	shape[1] = channels
	n := w.node(typ, l.name, output, shape, []*model.Value{x}, "kernel_shape", l.weight.Shape[2:], "group", groups)
	w.read(n, 1, l.weight, whole(l.weight))
	w.biased(n, l, [2]int64{0, channels})
	return n.Outputs[0]
}

// place says whether the checkpoint stores input k of a node.
func (b *builder) place(n *model.Node, k int) model.Place {
	s, ok := n.Source.(*sited)
	if !ok {
		return model.NoPlace
	}
	return b.placeOf(s, k)
}

// placeOf says whether input k is a tensor that can change, or could be a new one.
func (b *builder) placeOf(s *sited, k int) model.Place {
	for _, p := range s.places {
		switch {
		case p.input != k:
		case p.apart || p.tensor != nil && p.tensor.Fixed == "":
			return model.Stored
		case p.tensor == nil && !b.complete:
			return model.Gained
		default:
			return model.NoPlace
		}
	}
	return model.NoPlace
}

// sited are the places of a node.
type sited struct{ places []*place }

// settle sets the Source of nodes to their places.
func (b *builder) settle() {
	for _, n := range b.m.Graph.Nodes {
		n.Source = &sited{}
	}
	for _, p := range b.places {
		s := p.node.Source.(*sited)
		s.places = append(s.places, p)
	}
}

// edits are the changes of the tensors.
func (b *builder) edits() ([]Edit, error) {
	var list []Edit
	at := map[*Tensor][]*place{}
	gained := map[*Tensor][]*place{}
	for _, p := range b.places {
		if p.tensor != nil {
			at[p.tensor] = append(at[p.tensor], p)
		} else {
			gained[p.beside] = append(gained[p.beside], p)
		}
	}
	for _, t := range b.tensors {
		if ps := at[t]; ps != nil {
			e, changed, err := edited(t, ps)
			if err != nil {
				return nil, fmt.Errorf("tensor %q: %w", t, err)
			}
			if changed {
				list = append(list, e)
			}
			if e.Gone && strings.HasSuffix(t.Name, ".running_var") { // other tensors of the normalisation
				if counter := b.named[t.Dict][strings.TrimSuffix(t.Name, "running_var")+"num_batches_tracked"]; counter != nil {
					list = append(list, Edit{Tensor: counter, Gone: true})
				}
			}
		}
		if ps := gained[t]; ps != nil {
			e, ok, err := gain(t, ps)
			if err != nil {
				return nil, fmt.Errorf("tensor %q: %w", e.New, err)
			}
			if ok {
				list = append(list, e)
			}
		}
	}
	return list, nil
}

// edited is the new content of a tensor of which each place reads some rows, and whether it changed.
func edited(t *Tensor, places []*place) (e Edit, changed bool, err error) {
	e = Edit{Tensor: t, Shape: t.Shape}
	var parts []part
	gone := 0
	for _, p := range places {
		if p.node.Removed() {
			gone++
			continue
		}
		v := p.node.In(p.input)
		if v == nil || v.Const == nil {
			return e, false, fmt.Errorf("%v does not read it any more", p.node)
		}
		c := v.Const
		if c != p.was {
			changed = true
		}
		if c != p.was && p.offset != 0 {
			values, err := c.Float64s(int64(len(p.was.Values)))
			if err != nil {
				return e, false, err
			}
			c = &model.Constant{DType: t.DType, Shape: c.Shape, Values: slices.Clone(values)}
			for k := range c.Values {
				c.Values[k] -= p.offset
			}
		}
		parts = append(parts, part{c, v.Name})
	}
	switch {
	case gone == len(places):
		return Edit{Tensor: t, Gone: true}, true, nil
	case gone > 0:
		return e, false, fmt.Errorf("some of its readers are gone")
	case changed:
		e.Pieces, err = pieces(t.String(), t.DType, parts)
	}
	return e, changed, err
}

// part is a stretch of a tensor's elements, with the name of their value in the graph.
type part struct {
	*model.Constant
	name string
}

// pieces are the pieces of a file that a tensor is written as.
func pieces(name string, d tensor.DType, parts []part) (list []format.Piece, err error) {
	for _, p := range parts {
		if p.DType != d {
			return nil, fmt.Errorf("%v would be stored as %v", d, p.DType)
		}
		if p.Data != nil {
			list = append(list, format.Piece{Scaled: format.NewScaled(name, p.name, p.Constant)})
			continue
		}
		made, err := p.Encode()
		if err != nil {
			return nil, err
		}
		list = append(list, format.Piece{Made: made})
	}
	return list, nil
}

// gain is the edit that adds a missing tensor, if nodes read one now.
func gain(beside *Tensor, places []*place) (e Edit, ok bool, err error) {
	e = Edit{Tensor: beside, New: places[0].name, Shape: []int64{0}}
	var parts []part
	for _, p := range places {
		count := p.rows[1] - p.rows[0]
		c := part{&model.Constant{DType: beside.DType, Shape: []int64{count}, Values: make([]float64, count)}, p.name}
		if v := p.node.In(p.input); !p.node.Removed() && v != nil && v.Const != nil {
			c, ok = part{v.Const, v.Name}, ok || v.Const != p.was
		}
		parts = append(parts, c)
		e.Shape[0] += count
	}
	if places[0].was != nil { // of an embedding
		e.Shape = slices.Clone(beside.Shape)
	}
	e.Pieces, err = pieces(e.New, beside.DType, parts)
	return e, ok, err
}
