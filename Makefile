# make demo and make test are all that a newcomer needs; both work on a fresh clone with Go and Python 3.
GO      ?= go
CACHE   := .cache
PYTHON  := $(CACHE)/venv/bin/python
VERSION := 0.1.0
LDFLAGS := -s -w -buildid= -X main.released=$(VERSION)
FUZZTIME ?= 10s

# What make fetched is named: the program itself looks for no library in the current folder. A user's own goes first.
ONNXRUNTIME_LIB ?= $(abspath $(firstword $(shell ls $(CACHE)/onnxruntime/libonnxruntime* 2>/dev/null)))
export ONNXRUNTIME_LIB

.PHONY: modern build header emulator kernels mutants gpu-kit gpu-check networks demo test bench fuzz lint conformance compare torch man install dist soak scale fetch clean help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# On linux/amd64 the program is built with CUDA in it, if its header is there: a toolkit's, or the one that make fetches.
# zoofold-buckets is the same program with the drivers of buckets: zoofold gives way to it for zoos in buckets.
build: $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),header) ## bin/zoofold and bin/zoofold-buckets
	@include=$(if $(CUDA_HOME),$(CUDA_HOME)/include,$(abspath $(CACHE)/cuda/include)); \
	if [ -f "$$include/cuda.h" ]; then export CGO_CFLAGS="-O2 -I$$include"; tags=cuda; \
	else echo "no CUDA header: this build has no CUDA"; tags=; fi; set -x; \
	$(GO) build -tags "$$tags" -trimpath -ldflags '$(LDFLAGS)' -o bin/zoofold ./cmd/zoofold && \
	$(GO) build -tags "$$tags,buckets" -trimpath -ldflags '$(LDFLAGS)' -o bin/zoofold-buckets ./cmd/zoofold

header:
	@[ -n "$(CUDA_HOME)" ] || [ -f $(CACHE)/cuda/include/cuda.h ] || python3 build/fetch.py $(CACHE) library || true

emulator: ## bin/libcuda.so.1, a driver for tests that runs the shipped device code without a GPU
	@mkdir -p bin
	$(CXX) -std=c++17 -O2 -Wall -shared -fPIC -fvisibility=hidden -o bin/libcuda.so.1 gpu/emulator/libcuda.cc

kernels: ## compile the device code to PTX beside it
	sh build/kernels.sh $(CACHE) gpu/kernels

mutants: emulator header ## plant every bug of gpu/mutant_test.go in the device code; the tests have to find each
	CGO_CFLAGS="-O2 -I$(if $(CUDA_HOME),$(CUDA_HOME),$(abspath $(CACHE)/cuda))/include" ZOOFOLD_MUTANTS=all $(GO) test -tags cuda -count=1 -timeout 60m -v -run BugsPlanted ./gpu

gpu-kit: build fetch ## the folder gpu-kit: checks and measurements for a machine with a GPU's driver and nothing else
	GO=$(GO) sh build/gpu-kit.sh $(CACHE)

gpu-check: gpu-kit ## on a machine with a GPU: run the kit here, figures into gpu-kit/out
	sh gpu-kit/check.sh gpu-kit/out

fetch: ## ONNX Runtime's library and published models into .cache, by hash
	@python3 build/fetch.py $(CACHE) || echo "some downloads failed: going on with what is there"

networks: ## generated networks of the formats of which no package publishes files
	@$(GO) run ./cmd/zoogen -networks $(CACHE)/zoo/networks

demo: build fetch networks ## fold published ONNX models, or generated ones where no registry answers, and generated Caffe, Darknet, Keras and PyTorch networks
	@if ! find $(CACHE)/zoo -name '*.onnx' 2>/dev/null | grep -q .; then \
		echo "no published model could be fetched: the demo folds generated ones"; \
		$(GO) run ./cmd/zoogen $(CACHE)/zoo/generated; fi
	bin/zoofold -manifest manifests/demo.yaml -latency

test: build fetch emulator $(CACHE)/venv/done ## everything that CI runs
	PYTHON=$(abspath $(PYTHON)) FUZZTIME=$(FUZZTIME) GO=$(GO) sh build/check.sh

$(CACHE)/venv/done: build/requirements.txt
	python3 -m venv $(CACHE)/venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r build/requirements.txt
	touch $@

bench: build fetch ## speed, processor time and memory beside cp and others, side by side
	$(GO) run ./cmd/zoobench -zoofold bin/zoofold

fuzz: ## every fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) GO=$(GO) sh build/fuzz.sh

lint: ## gofmt, vet, staticcheck, actionlint, govulncheck
	GO=$(GO) sh build/lint.sh

conformance: build $(CACHE)/venv/done ## the judge over the edge cases and the published models
	PYTHON=$(abspath $(PYTHON)) $(GO) test -count=1 -v -run Conformance ./cmd/zoofold

clean:
	rm -rf bin demo dist $(CACHE)

man: ## docs/zoofold.1, from the flags
	$(GO) run ./cmd/zoofold man >docs/zoofold.1

PREFIX ?= /usr/local
install: build ## the programs, ONNX Runtime's library, the manual page and completions into $(DESTDIR)$(PREFIX)
	sh build/install.sh bin/zoofold bin/zoofold-buckets $(DESTDIR)$(PREFIX) $(CACHE)/onnxruntime

dist: ## reproducible archives and checksums of a release into dist/
	GO=$(GO) MAKE=$(MAKE) sh build/dist.sh $(VERSION)

compare: build fetch networks $(CACHE)/compare/done ## per-channel nodes and latency beside onnxsim, onnxslim, onnxruntime and onnxscript
	bin/zoofold -manifest manifests/demo.yaml -quiet -force
	$(CACHE)/compare/bin/python build/compare.py bin/zoofold $(CACHE)/zoo demo $(CACHE)/compare.md

$(CACHE)/compare/done: build/compare.txt
	python3 -m venv $(CACHE)/compare
	$(CACHE)/compare/bin/python -m pip install --quiet --disable-pip-version-check -r build/compare.txt
	touch $@

torch: build $(CACHE)/modern/done ## folded programs, checkpoints and language models in PyTorch itself, and eager latency; installs torch
	TORCH_PYTHON=$(abspath $(CACHE)/modern/bin/python) $(GO) test -count=1 -timeout 60m -v -run 'Torch|Transformers' ./zoo/format/torch ./zoo/format/state
	$(CACHE)/modern/bin/python build/eager.py bin/zoofold $(CACHE)/eager $(CACHE)/eager.md

modern: build $(CACHE)/modern/done ## export 85 timm architectures, fold them, and hold them against the originals; installs torch
	sh build/modern.sh $(CACHE)/modern/bin/python bin/zoofold $(CACHE)/modern/models docs/modern.md

$(CACHE)/modern/done: build/modern.txt build/torch.txt
	python3 -m venv $(CACHE)/modern
	$(CACHE)/modern/bin/python -m pip install --quiet --disable-pip-version-check -r build/modern.txt
	$(CACHE)/modern/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r build/torch.txt
	touch $@

scale: ## a simulation of a million models and a thousand workers on a queue: MODELS, WORKERS; it needs as many files in TMPDIR, twice
	ZOOFOLD_MODELS=$(or $(MODELS),1000000) ZOOFOLD_WORKERS=$(or $(WORKERS),1000) $(GO) test -count=1 -timeout 4h -v -run Scale ./zoo/run

soak: ## for hours: a thousand kills, every fault, a hundred thousand hostile models and as many random graphs, fuzzing
	GO=$(GO) sh build/soak.sh
