#!/bin/sh
# What action.yml runs: fold.sh PROGRAM. MANIFEST, or MODELS and OUT, and FLAGS say what is folded. Every check has to run and
# pass: a model that is not proven fails the step. The exit code is an output of the step.
set -u
program=$1 code=0
if [ -n "${MODELS:-}" ]; then
	# The names of models, and flags, are words.
	# shellcheck disable=SC2086
	"$program" fold $MODELS -o "$OUT/" -verify parity,algebra,predictions ${FLAGS:-} || code=$?
else
	# shellcheck disable=SC2086
	"$program" -manifest "$MANIFEST" -verify parity,algebra,predictions ${FLAGS:-} || code=$?
fi
[ -z "${GITHUB_OUTPUT:-}" ] || echo "exit=$code" >>"$GITHUB_OUTPUT"
exit $code
