//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/gpu/kernels"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

// mutations are bugs to plant: the first that fits an instruction is planted there.
var mutations = []struct {
	fits *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`^(@)(%p\d+ bra)`), "$1!$2"},
	{regexp.MustCompile(`^(@)!(%p\d+ bra)`), "$1$2"},
	{regexp.MustCompile(`^setp\.(?:eq|ne|gt|lt|ge|le)(\.[us]\d+)`), "setp.xx$1"}, // see flipped
	{regexp.MustCompile(`^setp\.(?:geu|ltu)(\.f64)`), "setp.xx$1"},
	{regexp.MustCompile(`^(add\.s\d+ .*, )-1;`), "${1}-2;"},
	{regexp.MustCompile(`^(add\.s\d+ .*, )\d+;`), "${1}3;"},
	{regexp.MustCompile(`^add(\.s\d+)`), "sub$1"},
	{regexp.MustCompile(`^sub(\.s\d+)`), "add$1"},
	{regexp.MustCompile(`^(and\.b64 .*, )-4294967296;`), "${1}0;"}, // whether 32 bits hold a quotient: always
	{regexp.MustCompile(`^or(\.b\d+)`), "and$1"},
	{regexp.MustCompile(`^and(\.b\d+)`), "or$1"},
	{regexp.MustCompile(`^(sh[lr]\.\w+ .*, )\d+;`), "${1}7;"},
	{regexp.MustCompile(`^selp(\.\w+\s+%\w+), (.*), (.*), (%p\d+);`), "selp$1, $3, $2, $4;"},
	{regexp.MustCompile(`^div(\.u\d+)`), "rem$1"},
	{regexp.MustCompile(`^rem(\.u\d+)`), "div$1"},
	{regexp.MustCompile(`^atom\.global\.min(\.u64)`), "atom.global.add$1"},
	{regexp.MustCompile(`^atom\.global\.add(\.u64)`), "atom.global.min$1"},
}

var flipped = map[string]string{
	"eq": "ne", "ne": "eq", "gt": "ge", "ge": "gt", "lt": "le", "le": "lt", "geu": "ltu", "ltu": "geu",
}

// planted is an instruction with a bug, or "".
func planted(line string) string {
	for _, m := range mutations {
		if m.fits.MatchString(line) {
			bug := m.fits.ReplaceAllString(line, m.as)
			if how := strings.Split(line, ".")[1:]; strings.Contains(bug, "setp.xx") {
				bug = strings.Replace(bug, "xx", flipped[how[0]], 1)
			}
			if bug != line {
				return bug
			}
			return ""
		}
	}
	return ""
}

// A bug planted in the device code is found by tensors of special values in vectors and tails, or stopped by the emulator.
func TestBugsPlantedInTheKernelsAreFound(t *testing.T) {
	if !strings.HasSuffix(library(t), "bin/libcuda.so.1") {
		t.Skip("a wrong kernel is for the emulator alone")
	}
	every := 29
	if os.Getenv("ZOOFOLD_MUTANTS") == "all" {
		every = 1
	}
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	t.Setenv("ZOOFOLD_EMULATOR_COVERAGE", "")
	jobs := mutantJobs(t)
	lines := strings.Split(kernels.PTX, "\n")
	right := kernels.PTX
	defer func() { kernels.PTX = right }()
	plantedBugs, candidates := 0, 0
	var survivors []string
	for k, line := range lines {
		text := strings.TrimSpace(line)
		bug := planted(text)
		if bug == "" {
			continue
		}
		if candidates++; candidates%every != 0 {
			continue
		}
		plantedBugs++
		with := slices.Clone(lines)
		with[k] = "\t" + bug
		kernels.PTX = strings.Join(with, "\n")
		if !found(t, jobs) {
			survivors = append(survivors, strings.Join(lines[max(k-3, 0):k], "\n")+"\n"+line+"  →  "+bug)
		}
	}
	t.Logf("%d bugs planted, %d found", plantedBugs, plantedBugs-len(survivors))
	for _, s := range survivors {
		t.Logf("survives:\n%s", s)
	}
}

type mutantJob struct {
	*tensor.Rescale
	src, want []byte
	tally     tensor.Tally
}

// found says whether the device gives other bytes or counts than the reference, or fails.
func found(t *testing.T, jobs []mutantJob) bool {
	b, err := Open(Options{CPU: cpu.New(1), Smallest: 1, Memory: 1 << 18})
	if err != nil {
		return true
	}
	defer b.Close()
	for _, j := range jobs {
		got := make(tensor.Buffer, len(j.src))
		tally, err := b.Rescale(context.Background(), got, bytes.NewReader(j.src), j.Rescale)
		if err != nil || len(b.Notes()) > 0 || !bytes.Equal(got, j.want) || tally != j.tally {
			return true
		}
	}
	return slices.ContainsFunc(floats, func(d tensor.DType) bool { return beyond(b.all[0], d) != nil })
}

// mutantJobs are special values in vectors and in tails, and factors whose rows and blocks end within a vector.
func mutantJobs(t *testing.T) (jobs []mutantJob) {
	t.Helper()
	add := func(job *tensor.Rescale, src []byte) {
		j := mutantJob{Rescale: job, src: src}
		j.want, j.tally = tensortest.Expect(job, src)
		jobs = append(jobs, j)
	}
	for _, d := range floats {
		job, src := tensortest.Special(d)
		add(job, src)
		tail, size := int64(16/d.Size()-1), int64(d.Size())
		for k := int64(0); k+tail <= job.Elements; k += 29 {
			layout := tensor.Layout{Blocks: 1, Outer: 1, Channels: tail, Inner: 1}
			factor := tensor.Factor{Layout: layout, Scale: job.Factors[0].Scale[k : k+tail]}
			add(&tensor.Rescale{DType: d, Elements: tail, Factors: []tensor.Factor{factor}}, src[k*size:(k+tail)*size])
		}
		turns := tensor.Factor{Layout: tensor.Layout{Blocks: 1, Outer: 105, Channels: 3, Inner: 1}, Scale: []float64{1.5, -2, 0.25}}
		rows := tensor.Factor{Layout: tensor.Layout{Blocks: 3, Outer: 7, Channels: 5, Inner: 3}}
		blocks := tensor.Factor{Layout: tensor.Layout{Blocks: 9, Outer: 7, Channels: 5, Inner: 1}} // one ends at each place of a vector
		for c := range 45 {
			blocks.Scale = append(blocks.Scale, 1+float64(c)/16)
		}
		rows.Scale = blocks.Scale[:15]
		values := make([]float64, 315)
		for k := range values {
			values[k] = float64(k%17) - 8
		}
		plain := make([]byte, 315*size)
		if err := tensor.Encode(plain, values, d); err != nil {
			t.Fatal(err)
		}
		for _, f := range []tensor.Factor{rows, blocks} {
			add(&tensor.Rescale{DType: d, Elements: 315, Factors: []tensor.Factor{f, turns}}, plain)
		}
	}
	return jobs
}
