// A libcuda.so.1 for tests: the calls of NVIDIA's driver that zoofold makes, over an interpreter of the PTX that it ships.
// It is stricter than a GPU: work on a stream waits until something synchronises; pinned memory is read and written only
// then; what a context still has when it is given back is told on standard error; an access out of bounds, misaligned, to freed memory, to another context's or to bytes that nobody wrote is an
// error; unknown PTX is an error that names the line.
//
// ZOOFOLD_EMULATOR says what there is, and plants faults: "name=n", separated by commas. devices=n and memory=BYTES of each;
// others=1: whoever waits for a stream waits until all work on the others is done first, as may happen on a GPU;
// init=CODE is what cuInit gives. Of events, counted from 1 on, n or n+, which is the n-th and all that follow: context (it
// cannot be made), alloc (an allocation on a device finds no memory), pinned (one on the host), launch (it fails, and the
// context with it), lost (the device is lost at a synchronisation), flip (a copy from the device has one bit wrong).
// ZOOFOLD_EMULATOR_COVERAGE names a file to which the PTX lines that were executed are added.

#include <cstdio>
#include <functional>
#include <iterator>
#include <mutex>
#include <set>

#include "ptx.h"

typedef int CUresult;
enum {
	SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
	INVALID_PTX = 218, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719
};

typedef std::lock_guard<std::recursive_mutex> Guard;
static std::recursive_mutex lock;

// settings are the values that ZOOFOLD_EMULATOR has for a name.
static std::vector<std::string> settings(const std::string &name) {
	const char *text = getenv("ZOOFOLD_EMULATOR");
	std::vector<std::string> values;
	for (const std::string &part : split(text ? text : "", ',')) {
		if (part.compare(0, name.size() + 1, name + "=") == 0) values.push_back(part.substr(name.size() + 1));
	}
	return values;
}
static long setting(const char *name, long otherwise) {
	auto values = settings(name);
	return values.empty() ? otherwise : atol(values[0].c_str());
}
// fails counts an event, and says whether a fault is planted there.
static bool fails(const char *event) {
	static std::map<std::string, int> counts;
	int count = ++counts[event];
	for (const std::string &value : settings(event)) {
		int n = atoi(value.c_str());
		if (count == n || (count > n && value.back() == '+')) return true;
	}
	return false;
}

// Streams hold work until something waits for it.
struct Stream {
	std::vector<std::function<void()>> work;
};
struct Context {
	int device;
	CUresult dead = SUCCESS; // the error that ended it
	std::set<Stream *> streams;
	std::vector<std::unique_ptr<Module>> modules;
};
static std::set<Context *> contexts;
struct Pinned {
	size_t bytes;
	Context *context;
};
static std::map<void *, Pinned> pinned;
static thread_local Context *current = nullptr;

static size_t device_memory() { return setting("memory", 256 << 20); }
static size_t used(int device) {
	size_t n = 0;
	for (auto &b : blocks) n += ((Context *)b.second.context)->device == device ? b.second.bytes.size() : 0;
	return n;
}

static bool is_pinned(const void *p, size_t n) {
	for (auto &b : pinned) {
		if ((const char *)p >= (char *)b.first && (const char *)p + n <= (char *)b.first + b.second.bytes) return true;
	}
	return false;
}

static CUresult finish(Context *c, Stream *s) {
	if (c->dead) return c->dead;
	std::vector<std::function<void()>> work;
	auto take = [&work](Stream *s) {
		std::move(s->work.begin(), s->work.end(), std::back_inserter(work));
		s->work.clear();
	};
	if (setting("others", 0)) {
		for (Stream *other : c->streams) {
			if (other != s) take(other);
		}
	}
	take(s);
	if (fails("lost")) return c->dead = ILLEGAL_ADDRESS;
	running = c;
	try {
		for (auto &w : work) w();
	} catch (const std::runtime_error &e) {
		fprintf(stderr, "emulator: %s\n", e.what());
		return c->dead = ILLEGAL_ADDRESS;
	}
	return SUCCESS;
}

