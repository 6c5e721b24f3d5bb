package simkernel

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
)

// Kernel is one simulated run. Its state changes when package uring calls it, and
// when the driver lets it take a step.
type Kernel struct {
	Weights Weights
	Mutant  Mutant
	Trace   io.Writer // nil: not printed

	mu        sync.Mutex
	seed      uint64
	features  Features
	probing   bool
	files     map[int]*file
	nextFD    int
	rings     []*ring
	setups    int
	pending   []*op   // submitted, and not ended
	events    []event // of a step
	lateWrite [][]byte
	endpoints map[int]*[2]*Endpoint // of each connection: the client's, the server's
	conns     int
	listeners map[string]*file
	remote    map[string]bool // addresses that the outside listens on
	accepted  []*Endpoint
	nextPort  int

	steps      uint64
	hash       uint64
	violations []string
	// Played counts what was played, by name.
	Played map[string]int
}

// Features says what the kernel has.
type Features struct {
	Setup                                                     uint32 // setup flags it takes
	Bits                                                      uint32 // params.features beyond what is needed
	SendZC, SendmsgZC, PollFirst                              bool
	BufferRing, BufferRingInc, MultishotRecv, MultishotAccept bool
	NAPI, SyncCancel, SendWaitAll, Restrictions               bool
	SockNonempty, UnixNonempty, AcceptDontwait                bool
	MaxEntries                                                uint32 // larger queues are clamped; 0: 32768
	MemlockEntries                                            uint32 // larger rings are ENOMEM; 0: none is
	EOFKeepsBuffer, BusyWhenFull, Overtakes                   bool   // ways in which kernels differ
	EOFNonempty, NonblockEnds                                 bool   // others
}

var current atomic.Pointer[Kernel]

// Install makes k the kernel of the process.
func Install(k *Kernel) { current.Store(k) }

// Current returns the installed kernel.
func Current() *Kernel { return current.Load() }

// New makes a kernel.
func New(seed uint64, f Features, w Weights) *Kernel {
	return &Kernel{
		Weights: w, seed: seed, features: f, files: make(map[int]*file), nextFD: 1000,
		endpoints: make(map[int]*[2]*Endpoint), listeners: make(map[string]*file), remote: make(map[string]bool),
		nextPort: 2000, Played: make(map[string]int), hash: seed,
	}
}

// Probing has the kernel play no faults, and complete what can be at once.
func (k *Kernel) Probing(on bool) {
	k.mu.Lock()
	k.probing = on
	k.mu.Unlock()
}

// violate notes that a rule was broken.
func (k *Kernel) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	k.note("VIOLATION: " + text)
	k.violations = append(k.violations, text)
}

// Violate notes that a rule was broken which the driver checks.
func (k *Kernel) Violate(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.violate(format, args...)
}

// Violations returns the rules that were broken.
func (k *Kernel) Violations() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.violations...)
}

// note puts an event into the trace and its hash.
func (k *Kernel) note(what string, args ...int64) {
	for i := range len(what) {
		k.hash = (k.hash ^ uint64(what[i])) * 1099511628211
	}
	for _, a := range args {
		k.hash = mix(k.hash ^ uint64(a))
	}
	if k.Trace != nil {
		fmt.Fprintln(k.Trace, k.steps, what, args)
	}
}

// Note is note, for the driver.
func (k *Kernel) Note(what string, args ...int64) {
	k.mu.Lock()
	k.note(what, args...)
	k.mu.Unlock()
}

// Hash is that of the trace.
func (k *Kernel) Hash() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hash
}

func (k *Kernel) played(what string) { k.Played[what]++ }

// PlayedTimes returns how often something was played.
func (k *Kernel) PlayedTimes(what string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Played[what]
}

// Dice are random numbers of their own for each connection and direction, so that
// the order of goroutines changes little.
type Dice struct{ state uint64 }

