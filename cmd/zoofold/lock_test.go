package main

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/zootest"
)

var holder = regexp.MustCompile(`is locked by another run: process (\d+) on (\S+) since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`)

func TestLock_NamesItsHolderAndIsTakenOverFromTheDead(t *testing.T) {
	w := newWorkshop(t, "  - match: '**/*.onnx'\n    verify: []\n")
	if _, err := zootest.Write(w.zoo(), 400, 2, 1); err != nil {
		t.Fatal(err)
	}
	first := w.command("-json", "-j", "1")
	events, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer first.Process.Kill()
	if line, err := bufio.NewReaderSize(events, 16).ReadString(','); err != nil || !strings.Contains(line, "start") {
		t.Fatalf("%q, %v", line, err)
	}
	// It has begun, and cannot end: nobody reads its events, and they are more than a pipe holds.
	o := w.run()
	m := holder.FindStringSubmatch(o.stderr)
	if o.exit != exitLocked || m == nil || m[1] != fmt.Sprint(first.Process.Pid) {
		t.Errorf("exit %d, %q does not name process %d", o.exit, o.stderr, first.Process.Pid)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if o := w.run(); o.exit != 0 || len(o.status) != 400 {
		t.Errorf("after its death: exit %d, %d models, %s", o.exit, len(o.status), o.stderr)
	}
}
