package keras

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Functions of keras.ops, and Python's operators on Keras' tensors, stand in a configuration as layers of the module
// keras.src.ops, called as their classes in keras/src/ops: x * 2.0 + 1.0 is a Multiply and an Add. They broadcast as NumPy
// does, from the last axis on in Keras' order. Operations that are maps can be removed when a layer absorbs them.

// operation describes a class of operations.
type operation struct {
	build    func(*site, []operand) (*value, error)
	settings []string // the settings that build reads; any other one makes the operation opaque
	isMap    bool     // it is an affine map if its other operand is a constant
	slices   bool     // it is x[...], which has no build
}

// operations are the known operations of keras.ops, by the names of their classes.
var operations = map[string]*operation{
	"Add":        {build: binary("Add"), isMap: true},
	"Subtract":   {build: binary("Sub"), isMap: true},
	"Multiply":   {build: binary("Mul"), isMap: true},
	"TrueDivide": {build: binary("Div"), isMap: true},
	"Divide":     {build: binary("Div"), isMap: true},
	"Maximum":    {build: binary("Max")},
	"Minimum":    {build: binary("Min")},
	"Power":      {build: binary("Pow")},
	"Negative":   {build: unary("Neg"), isMap: true},
	"Absolute":   {build: unary("Abs")},
	"Sqrt":       {build: unary("Sqrt")},
	"Exp":        {build: unary("Exp")},
	"Log":        {build: unary("Log")},
	"Sin":        {build: unary("Sin")},
	"Cos":        {build: unary("Cos")},
	"Reciprocal": {build: unary("Reciprocal")},
	"Erf":        {build: unary("Erf")},
	"Floor":      {build: unary("Floor")},
	"Tanh":       {build: unary("Tanh")},
	"Relu":       {build: unary("Relu")},
	"Sigmoid":    {build: unary("Sigmoid")},
	"Softplus":   {build: unary("Softplus")},
	"Softsign":   {build: unary("Softsign")},
	"Square": {build: one(func(s *site) (*value, error) {
		return s.elementwise(func(x *model.Value) *model.Value { return s.op("Mul", "square", []*model.Value{x, x}) }), nil
	})},
	"Relu6":       {build: function("relu6")},
	"Silu":        {build: function("silu")},
	"HardSigmoid": {build: function("hard_sigmoid")},
	"HardSilu":    {build: function("hard_silu")},
	"Selu":        {build: function("selu")},
	"Elu":         {build: one(buildELU), settings: []string{"alpha"}},
	"LeakyRelu":   {build: one(func(s *site) (*value, error) { return s.parametric("LeakyRelu", "negative_slope", 0.2) }), settings: []string{"negative_slope"}},
	"Gelu":        {build: one(buildGelu), settings: []string{"approximate"}},
	"Softmax":     {build: one(buildSoftmax), settings: []string{"axis"}},
	"Clip":        {build: one(buildClip), settings: []string{"x_min", "x_max"}},
	"Mean":        {build: reduction("ReduceMean"), settings: []string{"axis", "keepdims"}},
	"Max":         {build: reduction("ReduceMax"), settings: []string{"axis", "keepdims", "initial"}},
	"Min":         {build: reduction("ReduceMin"), settings: []string{"axis", "keepdims", "initial"}},
	"Concatenate": {build: concatenation, settings: []string{"axis"}},
	"Reshape":     {build: one(buildReshapeOp), settings: []string{"newshape"}},
	"Squeeze":     {build: one(buildSqueeze), settings: []string{"axis"}},
	"ExpandDims":  {build: one(buildExpandDims), settings: []string{"axis"}},
	"Transpose":   {build: one(buildTranspose), settings: []string{"axes"}},
	"Cast":        {build: one(buildCast), settings: []string{"dtype"}},
	"Identity":    {build: one(buildNothing)},
	"GetItem":     {slices: true},
}

// operand is one argument of an operation: a tensor, or numbers.
type operand struct {
	tensor *value
	shape  []int64 // of the numbers
	values []float64
}

// maxNumbers bounds the numbers that an argument lists.
const maxNumbers = 1 << 16