static void report_coverage(Module *m) {
	const char *path = getenv("ZOOFOLD_EMULATOR_COVERAGE");
	if (path == nullptr) return;
	FILE *out = fopen(path, "a");
	if (out == nullptr) return;
	fprintf(out, "total %d\n", m->total);
	for (auto &f : m->functions) {
		for (Instruction &i : f.second->code) {
			if (i.covered && !i.reported) fprintf(out, "%d\n", i.line), i.reported = true;
		}
	}
	fclose(out);
}

static void launch(Function *f, const std::vector<uint64_t> &parameters, unsigned grid, unsigned block) {
	std::vector<uint64_t> registers(f->registers);
	for (unsigned b = 0; b < grid; b++) {
		for (unsigned t = 0; t < block; t++) {
			std::fill(registers.begin(), registers.end(), 0);
			Thread thread{*f, parameters, {t, block, b, grid}, registers};
			thread.run();
		}
	}
	report_coverage(f->module);
}

#define API extern "C" __attribute__((visibility("default"))) CUresult
#define ALIVE                                             \
	Guard guard(lock);                                    \
	if (!contexts.count(current)) return INVALID_CONTEXT; \
	if (current->dead) return current->dead;

API cuInit(unsigned) { return (CUresult)setting("init", SUCCESS); }
API cuDriverGetVersion(int *v) { *v = 12090; return SUCCESS; }
API cuGetErrorString(int e, const char **s) { *s = e == NO_DEVICE ? "no CUDA-capable device is detected" : "an error of the emulator"; return SUCCESS; }
API cuDeviceGetCount(int *n) { *n = (int)setting("devices", 1); return SUCCESS; }
API cuDeviceGet(int *d, int k) { *d = k; return k >= 0 && k < (int)setting("devices", 1) ? SUCCESS : INVALID_DEVICE; }
API cuDeviceGetAttribute(int *v, int attribute, int) {
	const int multiprocessor_count = 16;
	*v = 1; // so that a thread does several vectors of a small tensor already
	return attribute == multiprocessor_count ? SUCCESS : (CUresult)INVALID_VALUE;
}
API cuDeviceGetName(char *name, int room, int d) { snprintf(name, room, "emulator %d", d); return SUCCESS; }

API cuCtxCreate_v2(Context **c, unsigned, int device) {
	Guard guard(lock);
	if (fails("context")) return OUT_OF_MEMORY;
	current = *c = new Context;
	current->device = device;
	contexts.insert(current);
	return SUCCESS;
}
API cuCtxDestroy_v2(Context *c) {
	Guard guard(lock);
	if (!contexts.erase(c)) return INVALID_CONTEXT;
	size_t streams = c->streams.size(), memory = 0, host = 0;
	for (Stream *s : c->streams) delete s;
	c->modules.clear();
	for (auto b = blocks.begin(); b != blocks.end();) {
		bool mine = b->second.context == c;
		memory += mine, b = mine ? blocks.erase(b) : std::next(b);
	}
	for (auto p = pinned.begin(); p != pinned.end();) {
		bool mine = p->second.context == c;
		if (mine) host++, free(p->first);
		p = mine ? pinned.erase(p) : std::next(p);
	}
	if (!c->dead && streams + memory + host > 0) {
		fprintf(stderr, "emulator: a context ends with %zu streams, %zu allocations and %zu of pinned memory\n", streams, memory, host);
	}
	return SUCCESS; // c stays, so that no later context is taken for it
}
API cuCtxSetCurrent(Context *c) {
	Guard guard(lock);
	if (!contexts.count(c)) return INVALID_CONTEXT;
	current = c;
	return SUCCESS;
}
API cuCtxGetCurrent(Context **c) { *c = current; return SUCCESS; }
API cuCtxSynchronize() {
	ALIVE
	for (Stream *s : current->streams) {
		if (CUresult r = finish(current, s)) return r;
	}
	return SUCCESS;
}

