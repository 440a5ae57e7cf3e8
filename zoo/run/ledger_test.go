package run

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
)

// remembered is a ledger with some entries, and the bytes of its file.
func remembered(t testing.TB, folder string, models ...string) (*ledger, []byte) {
	if err := os.MkdirAll(filepath.Join(folder, stateFolder), 0o777); err != nil {
		t.Fatal(err)
	}
	l, err := openLedger(onDisk(t, folder), folder, false)
	if err != nil {
		t.Fatal(err)
	}
	for k, m := range models {
		e := &entry{Model: m, Settings: "a rule", Inputs: []stamp{{Path: "in/" + m, Size: int64(k), Hash: "x"}}, Outputs: []stamp{{Path: "out/" + m}}}
		if err := l.add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(l.path())
	if err != nil {
		t.Fatal(err)
	}
	return l, data
}

func TestLedger_ForgetsAModel(t *testing.T) {
	folder := t.TempDir()
	remembered(t, folder, "a", "b")
	l, err := openLedger(onDisk(t, folder), folder, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.forget(owner{model: "a"}); err != nil {
		t.Fatal(err)
	}
	l.close()
	if l, err = openLedger(disk{}, folder, true); err != nil || l.get(owner{model: "a"}) != nil || l.get(owner{model: "b"}) == nil {
		t.Errorf("%v, a %v, b %v", err, l.get(owner{model: "a"}), l.get(owner{model: "b"}))
	}
}

func TestLedger_IsCompacted(t *testing.T) {
	folder := t.TempDir()
	var models []string
	for k := range 300 {
		models = append(models, fmt.Sprint(k%3))
	}
	_, before := remembered(t, folder, models...)
	l, err := openLedger(onDisk(t, folder), folder, false)
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	after, err := os.ReadFile(l.path())
	if err != nil || bytes.Count(after, []byte("\n")) != 3 || len(before) < 90*len(after)/3 {
		t.Errorf("%d bytes became %d, %v", len(before), len(after), err)
	}
	if again, err := openLedger(disk{}, folder, true); err != nil || !reflect.DeepEqual(again.entries, l.entries) {
		t.Errorf("%v: its entries are others", err)
	}
}

func FuzzLedger(f *testing.F) {
	_, good := remembered(f, f.TempDir(), "a.onnx", "b/c.onnx")
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append([]byte("half a li"), good...))
	f.Add(bytes.Repeat([]byte("\n"), 10))
	folder := f.TempDir()
	quick := &hooked{files: onDisk(f, folder), before: func(string, string) error { return nil }} // it does not wait for the disk
	if err := os.MkdirAll(filepath.Join(folder, stateFolder), 0o777); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(folder, stateFolder, ledgerFile)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		l, err := openLedger(quick, folder, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.add(&entry{Model: "new", Inputs: []stamp{{Path: "new"}}}); err != nil {
			t.Fatal(err)
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		again, err := openLedger(quick, folder, true)
		if err != nil || !reflect.DeepEqual(again.entries, l.entries) {
			t.Errorf("%v: %d entries were written, others are read", err, len(l.entries))
		}
	})
}

func TestLedger_KeepsNamesThatAreNotUTF8(t *testing.T) {
	folder := t.TempDir()
	names := []string{"a\xff.onnx", "a\xfe.onnx", "\u00e4.onnx", "\x00.onnx"}
	remembered(t, folder, names...)
	l, err := openLedger(disk{}, folder, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[:3] {
		if e := l.get(owner{model: name}); e == nil || e.Inputs[0].Path != "in/"+name || e.Outputs[0].Path != "out/"+name {
			t.Errorf("%q: %+v", name, e)
		}
	}
}

func TestLedger_LongLineTakesBoundedMemory(t *testing.T) {
	folder := t.TempDir()
	remembered(t, folder, "a")
	path := filepath.Join(folder, stateFolder, ledgerFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	piece := bytes.Repeat([]byte("x"), 1<<20)
	for range 100 {
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := openLedger(disk{}, folder, true)
	runtime.ReadMemStats(&after)
	if err != nil || l.get(owner{model: "a"}) == nil {
		t.Errorf("%v, %v", err, l.entries)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4*maxLine+64<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}
