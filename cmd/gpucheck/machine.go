//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/zoofold/zoofold/gpu/figures"
)

// machine describes this machine, as far as the kernel tells.
func machine() figures.Machine {
	m := figures.Machine{System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU()}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += ", kernel " + strings.TrimSpace(string(release))
	}
	m.Processor = field("/proc/cpuinfo", "model name")
	m.Memory = kib(field("/proc/meminfo", "MemTotal"))
	return m
}

// field is the text behind "name:" in a file of /proc.
func field(path, name string) string {
	text, _ := os.ReadFile(path) // the field is empty if the file cannot be read
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kib(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(s, "kB")), 10, 64)
	return n << 10
}

// link is the PCI Express link of a device, as the kernel tells it.
func link(pci string) string {
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join("/sys/bus/pci/devices", strings.ToLower(pci), name))
		return string(bytes.TrimSpace(text))
	}
	if read("current_link_width") == "" {
		return ""
	}
	return fmt.Sprintf("%s x%s, at most %s x%s (an idle device may lower its link)",
		read("current_link_speed"), read("current_link_width"), read("max_link_speed"), read("max_link_width"))
}

// room is how many bytes may be written below a folder, and whether they stay in memory.
func room(folder string) (bytes int64, memory bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, false
	}
	bytes = int64(s.Bavail) * s.Bsize
	const tmpfs = 0x01021994
	if memory = s.Type == tmpfs; memory {
		bytes = min(bytes, kib(field("/proc/meminfo", "MemAvailable")))
	}
	return bytes, memory
}

// drivers are paths of the driver's library that the dynamic linker does not search.
func drivers() (paths []string) {
	folders := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	folders = append(folders, "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib", "/run/opengl-driver/lib",
		"/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/lib64/nvidia", "/opt/nvidia/lib64", "/home/kubernetes/bin/nvidia/lib64")
	for _, folder := range folders {
		for _, name := range []string{"libcuda.so.1", "libcuda.so"} {
			if path := filepath.Join(folder, name); filepath.IsAbs(folder) {
				if _, err := os.Stat(path); err == nil {
					paths = append(paths, path)
				}
			}
		}
	}
	return paths
}

// absolute are the elements of a search path that zoofold accepts: the absolute ones.
func absolute(path string) string {
	var kept []string
	for _, folder := range filepath.SplitList(path) {
		if filepath.IsAbs(folder) {
			kept = append(kept, folder)
		}
	}
	return strings.Join(kept, ":")
}
