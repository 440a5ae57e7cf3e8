//go:build linux

package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zoofold/zoofold/gpu/figures"
)

const runtimeLibrary = "libonnxruntime.so"

// steps are all parts of a check: correctness first, then speed.
func (c *checker) steps() []step {
	const s = time.Second
	test := func(name, tests string, limit time.Duration) step {
		return step{name, limit, true, func(ctx context.Context) (string, error) { return c.tests(ctx, tests, limit) }}
	}
	return []step{
		{"the kit", 20 * s, false, c.unpack},
		{"driver and device", 40 * s, false, c.device},
		{"no driver", 20 * s, false, c.withoutDriver},
		{"models on the CPU", 60 * s, false, c.onCPU},
		{"models on the device, same bytes", 60 * s, true, c.sameBytes},
		{"models with -device auto", 30 * s, true, c.auto},
		test("the suite of all backends", "Kernels|ErrorsOfFiles|SmallTensors/Suite|SeveralChunks|Beyond32", 110*s),
		test("large tensors", "LargeTensors", 40*s),
		test("bounds of memory", "BoundsOfDeviceMemory", 30*s),
		test("no memory left behind", "NoMemoryIsLeft", 30*s),
		test("no memory, a lost context", "WithoutMemoryOrContext", 30*s),
		test("a kernel that is stopped", "KernelThatIsStopped", 30*s),
		test("measured: start", "Measure_Start", 30*s),
		test("measured: copies", "Measure_Copies", 20*s),
		test("measured: kernels", "Measure_Kernels", 20*s),
		test("measured: rescaling", "Measure_Rescaling", 45*s),
		test("measured: sums", "Measure_Sums", 20*s),
		test("products, as they are and measured", "Products", 20*s),
		{"measured: folding a zoo", 90 * s, false, c.zoo},
		test("measured: chunks and small tensors", "Measure_Chunks", 45*s),
		{"no memory left by the program", 20 * s, true, c.left},
	}
}

// unpack puts ONNX Runtime's library into a folder from which it can be loaded, which not every temporary folder allows,
// and asks the program for its version.
func (c *checker) unpack(ctx context.Context) (string, error) {
	said := ""
	for _, folder := range []string{c.work, c.out} {
		library := filepath.Join(folder, runtimeLibrary)
		if err := unpacked(filepath.Join(c.kit, "lib", runtimeLibrary+".gz"), library); err != nil {
			return "", err
		}
		e, err := c.must(ctx, []string{"ONNXRUNTIME_LIB=" + library, "ZOOFOLD_LIBCUDA=/nowhere/libcuda.so.1"}, "zoofold", "-version", "-v")
		if err != nil {
			return "", errors.Join(err, os.Remove(library))
		}
		lines := strings.Split(e.text, "\n")
		c.report.Version = strings.TrimPrefix(lines[0], "zoofold ")
		said = c.report.Version + ", " + lines[1]
		if strings.HasPrefix(lines[1], "predictions: ONNX Runtime ") {
			c.library = library
			break
		}
		if err := os.Remove(library); err != nil {
			return "", err
		}
	}
	return said, nil
}

// unpacked unpacks a file.
func unpacked(from, to string) error {
	packed, err := os.Open(from)
	if err != nil {
		return err
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, plain)
	return errors.Join(err, out.Close())
}

