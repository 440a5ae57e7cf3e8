package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"
	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/store"
)

// places are where a run may write: the output folder, the folder of the report and that of the metrics. All are opened
// before anything is folded, so that a mistake in the report's path does not cost a night's work.
type places struct {
	guard   *store.Guard
	fsys    files  // of the output folder
	staging string // the folder in which outputs are made
	report  *place
	metrics *place
	opened  []io.Closer
	reading conc.WaitGroup // of the report.json that is there
	last    stamp          // of that when it was read

	zoo     *bucket.Folder    // nil where the zoo is a folder of the host
	work    *bucket.Workspace // where originals and outputs are that buckets have; nil where there are none
	mounted *mounted          // fsys, as it is without what tests put over it; nil where there are no buckets
}

// place is where whole files are written: a folder, and the folder below it in which they are staged.
type place struct {
	fsys   files
	folder string
	below  string
	names  []string // of the files
}

// The files of a report, and a text near the beginning of each, and of metrics, by which zoofold's own files are
// recognised.
var (
	reportFiles = []string{"report.html", "report.json"}
	signs       = map[string]string{reportFiles[0]: `zoofold`, reportFiles[1]: `"schema": "zoofold-report/`, "": "zoofold_"}
)

// signed bounds the bytes at the beginning of a file in which its author is looked for.
const signed = 4 << 10

// openPlaces opens them. The originals are guarded from then on: those in a bucket by being in another one than the outputs.
func openPlaces(o *Options, zoo *manifests.Zoo, from *bucket.Folder) (*places, error) {
	p := &places{guard: &store.Guard{}, zoo: from}
	if from == nil {
		p.guard.Folders(zoo.Folders...)
		p.guard.Files(zoo.Files...)
	}
	err := p.open(o)
	if err != nil {
		p.close()
	}
	for _, why := range []error{store.ErrProtected, store.ErrNotRegular, ErrForeign} {
		if errors.Is(err, why) {
			return p, fmt.Errorf("%w: %w", ErrPlace, err)
		}
	}
	return p, err
}

func (p *places) open(o *Options) (err error) {
	if p.fsys, err = p.outputs(o); err != nil {
		return err
	}
	if o.Report != "" {
		if p.report, err = p.place(o, o.Report, reportFiles...); err != nil {
			return fmt.Errorf("the report: %w", err)
		}
	}
	if o.Metrics != "" {
		if p.metrics, err = p.place(o, filepath.Dir(o.Metrics), filepath.Base(o.Metrics)); err != nil {
			return fmt.Errorf("the metrics: %w", err)
		}
	}
	return nil
}

// outputs opens the output folder. Where the zoo or the outputs are in a bucket, what is needed of both on the host is in a
// folder of the cache.
func (p *places) outputs(o *Options) (files, error) {
	m := o.Manifest
	p.staging = statePath(m.Out, stagePlace)
	if p.zoo == nil && m.OutURL == nil {
		return p.folder(o, m.Out, o.DryRun)
	}
	if o.Cache == "" {
		return nil, fmt.Errorf("%w: a zoo or outputs in a bucket need a cache on this host: name its folder (-cache)", ErrPlace)
	}
	cache, err := bucket.OpenCache(o.Cache, o.CacheSize)
	if err == nil {
		p.work, err = cache.Workspace()
	}
	if err != nil {
		return nil, fmt.Errorf("the cache: %w", err)
	}
	all := &mounted{ctx: context.Background(), readonly: o.DryRun}
	if p.zoo != nil {
		all.folders = append(all.folders, p.zoo)
	}
	local := m.Out
	if m.OutURL != nil {
		if all.out, err = openBucket(all.ctx, o, *m.OutURL); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPlace, err)
		}
		p.opened, all.folders = append(p.opened, all.out), append(all.folders, all.out)
		if o.DryRun { // a run lists it when it has the lock
			if err := all.out.List(all.ctx); err != nil {
				return nil, err
			}
		}
		local = filepath.Join(p.work.Path(), "outputs")
		p.staging = filepath.Join(local, stagePlace)
		all.staging = p.staging
	}
	if !o.DryRun {
		f, err := store.Open(local, p.guard)
		if err != nil {
			return nil, err
		}
		all.disk.folder, p.opened = f, append(p.opened, f)
	}
	p.mounted = all
	if o.over != nil {
		return o.over(all), nil
	}
	return all, nil
}

// openBucket opens a folder in a bucket; tests have their own.
func openBucket(ctx context.Context, o *Options, u bucket.URL) (*bucket.Folder, error) {
	if o.bucket != nil {
		return o.bucket(u), nil
	}
	return bucket.Open(ctx, u)
}

