package simkernel

import (
	"syscall"
)

// Endpoint is one end of a stream connection. What the other end sends is under
// way until a step has it arrive.
type Endpoint struct {
	k          *Kernel
	Conn, Side int // side 0 connected, side 1 accepted
	peer       *Endpoint
	f          *file // its socket; nil: not accepted, or outside
	dice       *Dice

	wire           []byte // sent to this end, under way
	in             []byte // arrived, not received yet
	finUnderWay    bool   // after the wire
	resetUnderWay  bool
	fin            bool // arrived
	err            syscall.Errno
	dead           bool // was reset
	rdShut, wrShut bool
	closed         bool
	outside        bool // the driver's, not of package uring
	limit          int  // of wire and in
	edges          int  // how often something came that a poll tells of
	noSpace        bool // a send found no room, or too little

	sent     int64 // bytes taken from who sends
	received int64 // bytes given to who receives
	overlays []overlay
}

// overlay is a part of a stream that has another pattern (a broadcast).
type overlay struct {
	from, to int64
	id       int
}

// broadcastSide marks patterns that are no connection's own.
const broadcastSide = 2

// connect makes a connection from a client to the end that will be accepted.
func (k *Kernel) connect() (client, server *Endpoint) {
	k.conns++
	client = &Endpoint{k: k, Conn: k.conns, Side: 0}
	server = &Endpoint{k: k, Conn: k.conns, Side: 1}
	client.peer, server.peer = server, client
	for _, e := range []*Endpoint{client, server} {
		e.dice = NewDice(k.seed, uint64(e.Conn), uint64(e.Side), 7)
		e.limit = 512 << e.dice.N(9)
	}
	k.endpoints[k.conns] = &[2]*Endpoint{client, server}
	return client, server
}

// expected is the byte of the stream of e at an offset.
func (e *Endpoint) expected(offset int64) byte {
	for _, o := range e.overlays {
		if offset >= o.from && offset < o.to {
			return Pattern(o.id, broadcastSide, offset-o.from)
		}
	}
	return Pattern(e.Conn, e.Side, offset)
}

// take moves bytes from who sends onto the wire, as many as there is room for. It
// checks what they are.
func (e *Endpoint) take(p []byte, most int) (int, syscall.Errno) {
	p = p[:min(len(p), most)]
	switch {
	case e.err != 0:
		errno := e.err
		e.err = 0
		return 0, errno
	case e.dead, e.wrShut:
		return 0, syscall.EPIPE
	case e.peer == nil:
		return 0, syscall.ENOTCONN
	}
	to := e.peer
	n := len(p)
	if !to.closed && !to.dead {
		n = min(n, to.limit-len(to.wire)-len(to.in))
	}
	e.noSpace = e.noSpace || n < len(p)
	if n <= 0 {
		return 0, syscall.EAGAIN
	}
	for i, b := range p[:n] {
		if want := e.expected(e.sent + int64(i)); b != want && !e.k.probing {
			e.k.violate("connection %d, side %d sends %#x at offset %d instead of %#x: lost, doubled or crossed", e.Conn, e.Side, b, e.sent+int64(i), want)
			break
		}
	}
	e.sent += int64(n)
	if to.closed || to.dead { // it answers with a reset
		e.resetUnderWay = true
		return n, 0
	}
	if e.k.probing {
		to.in = append(to.in, p[:n]...)
		return n, 0
	}
	to.wire = append(to.wire, p[:n]...)
	switch k := e.k; {
	case k.Mutant == MutantLoseByte && e.sent > 200 && len(to.wire) > 1:
		to.wire = to.wire[:len(to.wire)-1]
	case k.Mutant == MutantDoubleByte && e.sent > 200:
		to.wire = append(to.wire, to.wire[len(to.wire)-1])
	case k.Mutant == MutantCross && e.Conn > 1:
		if other := k.endpoints[e.Conn-1][to.Side]; !other.closed && len(other.wire) > 0 && len(to.wire) > 0 {
			other.wire[0], to.wire[0] = to.wire[0], other.wire[0]
		}
	}
	return n, 0
}

