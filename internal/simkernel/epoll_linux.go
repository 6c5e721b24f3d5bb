package simkernel

import (
	"cmp"
	"slices"
	"syscall"
)

// The events of epoll_ctl(2).
const (
	epollIn, epollOut, epollErr, epollHup, epollRDHup = 1, 4, 8, 16, 0x2000
	epollEdge, epollOneShot                           = 1 << 31, 1 << 30
)

// registration is what an epoll instance knows of a socket. Events are edge-triggered:
// an edge makes it ready, and the wait that takes it finds out what is there by then.
type registration struct {
	epoll, f *file
	events   uint32 // that are asked for
	token    uint64
	dice     *Dice
	ready    bool // the next wait takes it
	late     bool // an edge came, of which a later step tells
	lies     bool // the event says of everything that it is ready
}

// Event is one that EpollWait takes.
type Event struct {
	Events uint32
	Token  uint64
}

// EpollCreate is epoll_create1(2).
func (k *Kernel) EpollCreate() (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.newFile(kindEpoll)
	if d := f.dice[0]; !k.probing && d.Roll(k.Weights.Setup) {
		delete(k.files, f.fd)
		k.played("setup refused")
		return 0, []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}[d.N(3)]
	}
	f.unwatch = make(chan struct{})
	return f.fd, 0
}

// findEpoll returns the two files of an epoll_ctl(2), or nil.
func (k *Kernel) findEpoll(epoll, fd int) (e, f *file) {
	e, f = k.find(epoll, "epoll_ctl(2)"), k.find(fd, "epoll_ctl(2)")
	switch {
	case e == nil || f == nil:
		return nil, nil
	case e.kind != kindEpoll || f.kind != kindSocket && f.kind != kindListen:
		k.violate("epoll_ctl(2) of a %s on a %s", f.kind, e.kind)
		return nil, nil
	}
	return e, f
}

func (f *file) registrationWith(epoll *file) *registration {
	for _, r := range f.regs {
		if r.epoll == epoll {
			return r
		}
	}
	return nil
}

// EpollAdd is EPOLL_CTL_ADD.
func (k *Kernel) EpollAdd(epoll, fd int, events uint32, token uint64) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, f := k.findEpoll(epoll, fd)
	switch {
	case f == nil:
		return syscall.EBADF
	case f.registrationWith(e) != nil:
		k.violate("descriptor %d is added twice to an epoll instance", fd)
		return syscall.EEXIST
	case events&(epollEdge|epollOneShot) == 0:
		k.violate("descriptor %d is added without EPOLLET or EPOLLONESHOT", fd)
	}
	r := &registration{epoll: e, f: f, events: events, token: token, dice: NewDice(k.seed, uint64(fd), 5)}
	if d := f.dice[0]; !k.probing && d.Roll(k.Weights.Fail) {
		k.played("errno")
		return []syscall.Errno{syscall.ENOMEM, syscall.ENOSPC}[d.N(2)]
	}
	k.note("watched", f.who(), int64(events))
	f.regs, e.regs = append(f.regs, r), append(e.regs, r)
	r.look()
	return 0
}

// EpollModify is EPOLL_CTL_MOD: what is ready already comes anew.
func (k *Kernel) EpollModify(epoll, fd int, events uint32, token uint64) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, f := k.findEpoll(epoll, fd)
	if f == nil {
		return syscall.EBADF
	}
	r := f.registrationWith(e)
	if r == nil {
		k.violate("a registration of descriptor %d is changed that is not there", fd)
		return syscall.ENOENT
	}
	r.events, r.token, r.ready, r.late = events, token, false, false
	r.look()
	return 0
}

// EpollDelete is EPOLL_CTL_DEL.
func (k *Kernel) EpollDelete(epoll, fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, f := k.findEpoll(epoll, fd)
	if f == nil {
		return syscall.EBADF
	}
	r := f.registrationWith(e)
	if r == nil {
		return syscall.ENOENT
	}
	r.remove()
	return 0
}

func (r *registration) remove() {
	is := func(other *registration) bool { return other == r }
	r.f.regs = slices.DeleteFunc(r.f.regs, is)
	r.epoll.regs = slices.DeleteFunc(r.epoll.regs, is)
}

// unwatched ends all registrations of f, which is being closed.
func (f *file) unwatched() {
	for len(f.regs) > 0 {
		f.regs[0].remove()
	}
}

// look is an edge if something is ready already.
func (r *registration) look() {
	if r.present() != 0 {
		r.edge()
	}
}

// present is what is ready of what is asked for. Looking for room and finding none has
// the socket tell when there is some.
func (r *registration) present() uint32 {
	if r.events == 0 {
		return 0 // it has told, once
	}
	now := r.f.readiness()
	if e := r.f.end; e != nil && now&epollOut == 0 {
		e.noSpace = true
	}
	return now & (r.events | epollErr | epollHup)
}

