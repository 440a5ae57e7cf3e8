//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"bytes"
	"context"
	"math"
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

// mutations are bugs to plant: the first whose pattern fits an instruction is planted there.
var mutations = func() (list []mutation) {
	for _, m := range [][2]string{
		{`^@(%p\d+)`, `@!$1`},
		{`^setp\.eq`, `setp.ne`}, {`^setp\.ne`, `setp.eq`}, {`^setp\.nan`, `setp.num`}, {`^setp\.num`, `setp.nan`},
		{`^setp\.gt`, `setp.ge`}, {`^setp\.ge`, `setp.gt`}, {`^setp\.lt`, `setp.le`}, {`^setp\.le`, `setp.lt`},
		{`^bra\.uni.*`, nothing}, {`^st\.global.*`, nothing},
		{`^(add\.s64\s+%rd\d+, %rd\d+), (?:8|16|24|32|40);`, `$1, 0;`}, // of the tally: another counter
		{`^(add\.s\d+ .*, )-1;`, `${1}-2;`}, {`^(add\.s\d+ .*, )\d+;`, `${1}3;`}, {`^add\.s`, `sub.s`}, {`^sub\.s`, `add.s`},
		{`^(and\.b64 .*, )-4294967296;`, `${1}0;`}, // whether a division fits 32 bits: always
		{`^or\.`, `and.`}, {`^and\.`, `or.`}, {`^not\.b`, `mov.b`}, {`^(max\.s32 .*, )0;`, `${1}1;`},
		{`^(sh[lr]\.\w+ .*, )\d+;`, `${1}7;`}, {`^shl\.b64`, `shr.u64`}, {`^shr\.u64`, `shl.b64`},
		{`^(selp\.\w+\s+%\w+), (.*), (.*), (%p\d+);`, `$1, $3, $2, $4;`},
		{`^min\.`, `add.`}, {`^add\.rn`, `sub.rn`}, {`^sub\.rn`, `add.rn`}, {`^abs\.f64`, `mov.f64`}, {`^st\.global\.f64.*`, nothing},
		{`^div\.`, `rem.`}, {`^rem\.`, `div.`}, {`^mul\.lo\.s64`, `add.s64`}, {`^(mul\.rn\.f64\s+%fd\d+), (%fd\d+), .*;`, `$1, $2, $2;`},
		{`^(mov\.\w+\s+%\w+), -?\d+;`, `$1, 7;`}, {`^(mov\.f64\s+%\w+), 0d3FF0000000000000;`, `$1, 0d4000000000000000;`},
		{`^(mov.*)%ctaid`, `${1}%tid`}, {`^(mov.*)%n?tid`, `${1}%ctaid`}, {`^(mov.*)%nctaid`, `${1}%ntid`},
		{`^(ld\.param .*_param_)\d\]`, `${1}2]`}, {`^(ld\.global\.u64 .*)\+\d+\]`, `$1]`}, {`\{(%\w+), (%\w+)`, `{$2, $1`},
		{`^atom\.global\.min`, `atom.global.add`}, {`^atom\.global\.add`, `atom.global.min`},
	} {
		list = append(list, mutation{regexp.MustCompile(m[0]), m[1]})
	}
	return list
}()

type mutation struct {
	fits *regexp.Regexp
	as   string
}

const nothing = "mov.u32 \t%r1, %r1;"

// planted is an instruction with a bug, or "".
func planted(line string) string {
	for _, m := range mutations {
		if m.fits.MatchString(line) {
			if bug := m.fits.ReplaceAllString(line, m.as); bug != line {
				return bug
			}
			return ""
		}
	}
	return ""
}

// harmless are bugs that change no value and no count, known by the instructions around them: the line before, the line
// itself, and three more.
var harmless = []harmlessBug{
	// What overflowed goes on to the test for a subnormal instead of past it. It is none.
	{nothing, regexp.MustCompile(`^\s*atom\.global\.min.*\n\s*bra\.uni.*\n\n\$.*:\n\s*setp\.eq\.f64.*, 0d0000000000000000;$`)},
	// Where a chunk begins or ends with a channel, what comes before its first element is counted: nothing.
	{"setp.gt.u64", regexp.MustCompile(`^\s*mul\.lo\.s64.*\n\s*setp\.ge\.u64.*\n\s*mov\.u64.*, 0;\n\s*mov\.u64.*\n\s*@`)},
	{"setp.lt.u64", regexp.MustCompile(`^\$.*:\n\s*setp\.le\.u64.*\n\s*@.*\n\n\s*sub\.s64`)},
	// Of two equal magnitudes either may be the larger one: nothing is lost.
	{"setp.leu.f64", regexp.MustCompile(`^\s*abs\.f64.*\n\s*setp\.ltu\.f64.*\n\s*sub\.rn\.f64`)},
}