// device finds the driver's library and asks it for the device. That there is none is not a failure.
func (c *checker) device(ctx context.Context) (string, error) {
	c.search = absolute(os.Getenv("LD_LIBRARY_PATH"))
	inherited := c.search
	tries := append([]string{""}, drivers()...)
	if named := os.Getenv("ZOOFOLD_LIBCUDA"); named != "" {
		tries = []string{named}
	}
	c.report.Small = true
	var why []string
	for _, path := range tries {
		if c.driver, c.search = path, inherited; path != "" { // the driver loads libraries beside itself
			c.search = strings.Trim(filepath.Dir(path)+":"+inherited, ":")
		}
		of, cancel := context.WithTimeout(ctx, 20*time.Second)
		e, err := c.run(of, []string{"ZOOFOLD_TEST=device", "ZOOFOLD_LIBCUDA=" + path}, "gpu.test")
		cancel()
		if err == nil && e.exit == 0 && json.Unmarshal([]byte(e.text), &c.report.Device) == nil {
			c.report.Small = strings.HasPrefix(c.report.Device.Name, "emulator")
			c.report.Machine.Link = link(c.report.Device.PCI)
			return strings.TrimSpace(fmt.Sprintf("%s, driver %s %s %s", c.report.Device.Name, c.report.Device.Driver, path, c.report.Machine.Link)), nil
		}
		if err != nil {
			why = append(why, err.Error())
		} else {
			why = append(why, last(e.text))
		}
	}
	c.driver, c.search = "", inherited
	if c.report.NoDevice = why[0]; c.report.NoDevice == "" {
		c.report.NoDevice = "no driver"
	}
	return "", notRun{"no driver: " + strings.Join(why, "; ")}
}

// fresh is an empty folder for outputs.
func (c *checker) fresh(name string) string {
	folder := filepath.Join(c.work, name)
	_ = os.RemoveAll(folder) // if that fails, the run reports it
	return folder
}

func (c *checker) models() string { return filepath.Join(c.kit, "models") }

// done checks a run in which every model has to succeed, with whatever proof was possible.
func done(e ended, err error) error {
	const lessProof = 4
	if err == nil && e.exit != 0 && e.exit != lessProof {
		err = fmt.Errorf("zoofold: exit %d: %s", e.exit, last(e.text))
	}
	return err
}

// withoutDriver folds where there is no driver: auto goes on on the CPU, and cuda is refused.
func (c *checker) withoutDriver(ctx context.Context) (string, error) {
	zoo, nowhere := filepath.Join(c.models(), "onnx"), []string{"ZOOFOLD_LIBCUDA=/nowhere/libcuda.so.1"}
	f := folding{zoo: zoo, out: c.fresh("nowhere"), device: "auto", verify: "parity", jobs: 4, env: nowhere}
	e, err := c.fold(ctx, f)
	if err := done(e, err); err != nil {
		return "", err
	}
	if !strings.Contains(e.text, "/nowhere/libcuda.so.1") {
		return "", fmt.Errorf("-device auto does not say that there is no driver: %s", last(e.text))
	}
	f.device, f.out = "cuda", c.fresh("nowhere")
	const wrongUsage = 2
	if e, err = c.fold(ctx, f); err == nil && e.exit != wrongUsage {
		err = fmt.Errorf("-device cuda without a driver: exit %d: %s", e.exit, last(e.text))
	}
	return "auto goes on on the CPU, cuda is refused", err
}

// onCPU folds the kit's models on the CPU with every check.
func (c *checker) onCPU(ctx context.Context) (string, error) {
	out := c.fresh("cpu")
	if err := done(c.fold(ctx, folding{zoo: c.models(), out: out, device: "cpu", verify: "parity,algebra,predictions", jobs: 8})); err != nil {
		return "", err
	}
	n, err := counts(out)
	return fmt.Sprintf("%d folded, %d copied", n["folded"], n["copied"]), err
}

// everything sends every tensor to the device.
const everything = "ZOOFOLD_CUDA_SMALLEST=1"

// sameBytes folds the models on the device and compares them with those of onCPU.
func (c *checker) sameBytes(ctx context.Context) (string, error) {
	said := ""
	for _, jobs := range []int{8, 1} {
		out := c.fresh("cuda")
		e, err := c.fold(ctx, folding{zoo: c.models(), out: out, device: "cuda", verify: "parity", jobs: jobs, env: []string{everything}})
		if err := done(e, err); err != nil {
			return "", err
		}
		if strings.Contains(e.text, "the CPU took over") || strings.Contains(e.text, "emulator: ") {
			return "", fmt.Errorf("the device did not do it: %s", last(e.text))
		}
		outputs, size, err := compare(filepath.Join(c.work, "cpu"), out)
		if err != nil {
			return "", fmt.Errorf("-j %d: %w", jobs, err)
		}
		said = fmt.Sprintf("%d outputs, %d bytes", outputs, size)
		if c.report.Small {
			break
		}
	}
	return said, nil
}

