package torch

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(buildReshape, "view", "reshape", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "view_copy")
	register(buildPermute, "permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "numpy_T", "mT", "T")
	register(buildSame, "dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "alias", "detach", "lift_fresh_copy", "lift_fresh", "to", "_to_copy", "type_as", "identity")
	register(buildExpand, "expand", "broadcast_to", "expand_as")
	register(buildConcat, "cat", "concat", "concatenate")
	register(buildSplit, "split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split")
	register(buildUnbind, "unbind")
	register(buildSlice, "slice", "narrow")
	register(buildSelect, "select")
	register(buildEmbedding, "embedding")
	register(buildSizes, "sym_size", "_assert_tensor_metadata", "sym_numel", "sym_stride")
}

// moved is a stored tensor's form with its axes in another order.
func (f *stored) moved(axes []int64) *stored {
	out := &stored{input: f.input}
	for _, a := range axes {
		out.shape, out.perm = append(out.shape, f.shape[a]), append(out.perm, f.perm[a])
	}
	return out
}

// buildReshape reshapes a tensor to the shape that the program gives.
func buildReshape(s *site) error {
	if len(s.refs) == 0 || len(s.outputs) != 1 {
		return unclear("it is no view of a tensor")
	}
	want := s.p.metas[s.outputs[0]].sizes
	if e := s.entries[s.refs[0].name]; e.form != nil && e.stale == nil && inOrder(e.form.perm) && len(s.refs) == 1 {
		f := &stored{input: e.form.input, shape: want}
		for k := range want {
			f.perm = append(f.perm, k)
		}
		if !sameSize(e.form.shape, want) {
			return unclear("a shape of another size")
		}
		return s.form(f)
	}
	x, err := s.value(s.refs[0])
	if err != nil {
		return err
	}
	if x.Shape == nil || max(len(x.Shape), len(want)) > maxBuilt {
		return unclear("the shape is not known")
	}
	shape, free := slices.Clone(want), 0
	for k, d := range want {
		switch {
		case d >= 0:
		case k < len(x.Shape) && x.Shape[k] == d:
			shape[k] = 0 // as it is
		default:
			shape[k], free = -1, free+1
		}
	}
	if free > 1 || slices.Contains(want, 0) || slices.Contains(x.Shape, 0) {
		return unclear("several extents that depend on the input")
	}
	return s.result(0, s.op("Reshape", []*model.Value{x, s.list("shape", shape...)}))
}

func sameSize(a, b []int64) bool {
	product := func(list []int64) (n int64) {
		n = 1
		for _, d := range list {
			if d < 0 || d > 0 && n > math.MaxInt64/d {
				return -1
			}
			n *= d
		}
		return n
	}
	return product(a) >= 0 && product(a) == product(b)
}

func buildPermute(s *site) error {
	if len(s.refs) != 1 || len(s.outputs) != 1 {
		return unclear("it is no view of a tensor")
	}
	rank := len(s.p.metas[s.refs[0].name].sizes)
	axes, err := s.permutation(rank)
	if err != nil {
		return err
	}
	if e := s.entries[s.refs[0].name]; e.form != nil && e.stale == nil {
		return s.form(e.form.moved(axes))
	}
	x, err := s.value(s.refs[0])
	if err != nil {
		return err
	}
	if len(x.Shape) != rank || rank > maxBuilt {
		return unclear("the rank is not known")
	}
	return s.result(0, s.op("Transpose", []*model.Value{x}, "perm", axes))
}

// permutation is the order of axes that an operator makes.
func (s *site) permutation(rank int) ([]int64, error) {
	axes := make([]int64, rank)
	for k := range axes {
		axes[k] = int64(k)
	}
	swap := func(from, to string, i, j int64) error {
		a, err := s.axis(from, rank, i)
		if err != nil {
			return err
		}
		b, err := s.axis(to, rank, j)
		if err == nil {
			axes[a], axes[b] = axes[b], axes[a]
		}
		return err
	}
	_, name, _ := operator(s.node.target)
	switch name {
	case "permute":
		dims, err := s.ints("dims")
		if err != nil {
			return nil, err
		}
		seen := make([]bool, rank)
		for k, d := range dims {
			a, err := axisOf(d, rank)
			if err != nil || seen[a] || len(dims) != rank {
				return nil, unclear("it is no permutation")
			}
			seen[a], axes[k] = true, int64(a)
		}
		if len(dims) != rank {
			return nil, unclear("it is no permutation")
		}
		return axes, nil
	case "transpose":
		return axes, swap("dim0", "dim1", 0, 0)
	case "swapdims":
		return axes, swap("dim0", "dim1", 0, 0)
	case "swapaxes":
		return axes, swap("axis0", "axis1", 0, 0)
	case "movedim":
		from, err := s.axis("source", rank, 0)
		if err != nil {
			return nil, err
		}
		to, err := s.axis("destination", rank, 0)
		if err != nil {
			return nil, err
		}
		axes = slices.Delete(axes, from, from+1)
		return slices.Insert(axes, to, int64(from)), nil
	case "mT":
		if rank < 2 {
			return nil, unclear("it has no matrix")
		}
		axes[rank-1], axes[rank-2] = axes[rank-2], axes[rank-1]
		return axes, nil
	}
	slices.Reverse(axes) // t of a matrix, T and numpy_T
	return axes, nil
}

// buildSame is an operator that changes nothing at inference, or only the type.
func buildSame(s *site) error {
	if len(s.refs) == 0 || len(s.outputs) != 1 {
		return unclear("it is no copy of a tensor")
	}
	if s.yes("train", false) {
		return unclear("it drops at random")
	}
	m, o := s.p.metas[s.refs[0].name], s.p.metas[s.outputs[0]]
	_, name, _ := operator(s.node.target)
	e := s.entries[s.refs[0].name]
	if e.form != nil && e.stale == nil && len(s.refs) == 1 && m.dtype == o.dtype && name != "clone" && name != "_to_copy" {
		return s.form(e.form)
	}
	x, err := s.value(s.refs[0])
	if err != nil {
		return err
	}
	switch {
	case m.dtype == o.dtype:
		return s.result(0, s.op("Identity", []*model.Value{x}))
	case m.dtype.Size() > 8 || o.dtype.Size() > 8:
		return unclear("complex numbers")
	}
	return s.result(0, s.op("Cast", []*model.Value{x}, "to", int(o.dtype)))
}

func buildExpand(s *site) error {
	x, _, err := s.x("self", "input")
	if err != nil {
		return err
	}
	want := s.p.metas[s.outputs[0]].sizes
	if slices.ContainsFunc(want, func(d int64) bool { return d < 0 }) || len(want) > maxBuilt {
		return unclear("extents that depend on the input")
	}
	return s.result(0, s.op("Expand", []*model.Value{x, s.list("shape", want...)}))
}

func buildConcat(s *site) error {
	var inputs []*model.Value
	for _, r := range s.refs {
		v, err := s.value(r)
		if err != nil {
			return err
		}
		if v.Shape == nil || len(v.Shape) != len(s.p.metas[s.outputs[0]].sizes) || v.DType != s.p.metas[s.outputs[0]].dtype {
			return unclear("tensors of several ranks or types")
		}
		inputs = append(inputs, v)
	}
	if len(inputs) == 0 {
		return unclear("no tensors")
	}
	axis, err := s.axis("dim", len(inputs[0].Shape), 0)
	if err != nil {
		return err
	}
	return s.result(0, s.op("Concat", inputs, "axis", axis))
}

// pieces are the extents of outputs along an axis.
func (s *site) pieces(x *model.Value, axis int) ([]int64, error) {
	sizes, sum := make([]int64, len(s.outputs)), int64(0)
	for k, name := range s.outputs {
		m := s.p.metas[name]
		if len(m.sizes) != len(x.Shape) || m.sizes[axis] < 0 || m.sizes[axis] > 1<<40 {
			return nil, unclear("the sizes of the pieces are not known")
		}
		sizes[k] = m.sizes[axis]
		sum += sizes[k]
	}
	if sum != x.Shape[axis] {
		return nil, unclear("the pieces are not the whole")
	}
	return sizes, nil
}

func buildSplit(s *site) error {
	x, axis, err := s.along()
	if err != nil {
		return err
	}
	sizes, err := s.pieces(x, axis)
	if err != nil {
		return err
	}
	n := s.several("Split", len(sizes), []*model.Value{x, s.list("sizes", sizes...)}, "axis", axis)
	for k := range sizes {
		if err := s.result(k, n.Outputs[k]); err != nil {
			return err
		}
	}
	return nil
}

// buildUnbind splits a tensor into slices of extent 1 along an axis, and removes the axis.
func buildUnbind(s *site) error {
	x, axis, err := s.along()
	if err != nil {
		return err
	}
	count := int64(len(s.outputs))
	if x.Shape[axis] != count || count < 1 {
		return unclear("the pieces are not the whole")
	}
	n := s.several("Split", len(s.outputs), []*model.Value{x, s.list("sizes", slices.Repeat([]int64{1}, len(s.outputs))...)}, "axis", axis)
	axes := s.list("axes", int64(axis))
	for k := range s.outputs {
		if err := s.result(k, s.op("Squeeze", []*model.Value{n.Outputs[k], axes})); err != nil {
			return err
		}
	}
	return nil
}

// buildSlice takes every step-th element from start to end; narrow takes length elements.
func buildSlice(s *site) error {
	x, axis, err := s.along()
	if err != nil {
		return err
	}
	from, err := s.int("start", 0)
	if err != nil {
		return err
	}
	step, err := s.int("step", 1)
	if err != nil {
		return err
	}
	to, err := s.int("end", math.MaxInt64)
	if err != nil {
		return err
	}
	if s.node.arg("length") != nil {
		length, err := s.int("length", 0)
		if err != nil {
			return err
		}
		if to = from + length; from < 0 || length < 0 || to < from {
			return unclear("counted from the end")
		}
	}
	if step < 1 || step > maxSize {
		return unclear("a step that is none")
	}
	to = min(to, 1<<40)
	return s.result(0, s.op("Slice", []*model.Value{x, s.list("from", from), s.list("to", to), s.list("axes", int64(axis)), s.list("steps", step)}))
}

func buildSelect(s *site) error {
	x, axis, err := s.along()
	if err != nil {
		return err
	}
	index, err := s.int("index", 0)
	if err != nil {
		return err
	}
	if d := x.Shape[axis]; d < 0 || index < -d || index >= d {
		return unclear("an index that there is not")
	} else if index < 0 {
		index += d
	}
	at := s.m.Graph.AddConst(s.unique(s.name+"/index"), &model.Constant{DType: integer, Shape: []int64{}, Values: []float64{float64(index)}})
	return s.result(0, s.op("Gather", []*model.Value{x, at}, "axis", axis))
}

func buildEmbedding(s *site) error {
	w, rank, err := s.x("weight")
	if err != nil {
		return err
	}
	at, err := s.tensor("indices")
	if err != nil {
		return err
	}
	if rank != 2 {
		return unclear("it is no table")
	}
	y := s.op("Gather", []*model.Value{w, at}, "axis", 0)
	s.places("weight")
	return s.result(0, y)
}

// buildSizes is an operator that reads only a tensor's shape or type, and outputs no tensor.
func buildSizes(s *site) error {
	if len(s.outputs) > 0 {
		return unclear("it makes tensors")
	}
	return nil
}
