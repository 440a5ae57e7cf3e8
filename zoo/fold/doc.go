// Package fold plans and makes the edits that remove per-channel affine maps from a network.
//
// Every foldable thing is an affine map z_c = s_c·x_c + t_c on one channel axis: a batch normalisation at inference, a
// multiplication by a constant of shape [C,1,1], an input normalisation. A map moves backward, so that the operator before it
// computes z instead of x, or forward, so that the operators after it read x instead of z. A linear operator absorbs the map
// into its weights; others pass it on, or refuse it with a Reason.
//
// The files without a prefix are the planner. planner.go tries run after run of maps. move.go is the transaction that
// carries one map: it collects edits from every operator on the way, and makes them only if no operator refuses and the
// work gets less. constant.go has the edits of weights and biases, twins.go changes a layer that is used in several places
// once, neutral.go keeps every layer. inline.go says which functions are inlined, idiom.go which nodes runtimes run as one
// operator. accounts.go, regions.go, inventory.go, count.go and plan.go make the plan. The other files have a prefix:
//
//   - op_: what folding knows of one family of operators, as values of type operator. The planner knows no operator by name, and
//     operators reach their neighbours only through the move.
//   - weight_: weights that are no plain constant, and sums over weights.
//   - rule_: what the planner does with a map that goes no further: it is merged with others, split, or dropped.
//   - idiom_: the expressions that runtimes recognise and run as one operator.
package fold
