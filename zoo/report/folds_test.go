package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// fan is a graph of so many nodes side by side.
func fan(n int) (list []outcome.Step) {
	for range n {
		list = append(list, outcome.Step{Operator: "Conv", Node: "c"})
	}
	return list
}

func TestFolds_AreDrawnWithNamesAndInWords(t *testing.T) {
	doc := report.NewDocument()
	play(doc)
	_, text, _ := strings.Cut(page(t, doc), `<div class="folds">`)
	text, _, _ = strings.Cut(text, "</div>")
	for _, want := range []string{
		`<svg viewBox="0 0 332 80" role="img"><title>Conv, BatchNormalization and Relu become Conv and Relu</title>`,
		`<g class="gone"><title>BatchNormalization a &lt;&amp;&gt;</title>`, `<g class="took"><title>Conv c</title>`, `<figcaption>in 2 places</figcaption>`,
		`<title>Mul are removed</title>`, `>nothing</text>`, `in one place, the first in If &#34;i&#34;.then`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the drawings have no %s", want)
		}
	}
}

func TestFolds_WhatDoesNotFitIsNotDrawn(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	fits := outcome.Fold{Times: 1, Before: fan(3), After: fan(3)}
	for name, f := range map[string]outcome.Fold{
		"more than three side by side": {Times: 1, Before: fan(4), After: fan(1)},
		"a node that reads itself":     {Times: 1, Before: []outcome.Step{{Operator: "Conv", From: []int{0}}}},
		"a node that is not there":     {Times: 1, Before: []outcome.Step{{Operator: "Conv", From: []int{-1}}}},
	} {
		doc := report.NewDocument()
		doc.Done(outcome.Model{Path: "a.onnx", Status: outcome.Folded, Before: 1, Folds: []outcome.Fold{f, fits}})
		if n := strings.Count(page(t, doc), "<figure><svg"); n != 1 {
			t.Errorf("%s: %d drawings, want that of the other fold alone", name, n)
		}
	}
	doc := report.NewDocument()
	doc.Done(outcome.Model{Path: "a.onnx", Status: outcome.Folded, Folds: []outcome.Fold{{Times: 1, Graph: long, Before: []outcome.Step{{Operator: long, Node: long, Fate: "gone"}}}}})
	doc.Done(outcome.Model{Path: "b.onnx", Status: outcome.Failed, Before: 1, Folds: []outcome.Fold{fits}}) // it was not kept
	if text := page(t, doc); len(text) > 64<<10 || strings.Count(text, "<figure><svg") != 1 {
		t.Errorf("%d bytes, %d drawings", len(text), strings.Count(text, "<figure><svg"))
	}
	if n := strings.Count(page(t, zooOf(2000)), "<figure><svg"); n != 300 {
		t.Errorf("%d drawings of 2000 models, want 300", n)
	}
}

// On a telephone, and in a wide window, drawings stay in their row, boxes in their drawing and words in their boxes.
func TestFolds_FitTheScreen(t *testing.T) {
	said := act(t, `<!doctype html><iframe id="phone" style="border:0;width:390px;height:844px"></iframe>
<table id="models"><thead><tr></tr></thead></table><input id="filter"><output id="shown"></output><p id="nothing"></p></html>`, []string{
		phone(page(t, zooOf(3)), `const wrong = [], doc = frame.contentDocument;
			for (const row of doc.querySelectorAll("#models > tbody")) row.classList.add("open");
			const inside = (a, b) => a.left >= b.left - .5 && a.right <= b.right + .5 && a.top >= b.top - .5 && a.bottom <= b.bottom + .5;
			for (const svg of doc.querySelectorAll(".folds svg")) {
				const all = svg.getBoundingClientRect();
				if (all.left < 0 || all.right > 390 || all.width < 250) wrong.push("drawing " + all.left + " to " + all.right);
				for (const g of svg.querySelectorAll("g")) {
					const box = g.querySelector("rect").getBoundingClientRect();
					if (!inside(box, all)) wrong.push("box " + g.outerHTML);
					if (!inside(g.querySelector("text").getBoundingClientRect(), box)) wrong.push("words " + g.outerHTML);
				}
			}
			return doc.querySelectorAll(".folds svg").length + (wrong[0] ?? (doc.documentElement.scrollWidth <= 390 ? " fit" : " are " + doc.documentElement.scrollWidth + " wide"))`),
	})
	if !slices.Equal(said, []string{"12 fit"}) {
		t.Error(said)
	}
}
