#!/bin/sh
# examples.sh DIR builds the examples as WASI modules into DIR.
set -eu

if [ $# != 1 ]; then
	echo "usage: scripts/examples.sh DIR" >&2
	exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

for name in hello salaries; do
	CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -o "$out/$name.wasm" "./examples/$name"
done
clang --target=wasm32-wasi -Os -s -Wall -Wextra -Werror -o "$out/wordcount.wasm" examples/wordcount/wordcount.c
