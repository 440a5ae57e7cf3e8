package state

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

// alongGraph takes the structure from an exported program or model: its parameters become the checkpoint's tensors. Of
// several state dicts at least one has to have them; all that do are folded.
func alongGraph(ctx context.Context, tensors []*Tensor, o format.Options) (*Net, error) {
	var dicts []string
	var nets []*Net
	var failed []error
	var left []string
	for _, dict := range newBuilder(tensors).dicts {
		n, err := within{newBuilder(tensors), dict}.along(ctx, o)
		if err != nil {
			failed = append(failed, err)
			left = append(left, fmt.Sprintf("the state dict %q stays as it is: %v", dict, err))
			continue
		}
		nets, dicts = append(nets, n), append(dicts, dict)
	}
	switch len(nets) {
	case 0:
		return nil, failed[0] // one line says enough
	case 1:
		nets[0].Warnings = append(nets[0].Warnings, left...)
		return nets[0], nil
	}
	net := side(dicts, nets)
	net.Warnings = append(net.Warnings, left...)
	return net, nil
}

// along is the network of a graph with the tensors of one dict.
func (w within) along(ctx context.Context, o format.Options) (*Net, error) {
	at := filepath.Base(o.State.Graph)
	if f, err := format.Find(o.State.Graph); err != nil || f.Bare {
		return nil, fmt.Errorf("the graph %s: a program of torch.export (.pt2) or an ONNX model is wanted: %w", at, format.ErrLimit)
	}
	prefix, asked := w.prefix(), map[string]bool{}
	find := func(name string) (format.Stored, bool) {
		t := w.get(prefix + name)
		if t == nil {
			return format.Stored{}, false
		}
		asked[prefix+name] = true
		return format.Stored{DType: t.DType, Shape: t.Shape, Data: t.Data, Fixed: t.Fixed != ""}, true
	}
	f, err := format.Open(ctx, o.State.Graph, format.Options{State: format.State{Tensors: find}})
	if err != nil {
		return nil, fmt.Errorf("along the graph: %w", err)
	}
	net := &Net{Model: f.Model(), Used: []string{o.State.Graph}, close: f.Close}
	if s, ok := f.(format.Stateful); ok {
		net.edits = func() ([]Edit, error) { return w.stateful(s, prefix) }
	} else {
		if err := w.bind(f.Model(), find); err != nil {
			return nil, errors.Join(fmt.Errorf("along the graph %s: %w", at, err), f.Close())
		}
		net.edits = w.edits
		if m := f.Model(); len(m.Functions) > 0 || len(graphs(m.Graph)) > 1 {
			net.Partial = fmt.Sprintf("the graph %s has functions, or graphs within its nodes: with a checkpoint's tensors it cannot be written as a model that runs", at)
		}
	}
	for _, t := range w.tensors {
		if t.Dict == w.dict && !asked[t.Name] && !strings.HasSuffix(t.Name, ".num_batches_tracked") {
			return nil, errors.Join(fmt.Errorf("tensor %q is none of the graph %s: is it that of another network? %w", t, at, format.ErrCorrupt), f.Close())
		}
	}
	return net, nil
}

// stateful are the edits of a program that reports them itself.
func (w within) stateful(s format.Stateful, prefix string) (list []Edit, err error) {
	edits, err := s.Edits()
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		t := w.get(prefix + e.Name)
		switch {
		case e.Like == "" && e.Pieces == nil && t == nil: // num_batches_tracked, which the checkpoint does not have
		case t != nil && e.Pieces == nil:
			list = append(list, Edit{Tensor: t, Gone: true})
		case t != nil:
			list = append(list, Edit{Tensor: t, Shape: t.Shape, Pieces: e.Pieces})
		default:
			like := w.get(prefix + e.Like)
			if like == nil {
				return nil, fmt.Errorf("tensor %q would stand behind %q, which is not there", e.Name, e.Like)
			}
			list = append(list, Edit{Tensor: like, New: prefix + e.Name, Shape: []int64{format.Size(e.Pieces) / int64(like.DType.Size())}, Pieces: e.Pieces})
		}
	}
	return list, nil
}

// normInputs are a batch normalisation's parameters, by the inputs of its node.
var normInputs = []int{1, 2, 3, 4}

