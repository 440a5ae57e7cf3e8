package model_test

import (
	"reflect"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

// text is a model's nodes, wires and constants.
func text(m *model.Model) (list []any) {
	m.Walk(func(g *model.Graph) {
		list = append(list, g.Path())
		for _, v := range g.Consts {
			list = append(list, v.Name, v.Const, len(v.Uses), v.Graph == g)
		}
		for _, n := range g.Nodes {
			list = append(list, n.String(), n.Attrs, n.Edited, n.Graph == g, len(n.Bodies))
			for k, v := range n.Inputs {
				if v != nil {
					list = append(list, v.Name, v.Graph.Path(), v.Uses[0].Node.Type, k)
				}
			}
			for _, v := range n.Outputs {
				if v != nil {
					list = append(list, v.Name, v.Producer == n, v.Output, v.Shape)
				}
			}
		}
	})
	return list
}

func TestClone_EditsDoNotReachTheOriginal(t *testing.T) {
	for seed := range uint64(200) {
		m := modeltest.Random(seed, 24)
		before, c := text(m), m.Clone()
		if got := text(c); !reflect.DeepEqual(got, before) {
			t.Fatalf("seed %d: the clone is %v, the original %v", seed, got, before)
		}
		if _, err := fold.Fold(t.Context(), c, fold.Options{}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(text(m), before) {
			t.Errorf("seed %d: the original was edited", seed)
		}
	}
}
