//go:build cuda && linux && amd64 && cgo

// Package driver lets a program that links gorgonia.org/cu start on machines without a GPU. The functions of NVIDIA's
// driver that cu refers to are jumps through a table of stubs; Load opens the real driver, if there is one, and points
// the table at it.
package driver

//go:generate go run generate.go

// #cgo LDFLAGS: -L${SRCDIR}/lib -ldl
// #include <stdlib.h>
// int zoofold_cuda_find(const char *path, char *why, size_t room);
// int zoofold_cuda_start(int *version, char *why, size_t room);
// int zoofold_cuda_pinned(void **p, size_t bytes);
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// ErrAbsent says that there is no driver that works.
var ErrAbsent = errors.New("no CUDA")

// Library is the driver's library: the file that ZOOFOLD_LIBCUDA names, or libcuda.so.1, wherever the dynamic linker has
// it. It is an error if the linker would search the working directory, for the library or for those that it loads in turn:
// anyone may have put a file there.
func Library() (string, error) {
	if meansWorkingDirectory(os.Getenv("LD_LIBRARY_PATH")) {
		return "", fmt.Errorf("%w: not looked for: LD_LIBRARY_PATH has a relative or empty element, which means the current folder", ErrAbsent)
	}
	name := os.Getenv("ZOOFOLD_LIBCUDA")
	if name == "" {
		return "libcuda.so.1", nil
	}
	path, err := filepath.Abs(name) // the linker searches for a bare name, and this is a file
	if err != nil {
		return "", fmt.Errorf("%w: ZOOFOLD_LIBCUDA: %w", ErrAbsent, err)
	}
	return path, nil
}

// meansWorkingDirectory says whether a search path of the dynamic linker has an element that is not absolute. An empty path
// is none at all.
func meansWorkingDirectory(path string) bool {
	folders := strings.Split(strings.ReplaceAll(path, ";", ":"), ":")
	return path != "" && slices.ContainsFunc(folders, func(folder string) bool { return !strings.HasPrefix(folder, "/") })
}

const room = 512 // for why

// find and load are done once: a driver cannot be unloaded.
var find = sync.OnceValue(func() error {
	name, err := Library()
	if err != nil {
		return err
	}
	path := C.CString(name)
	defer C.free(unsafe.Pointer(path))
	why := (*C.char)(C.malloc(room))
	defer C.free(unsafe.Pointer(why))
	if C.zoofold_cuda_find(path, why, room) == 0 {
		return fmt.Errorf("%w: %s", ErrAbsent, C.GoString(why))
	}
	return nil
})

var load = sync.OnceValues(func() (version int, err error) {
	if err := find(); err != nil {
		return 0, err
	}
	why := (*C.char)(C.malloc(room))
	defer C.free(unsafe.Pointer(why))
	var v C.int
	if C.zoofold_cuda_start(&v, why, room) == 0 {
		return int(v), fmt.Errorf("%w: %s", ErrAbsent, C.GoString(why))
	}
	return int(v), nil
})

// Find opens libcuda.so.1, or the library that ZOOFOLD_LIBCUDA names, without starting the driver, which takes long.
func Find() error { return find() }

// Load finds the driver and starts it. version is 12090 for 12.9. Until it succeeds every driver function fails, and the
// number of devices is 0.
func Load() (version int, err error) { return load() }

// Pinned allocates host memory that the device copies from and to directly. It is freed by cu.MemFreeHost.
func Pinned(bytes int) (unsafe.Pointer, error) {
	var p unsafe.Pointer
	switch result := C.zoofold_cuda_pinned(&p, C.size_t(bytes)); {
	case result == C.int(cu.OutOfMemory):
		return nil, fmt.Errorf("%d bytes: %w", bytes, cu.OutOfMemory)
	case result != 0:
		return nil, fmt.Errorf("%d bytes: CUDA error %d", bytes, int(result))
	}
	return p, nil
}
