package run

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/zoo/format"
)

// stagePrefix is the prefix of the folders in which outputs are staged.
const stagePrefix = ".zoofold-"

// stage is one model's output while it is written and proven: a folder that holds all its files under their final names.
// Commit moves them into place, everything else throws them away.
type stage struct {
	fsys   files
	target string // of the model file
	folder string
	mode   fs.FileMode
	order  []string // relative paths, the model file's first
	open   map[string]*stagedFile
	copies map[string]string // inputs that were copied as they are: relative paths, by the inputs' own

	only     bool         // there is nothing else in the folder than the files
	again    func(string) // returns the empty folder for another output; may be nil
	outdated []string     // outputs of other models that these files would make inconsistent
	meter    *meter       // of what is written; may be nil
	heard    *listener    // of what is read for it; may be nil
}

// newStage prepares an output in a new folder below another one, for files with the permissions of mode.
func newStage(fsys files, below, target string, mode fs.FileMode) (*stage, error) {
	folder, err := newFolder(fsys, below)
	if err != nil {
		return nil, err
	}
	return stageIn(fsys, folder, target, mode), nil
}

// stageIn prepares an output in an empty folder.
func stageIn(fsys files, folder, target string, mode fs.FileMode) *stage {
	return &stage{fsys: fsys, target: target, folder: folder, mode: mode.Perm() | 0o400, open: map[string]*stagedFile{}, only: true}
}

// newFolder makes an empty folder below another one.
func newFolder(fsys files, below string) (string, error) {
	if err := fsys.MkdirAll(below); err != nil {
		return "", err
	}
	for {
		folder := filepath.Join(below, stagePrefix+strings.ToLower(rand.Text()[:10])+".tmp")
		if err := fsys.Mkdir(folder); !errors.Is(err, fs.ErrExist) {
			return folder, err
		}
	}
}

// stages are the folders in which a run's outputs are staged. To create and remove one takes longer than a small model, so
// an empty one is reused.
type stages struct {
	fsys  files
	below string
	lock  sync.Mutex
	free  []string
}

// stage prepares an output.
func (s *stages) stage(target string, mode fs.FileMode) (out *stage, err error) {
	folder := ""
	s.lock.Lock()
	if last := len(s.free) - 1; last >= 0 {
		folder, s.free = s.free[last], s.free[:last]
	}
	s.lock.Unlock()
	if folder == "" {
		if folder, err = newFolder(s.fsys, s.below); err != nil {
			return nil, err
		}
	}
	out = stageIn(s.fsys, folder, target, mode)
	out.again = func(folder string) {
		s.lock.Lock()
		defer s.lock.Unlock()
		s.free = append(s.free, folder)
	}
	return out, nil
}

// close removes the folders. No stage may be in use.
func (s *stages) close() (err error) {
	for _, folder := range s.free {
		err = errors.Join(err, s.fsys.RemoveAll(folder))
	}
	return err
}

// scratch is a stage in a subfolder of this one, which is discarded with it.
func (s *stage) scratch(name, file string) *stage {
	s.only = false
	folder := filepath.Join(s.folder, name)
	return &stage{fsys: s.fsys, target: filepath.Join(folder, file), folder: folder, mode: 0o600, open: map[string]*stagedFile{}}
}

// path is where a file of the model is staged; rel "" is the model file itself.
func (s *stage) path(rel string) string {
	if rel == "" {
		rel = filepath.Base(s.target)
	}
	return filepath.Join(s.folder, filepath.FromSlash(rel))
}

// final is the path to which it will be moved.
func (s *stage) final(rel string) string {
	if rel == "" {
		return s.target
	}
	return filepath.Join(filepath.Dir(s.target), filepath.FromSlash(rel))
}

