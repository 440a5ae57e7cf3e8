package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// stateFolder, below the output folder, holds all that runs keep there besides outputs: the lock, who holds it, the ledger,
// and outputs that are being written. No output may have a path with its name in it.
const stateFolder = ".zoofold"

// The files of a run's state. The note about the folder also proves that zoofold made it.
const (
	aboutFile   = "about"
	lockFile    = "lock"
	holderFile  = "holder"
	ledgerFile  = "ledger"
	stagePlace  = "staging"
	remoteFile  = "remote"
	aboutFolder = `This folder is zoofold's. ledger: what each output was made of. lock, holder: the run that is at work.
staging: outputs that are being written. It may be deleted while no run is at work; the models are folded again then.
`
)

// ErrForeign says that a file or folder with a name of zoofold's own was not made by it.
var ErrForeign = errors.New("was not made by zoofold")

func statePath(out string, names ...string) string {
	return filepath.Join(append([]string{out, stateFolder}, names...)...)
}

// claimState makes the folder of the state, or finds the one that an earlier run made. A folder that zoofold did not make
// is an error: its contents would be taken for a run's, and removed.
func claimState(fsys files, out string) error {
	folder := statePath(out)
	if err := fsys.MkdirAll(folder); err != nil {
		return err
	}
	if info, err := fsys.Lstat(folder); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s %w: it is not a folder; move it away", folder, ErrForeign))
	}
	about := filepath.Join(folder, aboutFile)
	text, err := readAbout(fsys, about)
	if err != nil || text == aboutFolder {
		return err
	}
	entries, err := fsys.ReadDir(folder)
	if err != nil {
		return err
	}
	begun := strings.HasPrefix(aboutFolder, text) // a run that was killed as it began left an empty note, or a part of it
	if len(entries) > 1 || len(entries) == 1 && (entries[0].Name() != aboutFile || !begun) {
		return fmt.Errorf("%s %w: its file %q does not say so; move it away", folder, ErrForeign, aboutFile)
	}
	if err := fsys.Remove(about); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(about, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil // another run is beginning
	}
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(aboutFolder))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return fsys.SyncFolder(folder)
}

// readAbout is the note about the folder; "" where there is none.
func readAbout(fsys files, path string) (string, error) {
	info, err := fsys.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s %w: move it away", path, ErrForeign)
	}
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 2*int64(len(aboutFolder))))
	return string(text), err
}

// mark says in the folder of the state that models are done elsewhere, by what does them. A run of one process leaves the
// folder alone then.
func mark(fsys files, out, by string) error {
	return writeWhole(fsys, statePath(out, stagePlace), statePath(out, remoteFile), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, by)
		return err
	})
}

// unmark takes that back.
func unmark(fsys files, out string) error {
	return removeLasting(fsys, statePath(out, remoteFile))
}

// marked is an error if models are done elsewhere, or were when that run was cut off.
func marked(fsys files, out string) error {
	path := statePath(out, remoteFile)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	by, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is %w, whose models are done by %s: run it again as it was, and it ends (if there are no such workers any more, remove %s)",
		out, ErrLocked, strings.TrimSpace(string(by)), path)
}

// sweep removes the staged outputs of killed runs. The caller holds the lock.
func sweep(fsys files, out string) error { return fsys.RemoveAll(statePath(out, stagePlace)) }

// reserved says whether a path, relative to the output folder, is kept for zoofold's own files.
func reserved(rel string) bool {
	elements := strings.Split(strings.ToLower(filepath.ToSlash(rel)), "/")
	return slices.Contains(elements, stateFolder) || len(elements) == 1 && slices.Contains(reportFiles, elements[0])
}
