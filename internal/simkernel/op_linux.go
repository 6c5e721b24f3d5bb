package simkernel

import (
	"cmp"
	"slices"
	"syscall"
	"unsafe"
)

// op is a request that was submitted and has not ended.
type op struct {
	k         *Kernel
	ring      *ring
	s         sqe
	f         *file
	dice      *Dice
	segments  [][]byte // what it sends
	total     int
	done      int           // bytes moved
	fail      syscall.Errno // what it ends with, whatever comes
	cancelled bool
	ended     bool
	queued    bool // a completion of it waits for the ring's owner
	notifying bool // sent without a copy: the memory is the kernel's still
	sum       uint64
	edges     int // of the socket, when a multishot poll last told
	told      bool
}

func (o *op) receives() bool {
	switch o.s.opcode {
	case opRecv, opRead, opAccept:
		return true
	case opPollAdd:
		return o.s.opFlags&1 != 0 // POLLIN
	}
	return false
}

func (o *op) sends() bool {
	switch o.s.opcode {
	case opSend, opSendmsg, opSendZC, opSendmsgZC, opConnect:
		return true
	case opPollAdd:
		return o.s.opFlags&4 != 0 // POLLOUT
	}
	return false
}

func (o *op) zeroCopy() bool { return o.s.opcode == opSendZC || o.s.opcode == opSendmsgZC }

func (o *op) moves() bool { return o.sends() && o.s.opcode != opConnect && o.s.opcode != opPollAdd }

func (o *op) multishot() bool {
	switch o.s.opcode {
	case opRecv:
		return o.s.ioprio&recvMultishot != 0
	case opAccept:
		return o.s.ioprio&acceptMultishot != 0
	case opPollAdd:
		return o.s.len&pollMulti != 0
	}
	return false
}

// who numbers an op in the trace.
func (o *op) who() int64 {
	return o.f.who()
}

// issue begins a request, and reports whether it failed at once.
func (k *Kernel) issue(r *ring, s sqe) (failed bool) {
	if a := r.allowed; a != nil && (!a.ops[s.opcode] || s.flags&^a.flags != 0) {
		if !k.probing {
			k.violate("a request with opcode %d and flags %#x is not allowed on its ring", s.opcode, s.flags)
		}
		r.post(cqe{userData: s.userData, res: -int32(syscall.EACCES)})
		return true
	}
	switch s.opcode {
	case opNop:
		r.post(cqe{userData: s.userData})
		return false
	case opCancel:
		k.cancel(r, s)
		return false
	}
	f := k.find(int(s.fd), "a request with opcode "+digits(int(s.opcode)))
	if f == nil {
		r.post(cqe{userData: s.userData, res: -int32(syscall.EBADF)})
		return true
	}
	o := &op{k: k, ring: r, s: s, f: f, dice: f.dice[0]}
	if o.sends() {
		o.dice = f.dice[1]
	}
	k.note("issue", int64(s.opcode), o.who(), int64(s.len), int64(s.opFlags), int64(s.flags))
	k.check(o)
	if errno := o.prepare(); errno != 0 {
		r.post(cqe{userData: s.userData, res: -int32(errno)})
		return true
	}
	k.pending = append(k.pending, o)
	now := o.mustNotWait() || o.cannotWait() && !k.probing
	if o.ofPoller() {
		k.played("of a poller")
		r.poller = true
		r.batch = append(r.batch, o)
	}
	if !k.probing {
		errnos := errnosOf(s.opcode)
		switch d := o.dice; {
		case len(errnos) > 0 && d.Roll(k.Weights.Fail):
			o.fail = errnos[d.N(len(errnos))]
			k.played("errno")
			f.kept = f.kept || o.ofPoller() && o.fail == syscall.EAGAIN
		case !now && s.opcode != opClose && d.Roll(k.Weights.Cancelled):
			o.fail = []syscall.Errno{syscall.ECANCELED, syscall.EINTR}[d.N(2)]
			k.played("cancelled by nobody")
		}
		if !now && o.dice.Roll(k.Weights.Delay) {
			return false
		}
		if k.Mutant == MutantReuse && s.opcode == opRecv && o.dice.Roll(100) {
			delete(k.files, f.fd)
		}
	}
	if o.enabled() || now || s.flags&sqeBufferSelect != 0 {
		o.perform()
	}
	return o.ended && o.fail != 0
}

