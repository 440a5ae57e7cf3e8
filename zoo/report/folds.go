package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Bounds of the drawings of folds; what exceeds them is not drawn.
const (
	mostFolds = 300 // of all models
	mostWide  = 3   // nodes side by side
)

// The measures of a drawing, in the units of its SVG: the graph before on the left, the one after on the right.
const (
	partWidth = 148 // of each
	partGap   = 36  // between them
	stepHigh  = 18
	stepPitch = 30
	stepGap   = 6
	letter    = 6.5 // the width of one, at most so much on average
)

// drawn is one kind of change as the page shows it.
type drawn struct {
	Picture template.HTML
	Times   string
}

// drawFolds draws a model's folds, and subtracts them from the number that the page may still draw.
func drawFolds(m outcome.Model, left *int) (list []drawn) {
	if !m.Kept() {
		return nil
	}
	for _, f := range m.Folds {
		before, after := layers(f.Before), layers(f.After)
		if *left == 0 || before == nil || after == nil {
			continue
		}
		*left--
		times := "in one place"
		if f.Times > 1 {
			times = fmt.Sprintf("in %s places", number(f.Times))
		}
		if f.Graph != "" {
			times += ", the first in " + cut(f.Graph, mostInRow)
		}
		list = append(list, drawn{picture(f, before, after), times})
	}
	return list
}

// layers groups the steps by their distance from the beginning; nil if they do not fit, or are not a valid graph.
func layers(steps []outcome.Step) [][]int {
	list, depth := [][]int{}, make([]int, len(steps))
	for k, s := range steps {
		for _, from := range s.From {
			if from < 0 || from >= k {
				return nil
			}
			depth[k] = max(depth[k], depth[from]+1)
		}
		if depth[k] == len(list) {
			list = append(list, nil)
		}
		if list[depth[k]] = append(list[depth[k]], k); len(list[depth[k]]) > mostWide {
			return nil
		}
	}
	return list
}

// picture is a fold as SVG. It is written here rather than in the template, which takes its time for each value.
func picture(f outcome.Fold, before, after [][]int) template.HTML {
	var b strings.Builder
	deep := max(len(before), len(after), 1)
	width, height := 2*partWidth+partGap, deep*stepPitch-stepPitch+stepHigh+2
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img"><title>%s</title>`, width, height, template.HTMLEscapeString(inWords(f)))
	part(&b, f.Before, before, 0, deep)
	fmt.Fprintf(&b, `<text class="turns" x="%d" y="%d">⇒</text>`, width/2, height/2+5)
	part(&b, f.After, after, partWidth+partGap, deep)
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// part draws a graph in a column that begins at left, as high as so many layers.
func part(b *strings.Builder, steps []outcome.Step, layers [][]int, left, deep int) {
	if len(steps) == 0 {
		fmt.Fprintf(b, `<text class="turns" x="%d" y="%d">nothing</text>`, left+partWidth/2, (deep*stepPitch-stepPitch+stepHigh)/2+5)
		return
	}
	type box struct{ x, y, width int }
	boxes := make([]box, len(steps))
	top := 1 + (deep-len(layers))*stepPitch/2
	for k, layer := range layers {
		wide := (partWidth - 2 - (len(layer)-1)*stepGap) / len(layer)
		for j, at := range layer {
			boxes[at] = box{left + 1 + j*(wide+stepGap), top + k*stepPitch, wide}
		}
	}
	edges := ""
	for k, s := range steps {
		for _, from := range s.From {
			a, z := boxes[from], boxes[k]
			edges += fmt.Sprintf("M%d %dL%d %d", a.x+a.width/2, a.y+stepHigh, z.x+z.width/2, z.y)
		}
	}
	if edges != "" {
		fmt.Fprintf(b, `<path d="%s"/>`, edges)
	}
	for k, s := range steps {
		at := boxes[k]
		name, class := cut(s.Operator, int(float64(at.width-4)/letter)), ""
		if s.Fate != "" {
			class = ` class="` + template.HTMLEscapeString(string(s.Fate)) + `"`
		}
		fmt.Fprintf(b, `<g%s><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="3"/><text x="%d" y="%d">%s</text></g>`, class,
			template.HTMLEscapeString(cut(s.Operator+" "+s.Node, mostInRow)), at.x, at.y, at.width, stepHigh, at.x+at.width/2, at.y+13, template.HTMLEscapeString(name))
	}
}

// inWords is a fold as text, for those who cannot see the drawing: "Conv, BatchNormalization and Relu become Conv and
// Relu".
func inWords(f outcome.Fold) string {
	if len(f.After) == 0 {
		return operatorsOf(f.Before) + " are removed"
	}
	return operatorsOf(f.Before) + " become " + operatorsOf(f.After)
}

func operatorsOf(steps []outcome.Step) string {
	var list []string
	for _, s := range steps {
		list = append(list, cut(s.Operator, mostInRow))
	}
	if n := len(list); n > 1 {
		list = slices.Concat(list[:n-2], []string{list[n-2] + " and " + list[n-1]})
	}
	return strings.Join(list, ", ")
}
