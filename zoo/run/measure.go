package run

import (
	"context"
	"path/filepath"
	"time"

	"github.com/sourcegraph/conc/panics"
	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/format"
)

// measuring bounds the time in which a run looks for further files of its models before it begins. Files not found by then
// count when the model is opened.
const measuring = 5 * time.Second

// measure adds to the jobs' sizes the files that the models name: external data and shards, which are most of a model. The
// ledger knows those of models that were folded before; of the others the model files are read, unless nothing else is in their
// folders. A file that cannot be read fails its model later.
func (r *runner) measure(ctx context.Context, jobs []manifests.Job) {
	ctx, cancel := context.WithTimeout(ctx, measuring)
	defer cancel()
	p := pool.New().WithMaxGoroutines(max(1, r.Workers))
	for k := range jobs {
		j := &jobs[k]
		if e := r.books.get(r.owner(j)); e != nil && e.Weights == j.Weights && len(e.Inputs) > 0 && e.Inputs[0].Path == j.Source {
			j.Size = max(j.Size, total(e.Inputs))
			r.belong(e.Inputs)
		} else if !j.Alone {
			p.Go(func() {
				panics.Try(func() { r.look(ctx, j) })
			})
		}
	}
	p.Wait()
}

// look finds the further files of a model.
func (r *runner) look(ctx context.Context, j *manifests.Job) {
	if ctx.Err() != nil {
		return
	}
	names, err := format.Files(ctx, j.Source, options(j))
	if err != nil {
		return
	}
	for _, name := range names {
		path := filepath.Join(filepath.Dir(j.Source), filepath.FromSlash(name))
		if info, err := format.Regular(r.fsys.Stat(path)); err == nil {
			j.Size += info.Size()
			r.belong([]stamp{{Path: path}})
		}
	}
}

// belong records the files that belong to models.
func (r *runner) belong(inputs []stamp) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, s := range inputs {
		r.parts[s.Path] = true
	}
}
