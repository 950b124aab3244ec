#!/bin/sh
# vuln.sh runs govulncheck over the packages given, or over all. Its database
# is on the network: where that can't be reached the script says so and exits
# with 0. Findings, and every other failure, exit non-zero.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./...

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -modfile=tools/go.mod -o "$tmp/govulncheck" golang.org/x/vuln/cmd/govulncheck

status=0
"$tmp/govulncheck" "$@" 2>"$tmp/stderr" || status=$?
if [ "$status" = 1 ] && grep -q '^govulncheck: fetching vulnerabilities: ' "$tmp/stderr"; then
	echo "govulncheck: not run: the vulnerability database can't be reached: $(sed -n 's/^govulncheck: fetching vulnerabilities: //p' "$tmp/stderr")"
	exit 0
fi
cat "$tmp/stderr" >&2
exit "$status"
