package hdf5_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestWrite_ReadsBackEqual(t *testing.T) {
	deep := &hdf5.Group{}
	if err := deep.Set(strings.Repeat("level/", 60)+"end", &hdf5.Group{}); err != nil {
		t.Fatal(err)
	}
	wide := &hdf5.Group{Links: map[string]hdf5.Object{}}
	for k := range 40000 { // three levels of a B-tree
		wide.Links[fmt.Sprint(k)] = &hdf5.Group{}
	}
	long := &hdf5.Group{Attrs: hdf5.Attributes{{Name: "model_config", Value: hdf5.Text(strings.Repeat("configuration", 1<<18))}}}
	for k := range 1000 {
		long.Attrs.Set(fmt.Sprintf("text %d", k), hdf5.Text(strings.Repeat("x", k)))
	}
	for name, root := range map[string]*hdf5.Group{"nothing": {}, "a sample": sample(), "deep": deep, "wide": wide, "long": long} {
		data := written(t, root)
		again, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equal(t, name, again, root)
		if !bytes.Equal(written(t, again), data) {
			t.Errorf("%s: written again it is another file", name)
		}
	}
}

func TestHardLinks_NameOneObject(t *testing.T) {
	data := written(t, small())
	root, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if root.Get("d") == nil || root.Get("d") != root.Get("g/d") {
		t.Errorf("%p and %p", root.Get("d"), root.Get("g/d"))
	}
	if n := bytes.Count(data, []byte("12345678")); n != 1 {
		t.Errorf("its elements are %d times in the file", n)
	}
}

