#!/usr/bin/env bash
# fuzz.sh PACKAGE TARGET TIME fuzzes one target, and shows all of a failure.
# Go's fuzzer at times reports its own end of time as a failure, "context deadline
# exceeded", without an input that fails: only then the target is run once more.
set -euo pipefail
out=$(mktemp)
trap 'rm -f "$out"' EXIT
run() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 1x "$1" >"$out" 2>&1; }
if ! run "$@"; then
	cat "$out"
	grep -q 'context deadline exceeded' "$out" && ! grep -q 'Failing input written' "$out" || exit 1
	echo "the fuzzer's own time-out: once more"
	run "$@" || { cat "$out"; exit 1; }
fi
tail -n 2 "$out"