// auto folds the models with -device auto.
func (c *checker) auto(ctx context.Context) (string, error) {
	out := c.fresh("auto")
	e, err := c.fold(ctx, folding{zoo: c.models(), out: out, device: "auto", verify: "parity", jobs: 8})
	if err := done(e, err); err != nil {
		return "", err
	}
	if _, _, err := compare(filepath.Join(c.work, "cpu"), out); err != nil {
		return "", err
	}
	return strings.SplitN(e.text, "\n", 2)[0], nil
}

var (
	passes = regexp.MustCompile(`(?m)^--- PASS`)
	fails  = regexp.MustCompile(`(?m)^ *(--- FAIL.*|.*_test\.go:.*|panic: .*)$`)
	skips  = regexp.MustCompile(`(?m)^--- SKIP`)
)

// quick are the parts of the suite that are fast on the emulator.
const quick = "ItHasAName|SpecialValues|NoFactor|EndOfFile|BadJobs|SpecialSums|ErrorsOfSums"

// tests runs tests of the gpu package, and collects their measurements.
func (c *checker) tests(ctx context.Context, tests string, limit time.Duration) (string, error) {
	path := filepath.Join(c.work, "measured")
	_ = os.Remove(path)
	env := []string{"ZOOFOLD_GPU_FIGURES=" + path, "ZOOFOLD_LIBCUDA=" + c.driver}
	args := []string{"-test.v", "-test.count=1", "-test.timeout", (limit - 2*time.Second).String()}
	if c.report.Small {
		if strings.HasPrefix(tests, "Suite") {
			tests = "Suite/(" + quick + ")"
		}
	} else {
		env = append(env, "ZOOFOLD_GPU_SIZES=card")
	}
	e, err := c.run(ctx, env, "gpu.test", append(args, "-test.run", tests)...)
	if measured, wrong := figures.Read(path); wrong == nil { // measurements before a failure count
		c.report.Figures = append(c.report.Figures, measured...)
	}
	passed, skipped := len(passes.FindAllString(e.text, -1)), len(skips.FindAllString(e.text, -1))
	switch lines := fails.FindAllString(e.text, 6); {
	case err != nil:
		return "", err
	case e.exit != 0 && len(lines) > 0:
		return "", fmt.Errorf("%s", strings.Join(lines, "; "))
	case e.exit != 0:
		return "", fmt.Errorf("exit %d: %s", e.exit, last(e.text))
	case passed == 0 && skipped > 0:
		return "", notRun{last(regexp.MustCompile(`(?m)^    \S+_test\.go:\d+: .*$`).FindString(e.text))}
	case passed == 0:
		return "", errors.New("no test ran")
	}
	said := fmt.Sprintf("%d of %d tests passed", passed, passed+skipped)
	if strings.Contains(e.text, "not everything is measured") {
		said += "; not everything is measured: the time was short"
	}
	return said, nil
}