// NewDice returns dice that the keys name.
func NewDice(keys ...uint64) *Dice {
	d := &Dice{0x9e3779b97f4a7c15}
	for _, key := range keys {
		d.state = mix(d.state ^ key)
	}
	return d
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Next returns 64 random bits.
func (d *Dice) Next() uint64 { d.state += 0x9e3779b97f4a7c15; return mix(d.state) }

// N returns a number from 0 to n-1.
func (d *Dice) N(n int) int { return int(d.Next() % uint64(n)) }

// Roll reports true so many times in a thousand.
func (d *Dice) Roll(perMille int) bool { return perMille > 0 && d.N(1000) < perMille }

// Pattern is the byte at an offset of the stream that one end of a connection
// sends: it identifies connection, direction and offset.
func Pattern(conn, side int, offset int64) byte {
	word := mix(uint64(conn)<<8 ^ uint64(side)<<40 ^ uint64(offset>>3)<<16 ^ 0x5bd1e995)
	return byte(word >> (8 * (offset & 7)))
}

// Fill puts the pattern into p.
func Fill(p []byte, conn, side int, offset int64) {
	for i := range p {
		p[i] = Pattern(conn, side, offset+int64(i))
	}
}

// file is an open file description with its one descriptor.
type file struct {
	k      *Kernel
	fd     int
	kind   fileKind
	dice   [2]*Dice // of what receives, and of what sends
	ring   *ring
	end    *Endpoint // of a connected socket
	local  []byte    // address of a bound socket
	family int
	queue  []*Endpoint // of a listener: connections not accepted
	count  uint64      // of an eventfd
	wake   chan struct{}

	nonblock bool
	dial     *dial         // a connect under way
	err      syscall.Errno // of a connect that failed
	failed   bool          // a connect did
	kept     bool          // a call was told that there is nothing, and there may be: an edge follows
	regs     []*registration
	unwatch  chan struct{} // of an epoll instance
}

type fileKind string

const (
	kindRing   fileKind = "ring"
	kindSocket fileKind = "socket"
	kindListen fileKind = "listener"
	kindEvent  fileKind = "eventfd"
	kindEpoll  fileKind = "epoll instance"
	// kindStranger stands where a ring's descriptor was that somebody has closed.
	kindStranger fileKind = "file of somebody else's"
)

func (k *Kernel) newFile(kind fileKind) *file {
	k.nextFD++ // never used again: what names a closed one is found out
	f := &file{k: k, fd: k.nextFD, kind: kind, wake: make(chan struct{}, 1)}
	for i := range f.dice {
		f.dice[i] = NewDice(k.seed, uint64(f.fd), uint64(i))
	}
	k.files[f.fd] = f
	return f
}

// find returns an open file, and notes who names a closed one.
func (k *Kernel) find(fd int, who string) *file {
	f := k.files[fd]
	if f == nil {
		if fd > 1000 && fd <= k.nextFD {
			k.violate("%s names descriptor %d, which is closed", who, fd)
		} else {
			k.violate("%s names descriptor %d, which never was", who, fd)
		}
	}
	return f
}

// close closes a descriptor, by close(2) or a request.
func (k *Kernel) close(fd int, who string) syscall.Errno {
	f := k.find(fd, who)
	if f == nil {
		return syscall.EBADF
	}
	k.note("close", int64(fd))
	for _, o := range k.pending {
		if o.f == f && o.s.opcode != opClose && o.ring.dead == 0 && !k.probing {
			k.violate("%s closes descriptor %d while opcode %d is in flight on it", who, fd, o.s.opcode)
		}
	}
	if k.Mutant != MutantLeakFD || f.kind != kindSocket {
		delete(k.files, fd)
	}
	f.unwatched()
	f.dial = nil
	switch f.kind {
	case kindRing:
		k.dropRing(f)
	case kindStranger:
		k.violate("%s closes descriptor %d, which belongs to somebody else by now", who, fd)
	case kindListen:
		delete(k.listeners, string(f.local))
		for _, e := range f.queue {
			e.peer.resetBy()
		}
	case kindSocket:
		if f.end != nil {
			f.end.close()
		}
	}
	return 0
}

// dropRing is for one descriptor of a ring less; the last frees it.
func (k *Kernel) dropRing(f *file) {
	r := f.ring
	if r.files--; r.files > 0 {
		return
	}
	r.closed = true
	for _, o := range k.pending {
		if o.ring == r && !k.probing && r.dead == 0 {
			k.violate("a ring is closed while opcode %d is in flight", o.s.opcode)
		}
	}
	var closing []*op // are carried out
	for _, o := range k.pending {
		if o.ring == r && o.s.opcode == opClose && !o.ended {
			closing = append(closing, o)
		}
	}
	k.dropOps(func(o *op) bool { return o.ring == r })
	for _, o := range closing {
		k.closeBy(o)
	}
}

func (k *Kernel) dropOps(gone func(o *op) bool) {
	kept := k.pending[:0]
	for _, o := range k.pending {
		if !gone(o) {
			kept = append(kept, o)
		}
	}
	clear(k.pending[len(kept):])
	k.pending = kept
}

// Close is close(2).
func (k *Kernel) Close(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.Mutant == MutantCloseTwice && k.files[fd] != nil && k.files[fd].kind == kindRing && !k.probing {
		k.close(fd, "close(2)")
	}
	return k.close(fd, "close(2)")
}

// Left describes what is still open or in flight.
func (k *Kernel) Left() (left []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for fd, f := range k.files {
		if f.kind == kindStranger {
			continue
		}
		left = append(left, fmt.Sprintf("descriptor %d, a %s", fd, f.kind))
	}
	for _, o := range k.pending {
		if !o.ring.closed {
			left = append(left, fmt.Sprintf("a request with opcode %d on descriptor %d", o.s.opcode, o.s.fd))
		}
	}
	return left
}
