#!/bin/sh
# All that CI runs, in the order in which failures are cheapest. Called by make test.
set -eu
: "${GO:=go}" "${FUZZTIME:=60s}"
export PYTHON

sh testdata/lint.sh

echo "== tests"
$GO test -timeout 20m ./...

echo "== race detector"
$GO test -race -short -timeout 10m ./cpu ./manifests ./zoo/report ./zoo/run ./zoo/verify/... ./zoo/format/...

FUZZTIME=$FUZZTIME sh testdata/fuzz.sh

echo "== a build without cgo"
CGO_ENABLED=0 $GO build -o /dev/null ./cmd/zoofold

echo "== all checks passed"
