#!/bin/sh
# On a machine with a GPU: the suite of all backends and the faults that can be provoked on it, folding with -device cuda
# beside -device cpu, and figures.
set -eu
export CGO_CFLAGS="-O2 -I${CUDA_HOME:-$PWD/.cache/cuda}/include"
# The tests name the driver, so that it is not the emulator; where it is, the dynamic linker knows.
: "${ZOOFOLD_LIBCUDA:=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | sed -n 's/^[[:space:]]*libcuda\.so\.1 (.*x86-64.* => //p' | head -n 1)}"
if [ -z "$ZOOFOLD_LIBCUDA" ]; then
	echo "no libcuda.so.1 is known to the dynamic linker: name it in ZOOFOLD_LIBCUDA" >&2
	exit 1
fi
export ZOOFOLD_LIBCUDA
${GO:-go} test -tags cuda -count=1 -v -run 'Suite|Beyond32|SeveralChunks|ErrorsOfFiles|SmallTensors|StoodInFor' ./gpu | grep -v '^=== '
${GO:-go} test -tags cuda -count=1 -v -run SameBytesOnTheDevice ./cmd/zoofold
mkdir -p docs/gpu
ZOOFOLD_GPU_JSON="$PWD/docs/gpu/figures.json" ${GO:-go} test -tags cuda -count=1 -v -run MeasureTheDevice ./gpu
