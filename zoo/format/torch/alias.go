package torch

import "strings"

// aliases groups a program's tensors, by name, into those that share a storage (union–find), and records which nodes write
// into one.
type aliases struct {
	up map[string]string // parent in the union–find tree; its root is the storage's representative
}

func (a *aliases) storage(name string) string {
	for a.up[name] != "" {
		if next := a.up[a.up[name]]; next != "" {
			a.up[name] = next
		}
		name = a.up[name]
	}
	return name
}

func (a *aliases) join(x, y string) {
	if x, y = a.storage(x), a.storage(y); x != y {
		a.up[y] = x
	}
}

// views are the operators of aten whose outputs share, or may share, the storage of their first input.
var views = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`view reshape _unsafe_view view_as reshape_as flatten unflatten ravel permute transpose t T mT numpy_T
		swapaxes swapdims movedim moveaxis squeeze unsqueeze expand expand_as broadcast_to slice select narrow split split_with_sizes chunk unbind
		tensor_split hsplit vsplit dsplit unsafe_split unsafe_chunk detach alias contiguous to type_as _to_copy dropout feature_dropout alpha_dropout
		diagonal unfold as_strided real imag view_as_real view_as_complex lift_fresh lift positive resolve_conj resolve_neg conj adjoint
		view_copy rnn_tanh atleast_1d atleast_2d atleast_3d unsafe_split_with_sizes pin_memory cpu cuda float double half bfloat16 long int type identity
		expand_copy pad constant_pad_nd matrix_H meshgrid broadcast_tensors einsum`) {
		views[name] = true
	}
}

// exact are the views that output their input unchanged.
var exact = map[string]bool{"detach": true, "alias": true, "lift_fresh": true, "dropout": true, "feature_dropout": true, "alpha_dropout": true}

// operator is a target's namespace, and the operator's name without overload.
func operator(target string) (space, name, overload string) {
	space, rest, ok := strings.Cut(target, ".")
	if !ok {
		return "", target, ""
	}
	name, overload, _ = strings.Cut(rest, ".")
	return space, name, overload
}

// inPlace says whether an operator writes into its first input: its name ends in one underscore.
func inPlace(name string) bool { return strings.HasSuffix(name, "_") && !strings.HasSuffix(name, "__") }

// aliases looks which tensors share a storage, and notes which inputs are written.
func (p *program) aliases() *aliases {
	a := &aliases{up: map[string]string{}}
	for _, n := range p.nodes {
		space, name, _ := operator(n.target)
		if space == "aten" && !views[name] && !inPlace(name) || strings.HasPrefix(n.target, "_operator") {
			continue
		}
		for _, out := range n.outputs {
			y, _ := out.Str()
			for _, arg := range n.args {
				for _, ref := range arg.refs {
					x, _ := ref.Str()
					a.join(x, y)
				}
				if space == "aten" && len(arg.refs) > 0 {
					break // of its first input
				}
			}
		}
	}
	written := map[string]bool{}
	for _, n := range p.nodes {
		for _, name := range n.writes() {
			written[a.storage(name)] = true
		}
	}
	mutated := map[string]bool{}
	for _, spec := range p.text.Get("graph_module", "signature", "output_specs").List() {
		if kind, v := union(spec); strings.HasSuffix(kind, "_mutation") {
			for _, key := range []string{"buffer_name", "parameter_name"} {
				if name, ok := v.Get(key).Str(); ok {
					mutated[name] = true
				}
			}
		}
	}
	for _, i := range p.inputs {
		i.written = written[a.storage(i.name)] || i.payload != nil && mutated[i.stored]
	}
	return a
}

// writes are the tensors into which a node writes, or may write.
func (n *node) writes() (names []string) {
	space, name, overload := operator(n.target)
	for k, a := range n.args {
		for _, ref := range a.refs {
			x, _ := ref.Str()
			switch {
			case space == "higher_order", strings.HasPrefix(n.target, "_operator"), strings.HasPrefix(n.target, "math."):
			case space != "aten" && space != "prims",
				inPlace(name) && k == 0,
				strings.Contains(overload, "out") && strings.HasPrefix(a.name, "out"),
				strings.Contains(name, "batch_norm") && strings.HasPrefix(a.name, "running_") && n.trains():
				names = append(names, x)
			}
		}
	}
	return names
}

// trains says whether a batch normalisation uses the statistics of its batch: unknown arguments count as yes.
func (n *node) trains() bool {
	_, name, _ := operator(n.target)
	for _, key := range []string{"training", "train"} {
		if a := n.arg(key); a != nil {
			return a.value.Yes(true)
		}
	}
	return !strings.Contains(name, "no_training")
}
