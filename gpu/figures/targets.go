package figures

import (
	"fmt"
	"math"
	"strings"
)

// Target is what a card should reach, and what it did.
type Target struct {
	What    string  `json:"what"`
	Least   float64 `json:"least,omitempty"` // Value should be that or more
	Most    float64 `json:"most,omitempty"`  // or that or less
	Value   float64 `json:"value"`           // the worst of all figures that it is about
	Reached bool    `json:"reached"`
}

// Judge derives the targets of a report from its figures. A target about which there is no figure is left out.
func (r *Report) Judge() {
	r.Targets = nil
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