func digits(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return digits(n/10) + string(rune('0'+n%10))
}

// mustNotWait reports that o ends while it is submitted.
func (o *op) mustNotWait() bool {
	return (o.moves() || o.s.opcode == opRecv) && o.s.opFlags&syscall.MSG_DONTWAIT != 0 || o.s.opcode == opAccept && o.s.ioprio&acceptDontwait != 0
}

// cannotWait reports that o ends with EAGAIN where it finds nothing, though it may wait:
// an accept on a listener that does not block, on old kernels.
func (o *op) cannotWait() bool {
	return o.s.opcode == opAccept && o.f.nonblock && o.k.features.NonblockEnds
}

// ofPoller reports that o is one of those that only pollers make.
func (o *op) ofPoller() bool { return o.receives() && o.mustNotWait() }

// prepare finds out what memory o is for, and what this kernel has not.
func (o *op) prepare() syscall.Errno {
	f, s := &o.k.features, &o.s
	switch s.opcode {
	case opRecv:
		if s.ioprio&recvMultishot != 0 && !f.MultishotRecv || s.ioprio&pollFirst != 0 && !f.PollFirst {
			return syscall.EINVAL
		}
	case opAccept:
		if s.ioprio&acceptMultishot != 0 && !f.MultishotAccept || s.ioprio&acceptDontwait != 0 && !f.AcceptDontwait {
			return syscall.EINVAL
		}
	case opSendZC, opSendmsgZC:
		if s.opcode == opSendZC && !f.SendZC || s.opcode == opSendmsgZC && !f.SendmsgZC || s.flags&sqeSkipSuccess != 0 {
			return syscall.EINVAL
		}
	}
	switch s.opcode {
	case opSend, opSendZC:
		o.segments = [][]byte{bytesAt(s.addr, int(s.len))}
	case opSendmsg, opSendmsgZC:
		header := at(s.addr)
		iov := *(*unsafe.Pointer)(unsafe.Add(header, 16))
		n := *(*uint64)(unsafe.Add(header, 24))
		type vec struct {
			base uint64
			len  uint64
		}
		for _, v := range unsafe.Slice((*vec)(iov), n) {
			o.segments = append(o.segments, bytesAt(v.base, int(v.len)))
		}
	}
	for _, p := range o.segments {
		o.total += len(p)
	}
	return 0
}

// check holds a request to the rules that package uring keeps.
func (k *Kernel) check(o *op) {
	if k.probing {
		return
	}
	if o.ring.bounded && o.moves() && !o.mustNotWait() {
		k.violate("a send of a loop may wait in the kernel, on descriptor %d", o.s.fd)
	}
	if o.f.nonblock && !o.mustNotWait() && !o.enabled() && (o.moves() || o.s.opcode == opRecv) {
		// It leaks EAGAIN now and then (Linux 6.18, Seastar's issue 3435).
		k.violate("a request with opcode %d waits on descriptor %d, which does not block", o.s.opcode, o.s.fd)
	}
	for _, other := range slices.Concat(k.pending, o.ring.batch) {
		if other.ring.dead != 0 || other.ended && !other.ofPoller() {
			continue
		}
		if other.ring == o.ring && other.s.userData == o.s.userData {
			k.violate("two requests with user data %#x are in flight (opcodes %d and %d)", o.s.userData, other.s.opcode, o.s.opcode)
		}
		if other.f == o.f {
			if o.receives() && other.receives() && o.f.kind == kindSocket {
				k.violate("two receives are in flight on descriptor %d (opcodes %d and %d)", o.s.fd, other.s.opcode, o.s.opcode)
			}
			if o.sends() && other.sends() {
				k.violate("two sends are in flight on descriptor %d (opcodes %d and %d)", o.s.fd, other.s.opcode, o.s.opcode)
			}
			if o.s.opcode == opClose {
				k.violate("descriptor %d is closed while opcode %d is in flight", o.s.fd, other.s.opcode)
			}
		}
		if a, b := o.target(), other.target(); len(a) > 0 && len(b) > 0 && overlap(a, b) {
			k.violate("two receives write to the same memory (descriptors %d and %d)", o.s.fd, other.s.fd)
		}
	}
}

