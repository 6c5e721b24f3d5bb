package simkernel

import (
	"slices"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// ring is one io_uring. The memory that it shares with package uring is laid out
// as the kernel does, at offsets of its own.
type ring struct {
	k        *Kernel
	f        *file
	flags    uint32
	sq, cq   uint32 // entries
	shared   []uint64
	entries  []sqe
	overflow []cqe
	work     []func() // completions that wait for the owner to enter (DEFER_TASKRUN)
	groups   map[uint16]*buffers
	wake     chan struct{} // of who waits in enter
	dice     *Dice
	dead     syscall.Errno
	closed   bool
	files    int // descriptors that it has
	waiting  bool
	poked    bool // whoever waits gets EINTR
	entering int  // threads in enter
	disabled bool
	missed   int      // cancels in a row that found nothing
	poller   bool     // it was asked for what only pollers ask
	bounded  bool     // its workers are: it is a loop's
	batch    []*op    // of a poller, in the present enter
	posts    []func() // their completions
	allowed  *allowed // nil: all
}

// allowed is what a restricted ring may do.
type allowed struct {
	ops, registers [256]bool
	flags          uint8
}

// restrict is IORING_REGISTER_RESTRICTIONS.
func (r *ring) restrict(arg unsafe.Pointer, n uint32) syscall.Errno {
	if !r.disabled || r.allowed != nil {
		return syscall.EBADFD
	}
	type entry struct {
		kind  uint16
		value uint8
		_     [13]uint8
	}
	a := new(allowed)
	for _, e := range unsafe.Slice((*entry)(arg), n) {
		switch e.kind {
		case 0:
			a.registers[e.value] = true
		case 1:
			if f := &r.k.features; e.value == opSendZC && !f.SendZC || e.value == opSendmsgZC && !f.SendmsgZC || e.value > opSendmsgZC {
				return syscall.EINVAL
			}
			a.ops[e.value] = true
		case 2:
			a.flags = e.value
		}
	}
	r.allowed = a
	return 0
}

// The words of shared memory.
const (
	wordSQHead, wordSQTail, wordSQMask, wordSQEntries, wordSQFlags, wordSQDropped = 0, 16, 32, 36, 40, 44
	wordCQHead, wordCQTail, wordCQMask, wordCQEntries, wordCQOverflow, wordCQ     = 64, 80, 96, 100, 104, 128
)

func (r *ring) word(offset uint32) *uint32 {
	return (*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(r.shared)), offset))
}

func (r *ring) arrayOffset() uint32 { return wordCQ + 16*r.cq }

func (r *ring) setFlag(flag uint32, on bool) {
	w := r.word(wordSQFlags)
	if on {
		atomic.StoreUint32(w, *w|flag)
	} else {
		atomic.StoreUint32(w, *w&^flag)
	}
}

func power(n, most uint32) uint32 {
	p := uint32(1)
	for p < n && p < most {
		p *= 2
	}
	return p
}

