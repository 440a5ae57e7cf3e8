package hdf5_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// h5py runs a command of testdata/h5.py.
func h5py(t *testing.T, arguments ...string) {
	t.Helper()
	command := exec.Command(oracle.Python(t, "h5py", "numpy"), append([]string{filepath.Join("testdata", "h5.py")}, arguments...)...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("h5py %s: %v\n%s", arguments[0], err, out)
	}
}

// open reads a file's tree; its datasets are read until the test ends.
func open(t *testing.T, path string) *hdf5.Group {
	t.Helper()
	root, err := tryOpen(t, path)
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(path), err)
	}
	return root
}

func tryOpen(t *testing.T, path string) (*hdf5.Group, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return hdf5.Open(f, info.Size())
}

// write writes a tree to a new file.
func write(t *testing.T, path string, root *hdf5.Group) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	size, err := hdf5.Write(f, root, nil)
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(path), err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Errorf("%s: %d bytes were written, not %d (%v)", filepath.Base(path), info.Size(), size, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// dump says what is in a tree, in the words of testdata/h5.py: a line for each object and each attribute, in byte order.
func dump(t *testing.T, root *hdf5.Group) string {
	t.Helper()
	var lines []string
	attributes := func(path string, list hdf5.Attributes) {
		for _, a := range list {
			v := a.Value
			lines = append(lines, line(path+"@"+a.Name, v.Type, v.Shape, v.Null, v.Strings, v.Raw))
		}
	}
	links := map[hdf5.Object]int{}
	count(root, links)
	var walk func(path string, o hdf5.Object)
	walk = func(path string, o hdf5.Object) {
		if links[o] > 1 {
			lines = append(lines, fmt.Sprintf("%s has %d links", path, links[o]))
		}
		switch o := o.(type) {
		case *hdf5.Group:
			attributes(path, o.Attrs)
			lines = append(lines, path+" group")
			for _, name := range o.Names() {
				walk(strings.TrimSuffix(path, "/")+"/"+name, o.Links[name])
			}
		case *hdf5.Dataset:
			attributes(path, o.Attrs)
			lines = append(lines, line(path, o.Type, o.Shape, o.Null, o.Strings, elements(t, path, o)))
		}
	}
	walk("/", root)
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// count counts the links to each object below a group.
func count(g *hdf5.Group, links map[hdf5.Object]int) {
	for _, o := range g.Links {
		if links[o]++; links[o] == 1 {
			if below, ok := o.(*hdf5.Group); ok {
				count(below, links)
			}
		}
	}
}

// elements are all bytes of a dataset.
func elements(t *testing.T, path string, d *hdf5.Dataset) []byte {
	if d.Data == nil {
		return nil
	}
	raw := make([]byte, d.Bytes())
	if n, err := io.ReadFull(io.NewSectionReader(d.Data, 0, d.Bytes()), raw); err != nil {
		t.Errorf("%s: %d of %d bytes: %v", path, n, d.Bytes(), err)
	}
	return raw
}

func line(path string, kind hdf5.Type, shape []int64, null bool, texts []string, raw []byte) string {
	if null {
		return fmt.Sprintf("%s %s null", path, numpy(kind))
	}
	var value bytes.Buffer
	if numpy(kind) == "text" {
		e := json.NewEncoder(&value)
		e.SetEscapeHTML(false)
		_ = e.Encode(texts)
		return fmt.Sprintf("%s text [%s] %s", path, list(shape), strings.ReplaceAll(strings.TrimSpace(value.String()), `","`, `", "`))
	}
	text := hex.EncodeToString(raw)
	if len(raw) > 64 {
		sum := sha256.Sum256(raw)
		text = hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("%s %s [%s] %s", path, numpy(kind), list(shape), text)
}

func list(shape []int64) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ","), "[]")
}

// numpy is what numpy calls a type.
func numpy(kind hdf5.Type) string {
	text := kind.String()
	switch {
	case text == "text of variable length":
		return "text"
	case strings.HasPrefix(text, "text of "):
		return fmt.Sprintf("|S%d", kind.Size())
	case strings.HasPrefix(text, "opaque"):
		return fmt.Sprintf("|V%d", kind.Size())
	case text == "enumeration of int8":
		return "|b1"
	}
	text, enum := strings.CutPrefix(text, "enumeration of ")
	text, big := strings.CutPrefix(text, "big-endian ")
	order := "<"
	if big {
		order = ">"
	}
	if kind.Size() == 1 {
		order = "|"
	}
	if enum {
		order = "enum" + order
	}
	return order + strings.TrimRight(text, "0123456789")[:1] + fmt.Sprint(kind.Size())
}