// target is the memory that a receive writes to, where the request names it.
func (o *op) target() []byte {
	if (o.s.opcode == opRecv || o.s.opcode == opRead) && o.s.flags&sqeBufferSelect == 0 {
		return bytesAt(o.s.addr, int(o.s.len))
	}
	return nil
}

func overlap(a, b []byte) bool {
	p, q := uintptr(unsafe.Pointer(unsafe.SliceData(a))), uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}

// cancel is ASYNC_CANCEL by user data.
func (k *Kernel) cancel(r *ring, s sqe) {
	var target *op
	for _, o := range k.pending {
		if o.ring == r && o.s.userData == s.addr && !o.ended {
			target = o
		}
	}
	answer := cqe{userData: s.userData}
	if target != nil {
		r.missed = 0
	}
	switch {
	case target == nil:
		if r.missed++; r.missed > 1000 { // and gets no answer, so that the run comes to rest
			k.violate("a request is cancelled again and again that is not there")
			return
		}
		answer.res = -int32(syscall.ENOENT)
	case target.notifying, target.s.opcode == opClose:
		answer.res = -int32(syscall.EALREADY)
	default:
		k.note("cancel", int64(target.s.opcode), target.who())
		d := target.dice
		target.cancelled = true
		if target.queued || !k.probing && d.Roll(k.Weights.LateCancel) {
			k.played("late after cancel")
			if d.Roll(500) {
				answer.res = -int32(syscall.EALREADY)
			}
			break
		}
		if d.Roll(500) {
			r.later(func() { r.post(answer) })
			target.perform()
			return
		}
		target.perform()
	}
	r.later(func() { r.post(answer) })
}

// enabled reports that o can go on.
func (o *op) enabled() bool {
	switch {
	case o.queued, o.ended, o.ring.closed:
		return false
	case o.notifying, o.fail != 0, o.cancelled:
		return true
	}
	switch o.s.opcode {
	case opRecv:
		return o.f.end == nil || o.f.end.readable()
	case opSend, opSendmsg, opSendZC, opSendmsgZC:
		return o.f.end == nil || o.f.end.writable()
	case opAccept:
		return len(o.f.queue) > 0
	case opConnect:
		_, port := keyOf(bytesAt(o.s.addr, int(o.s.off)))
		return port != SilentPort
	case opPollAdd:
		return o.pollResult() != 0 && (!o.told || !o.multishot() || o.edges != o.edge())
	case opRead:
		return o.f.count > 0
	}
	return true
}

// SilentPort never answers who connects to it.
const SilentPort = 9

// edge counts what a poll tells of once.
func (o *op) edge() int {
	if e := o.f.end; e != nil {
		return e.edges
	}
	return len(o.f.queue)
}

func (o *op) pollResult() int32 {
	const pollIn, pollOut, pollErr, pollHup, pollRDHup = 1, 4, 8, 16, 0x2000
	var ready int32
	switch e := o.f.end; {
	case o.f.kind == kindListen:
		if len(o.f.queue) > 0 {
			ready = pollIn
		}
	case o.f.kind == kindEpoll:
		if slices.ContainsFunc(o.f.regs, func(r *registration) bool { return r.ready && r.present() != 0 }) {
			ready = pollIn
		}
	case e == nil:
		return pollHup
	default:
		if e.readable() {
			ready |= pollIn
		}
		if e.writable() {
			ready |= pollOut
		}
		if e.fin {
			ready |= pollRDHup
		}
		if e.err != 0 {
			ready |= pollErr
		}
	}
	return ready & (int32(o.s.opFlags) | pollErr | pollHup | pollRDHup) // asked for or not: IO_POLL_UNMASK
}

