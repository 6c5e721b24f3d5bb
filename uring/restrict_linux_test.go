package uring

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const opOpenat = 18 // openat(2), which no ring of ours may do

// needRestrictions skips a test where rings cannot be restricted.
func needRestrictions(t *testing.T) {
	t.Helper()
	needRing(t)
	if why, missing := Probe().Details[FeatureRestrictions]; missing {
		t.Skip("needs a kernel that restricts rings (Linux 5.10); here: ", why)
	}
}

// kinds are the kinds of rings, each with its list and a way to make one.
var kinds = []struct {
	name    string
	allowed func(Features) allowed
	make    func(Features) (*ring, error)
}{
	{"batch", allowedBatch, func(f Features) (*ring, error) {
		return newRing(8, 64, setupFlags(f)|setupRestricted(f))
	}},
	{"loop", allowedLoop, newLoopRing},
}

// restricted makes a ring of a kind, enabled, that lives as long as the test and is
// for its goroutine.
func restricted(t *testing.T, kind int, f Features) *ring {
	t.Helper()
	runtime.LockOSThread() // the ring of a loop knows one thread
	t.Cleanup(runtime.UnlockOSThread)
	r, err := kinds[kind].make(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	if err := r.enable(kinds[kind].allowed(f)); err != nil {
		t.Fatal(err)
	}
	return r
}

// ask submits a request without a file and returns its errno.
func ask(t *testing.T, r *ring, op, flags uint8) error {
	t.Helper()
	id := uint64(r.head()) + 1
	r.push(&sqe{opcode: op, flags: flags, fd: -1, userData: id})
	for submit := uint32(1); ; submit = 0 {
		// The rings of loops hold completions back until somebody waits for them.
		if errno := r.enter(submit, 1, enterGetEvents); errno != 0 {
			t.Fatalf("io_uring_enter with opcode %d, flags %#x: %v", op, flags, errno)
		}
		for r.ready() > 0 {
			c := r.peek(0)
			r.advance(1)
			if c.userData == id { // not the notification of a send before
				return c.result()
			}
		}
	}
}

// TestRestrictedOpcodes asks both kinds of rings for all that the kernel knows.
func TestRestrictedOpcodes(t *testing.T) {
	needRestrictions(t)
	used := Probe().Found & usedFeatures
	known := testRing(t, 8, 16, 0).opcodes()
	if !known[opOpenat] {
		t.Fatal("the kernel does not know openat: this test looks at nothing")
	}
	for i, kind := range kinds {
		list := kind.allowed(used)
		t.Run(kind.name, func(t *testing.T) {
			r := restricted(t, i, used)
			for op, ok := range known {
				if !ok {
					continue
				}
				err := ask(t, r, op, 0)
				if refused := errors.Is(err, syscall.EACCES); refused == slices.Contains(list.ops, op) {
					t.Errorf("opcode %d ended with %v, and the list has %v", op, err, list.ops)
				}
			}
		})
	}
}

// TestRestrictedFlags sets each flag of a request.
func TestRestrictedFlags(t *testing.T) {
	needRestrictions(t)
	used := Probe().Found & usedFeatures
	for i, kind := range kinds {
		list := kind.allowed(used)
		t.Run(kind.name, func(t *testing.T) {
			for flag := uint8(1); flag <= sqeSkipSuccess; flag <<= 1 {
				err := ask(t, restricted(t, i, used), opRecv, flag)
				// EINVAL is of a flag that the kernel does not know.
				refused := errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EINVAL)
				if refused == (list.flags&flag != 0) {
					t.Errorf("flag %#x ended with %v, and the list has %#x", flag, err, list.flags)
				}
			}
		})
	}
}

