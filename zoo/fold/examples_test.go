package fold_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// steps are a part of the graph in one line.
func steps(list []outcome.Step) string {
	var words []string
	for _, s := range list {
		text := s.Operator + fmt.Sprint(s.From)
		if s.Fate != "" {
			text += " " + string(s.Fate)
		}
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}

func TestExamples_AreThePartsThatChangeBeforeAndAfter(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func(m *b) *v
		want  []string
	}{
		{"a normalisation behind its convolution, with what reads it", func(m *b) *v {
			return m.Op("Relu", in(m.BatchNorm(image(m), 4)))
		}, []string{"1: Conv[], BatchNormalization[0] gone, Relu[1] => Conv[] took, Relu[0]"}},
		{"a map that goes forward", func(m *b) *v {
			return valid(m, positive(m, m.Op("Tanh", in(image(m)))))
		}, []string{"1: Mul[] gone, Conv[0] => Conv[] took"}},
		{"equal parts are one kind, however they are read", func(m *b) *v {
			x := m.Op("Relu", in(m.BatchNorm(image(m), 4)))
			x = m.Op("Tanh", in(m.BatchNorm(m.Conv(x, 4, 4, 1, 1), 4)))
			return valid(m, positive(m, m.Op("Sigmoid", in(m.BatchNorm(m.Conv(x, 4, 4, 1, 1), 4)))))
		}, []string{"3: Conv[], BatchNormalization[0] gone, Relu[1] => Conv[] took, Relu[0]", "1: Mul[] gone, Conv[0] => Conv[] took"}},
		{"two that become one", func(m *b) *v {
			return m.Op("Tanh", in(negative(m, positive(m, m.Op("Tanh", in(image(m)))))))
		}, []string{"1: Mul[] gone, Mul[0] gone, Tanh[1] => Mul[] new, Tanh[0]"}},
		{"two branches", func(m *b) *v {
			x := m.Op("Relu", in(image(m)))
			y := m.Op("Add", in(m.BatchNorm(m.Conv(x, 4, 4, 1, 1), 4), m.BatchNorm(m.Conv(m.Op("Tanh", in(x)), 4, 4, 1, 1), 4)))
			return m.Op("Mul", in(y, m.Const(m.Uniform(4, 0.5, 2), 4, 1, 1)))
		}, []string{"1: Conv[], BatchNormalization[0] gone, Conv[], BatchNormalization[2] gone, Add[1 3], Mul[4] gone => Conv[] took, Conv[] took, Add[0 1]"}},
		{"nothing is folded", func(m *b) *v { return m.Op("Tanh", in(image(m))) }, nil},
		{"a part that is too large to look at", func(m *b) *v {
			x := image(m)
			for range 9 {
				x = m.Op("Relu", in(x))
			}
			return positive(m, x)
		}, nil},
	} {
		m := modeltest.New(1)
		p, err := fold.Fold(t.Context(), m.Output(test.build(m)), fold.Options{})
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got []string
		for _, f := range p.Folds {
			got = append(got, fmt.Sprintf("%d: %s => %s", f.Times, steps(f.Before), steps(f.After)))
		}
		if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}
