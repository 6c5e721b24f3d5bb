# `make test` and `make bench` need Go 1.26, make and git; each sets up the rest
# by itself, or says what it left out. GNU make and BSD make both read this file.

GO = go
TESTFLAGS = -shuffle=on -timeout=8m
BENCHFLAGS =
SOAKTIME = 30m
SOAKFLAGS =
BACKEND = io_uring
KERNELS =
PARTS =
# How long model and fuzz go on: sequences per backend, and time per target.
CHECKS = 10000
FUZZTIME = 30s
# All Go files of ours: dist has copies of those of others.
SOURCES = find . -path ./dist -prune -o -name '*.go' -print
SYSTEMS = linux/amd64 linux/arm64 windows/amd64 darwin/arm64 freebsd/amd64 openbsd/amd64

# The library; what measures it; the command; and what it is measured against, and
# the real programs, which are for Linux. Each is a module of its own, so that who imports the
# library gets no more than it needs.
MODULES = . bench cmd/ringfd
PEERS = bench/peers bench/apps foreign

.PHONY: test bench bench-full bench-serve bench-apps bench-fair bench-giouring soak readme build peers lab fmt vet cross unit race giouring sim benchonce wine vagrant-check lint kernels emulated chaos chaos-bytes chaos-connections model fuzz cover foreign foreign-short clean
.NOTPARALLEL:

test: lab fmt vet cross unit race giouring sim benchonce

# The main job: every target in turns, in about two minutes.
bench: build peers
	@scripts/need perf linux-perf || scripts/need strace strace || true
	bin/ringfd bench --json=dist/bench/headline.json --html=dist/bench/headline.html $(BENCHFLAGS)
	@echo "the page: dist/bench/headline.html"

# The whole matrix takes hours; BENCHFLAGS='--cell=fanout.*' takes part of it.
bench-full: build peers
	@scripts/need perf linux-perf || scripts/need strace strace || true
	bin/ringfd bench --full --rounds=5 --json=dist/bench/full.json --html=dist/bench/full.html $(BENCHFLAGS)
	@echo "the page: dist/bench/full.html"

# What Backend.Serve is judged by.
bench-serve: build peers
	@scripts/need perf linux-perf || scripts/need strace strace || true
	bin/ringfd bench --serve --json=dist/bench/serve.json --html=dist/bench/serve.html $(BENCHFLAGS)

# Real programs on ringfd and on Go's net, in some ten minutes. Other generators check
# the lab's own.
bench-apps: build peers
	@scripts/need perf linux-perf || scripts/need strace strace || true
	@scripts/need wrk wrk || true
	@scripts/need h2load nghttp2-client || true
	@scripts/need redis-benchmark redis-tools || true
	bin/ringfd bench --apps --rounds=5 --json=dist/bench/apps.json --html=dist/bench/apps.html $(BENCHFLAGS)
	@echo "the page: dist/bench/apps.html"

# How evenly a thousand connections are served.
bench-fair: build
	bin/ringfd bench --fair --rounds=5 --no-syscalls --json=dist/bench/fair.json --html=dist/bench/fair.html $(BENCHFLAGS)

# The library's own ring, the one on giouring, and net.
bench-giouring: build
	$(GO) build -C cmd/ringfd -buildvcs=auto -tags giouring -ldflags=-checklinkname=0 -o ../../bin/ringfd-giouring .
	bin/ringfd bench --target=io_uring --target=net --also giouring=bin/ringfd-giouring $(BENCHFLAGS)

# A server under load for long, with peers that misbehave: does anything grow?
# make soak SOAKTIME=5m, make soak BACKEND=net
soak: build
	bin/ringfd soak --time=$(SOAKTIME) --backend=$(BACKEND) --out=dist/soak $(SOAKFLAGS)

# The README's figures and pictures, from the reports that are kept.
readme: build
	bin/ringfd bench render bench/results/apps.json --readme=README.md
	bin/ringfd bench render bench/results/headline.json --readme=README.md --pictures=dist/pictures
	bin/ringfd bench render bench/results/workloads.json --readme=README.md
	bin/ringfd bench render bench/results/serve.json --readme=README.md
	cp dist/pictures/cpu.svg dist/pictures/latency.svg bench/results/

build:
	$(GO) build -C cmd/ringfd -buildvcs=auto -o ../../bin/ .

# What ringfd is compared with, and the real programs that run on it.
peers:
	@GO='$(GO)' scripts/peers

# What the tests of the bench use, by name: without it they leave parts out.
lab: peers
	@scripts/need perf linux-perf || true
	@scripts/need strace strace || true
	@scripts/need chromium chromium || true

fmt:
	@files=$$($$($(GO) env GOROOT)/bin/gofmt -l $$($(SOURCES))) && test -z "$$files" || { echo "not as gofmt has it:" $$files; exit 1; }

vet:
	@for m in $(MODULES); do for s in $(SYSTEMS); do echo "vet $$m for $$s"; \
		(cd $$m && CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/} $(GO) vet ./...) || exit 1; done; done
	@for m in $(PEERS); do echo "vet $$m"; (cd $$m && $(GO) vet ./...) || exit 1; done
	$(GO) vet -tags giouring ./...
	$(GO) vet -tags sim ./uring ./internal/sim ./internal/simkernel

