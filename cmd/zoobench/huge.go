package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// huge measures one model with that many GB of external data, and one with a tenth of a GB, by time per byte and memory,
// beside cp -r of the same: a disk takes longer for a byte once the page cache is full.
func (b *bench) huge(gb float64) error {
	fmt.Printf("\n%-32s %8s %10s %8s %12s\n", "one model with external data", "seconds", "processor", "GB/s", "peak memory")
	zoo, out := filepath.Join(b.folder, "huge"), filepath.Join(b.folder, "out")
	for _, size := range []float64{0.1, gb} {
		bytes, err := zootest.WriteHuge(zoo, int64(size*1e9))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
		timed := func(what string, run func() (ended, error)) error {
			syscall.Sync()
			started := time.Now()
			r, err := run()
			if err != nil {
				return err
			}
			syscall.Sync()
			took, peak := time.Since(started).Seconds(), ""
			if r.PeakMemory > 0 {
				peak = fmt.Sprintf(" %8d MiB", r.PeakMemory>>20)
			}
			fmt.Printf("%-32s %8.2f %10.2f %8.2f%s\n", name+", "+what, took, r.spent.Seconds(), float64(bytes)/1e9/took, peak)
			return os.RemoveAll(out)
		}
		if err := timed("cp -r", func() (ended, error) { return b.command("cp", "-r", zoo, out) }); err != nil {
			return err
		}
		for _, checks := range []string{"none", "parity"} {
			if err := timed("zoofold -verify "+checks, func() (ended, error) { return b.fold(zoo, out, checks) }); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(zoo); err != nil {
			return err
		}
	}
	return nil
}
