package verify

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Rename gives the values of a model that was read back the names they have in the model it was written from:
// renamed is what format.File.Write returned.
func Rename(m *model.Model, renamed map[string]string) {
	if len(renamed) == 0 {
		return
	}
	names := map[string]string{}
	for name, stored := range renamed {
		names[stored] = name
	}
	m.Walk(func(g *model.Graph) {
		values := slices.Concat(g.Inputs, g.Consts)
		for _, n := range g.Nodes {
			values = append(values, n.Outputs...)
		}
		for _, v := range values {
			if v == nil {
				continue
			}
			if name, ok := names[v.Name]; ok {
				v.Name = name
			}
		}
	})
}
