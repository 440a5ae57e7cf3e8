package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// ErrExists says that another file exists at the path of an output.
var ErrExists = errors.New("there is a file already, and it is another: name another place, or allow it to be replaced (overwrite)")

// Fold folds models that no manifest names, into the folder o.Manifest.Out, with the steps and the proof of a run: each
// output appears whole and proven, or not at all. Nothing else is written, no ledger and no report, so that every model is
// folded, and an existing file at an output's path is replaced only if the rule allows that. A job's Path is the name under
// which its model is reported. The errors are those of Run; o.Report, o.Metrics and o.Prune do nothing.
func Fold(ctx context.Context, o Options, jobs []manifests.Job) (end outcome.End, err error) {
	started := time.Now()
	if err := distinct(jobs); err != nil {
		return end, err
	}
	if err := o.startEngine(); err != nil {
		return end, err
	}
	o.Report, o.Metrics = "", ""
	jobs = slices.Clone(jobs)
	zoo := &manifests.Zoo{Jobs: jobs}
	p, err := openPlaces(&o, zoo, nil)
	if err != nil {
		return end, err
	}
	defer p.close()
	r := newRunner(o, p, newLedger(p.fsys, o.Manifest.Out), o.Manifest.Out)
	r.alone = true
	r.models, r.hidden = living(zoo)
	r.measure(ctx, jobs)
	r.start(ctx, zoo, started)
	r.all(ctx, jobs)
	r.note("sweep", r.stages.close())
	r.finish(ctx, started)
	r.Sink.End(r.end)
	return r.end, nil
}

// distinct is an error if two models have one output.
func distinct(jobs []manifests.Job) error {
	by := map[string]string{}
	for _, j := range jobs {
		if first, taken := by[j.Target]; taken {
			return fmt.Errorf("%w: %s and %s would both be written to %s: fold them into folders of their own", ErrPlace, first, j.Path, j.Target)
		}
		by[j.Target] = j.Path
	}
	return nil
}
