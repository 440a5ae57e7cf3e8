package fold_test

import (
	"context"
	"fmt"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

// Fold plans and edits in one. The plan says of every per-channel node what became of it, and why those that stay do.
func ExampleFold() {
	b := modeltest.New(1)
	y := b.Conv(b.Input(1, 3, 8, 8), 3, 4, 3, 1)
	y = b.Op("Relu", []*model.Value{y})
	y = b.Op("Mul", []*model.Value{y, b.Const([]float64{1, 2, 3, 4}, 4, 1, 1)})
	y = b.Op("Sigmoid", []*model.Value{y})
	y = b.Op("Mul", []*model.Value{y, b.Const([]float64{1, 2, 3, 4}, 4, 1, 1)})
	b.Output(y)

	p, err := fold.Fold(context.Background(), b.Model, fold.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range p.Maps {
		fmt.Println(m.Node, m.Verdict, m.Into)
	}
	for _, r := range p.Remaining {
		fmt.Println(r.Node, r.Reason.Code)
	}
	fmt.Println(p.Before, "->", p.After)
	// Output:
	// Mul "Mul_9" folded [Conv "Conv_4"]
	// Mul "Mul_14" left []
	// Mul "Mul_14" nonlinear
	// 2 -> 1
}
