#!/bin/sh
# All that CI runs, in the order in which failures are cheapest. Called by make test.
set -eu
: "${GO:=go}" "${FUZZTIME:=60s}"
export PYTHON

sh testdata/lint.sh

echo "== tests"
$GO test -timeout 20m ./...

if [ -f .cache/cuda/include/cuda.h ] && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
	echo "== CUDA, on the emulator"
	export CGO_CFLAGS="-O2 -I$PWD/.cache/cuda/include"
	$GO vet -tags cuda ./...
	$GO test -tags cuda -timeout 10m ./gpu/...
	$GO test -tags cuda -timeout 10m -run 'Device' ./cmd/zoofold
	if ldd bin/zoofold | grep -q cuda; then
		echo "the program is linked to CUDA" >&2
		exit 1
	fi
	if sh testdata/kernels.sh .cache .cache/rescale.ptx; then
		cmp .cache/rescale.ptx gpu/kernels/rescale.ptx
	else
		echo "kernels: not compiled anew: the compiler cannot be had here"
	fi
	unset CGO_CFLAGS

	echo "== a release, twice"
	make dist
	cp dist/SHA256SUMS .cache/first.sums
	make dist
	cmp dist/SHA256SUMS .cache/first.sums
else
	echo "CUDA: not run: its header cannot be had here"
fi

echo "== race detector"
$GO test -race -short -timeout 10m ./cpu ./manifests ./zoo/report ./zoo/run ./zoo/verify/... ./zoo/format/...

FUZZTIME=$FUZZTIME sh testdata/fuzz.sh

echo "== a build without cgo"
CGO_ENABLED=0 $GO run ./cmd/zoofold -version | grep 'predictions: not in this build'

echo "== all checks passed"