// operate makes the nodes of an operation.
func (s *site) operate(c *call) (*value, error) {
	op := s.layer.operation()
	if op == nil {
		return nil, unclear("an operation that is not known")
	}
	if c.tree == nil {
		return nil, unclear("a sequential model does not say what it is called with")
	}
	if op.slices {
		return s.slice(c)
	}
	if s.layer.counted {
		args, err := s.lambdaOperands(c)
		if err != nil {
			return nil, err
		}
		return s.operated(op, args)
	}
	for k, key := range s.layer.config.Keys {
		if key != "name" && !slices.Contains(op.settings, key) && !s.layer.config.Items[k].Null() {
			return nil, unclear("the setting " + key + " is not known")
		}
	}
	if !s.setting("initial").Null() {
		return nil, unclear("initial is " + short(s.setting("initial")))
	}
	args, err := s.operands(c)
	if err != nil {
		return nil, err
	}
	return s.operated(op, args)
}

// operated makes the nodes of an operation on these arguments.
func (s *site) operated(op *operation, args []operand) (*value, error) {
	out, err := op.build(s, args)
	if err == nil {
		out.masked = slices.ContainsFunc(s.in, func(v *value) bool { return v.masked })
	}
	return out, err
}

// operands are the arguments of an operation's call.
func (s *site) operands(c *call) (list []operand, err error) {
	args, more := c.tree.Get("args").List(), c.tree.Get("kwargs")
	if !more.Null() && len(more.Items) > 0 {
		return nil, unclear("it is called with further arguments")
	}
	if len(args) == 1 && args[0].Kind == '[' {
		args = args[0].Items
	}
	tensors := 0
	for _, v := range args {
		var o operand
		switch x, ok := v.Float(); {
		case className(v) == "__keras_tensor__":
			if tensors == len(s.in) {
				return nil, unclear("it reads other tensors")
			}
			o.tensor = s.in[tensors]
			tensors++
			if o.tensor.rank > maxRank {
				return nil, unclear("a tensor of too many axes")
			}
		case ok:
			o.shape, o.values = []int64{}, []float64{x}
		case className(v) == "__tensor__":
			if d, _ := v.Get("config", "dtype").Str(); d != "float32" {
				return nil, unclear("numbers of type " + short(v.Get("config", "dtype")))
			}
			if o.shape, o.values, ok = array(v.Get("config", "value"), maxRank); !ok {
				return nil, unclear("numbers that are no array")
			}
		default:
			return nil, unclear("it is called with " + short(v))
		}
		list = append(list, o)
	}
	if tensors != len(s.in) {
		return nil, unclear("it reads other tensors")
	}
	return list, nil
}

// array reads nested lists of numbers.
func array(v *jsontext.Value, deepest int) (shape []int64, values []float64, ok bool) {
	if v == nil || deepest < 0 {
		return nil, nil, false
	}
	if v.Kind != '[' {
		x, ok := v.Float()
		return []int64{}, []float64{x}, ok
	}
	for k, item := range v.Items {
		inner, more, ok := array(item, deepest-1)
		if !ok || k > 0 && !slices.Equal(inner, shape) || len(values)+len(more) > maxNumbers {
			return nil, nil, false
		}
		shape, values = inner, append(values, more...)
	}
	return slices.Insert(slices.Clone(shape), 0, int64(len(v.Items))), values, len(v.Items) > 0
}

// one is an operation on one tensor alone.
func one(build func(*site) (*value, error)) func(*site, []operand) (*value, error) {
	return func(s *site, args []operand) (*value, error) {
		if len(args) != 1 || args[0].tensor == nil {
			return nil, unclear("it reads several tensors")
		}
		if err := known(args[0].tensor, 1); err != nil {
			return nil, err
		}
		return build(s)
	}
}

// unary is an ONNX operator on each element.
func unary(typ string) func(*site, []operand) (*value, error) {
	return one(func(s *site) (*value, error) {
		if d := s.in[0].dtype(); !d.Float() {
			return nil, unclear("it works on " + d.String())
		}
		return s.elementwise(func(x *model.Value) *model.Value { return s.op(typ, snake(typ), []*model.Value{x}) }), nil
	})
}

// function is an activation by its name.
func function(name string) func(*site, []operand) (*value, error) {
	return one(func(s *site) (*value, error) {
		x := s.in[0]
		return s.elementwise(func(v *model.Value) *model.Value {
			return activations[name](s, v, position(x.rank, x.main, int64(x.rank-1)))
		}), nil
	})
}

