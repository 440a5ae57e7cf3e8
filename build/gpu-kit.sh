#!/bin/sh
# Makes the folder gpu-kit: all that a machine with a GPU's driver and nothing else needs to check zoofold and to measure it.
# gpu-kit.sh CACHE; called by make gpu-kit, behind make build and make fetch.
set -eu
: "${GO:=go}"
cache=$1 kit=gpu-kit
include=${CUDA_HOME:-$PWD/$cache/cuda}/include
if bin/zoofold -version | grep -q 'CUDA: not in this build'; then
	echo "gpu-kit: this build has no CUDA: its header is missing" >&2
	exit 1
fi
library=$(ls "$cache"/onnxruntime/libonnxruntime* 2>/dev/null | head -n 1)
if [ -z "$library" ]; then
	echo "gpu-kit: no ONNX Runtime in $cache/onnxruntime: make fetch brings it" >&2
	exit 1
fi
rm -rf "$kit" "$kit.part"
mkdir -p "$kit.part/bin" "$kit.part/lib"
CGO_CFLAGS="-O2 -I$include" $GO build -tags cuda -trimpath -ldflags "-s -w" -o "$kit.part/bin/zoofold" ./cmd/zoofold # without the drivers of buckets, 40 MB
CGO_CFLAGS="-O2 -I$include" $GO test -c -tags cuda -trimpath -ldflags '-s -w' -o "$kit.part/bin/gpu.test" ./gpu
CGO_ENABLED=0 $GO build -trimpath -ldflags "-s -w" -o "$kit.part/bin/gpucheck" ./cmd/gpucheck
gzip -9 -n -c "$library" >"$kit.part/lib/libonnxruntime.so.gz"
"$kit.part/bin/gpucheck" -models "$kit.part/models"
edge=../shared/conformance/make_edge.py # the conformance kit, where it lies beside the checkout
if [ -f "$edge" ] && [ -x "$cache/venv/bin/python" ]; then
	"$cache/venv/bin/python" "$edge" "$kit.part/models/onnx/conformance" >/dev/null
else
	echo "gpu-kit: without the conformance kit's cases: it does not lie beside the checkout"
fi
cp build/gpu-check.sh "$kit.part/check.sh"
mv "$kit.part" "$kit"
size=$(du -sk "$kit" | cut -f1)
echo "gpu-kit: $((size / 1024)) MiB; on the machine: sh gpu-kit/check.sh OUT"
if [ "$size" -ge $((60 * 1024)) ]; then
	echo "gpu-kit: it has to stay below 60 MiB" >&2
	exit 1
fi