// perform goes on with o: it may end, or complete once of many times, or go on
// waiting.
func (o *op) perform() {
	k := o.k
	switch {
	case o.notifying:
		o.notify()
		return
	case o.cancelled && o.fail == 0 && !(o.ready() && o.dice.Roll(500)):
		if o.done > 0 && o.counts() {
			o.end(int32(o.done), 0)
		} else if o.dice.Roll(100) {
			o.end(-int32(syscall.EINTR), 0)
		} else {
			o.end(-int32(syscall.ECANCELED), 0)
		}
		return
	case o.fail != 0:
		if o.s.opcode == opClose {
			k.closeBy(o)
		}
		if o.done > 0 && o.counts() {
			o.end(int32(o.done), 0)
		} else {
			o.end(-int32(o.fail), 0)
		}
		return
	}
	switch o.s.opcode {
	case opRecv:
		o.receive()
	case opSend, opSendmsg, opSendZC, opSendmsgZC:
		o.send()
	case opAccept:
		o.accept()
	case opConnect:
		o.end(-int32(k.connectFile(o.f, bytesAt(o.s.addr, int(o.s.off)))), 0)
	case opClose:
		o.end(-int32(k.closeBy(o)), 0)
	case opPollAdd:
		if res := o.pollResult(); res != 0 {
			o.told, o.edges = true, o.edge()
			o.once(res, 0)
		}
	case opRead:
		if o.f.count > 0 {
			*(*uint64)(at(o.s.addr)) = o.f.count
			o.f.count = 0
			o.end(8, 0)
		}
	default:
		o.end(-int32(syscall.EINVAL), 0)
	}
}

// ready reports that o could end without being cancelled.
func (o *op) ready() bool {
	was := o.cancelled
	o.cancelled = false
	ready := o.enabled()
	o.cancelled = was
	return ready
}

func (k *Kernel) closeBy(o *op) syscall.Errno {
	o.ended = true
	return k.close(o.f.fd, "a close request")
}

// end is the last completion of o.
func (o *op) end(res int32, flags uint32) {
	o.ended = true
	o.k.note("end", int64(o.s.opcode), o.who(), int64(res), int64(flags&0xffff))
	o.k.dropOps(func(other *op) bool { return other == o })
	o.complete(cqe{o.s.userData, res, flags})
}

func (o *op) complete(c cqe) {
	r, k := o.ring, o.k
	if k.Mutant == MutantNever && o.s.opcode == opRecv && o.dice.Roll(200) && !k.probing {
		return
	}
	post := r.later
	if o.ofPoller() {
		post = r.inline
	}
	post(func() {
		r.post(c)
		if k.Mutant == MutantTwice && o.s.opcode != opClose && c.flags&cqeMore == 0 && !k.probing && o.dice.Roll(200) {
			r.post(c)
		}
	})
}

// once is a completion of a multishot, or the only one.
func (o *op) once(res int32, flags uint32) {
	if !o.multishot() || o.cancelled || !o.k.probing && o.dice.Roll(o.k.Weights.DropMore) {
		o.end(res, flags)
		return
	}
	o.k.note("more", int64(o.s.opcode), o.who(), int64(res), int64(flags&0xffff))
	o.queued = true
	o.ring.later(func() {
		o.queued = false
		if o.ring.full() { // it ends when it does not fit
			o.ended = true
			o.k.dropOps(func(other *op) bool { return other == o })
			o.ring.post(cqe{o.s.userData, res, flags})
			return
		}
		o.ring.post(cqe{o.s.userData, res, flags | cqeMore})
	})
}

func (o *op) receive() {
	k, e := o.k, o.f.end
	if e == nil {
		o.end(-int32(syscall.ENOTCONN), 0)
		return
	}
	if o.s.flags&sqeBufferSelect == 0 {
		p := o.target()
		n, errno := e.give(p, k.shorten(o.dice, len(p)))
		if errno == syscall.EAGAIN && !o.mustNotWait() {
			return
		}
		if k.Mutant == MutantLateWrite && n > 1 && o.dice.Roll(300) {
			k.lateWrite = append(k.lateWrite, p[:n])
		}
		o.end(result(n, errno), o.nonempty(errno))
		return
	}
	group := o.ring.groups[o.s.bufIndex]
	var entry *bufEntry
	if group != nil {
		entry = group.pick()
	}
	if entry == nil || !k.probing && o.dice.Roll(k.Weights.NoBuffer) {
		k.played("ENOBUFS")
		o.end(-int32(syscall.ENOBUFS), 0)
		return
	}
	p := bytesAt(entry.addr, int(entry.len))
	n, errno := e.give(p, k.shorten(o.dice, len(p)))
	switch {
	case errno == syscall.EAGAIN:
	case n > 0:
		o.once(int32(n), group.used(entry, n)|o.nonempty(0))
	case errno == 0 && k.features.EOFKeepsBuffer && !group.inc:
		o.end(0, group.used(entry, 0))
	default:
		o.end(result(n, errno), 0)
	}
}

