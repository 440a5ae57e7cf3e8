// Package figures holds measurements on a machine with a GPU: Figures, which the measuring programs append to a file, and
// the Report that is made of them.
package figures

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Figure is one measurement: the median of Rounds. Fields that do not apply are empty.
type Figure struct {
	What    string  `json:"what"`             // "rescale", "copy to the device"
	Where   string  `json:"where,omitempty"`  // "cuda", "cpu, 16 workers", "auto"
	Type    string  `json:"type,omitempty"`   // of the elements: "float32"
	Axis    string  `json:"axis,omitempty"`   // of the channels: "first" or "last"
	Bytes   int64   `json:"bytes,omitempty"`  // of the tensor, the copy or the zoo
	Chunk   int64   `json:"chunk,omitempty"`  // bytes of a tensor that are sent at a time
	Jobs    int     `json:"jobs,omitempty"`   // models that are folded at once: -j
	Rounds  int     `json:"rounds,omitempty"` // rounds, of which Seconds is the median
	Seconds float64 `json:"seconds,omitempty"`
	CPU     float64 `json:"cpu_seconds,omitempty"` // processor time
	Rate    float64 `json:"gbps,omitempty"`        // 10^9 bytes a second, a tensor's bytes counted once
	Of      string  `json:"of,omitempty"`          // the limit that Ratio is of
	Ratio   float64 `json:"ratio,omitempty"`       // of Rate and that of the limit, both measured in this run
}

// Append adds figures to the end of a file, a line of JSON each, so that they survive a later crash.
func Append(path string, list ...Figure) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	w := json.NewEncoder(f)
	for _, one := range list {
		err = errors.Join(err, w.Encode(one))
	}
	return errors.Join(err, f.Close())
}

// Read reads the figures in a file. An incomplete last line is skipped.
func Read(path string) (list []Figure, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var one Figure
		if err := json.Unmarshal(line, &one); err != nil {
			return list, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, one)
	}
	return list, nil
}

// Median runs f until that many rounds are done, or the time is spent, at least once, and returns the median of how long it
// took, in seconds, and the rounds.
func Median(rounds int, spend time.Duration, f func() error) (seconds float64, done int, err error) {
	var took []float64
	for started := time.Now(); len(took) == 0 || len(took) < rounds && time.Since(started) < spend; {
		t := time.Now()
		if err := f(); err != nil {
			return 0, len(took), err
		}
		took = append(took, time.Since(t).Seconds())
	}
	slices.Sort(took)
	return took[len(took)/2], len(took), nil
}

// Device is what a driver reports about a device; 0 or "" where it reports nothing.
type Device struct {
	Name          string `json:"name"`
	Driver        string `json:"driver"`
	Capability    string `json:"compute_capability,omitempty"`
	Memory        int64  `json:"memory,omitempty"` // bytes
	Free          int64  `json:"free,omitempty"`   // of them
	Processors    int    `json:"multiprocessors,omitempty"`
	Clock         int    `json:"clock_khz,omitempty"`
	MemoryClock   int    `json:"memory_clock_khz,omitempty"`
	MemoryBus     int    `json:"memory_bus_bits,omitempty"`
	CopyEngines   int    `json:"copy_engines,omitempty"`
	KernelTimeout bool   `json:"kernel_timeout,omitempty"` // kernels have a time limit
	PCI           string `json:"pci,omitempty"`            // 0000:1b:00.0
}

// Bandwidth is the device memory's theoretical bandwidth by clock and bus width, with two transfers a clock, in 10^9 bytes
// a second.
func (d Device) Bandwidth() float64 {
	return float64(d.MemoryClock) * 1e3 * 2 * float64(d.MemoryBus) / 8 / 1e9
}

// Machine describes the machine of the measurements.
type Machine struct {
	System    string `json:"system"` // kernel and architecture
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Memory    int64  `json:"memory"` // bytes
	Link      string `json:"link"`   // the device's PCI Express link, as the kernel tells it; "" if it does not
}

// Step is one part of a check.
type Step struct {
	Name    string  `json:"name"`
	Result  string  `json:"result"` // Passed, Failed or NotRun
	Said    string  `json:"said,omitempty"`
	Seconds float64 `json:"seconds"`
}

// The results of a step.
const (
	Passed = "passed"
	Failed = "failed"
	NotRun = "not run"
)

// Report is the result of a check.
type Report struct {
	Version  string    `json:"version"` // of zoofold
	Time     time.Time `json:"time"`
	Small    bool      `json:"small"`     // sizes for the emulator: the figures say nothing about a GPU
	NoDevice string    `json:"no_device"` // why there is none; "" if there is one
	Machine  Machine   `json:"machine"`
	Device   Device    `json:"device"`
	Steps    []Step    `json:"steps"`
	Targets  []Target  `json:"targets"`
	Advice   []string  `json:"advice"` // what the sweep suggests as sizes that are worth sending
	Figures  []Figure  `json:"figures"`
}
