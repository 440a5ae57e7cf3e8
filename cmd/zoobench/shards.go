package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// shards measures one sharded checkpoint of that many GB beside cp -r, in turn, by time and memory: 64 MiB and 16 MiB for
// each worker are what there may be.
func shards(program string, gb float64, rounds int) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "zoobench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	zoo, out := filepath.Join(folder, "zoo"), filepath.Join(folder, "out")
	bytes, err := zootest.WriteHugeCheckpoint(zoo, int64(gb*1e9))
	if err != nil {
		return err
	}
	list := []*contestant{{name: "cp -r", run: func(out string) (ended, error) {
		return (&bench{folder, program, 1}).command("cp", "-r", zoo, out)
	}}}
	limits := []int64{0}
	for _, jobs := range []int{1, 2} {
		for _, checks := range []string{"none", "parity", "parity,algebra"} {
			b := &bench{folder, program, jobs}
			list = append(list, &contestant{name: fmt.Sprintf("zoofold -j %d -verify %s", jobs, checks), run: func(out string) (ended, error) { return b.fold(zoo, out, checks) }})
			limits = append(limits, 64+16*int64(jobs))
		}
	}
	for round := range rounds + 1 {
		for _, c := range list {
			started := time.Now()
			r, err := c.run(out)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			syscall.Sync()
			if round > 0 || rounds == 0 {
				c.took = append(c.took, time.Since(started).Seconds())
			}
			c.spent, c.peak = append(c.spent, r.spent.Seconds()), max(c.peak, r.PeakMemory)
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%s\n\n%-36s %8s %10s %8s %8s %16s\n", machine(), fmt.Sprintf("one checkpoint in shards, %.1f GB", float64(bytes)/1e9), "seconds", "processor", "GB/s", "x cp -r", "peak, of MiB")
	for k, c := range list {
		peak := ""
		if c.peak > 0 {
			peak = fmt.Sprintf("%d of %d", c.peak>>20, limits[k])
		}
		t := median(c.took)
		fmt.Printf("%-36s %8.2f %10.2f %8.2f %8.2f %16s\n", c.name, t, slices.Max(c.spent), float64(bytes)/1e9/t, t/median(list[0].took), peak)
	}
	return nil
}
