package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Reports of earlier runs are kept beside report.html, named after the times at which their runs began.
var earlierReport = regexp.MustCompile(`^report-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z\.html$`)

// began matches the time at which a report.html says, near its beginning, that its run began; a dry run's page has none.
var began = regexp.MustCompile(`<meta name="generator" content="zoofold">\n<meta name="date" content="([^"]+)">`)

// nameOfEarlier is the file name of the report of a run that began then.
func nameOfEarlier(at time.Time) string {
	return "report-" + at.UTC().Format("2006-01-02T15-04-05.000Z") + ".html"
}

// keepEarlier keeps the report that is about to be replaced, and removes reports of earlier runs, the oldest first, until
// there are so many with the new one. It returns the names of those that remain. Files that zoofold did not make are left.
func (a *place) keepEarlier(keep int) (standing map[string]bool, err error) {
	if keep > 1 {
		err = a.keepLast()
	}
	entries, bad := os.ReadDir(a.folder)
	if bad != nil {
		return nil, errors.Join(err, bad)
	}
	var names []string
	for _, e := range entries {
		if earlierReport.MatchString(e.Name()) && e.Type().IsRegular() && a.owns(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	standing = map[string]bool{}
	for k, name := range names {
		if k < keep-1 {
			standing[name] = true
		} else if bad := a.fsys.Remove(filepath.Join(a.folder, name)); bad != nil && !errors.Is(bad, fs.ErrNotExist) {
			err = errors.Join(err, bad)
		}
	}
	return standing, err
}

// keepLast copies report.html to the name of its run. A page that does not say when that began is not kept: that of a dry run.
func (a *place) keepLast() error {
	path := filepath.Join(a.folder, reportFiles[0])
	name, err := a.earlierName(path)
	if err != nil || name == "" || a.owns(name) {
		return err
	}
	from, err := a.fsys.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := a.write(name, func(w io.Writer) error { _, err := io.Copy(w, from); return err }); err != nil {
		return fmt.Errorf("the last one is not kept: %w", err)
	}
	return nil
}

// owns says whether a file is the report of the run that it is named after.
func (a *place) owns(name string) bool {
	is, err := a.earlierName(filepath.Join(a.folder, name))
	return err == nil && is == name
}

// earlierName is the name under which a report is kept; "" if there is none, or it is not to be kept.
func (a *place) earlierName(path string) (string, error) {
	f, err := a.fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, signed))
	if err != nil {
		return "", err
	}
	said := began.FindSubmatch(head)
	if said == nil {
		return "", nil
	}
	at, err := time.Parse(time.RFC3339Nano, string(said[1]))
	if err != nil {
		return "", nil // not zoofold's
	}
	return nameOfEarlier(at), nil
}