type harmlessBug struct {
	bug    string // how it begins
	around *regexp.Regexp
}

// Every bug planted in the device code is found by the values that it gives for a few tensors, or stopped by the emulator.
// ZOOFOLD_MUTANTS=all plants all that there are, which takes minutes, and not only some.
func TestBugsPlanted_InKernelsAreFound(t *testing.T) {
	emulated(t, "")
	every := 29
	if os.Getenv("ZOOFOLD_MUTANTS") == "all" {
		every = 1
	}
	t.Setenv("ZOOFOLD_LIBCUDA", library(t))
	t.Setenv("ZOOFOLD_EMULATOR_COVERAGE", "")
	jobs := mutantJobs(t)
	right := kernels.PTX
	defer func() { kernels.PTX = right }()
	for d, list := range jobs {
		if found(t, d, list) || foundInSums(t, d) {
			t.Fatalf("%v: the kernel as it is gives other values", d)
		}
	}
	lines := strings.Split(right, "\n")
	count, candidates, without := 0, 0, 0
	var in tensor.DType // whose kernel the line is of
	sums := false       // and that it sums
	for k, line := range lines {
		for d, name := range entries {
			if of, ok := strings.CutSuffix(line, "_"+name+"("); ok && strings.Contains(of, ".entry ") {
				in, sums = d, strings.HasSuffix(of, "sum")
			}
		}
		bug := planted(strings.TrimSpace(line))
		if bug == "" {
			continue
		}
		if candidates++; candidates%every != 0 {
			continue
		}
		count++
		with := slices.Clone(lines)
		with[k] = "\t" + bug
		kernels.PTX = strings.Join(with, "\n")
		around := strings.Join(lines[k-1:min(k+4, len(lines))], "\n")
		listed := slices.ContainsFunc(harmless, func(h harmlessBug) bool { return strings.HasPrefix(bug, h.bug) && h.around.MatchString(around) })
		is := false
		if sums {
			is = foundInSums(t, in)
		} else {
			is = found(t, in, jobs[in])
		}
		switch {
		case is && listed:
			t.Errorf("line %d: listed as harmless, but it is found: %s\n%s", k+1, bug, around)
		case listed:
			without++
		case !is:
			t.Errorf("line %d: not found: %s\n%s", k+1, bug, around)
		}
	}
	t.Logf("%d of %d bugs planted; %d of them are harmless", count, candidates, without)
	if count == without {
		t.Error("no bug was planted that does harm")
	}
}

type mutantJob struct {
	*tensor.Rescale
	src, want []byte
	tally     tensor.Tally
}

// found says whether the device gives other bytes or counts than the reference for tensors of that type, or fails. A bug
// that is no PTX would prove nothing.
func found(t *testing.T, d tensor.DType, jobs []mutantJob) bool {
	t.Helper()
	b, err := Open(Options{CPU: cpu.New(1), Worth: everything, Memory: 1 << 21})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, j := range jobs {
		got := make(tensor.Buffer, len(j.src))
		tally, err := b.Rescale(context.Background(), got, bytes.NewReader(j.src), j.Rescale)
		if err != nil || len(b.Notes()) > 0 || !bytes.Equal(got, j.want) || tally != j.tally {
			return true
		}
	}
	return beyond(b.all[0], d) != nil
}

// foundInSums is found for sums.
func foundInSums(t *testing.T, d tensor.DType) bool {
	t.Helper()
	b, err := Open(Options{CPU: cpu.New(1), Worth: everything, Memory: 1 << 21})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, j := range sumJobs(t, d) {
		got, err := b.Sum(context.Background(), bytes.NewReader(j.src), j.Sum)
		if err != nil || len(b.Notes()) > 0 || len(got) != len(j.want) {
			return true
		}
		for c := range got {
			if tensor.Bits64(got[c]) != tensor.Bits64(j.want[c]) {
				return true
			}
		}
	}
	return sumBeyond(b.all[0], d) != nil
}

type sumJob struct {
	*tensor.Sum
	src  []byte
	want []float64
}

var sumJobsOf = map[tensor.DType][]sumJob{}

