# The two commands a newcomer needs are `make run` and `make test`. `make` alone lists all of them.
# Needed: Go, git, make. `make check` also needs a C compiler, for the race detector.

GO           ?= go
LINT_VERSION := v2.15.0
VULN_VERSION := v1.1.4
FUZZTIME     ?= 20s
BENCH        ?= .
PROVE        ?= .
ARGS         ?=

TOOLS := $(CURDIR)/.cache/bin
LINT  := $(TOOLS)/golangci-lint-$(LINT_VERSION)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'

.DEFAULT_GOAL := help
.PHONY: help run test check form lint race prove vuln bench bench-peers bench-growth bench-compare bench-pairs bench-install pgo fuzz build docker clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Start the demo on http://127.0.0.1:8080 (ARGS='--listen :9090' for another address)
	bin/poe demo $(ARGS)

# Tests leave the profile out: with it every package that poe is made of is compiled once more, and does the same.
test race: export GOFLAGS := $(GOFLAGS) -pgo=off

test: ## Run all tests, in random order
	CGO_ENABLED=0 $(GO) test -shuffle=on -timeout=15m ./...
	cd bench && CGO_ENABLED=0 $(GO) test -short -shuffle=on -timeout=5m ./...

check: form lint race ## Check the form, run the linters, and the short tests under the race detector

form: ## Check that gofmt and go mod tidy would change nothing
	@test -z "$$($$($(GO) env GOROOT)/bin/gofmt -l . | tee /dev/stderr)" || { echo 'Run gofmt -w on these files.' >&2; exit 1; }
	@for module in . bench; do \
		(cd $$module && $(GO) mod tidy -diff >/dev/null) || { echo "Run go mod tidy in $$module." >&2; exit 1; }; \
	done

lint: $(LINT) ## Run go vet and the other linters of .golangci.yml
	$(LINT) run ./...
	cd bench && $(LINT) run ./...

race: ## Run the short tests under the race detector, in random order; needs a C compiler
	@command -v $$($(GO) env CC) >/dev/null || { echo "The race detector needs a C compiler: install $$($(GO) env CC)." >&2; exit 1; }
	CGO_ENABLED=1 $(GO) test -race -short -shuffle=on -timeout=15m ./...

prove: ## Prove what docs/reliability.md says, and write the figures into it; takes twenty minutes (PROVE=regexp for some of it)
	rm -rf .cache/figures && mkdir -p .cache/figures
	POE_PROVE=long POE_FIGURES=$(CURDIR)/.cache/figures CGO_ENABLED=0 $(GO) test -count=1 -v -run '$(PROVE)' -timeout=90m ./internal/prove
	$(GO) run ./internal/prove/figures -in .cache/figures -into docs/reliability.md

vuln: ## Look for known vulnerabilities; needs the network
	$(GO) run golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION) ./...

bench: ## Run the Go benchmarks (BENCH=regexp for some of them)
	CGO_ENABLED=0 $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout=60m ./...

bench-peers: ## Measure poe against what people use instead, and write docs/performance.md; takes half an hour (ARGS='-short', '-only regexp', …)
	cd bench && CGO_ENABLED=0 $(GO) run . $(ARGS)

bench-growth: build ## Measure what a ledger of 10⁴, 10⁶ and 10⁷ actions costs; takes half an hour (ARGS='-sizes 10000,1000000', …)
	cd bench && CGO_ENABLED=0 $(GO) run ./growth -into ../docs/performance.md $(ARGS)

bench-compare: ## Compare the Go benchmarks with those of another revision by benchstat (BASE=revision; the latest release)
	BENCH='$(BENCH)' bench/compare $(BASE)

bench-pairs: ## Measure the servers under load against those of another revision, in pairs of short rounds (BASE=revision, ARGS='-only regexp', …)
	PAIRS=1 bench/compare '$(BASE)' $(ARGS)

pgo: ## Refresh cmd/poe/default.pgo, by which the compiler optimises poe; needs wrk, takes minutes
	rm -rf .cache/pgo && mkdir -p .cache/pgo
	cd bench && CGO_ENABLED=0 $(GO) run . -connections 64 -rounds 2 -only 'poe gateway' -profile $(CURDIR)/.cache/pgo
	$(GO) tool pprof -proto .cache/pgo/poe-gateway-*.prof >.cache/default.pgo
	mv .cache/default.pgo cmd/poe/default.pgo

bench-install: ## Install what bench-peers compares poe with: packages of Debian, as root or with sudo, and Restate from npm
	bench/install

fuzz: ## Fuzz every fuzz target for FUZZTIME (20s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r dir target; do \
		echo "$$dir $$target"; \
		CGO_ENABLED=0 $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -timeout=15m "$$dir" </dev/null || exit 1; \
	done

build: ## Build the static binary bin/poe
	$(BUILD) -o bin/poe ./cmd/poe

docker: ## Build the container image poe
	docker build --tag poe .

clean: ## Remove what was built
	rm -rf bin .cache bench/node_modules

# Built from its module with the Go that builds the project, so that it reads the same language.
$(LINT):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(TOOLS)/golangci-lint $(LINT)
