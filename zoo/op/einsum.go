package op

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/model"
)

// Einsum: sums of products in Einstein notation (numpy.einsum).

// subscripts are an Einsum's equation for operands of those ranks, one label for each axis: letters as they are written,
// and numbers from -1 down for the axes of an ellipsis, counted from the last.
func subscripts(equation string, ranks []int) (operands [][]rune, result []rune, err error) {
	left, right, explicit := strings.Cut(strings.ReplaceAll(equation, " ", ""), "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(ranks) {
		return nil, nil, fmt.Errorf("equation %q for %d operands", equation, len(ranks))
	}
	count, widest := map[rune]int{}, 0
	expand := func(term string, hidden int) []rune {
		var out []rune
		before, after, dots := strings.Cut(term, "...")
		out = append(out, []rune(before)...)
		for k := hidden; dots && k > 0; k-- {
			out = append(out, rune(-k))
		}
		return append(out, []rune(after)...)
	}
	for k, term := range terms {
		hidden := ranks[k] - len([]rune(strings.ReplaceAll(term, "...", "")))
		labels := expand(term, hidden)
		if len(labels) != ranks[k] || strings.Contains(term, "...") && hidden < 0 {
			return nil, nil, fmt.Errorf("%q for an operand of %d axes", term, ranks[k])
		}
		if strings.Contains(term, "...") {
			widest = max(widest, hidden)
		}
		for _, l := range labels {
			count[l]++
		}
		operands = append(operands, labels)
	}
	if explicit {
		return operands, expand(right, widest), nil
	}
	var letters []rune // without "->", the result has the letters that occur once, in alphabetical order, behind the ellipsis
	for l, times := range count {
		if l > 0 && times == 1 {
			letters = append(letters, l)
		}
	}
	slices.Sort(letters)
	return operands, append(expand("...", widest), letters...), nil
}

// einsum is, for each index of the result, the sum over all other labels of the product of the operands' elements.
func einsum(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, max(1, len(in))); err != nil {
		return nil, err
	}
	var ranks []int
	for _, a := range in {
		ranks = append(ranks, len(a.Shape))
	}
	operands, result, err := subscripts(n.Str("equation", ""), ranks)
	if err != nil {
		return nil, err
	}
	extent, labels := map[rune]int64{}, slices.Clone(result)
	for k, a := range in {
		for j, l := range operands[k] {
			if d, ok := extent[l]; ok && d != a.Shape[j] && d != 1 && a.Shape[j] != 1 {
				return nil, fmt.Errorf("extents %d and %d of one label", d, a.Shape[j])
			}
			if extent[l] = max(extent[l], a.Shape[j]); !slices.Contains(labels, l) {
				labels = append(labels, l)
			}
		}
	}
	all := make([]int64, len(labels))
	for k, l := range labels {
		var ok bool
		if all[k], ok = extent[l]; !ok {
			return nil, fmt.Errorf("no operand has the label %q", l)
		}
	}
	out, err := NewArray(all[:len(result)])
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, all...); err != nil {
		return nil, err
	}
	steps := make([][]int64, len(in)) // how far apart an operand's elements lie along each label
	for k, a := range in {
		steps[k] = make([]int64, len(labels))
		for j, step := range strides(a.Shape) {
			if a.Shape[j] != 1 {
				steps[k][slices.Index(labels, operands[k][j])] += step
			}
		}
	}
	inner := max(product(all[len(result):]), 0)
	e := int64(0)
	walk(all, func(index []int64) {
		p := 1.0
		for k, a := range in {
			at := int64(0)
			for j, i := range index {
				at += i * steps[k][j]
			}
			p *= a.Data[at]
		}
		out.Data[e/inner] += p
		e++
	})
	return one(out, nil)
}

func einsumShape(in *Inference, n *model.Node) [][]int64 {
	var ranks []int
	for _, v := range n.Inputs {
		s := in.of(v)
		if s == nil {
			return nil
		}
		ranks = append(ranks, len(s))
	}
	operands, result, err := subscripts(n.Str("equation", ""), ranks)
	if err != nil {
		return nil
	}
	extents := map[rune]int64{}
	for k, v := range n.Inputs {
		for j, l := range operands[k] {
			x := in.of(v)[j]
			if old, ok := extents[l]; !ok || old == 1 || old < 0 && x > 1 {
				extents[l] = x
			}
		}
	}
	out := []int64{}
	for _, l := range result {
		x, ok := extents[l]
		if !ok {
			x = Unknown
		}
		out = append(out, x)
	}
	return shapes(out)
}

func einsumNeeds(n *model.Node, in []*Array, out Part) []Box {
	var ranks []int
	for _, a := range in {
		if a == nil {
			return nil
		}
		ranks = append(ranks, len(a.Shape))
	}
	operands, result, err := subscripts(n.Str("equation", ""), ranks)
	if err != nil || len(result) != len(out.Box) {
		return nil
	}
	boxes := make([]Box, len(in))
	for k, a := range in {
		boxes[k] = Whole(a.Shape)
		for j, l := range operands[k] {
			if at := slices.Index(result, l); at >= 0 && a.Shape[j] != 1 {
				boxes[k][j] = out.Box[at]
			}
		}
	}
	return boxes
}
