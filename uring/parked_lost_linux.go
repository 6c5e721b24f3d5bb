package uring

import (
	"syscall"
	"time"
)

// die ends a ring that cannot be entered any more. Requests are refused from here on,
// with a *RingLostError, and those in flight end: the kernel may know of them, but what
// they would do is prevented before their callers go on.
func (p *parked) die(cause error) {
	p.mu.Lock()
	if p.dead != nil {
		p.mu.Unlock()
		return
	}
	p.dead = &RingLostError{Err: cause}
	p.mu.Unlock()
	p.harvestMu.Lock()
	p.buried = true
	p.missed = nil
	p.harvestMu.Unlock()
	p.lost.Store(true)
	go p.bury() // who finds out may hold locks, or be the reaper
}

// burialMoments is how long what was cancelled has to end, in milliseconds. Most of it
// completes on the threads that submitted it.
const burialMoments = 20

// bury ends what is in flight on a dead ring, and has the kernel free it. Nobody else
// takes completions any more, or publishes requests.
func (p *parked) bury() {
	// First nobody must enter it any more: its descriptor is made one of something else.
	// Who has got past that takes the ring's lock in the kernel, as any register call
	// does; the moment is for those who have not got to the lock yet.
	p.mu.Lock()
	lost, foreign := p.dead, isForeign(p.dead)
	p.mu.Unlock()
	if !foreign {
		_ = sysReplaceEventfd(p.ring.fd)
	}
	time.Sleep(time.Millisecond)
	letGo := false
	p.watch.control(func(sysfd int) { letGo = cancelAll(sysfd, p.used) })

	queued := make(map[uint64]bool) // the kernel has not seen, and will not
	p.mu.Lock()
	for request := range p.ring.queued {
		queued[request.userData] = true
	}
	p.quiet = nil
	p.mu.Unlock()
	for o := range p.ops.all {
		if o.inFlight() && !queued[userData(o.slot, o.gen.Load())] {
			o.prevent(letGo)
		}
	}
	moments := burialMoments
	if !letGo {
		moments = 1 // nothing was cancelled
	}
	sleepers := p.awaitEnds(queued, moments)
	p.watch.stop()
	p.ring.abandon()
	if !letGo {
		time.Sleep(burialMoments * time.Millisecond) // the kernel ends them behind our backs
	}
	for o := range p.ops.all {
		if !o.inFlight() {
			continue
		}
		result := -int32(syscall.ECANCELED) // to be made again, and then refused
		if o.sqe.opcode == opClose && !queued[userData(o.slot, o.gen.Load())] {
			result = 0 // the kernel closes a socket as it takes the request
		}
		if o.finish(result) {
			sleepers = append(sleepers, o)
		}
	}
	p.mu.Lock()
	submitted := p.submitted
	p.mu.Unlock()
	p.harvestMu.Lock()
	p.completed = submitted
	p.harvestMu.Unlock()
	p.onDeath(lost)
	close(p.gone)
	for _, o := range sleepers {
		o.wake <- struct{}{}
	}
}

// awaitEnds waits for what was cancelled to end, as far as the kernel still tells, and
// returns the ops whose waiters sleep. An accept must have ended before the next one
// begins, else it would take its wake-up: the kernel wakes one of those who wait for a
// listener.
func (p *parked) awaitEnds(queued map[uint64]bool, moments int) (sleepers []*op) {
	for moment := range moments {
		p.watch.control(func(sysfd int) { _ = sysEnter(sysfd, 0, 0, enterGetEvents) })
		var wake [harvestBatch]*op
		for p.ring.ready() > 0 {
			p.harvestMu.Lock()
			n, _ := p.drain(&wake)
			p.harvestMu.Unlock()
			sleepers = append(sleepers, wake[:n]...)
		}
		left := false
		for o := range p.ops.all {
			left = left || o.inFlight() && !queued[userData(o.slot, o.gen.Load())]
		}
		if !left || moment == moments-1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return sleepers
}

func (o *op) inFlight() bool {
	state := o.state.Load()
	return state == opSubmitted || state == opParked
}

// prevent sees to it that a request that the kernel has taken moves no more data: none
// is to come, and none can be sent. The kernel ends it when the ring is gone. letGo: it
// touches no memory any more.
func (o *op) prevent(letGo bool) {
	switch o.sqe.opcode {
	case opClose:
		return
	case opAccept:
		if !letGo {
			buryMemory(o.remote) // an address may be written there
		}
		return
	}
	_ = sysShutdown(int(o.sqe.fd), syscall.SHUT_RDWR)
	if letGo || o.sqe.opcode != opRecv {
		return
	}
	// What was received before is lost with the request: it might be in its buffer,
	// or not.
	var scratch [4096]byte
	for recvNow(o.sqe.fd, scratch[:]) > 0 {
	}
}

// causeOf returns why a call failed or met an end of file: when the ring is lost, that
// is the reason, whatever our own shutdown (prevent) made of the request.
func (p *parked) causeOf(err error) error {
	if !p.lost.Load() {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// freeIfLost frees a ring that died, when nobody has an op in it any more. One that is
// not buried yet is in its place still: whoever replaces it frees it, or Close.
func (p *parked) freeIfLost() {
	if !p.lost.Load() {
		return
	}
	select {
	case <-p.gone:
		if p.ops.empty() {
			p.close()
		}
	default:
	}
}