func TestWrite_EditedTree(t *testing.T) {
	data := written(t, sample())
	root, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	for _, g := range []*hdf5.Group{root, want} {
		delete(g.Get("model_weights/types").(*hdf5.Group).Links, "int8")
		g.Attrs.Delete("number")
		g.Attrs.Set("model_config", hdf5.Text("{}"))
		for _, path := range []string{"model_weights/conv/conv/bias:0", "new"} {
			if err := g.Set(path, &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Shape: []int64{1}, Data: tensor.Buffer("1234")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	data = written(t, root)
	again, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "edited", again, want)
	for path, problem := range map[string]string{"": "name", "new/x": "dataset", "a//b": "name", "./x": "name", "x\x00": "name"} {
		if err := root.Set(path, &hdf5.Group{}); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("set %q: %v", path, err)
		}
	}
	for _, path := range []string{"", "new/x", "unknown", "model_weights/unknown/x"} {
		if o := root.Get(path); o != nil {
			t.Errorf("%q is there: %v", path, o)
		}
	}
}

func TestWrite_RefusesWhatTheFormatCannotHold(t *testing.T) {
	float := hdf5.TypeOf(tensor.Float32)
	cycle := &hdf5.Group{Links: map[string]hdf5.Object{}}
	cycle.Links["self"] = &hdf5.Group{Links: map[string]hdf5.Object{"up": cycle}}
	deep := &hdf5.Group{}
	if err := deep.Set(strings.Repeat("level/", 70)+"end", &hdf5.Group{}); err != nil {
		t.Fatal(err)
	}
	named := func(name string, o hdf5.Object) *hdf5.Group {
		return &hdf5.Group{Links: map[string]hdf5.Object{name: o}}
	}
	attribute := func(name string, v hdf5.Value) *hdf5.Group {
		return &hdf5.Group{Attrs: hdf5.Attributes{{Name: name, Value: v}}}
	}
	for name, c := range map[string]struct {
		root *hdf5.Group
		want string
	}{
		"a cycle":               {cycle, "/self/up: a group that contains itself"},
		"too deep":              {deep, "more than 64 groups within each other: limit exceeded"},
		"a name with a slash":   {named("a/b", &hdf5.Group{}), `/: "a/b" cannot be a name, or names nothing`},
		"nothing":               {named("a", nil), `/: "a" cannot be a name, or names nothing`},
		"no type":               {named("a", &hdf5.Dataset{}), "/a: a shape [] of no type"},
		"a negative shape":      {named("a", &hdf5.Dataset{Type: float, Shape: []int64{-1}}), "/a: a shape [-1] of float32"},
		"too many dimensions":   {named("a", &hdf5.Dataset{Type: float, Shape: make([]int64, 33)}), "/a: 33 dimensions"},
		"null with a shape":     {named("a", &hdf5.Dataset{Type: float, Shape: []int64{1}, Null: true}), "/a: 1 dimensions"},
		"no data":               {named("a", &hdf5.Dataset{Type: float}), "/a: the dataset has no data"},
		"data that end early":   {named("a", &hdf5.Dataset{Type: float, Data: tensor.Buffer("12")}), "/a: the dataset's data end after 2 of 4 bytes: unexpected EOF"},
		"other texts":           {named("a", &hdf5.Dataset{Type: hdf5.Text("").Type, Shape: []int64{2}, Strings: []string{"a"}}), "/a: 1 texts for 2 references"},
		"an attribute's shape":  {attribute("a", hdf5.Value{Type: float, Shape: []int64{2}, Raw: make([]byte, 4)}), `/: attribute "a": 4 bytes for a shape [2] of float32`},
		"an attribute's texts":  {attribute("a", hdf5.Value{Type: hdf5.Text("").Type, Strings: []string{"a", "b"}}), `/: attribute "a": 2 texts for 1 references`},
		"an attribute's type":   {attribute("a", hdf5.Value{}), `/: attribute "a": 0 bytes for a shape [] of no type`},
		"an attribute's name":   {attribute("", hdf5.Text("")), `/: attribute "": this cannot be a name`},
		"a second attribute":    {&hdf5.Group{Attrs: hdf5.Attributes{{"a", hdf5.Text("")}, {"a", hdf5.Text("")}}}, `/: a second attribute "a"`},
		"an attribute too long": {attribute("a", hdf5.Value{Type: float, Shape: []int64{1 << 14}, Raw: make([]byte, 1<<16)}), "/: a message of type 0xc of 65592 bytes, a header takes 65528: limit exceeded"},
		"a name too long":       {attribute(strings.Repeat("a", 1<<16), hdf5.Text("")), "a part of 65537 bytes: limit exceeded"},
	} {
		_, err := hdf5.Write(&memory{}, c.root, nil)
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

func TestWrite_ReturnsErrorsOfContentAndFile(t *testing.T) {
	broken := errors.New("broken")
	_, err := hdf5.Write(&memory{}, small(), func(*hdf5.Dataset, io.WriterAt) error { return broken })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "/d: ") {
		t.Errorf("content: %v", err)
	}
	if _, err := hdf5.Write(tensor.Buffer{}, small(), nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("the file: %v", err)
	}
	data := written(t, small())
	if _, err := hdf5.Open(failing{}, int64(len(data))); !errors.Is(err, errFailing) || errors.Is(err, format.ErrCorrupt) {
		t.Errorf("reading: %v", err)
	}
	if _, err := hdf5.Open(bytes.NewReader(data[:len(data)-1]), int64(len(data))); err != nil {
		t.Errorf("elements are not read when a file is opened: %v", err)
	}
}

var errFailing = errors.New("no disk")

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errFailing }

func TestWrite_StreamsElements(t *testing.T) {
	const gigabyte = 1 << 30
	root := &hdf5.Group{}
	for k, size := range []int64{3, 5 * gigabyte, 1} {
		if err := root.Set(fmt.Sprintf("model_weights/%d", k), &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Int8), Shape: []int64{size}}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "large.h5")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := allocated()
	end, err := hdf5.Write(f, root, func(d *hdf5.Dataset, w io.WriterAt) error { // a file with a hole
		_, err := w.WriteAt([]byte{byte(d.Bytes() >> 24)}, d.Bytes()-1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if used := allocated() - before; used > 8<<20 {
		t.Errorf("%d bytes of memory were used", used)
	}
	again := open(t, path)
	d := again.Get("model_weights/1").(*hdf5.Dataset)
	section := d.Data.(*io.SectionReader)
	last := make([]byte, 1)
	if _, err := section.ReadAt(last, section.Size()-1); err != nil || last[0] != 5<<30>>24&0xff || section.Size() != 5*gigabyte {
		t.Errorf("the last of %d bytes is %d: %v", section.Size(), last[0], err)
	}
	if _, at, _ := section.Outer(); at+5*gigabyte > end {
		t.Errorf("%d bytes at byte %d of a file of %d", d.Bytes(), at, end)
	}
}

func TestElements_ContiguousAreLocatedInTheArchive(t *testing.T) {
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	member, err := z.CreateHeader(&zip.FileHeader{Name: "model.weights.h5", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Write(written(t, small())); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bundle := bytes.NewReader(archive.Bytes())
	r, err := zip.NewReader(bundle, bundle.Size())
	if err != nil {
		t.Fatal(err)
	}
	start, err := r.File[0].DataOffset()
	if err != nil {
		t.Fatal(err)
	}
	inside := io.NewSectionReader(bundle, start, int64(r.File[0].CompressedSize64))
	root, err := hdf5.Open(inside, inside.Size())
	if err != nil {
		t.Fatal(err)
	}
	outer, at, n := root.Get("g/d").(*hdf5.Dataset).Data.(*io.SectionReader).Outer()
	if outer != io.ReaderAt(inside) || n != 8 || !bytes.Equal(archive.Bytes()[start+at:start+at+n], []byte("12345678")) {
		t.Errorf("%d bytes at byte %d", n, at)
	}
}

func TestReadAt_ChunksAreReadConcurrently(t *testing.T) {
	for _, path := range files(t, "testdata/seeds") {
		d := open(t, path).Get("all").(*hdf5.Dataset)
		want := elements(t, path, d)
		var wg sync.WaitGroup
		for at := range want {
			wg.Go(func() {
				got := make([]byte, min(7, len(want)-at))
				if n, err := d.Data.ReadAt(got, int64(at)); n != len(got) || err != nil || !slices.Equal(got, want[at:at+n]) {
					t.Errorf("byte %d: %x, want %x (%v)", at, got, want[at:at+len(got)], err)
				}
			})
		}
		wg.Wait()
	}
}

func TestReadAt_EndsWithTheElements(t *testing.T) {
	root := open(t, "testdata/seeds/old.h5")
	for _, name := range []string{"all", "compact", "g/0", "never", "sparse"} { // of every layout
		d := root.Get(name).(*hdf5.Dataset)
		p := make([]byte, 2)
		if n, err := d.Data.ReadAt(p, d.Bytes()-2); n != 2 || err != nil && err != io.EOF {
			t.Errorf("%s: the last two bytes: %d, %v", name, n, err)
		}
		for off, want := range map[int64]int{d.Bytes() - 1: 1, d.Bytes(): 0, d.Bytes() + 9: 0, -1: 0} {
			if n, err := d.Data.ReadAt(p, off); n != want || err == nil {
				t.Errorf("%s: two bytes at %d of %d: %d, %v", name, off, d.Bytes(), n, err)
			}
		}
	}
}

// flaky fails while it is told to.
type flaky struct {
	io.ReaderAt
	fail bool
}

func (f *flaky) ReadAt(p []byte, off int64) (int, error) {
	if f.fail {
		return 0, errFailing
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestReadAt_FailedChunkIsNotCached(t *testing.T) {
	data := read(t, "testdata/seeds/old.h5")
	r := &flaky{ReaderAt: strings.NewReader(data)}
	root, err := hdf5.Open(r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	d := root.Get("all").(*hdf5.Dataset)
	want := elements(t, "all", d)
	for range 2 {
		for _, at := range []int64{8, d.Bytes() - 4} {
			r.fail = at > 8
			got := make([]byte, 4)
			if _, err := d.Data.ReadAt(got, at); r.fail != errors.Is(err, errFailing) || !r.fail && !slices.Equal(got, want[at:at+4]) {
				t.Errorf("byte %d: %x, want %x (%v)", at, got, want[at:at+4], err)
			}
		}
	}
}
