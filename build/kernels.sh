#!/bin/sh
# Compiles the device code to PTX: kernels.sh CACHE FOLDER. The text's version is lowered to 6.3, which drivers from 10.0 (410)
# on load; every target's assembler is asked whether it takes it. Exits with 75 where the compiler cannot be had.
set -eu
cache=$1 folder=$2
python3 build/fetch.py "$cache" nvcc || exit 75
tree=$cache/nvcc/tree
if [ ! -d "$tree" ]; then
	rm -rf "$tree.part"
	mkdir -p "$tree.part"
	for package in nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime; do
		cp -r "$cache/nvcc/$package/." "$tree.part/"
	done
	chmod -R u+x "$tree.part"
	mv "$tree.part" "$tree"
fi
assemble() {
	echo "$3: $1: sm_$2"
	"$1" -arch=sm_"$2" -o /dev/null "$3"
}
older=$cache/nvcc/nvidia-cuda-nvcc-cu12/bin/ptxas # version 13 has dropped sm_70
chmod u+x "$older"
for name in rescale product; do
	out=$folder/$name.ptx
	"$tree/bin/nvcc" -arch=compute_75 -ptx -fmad=false -O2 -o "$out.part" gpu/kernels/$name.cu
	# The compiler's build number says nothing of the code.
	sed -e 's/^\.version .*/.version 6.3/' -e 's/^\.target .*/.target sm_70/' -e '/^\/\//d' "$out.part" >"$out"
	rm "$out.part"
	for target in 70 75 80 86 89 90 100 120; do
		assemble "$older" $target "$out"
	done
	for target in 75 80 86 89 90 100 120; do
		assemble "$tree/bin/ptxas" $target "$out"
	done
done