// Setup is io_uring_setup(2).
func (k *Kernel) Setup(entries uint32, p *Params) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.setups++
	d := NewDice(k.seed, uint64(k.setups), 3)
	if !k.probing && d.Roll(k.Weights.Setup) {
		k.played("setup refused")
		return 0, setupErrnos[d.N(len(setupErrnos))]
	}
	f := &k.features
	disabled := p.Flags&setupDisabled != 0
	if p.Flags&^(f.Setup|setupCQSize|setupClamp) != 0 || p.Flags&setupDefer != 0 && p.Flags&setupSingleIssuer == 0 {
		return 0, syscall.EINVAL
	}
	most := uint32(32768)
	if f.MaxEntries != 0 {
		most = f.MaxEntries
	}
	r := &ring{k: k, flags: p.Flags, sq: power(entries, most), cq: power(2*entries, 2*most), dice: d, groups: make(map[uint16]*buffers)}
	if p.Flags&setupCQSize != 0 {
		r.cq = max(power(p.CQEntries, 2*most), r.sq)
	}
	if f.MemlockEntries != 0 && r.sq > f.MemlockEntries {
		return 0, syscall.ENOMEM
	}
	r.shared = make([]uint64, (r.arrayOffset()+4*r.sq)/8+1)
	r.entries = make([]sqe, r.sq)
	r.wake = make(chan struct{}, 1)
	*r.word(wordSQMask), *r.word(wordSQEntries) = r.sq-1, r.sq
	*r.word(wordCQMask), *r.word(wordCQEntries) = r.cq-1, r.cq
	r.f, r.files = k.newFile(kindRing), 1
	r.f.ring = r
	r.disabled = disabled
	k.rings = append(k.rings, r)
	p.SQEntries, p.CQEntries = r.sq, r.cq
	const single, noDrop, stable, fastPoll = 1 << 0, 1 << 1, 1 << 2, 1 << 5
	p.Features = f.Bits | single | noDrop | stable | fastPoll
	p.SQ = [10]uint32{wordSQHead, wordSQTail, wordSQMask, wordSQEntries, wordSQFlags, wordSQDropped, r.arrayOffset()}
	p.CQ = [10]uint32{wordCQHead, wordCQTail, wordCQMask, wordCQEntries, wordCQOverflow, wordCQ}
	return r.f.fd, 0
}

// Map is mmap(2) of a ring.
func (k *Kernel) Map(fd int, offset int64, size int) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "mmap(2)")
	if f == nil {
		return nil
	}
	if offset == mapSQEs {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(f.ring.entries))), size)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(f.ring.shared))), size)
}

func (r *ring) ready() uint32 {
	return atomic.LoadUint32(r.word(wordCQTail)) - atomic.LoadUint32(r.word(wordCQHead))
}

// full reports that the next completion does not go into the queue. On old kernels it
// does as soon as there is room, and overtakes those that did not fit (liburing issue
// 705, Linux 5.19).
func (r *ring) full() bool {
	return r.ready() == r.cq || len(r.overflow) > 0 && !r.k.features.Overtakes
}

// post puts a completion into the queue, or beside it.
func (r *ring) post(c cqe) {
	if r.full() {
		r.k.played("overflow")
		r.overflow = append(r.overflow, c)
		r.setFlag(sqOverflow, true)
	} else {
		r.put(c)
	}
	signal(r.wake)
	signal(r.f.wake)
}

func (r *ring) put(c cqe) {
	tail := *r.word(wordCQTail)
	*(*cqe)(unsafe.Pointer(r.word(wordCQ + 16*(tail&(r.cq-1))))) = c
	atomic.StoreUint32(r.word(wordCQTail), tail+1)
}

func (r *ring) flushOverflow() {
	n := 0
	for n < len(r.overflow) && r.ready() < r.cq {
		r.put(r.overflow[n])
		n++
	}
	r.overflow = r.overflow[n:]
	if len(r.overflow) == 0 {
		r.overflow = nil
		r.setFlag(sqOverflow, false)
	}
}

// later posts by f, when the ring's owner enters if that is how it was set up.
func (r *ring) later(f func()) {
	if r.flags&setupDefer == 0 || r.entering > 0 && !r.waiting {
		f()
		return
	}
	r.work = append(r.work, f)
	if r.flags&setupTaskrunFlag != 0 {
		r.setFlag(sqTaskrun, true)
	}
	signal(r.wake)
	signal(r.f.wake)
}

func (r *ring) runWork(most int) {
	n := min(most, len(r.work))
	work := r.work[:n]
	r.work = r.work[n:]
	for _, f := range work {
		f()
	}
	if len(r.work) == 0 {
		r.work = nil
		r.setFlag(sqTaskrun, false)
	}
}

