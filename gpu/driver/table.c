//go:build cuda

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// The results that the stubs give; see CUresult in NVIDIA's header.
enum { success = 0, stub_library = 34 };

static int absent(void) { return stub_library; }
static int absent_init(unsigned flags) { return success; } // gorgonia.org/cu ends the program if its cuInit fails
static int absent_count(int *count) { *count = 0; return success; }

static const char *const names[] = {
#define NAME(n) #n,
#include "names.h"
#undef NAME
};

enum { count = sizeof names / sizeof names[0] };

void *zoofold_cuda_table[count] = {
#define NAME(n) (void *)absent,
#include "names.h"
#undef NAME
};

static int (*host_alloc)(void **, size_t, unsigned);

static void set(const char *name, void *function) {
	for (int k = 0; k < count; k++) {
		if (strcmp(names[k], name) == 0) {
			zoofold_cuda_table[k] = function;
		}
	}
}

__attribute__((constructor)) static void stubs(void) {
	set("cuInit", (void *)absent_init);
	set("cuDeviceGetCount", (void *)absent_count);
}

static void *library;

// zoofold_cuda_find opens a driver library that has what is needed, and starts nothing. On failure why is said.
int zoofold_cuda_find(const char *path, char *why, size_t room) {
	void *found = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (found == NULL) {
		snprintf(why, room, "%s", dlerror());
		return 0;
	}
	static const char *const needed[] = {
		"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuCtxCreate_v2", "cuCtxDestroy_v2",
		"cuCtxSetCurrent", "cuModuleLoadDataEx", "cuModuleGetFunction", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemGetInfo_v2",
		"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuLaunchKernel", "cuStreamCreate", "cuStreamSynchronize",
		"cuStreamDestroy_v2", "cuMemHostAlloc", "cuMemFreeHost",
	};
	for (size_t k = 0; k < sizeof needed / sizeof needed[0]; k++) {
		if (dlsym(found, needed[k]) == NULL) {
			snprintf(why, room, "%s has no %s", path, needed[k]);
			dlclose(found);
			return 0;
		}
	}
	library = found;
	return 1;
}

// zoofold_cuda_start starts the driver that was found, and points the table at it. On failure the stubs stay, and why is said.
int zoofold_cuda_start(int *version, char *why, size_t room) {
	int (*init)(unsigned) = (int (*)(unsigned))dlsym(library, "cuInit");
	int (*get_version)(int *) = (int (*)(int *))dlsym(library, "cuDriverGetVersion");
	int (*error_string)(int, const char **) = (int (*)(int, const char **))dlsym(library, "cuGetErrorString");
	get_version(version);
	int result = init(0);
	if (result != success) {
		const char *text = NULL;
		if (error_string != NULL) {
			error_string(result, &text);
		}
		snprintf(why, room, "driver %d.%d found, but cuInit: %s (error %d)", *version / 1000, *version % 1000 / 10, text ? text : "it failed", result);
		return 0;
	}
	for (int k = 0; k < count; k++) {
		void *function = dlsym(library, names[k]);
		if (function != NULL) {
			zoofold_cuda_table[k] = function;
		}
	}
	host_alloc = (int (*)(void **, size_t, unsigned))dlsym(library, "cuMemHostAlloc");
	return 1;
}

// zoofold_cuda_pinned allocates host memory that the device copies from and to directly.
int zoofold_cuda_pinned(void **p, size_t bytes) {
	return host_alloc == NULL ? stub_library : host_alloc(p, bytes, 0);
}
