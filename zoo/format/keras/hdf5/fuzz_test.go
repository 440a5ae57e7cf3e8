package hdf5_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// memory is a file in memory that grows.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(m.b); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], p), nil
}

// written is a tree as a file in memory.
func written(t testing.TB, root *hdf5.Group) []byte {
	t.Helper()
	var m memory
	if _, err := hdf5.Write(&m, root, nil); err != nil {
		t.Fatal(err)
	}
	return m.b
}

// small is a tree that makes a short file.
func small() *hdf5.Group {
	root := &hdf5.Group{Attrs: hdf5.Attributes{{Name: "model_config", Value: hdf5.Text("{}")}, {Name: "names", Value: hdf5.Texts([]string{"a", ""})}}}
	d := &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Shape: []int64{2}, Data: tensor.Buffer("12345678")}
	root.Links = map[string]hdf5.Object{"g": &hdf5.Group{Links: map[string]hdf5.Object{"d": d}}, "d": d}
	return root
}

var wrongSum = regexp.MustCompile(`byte (\d+): checksum [0-9a-f]{8}, the (?:bytes before it have|block has) ([0-9a-f]{8})`)

// signed corrects checksums as far as they are read, so that what stands behind them is reached.
func signed(data []byte) []byte {
	data = bytes.Clone(data)
	for range 50 {
		_, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			break
		}
		m := wrongSum.FindStringSubmatch(err.Error())
		if m == nil {
			break
		}
		at, _ := strconv.Atoi(m[1])
		sum, _ := strconv.ParseUint(m[2], 16, 32)
		binary.LittleEndian.PutUint32(data[at:], uint32(sum))
	}
	return data
}

// check reads a file that may be anything. It fails where an error is of no known kind, where much more memory was used
// than the file has bytes, and where what could be read is not the same after it was written.
func check(t *testing.T, data []byte) {
	t.Helper()
	before := allocated()
	root, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if used := allocated() - before; used > uint64(4<<20+200*len(data)) {
		t.Errorf("%d bytes of memory were used for %d bytes", used, len(data))
	}
	if err != nil {
		known(t, err)
		return
	}
	var total int64
	err = readAll(root, map[hdf5.Object]bool{}, &total)
	if errors.Is(err, errTooMuch) {
		return
	}
	if err != nil {
		known(t, err)
		return
	}
	var m memory
	if _, err := hdf5.Write(&m, root, nil); err != nil {
		if !errors.Is(err, format.ErrLimit) {
			t.Errorf("write: %v", err)
		}
		return
	}
	again, err := hdf5.Open(bytes.NewReader(m.b), int64(len(m.b)))
	if err != nil {
		t.Fatalf("written again: %v", err)
	}
	equal(t, "", again, root)
}

// allocated is the number of bytes that were ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func known(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an error of no kind: %v", err)
	}
}

var errTooMuch = errors.New("too much to be compared")

// readAll reads all datasets, as far as they are small.
func readAll(g *hdf5.Group, seen map[hdf5.Object]bool, total *int64) error {
	for _, name := range g.Names() {
		o := g.Links[name]
		if seen[o] {
			continue
		}
		seen[o] = true
		switch o := o.(type) {
		case *hdf5.Group:
			if err := readAll(o, seen, total); err != nil {
				return err
			}
		case *hdf5.Dataset:
			if *total += o.Bytes(); *total > 1<<20 {
				return errTooMuch
			}
			if o.Data != nil {
				if err := o.Copy(&memory{}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func seeds(t testing.TB) map[string][]byte {
	files := map[string][]byte{"small": written(t, small())}
	paths, err := filepath.Glob("testdata/seeds/*.h5")
	if err != nil || len(paths) == 0 {
		t.Fatal("no seeds", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = data
	}
	return files
}

func FuzzOpen(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
		for at := len(data) / 9; at < len(data); at += len(data) / 9 {
			mutated := bytes.Clone(data)
			mutated[at]++
			f.Add(mutated)
		}
		f.Add(data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, signed(data)) })
}

func TestOpen_AnyByteMayBeWrong(t *testing.T) {
	for name, data := range seeds(t) {
		t.Run(name, func(t *testing.T) {
			step := 1 + len(data)/500 // the longer ones in part; fuzzing does the rest
			if testing.Short() {
				step *= 10
			}
			for at := 0; at < len(data); at += step {
				for _, b := range []byte{0, 0xff, data[at] + 1, data[at] ^ 0x10} {
					wrong := bytes.Clone(data)
					wrong[at] = b
					check(t, signed(wrong))
				}
				if t.Failed() {
					t.Fatalf("with byte %d wrong", at)
				}
			}
		})
	}
}

func TestOpen_NoticesEveryTruncation(t *testing.T) {
	for name, data := range seeds(t) {
		for n := range data {
			if _, err := hdf5.Open(bytes.NewReader(data[:n]), int64(n)); !errors.Is(err, format.ErrCorrupt) {
				t.Fatalf("%s: %d of %d bytes: %v", name, n, len(data), err)
			}
		}
	}
}

func TestSeeds_AgreeWithH5py(t *testing.T) {
	for _, path := range files(t, "testdata/seeds") {
		root := open(t, path)
		same(t, path, dump(t, root), read(t, path+".txt"))
		check(t, []byte(read(t, path)))
	}
}

func TestAttributes_ComeInOrderOfCreation(t *testing.T) {
	for name, want := range map[string]string{
		"old":     "enum",
		"new":     "a0 a1 a2 a3 a4 a5 a6 a7 a8 enum huge", // by name: the file does not know better
		"ordered": "enum huge a0 a1 a2 a3 a4 a5 a6 a7 a8",
	} {
		var order []string
		for _, a := range open(t, "testdata/seeds/"+name+".h5").Attrs {
			order = append(order, a.Name)
		}
		if got := strings.Join(order, " "); got != want {
			t.Errorf("%s: attributes %s, want %s", name, got, want)
		}
	}
}

func TestOpen_ChecksChecksums(t *testing.T) {
	data := []byte(read(t, "testdata/seeds/new.h5"))
	for letters, unread := range map[string]int{"\x89HDF": 20, "OHDR": 14, "OCHK": 14, "FRHP": 10, "FHDB": 13, "BTHD": 14, "BTLF": 7} {
		wrong := bytes.Clone(data)
		at := bytes.Index(wrong, []byte(letters))
		if at < 0 {
			t.Errorf("%q is not in the file", letters)
			continue
		}
		wrong[at+unread] ^= 1
		if _, err := hdf5.Open(bytes.NewReader(wrong), int64(len(wrong))); !errors.Is(err, format.ErrCorrupt) || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("%q: %v", letters, err)
		}
	}
}
