package state_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"

	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	_ "github.com/zoofold/zoofold/zoo/format/torch"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite_AlongPrograms(t *testing.T) {
	t.Chdir("testdata/program")
	formattest.Suite{Generate: zootest.AlongProgram, Seeds: 40, Damages: 160}.Run(t)
}

func TestSuite_AlongONNXModels(t *testing.T) {
	t.Chdir("testdata/onnx")
	formattest.Suite{Generate: zootest.AlongONNX, Seeds: 20, Damages: 160}.Run(t)
}

func TestSuite_SeveralStatesAlongOneGraph(t *testing.T) {
	t.Chdir("testdata/both")
	formattest.Suite{Generate: zootest.AlongBoth, Seeds: 20, Damages: 80}.Run(t)
}

// Every state dict that has the graph's tensors is folded, and one that has others is named.
func TestStateDicts_AreAllFoldedAlongTheGraph(t *testing.T) {
	path, o, err := zootest.AlongBoth(0, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, written := folded(t, path, o, false)
	counts := map[string]int{}
	for _, m := range p.Maps {
		if m.Verdict == fold.Folded {
			counts[regexp.MustCompile(`"(model|ema): `).FindString(m.Node)]++
		}
	}
	if len(counts) != 2 || counts[`"model: `] == 0 || counts[`"model: `] != counts[`"ema: `] {
		t.Errorf("folded are %v", counts)
	}
	f, err := format.Open(t.Context(), written, o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left := fold.Count(f.Model()); left != p.After {
		t.Errorf("%d per-channel nodes are left, %d by the plan", left, p.After)
	}
}

// Bodies of nodes are folded for every state dict; a function, whose tensors its callers give it, is the same for all.
func TestStateDicts_AreAllFoldedAlongInnerGraphs(t *testing.T) {
	path := filepath.Join("testdata", "bodies", "both.ckpt")
	o := format.Options{State: format.State{Graph: filepath.Join("testdata", "bodies", "graph.onnx")}}
	for _, neutral := range []bool{false, true} {
		p, written := folded(t, path, o, neutral)
		want := fold.Folded
		if neutral { // the nodes stay, and only add
			want = fold.Merged
		}
		tally, verdicts := p.Tally(), map[string]fold.Verdict{}
		for _, m := range p.Maps {
			verdicts[m.Node] = m.Verdict
		}
		for _, node := range []string{"model: node_bn1", "ema: node_bn1", "model: node_bn2", "ema: node_bn2"} {
			if v := verdicts[`BatchNormalization "`+node+`"`]; v != want {
				t.Errorf("neutral %v: %s is %q: %v", neutral, node, v, verdicts)
			}
		}
		if last := p.Remaining[len(p.Remaining)-1]; tally.Left != 1 || last.Reason.Code != fold.Subgraph {
			t.Errorf("neutral %v: left are %v", neutral, p.Remaining)
		}
		f, err := format.Open(t.Context(), written, o)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if why := f.(format.Partial).Partial(); !strings.Contains(why, "graphs within its nodes") {
			t.Errorf("neutral %v: it can be run, it says: %q", neutral, why)
		}
		if left := fold.Count(f.Model()); left != p.After {
			t.Errorf("neutral %v: %d per-channel nodes are left, %d by the plan", neutral, left, p.After)
		}
	}
}
