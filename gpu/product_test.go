//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/gpu/kernels"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// product is Product as a plain loop.
func product(c, a, b []float64, m, n, k int) {
	for i := range m {
		for j := range n {
			sum := 0.0
			for x := range k {
				sum += float64(a[i*k+x] * b[x*n+j]) // rounded here, on every processor
			}
			c[i*n+j] = sum
		}
	}
}

func matrix(n int, seed int) []float64 {
	list := make([]float64, n)
	for k := range list {
		list[k] = math.Sin(float64(k*k+seed)) * math.Ldexp(1, (k*7+seed)%40-20)
	}
	return list
}

func sameProducts(b *Backend, m, n, k int, left, right []float64) error {
	c, want := make([]float64, m*n), make([]float64, m*n)
	for j := range c {
		c[j] = 12345
	}
	product(want, left, right, m, n, k)
	if err := b.Product(context.Background(), c, left, right, m, n, k); err != nil {
		return err
	}
	for j := range c {
		if tensor.Bits64(c[j]) != tensor.Bits64(want[j]) {
			return fmt.Errorf("%d×%d×%d: element %d is %v, want %v", m, k, n, j, c[j], want[j])
		}
	}
	return nil
}

func TestProducts_HaveTheBitsOfAPlainLoop(t *testing.T) {
	coverage := filepath.Join(t.TempDir(), "coverage")
	t.Setenv("ZOOFOLD_EMULATOR_COVERAGE", coverage)
	b := open(t, Options{Memory: sized[int64](16<<20, 0)})
	for _, s := range [][3]int{{1, 1, 1}, {4, 4, 4}, {5, 7, 3}, {2, 9, 17}, {9, 2, 1}, {3, 3, 0}, {0, 3, 2}, {33, 65, 31}, {1, 200, 40}, {200, 1, 40}, {150, 170, 5}} {
		m, n, k := s[0], s[1], s[2]
		if err := sameProducts(b, m, n, k, matrix(m*k, 1), matrix(k*n, 2)); err != nil {
			t.Error(err)
		}
	}
	special := []float64{0, math.Copysign(0, -1), 1, math.Inf(1), math.Inf(-1), math.NaN(), 5e-324, math.MaxFloat64, -math.MaxFloat64, 0x1p-1022, 1 + 0x1p-52}
	n := len(special)
	if err := errors.Join(sameProducts(b, n, n, 1, special, special), sameProducts(b, 1, n, 2, special[2:4], append(slices.Clone(special), special...))); err != nil {
		t.Error(err)
	}
	unaided(t, b)
	text, err := os.ReadFile(coverage)
	if err != nil {
		return // the driver does not count instructions: it is no emulator
	}
	total, lines := 0, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "total") {
			_, _ = fmt.Sscanf(line, "total %d", &total)
		} else {
			lines[line] = true
		}
	}
	if want := strings.Count(kernels.Product, ";\n") - strings.Count(kernels.Product, "\t.reg") - strings.Count(kernels.Product, "\t.pragma"); total == 0 || len(lines) != want {
		t.Errorf("%d of %d instructions were executed", len(lines), want)
	}
}

func TestProducts_RefusalsAreErrors(t *testing.T) {
	b := open(t, Options{Memory: 1 << 18})
	n := 200
	err := b.Product(context.Background(), make([]float64, n*n), make([]float64, n*n), make([]float64, n*n), n, n, n)
	if !errors.Is(err, cu.OutOfMemory) || len(b.Notes()) != 1 {
		t.Errorf("%v, %q", err, b.Notes())
	}
	if err := b.Product(context.Background(), make([]float64, 3), nil, nil, 2, 2, 0); err == nil {
		t.Error("three elements are no 2×2 matrix")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Product(ctx, make([]float64, 1), make([]float64, 1), make([]float64, 1), 1, 1, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// harmlessInProducts are as harmless.
var harmlessInProducts = []harmlessBug{
	// A thread without a tile does the last row and column once more, and stores nothing.
	{"setp.gt.u64", regexp.MustCompile(`^\s*add\.s64.*\n\s*setp\.ge\.u64.*\n\s*@.*\n\n\s*cvta`)},
	{"setp.le.u64", regexp.MustCompile(`^\s*add\.s64.*\n\s*setp\.lt\.u64.*\n\s*@.*\n\n\$`)},
	// Tiles are done by several threads, which store the same.
	{"add.s64", regexp.MustCompile(`^\s*cvt\.u64\.u32.*\n\s*mul\.lo\.s64.*\n\n\$`)},
	// A tile's first element is never beyond an edge.
	{"setp.gt.u64", regexp.MustCompile(`^\n\s*setp\.ge\.u64.*\n\s*mul\.lo\.s64.*\n\s*add\.s64`)},
	{"setp.gt.u64", regexp.MustCompile(`^\s*add\.s64.*\n\s*setp\.ge\.u64.*\n\s*shl\.b64.*\n\s*add\.s64.*\n\s*or\.pred`)},
	{"and.pred", regexp.MustCompile(`^\s*add\.s64.*\n\s*or\.pred\s+%p\d+, %p3, %p4;\n\s*@.*\n\n\s*st\.global\.f64\s+\[%rd\d+\]`)},
}

// Every bug planted in the product's device code changes a product of a few small shapes, or is stopped by the emulator.
func TestBugsPlanted_InTheProductAreFound(t *testing.T) {
	emulated(t, "")
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	t.Setenv("ZOOFOLD_EMULATOR_COVERAGE", "")
	right := kernels.Product
	defer func() { kernels.Product = right }()
	const most = 8 * 256 * 4 * 4 // elements that all threads do at once
	shapes := [][3]int{{1, 1, 1}, {4, 4, 2}, {5, 7, 3}, {2, 9, 5}, {9, 2, 1}, {7, 6, 2}, {most / 64, 130, 1}}
	found := func() bool {
		b, err := Open(Options{CPU: cpu.New(1), Worth: everything, Memory: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, s := range shapes {
			if sameProducts(b, s[0], s[1], s[2], matrix(s[0]*s[2], 1), matrix(s[2]*s[1], 2)) != nil || len(b.Notes()) > 0 {
				return true
			}
		}
		return false
	}
	if found() {
		t.Fatal("the kernel as it is gives other values")
	}
	lines := strings.Split(right, "\n")
	count := 0
	for k, line := range lines {
		bug := planted(strings.TrimSpace(line))
		if bug == "" {
			continue
		}
		count++
		with := slices.Clone(lines)
		with[k] = "\t" + bug
		kernels.Product = strings.Join(with, "\n")
		around := strings.Join(lines[k-1:min(k+4, len(lines))], "\n")
		listed := slices.ContainsFunc(harmlessInProducts, func(h harmlessBug) bool { return strings.HasPrefix(bug, h.bug) && h.around.MatchString(around) })
		if is := found(); is == listed {
			t.Errorf("line %d: found: %v, listed as harmless: %v: %s\n%s", k+1, is, listed, bug, around)
		}
	}
	t.Logf("%d bugs planted", count)
	if count < 100 {
		t.Error("that is not many")
	}
}