// binary is an ONNX operator of two operands, one of which may be numbers.
func binary(typ string) func(*site, []operand) (*value, error) {
	return func(s *site, args []operand) (*value, error) {
		if len(args) != 2 || len(s.in) == 0 {
			return nil, unclear("it reads another number of tensors")
		}
		for _, x := range s.in {
			if err := known(x, 1); err != nil {
				return nil, err
			}
			if x.dtype() != s.in[0].dtype() || !x.dtype().Float() {
				return nil, unclear("it works on " + x.dtype().String())
			}
		}
		rank, form, inputs := s.in[0].rank, s.in[0].main, make([]*model.Value, 2)
		if len(s.in) == 2 && (s.in[0].rank != s.in[1].rank || rank < 3) {
			rank, form = max(rank, s.in[1].rank), 1
			for k, x := range s.in {
				inputs[k] = s.form(x, 1)
			}
		} else if len(s.in) == 2 {
			var err error
			if inputs, rank, form, err = s.aligned(); err != nil {
				return nil, err
			}
		}
		for k, o := range args {
			switch {
			case len(s.in) == 2:
			case o.tensor != nil:
				inputs[k] = s.form(o.tensor, form)
			default:
				c, err := s.numbersIn(o, rank, form)
				if err != nil {
					return nil, err
				}
				inputs[k] = c
			}
		}
		return s.result(s.op(typ, snake(typ), inputs), rank, form), nil
	}
}

// numbersIn are an operand's numbers as a constant that broadcasts with a form of a tensor of that rank.
func (s *site) numbersIn(o operand, rank, form int) (*model.Value, error) {
	if len(o.shape) > rank {
		return nil, unclear("numbers of more axes than the tensor's")
	}
	values := slices.Clone(o.values)
	for k, x := range values {
		if values[k] = float64(float32(x)); math.IsInf(values[k], 0) || math.IsNaN(x) {
			return nil, unclear("numbers that are not finite")
		}
	}
	if len(values) == 1 {
		return s.constant("numbers", s.in[0].dtype(), []int64{}, values), nil
	}
	whole := append(slices.Repeat([]int64{1}, rank-len(o.shape)), o.shape...)
	perm := []int{0}
	if rank > 1 {
		perm = perm[:0]
		for _, axis := range order(rank, form) {
			perm = append(perm, int(axis))
		}
	}
	shape, out := make([]int64, rank), make([]float64, 0, len(values))
	for k, p := range perm {
		shape[k] = whole[p]
	}
	strides := tensor.Strides(whole)
	var walk func(k int, at int64)
	walk = func(k int, at int64) {
		if k == rank {
			out = append(out, values[at])
			return
		}
		for range shape[k] {
			walk(k+1, at)
			at += strides[perm[k]]
		}
	}
	walk(0, 0)
	return s.constant("numbers", s.in[0].dtype(), shape, out), nil
}

func buildGelu(s *site) (*value, error) {
	if s.setting("approximate").Yes(true) {
		return nil, unclear("it is approximated")
	}
	return function("gelu")(s, []operand{{tensor: s.in[0]}})
}

func buildClip(s *site) (*value, error) {
	lo, err := s.number("x_min", math.Inf(-1))
	if err != nil {
		return nil, err
	}
	hi, err := s.number("x_max", math.Inf(1))
	if err != nil {
		return nil, err
	}
	if math.IsInf(lo, 0) || math.IsInf(hi, 0) || s.in[0].dtype() != tensor.Float32 {
		return nil, unclear("limits that are no numbers")
	}
	return s.elementwise(func(x *model.Value) *model.Value { return s.clip(x, lo, hi) }), nil
}

// axes are the axes of a tensor that a setting names, counted from 0; all if it names none.
func (s *site) axes(key string, rank int) ([]int64, error) {
	v := s.setting(key)
	list := v.List()
	if v.Null() {
		all := make([]int64, rank)
		for k := range all {
			all[k] = int64(k)
		}
		return all, nil
	} else if v.Kind != '[' {
		list = []*jsontext.Value{v}
	}
	var axes []int64
	for _, item := range list {
		a, ok := item.Int()
		if a < 0 {
			a += int64(rank)
		}
		if !ok || a < 0 || a >= int64(rank) || slices.Contains(axes, a) {
			return nil, unclear(key + " is " + short(v))
		}
		axes = append(axes, a)
	}
	return axes, nil
}

