package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// shards measures one sharded checkpoint of that many GB beside cp -r, in turn, by time and memory: the limit is 64 MiB
// plus 16 MiB for each worker. It takes twice that much of the disk, of the folder for temporary files (TMPDIR).
func shards(ctx context.Context, program string, gb float64, rounds int) error {
	cp, err := newBench(ctx, program, 1)
	if err != nil {
		return err
	}
	defer cp.close()
	zoo := filepath.Join(cp.folder, "zoo")
	bytes, err := zootest.WriteHugeCheckpoint(zoo, int64(gb*1e9))
	if err != nil {
		return err
	}
	list := []*contestant{{name: "cp -r", run: func(out string) (ended, error) {
		return cp.command("cp", "-r", zoo, out)
	}}}
	limits := []int64{0}
	for _, jobs := range []int{1, 2} {
		for _, checks := range []string{"none", "parity", "parity,algebra"} {
			b := &bench{ctx, cp.folder, cp.program, jobs}
			list = append(list, &contestant{name: fmt.Sprintf("zoofold -j %d -verify %s", jobs, checks), run: func(out string) (ended, error) { return b.fold(zoo, out, checks) }})
			limits = append(limits, 64+16*int64(jobs))
		}
	}
	if err := cp.compete(list, rounds); err != nil {
		return err
	}
	fmt.Printf("%s\n\n%-36s %8s %10s %8s %8s %16s\n", machine(), fmt.Sprintf("one checkpoint in shards, %.1f GB", float64(bytes)/1e9), "seconds", "processor", "GB/s", "x cp -r", "peak, of MiB")
	for k, c := range list {
		peak := ""
		if c.peak > 0 {
			peak = fmt.Sprintf("%d of %d", c.peak>>20, limits[k])
		}
		t := median(c.took)
		fmt.Printf("%-36s %8.2f %10.2f %8.2f %8.2f %16s\n", c.name, t, median(c.spent), float64(bytes)/1e9/t, t/median(list[0].took), peak)
	}
	return nil
}
