package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Result is what Algebra found.
type Result struct {
	Passed int      // regions that compute the same
	Share  float64  // largest share of the limit that a region used
	NotRun []string // why regions could not be evaluated
	Failed string   // where the first region over its limit is, and by how much
}

// Check is the result for the report. Regions that could not be evaluated are not run, never passed: the check as a whole
// has passed only if all were.
func (r Result) Check() outcome.Check {
	c := outcome.Check{Status: outcome.Passed, Difference: min(r.Share, math.MaxFloat64), Compared: int64(r.Passed)}
	switch {
	case r.Failed != "":
		c.Status, c.Note = outcome.Mismatch, r.Failed
	case len(r.NotRun) > 0:
		c.Status = outcome.NotRun
		c.Note = fmt.Sprintf("%d of %d regions could not be evaluated: %s", len(r.NotRun), len(r.NotRun)+r.Passed, r.NotRun[0])
	}
	return c
}

// AlgebraVersion is the version of the check: raise it when the check finds more than before.
const AlgebraVersion = 3

// Algebra evaluates every region of the plan in both models, in float64, on probes, and compares. folded may be the model
// as planned, with unrounded weights, or as read back from a file. With S and S' the magnitudes of the sums before and
// after, n the terms added up, u64 = 2^-53 and u the unit roundoff of the weights' storage type, a difference passes up to
//
//	8·(n+8)·u64·(S+S') + 8·u·w·S' + (n+8)·v·m
//
// where w is the number of weights, rounded once each, between a region's inputs and outputs, v the smallest number of
// their type and m the largest input, or 1. With unrounded weights u and v are 0.
func Algebra(ctx context.Context, original, folded *model.Model, plan *fold.Plan) (Result, error) {
	return algebra(ctx, original, folded, plan, plan.Unit)
}

// AlgebraUnrounded is Algebra for a model whose weights were not rounded yet: the proof of the rules themselves.
func AlgebraUnrounded(ctx context.Context, original, folded *model.Model, plan *fold.Plan) (Result, error) {
	return algebra(ctx, original, folded, plan, 0)
}

func algebra(ctx context.Context, original, folded *model.Model, plan *fold.Plan, unit float64) (Result, error) {
	var r Result
	for _, c := range comparisons(original, folded, plan, unit) {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		share, err := c.run(ctx)
		switch {
		case errors.Is(err, errDiffers):
			r.Failed, r.Share = err.Error(), max(r.Share, share)
			return r, nil
		case ctx.Err() != nil:
			return r, ctx.Err()
		case err != nil:
			r.NotRun = append(r.NotRun, err.Error())
		default:
			r.Passed, r.Share = r.Passed+1, max(r.Share, share)
		}
	}
	return r, nil
}

// comparisons are the comparisons of a plan's regions.
func comparisons(original, folded *model.Model, plan *fold.Plan, unit float64) (list []*comparison) {
	consts, others := settle(original), settle(folded) // each model's own: constants that planning evaluated are evaluated again
	before, after := index(original), index(folded)
	for _, region := range plan.Regions {
		list = append(list, &comparison{
			region: region, regions: plan.Regions, before: before[region.Graph], after: after[region.Graph], consts: consts, others: others,
			unit: unit, small: granted, products: op.FastProducts,
		})
	}
	return list
}

// freeExtent replaces free extents of a model's inputs.
const freeExtent = 64

// settle replaces the free extents of a model's inputs by one size, so that the extents of all values agree.
func settle(m *model.Model) *op.Folder {
	for _, v := range m.Graph.Inputs {
		if v.Shape == nil {
			continue
		}
		v.Shape = slices.Clone(v.Shape)
		for k, d := range v.Shape {
			switch {
			case d >= 0:
			case k == 0:
				v.Shape[k] = 1
			default:
				v.Shape[k] = freeExtent
			}
		}
	}
	consts := op.Constants()
	op.Infer(m, consts)
	return consts
}

// names are a graph's values by name, with those of the graphs around it.
type names map[string]*model.Value

func index(m *model.Model) map[string]names {
	out := map[string]names{}
	m.Walk(func(g *model.Graph) {
		values := names{}
		if g.Parent != nil && g.Parent.Graph != nil {
			for name, v := range out[g.Parent.Graph.Path()] {
				values[name] = v
			}
		}
		for _, v := range slices.Concat(g.Inputs, g.Consts) {
			values[v.Name] = v
		}
		for _, n := range g.Nodes {
			for _, v := range n.Outputs {
				if v != nil {
					values[v.Name] = v
				}
			}
		}
		out[g.Path()] = values
	})
	return out
}
