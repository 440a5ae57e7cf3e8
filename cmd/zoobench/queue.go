package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// queue measures runs over a queue with one worker beside runs here, with as many models at once, by turns: the generated
// models, and many small ones. The server is in this process; processor time is that of all.
func queue(ctx context.Context, program string, models int, width int64, many, rounds, jobs int) error {
	b, err := newBench(ctx, program, jobs)
	if err != nil {
		return err
	}
	defer b.close()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(b.folder, "jetstream"), NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(time.Minute) {
		return errors.New("the server does not start")
	}
	worker := exec.CommandContext(ctx, b.program, "worker", "-queue", s.ClientURL(), "-root", b.folder, "-j", strconv.Itoa(jobs), "-onnxruntime", "none", "-quiet")
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		return err
	}
	defer func() { _ = errors.Join(worker.Process.Signal(syscall.SIGTERM), worker.Wait()) }() // it has done its work
	spent := func() time.Duration { return processor(syscall.RUSAGE_SELF) + spentBy(worker.Process.Pid) }
	fmt.Printf("%s; -j %d, medians of %d rounds after one to warm up\n", machine(), jobs, rounds)
	for _, zoo := range []struct {
		name   string
		models int
		width  int64
		depth  int64
	}{{"generated models", models, width, 4}, {"small models", many, 2, 1}} {
		folder := filepath.Join(b.folder, strconv.Itoa(zoo.models))
		if _, err := zootest.Write(folder, zoo.models, zoo.width, zoo.depth); err != nil {
			return err
		}
		_, size, err := size(folder)
		if err != nil {
			return err
		}
		var list []*contestant
		for _, checks := range []string{"none", "parity,algebra"} {
			list = append(list,
				&contestant{name: "here, -verify " + checks, run: func(out string) (ended, error) { return b.fold(folder, out, checks) }},
				&contestant{name: "queue, -verify " + checks, run: func(out string) (ended, error) {
					before := spent()
					r, err := b.fold(folder, out, checks, "-queue", s.ClientURL())
					r.spent += spent() - before
					return r, err
				}})
		}
		if err := b.compete(list, rounds); err != nil {
			return err
		}
		fmt.Printf("\n%-32s %8s %10s %12s\n", fmt.Sprintf("%d %s, %d MB", zoo.models, zoo.name, size/1e6), "seconds", "processor", "throughput")
		for k, c := range list {
			here := list[k-k%2]
			fmt.Printf("%-32s %8.2f %10.2f %12.2f\n", c.name, median(c.took), median(c.spent), median(here.took)/median(c.took))
		}
	}
	return nil
}

// spentBy is the processor time that a process that goes on has taken; 0 where the system does not say.
func spentBy(pid int) time.Duration {
	const ticks = 100 // a second, on every Linux that Go runs on
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(string(fields[11]), 10, 64) // digits
	system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * time.Second / ticks
}