// give moves bytes that have arrived to who receives.
func (e *Endpoint) give(p []byte, most int) (int, syscall.Errno) {
	if len(e.in) > 0 {
		n := copy(p[:min(len(p), most)], e.in)
		e.in = e.in[n:]
		e.received += int64(n)
		return n, 0
	}
	switch {
	case e.err != 0:
		errno := e.err
		e.err = 0
		return 0, errno
	case e.fin, e.rdShut, e.dead:
		return 0, 0
	}
	return 0, syscall.EAGAIN
}

func (e *Endpoint) readable() bool { return len(e.in) > 0 || e.fin || e.rdShut || e.err != 0 || e.dead }

func (e *Endpoint) writable() bool {
	if e.err != 0 || e.dead || e.wrShut || e.peer == nil || e.peer.closed || e.peer.dead {
		return true
	}
	return e.peer.limit > len(e.peer.wire)+len(e.peer.in)
}

// arrives reports that something is under way to e.
func (e *Endpoint) arrives() bool {
	return !e.closed && !e.dead && (len(e.wire) > 0 || e.finUnderWay && !e.fin || e.resetUnderWay)
}

// arrive has a part of what is under way to e arrive.
func (e *Endpoint) arrive() {
	e.edges++
	defer e.f.edge(0)
	switch {
	case e.resetUnderWay && (len(e.wire) == 0 || e.dice.Roll(300)):
		e.resetUnderWay, e.dead, e.err = false, true, syscall.ECONNRESET
		e.wire = nil
		if e.dice.Roll(300) {
			e.in = nil
		}
		e.k.note("reset", int64(e.Conn), int64(e.Side))
	case len(e.wire) > 0:
		n := len(e.wire)
		if e.dice.Roll(e.k.Weights.Partial) {
			n = 1 + e.dice.N(n)
		}
		e.in = append(e.in, e.wire[:n]...)
		e.wire = e.wire[n:]
		e.k.note("arrive", int64(e.Conn), int64(e.Side), int64(n))
		if len(e.wire) > 0 || e.dice.Roll(500) {
			return
		}
		fallthrough
	case e.finUnderWay && len(e.wire) == 0:
		if e.finUnderWay {
			e.fin = true
			e.k.note("fin", int64(e.Conn), int64(e.Side))
		}
	}
}

func (e *Endpoint) shutdown(how int) syscall.Errno {
	if e.dead || e.peer == nil {
		return syscall.ENOTCONN
	}
	if how == syscall.SHUT_RD || how == syscall.SHUT_RDWR {
		e.rdShut = true
		e.edges++
	}
	defer e.f.edge(0)
	if (how == syscall.SHUT_WR || how == syscall.SHUT_RDWR) && !e.wrShut {
		e.wrShut = true
		e.peer.finUnderWay = true
	}
	return 0
}

// close is the last close: what was not received resets the connection.
func (e *Endpoint) close() {
	if e.closed {
		return
	}
	e.closed = true
	if e.peer == nil {
		return
	}
	if len(e.in)+len(e.wire) > 0 && !e.dead {
		e.peer.resetBy()
	} else if !e.wrShut {
		e.peer.finUnderWay = true
	}
	e.wrShut = true
	e.in, e.wire = nil, nil
}

// resetBy has a reset travel to e.
func (e *Endpoint) resetBy() { e.resetUnderWay = true }

// What follows is for the driver, which plays what is outside of the process.

// Outside connects to an address that package uring listens on, from outside.
func (k *Kernel) Outside(port int) *Endpoint {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.listeners[inetKey(port)]
	if l == nil {
		return nil
	}
	client, server := k.connect()
	client.outside = true
	l.arrived(server)
	k.note("dial", int64(client.Conn))
	return client
}

// ListenOutside has what is outside accept connections to a port.
func (k *Kernel) ListenOutside(port int) {
	k.mu.Lock()
	k.remote[inetKey(port)] = true
	k.mu.Unlock()
}

// Accepted returns the connections that the outside has accepted since.
func (k *Kernel) Accepted() []*Endpoint {
	k.mu.Lock()
	defer k.mu.Unlock()
	accepted := k.accepted
	k.accepted = nil
	return accepted
}

// End returns one end of a connection.
func (k *Kernel) End(conn, side int) *Endpoint {
	k.mu.Lock()
	defer k.mu.Unlock()
	if pair := k.endpoints[conn]; pair != nil {
		return pair[side]
	}
	return nil
}

