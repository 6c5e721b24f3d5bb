package uring

import (
	"cmp"
	"sync"
	"syscall"
	"time"
)

// renewEvery is how often a ring may be replaced: one that dies again and again
// must not keep the machine busy with that.
const renewEvery = time.Second

// die notes that the ring cannot be entered any more. Requests are left out from
// here on; what is in flight ends when the next turn begins.
func (l *loop) die(cause error) {
	if l.dead == nil {
		l.dead = &RingLostError{Err: cause}
		l.ringless.Store(true)
	}
}

// replaceRing buries a ring that died: every connection of it fails. Then it makes a
// new one, if it may, and goes on accepting.
func (l *loop) replaceRing() {
	if l.ring != nil {
		l.bury()
	}
	if l.over || l.stopping || clock() < l.renewAt {
		return
	}
	l.renewAt = clock() + int64(renewEvery)
	lost := l.dead
	r, err := newLoopRing(l.used)
	if err == nil {
		l.ring, l.dead = r, nil
		err = l.equip()
	}
	if err != nil {
		l.ring, l.dead = nil, &RingLostError{Err: err}
		if lost.Error() != l.dead.Error() { // once, not every second
			l.set.engine.tellLost(l.dead)
		}
		return
	}
	l.ringless.Store(false)
	for _, a := range l.acceptors {
		if a != nil && a.lost {
			a.lost = false
			l.armAccept(a)
		}
	}
}

// bury ends what was in flight on a ring that is dead, and frees it. It calls no
// handler: one could end the goroutine, and what has begun here must not be begun again.
func (l *loop) bury() {
	lost, r := l.dead, l.ring
	unclosed := make(map[uint64]int32) // descriptors whose closing the kernel has not seen
	for request := range r.queued {
		if request.userData&kindMask == kindCloseFD {
			unclosed[request.userData] = request.fd
		}
	}
	letGo := cancelAll(l.spareFD, l.used)
	// What was cancelled ends when this thread enters, some requests at a time. An
	// accept must have ended before the next one begins, else it would take its wake-up.
	for range l.conns.live/10 + 10 {
		_ = sysEnter(l.spareFD, 0, 0, enterGetEvents)
	}
	l.collect()
	completed := append([]cqe(nil), l.batch...)
	l.batch, l.next, l.sends = l.batch[:0], 0, 0
	clear(l.quiet)
	l.quiet, l.quietLeft, l.batched = l.quiet[:0], false, false
	l.count.RingsLost++
	l.freeRing(letGo)
	for _, s := range l.conns.slots {
		if s.c != nil {
			l.loseConn(s.c, lost, unclosed, letGo)
		}
	}
	for _, e := range completed { // the rest is of connections that are lost
		if e.userData&(kindMask|kindCancelBit) == kindAccept && e.res >= 0 {
			if a := l.acceptors[uint32(e.userData>>32)&slotMask-1]; a != nil && !a.polling {
				l.take(a, e.res)
			}
		}
	}
	for _, a := range l.acceptors {
		if a == nil || !a.armed {
			continue
		}
		if a.armed, a.lost = false, true; a.stopping {
			l.acceptEnded(a)
		}
	}
	l.set.engine.tellLost(lost)
}

// loseConn fails a connection whose ring is dead: the peer is told, since the kernel
// may hold the socket for longer than we do, and calls fail with lost. The FD closes
// itself when it learns.
func (l *loop) loseConn(c *conn, lost error, unclosed map[uint64]int32, letGo bool) {
	switch c.phase {
	case phaseReleasing:
		if !c.closesByRing {
			return // a goroutine closes it
		}
		if sysfd, queued := unclosed[c.userData(kindCloseFD)]; queued {
			l.descriptorClosed(c, errnoResult(sysClose(int(sysfd))))
		} else {
			l.descriptorClosed(c, 0) // the kernel does that as it takes the request
		}
		return
	case phaseGone:
		return
	}
	sending := c.send.inFlight
	withoutCopy := sending == sendZeroCopy || sending == sendNotified
	if withoutCopy {
		sysDisconnect(int(c.sysfd)) // or what was not acknowledged would be sent again
	}
	_ = sysShutdown(int(c.sysfd), syscall.SHUT_RDWR)
	if sending != 0 && (withoutCopy || !letGo) {
		c.send.bury()
	}
	if c.send.vector != nil {
		l.memory.putVector(c.send.vector)
		c.send.vector = nil
	}
	c.receive.inFlight, c.receive.cancelled, c.receive.readable = 0, false, false
	c.send.inFlight, c.send.refused, c.send.looked = 0, false, false
	c.receive.err = cmp.Or(c.receive.err, lost)
	l.serveReads(c)
	l.sendFailed(c, lost)
	l.touch(c)
}

// bury takes the memory of the request in flight out of use: the kernel may read it
// still.
func (s *sending) bury() {
	p := s.first
	for range s.pieces {
		buryMemory(p.data)
		if p.chunk != nil {
			buryMemory(p.chunk) // it never has no pieces: nothing is put over this one
		}
		p.chunk, p.own = nil, nil
		p = p.next
	}
	if s.vector != nil {
		buryMemory(s.vector)
		s.vector = nil
	}
}

// freeRing frees a ring that is dead, and the buffers if the kernel has let go: else a
// request may still receive into them, and they stay mapped.
func (l *loop) freeRing(letGo bool) {
	if isForeign(l.dead) {
		l.ring.disown()
	}
	if !letGo && l.buffers != nil {
		buryMemory(l.buffers)
		l.buffers = nil
	}
	l.closeRing()
	if !letGo {
		time.Sleep(burialMoments * time.Millisecond) // the kernel ends what is left behind our backs
	}
	l.ring = nil
	l.spent, l.published = l.spent+uint64(l.published), 0
	l.count.InFlight = 0
	// A request of the old ring may still read from it.
	_ = sysReplaceEventfd(l.wakeFD)
}

// burialMoments is how long what was cancelled has to end, in milliseconds. Most of it
// completes on the thread that submitted it.
const burialMoments = 20

// isForeign reports that a ring died because its descriptor is not ours any more:
// somebody has closed it, and it may be anything by now.
func isForeign(lost error) bool {
	e, ok := lost.(*RingLostError)
	if !ok {
		return false
	}
	errno, _ := asErrno(e.Err)
	return errno == syscall.EBADF || errno == syscall.EOPNOTSUPP
}

// grave keeps what a request of a dead ring may still touch, for good: nobody can say
// when the kernel is through with it.
var grave struct {
	sync.Mutex
	memory []any
}

func buryMemory(memory any) {
	grave.Lock()
	grave.memory = append(grave.memory, memory)
	grave.Unlock()
}

// waitForMail waits without a ring: for mail, the next timer, or the time when the ring
// may be replaced.
func (l *loop) waitForMail() {
	if l.ring != nil || !l.prepareToWait() {
		return // it has just died, or there is something to do
	}
	l.endTurn()
	until := clock() + int64(renewEvery)
	if !l.stopping {
		until = min(until, l.renewAt)
	}
	if at, ok := l.timers.first(); ok {
		until = min(until, at)
	}
	wait := time.Duration(max(until-clock(), 0)).Milliseconds() + 1
	if readable, _ := sysPollIn(l.wakeFD, int(wait)); readable {
		_, _ = sysRead(l.wakeFD, l.wakeWord[:])
	}
	l.mail.sleeping.Store(false)
	l.beginTurn()
}
