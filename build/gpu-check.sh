#!/bin/sh
# Checks zoofold on a machine with a GPU's driver, and measures it there: sh gpu-kit/check.sh OUT. It needs nothing but what
# lies beside it, takes five minutes at most, and writes OUT/figures.json, OUT/figures.md and OUT/log.txt.
set -eu
if [ $# -ne 1 ]; then
	echo "usage: sh check.sh OUT" >&2
	exit 2
fi
case $0 in */*) kit=${0%/*} ;; *) kit=. ;; esac
mkdir -p "$1"
chmod u+x "$kit"/bin/* 2>/dev/null || true # what carried the kit may have dropped it
exec "$kit/bin/gpucheck" -kit "$kit" -out "$1"
