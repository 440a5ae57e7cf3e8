package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// hostileModel writes a model whose nodes and constants have names that do things to a terminal, in a file that has such a
// name and is not UTF-8.
func hostileModel(t *testing.T) string {
	t.Helper()
	const name = "a\x1b[31m\u009b2J\u202etxt\u2066"
	b := modeltest.New(1)
	x := b.BatchNorm(b.Conv(b.Input(1, 3, 6, 6), 3, 4, 3, 1), 4)
	x = b.Op("Tanh", []*model.Value{b.Op("Mul", []*model.Value{b.Op("Tanh", []*model.Value{x}), b.Weight(4, 1, 1)})})
	m := b.Output(x)
	for _, n := range m.Graph.Nodes {
		n.Name += name
	}
	for _, v := range m.Graph.Consts {
		v.Name += name
	}
	var out onnx.Memory
	if err := onnx.Export(context.Background(), m, &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m\x1b\xff.onnx")
	if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
		t.Skipf("this file system has no such names: %v", err)
	}
	return path
}

func TestPlanAndExplain_PrintNoControlCharacters(t *testing.T) {
	path := hostileModel(t)
	for _, args := range [][]string{{"plan", path}, {"plan", "-json", path}, {"explain", path}, {"plan", path + "\x1b\u202e"}, {"explain", path + "\xfe"}} {
		var stdout, stderr bytes.Buffer
		code := command(args, &stdout, &stderr)
		if want := len(path) == len(args[len(args)-1]); want != (code == exitDone) || want != strings.Contains(stdout.String(), "009b") {
			t.Errorf("%q: exit %d: %s%s", args, code, &stdout, &stderr)
		}
		for _, r := range stdout.String() + stderr.String() {
			if r != '\n' && (!unicode.IsPrint(r) || r == utf8.RuneError) {
				t.Errorf("%q prints %q", args, r)
				break
			}
		}
	}
}

func TestSubcommands_UnwritableOutputIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no full device: %v", err)
	}
	defer full.Close()
	path := hostileModel(t)
	for _, args := range [][]string{{"plan", path}, {"plan", "-json", path}, {"explain", path}, {"schema"}, {"schema", "-report"}, {"man"}, {"completion", "bash"}} {
		var stderr bytes.Buffer
		if code := command(args, full, &stderr); code != exitFailed || stderr.String() != "zoofold: standard output: no space left on device\n" {
			t.Errorf("%q: exit %d: %s", args, code, &stderr)
		}
	}
}