// nonempty is the flag that says, with the result of a receive, that there is more.
func (o *op) nonempty(errno syscall.Errno) uint32 {
	f, e := &o.k.features, o.f.end
	unix := o.f.family == syscall.AF_UNIX
	switch {
	case errno != 0, !f.SockNonempty, unix && !f.UnixNonempty:
		return 0
	case len(e.in) > 0:
		if o.k.probing {
			return cqeNonempty
		}
		o.k.played("more")
		if o.k.Mutant == MutantNoMore && o.dice.Roll(800) {
			return 0
		}
		return cqeNonempty
	case f.EOFNonempty && !unix && e.fin && !e.dead: // tcp_inq_hint in net/ipv4/tcp.c
		return cqeNonempty
	}
	return 0
}

func result(n int, errno syscall.Errno) int32 {
	if errno != 0 {
		return -int32(errno)
	}
	return int32(n)
}

func (o *op) send() {
	k, e := o.k, o.f.end
	if e == nil {
		o.end(-int32(syscall.ENOTCONN), 0)
		return
	}
	if o.zeroCopy() && o.done == 0 && !k.probing && o.dice.Roll(k.Weights.ZCRefused) {
		o.end(-int32(syscall.EOPNOTSUPP), 0)
		return
	}
	most := k.shorten(o.dice, o.total-o.done)
	e.noSpace = e.noSpace || most < o.total-o.done // epoll(7): a short transfer is followed by an event
	var errno syscall.Errno
	skip := o.done
	for _, p := range o.segments {
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		var n int
		p = p[skip:]
		skip = 0
		n, errno = e.take(p, most)
		o.done += n
		most -= n
		if errno != 0 || n < len(p) || most == 0 {
			break
		}
	}
	waits := !o.mustNotWait()
	switch {
	case o.done == o.total:
		o.sent(int32(o.done))
	case errno != 0 && errno != syscall.EAGAIN && o.done == 0:
		o.sent(-int32(errno))
	case errno != 0 && errno != syscall.EAGAIN:
		o.sent(int32(o.done))
	case !waits && (o.done == 0 || !o.counts()):
		o.sent(-int32(syscall.EAGAIN))
	case o.done > 0 && (!waits || o.s.opFlags&syscall.MSG_WAITALL == 0):
		o.sent(int32(o.done))
	}
}

// counts reports that the kernel says how much of o it has sent when it does not go
// on. Before Linux 6.1 it does not, where it was to send all.
func (o *op) counts() bool {
	return o.k.features.SendWaitAll || o.s.opFlags&syscall.MSG_WAITALL == 0
}

// sent is the completion of a send, or none where success says nothing.
func (o *op) sent(res int32) {
	k := o.k
	quiet := o.s.flags&sqeSkipSuccess != 0 && (int(res) == o.total || res > 0 && k.Mutant == MutantShortQuiet)
	if quiet {
		o.ended = true
		k.note("quiet", o.who(), int64(res))
		k.dropOps(func(other *op) bool { return other == o })
		return
	}
	if !o.zeroCopy() || res < 0 && o.dice.Roll(500) {
		o.end(res, 0)
		return
	}
	k.note("notify later", o.who(), int64(res))
	o.notifying, o.queued = true, true
	o.sum = o.checksum()
	o.ring.later(func() {
		o.queued = false
		o.ring.post(cqe{o.s.userData, res, cqeMore})
	})
	if !o.queued && !o.dice.Roll(k.Weights.LateNotif) {
		o.notify()
	}
}

func (o *op) checksum() (sum uint64) {
	for _, p := range o.segments {
		for _, b := range p {
			sum = (sum ^ uint64(b)) * 1099511628211
		}
	}
	return sum
}

// notify lets go of the memory of a zero-copy send.
func (o *op) notify() {
	if o.sum != o.checksum() {
		o.k.violate("memory of a zero-copy send on connection %d changed before its notification", o.f.end.Conn)
	}
	o.k.played("notification")
	var res int32
	if o.s.ioprio&zcReportUsage != 0 && o.dice.Roll(300) {
		res = notifCopied
	}
	o.end(res, cqeNotif)
}

