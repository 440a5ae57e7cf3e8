#!/bin/sh
# All that CI runs, in the order in which failures are cheapest. Called by make test.
set -eu
: "${GO:=go}" "${FUZZTIME:=10s}"
export PYTHON

sh build/lint.sh

echo "== tests"
$GO test -timeout 20m ./...

echo "== buckets"
$GO test -tags buckets -timeout 20m -run 'S3|Folder|Put|Append|Lock|Cache|Open' ./zoo/bucket
$GO test -tags buckets -timeout 20m -short -run 'S3|Bucket' ./zoo/run
$GO test -tags buckets -timeout 20m -run 'Buckets' ./cmd/zoofold
if $GO -C build/kubernetes mod download; then
	$GO -C build/kubernetes test .
else
	echo "kubernetes: not run: its API's types cannot be had here"
	[ -z "${CI:-}" ] || exit 1
fi

include=${CUDA_HOME:-$PWD/.cache/cuda}/include
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
	echo "CUDA: not run: it is for linux/amd64"
elif [ -f "$include/cuda.h" ]; then
	echo "== CUDA, on the emulator"
	export CGO_CFLAGS="-O2 -I$include"
	$GO vet -tags cuda ./...
	$GO run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags cuda ./gpu/... ./cmd/zoofold ./cmd/gpucheck
	$GO test -race -tags cuda -timeout 20m ./gpu/...
	$GO test -tags cuda -timeout 10m -run 'Device' ./cmd/zoofold
	if ldd bin/zoofold | grep -q cuda; then
		echo "the program is linked to CUDA" >&2
		exit 1
	fi
	echo "== the kit for machines with a GPU, on the emulator and without a driver"
	make gpu-kit
	env -i PATH="$PATH" ZOOFOLD_LIBCUDA="$PWD/bin/libcuda.so.1" sh gpu-kit/check.sh .cache/gpu-kit
	if grep -q '"result": "not run"' .cache/gpu-kit/figures.json; then
		echo "gpu-kit: on the emulator every step can run" >&2
		exit 1
	fi
	env -i PATH="$PATH" ZOOFOLD_LIBCUDA=/nowhere/libcuda.so.1 sh gpu-kit/check.sh .cache/gpu-kit
	grep -q '"no_device": ".*/nowhere/libcuda.so.1' .cache/gpu-kit/figures.json
	code=0
	mkdir -p .cache/kernels
	sh build/kernels.sh .cache .cache/kernels || code=$?
	case $code in
	0) cmp .cache/kernels/rescale.ptx gpu/kernels/rescale.ptx && cmp .cache/kernels/product.ptx gpu/kernels/product.ptx ;;
	75) echo "kernels: not compiled anew: the compiler cannot be had here" ;;
	*) exit $code ;;
	esac
	unset CGO_CFLAGS

	echo "== a release, twice"
	make dist
	cp dist/SHA256SUMS .cache/first.sums
	make dist
	cmp dist/SHA256SUMS .cache/first.sums
else
	echo "CUDA: not run: its header cannot be had here"
	[ -z "${CI:-}" ] || exit 1
fi

echo "== race detector"
$GO test -race -short -timeout 10m ./cpu ./manifests ./zoo/fold ./zoo/report ./zoo/run ./zoo/verify/... ./zoo/format/...

FUZZTIME=60s sh build/fuzz.sh manifests zoo/format/onnx
FUZZTIME=$FUZZTIME sh build/fuzz.sh cmd zoo/fold zoo/run zoo/format/caffe zoo/format/darknet zoo/format/keras zoo/format/torch

echo "== a build without cgo"
CGO_ENABLED=0 $GO run ./cmd/zoofold -version | grep 'predictions: not in this build'

echo "== all checks passed"