// Enter is io_uring_enter(2). timeout is negative for none.
func (k *Kernel) Enter(fd int, submit, minComplete, flags uint32, timeout int64) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "io_uring_enter(2)")
	if f == nil {
		return syscall.EBADF
	}
	r := f.ring
	if r == nil {
		return syscall.EOPNOTSUPP // it was a ring's
	}
	r.entering++
	defer func() { r.entering-- }()
	w := &k.Weights
	if r.disabled {
		return syscall.EBADFD
	}
	if r.dead != 0 && f != r.f && submit+minComplete == 0 { // by a duplicate: what has completed is not lost
		r.runWork(20)
		r.flushOverflow()
		return 0
	}
	if !k.probing {
		die := w.Die
		if r.poller {
			die *= 20 // it enters seldom
		}
		if r.dead == 0 && r.dice.N(100000) < die {
			r.die(f, dieErrnos[r.dice.N(len(dieErrnos))])
		}
		if r.dead != 0 {
			return r.dead
		}
		switch {
		case r.dice.Roll(w.EnterEINTR):
			k.played("EINTR")
			return syscall.EINTR
		case submit > 0 && r.dice.Roll(w.EnterAgain):
			k.played("EAGAIN")
			return syscall.EAGAIN
		}
	}
	if submit > 0 && k.features.BusyWhenFull && len(r.overflow) > 0 {
		if r.flushOverflow(); len(r.overflow) > 0 {
			k.played("EBUSY")
			return syscall.EBUSY
		}
	}
	head := *r.word(wordSQHead)
	n := min(submit, atomic.LoadUint32(r.word(wordSQTail))-head)
	if !k.probing && n > 1 && r.dice.Roll(w.EnterShort) {
		n = 1 + uint32(r.dice.N(int(n)))
	}
	r.batch = nil
	for range n {
		s := r.take(head)
		head++
		failed := k.issue(r, s)
		if k.Mutant == MutantTwoRecvs && s.opcode == opRecv && !k.probing {
			k.issue(r, s)
		}
		atomic.StoreUint32(r.word(wordSQHead), head)
		if failed && r.flags&setupSubmitAll == 0 {
			break
		}
	}
	r.postBatch()
	if flags&enterGetEvents == 0 {
		return 0
	}
	r.runWork(max(20, int(minComplete)))
	r.flushOverflow()
	if n > 0 && n < submit {
		return 0 // it took fewer, and does not wait then
	}
	return k.wait(r, minComplete, timeout)
}

// inline posts by f before the present enter returns.
func (r *ring) inline(f func()) { r.posts = append(r.posts, f) }

// postBatch posts what the requests of a poller ended with, in any order. None of a
// poller's requests may outlive the enter that submits it. A poller's ring is one whose
// restrictions leave no request to wait by, or that was ever asked to receive or accept
// without waiting, which loops never ask.
func (r *ring) postBatch() {
	k := r.k
	for len(r.posts) > 0 {
		i := r.dice.N(len(r.posts))
		post := r.posts[i]
		r.posts = slices.Delete(r.posts, i, i+1)
		post()
	}
	r.batch = nil
	if k.probing || !r.poller && (r.allowed == nil || r.allowed.ops[opPollAdd]) {
		return
	}
	for _, o := range k.pending {
		if o.ring == r && !o.ended {
			k.violate("a request with opcode %d outlives the io_uring_enter that submitted it to a poller's ring", o.s.opcode)
		}
	}
}

// InFlight counts the requests of a ring that have not ended.
func (k *Kernel) InFlight(ringFD int) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, o := range k.pending {
		if f := k.files[ringFD]; f != nil && o.ring == f.ring && !o.ended {
			n++
		}
	}
	return n
}

// checkQueued holds a system call on f to the rule that no request for the same lies in
// a submission queue meanwhile: it would be made later.
func (k *Kernel) checkQueued(f *file, call string, same func(o *op) bool) {
	for _, r := range k.rings {
		if r.dead != 0 || r.closed {
			continue
		}
		for head, tail := *r.word(wordSQHead), atomic.LoadUint32(r.word(wordSQTail)); head != tail; head++ {
			if o := (&op{s: r.take(head)}); int(o.s.fd) == f.fd && same(o) {
				k.violate("%s on descriptor %d while opcode %d for it lies in a submission queue", call, f.fd, o.s.opcode)
			}
		}
	}
}

// take returns the request at a place of the queue.
func (r *ring) take(head uint32) sqe {
	i := head & (r.sq - 1)
	if r.flags&setupNoSQArray == 0 {
		i = *r.word(r.arrayOffset() + 4*i) & (r.sq - 1)
	}
	return r.entries[i]
}

