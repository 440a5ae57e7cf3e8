package figures

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Target is a figure that a card should reach, and the one that it did.
type Target struct {
	What    string  `json:"what"`
	Least   float64 `json:"least,omitempty"` // Value should be that or more
	Most    float64 `json:"most,omitempty"`  // or that or less
	Value   float64 `json:"value"`           // the worst of its figures
	Reached bool    `json:"reached"`
}

// Judge derives the targets and the advice of a report from its figures. A target about which there is no figure is left out.
func (r *Report) Judge() {
	r.Targets, r.Advice = nil, r.advice()
	atLeast := func(what string, least float64, of func(Figure) (float64, bool)) {
		worst, any := math.Inf(1), false
		for _, f := range r.Figures {
			if x, ok := of(f); ok {
				worst, any = min(worst, x), true
			}
		}
		if any {
			r.Targets = append(r.Targets, Target{What: what, Least: least, Value: worst, Reached: worst >= least})
		}
	}
	atMost := func(what string, most float64, of func(Figure) (float64, bool)) {
		worst, any := math.Inf(-1), false
		for _, f := range r.Figures {
			if x, ok := of(f); ok {
				worst, any = max(worst, x), true
			}
		}
		if any {
			r.Targets = append(r.Targets, Target{What: what, Most: most, Value: worst, Reached: worst <= most})
		}
	}
	const large = 64 << 20
	atLeast("rescaling tensors of 64 MiB and more, of pinned copies both ways at once", 0.8, func(f Figure) (float64, bool) {
		return f.Ratio, strings.HasPrefix(f.What, "rescaling") && f.Where == "cuda" && f.Bytes >= large
	})
	atLeast("the rescaling kernel alone, of a plain copy within the device", 0.8, func(f Figure) (float64, bool) {
		return f.Ratio, f.What == "kernel: rescaling"
	})
	// zoo figures are compared with -device cpu and as many workers.
	beside := func(f Figure, of func(Figure) float64) (float64, bool) {
		if !strings.HasPrefix(f.What, "zoo") || f.Where != "-device auto" {
			return 0, false
		}
		for _, cpu := range r.Figures {
			if cpu.What == f.What && cpu.Jobs == f.Jobs && cpu.Where == "-device cpu" && of(cpu) > 0 {
				return of(f) / of(cpu), true
			}
		}
		return 0, false
	}
	atMost("time of -device auto, of -device cpu", 1.03, func(f Figure) (float64, bool) {
		return beside(f, func(f Figure) float64 { return f.Seconds })
	})
	atMost("processor time of -device auto, of -device cpu, for large models", 0.5, func(f Figure) (float64, bool) {
		return beside(f, func(f Figure) float64 { return f.CPU })
	})
}

// advice is derived from a sweep over sizes and chunks: the fastest chunk for the largest tensors, and the size from which
// on the device is at least as fast as each of the others. It says "never" if the device is slower for the largest tensors.
func (r *Report) advice() (list []string) {
	rates := map[string]map[int64]float64{} // by backend, and the tensor's size
	best, largest := Figure{}, int64(0)
	for _, f := range r.Figures {
		if !strings.HasPrefix(f.What, "sweep") {
			continue
		}
		where := f.Where
		if f.Chunk > 0 {
			where = fmt.Sprint(f.Chunk)
			if f.Bytes > best.Bytes || f.Bytes == best.Bytes && f.Rate > best.Rate {
				best = f
			}
		}
		if rates[where] == nil {
			rates[where] = map[int64]float64{}
		}
		rates[where][f.Bytes] = f.Rate
		largest = max(largest, f.Bytes)
	}
	if best.Chunk == 0 || best.Bytes < largest {
		return nil
	}
	list = append(list, fmt.Sprintf("the fastest chunk for tensors of %s is %s", size(best.Bytes), size(best.Chunk)))
	device := rates[fmt.Sprint(best.Chunk)]
	sizes := slices.Backward(slices.Sorted(maps.Keys(device)))
	for _, where := range slices.Sorted(maps.Keys(rates)) {
		if !strings.HasPrefix(where, "cpu") {
			continue
		}
		from := int64(0)
		for _, bytes := range sizes {
			if rate, known := rates[where][bytes]; !known || device[bytes] < rate {
				break
			}
			from = bytes
		}
		since := "never"
		if from > 0 {
			since = "from " + size(from) + " on"
		}
		list = append(list, fmt.Sprintf("with it the device is as fast as %s: %s", where, since))
	}
	return list
}

// String is "0.83, 0.80 or more: reached".
func (t Target) String() string {
	bound := fmt.Sprintf("%.2f or more", t.Least)
	if t.Most > 0 {
		bound = fmt.Sprintf("%.2f or less", t.Most)
	}
	verdict := "not reached"
	if t.Reached {
		verdict = "reached"
	}
	return fmt.Sprintf("%.2f, %s: %s", t.Value, bound, verdict)
}
