package uring

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// poller wakes the goroutines whose sockets have something for them. It is a goroutine
// with an epoll instance, whose descriptor waits in Go's own netpoller, and with a
// small ring.
//
// When it wakes it takes the events that are there. For the readers and acceptors that
// are parked it makes their system calls, all by one io_uring_enter: each receives into
// the reader's own buffer. Then it wakes them. Every request completes in the call that
// submits it; nothing of a socket waits in the kernel but its registration.
type poller struct {
	engine    *Engine
	epoll     int
	watch     *pollWatch
	ended     chan struct{}
	endpoints endpointTable
	events    [batchSize]epollEvent
	batch     batch
	crowd     crowd

	wakeups atomic.Uint64
}

// batchSize is how many events are taken at a time, and so how many requests one
// system call submits at most.
const batchSize = 64

func (e *Engine) newPoller() (*poller, error) {
	p := &poller{engine: e, ended: make(chan struct{})}
	var err error
	if p.epoll, err = sysEpollCreate(); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if p.watch, err = watchEpoll(p.epoll); err != nil {
		return nil, err
	}
	p.batch.engine = e
	if err := p.batch.open(); err != nil {
		p.watch.close()
		return nil, err
	}
	go p.run()
	return p, nil
}

// run wakes callers until stop.
func (p *poller) run() {
	defer close(p.ended)
	p.watch.each(p.poll)
	p.batch.close()
}

// stop ends the poller. No call is parked.
func (p *poller) stop() {
	p.watch.stop()
	<-p.ended
}

// poll handles the events that are there.
func (p *poller) poll() {
	p.wakeups.Add(1)
	for {
		n := sysEpollWait(p.epoll, p.events[:])
		for i := range p.events[:n] {
			e := &p.events[i]
			if ep := p.endpoints.find(tokenOf(e)); ep != nil {
				p.happened(ep, e.Events)
			}
		}
		p.batch.run()
		if n < len(p.events) {
			return // all were taken; what comes from here on wakes the poller anew
		}
		p.letReadersRun()
	}
}

// letReadersRun lets those that have just been woken run before the next are: their data
// is in the cache still. Not so beside goroutines that compute, which take a time slice
// each before the poller is on again.
func (p *poller) letReadersRun() {
	if !p.crowd.isHere() {
		took := yield()
		p.crowd.yielded(took, took > longYield)
	}
}

// happened tells the calls of ep of an event.
func (p *poller) happened(ep *endpoint, events uint32) {
	const ends = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	var bits uint32
	if events&unix.EPOLLIN != 0 {
		bits |= dirReady
	}
	if events&ends != 0 {
		bits |= dirReady | dirHungUp
	}
	if events&unix.EPOLLPRI != 0 {
		bits |= dirUrgent
	}
	if bits != 0 && ep.read.event(bits, p.batch.usable()) {
		p.batch.add(ep)
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		ep.write.event(dirReady, false)
	}
}