// Create is format.Output's.
func (s *stage) Create(rel string) (format.OutputFile, error) {
	if rel == filepath.Base(s.target) {
		rel = ""
	}
	if rel != "" && !filepath.IsLocal(filepath.FromSlash(rel)) {
		return nil, fmt.Errorf("output %q: %w", rel, format.ErrOutside)
	}
	if s.open[rel] != nil {
		return nil, fmt.Errorf("output %q is written twice", rel)
	}
	if folder := filepath.Dir(s.path(rel)); folder != s.folder || s.again == nil {
		s.only = s.only && folder == s.folder
		if err := s.fsys.MkdirAll(folder); err != nil {
			return nil, err
		}
	}
	f, err := s.fsys.Create(s.path(rel), s.mode)
	if err != nil {
		return nil, err
	}
	staged := &stagedFile{writable: f, meter: s.meter, heard: s.heard}
	s.open[rel] = staged
	if rel == "" {
		s.order = slices.Insert(s.order, 0, rel)
	} else {
		s.order = append(s.order, rel)
	}
	return staged, nil
}

// sync syncs the content of all files. commit does so too; an earlier call lets other work overlap.
func (s *stage) sync() error {
	for _, rel := range s.order {
		if err := s.open[rel].settle(); err != nil {
			return err
		}
	}
	return nil
}

// commit moves the files into place and syncs their folders.
func (s *stage) commit() error { return s.place(func() error { return nil }) }

// place moves the files into place, the model file last, so that a model never lacks its further files. If there are
// further files, an old model file, which does not fit them, is removed first. When all are in place it calls placed, and
// then syncs the last rename.
func (s *stage) place(placed func() error) error {
	if err := s.sync(); err != nil {
		return err
	}
	if len(s.order) > 1 {
		for _, model := range append(s.outdated, s.target) {
			if err := removeLasting(s.fsys, model); err != nil {
				return err
			}
		}
	}
	isModel := func(rel string) bool { return rel == "" }
	for _, rel := range append(slices.DeleteFunc(slices.Clone(s.order), isModel), "") {
		err := s.fsys.Rename(s.path(rel), s.final(rel))
		if errors.Is(err, fs.ErrNotExist) { // the folder, as a rule
			if err = s.fsys.MkdirAll(filepath.Dir(s.final(rel))); err == nil {
				err = s.fsys.Rename(s.path(rel), s.final(rel))
			}
		}
		if isOtherDisk(err) {
			return fmt.Errorf("%s is on another file system than %s: give it an output folder of its own: %w", filepath.Dir(s.final(rel)), s.folder, err)
		} else if err != nil {
			return err
		}
		if rel == "" {
			if err := placed(); err != nil {
				return err
			}
		}
		if err := s.fsys.SyncFolder(filepath.Dir(s.final(rel))); err != nil {
			return err
		}
	}
	if s.only && s.again != nil {
		s.again(s.folder)
		return nil
	}
	return s.discard()
}

// restart discards what was written, for another attempt.
func (s *stage) restart() error {
	for rel, f := range s.open {
		f.drop()
		if err := s.fsys.RemoveAll(s.path(rel)); err != nil {
			return err
		}
	}
	s.open, s.order, s.copies = map[string]*stagedFile{}, nil, nil
	return nil
}

// close closes the files of a scratch stage.
func (s *stage) close() {
	for _, f := range s.open {
		f.drop()
	}
}

// discard removes the files that are not in place.
func (s *stage) discard() error {
	s.close()
	return s.fsys.RemoveAll(s.folder)
}

// removeLasting removes a file, if it exists, and syncs its folder.
func removeLasting(fsys files, path string) error {
	err := fsys.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fsys.SyncFolder(filepath.Dir(path))
}

// writeWhole writes one small file so that it appears whole or not at all, through a stage below the given folder.
func writeWhole(fsys files, below, path string, write func(io.Writer) error) (err error) {
	s, err := newStage(fsys, below, path, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.discard())
		}
	}()
	f, err := s.Create("")
	if err != nil {
		return err
	}
	if err := buffered(f, write); err != nil {
		return err
	}
	return s.commit()
}