// TestRestrictedRegisters has both kinds of rings refuse to be changed: by all
// calls that Linux 5.10 has, and by those of later kernels that the package knows.
func TestRestrictedRegisters(t *testing.T) {
	needRestrictions(t)
	found := Probe().Found
	codes := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, registerRestrictions}
	for _, later := range []struct {
		feature Features
		codes   []uint32
	}{
		{FeatureBufferRing, []uint32{registerPbufRing, unregisterPbufRing}},
		{FeatureNAPI, []uint32{registerNAPI, unregisterNAPI}},
	} {
		if found.Has(later.feature) {
			codes = append(codes, later.codes...)
		}
	}
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			r := restricted(t, i, found&usedFeatures)
			for _, code := range codes {
				if errno := r.register(code, nil, 0); errno != syscall.EACCES {
					t.Errorf("register opcode %d: %v, want %v", code, errno, syscall.EACCES)
				}
			}
			if errno := r.register(registerEnableRings, nil, 0); errno != syscall.EBADFD {
				t.Errorf("enabling again: %v, want %v", errno, syscall.EBADFD)
			}
		})
	}
}

// TestRingsAreRestricted asks the rings of an engine and of its loops, with the
// feature and without it.
func TestRingsAreRestricted(t *testing.T) {
	needRestrictions(t)
	for _, c := range []struct {
		name    string
		without Features
		want    error
	}{
		{"restricted", 0, syscall.EACCES},
		{"masked", FeatureRestrictions, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEngine(t, Config{Without: c.without})
			for i, r := range batchRings(t, e) {
				if err := ask(t, r, opNop, 0); !errors.Is(err, c.want) {
					t.Errorf("the ring of poller %d: a nop ended with %v, want %v", i, err, c.want)
				}
			}
			set, err := e.startLoops()
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range set.all {
				changed := make(chan error, 1)
				l.post(&request{kind: requestRun, run: func(l *loop) {
					if l.ring.opcodes() == nil { // IORING_REGISTER_PROBE
						changed <- syscall.EACCES
					}
					close(changed)
				}})
				if err := <-changed; !errors.Is(err, c.want) {
					t.Errorf("loop %d: a probe ended with %v, want %v", i, err, c.want)
				}
			}
		})
	}
}

// TestRegisteredBeforeRestricted: what a loop registers is there although its ring
// does not allow to register it.
func TestRegisteredBeforeRestricted(t *testing.T) {
	needRestrictions(t)
	found := Probe().Found
	e := newEngine(t, Config{Loops: LoopConfig{NAPI: time.Millisecond}})
	set, err := e.startLoops()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range set.all {
		if found.Has(FeatureBufferRing) && l.buffers == nil {
			t.Errorf("loop %d has no ring of buffers", i)
		}
		if info := fdinfo(t, l.ring.fd); found.Has(FeatureNAPI) && !strings.Contains(info, "NAPI:\tenabled") {
			t.Errorf("loop %d does not poll the network card:\n%s", i, info)
		}
	}
}

// fdinfo returns what the kernel says of a descriptor.
func fdinfo(t *testing.T, fd int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDisabledRing: a ring that was never enabled does nothing, so that none is
// used by mistake before it is restricted.
func TestDisabledRing(t *testing.T) {
	needRestrictions(t)
	r := testRing(t, 8, 16, setupRDisabled)
	r.push(nop(0))
	if errno := r.enter(1, 0, 0); errno != unix.EBADFD {
		t.Errorf("io_uring_enter: %v, want %v", errno, unix.EBADFD)
	}
}

// TestNotRestricted: where the kernel does not take the list there is no ring.
func TestNotRestricted(t *testing.T) {
	needRestrictions(t)
	r := testRing(t, 8, 16, setupRDisabled)
	if err := r.enable(allowed{ops: []uint8{255}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("enabling with an opcode that is none: %v, want %v", err, syscall.EINVAL)
	}
	if errno := r.enter(0, 0, 0); errno != unix.EBADFD {
		t.Errorf("the ring was enabled all the same: io_uring_enter: %v", errno)
	}
}