// same compares what two dumps say.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	left, right := strings.Split(got, "\n"), strings.Split(want, "\n")
	for k := range left {
		if k >= len(right) || left[k] != right[k] {
			t.Errorf("%s: line %d:\n got %.300s\nwant %.300s", what, k+1, left[k], append(right, "nothing")[min(k, len(right))])
			return
		}
	}
	t.Errorf("%s: %d lines, want %d", what, len(left), len(right))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.h5"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s (%v)", folder, err)
	}
	return paths
}

func TestH5py_RoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	h5py(t, "write", from)
	var written []string
	for _, path := range files(t, from) {
		root, again := open(t, path), filepath.Join(to, filepath.Base(path))
		same(t, filepath.Base(path)+" as read", dump(t, root), read(t, path+".txt"))
		if strings.Contains(path, "_large") {
			if _, err := hdf5.Write(tensor.Buffer{}, root, nil); !errors.Is(err, format.ErrLimit) {
				t.Errorf("%s: an attribute of 240000 bytes: %v", filepath.Base(path), err)
			}
			continue
		}
		write(t, again, root)
		equal(t, filepath.Base(path)+" written and read again", open(t, again), root)
		written = append(written, filepath.Base(path))
	}
	t.Run("h5py", func(t *testing.T) {
		dumps := []string{"dump"}
		for _, name := range written {
			dumps = append(dumps, filepath.Join(to, name))
		}
		h5py(t, dumps...)
		for _, name := range written {
			same(t, name+" as h5py reads it again", read(t, filepath.Join(to, name+".txt")), read(t, filepath.Join(from, name+".txt")))
		}
	})
	t.Run("h5dump and h5diff", func(t *testing.T) {
		for _, tool := range []string{"h5dump", "h5diff"} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skip("no h5dump and h5diff (Debian: hdf5-tools)")
			}
		}
		for _, name := range written {
			if out, err := exec.Command("h5dump", "-H", filepath.Join(to, name)).CombinedOutput(); err != nil {
				t.Errorf("h5dump %s: %v\n%.500s", name, err, out)
			}
			if strings.HasPrefix(name, "latest") { // the tools may be older than h5py
				continue
			}
			if out, err := exec.Command("h5diff", "-v1", filepath.Join(from, name), filepath.Join(to, name)).CombinedOutput(); err != nil {
				t.Errorf("h5diff %s: %v\n%.500s", name, err, out)
			}
		}
	})
}

func TestH5py_EditsWrittenFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made.h5")
	write(t, path, sample())
	h5py(t, "edit", path)
	h5py(t, "dump", path)
	same(t, "edited", dump(t, open(t, path)), read(t, path+".txt"))
}

func TestH5py_UnknownFeaturesAreRefusedByName(t *testing.T) {
	folder := t.TempDir()
	h5py(t, "refused", folder)
	for name, want := range map[string]string{
		"compound":       "/x: datatype: byte N: elements of type compound",
		"reference":      `/: attribute "x": byte N: elements of type reference`,
		"lists":          "/x: datatype: byte N: lists of variable length as elements",
		"array":          `/: attribute "x": byte N: elements of type array`,
		"soft link":      `/: byte N: "x" is a link to a path or into another file`,
		"external link":  `/: byte N: "x" is a link to a path or into another file`,
		"filter":         "/x: layout: filters: byte N: the filter lzf",
		"chunk index":    "/x: layout: byte N: chunks with an index of HDF5 1.10: rewrite the file with h5repack -l CONTI",
		"named datatype": "/x: byte N: a named datatype",
		"cycle":          "/x/up: byte N: a group that contains itself",
		"in itself":      "/x: byte N: a group that contains itself",
		"elsewhere":      "/x: byte N: elements in other files",
		"shared type":    "/a: byte N: a shared message of type 0x3",
	} {
		_, err := tryOpen(t, filepath.Join(folder, name+".h5"))
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := byteNumber.ReplaceAllString(err.Error(), "byte N"); got != "hdf5: "+want+": unsupported operation" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestH5py_PublishedKerasFileIsTheSameRewritten(t *testing.T) {
	path := oracle.Shared(t, "models/keras/fer2013_mini_XCEPTION.hdf5")
	folder := t.TempDir()
	copied, again := filepath.Join(folder, "original.h5"), filepath.Join(folder, "again.h5")
	if err := os.WriteFile(copied, []byte(read(t, path)), 0o666); err != nil {
		t.Fatal(err)
	}
	root := open(t, path)
	write(t, again, root)
	equal(t, "written and read again", open(t, again), root)
	h5py(t, "dump", copied, again)
	same(t, "as h5py reads it", dump(t, root), read(t, copied+".txt"))
	same(t, "as h5py reads it again", read(t, again+".txt"), read(t, copied+".txt"))
}
