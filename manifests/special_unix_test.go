//go:build unix

package manifests_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWalk_IrregularFilesFailWithTheirReason(t *testing.T) {
	dir, err := os.MkdirTemp("", "z") // short: the name of a socket has a bound
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	zoo := filepath.Join(dir, "zoo")
	must(t, os.Mkdir(zoo, 0o777), syscall.Mkfifo(filepath.Join(zoo, "a.onnx"), 0o666), os.Symlink("/dev/null", filepath.Join(zoo, "b.onnx")), os.Symlink("a.onnx", filepath.Join(zoo, "c.onnx")))
	socket, err := net.Listen("unix", filepath.Join(zoo, "d.onnx"))
	must(t, err)
	defer socket.Close()
	must(t, os.WriteFile(filepath.Join(zoo, "e.cfg"), nil, 0o666), syscall.Mkfifo(filepath.Join(zoo, "e.weights"), 0o666), syscall.Mkfifo(filepath.Join(zoo, "unmatched"), 0o666))
	found := walk(t, dir, "  - match: '*.onnx'\n  - match: '*.cfg'\n    weights: '{stem}.weights'\n")
	equal(t, "jobs", paths(found), nil)
	equal(t, "failures", failures(found, dir), []string{
		"a.onnx: is a FIFO", "b.onnx: links to a device", "c.onnx: links to a FIFO", "d.onnx: is a socket",
		"e.cfg: models.yaml:7:14: no weights for e.cfg: e.weights is a FIFO",
	})
	equal(t, "unmatched", found.Unmatched, []string{"e.weights", "unmatched"})
}
