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
		syscall.Sync()
		started := time.Now()
		copied, err := b.command("cp", "-r", zoo, out)
		if err != nil {
			return err
		}
		syscall.Sync()
		took := time.Since(started).Seconds()
		fmt.Printf("%-32s %8.2f %10.2f %8.2f\n", name+", cp -r", took, copied.spent.Seconds(), float64(bytes)/1e9/took)
		if err := os.RemoveAll(out); err != nil {
			return err
		}
		for _, checks := range []string{"none", "parity"} {
			syscall.Sync()
			started := time.Now()
			r, err := b.fold(zoo, out, checks)
			if err != nil {
				return err
			}
			syscall.Sync()
			took := time.Since(started).Seconds()
			fmt.Printf("%-32s %8.2f %10.2f %8.2f %8d MiB\n", name+", zoofold -verify "+checks, took, r.spent.Seconds(), float64(bytes)/1e9/took, r.PeakMemory>>20)
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(zoo); err != nil {
			return err
		}
	}
	return nil
}
