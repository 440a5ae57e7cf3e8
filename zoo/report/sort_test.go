package report

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
)

func TestSortByPath_IsAStableSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for size := range 200 {
		models := make([]outcome.Model, size)
		for k := range models {
			models[k] = outcome.Model{Path: strconv.Itoa(rng.IntN(1 + size/2)), Before: k}
		}
		want := slices.Clone(models)
		slices.SortStableFunc(want, func(a, b outcome.Model) int { return cmp.Compare(a.Path, b.Path) })
		sortByPath(models)
		for k := range models {
			if models[k].Path != want[k].Path || models[k].Before != want[k].Before {
				t.Fatalf("%d models: place %d has %s of %d, want %s of %d", size, k, models[k].Path, models[k].Before, want[k].Path, want[k].Before)
			}
		}
	}
}
