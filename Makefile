# make demo   deploy a real workload through all ten steps, and show them
# make test   everything that must pass

SHELL    := /bin/bash -eu -o pipefail
BIN      := bin
PROGRAMS := redoubt redoubt-keepmgr redoubt-keepldr redoubt-wasmldr
RELEASE  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -buildid= -X github.com/redoubt-tee/redoubt/internal/version.Release=$(RELEASE)
FUZZTIME ?= 10s
export CGO_ENABLED ?= 0

.PHONY: all build demo test unit lint fuzz cross oracles bench examples deps clean

all: build

build:
	@mkdir -p $(BIN)
	@for p in $(PROGRAMS); do go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/$$p ./cmd/$$p; done

# What cannot be had with Go's own tools: a C compiler for WebAssembly.
deps:
	@scripts/deps.sh

examples: deps
	@scripts/examples.sh $(BIN)

# The salaries example needs Go alone.
demo: build
	@GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -o $(BIN)/salaries.wasm ./examples/salaries
	@scripts/demo.sh $(BIN)

test: lint unit oracles fuzz cross

# The race detector needs cgo; the programs under test are built without it. One
# package at a time: the tests of whole programs keep both cores busy by themselves.
unit: build examples
	@CGO_ENABLED=1 go test -race -run '^$$' ./... >/dev/null
	CGO_ENABLED=1 go test -race -timeout 20m -p 1 ./...

lint:
	go vet ./...
	go tool -modfile=tools/go.mod golangci-lint run ./...
	scripts/vuln.sh

# Public libraries must agree with attest, or the table says why they don't.
oracles:
	cd oracles && go vet ./... && go test -count=1 ./...

# Each fuzz target for a short while. Minimizing is for people.
fuzz:
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			scripts/fuzz.sh "$$pkg" "$$target" $(FUZZTIME); \
		done; \
	done

# The client runs on macOS and Windows too.
cross:
	@for target in darwin/arm64 windows/amd64 linux/arm64; do \
		echo "build for $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} go build -o /dev/null ./cmd/redoubt; \
	done
	@echo "build for linux/arm64, all programs"; GOOS=linux GOARCH=arm64 go vet ./cmd/... ./host/... ./keep/...

# BENCHFLAGS=-quick is for a look; -help says what else there is.
bench: build
	@go run ./internal/bench -bin $(BIN) $(BENCHFLAGS)
	@echo; echo "Verification beside public libraries, in turns (medians in ms, and ratios: below 1 is faster)"
	@cd oracles && go test -run '^$$' -bench . -benchtime 200x . | grep '^Benchmark'

clean:
	rm -rf $(BIN) .cache
