#!/bin/sh
# Every fuzz target for FUZZTIME.
set -eu
: "${GO:=go}" "${FUZZTIME:=60s}"

echo "== fuzzing, $FUZZTIME each"
grep -rl --include='*_test.go' '^func Fuzz' cmd cpu manifests zoo | while read -r file; do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$file"); do
		echo "$(dirname "$file") $target"
		$GO test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x "./$(dirname "$file")"
	done
done