func (o *op) accept() {
	k, f := o.k, o.f
	if len(f.queue) == 0 {
		if o.mustNotWait() || o.cannotWait() {
			o.end(-int32(syscall.EAGAIN), 0)
		}
		return
	}
	s := f.accept()
	s.nonblock = o.s.opFlags&syscall.SOCK_NONBLOCK != 0
	if o.s.addr != 0 {
		copy(bytesAt(o.s.addr, 16), inetAddr(FirstPort+s.end.Conn))
		*(*uint32)(at(o.s.off)) = 16
	}
	var flags uint32
	if k.features.AcceptDontwait && len(f.queue) > 0 && f.family != syscall.AF_UNIX {
		flags = cqeNonempty
	}
	o.once(int32(s.fd), flags)
}

// completeAll ends all that can end, for a probe.
func (k *Kernel) completeAll(r *ring) {
	for {
		var next *op
		for _, o := range k.pending {
			if o.ring == r && o.enabled() {
				next = o
				break
			}
		}
		if next == nil || r.ready() > 0 {
			break
		}
		next.perform()
	}
	r.runWork(len(r.work))
}

// Step has one thing happen, which the dice choose, and reports false when there is
// nothing that could.
func (k *Kernel) Step(d *Dice) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps++
	w := &k.Weights
	for _, p := range k.lateWrite {
		p[0] ^= 0xff
	}
	k.lateWrite = nil
	if d.Roll(w.EnterEINTR) && len(k.rings) > 0 {
		if r := k.rings[d.N(len(k.rings))]; r.waiting {
			r.poked = true
			signal(r.wake)
		}
	}
	if w.Scribble > 0 && d.Roll(w.Scribble) {
		for _, o := range k.pending {
			if p := o.target(); !o.ended && o.s.opcode == opRecv && o.ring.dead == 0 && !o.ring.closed {
				clear(p[:min(len(p), 256)])
			}
		}
	}
	if d.Roll(w.Spurious) {
		k.disturb(d)
	}
	k.events = k.events[:0]
	for conn := 1; conn <= k.conns; conn++ {
		for _, e := range k.endpoints[conn] {
			if e.arrives() {
				k.events = append(k.events, event{end: e})
				if d.Roll(w.Reset) && d.Roll(200) && !k.endpoints[conn][0].closed {
					k.played("reset")
					k.endpoints[conn][0].resetBy()
					k.endpoints[conn][1].resetBy()
				}
			}
		}
	}
	ends := len(k.events)
	for _, o := range k.pending {
		if o.enabled() {
			k.events = append(k.events, event{op: o})
		}
	}
	k.events = k.edges(k.events)
	if len(k.events) == 0 {
		return false
	}
	// By what they are about, not by when they were submitted, which the order of
	// goroutines decides.
	slices.SortStableFunc(k.events[ends:], func(a, b event) int {
		return cmp.Or(cmp.Compare(a.who(), b.who()), cmp.Compare(a.kind(), b.kind()))
	})
	switch e := k.events[d.N(len(k.events))]; {
	case e.end != nil:
		e.end.arrive()
	case e.op != nil:
		e.op.perform()
	case e.reg != nil:
		e.reg.reportLate(d)
	case e.dials != nil:
		e.dials.finishDial()
	default:
		e.owes.tell()
	}
	return true
}

// event is something that can happen next.
type event struct {
	end   *Endpoint // something arrives
	op    *op       // goes on
	reg   *registration
	dials *file // connects, or is refused
	owes  *file // tells its registrations of what they are not told yet
}

// who numbers what it is about.
func (e event) who() int64 {
	switch {
	case e.op != nil:
		return e.op.who()
	case e.reg != nil:
		return e.reg.f.who()
	case e.dials != nil:
		return e.dials.who()
	}
	return e.owes.who()
}

// kind numbers what happens.
func (e event) kind() int {
	switch {
	case e.op != nil:
		return int(e.op.s.opcode)
	case e.reg != nil:
		return 256
	case e.dials != nil:
		return 257
	}
	return 258
}
