#!/bin/sh
# Published architectures, exported with their normalisations unfolded, folded and held against the originals: predictions
# without ONNX Runtime's optimisations, latency with them. modern.sh PYTHON PROGRAM FOLDER TABLE. The kit that exports and
# judges lies beside the checkout; without it this says so and does nothing.
set -eu
python=$1 program=$2 folder=$3 table=$4
kit=../shared/conformance/modern.py
if [ ! -f "$kit" ]; then
	echo "modern: not run: $kit is not beside this checkout"
	exit 0
fi
mkdir -p "$folder/zoo"
if [ ! -f "$folder/exported" ]; then
	"$python" "$kit" export "$folder/zoo"
	touch "$folder/exported"
fi
printf 'version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: "*.onnx"\n    verify: [parity, algebra, predictions]\n' >"$folder/models.yaml"
"$program" -manifest "$folder/models.yaml"
code=0
"$python" "$kit" judge "$folder/zoo" "$folder/out" | tee "$folder/judged" || code=$?
"$python" build/modern.py "$folder/out/report.json" "$folder/judged" >"$table"
echo "table: $table"
! grep -Eq '^(BROKEN|SLOWER|missing)' "$folder/judged"
