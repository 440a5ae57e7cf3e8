package main

import (
	"os/exec"
	"strings"
	"testing"
)

// floors are the rooms of docs/architecture.md: a package imports packages of lower floors, or of its own family.
var floors = []struct {
	floor int
	room  string // path below the module, its packages included
}{
	{1, "zoo/tensor"}, {1, "zoo/outcome"}, {1, "zoo/store"},
	{2, "cpu"}, {2, "gpu"}, {2, "zoo/model"},
	{3, "zoo/op"}, {5, "zoo/fold"}, {5, "zoo/format"},
	{6, "manifests"}, {6, "zoo/verify"}, {6, "zoo/zootest"}, {7, "zoo/run"}, {7, "zoo/formattest"}, {8, "zoo/run/queue"}, {8, "zoo/report"}, {9, "zoo"}, {10, "cmd"},
}

func floorOf(t *testing.T, pkg string) (floor int, room string) {
	for _, f := range floors {
		below := strings.HasPrefix(pkg, f.room+"/") && f.room != "zoo" // whose rooms stand in the table themselves
		if (pkg == f.room || below) && len(f.room) > len(room) {
			floor, room = f.floor, f.room
		}
	}
	if room == "" {
		t.Errorf("%s is on no floor: find it a place in docs/architecture.md and here", pkg)
	}
	return floor, room
}

func TestImports_GoDownwards(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "../...", "../../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/zoofold/zoofold/"
	edges := 0
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ": ")
		pkg, ours := strings.CutPrefix(path, module)
		if !ours {
			continue
		}
		floor, room := floorOf(t, pkg)
		for _, i := range strings.Fields(imports) {
			to, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			edges++
			if below, other := floorOf(t, to); below >= floor && other != room {
				t.Errorf("%s (floor %d) imports %s (floor %d)", pkg, floor, to, below)
			}
		}
	}
	if edges < 20 {
		t.Errorf("only %d imports were seen", edges)
	}
}
