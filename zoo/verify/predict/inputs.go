package predict

import (
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"encoding/binary"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// array is a tensor given to a model.
type array struct {
	dtype tensor.DType
	shape []int64
	raw   []byte // little endian
}

// sizes for free extents, in the order in which they are tried. 64 comes before 2: an image of 2 by 2 is all border.
var sizes = []int64{64, 2, 320, 256, 160, 513, 32, 48, 128, 224, 16, 8, 512, 576, 640, 1024, 4096, 16000, 3, 1}

// pairs of unlike sizes are made of these.
var unlike = []int64{32, 48, 64, 224, 320, 640, 2}

// integers are the ways to fill integer inputs, in the order in which they are tried.
var integers = []struct {
	low, high int64 // the range
	rate      bool  // inputs named like a sample rate get one: 16000 and, for odd seeds, where both is set, 8000
	both      bool
}{{0, 1, true, true}, {0, 1, true, false}, {0, 1, false, false}, {1, 1, false, false}, {0, 0, false, false}, {1, 9, false, false}}

const (
	maxTries    = 400
	maxElements = 1 << 25 // of all inputs of one try
)

// try is one choice of sizes for the free extents, and of a way to fill integer inputs.
type try struct {
	shapes [][]int64
	fill   int
}

// runnable says why no inputs can be made for these, or nil.
func runnable(inputs []value) error {
	for _, in := range inputs {
		switch {
		case in.kind != "tensor":
			kind := in.kind
			if kind == "" {
				kind = "thing of no declared type"
			}
			return fmt.Errorf("input %q is a %s: no random values are made for it", in.name, kind)
		case !in.dtype.Float() && (in.dtype < tensor.Uint8 || in.dtype > tensor.Bool || in.dtype == tensor.String) && in.dtype != tensor.Uint32 && in.dtype != tensor.Uint64:
			return fmt.Errorf("input %q holds %v: no random values are made for it", in.name, in.dtype)
		case !in.ranked:
			return fmt.Errorf("input %q has no declared rank", in.name)
		}
	}
	return nil
}

// tries are the inputs to try, sensible ones first, at most maxTries.
func tries(inputs []value) iter.Seq[try] {
	return func(yield func(try) bool) {
		fills := 1
		if slices.ContainsFunc(inputs, func(v value) bool { return !v.dtype.Float() && v.dtype != tensor.Bool }) {
			fills = len(integers)
		}
		seen, count := map[string]bool{}, 0
		for assigned := range assignments(inputs) {
			shapes := assigned.shapes(inputs)
			key := fmt.Sprint(shapes)
			if seen[key] || !affordable(inputs, shapes) {
				continue
			}
			seen[key] = true
			for fill := range fills {
				if count++; count > maxTries || !yield(try{shapes, fill}) {
					return
				}
			}
		}
	}
}

func affordable(inputs []value, shapes [][]int64) bool {
	total := int64(0)
	for k := range shapes {
		n, ok := tensor.Elements(shapes[k])
		if total += n; !ok || n > maxElements || total > maxElements {
			return false
		}
	}
	return true
}

// assignment gives every free extent a size, by its key.
type assignment map[string]int64

// key names a free extent: extents of one name have one size.
func key(input int, axis int, e extent) string {
	if s := strings.TrimSpace(e.symbol); s != "" && s != "?" && !strings.EqualFold(s, "none") && s != "-1" {
		return s
	}
	return fmt.Sprintf("\x00%d/%d", input, axis)
}

func (a assignment) shapes(inputs []value) [][]int64 {
	shapes := make([][]int64, len(inputs))
	for i, in := range inputs {
		shapes[i] = make([]int64, len(in.dims))
		for axis, e := range in.dims {
			if shapes[i][axis] = e.size; e.size < 0 {
				shapes[i][axis] = a[key(i, axis, e)]
			}
		}
	}
	return shapes
}

// assignments are the sizes to try: first extents 1 and all others alike; then some of the others 1 as well; then unlike
// sizes for two or three; then first extents like the others.
func assignments(inputs []value) iter.Seq[assignment] {
	var first, other []string
	for i, in := range inputs {
		if len(in.dims) > 0 && in.dims[0].size < 0 {
			first = append(first, key(i, 0, in.dims[0]))
		}
	}
	for i, in := range inputs {
		for axis, e := range in.dims {
			if k := key(i, axis, e); e.size < 0 && !slices.Contains(first, k) && !slices.Contains(other, k) {
				other = append(other, k)
			}
		}
	}
	make := func(firsts, others int64) assignment {
		a := assignment{}
		for _, k := range first {
			a[k] = firsts
		}
		for _, k := range other {
			a[k] = others
		}
		return a
	}
	return func(yield func(assignment) bool) {
		for _, s := range sizes {
			if !yield(make(1, s)) {
				return
			}
		}
		if len(other) <= 4 {
			for mask := 1; mask < 1<<len(other)-1; mask++ {
				for _, s := range sizes {
					a := make(1, s)
					for k, name := range other {
						if mask>>k&1 == 1 {
							a[name] = 1
						}
					}
					if !yield(a) {
						return
					}
				}
			}
		}
		if len(other) == 2 || len(other) == 3 {
			for _, s := range unlike {
				for _, t := range unlike {
					a := make(1, s)
					a[other[len(other)-1]] = t
					if !yield(a) {
						return
					}
				}
			}
		}
		for _, s := range sizes {
			if !yield(make(s, s)) {
				return
			}
		}
	}
}

// feeds makes the inputs of a try: floating-point ones standard normal, integers small, booleans true for even seeds.
func feeds(inputs []value, t try, seed uint64) []array {
	all := make([]array, len(inputs))
	for i, in := range inputs {
		rng := random(seed, in.name)
		n, _ := tensor.Elements(t.shapes[i])
		a := array{in.dtype, t.shapes[i], make([]byte, n*int64(in.dtype.Size()))}
		switch {
		case in.dtype.Float():
			values := make([]float64, n)
			for k := range values {
				values[k] = rng.NormFloat64()
			}
			encode(a, values)
		case in.dtype == tensor.Bool:
			for k := range a.raw {
				a.raw[k] = byte(1 - seed%2)
			}
		default:
			fill := integers[t.fill]
			rate := fill.rate && sampleRate(in)
			for k := range n {
				x := fill.low + rng.Int64N(fill.high-fill.low+1)
				if rate {
					x = 16000
					if fill.both && seed%2 == 1 {
						x = 8000
					}
				}
				word := binary.LittleEndian.AppendUint64(nil, uint64(x))
				copy(a.raw[k*int64(in.dtype.Size()):], word[:in.dtype.Size()])
			}
		}
		all[i] = a
	}
	return all
}

// sampleRate says whether an integer input is named like one.
func sampleRate(v value) bool {
	return v.dtype.Size() >= 4 && slices.Contains([]string{"sr", "rate", "sample_rate", "sampling_rate", "samplerate"}, strings.ToLower(v.name))
}

// jittered is a copy of the inputs in which each floating-point element is moved by at most so many units in the last
// place.
func jittered(inputs []array, ulps float64, seed uint64) []array {
	moved := slices.Clone(inputs)
	for i, a := range moved {
		if !a.dtype.Float() {
			continue
		}
		rng := random(seed, fmt.Sprint("jitter ", i))
		values := make([]float64, len(a.raw)/a.dtype.Size())
		if err := tensor.Decode(values, a.raw, a.dtype); err != nil {
			continue
		}
		for k := range values {
			values[k] *= 1 + (2*rng.Float64()-1)*ulps*epsilon(a.dtype)
		}
		moved[i].raw = make([]byte, len(a.raw))
		encode(moved[i], values)
	}
	return moved
}

// encode rounds values to the elements of an array of a floating-point type.
func encode(a array, values []float64) {
	if err := tensor.Encode(a.raw, values, a.dtype); err != nil {
		panic(err) // both were made for each other by the caller
	}
}

func random(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