// sumJobs are special values, layouts whose rows and blocks end anywhere in a chunk, and more partial sums than threads.
func sumJobs(t *testing.T, d tensor.DType) []sumJob {
	t.Helper()
	if jobs := sumJobsOf[d]; jobs != nil {
		return jobs
	}
	var jobs []sumJob
	add := func(job *tensor.Sum, src []byte) {
		jobs = append(jobs, sumJob{job, src, tensortest.ExpectSums(job, src)})
	}
	add(tensortest.SpecialSums(d))
	for _, out := range []tensor.Layout{{Blocks: 1, Outer: 1, Channels: 7, Inner: 9000}, {Blocks: 3, Outer: 70, Channels: 5, Inner: 60}, {Blocks: 2, Outer: 4500, Channels: 7, Inner: 1}, {Blocks: 1, Outer: 3, Channels: 70, Inner: 300}} {
		job := &tensor.Sum{Out: out, Rescale: tensor.Rescale{DType: d, Elements: 63_000, Factors: []tensor.Factor{
			{Layout: tensor.Layout{Blocks: 3, Outer: 7, Channels: 5, Inner: 600}}, {Layout: tensor.Layout{Blocks: 9, Outer: 7, Channels: 5, Inner: 200}},
		}}}
		for k := range job.Factors {
			for c := range job.Factors[k].Blocks * job.Factors[k].Channels {
				job.Factors[k].Scale = append(job.Factors[k].Scale, 1+float64(c)/16)
			}
		}
		values := make([]float64, job.Elements)
		for k := range values {
			values[k] = float64(k%17) - 8.5
		}
		src := make([]byte, job.Elements*int64(d.Size()))
		if err := tensor.Encode(src, values, d); err != nil {
			t.Fatal(err)
		}
		add(job, src)
	}
	sumJobsOf[d] = jobs
	return jobs
}

// mutantJobs are special values in vectors and in tails, what is counted at each place of them, factors whose rows and blocks
// end within a vector, and more than all threads do at a time.
func mutantJobs(t *testing.T) map[tensor.DType][]mutantJob {
	t.Helper()
	jobs := map[tensor.DType][]mutantJob{}
	add := func(job *tensor.Rescale, src []byte) {
		j := mutantJob{Rescale: job, src: src}
		j.want, j.tally = tensortest.Expect(job, src)
		jobs[job.DType] = append(jobs[job.DType], j)
	}
	for _, d := range floats {
		size, per := int64(d.Size()), int64(16/d.Size())
		tail := per - 1
		encoded := func(values []float64) []byte {
			src := make([]byte, int64(len(values))*size)
			if err := tensor.Encode(src, values, d); err != nil {
				t.Fatal(err)
			}
			return src
		}
		events := [][2]float64{ // a value and its scale: not finite, overflow, subnormal, halfway between two numbers
			{math.Inf(1), 1}, {1, math.Inf(1)}, {1, d.SmallestNormal() / 2}, {1, 1 + d.Unit()},
		}
		with := func(n int64, events map[int64][2]float64) {
			values, scale := make([]float64, n), make([]float64, n)
			for e := range n {
				values[e], scale[e] = 1.5, 1
				if v, ok := events[e]; ok {
					values[e], scale[e] = v[0], v[1]
				}
			}
			layout := tensor.Layout{Blocks: 1, Outer: 1, Channels: n, Inner: 1}
			add(&tensor.Rescale{DType: d, Elements: n, Factors: []tensor.Factor{{Layout: layout, Scale: scale}}}, encoded(values))
		}

		job, src := tensortest.Special(d)
		add(job, src)
		for k := int64(0); k+tail <= job.Elements; k += 29 {
			layout := tensor.Layout{Blocks: 1, Outer: 1, Channels: tail, Inner: 1}
			factor := tensor.Factor{Layout: layout, Scale: job.Factors[0].Scale[k : k+tail]}
			add(&tensor.Rescale{DType: d, Elements: tail, Factors: []tensor.Factor{factor}}, src[k*size:(k+tail)*size])
		}

		for place := range per {
			with(4*per, map[int64][2]float64{place: events[0], per + place: events[1], 2*per + place: events[2], 3*per + place: events[3]})
			for _, v := range events {
				with(per+tail, map[int64][2]float64{per + place: v})
			}
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
			values[k] = float64(k%17) - 8.5
		}
		for _, f := range []tensor.Factor{rows, blocks} {
			add(&tensor.Rescale{DType: d, Elements: 315, Factors: []tensor.Factor{f, turns}}, encoded(values))
		}

		const atOnce = blocksPerProcessor * threadsPerBlock * vector // bytes, on the emulator's one processor
		long := 5*atOnce/4/size + tail
		ends := map[int64][2]float64{}
		for e := range tail + 1 { // the last of a vector too: each is counted once
			ends[long-1-e] = events[0]
		}
		with(long, ends)
	}
	return jobs
}
