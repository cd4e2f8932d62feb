# podpath. `make demo` and `make test` do all of their own set-up on a fresh
# Debian 12 with Go; the other targets do too.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The version comes from git describe, so that a tree without .git builds too;
# -buildvcs would make the binary differ between the two.
BUILDFLAGS := -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"
export CGO_ENABLED := 0

# Tools that are built, not installed, live outside the tree.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/podpath/tools
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)

# Debian 12's clang: the same compiler makes the same objects.
CLANG ?= clang-14
STRIP ?= llvm-strip-14
CLANG_FORMAT ?= clang-format-14
FUZZTIME ?= 60s
# arm64 is one more, and slower than all of these.
KERNELS ?= 5.10,6.1,6.12,6.18,7
KERNEL_FLAGS ?=
FULL ?=
FLAVOUR ?= flannel
FLAVOURS ?=
SEED ?= 1
RECORD ?=
TESTBED_NEEDS := ip:iproute2 bridge:iproute2 sysctl:procps nft:nftables iptables-nft:iptables iptables-legacy:iptables \
	ipset:ipset conntrack:conntrack /usr/lib/cni/bridge:containernetworking-plugins \
	containerd:containerd runc:runc
BENCH ?= .
BENCHTIME ?= 200ms
ROUNDS ?= 6
PODS ?= 250
# bench: what to measure, all or some of compare,events,cost,attach,cluster,facts. e2e and
# e2e-recordings: the scenarios whose name it matches. recordings and
# test: the lab's faults.
ONLY ?=
BENCHDOC ?=
BIN ?= bin/podpath
IMAGE ?= podpath
ARCH ?= $(shell $(GO) env GOARCH)