// Send sends up to n bytes of the pattern, from outside.
func (e *Endpoint) Send(n int) int {
	e.k.mu.Lock()
	defer e.k.mu.Unlock()
	p := make([]byte, n)
	Fill(p, e.Conn, e.Side, e.sent)
	mutant := e.k.Mutant
	taken, _ := e.take(p, n)
	e.k.Mutant = mutant
	e.k.note("outside sends", int64(e.Conn), int64(taken))
	return taken
}

// Receive receives up to n bytes, outside, and checks them.
func (e *Endpoint) Receive(n int) (int, bool) {
	e.k.mu.Lock()
	defer e.k.mu.Unlock()
	p := make([]byte, min(n, len(e.in)))
	from := e.received
	n, errno := e.give(p, len(p))
	e.k.note("outside receives", int64(e.Conn), int64(n))
	for i, b := range p[:n] {
		if want := e.peer.expected(from + int64(i)); b != want {
			e.k.violate("connection %d: outside, offset %d of side %d is %#x instead of %#x", e.Conn, from+int64(i), e.peer.Side, b, want)
			break
		}
	}
	return n, n > 0 || errno == syscall.EAGAIN
}

// Expect returns what a byte that e receives should be.
func (e *Endpoint) Expect(offset int64) byte {
	e.k.mu.Lock()
	defer e.k.mu.Unlock()
	return e.peer.expected(offset)
}

// CheckReceived checks what was read from the connection of e at an offset.
func (e *Endpoint) CheckReceived(p []byte, offset int64) {
	e.k.mu.Lock()
	defer e.k.mu.Unlock()
	for i, b := range p {
		if want := e.peer.expected(offset + int64(i)); b != want {
			e.k.violate("connection %d, side %d reads %#x at offset %d instead of %#x: lost, doubled or crossed", e.Conn, e.Side, b, offset+int64(i), want)
			return
		}
	}
}

// FillNext puts what e is to send at an offset into p.
func (e *Endpoint) FillNext(p []byte, offset int64) { Fill(p, e.Conn, e.Side, offset) }

// Overlay says that e sends n bytes of the broadcast id at an offset, or, with n =
// 0, that it has sent nothing of it.
func (e *Endpoint) Overlay(id int, from int64, n int) {
	e.k.mu.Lock()
	defer e.k.mu.Unlock()
	kept := e.overlays[:0]
	for _, o := range e.overlays {
		if o.id != id {
			kept = append(kept, o)
		}
	}
	e.overlays = kept
	if n > 0 {
		e.overlays = append(e.overlays, overlay{from, from + int64(n), id})
	}
}

// FillBroadcast fills p with the pattern of a broadcast.
func FillBroadcast(p []byte, id int) { Fill(p, id, broadcastSide, 0) }

// ShutWrite ends what the outside sends; Hang closes; Reset resets.
func (e *Endpoint) ShutWrite() {
	e.k.mu.Lock()
	e.shutdown(syscall.SHUT_WR)
	e.k.note("outside shuts", int64(e.Conn))
	e.k.mu.Unlock()
}

// Hang closes the outside's end.
func (e *Endpoint) Hang() {
	e.k.mu.Lock()
	e.k.note("outside closes", int64(e.Conn))
	e.close()
	e.k.mu.Unlock()
}

// Reset resets the connection from outside.
func (e *Endpoint) Reset() {
	e.k.mu.Lock()
	e.k.note("outside resets", int64(e.Conn))
	e.closed, e.dead = true, true
	e.in, e.wire = nil, nil
	e.peer.resetBy()
	e.k.mu.Unlock()
}

// State is what the checks ask of an end.
type State struct {
	Sent, Received                int64
	Fin, Dead, Closed, PeerClosed bool
	Waiting                       int // bytes under way to it, or arrived
	Readable, Writable            bool
}

// State returns that of e.
func (e *Endpoint) State() State {
	e.k.mu.Lock()
	defer e.k.mu.Unlock()
	return State{
		Sent: e.sent, Received: e.received, Fin: e.fin || e.finUnderWay, Dead: e.dead || e.resetUnderWay || e.err != 0,
		Closed: e.closed, PeerClosed: e.peer.closed, Waiting: len(e.in) + len(e.wire),
		Readable: e.readable(), Writable: e.writable(),
	}
}
