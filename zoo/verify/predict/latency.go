//go:build cgo

package predict

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Bounds of a measurement.
const (
	mostPairs   = 20              // of runs
	fewestPairs = 3               // however long they take
	budget      = 2 * time.Second // after which no more than fewestPairs are begun
	slowest     = time.Second     // of a first run: slower models are not measured
)

// usual are for latency: the sizes that users are likely to have come first.
var usual = extents{single(320, 224, 64, 128, 160, 513, 576, 512, 256, 384, 640, 32, 2, 1), 1 << 22}

// measure measures the latency of both models. An error is the Note of the result.
func measure(ctx context.Context, original, folded string) *outcome.Latency {
	l, err := latency(ctx, original, folded)
	if err != nil {
		return &outcome.Latency{Note: firstLine(err)}
	}
	return l
}

func latency(ctx context.Context, original, folded string) (*outcome.Latency, error) {
	a, err := open(original, nil, production)
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := open(folded, nil, production)
	if err != nil {
		return nil, err
	}
	defer b.close()
	started := time.Now()
	first, cancel := context.WithTimeout(ctx, slowest)
	defer cancel()
	inputs, _, _, err := a.try(first, seeds[0], usual)
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("interrupted")
	case first.Err() != nil:
		return nil, fmt.Errorf("a prediction takes more than %v", slowest)
	case err != nil:
		return nil, err
	}
	in, err := feeds(inputs)
	defer destroy(in)
	if err != nil {
		return nil, err
	}
	once := func(s *session) (time.Duration, error) {
		results, took, err := s.execute(ctx, in)
		destroy(results)
		return took, err
	}
	if _, err := once(b); err != nil { // warm-up, as for the original
		return nil, err
	}
	var before, after []time.Duration
	for k := 0; k < mostPairs && (k < fewestPairs || time.Since(started) < budget); k++ {
		pair, took := [2]*session{a, b}, [2]time.Duration{}
		for j := range pair {
			who := (j + k) % 2 // they alternate in going first
			if took[who], err = once(pair[who]); err != nil {
				return nil, err
			}
		}
		before, after = append(before, took[0]), append(after, took[1])
	}
	l := summary(before, after)
	l.Input = shapes(inputs, names(a.inputs))
	return l, nil
}

// summary takes the medians of pairs of runs.
func summary(before, after []time.Duration) *outcome.Latency {
	n := len(before)
	x, y, ratios := make([]float64, n), make([]float64, n), make([]float64, n)
	for k := range before {
		x[k], y[k] = before[k].Seconds(), after[k].Seconds()
		ratios[k] = y[k] / max(x[k], 1e-9) // a clock may show 0
	}
	return &outcome.Latency{
		Before: quantile(x, 0.5), After: quantile(y, 0.5), Pairs: n,
		Ratio: quantile(ratios, 0.5), Low: quantile(ratios, 0.25), High: quantile(ratios, 0.75),
	}
}

// quantile is the quantile of a list, interpolated between neighbours.
func quantile(list []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	at := share * float64(len(sorted)-1)
	k := int(at)
	if k+1 == len(sorted) {
		return sorted[k]
	}
	return sorted[k] + (at-float64(k))*(sorted[k+1]-sorted[k])
}

// shapes names the inputs of a prediction with their shapes: "x[1,3,320,320]".
func shapes(inputs []value, names []string) string {
	var parts []string
	for k, v := range inputs {
		parts = append(parts, names[k]+strings.ReplaceAll(fmt.Sprint(v.shape), " ", ","))
	}
	return strings.Join(parts, " ")
}
