package fold_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

// FuzzDamagedModels folds models that no exporter would write. Whatever comes out, it comes out.
func FuzzDamagedModels(f *testing.F) {
	for seed := range uint64(20000) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := modeltest.Random(seed, 14)
		modeltest.Damage(m, rand.New(rand.NewPCG(seed, 4)))
		defer func() {
			if x := recover(); x != nil {
				t.Fatal(fmt.Sprint(x, "\n", string(debug.Stack())))
			}
		}()
		plan, err := fold.Fold(t.Context(), m, fold.Options{Neutralize: seed%4 == 3})
		if err != nil {
			t.Fatal(err)
		}
		foldtest.AddsUp(t, plan, m)
	})
}