# Everything that a generator writes and that is committed.
GENERATED := bpf/*_bpfel.go bpf/*_bpfel.o bpf/*_bpfeb.go bpf/*_bpfeb.o docs/verdicts.md docs/schema tracer/redact/words.txt
BPF_C := $(shell find bpf -name '*.[ch]' ! -name 'vmlinux*.h' 2>/dev/null)

.PHONY: build
build: ## the static binary bin/podpath (or BIN=FILE)
	$(GO) build $(BUILDFLAGS) -o $(BIN) ./cmd/podpath

.PHONY: demo
demo: build ## break a small cluster of namespaces, trace it, explain it (root)
	bin/podpath demo || [ $$? = 1 ] # 1 is the right answer: a fault was named

.PHONY: test
test: ## every test; as root the privileged ones must run (RECORD=docs/accuracy.md keeps the lab's; ONLY=REGEX: only these of the lab's faults)
	.ci/need ip:iproute2 nft:nftables iptables-legacy:iptables ipset:ipset ipvsadm:ipvsadm tcpdump:tcpdump cpio:cpio
	$(GO) build -o bin/testsum ./testbed/testsum
	$(GO) build ./...
	if [ "$$(id -u)" = 0 ]; then \
		export PODPATH_REQUIRE_PRIVILEGED=1; \
		if printf '6.6\n%s\n' "$$(uname -r)" | sort -VC; then export PODPATH_REQUIRE_TCX=1; fi; \
	else \
		echo "not root: the privileged tests will be skipped"; \
	fi; \
	PODPATH_RECORD=$(abspath $(RECORD)) $(GO) test -json -count=1 -p 1 -parallel 6 -timeout 40m $(if $(ONLY),-run '^TestLabFaults$$//$(ONLY)' ./cmd/podpath,./...) | bin/testsum
	$(if $(ONLY),,cd testbed/crosscheck && $(GO) test -count=1 -timeout 5m ./...)

.PHONY: recordings
recordings: ## record the lab's faults anew for the replay tests, on a quiet machine as root (ONLY=REGEX)
	PODPATH_REQUIRE_PRIVILEGED=1 PODPATH_RECORDINGS=$(abspath testbed/replays) \
		$(GO) test -count=1 -parallel 4 -timeout 40m -run '^TestLabFaults$$//$(ONLY)' ./cmd/podpath

.PHONY: test-kernels
test-kernels: ## tests and faults on Debian kernels, emulated (KERNELS=5.10,6.1; FULL=1: all of them)
	.ci/need qemu-system-x86_64:qemu-system-x86 qemu-system-aarch64:qemu-system-arm xz:xz-utils zstd:zstd dpkg-deb:dpkg \
		/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
	$(GO) run ./testbed/kernels -kernels '$(KERNELS)' $(if $(FULL),-full) $(KERNEL_FLAGS)

.PHONY: testbed testbed-up testbed-down testbed-rounds e2e e2e-recordings
testbed: ## build a real Kubernetes for the scenarios into the cache (10 to 20 minutes)
	$(GO) build -o bin/e2e ./testbed/e2e
	bin/e2e build

testbed-up: testbed ## a two-node cluster in network namespaces that stays up (FLAVOUR=flannel)
	.ci/need $(TESTBED_NEEDS)
	bin/e2e up --flavour '$(FLAVOUR)'

testbed-down: ## ... and take it away
	$(GO) build -o bin/e2e ./testbed/e2e
	bin/e2e down

testbed-rounds: build ## ten clusters up and down, killed and interrupted: nothing may be left (ROUNDS=10, FLAVOUR=flannel)
	.ci/need $(TESTBED_NEEDS)
	$(GO) build -o bin/e2e ./testbed/e2e
	bin/e2e rounds --podpath $(BIN) --flavour '$(FLAVOUR)' --count $(if $(filter file,$(origin ROUNDS)),10,$(ROUNDS))

e2e: build ## podpath against faults in real clusters (ONLY=REGEX, FLAVOURS=A,B, SEED=N, RECORD=docs/accuracy.md)
	.ci/need $(TESTBED_NEEDS)
	$(GO) build -o bin/e2e ./testbed/e2e
	bin/e2e run --podpath $(BIN) --only '$(ONLY)' --flavours '$(FLAVOURS)' --seed '$(SEED)' --record '$(RECORD)'

e2e-recordings: build ## record the scenarios anew for the replay tests, each in one flavour (ONLY=REGEX, FLAVOURS=A,B)
	.ci/need $(TESTBED_NEEDS)
	$(GO) build -o bin/e2e ./testbed/e2e
	bin/e2e run --podpath $(BIN) --only '$(ONLY)' --flavours '$(FLAVOURS)' --seed '$(SEED)' --at-once 1 --recordings '$(abspath testbed/replays)'

.PHONY: race
race: ## the tests that need no privilege, under the race detector (needs gcc)
	.ci/need gcc:gcc gcc:libc6-dev
	$(GO) build -o bin/testsum ./testbed/testsum
	CGO_ENABLED=1 PODPATH_REQUIRE_PRIVILEGED= $(GO) test -race -json ./kube/... ./tracer/... | bin/testsum

.PHONY: lint
lint: $(GOLANGCI) ## formatting, vet, staticcheck, golangci-lint, clang-format
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w is due in:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GOLANGCI) run ./...
	@if [ -n "$(BPF_C)" ] && .ci/need $(CLANG_FORMAT):$(CLANG_FORMAT); then \
		$(CLANG_FORMAT) --style=file --dry-run -Werror $(BPF_C); \
	fi

$(GOLANGCI):
	mkdir -p $(TOOLS)/build
	GOBIN=$(TOOLS)/build $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/build/golangci-lint $@

.PHONY: generate
generate: ## the BPF objects, docs/verdicts.md and docs/schema
	.ci/need $(CLANG):$(CLANG) $(STRIP):llvm-14 /usr/include/bpf/bpf_helpers.h:libbpf-dev
	BPF2GO_CC=$(CLANG) BPF2GO_STRIP=$(STRIP) $(GO) generate ./...

.PHONY: verify
verify: generate ## what is generated is what is committed; arm64 builds
	@changed=$$(git status --porcelain -- $(GENERATED)); \
	if [ -n "$$changed" ]; then \
		echo "generated files are not the committed ones:"; echo "$$changed"; \
		git --no-pager diff --stat -- $(GENERATED); exit 1; \
	fi
	$(GO) mod tidy -diff
	$(GO) mod verify
	GOARCH=arm64 $(GO) build $(BUILDFLAGS) -o /dev/null ./cmd/podpath

.PHONY: bench
bench: build ## what tracing costs, beside other tools and nothing (root); BENCHDOC=docs/bench.md keeps it
	.ci/need nft:nftables iptables-nft-restore:iptables tcpdump:tcpdump bpftrace:bpftrace perf:linux-perf
	$(GO) build -o bin/bench ./testbed/bench
	bin/bench -podpath $(BIN) -time $(BENCHTIME) -rounds $(ROUNDS) -pods $(PODS) -only "$(ONLY)" -doc "$(BENCHDOC)"

.PHONY: gobench
gobench: ## the Go benchmarks that match BENCH (root for some)
	$(GO) test -run '^$$' -bench '$(BENCH)' -p 1 ./...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each; as root also the programs in the kernel
	@if [ "$$(id -u)" = 0 ]; then \
		export PODPATH_REQUIRE_PRIVILEGED=1; \
	else \
		echo "not root: the programs in the kernel are left out"; \
	fi; \
	grep -rHoE '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' . | sed 's/:func / /' | sort | \
	while read -r file target; do \
		echo "== $$target in $${file%/*} for $(FUZZTIME)"; \
		testbed/fuzz.sh "$(GO)" "$${file%/*}" "$$target" $(FUZZTIME) </dev/null || exit 1; \
	done

.PHONY: image
image: ## an OCI image layout in dist/podpath-ARCH, without a container engine
	deploy/image.sh "$(IMAGE)" "$(VERSION)" "$(ARCH)"

.PHONY: clean
clean:
	rm -rf bin dist

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