// edge says that something new is ready.
func (r *registration) edge() {
	k := r.f.k
	switch {
	case k.probing:
		r.report()
	case k.Mutant == MutantLostEdge && r.dice.Roll(100):
		k.played("lost edge")
	case r.dice.Roll(k.Weights.LateEvent):
		k.played("late event")
		r.late = true
	default:
		r.report()
	}
}

func (r *registration) report() {
	r.late, r.ready = false, true
	signal(r.epoll.wake)
}

// edge tells the registrations of f of an event; of 0, those of all events.
func (f *file) edge(event uint32) {
	if f == nil { // the outside's
		return
	}
	for _, r := range f.regs {
		if event == 0 || r.events&event != 0 {
			r.edge()
		}
	}
}

// readiness is what poll(2) says of a socket: tcp_poll in net/ipv4/tcp.c.
func (f *file) readiness() (ready uint32) {
	e := f.end
	switch {
	case f.kind == kindListen:
		if len(f.queue) > 0 {
			return epollIn
		}
		return 0
	case e != nil:
	case f.dial != nil:
		return 0
	default: // not connected
		ready = epollOut | epollHup
		if f.failed {
			ready |= epollIn | epollRDHup
		}
		if f.err != 0 {
			ready |= epollErr
		}
		return ready
	}
	noMore := e.fin || e.rdShut || e.dead
	if len(e.in) > 0 || noMore {
		ready |= epollIn
	}
	if noMore {
		ready |= epollRDHup
	}
	if e.dead || noMore && e.wrShut {
		ready |= epollHup
	}
	if e.writable() {
		ready |= epollOut
	}
	if e.err != 0 {
		ready |= epollErr
	}
	return ready
}

// EpollWait is epoll_wait(2) that does not wait. It takes so many events at most, in an
// order that is drawn; the others stay.
func (k *Kernel) EpollWait(fd, most int) (events []Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "epoll_wait(2)")
	if f == nil {
		return nil
	}
	var ready []*registration
	for _, r := range f.regs {
		if r.ready {
			ready = append(ready, r)
		}
	}
	slices.SortFunc(ready, func(a, b *registration) int { return cmp.Compare(a.f.who(), b.f.who()) })
	d := f.dice[0]
	for len(ready) > 0 && len(events) < most {
		i := d.N(len(ready))
		r := ready[i]
		ready = slices.Delete(ready, i, i+1)
		now := r.present()
		if r.lies {
			now |= r.events & (epollIn | epollOut)
		}
		r.ready, r.lies = false, false
		if now != 0 { // else it was spurious, or somebody was faster
			k.note("event", r.f.who(), int64(now))
			if r.events&epollOneShot != 0 {
				r.events, r.late = 0, false
			}
			events = append(events, Event{now, r.token})
		}
	}
	return events
}

// WatchEpoll calls f at once, and whenever events have come, until UnwatchEpoll.
func (k *Kernel) WatchEpoll(fd int, f func()) {
	k.mu.Lock()
	e := k.find(fd, "epoll_wait(2)")
	k.mu.Unlock()
	if e == nil {
		return
	}
	for f(); ; f() {
		select {
		case <-e.unwatch:
			return
		case <-e.wake:
		}
	}
}

// UnwatchEpoll ends WatchEpoll.
func (k *Kernel) UnwatchEpoll(fd int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.find(fd, "epoll_wait(2)"); e != nil {
		close(e.unwatch)
	}
}

// disturb has an event come that says nothing new.
func (k *Kernel) disturb(d *Dice) {
	var all []*registration
	for _, f := range k.files {
		all = append(all, f.regs...)
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b *registration) int { return cmp.Compare(a.f.who(), b.f.who()) })
	k.played("spurious event")
	r := all[d.N(len(all))]
	r.lies = d.Roll(500)
	r.report()
}

// reportLate tells of an edge that was late, and perhaps of all others with it.
func (r *registration) reportLate(d *Dice) {
	r.report()
	if d.Roll(300) {
		for _, other := range r.epoll.regs {
			if other.late {
				other.report()
			}
		}
	}
}

// edges appends how connects may end, and what registrations may be told of next: an
// edge that is late, room after a send that found none, and what was kept from a call
// that found nothing.
func (k *Kernel) edges(events []event) []event {
	for _, f := range k.files {
		if f.kind == kindEpoll {
			continue
		}
		if f.answered() {
			events = append(events, event{dials: f})
		}
		for _, r := range f.regs {
			if r.late {
				events = append(events, event{reg: r})
			}
		}
		if len(f.regs) > 0 && (f.kept || f.end != nil && f.end.noSpace && f.end.writable()) {
			events = append(events, event{owes: f})
		}
	}
	return events
}

// tell tells the registrations of f what is due.
func (f *file) tell() {
	if f.kept {
		f.kept = false
		f.edge(epollIn)
		return
	}
	f.end.noSpace = false
	f.edge(epollOut)
}