API cuModuleLoadDataEx(Module **m, const void *image, unsigned, int *, void **) {
	ALIVE
	auto fresh = std::make_unique<Module>();
	try {
		Parser{fresh.get()}.parse((const char *)image);
	} catch (const std::runtime_error &e) {
		fprintf(stderr, "emulator: %s\n", e.what());
		return INVALID_PTX;
	}
	*m = fresh.get();
	current->modules.push_back(std::move(fresh));
	return SUCCESS;
}
API cuModuleGetFunction(Function **f, Module *m, const char *name) {
	ALIVE
	auto at = m->functions.find(name);
	if (at == m->functions.end()) return NOT_FOUND;
	*f = at->second.get();
	return SUCCESS;
}

API cuMemAlloc_v2(uint64_t *p, size_t n) {
	ALIVE
	static uint64_t next_address = 0x700000000000;
	if (fails("alloc") || n > device_memory() - used(current->device)) return OUT_OF_MEMORY;
	*p = next_address;
	next_address += (n + 4095) / 4096 * 4096 + 4096;
	Block &b = blocks[*p];
	b.context = current, b.bytes.assign(n, 0xa5), b.written.assign(n, 0);
	return SUCCESS;
}
API cuMemFree_v2(uint64_t p) {
	Guard guard(lock);
	auto at = blocks.find(p);
	if (at == blocks.end() || at->second.context != current) return INVALID_VALUE;
	blocks.erase(at);
	return SUCCESS;
}
API cuMemGetInfo_v2(size_t *free, size_t *total) {
	ALIVE
	*total = device_memory(), *free = *total - used(current->device);
	return SUCCESS;
}
API cuMemHostAlloc(void **p, size_t n, unsigned) {
	ALIVE
	if (fails("pinned")) return OUT_OF_MEMORY;
	*p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);
	pinned[*p] = {n, current};
	return SUCCESS;
}
API cuMemFreeHost(void *p) {
	Guard guard(lock);
	auto at = pinned.find(p);
	if (at == pinned.end() || at->second.context != current) return INVALID_VALUE;
	pinned.erase(at);
	free(p);
	return SUCCESS;
}

API cuStreamCreate(Stream **s, unsigned) {
	ALIVE
	*s = new Stream;
	current->streams.insert(*s);
	return SUCCESS;
}
API cuStreamDestroy_v2(Stream *s) {
	Guard guard(lock);
	if (current != nullptr && current->streams.erase(s)) delete s;
	return SUCCESS;
}
API cuStreamSynchronize(Stream *s) {
	ALIVE
	return current->streams.count(s) ? finish(current, s) : (CUresult)INVALID_HANDLE;
}

API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, Stream *s) {
	ALIVE
	if (!current->streams.count(s)) return INVALID_HANDLE;
	if (is_pinned(from, n)) {
		s->work.push_back([=] { memcpy(reach(to, n, true, true), from, n); });
	} else { // the driver takes a copy of pageable memory before it returns
		auto copy = std::make_shared<std::vector<uint8_t>>((const uint8_t *)from, (const uint8_t *)from + n);
		s->work.push_back([=] { memcpy(reach(to, n, true, true), copy->data(), n); });
	}
	return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, Stream *s) {
	ALIVE
	if (!current->streams.count(s)) return INVALID_HANDLE;
	bool flip = fails("flip");
	s->work.push_back([=] { memcpy(to, reach(from, n, false, true), n), *(uint8_t *)to ^= flip; });
	return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, Stream *s) {
	ALIVE
	if (!current->streams.count(s)) return INVALID_HANDLE;
	s->work.push_back([=] { memcpy(reach(to, n, true, true), reach(from, n, false, true), n); });
	return SUCCESS;
}

API cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, Stream *s, void **p, void **) {
	ALIVE
	if (!current->streams.count(s)) return INVALID_HANDLE;
	if (gx == 0 || gy != 1 || gz != 1 || bx == 0 || bx > 1024 || by != 1 || bz != 1) return INVALID_VALUE;
	if (fails("launch")) return current->dead = LAUNCH_FAILED;
	std::vector<uint64_t> parameters;
	for (int k = 0; k < f->parameters; k++) parameters.push_back(*(uint64_t *)p[k]);
	s->work.push_back([=] { launch(f, parameters, gx, bx); });
	return SUCCESS;
}
