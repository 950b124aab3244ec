#!/bin/sh
# deps.sh makes sure that everything is there that builds the C example and
# runs all tests. As root on Debian or one of its kin it installs what is
# missing; elsewhere it says what that is and exits with 1.
set -eu

if ! command -v go >/dev/null 2>&1; then
	echo "deps: go is missing: install the version that go.mod names, or a newer one" >&2
	exit 1
fi

# can_build tries what is needed: C to WebAssembly, with a C library.
can_build() {
	printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' |
		clang --target=wasm32-wasi -x c -o /dev/null - 2>/dev/null
}

# packages names Debian's packages for that. The compiler runtime's is named
# after clang's major version.
packages() {
	if command -v clang >/dev/null 2>&1; then
		major=$(clang -dumpversion | cut -d. -f1)
	else
		major=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
	fi
	echo "clang lld wasi-libc libclang-rt-${major:-VERSION}-dev-wasm32"
}

if can_build; then
	exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps: C can't be built for wasm32-wasi: install clang, lld (wasm-ld), wasi-libc and clang's compiler runtime for wasm32" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps: C can't be built for wasm32-wasi. As root, run:" >&2
	echo "  apt-get update && apt-get install -y --no-install-recommends $(packages)" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2046 # a list of names
apt-get install -y -q --no-install-recommends $(packages)
if ! can_build; then
	echo "deps: $(packages) are installed, and still C can't be built for wasm32-wasi" >&2
	exit 1
fi
