#!/bin/sh
# Fuzz targets for FUZZTIME each: all of them, or those in the folders given. Go's fuzzer may say "context deadline
# exceeded" when its time is over in the middle of an input: that is no finding. A finding is an input that it writes down.
set -eu
: "${GO:=go}" "${FUZZTIME:=10s}"

echo "== fuzzing, $FUZZTIME each"
[ $# -gt 0 ] || set -- cmd cpu manifests zoo
grep -rl --include='*_test.go' '^func Fuzz' "$@" | while read -r file; do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$file"); do
		echo "$(dirname "$file") $target"
		if ! out=$($GO test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x "./$(dirname "$file")" 2>&1); then
			case $out in
			*"Failing input"*) ;;
			*"context deadline exceeded"*)
				echo "$out" | grep 'fuzz: elapsed' | tail -n 1
				continue ;;
			esac
			echo "$out" >&2
			exit 1
		fi
		echo "$out" | grep 'fuzz: elapsed' | tail -n 1
	done
done
