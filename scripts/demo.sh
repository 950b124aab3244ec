#!/usr/bin/env bash
# demo.sh BIN starts a keepmgr of its own and deploys the salaries example to it,
# through all ten steps. Everything it makes is in a folder that it removes.
set -euo pipefail

bin=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
export XDG_STATE_HOME=$dir/state XDG_RUNTIME_DIR=$dir/run
mkdir -p "$XDG_RUNTIME_DIR"
host=unix://$dir/keepmgr.sock

"$bin/redoubt-keepmgr" serve --listen "$host" 2>"$dir/keepmgr.log" &
keepmgr=$!
finish() {
	kill "$keepmgr" 2>/dev/null || true
	wait "$keepmgr" 2>/dev/null || true
	rm -rf "$dir"
}
trap finish EXIT
for _ in $(seq 100); do
	[ -S "$dir/keepmgr.sock" ] && break
	kill -0 "$keepmgr" 2>/dev/null || { cat "$dir/keepmgr.log" >&2; exit 1; }
	sleep 0.1
done

echo "A keepmgr, which need not be trusted, serves $host."
echo "Salaries go into a Keep there; only statistics come out:"
echo
"$bin/redoubt" deploy --host "$host" --allow-simulated --steps always "$bin/salaries.wasm" < examples/salaries/testdata/salaries.csv
echo
echo "What keepmgr knows of it:"
cat "$dir/keepmgr.log"
