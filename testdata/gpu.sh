#!/bin/sh
# On a machine with a GPU: the suite of all backends and the faults that can be provoked on it, folding with -device cuda
# beside -device cpu, and figures.
set -eu
export CGO_CFLAGS="-O2 -I${CUDA_HOME:-$PWD/.cache/cuda}/include"
export ZOOFOLD_LIBCUDA="${ZOOFOLD_LIBCUDA:-libcuda.so.1}"
${GO:-go} test -tags cuda -count=1 -v -run 'Suite|Beyond32|SeveralChunks|ErrorsOfFiles|SmallTensors|StoodInFor' ./gpu | grep -v '^=== '
${GO:-go} test -tags cuda -count=1 -v -run SameBytesOnTheDevice ./cmd/zoofold
mkdir -p docs/gpu
ZOOFOLD_GPU_JSON="$PWD/docs/gpu/figures.json" ${GO:-go} test -tags cuda -count=1 -v -run MeasureTheDevice ./gpu