// zoo folds a zoo of large models, in memory if there is room, on each device and with several numbers of workers, in turn.
func (c *checker) zoo(ctx context.Context) (said string, err error) {
	const least = 1 << 30
	place := ""
	size, memory := int64(0), false
	for _, folder := range []string{"/dev/shm", os.TempDir(), c.out} {
		if has, in := room(folder); place == "" || has > size && (!memory || size < 4*least) {
			place, size, memory = folder, has, in
		}
	}
	// Room for the zoo, two folded ones and some more.
	wanted := int64(8e9)
	if c.report.Small {
		wanted = 2e6
	}
	if wanted = min(wanted, size/4); !c.report.Small && wanted < least {
		return "", notRun{fmt.Sprintf("no room: %d bytes in %s", size, place)}
	}
	folder, err := os.MkdirTemp(place, "gpucheck-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	zoo := filepath.Join(folder, "zoo")
	bytes, models, err := largeZoo(ctx, zoo, wanted)
	if err != nil {
		return "", err
	}
	devices, jobs, rounds := []string{"cpu", "cuda", "auto"}, []int{16, 4, 1}, 3
	var env []string
	if c.report.Small {
		jobs, rounds = []int{2}, 1
		env = []string{"ZOOFOLD_CUDA_SMALLEST=65536"}
	}
	if c.report.NoDevice != "" {
		devices = devices[:1]
	}
	took := map[figures.Figure][]ended{}
	var order []figures.Figure
	defer func() { c.report.Figures = append(c.report.Figures, medians(order, took)...) }()
	started := time.Now()
	for round := range rounds {
		if end, limited := ctx.Deadline(); round > 0 && limited && time.Until(end) < time.Since(started)/time.Duration(round) {
			break // another round would be cut off
		}
		for _, j := range jobs {
			for _, device := range devices {
				for _, verify := range []string{"none", "parity"} {
					if verify == "parity" && j != jobs[0] {
						continue
					}
					out := filepath.Join(folder, verify+"-"+device)
					e, err := c.fold(ctx, folding{zoo: zoo, out: out, device: device, verify: verify, jobs: j, env: env})
					if err := done(e, err); err != nil {
						if round > 0 && ctx.Err() != nil {
							return said + ", stopped in a later round", nil
						}
						return "", err
					}
					f := figures.Figure{What: "zoo folded with -verify " + verify, Where: "-device " + device, Jobs: j, Bytes: bytes}
					if took[f] == nil {
						order = append(order, f)
					}
					took[f] = append(took[f], e)
					if verify == "none" && j == jobs[0] && round == 0 && device != "cpu" {
						if _, _, err := compare(filepath.Join(folder, "none-cpu"), out); err != nil {
							return "", fmt.Errorf("-device %s: %w", device, err)
						}
					}
					if device == "cpu" && verify == "none" && j == jobs[0] && round == 0 {
						continue // needed for the comparison
					}
					if err := os.RemoveAll(out); err != nil {
						return "", err
					}
				}
			}
		}
		said = fmt.Sprintf("%d models, %.1f GB in %s, in memory: %v; %d rounds", models, float64(bytes)/1e9, place, memory, round+1)
	}
	return said, nil
}

// medians are the figures of runs, each beside that of -device cpu with as many workers.
func medians(order []figures.Figure, took map[figures.Figure][]ended) (list []figures.Figure) {
	for _, key := range order {
		var wall, cpu []float64
		for _, e := range took[key] {
			wall, cpu = append(wall, e.seconds), append(cpu, e.cpu)
		}
		slices.Sort(wall)
		slices.Sort(cpu)
		f := key
		f.Rounds, f.Seconds, f.CPU = len(wall), wall[len(wall)/2], cpu[len(cpu)/2]
		f.Rate = float64(f.Bytes) / 1e9 / f.Seconds
		for _, other := range list {
			if other.What == f.What && other.Jobs == f.Jobs && other.Where == "-device cpu" {
				f.Of, f.Ratio = other.Where, f.Rate/other.Rate
			}
		}
		list = append(list, f)
	}
	return list
}

// left asks the driver at the end for the memory that is free, which the first step asked for too.
func (c *checker) left(ctx context.Context) (string, error) {
	e, err := c.must(ctx, []string{"ZOOFOLD_TEST=device", "ZOOFOLD_LIBCUDA=" + c.driver}, "gpu.test")
	if err != nil {
		return "", err
	}
	var now figures.Device
	if err := json.Unmarshal([]byte(e.text), &now); err != nil {
		return "", err
	}
	const slack = 64 << 20 // other processes on the device
	if before := c.report.Device.Free; now.Free < before-slack {
		return "", fmt.Errorf("%d bytes of the device are free, %d were at the beginning", now.Free, before)
	}
	return fmt.Sprintf("%d bytes of the device are free, %d were at the beginning", now.Free, c.report.Device.Free), nil
}