// wait waits for completions.
func (k *Kernel) wait(r *ring, minComplete uint32, timeout int64) syscall.Errno {
	if r.ready() >= minComplete || minComplete == 0 {
		return 0
	}
	var expired <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(time.Duration(timeout))
		defer t.Stop()
		expired = t.C
	}
	r.waiting = true
	defer func() { r.waiting = false }()
	for {
		k.mu.Unlock()
		late := false
		select {
		case <-r.wake:
		case <-expired:
			late = true
		}
		k.mu.Lock()
		r.runWork(max(20, int(minComplete)))
		r.flushOverflow()
		switch {
		case r.ready() >= minComplete:
			return 0
		case late:
			return syscall.ETIME
		case r.dead != 0:
			return r.dead
		case r.poked:
			r.poked = false
			return syscall.EINTR
		}
	}
}

// die is the end of a ring that lost a completion, or is being torn down.
func (r *ring) die(f *file, errno syscall.Errno) {
	r.k.note("ring dies", int64(errno))
	r.k.played("ring dies")
	r.dead = errno
	if errno == syscall.EOPNOTSUPP { // somebody has closed the descriptor, and opened something else
		r.k.files[f.fd] = &file{k: r.k, fd: f.fd, kind: kindStranger}
		r.k.dropRing(f)
	}
	signal(r.wake)
}

// Register is io_uring_register(2).
func (k *Kernel) Register(fd int, opcode uint32, arg unsafe.Pointer, n uint32) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "io_uring_register(2)")
	if f == nil {
		return syscall.EBADF
	}
	r := f.ring
	r.bounded = r.bounded || opcode == registerIOWQ
	if !k.probing && r.dice.Roll(k.Weights.Setup) {
		k.played("register refused")
		return buffErrnos[r.dice.N(len(buffErrnos))]
	}
	if r.allowed != nil && !r.allowed.registers[opcode] {
		if !k.probing && opcode != unregisterPersonality { // which is there to be refused
			k.violate("register opcode %d is not allowed on its ring", opcode)
		}
		return syscall.EACCES
	}
	switch opcode {
	case registerIOWQ:
		return 0
	case registerRestrictions:
		if !k.features.Restrictions {
			return syscall.EINVAL
		}
		return r.restrict(arg, n)
	case registerEnable:
		if !r.disabled {
			return syscall.EBADFD
		}
		r.disabled = false
		return 0
	case registerProbe:
		k.probeOps(arg)
		return 0
	case registerPbuf:
		return r.registerBuffers((*bufReg)(arg))
	case unregisterPbuf:
		reg := (*bufReg)(arg)
		if r.groups[reg.group] == nil {
			return syscall.EINVAL
		}
		delete(r.groups, reg.group)
		return 0
	case registerSyncCancel:
		if k.features.SyncCancel {
			return r.cancelAll()
		}
	case registerNAPI, unregisterNAPI:
		if k.features.NAPI {
			return 0
		}
	}
	return syscall.EINVAL
}

// cancelAll is IORING_REGISTER_SYNC_CANCEL, of all. Nothing touches memory after, but
// what is sent without a copy.
func (r *ring) cancelAll() syscall.Errno {
	var all []*op
	for _, o := range r.k.pending {
		if o.ring == r && !o.ended && !o.notifying && o.s.opcode != opClose {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		return syscall.ENOENT
	}
	for _, o := range all {
		o.cancelled = true
		o.perform()
	}
	return 0
}

func (k *Kernel) probeOps(arg unsafe.Pointer) {
	const known = opSendmsgZC + 1
	*(*uint8)(unsafe.Add(arg, 1)) = known
	for op := range known {
		entry := unsafe.Add(arg, 16+8*op)
		*(*uint8)(entry) = uint8(op)
		var flags uint16 = 1
		if op == opSendZC && !k.features.SendZC || op == opSendmsgZC && !k.features.SendmsgZC {
			flags = 0
		}
		*(*uint16)(unsafe.Add(entry, 2)) = flags
	}
}
