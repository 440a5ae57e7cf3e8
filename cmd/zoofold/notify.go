package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// notifyTime bounds how long the command of -notify may take.
const notifyTime = time.Minute

// notify runs a command with the system's shell at the end of a run, with the run as JSON on its standard input:
// report.json with only the models that failed or were interrupted. ZOOFOLD_EXIT and ZOOFOLD_REPORT are the exit code and
// the path of report.html, ZOOFOLD_ERROR is the error that ended the run, if one did.
func notify(command string, doc *report.Document, end outcome.End, failed error) error {
	var run bytes.Buffer
	if err := doc.Troubles().WriteJSON(&run); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), notifyTime)
	defer cancel()
	shell := []string{"sh", "-c", command}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/c", command}
	}
	c := exec.CommandContext(ctx, shell[0], shell[1:]...)
	c.WaitDelay = time.Second // its child processes may keep its output open
	c.Stdin = &run
	c.Env = append(c.Environ(), "ZOOFOLD_EXIT="+strconv.Itoa(exitOf(end, failed)), "ZOOFOLD_REPORT="+end.Report)
	if failed != nil {
		c.Env = append(c.Env, "ZOOFOLD_ERROR="+report.Printable(failed.Error()))
	}
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("timed out after %v", notifyTime)
	}
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("-notify: %w%s", err, before(": ", said))
	}
	return nil
}