// reduction reduces some axes, or all, by an ONNX operator.
func reduction(typ string) func(*site, []operand) (*value, error) {
	return one(func(s *site) (*value, error) {
		x := s.in[0]
		axes, err := s.axes("axis", x.rank)
		if err != nil {
			return nil, err
		}
		form, keep, rank := x.main, 1, x.rank
		if !s.setting("keepdims").Yes(false) {
			keep, rank = 0, x.rank-len(axes)
			if rank < 1 || rank != 2 || slices.Contains(axes, 0) || slices.Contains(axes, int64(form)) {
				form = 1
			}
		}
		if rank < 1 || len(axes) == 0 {
			return nil, unclear("nothing but a number is left")
		}
		if x.rank > 1 {
			for k, a := range axes {
				axes[k] = position(x.rank, form, a)
			}
		}
		slices.Sort(axes)
		y := s.op(typ, "reduced", []*model.Value{s.form(x, form)}, "axes", axes, "keepdims", keep)
		if keep == 0 {
			form = 1
		}
		return s.result(y, rank, form), nil
	})
}

func concatenation(s *site, args []operand) (*value, error) {
	if slices.ContainsFunc(args, func(o operand) bool { return o.tensor == nil }) {
		return nil, unclear("it reads numbers")
	}
	for _, x := range s.in {
		if x.dtype() != s.in[0].dtype() {
			return nil, unclear("tensors of several types")
		}
	}
	return buildConcatenate(s)
}

// whole are the whole numbers of a setting.
func (s *site) whole(key string) ([]int64, bool) {
	var list []int64
	for _, item := range s.setting(key).List() {
		d, ok := item.Int()
		if !ok {
			return nil, false
		}
		list = append(list, d)
	}
	return list, len(list) > 0 && len(list) <= maxRank
}

func buildReshapeOp(s *site) (*value, error) {
	shape, ok := s.whole("newshape")
	if !ok || slices.Min(shape) < -1 || slices.Contains(shape, 0) {
		return nil, unclear("newshape is " + short(s.setting("newshape")))
	}
	y := s.op("Reshape", "reshape", []*model.Value{s.form(s.in[0], 1), s.ints("shape", shape...)})
	return s.result(y, len(shape), 1), nil
}

func buildSqueeze(s *site) (*value, error) {
	x := s.in[0]
	axes, err := s.axes("axis", x.rank)
	if err != nil {
		return nil, err
	}
	if s.setting("axis").Null() || len(axes) >= x.rank {
		return nil, unclear("axis is not said")
	}
	y := s.op("Squeeze", "squeeze", []*model.Value{s.form(x, 1), s.ints("axes", axes...)})
	return s.result(y, x.rank-len(axes), 1), nil
}

func buildExpandDims(s *site) (*value, error) {
	x := s.in[0]
	axes, err := s.axes("axis", x.rank+1)
	if err != nil {
		return nil, err
	}
	if s.setting("axis").Null() || len(axes) != 1 || x.rank == maxRank {
		return nil, unclear("axis is " + short(s.setting("axis")))
	}
	y := s.op("Unsqueeze", "expanded", []*model.Value{s.form(x, 1), s.ints("axes", axes...)})
	return s.result(y, x.rank+1, 1), nil
}

func buildTranspose(s *site) (*value, error) {
	x := s.in[0]
	perm, ok := s.whole("axes")
	for k := range perm {
		ok = ok && slices.Contains(perm, int64(k))
	}
	if !ok || len(perm) != x.rank {
		return nil, unclear("axes is " + short(s.setting("axes")))
	}
	return s.result(s.op("Transpose", "permute", []*model.Value{s.form(x, 1)}, "perm", perm), x.rank, 1), nil
}

// buildCast is a cast to the type that the tensor has already: the identity.
func buildCast(s *site) (*value, error) {
	if name := s.word("dtype", ""); dtypes[name] != s.in[0].dtype() {
		return nil, unclear("it turns " + s.in[0].dtype().String() + " into " + name)
	}
	return s.in[0], nil
}