// bind replaces a model's initializers by the checkpoint's tensors of the same names. The checkpoint may be folded already:
// a batch normalisation without any tensors was removed, and an operator may have a bias that the model lacks.
func (w within) bind(m *model.Model, find func(string) (format.Stored, bool)) error {
	w.m = m
	var nodes []*model.Node
	for _, g := range graphs(m.Graph) {
		nodes = append(nodes, g.Nodes...)
	}
	for _, n := range nodes {
		if n.Type == "BatchNormalization" && n.Domain == "" && len(n.Inputs) == 5 && !slices.ContainsFunc(normInputs, func(k int) bool {
			if n.Inputs[k] == nil || n.Inputs[k].Const == nil {
				return true
			}
			_, there := find(n.Inputs[k].Name)
			return there
		}) {
			for _, k := range normInputs {
				n.Set(k, nil)
			}
			n.Type, n.Attrs, n.Inputs, n.Edited = "Identity", nil, n.Inputs[:1], false
		}
	}
	m.Graph.Consts = slices.DeleteFunc(m.Graph.Consts, func(v *model.Value) bool { return len(v.Uses) == 0 && !v.Output })
	for _, v := range m.Graph.Consts {
		if err := w.bound(v, find); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		weight := n.In(1)
		if (n.Type == "Conv" || n.Type == "ConvTranspose" || n.Type == "Gemm") && n.In(2) == nil && weight != nil && weight.Const != nil {
			if err := w.bias(n, weight, find); err != nil {
				return err
			}
		}
	}
	sites := map[*model.Node]*sited{}
	for _, p := range w.places {
		if sites[p.node] == nil {
			sites[p.node] = &sited{}
		}
		sites[p.node].places = append(sites[p.node].places, p)
	}
	m.Stays = func(n *model.Node) (string, bool) { return format.InCode, n.Type != "BatchNormalization" }
	m.Place = func(n *model.Node, k int) model.Place {
		if sites[n] == nil {
			return model.NoPlace
		}
		return w.placeOf(sites[n], k)
	}
	return nil
}

// bound gives an initializer the elements of its tensor.
func (w within) bound(v *model.Value, find func(string) (format.Stored, bool)) error {
	t, ok := find(v.Name)
	n, _ := v.Const.Elements()
	switch {
	case !ok && (!v.Const.DType.Float() || n <= 1):
		return nil // a size, an axis or another constant of the architecture
	case !ok:
		return fmt.Errorf("tensor %q is not in the checkpoint: export the model without constant folding, so that its initializers are the parameters: %w", v.Name, format.ErrCorrupt)
	case t.DType != v.Const.DType || !slices.Equal(t.Shape, v.Const.Shape):
		return fmt.Errorf("tensor %q has type %v and shape %v in the checkpoint, %v and %v in the graph: %w", v.Name, t.DType, t.Shape, v.Const.DType, v.Const.Shape, format.ErrCorrupt)
	}
	c := &model.Constant{DType: t.DType, Shape: t.Shape, Data: t.Data}
	v.Const = c
	if len(v.Uses) != 1 || t.Fixed || v.Output || v.Input {
		return nil // it stays as it is
	}
	stored := w.get(w.prefix() + v.Name)
	rows := [2]int64{0, 1}
	if len(t.Shape) > 0 {
		rows[1] = t.Shape[0]
	}
	w.places = append(w.places, &place{node: v.Uses[0].Node, input: v.Uses[0].Index, tensor: stored, rows: rows, was: c})
	return nil
}

// bias gives an operator without a bias the checkpoint's bias, or lets it gain one.
func (w within) bias(n *model.Node, weight *model.Value, find func(string) (format.Stored, bool)) error {
	name, ok := strings.CutSuffix(weight.Name, "weight")
	like := w.get(w.prefix() + weight.Name)
	if !ok || like == nil || len(like.Shape) < 2 {
		return nil
	}
	channels := like.Shape[0]
	switch {
	case n.Type == "ConvTranspose":
		channels = like.Shape[1] * n.Int("group", 1)
	case n.Type == "Gemm" && n.Int("transB", 0) == 0:
		channels = like.Shape[1]
	}
	if t, there := find(name + "bias"); there {
		if t.DType != like.DType || !slices.Equal(t.Shape, []int64{channels}) {
			return fmt.Errorf("tensor %q has type %v and shape %v, which is no bias of %d channels: %w", name+"bias", t.DType, t.Shape, channels, format.ErrCorrupt)
		}
		n.Set(2, w.m.Graph.AddConst(w.m.NewName(name+"bias"), &model.Constant{DType: t.DType, Shape: t.Shape, Data: t.Data}))
		n.Edited = false
		return nil
	}
	w.gains(n, 2, w.prefix()+name+"bias", like, [2]int64{0, channels})
	return nil
}
