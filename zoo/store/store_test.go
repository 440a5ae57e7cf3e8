package store

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// scene is a folder with a zoo, an output folder and a folder that is neither, and a guard over the zoo.
type scene struct {
	t     *testing.T
	base  string
	guard *Guard
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, base: t.TempDir(), guard: &Guard{}}
	for _, file := range []string{"zoo/a.onnx", "zoo/deep/b.onnx", "elsewhere/c", "out/keep"} {
		s.write(file)
	}
	for _, folder := range []string{"zoo", "zoo/deep"} {
		s.guard.Folders(s.info(folder))
	}
	s.guard.Files(s.info("zoo/a.onnx"), s.info("zoo/deep/b.onnx"))
	return s
}

func (s *scene) path(rel string) string { return filepath.Join(s.base, rel) }

func (s *scene) write(rel string) {
	s.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(rel)), 0o777), os.WriteFile(s.path(rel), []byte(rel), 0o666)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) info(rel string) fs.FileInfo {
	s.t.Helper()
	info, err := os.Stat(s.path(rel))
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

func (s *scene) link(target, name string) {
	s.t.Helper()
	if err := os.Symlink(target, s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) open(rel string) *Folder {
	s.t.Helper()
	f, err := Open(s.path(rel), s.guard)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

// tree is every file below the scene with its content, and every folder and link.
func (s *scene) tree() map[string]string {
	s.t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(s.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(s.base, path)
		switch {
		case d.IsDir():
			list[rel] = "folder"
		case d.Type()&fs.ModeSymlink != 0:
			list[rel], err = os.Readlink(path)
		default:
			var data []byte
			data, err = os.ReadFile(path)
			list[rel] = "file " + string(data)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// attempts are all that a Folder can do to a path.
var attempts = map[string]func(f *Folder, path string) error{
	"create": func(f *Folder, path string) error {
		file, err := f.Create(path, 0o666)
		if err == nil {
			err = file.Close()
		}
		return err
	},
	"append": func(f *Folder, path string) error {
		file, err := f.Append(path)
		if err == nil {
			err = file.Close()
		}
		return err
	},
	"mkdir":       func(f *Folder, path string) error { return f.Mkdir(path) },
	"mkdir all":   func(f *Folder, path string) error { return f.MkdirAll(path) },
	"rename to":   func(f *Folder, path string) error { return f.Rename("keep", path) },
	"rename from": func(f *Folder, path string) error { return f.Rename(path, "taken") },
	"remove":      func(f *Folder, path string) error { return f.Remove(path) },
	"remove all":  func(f *Folder, path string) error { return f.RemoveAll(path) },
}

func TestFolder_ChangesNothingOutsideAndNoOriginal(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(s *scene)
		out     string
		paths   []string
	}{
		{"a path that leads out", func(*scene) {}, "out", []string{"../zoo/a.onnx", "../zoo/new", "../elsewhere/new", "x/../../zoo/new"}},
		{"a link to a folder of the zoo", func(s *scene) { s.link("../zoo", "out/z") }, "out", []string{"z/a.onnx", "z/new", "z/deep/new", "z/new/newer"}},
		{"an absolute link", func(s *scene) { s.link(s.path("zoo"), "out/z") }, "out", []string{"z/a.onnx", "z/new"}},
		{"a link to elsewhere", func(s *scene) { s.link("../elsewhere", "out/e") }, "out", []string{"e/c", "e/new"}},
		{"a zoo inside", func(*scene) {}, ".", []string{"zoo/a.onnx", "zoo/new", "zoo/deep/b.onnx", "zoo/deep/new/newer"}},
		{"a folder of the zoo that was not there when it was walked", func(s *scene) { s.write("zoo/later/d.onnx") }, ".", []string{"zoo/later/d.onnx", "zoo/later/new"}},
		{"a link to a zoo inside", func(s *scene) { s.link("zoo/deep", "z") }, ".", []string{"z/b.onnx", "z/new"}},
		{"a link to a link", func(s *scene) { s.link("zoo", "y"); s.link("y", "z") }, ".", []string{"z/a.onnx", "z/deep/new"}},
	} {
		for what, attempt := range attempts {
			t.Run(test.name+", "+what, func(t *testing.T) {
				s := newScene(t)
				s.write("keep")
				test.prepare(s)
				f := s.open(test.out)
				before := s.tree()
				for _, path := range test.paths {
					for _, path := range []string{path, filepath.Join(f.Path(), path)} {
						_ = attempt(f, path) // most fail; what matters is what is there then
					}
				}
				if after := s.tree(); !maps.Equal(before, after) {
					t.Errorf("before %v, after %v", before, after)
				}
			})
		}
	}
}

func TestFolder_RefusesAnOriginalUnderAnotherName(t *testing.T) {
	s := newScene(t)
	if err := os.Link(s.path("zoo/a.onnx"), s.path("out/linked")); err != nil {
		t.Skip(err)
	}
	f := s.open("out")
	for what, attempt := range attempts {
		if err := attempt(f, "linked"); what != "create" && !errors.Is(err, ErrProtected) && !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !os.SameFile(s.info("zoo/a.onnx"), s.info("out/linked")) {
		t.Error("the name is another file's now")
	}
}

func TestFolder_NoticesALinkChangedBetweenOperations(t *testing.T) {
	s := newScene(t)
	s.write("out/real/x")
	s.link("real", "out/d")
	f := s.open("out")
	if err := f.Rename("keep", "d/kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path("out/d")); err != nil {
		t.Fatal(err)
	}
	s.link("../zoo", "out/d")
	if err := f.Rename("d/kept", "d/a.onnx"); err == nil {
		t.Error("it was followed")
	}
	if err := f.Rename("real/kept", "d/a.onnx"); !errors.Is(err, ErrOutside) {
		t.Errorf("%v", err)
	}
}

func TestFolder_MayNotBeAnOriginalNorLieInOne(t *testing.T) {
	s := newScene(t)
	s.link("zoo/deep", "z")
	before := s.tree()
	for _, path := range []string{"zoo", "zoo/deep", "zoo/new", "zoo/deep/new/newer", "z", "z/new", "elsewhere/../zoo/new"} {
		if f, err := Open(s.path(path), s.guard); !errors.Is(err, ErrProtected) {
			t.Errorf("%s: %v", path, err)
			if err == nil {
				f.Close()
			}
		}
	}
	if after := s.tree(); !maps.Equal(before, after) {
		t.Errorf("%v", after)
	}
}

func TestFolder_AppendsOnlyToAFileOfItsOwn(t *testing.T) {
	s := newScene(t)
	s.link("keep", "out/link")
	s.link("nothing", "out/dangling")
	if err := os.Link(s.path("out/keep"), s.path("out/second")); err != nil {
		t.Skip(err)
	}
	f := s.open("out")
	for _, name := range []string{"link", "dangling", "second", "keep"} {
		if file, err := f.Append(name); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				file.Close()
			}
		}
	}
}

func TestFolder_RemovesAllBelowALinkWithoutFollowingIt(t *testing.T) {
	s := newScene(t)
	s.write("out/d/e/f")
	s.link("../../zoo", "out/d/z")
	if err := s.open("out").RemoveAll("d"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.path("out/d")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	s.info("zoo/a.onnx")
}
