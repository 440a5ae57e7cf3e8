#!/bin/sh
# The tests that chance decides, for long. Each prints what it counted, and how to see a failure again; SEED repeats all.
set -eu
: "${GO:=go}" "${SEED:=$(date +%s)}"
export ZOOFOLD_SEED="$SEED" ZOOFOLD_KILLS=1000 ZOOFOLD_MUTANTS=100000 ZOOFOLD_GRAPHS=100000 ZOOFOLD_MISTAKES=100000 ZOOFOLD_STRIDE=1 ZOOFOLD_LAYOUTS=100000
echo "SEED=$SEED make soak"

echo "== faults at every operation: errors, half reads and writes, power failures"
$GO test -count=1 -timeout 1h -v -run 'EveryFileOperation|PowerMayFail' ./zoo/run

echo "== mistaken and hostile layouts: originals are never touched"
$GO test -count=1 -timeout 6h -v -run Originals ./zoo/run

echo "== the program, killed, out of space, and with every system call failing"
$GO test -count=1 -timeout 6h -v -run 'Killed|FullDisk|ReadOnly|SystemCall|WithoutLocks' ./cmd/zoofold

echo "== ten thousand models over a queue whose workers are killed, and half a minute without it"
ZOOFOLD_MODELS=10000 ZOOFOLD_KILLED=50 ZOOFOLD_PARTITION=60 $GO test -count=1 -timeout 6h -v -run 'ManyModels|Survives' ./zoo/run/queue

echo "== hostile models"
$GO test -count=1 -timeout 6h -v -run Hostile ./cmd/zoofold

echo "== random graphs, folded and compared"
$GO test -count=1 -timeout 6h -v -run RandomGraphs ./zoo/fold

echo "== mistakes in what is folded: demanded positions find what whole evaluation finds"
$GO test -count=1 -timeout 6h -v -run Mistake ./zoo/verify

FUZZTIME=${FUZZTIME:-10m} GO=$GO sh build/fuzz.sh
