# `make test` and `make bench` need Go 1.26, make and git; each sets up the rest
# by itself, or says what it left out. GNU make and BSD make both read this file.

GO = go
TESTFLAGS = -shuffle=on -timeout=8m
BENCHFLAGS =
SYSTEMS = linux/amd64 linux/arm64 windows/amd64 darwin/arm64 freebsd/amd64 openbsd/amd64

.PHONY: test bench bench-giouring build fmt vet cross unit race giouring benchonce wine vagrant-check lint clean
.NOTPARALLEL:

test: fmt vet cross unit race giouring benchonce

# The main job: io_uring and net side by side. perf or strace count syscalls.
bench: build
	@scripts/need perf linux-perf || scripts/need strace strace || true
	bin/ringfd bench $(BENCHFLAGS)

# The library's own ring, the one on giouring, and net.
bench-giouring: build
	$(GO) build -buildvcs=auto -tags giouring -ldflags=-checklinkname=0 -o bin/ringfd-giouring ./cmd/ringfd
	bin/ringfd bench --also giouring=bin/ringfd-giouring $(BENCHFLAGS)

build:
	$(GO) build -buildvcs=auto -o bin/ ./cmd/ringfd

fmt:
	@files=$$($$($(GO) env GOROOT)/bin/gofmt -l .) && test -z "$$files" || { echo "not as gofmt has it:" $$files; exit 1; }

vet:
	@for s in $(SYSTEMS); do echo "vet $$s"; \
		CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/} $(GO) vet ./... || exit 1; done
	$(GO) vet -tags giouring ./...

cross:
	@for s in $(SYSTEMS); do echo "build $$s"; \
		CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/} $(GO) build ./... || exit 1; done

unit:
	$(GO) test $(TESTFLAGS) ./...

# The race detector is the one thing here that needs a C compiler.
race:
	@GO='$(GO)' scripts/race $(TESTFLAGS) ./...

# giouring uses a linkname that Go's linker refuses unless told otherwise.
giouring:
	$(GO) test -tags giouring -ldflags=-checklinkname=0 $(TESTFLAGS) ./...

# Benchmarks are run once each, so that they cannot rot.
benchonce:
	$(GO) test -run='^$$' -bench=. -benchtime=1x ./...

# The Windows tests, under wine.
wine:
	@GO='$(GO)' scripts/wine $(TESTFLAGS) ./...

vagrant-check:
	@if scripts/need ruby ruby; then ruby -c Vagrantfile; else echo "vagrant-check: left out, it needs ruby"; fi

lint: fmt vet
	$(GO) mod tidy -diff
	$(GO) mod verify
	@if scripts/need shellcheck shellcheck; then shellcheck .ci/run scripts/need scripts/race scripts/wine; else echo "lint: the scripts were left out, they need shellcheck"; fi

clean:
	rm -rf bin dist