# What vet, which checks types, does not show: that it can be assembled and linked.
# The command links the whole library and the bench.
cross:
	@for s in $(SYSTEMS); do echo "build the command for $$s"; \
		(cd cmd/ringfd && CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/} $(GO) build -o /dev/null ./...) || exit 1; done

unit:
	@for m in $(MODULES) $(PEERS); do (cd $$m && $(GO) test $(TESTFLAGS) ./...) || exit 1; done

# The race detector is the one thing here that needs a C compiler. With -short, here
# and below, the suite runs with all features and with none, and not over IPv6; here with
# all only, and without the programs of others, which take long to build.
race:
	@for m in $(MODULES); do (cd $$m && GO='$(GO)' $$OLDPWD/scripts/race -short -skip='/-bare$$' $(TESTFLAGS) ./...) || exit 1; done

# giouring uses a linkname that Go's linker refuses unless told otherwise. The rows
# on net have no ring.
giouring:
	$(GO) test -tags giouring -ldflags=-checklinkname=0 -short -skip='/^(serve-)?net$$' $(TESTFLAGS) ./...

# The chaos tests, each for CHAOSTIME=10s, and again under the race detector.
chaos:
	RINGFD_CHAOS_TIME=$${CHAOSTIME:-10s} $(GO) test -count=1 -timeout=2h ./internal/chaos
	RINGFD_CHAOS_TIME=$${CHAOSTIME:-10s} GO='$(GO)' scripts/race -count=1 -timeout=2h ./internal/chaos

# The counting runs: 10^9 bytes echoed under all faults at once, and 10^6 connections
# opened and closed, none lost and nothing left; or what CHAOSTIME=20m allows.
chaos-bytes:
	RINGFD_CHAOS=bytes RINGFD_CHAOS_TIME=$${CHAOSTIME:-20m} $(GO) test -count=1 -timeout=2h -v -run='^TestBytes$$' ./internal/chaos

chaos-connections:
	RINGFD_CHAOS=connections RINGFD_CHAOS_TIME=$${CHAOSTIME:-20m} $(GO) test -count=1 -timeout=2h -v -run='^TestConnections$$' ./internal/chaos

# Sequences of calls that nobody wrote down, against a model of an FD; make test
# runs a few.
model:
	$(GO) test ./internal/model -timeout=0 -v -rapid.checks=$(CHECKS)

# Each fuzz target in turn; make test runs what they have kept.
fuzz:
	@for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=dist .); do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' $$f); do echo "fuzz $$t in $$f"; \
			$(GO) test -run='^$$' -fuzz="^$$t\$$" -fuzztime=$(FUZZTIME) "./$$(dirname $$f)" || exit 1; done; done

# The statement coverage of the library by its tests. Benchmarks and examples
# do not count: they assert little.
cover:
	@mkdir -p dist
	$(GO) test -run='^(Test|Fuzz)' -timeout=15m -coverpkg=./fd,./accept,./uring -coverprofile=dist/cover.out ./...
	@GO='$(GO)' scripts/cover dist/cover.out fd accept uring

# The io_uring backend on a kernel of our own, from seeds: make sim SEEDS=100000, or
# for a time, SIMTIME=1h. A seed that fails prints the command that replays it.
SEEDS = 5000
SIMTIME = 0
FIRST = 1
sim:
	$(GO) test -tags sim -count=1 -timeout=0 -v ./internal/sim -args -seeds=$(SEEDS) -duration=$(SIMTIME) -first=$(FIRST)

# The tests of Go's net and net/http and of other projects on our connections, built
# with a copy of the installed Go; docs/foreign.md has those that cannot pass.
# FOREIGNFLAGS='-project=grpc' runs a part. The short set takes a minute once it is built.
FOREIGNFLAGS =
foreign:
	cd foreign && $(GO) run . $(FOREIGNFLAGS)

foreign-short:
	cd foreign && $(GO) run . -short $(FOREIGNFLAGS)

# Benchmarks are run once each, so that they cannot rot.
benchonce:
	@for m in $(MODULES); do (cd $$m && $(GO) test -run='^$$' -bench=. -benchtime=1x ./...) || exit 1; done

# The Windows tests, under wine.
wine:
	@for m in $(MODULES); do (cd $$m && GO='$(GO)' $$OLDPWD/scripts/wine $(TESTFLAGS) ./...) || exit 1; done

# The tests on Debian's kernels 5.10, 6.1 and 6.12, and on those of KERNELS, in a
# virtual machine. PARTS='^io_uring' runs a part.
kernels:
	@GO='$(GO)' PARTS='$(PARTS)' scripts/kernels $(KERNELS)

# The Linux tests for other processors, by emulation.
emulated:
	@GO='$(GO)' scripts/emulated $(TESTFLAGS)

vagrant-check:
	@if scripts/need ruby ruby; then ruby -c Vagrantfile; else echo "vagrant-check: left out, it needs ruby"; fi

lint: fmt vet
	@for m in $(MODULES) $(PEERS); do (cd $$m && $(GO) mod tidy -diff && $(GO) mod verify) || exit 1; done
	@if scripts/need shellcheck shellcheck; then shellcheck .ci/run scripts/cover scripts/emulated scripts/kernels scripts/need scripts/peers scripts/race scripts/wine; else echo "lint: the scripts were left out, they need shellcheck"; fi

clean:
	rm -rf bin dist