// folder opens a folder for writing, or for reading alone.
func (p *places) folder(o *Options, path string, readonly bool) (files, error) {
	d := disk{}
	if !readonly {
		f, err := store.Open(path, p.guard)
		if err != nil {
			return nil, err
		}
		d.folder, p.opened = f, append(p.opened, f)
	}
	if o.over != nil {
		return o.over(d), nil
	}
	return d, nil
}

// place opens a folder for whole files. They are staged in the state's folder if it is the output folder, else in the
// folder itself.
func (p *places) place(o *Options, folder string, names ...string) (*place, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	a := &place{fsys: p.fsys, folder: folder, below: statePath(folder, stagePlace), names: names}
	if folder != o.Manifest.Out || o.DryRun {
		a.below = folder
		if a.fsys, err = p.folder(o, folder, false); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if err := a.mayWrite(name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// mayWrite is an error if a file exists that no run wrote.
func (a *place) mayWrite(name string) error {
	path := filepath.Join(a.folder, name)
	info, err := a.fsys.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s %w", path, store.ErrNotRegular)
	}
	f, err := a.fsys.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, signed))
	if err != nil {
		return err
	}
	sign, known := signs[name]
	switch {
	case earlierReport.MatchString(name):
		sign = signs[reportFiles[0]]
	case !known:
		sign = signs[""]
	}
	if len(head) > 0 && !bytes.Contains(head, []byte(sign)) {
		return fmt.Errorf("%s %w: move it away, or name another place", path, ErrForeign)
	}
	return nil
}

// write writes one of the files, whole or not at all.
func (a *place) write(name string, write func(io.Writer) error) error {
	if err := a.mayWrite(name); err != nil {
		return err
	}
	return writeWhole(a.fsys, a.below, filepath.Join(a.folder, name), write)
}

// buffered writes through a buffer.
func buffered(to io.Writer, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(to, 1<<16)
	return errors.Join(write(w), w.Flush())
}

// writeReport writes report.html and report.json, and keeps the pages of the runs before.
func (p *places) writeReport(d Document, keep int) error {
	if p.report == nil || d == nil {
		return nil
	}
	earlier, err := p.report.keepEarlier(keep)
	p.reading.Wait()
	if now := p.report.lastStamp(); keep > 1 && now != p.last { // runs into other output folders may share the report's
		p.report.readLast(d)
	}
	d.Recall(keep, func(began time.Time) string {
		if name := nameOfEarlier(began); earlier[name] {
			return name
		}
		return ""
	})
	both := pool.New().WithErrors()
	both.Go(func() error { return err })
	both.Go(func() error { return p.report.write(reportFiles[0], d.WriteHTML) })
	both.Go(func() error { return p.report.write(reportFiles[1], d.WriteJSON) })
	if err := both.Wait(); err != nil {
		return fmt.Errorf("the report: %w", err)
	}
	return nil
}

// readLast begins to read the report.json that the run is to replace: a large zoo's takes a while.
func (p *places) readLast(d Document, keep int) {
	if p.report == nil || d == nil || keep < 2 {
		return
	}
	p.last = p.report.lastStamp()
	p.reading.Go(func() { p.report.readLast(d) })
}

// lastStamp is that of the report.json that is there; an empty one if there is none.
func (a *place) lastStamp() stamp {
	s, err := stampOf(a.fsys, filepath.Join(a.folder, reportFiles[1]))
	if err != nil {
		return stamp{}
	}
	return s
}

// readLast has a document read the report.json that is there. One that cannot be read has no history.
func (a *place) readLast(d Document) {
	old, err := a.fsys.Open(filepath.Join(a.folder, reportFiles[1]))
	if err != nil {
		return
	}
	panics.Try(func() { d.ReadLast(bufio.NewReaderSize(old, 1<<16)) })
	_ = old.Close() // it was only read
}

// maxMetrics bounds what is read of the metrics that a run replaces, in bytes.
const maxMetrics = 1 << 20

// writeMetrics writes the metrics, which take some values over from the existing file.
func (p *places) writeMetrics(d Document) error {
	if p.metrics == nil || d == nil {
		return nil
	}
	a, name := p.metrics, p.metrics.names[0]
	var before []byte
	old, err := a.fsys.Open(filepath.Join(a.folder, name))
	if err == nil {
		before, err = io.ReadAll(io.LimitReader(old, maxMetrics))
		err = errors.Join(err, old.Close())
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = a.write(name, func(w io.Writer) error { return d.WriteMetrics(w, bytes.NewReader(before)) })
	}
	if err != nil {
		return fmt.Errorf("the metrics: %w", err)
	}
	return nil
}

func (p *places) close() {
	p.reading.Wait()
	for _, f := range p.opened {
		_ = f.Close() // it was only read
	}
	if p.work != nil {
		_ = p.work.Close() // the next run sweeps it
	}
}
