package simkernel

import (
	"encoding/binary"
	"syscall"
	"testing"
)

const (
	readEvents = epollIn | epollRDHup | epollEdge
	roomEvents = readEvents | epollOut
	port       = 7
)

// bed is a kernel with an epoll instance.
type bed struct {
	*testing.T
	k     *Kernel
	epoll int
	dice  *Dice
}

func newBed(t *testing.T, w Weights) *bed {
	f := Features{SockNonempty: true, AcceptDontwait: true}
	b := &bed{T: t, k: New(1, f, w), dice: NewDice(1)}
	b.k.ListenOutside(port)
	var errno syscall.Errno
	b.epoll, errno = b.k.EpollCreate()
	b.noErrno(errno)
	t.Cleanup(func() {
		for _, v := range b.k.Violations() {
			t.Error(v)
		}
	})
	return b
}

func (b *bed) noErrno(errno syscall.Errno) {
	b.Helper()
	if errno != 0 {
		b.Fatal(errno)
	}
}

// rest lets all happen that can.
func (b *bed) rest() {
	for b.k.Step(b.dice) {
	}
}

// expect takes the events, and compares them.
func (b *bed) expect(want ...Event) {
	b.Helper()
	got := make(map[Event]bool)
	for _, e := range b.k.EpollWait(b.epoll, 64) {
		got[e] = true
	}
	for _, e := range want {
		if !got[e] {
			b.Errorf("there is no event %#x of %d, but %v", e.Events, e.Token, got)
		}
	}
	if len(got) != len(want) {
		b.Errorf("events: %v, want %v", got, want)
	}
}

func (b *bed) socket() int {
	fd, errno := b.k.Socket(syscall.AF_INET)
	b.noErrno(errno)
	return fd
}

// connected makes a socket that is connected to an end outside.
func (b *bed) connected() (fd int, outside *Endpoint) {
	b.Helper()
	fd = b.socket()
	if errno := b.k.Connect(fd, inetAddr(port)); errno != syscall.EINPROGRESS {
		b.Fatal(errno)
	}
	b.rest()
	return fd, b.k.Accepted()[0]
}

func (b *bed) receive(fd, n, want int) {
	b.Helper()
	got, errno := b.k.Recv(fd, make([]byte, n), syscall.MSG_DONTWAIT)
	if got != want || errno != 0 {
		b.Errorf("recv(2): %d, %v, want %d", got, errno, want)
	}
}

func TestEdges(t *testing.T) {
	b := newBed(t, Weights{})
	fd, outside := b.connected()
	b.noErrno(b.k.EpollAdd(b.epoll, fd, readEvents, 1))
	b.expect() // nothing is there yet
	outside.Send(10)
	b.expect() // it is under way
	b.rest()
	b.expect(Event{epollIn, 1})
	b.receive(fd, 4, 4)
	b.expect() // what is left is no news
	outside.Send(1)
	b.rest()
	outside.Send(1)
	b.rest()
	b.expect(Event{epollIn, 1}) // two edges are one event
	b.receive(fd, 100, 8)
	outside.Send(1)
	b.rest()
	b.receive(fd, 100, 1)
	b.expect() // the edge came, and nothing is there by now
	outside.ShutWrite()
	b.rest()
	b.expect(Event{epollIn | epollRDHup, 1})
	outside.Reset()
	b.rest()
	b.expect(Event{epollIn | epollRDHup | epollHup | epollErr, 1})
}

func TestPresentAtAdd(t *testing.T) {
	b := newBed(t, Weights{})
	fd, outside := b.connected()
	outside.Send(3)
	b.rest()
	b.noErrno(b.k.EpollAdd(b.epoll, fd, roomEvents, 1))
	b.expect(Event{epollIn | epollOut, 1})
	b.expect()
	b.noErrno(b.k.EpollModify(b.epoll, fd, readEvents, 2)) // tells anew
	b.expect(Event{epollIn, 2})

	fresh := b.socket()
	b.noErrno(b.k.EpollAdd(b.epoll, fresh, roomEvents, 3))
	b.expect(Event{epollOut | epollHup, 3})

	b.noErrno(b.k.EpollDelete(b.epoll, fd))
	outside.Send(3)
	b.rest()
	b.noErrno(b.k.Close(fresh))
	b.expect()
}

func TestRoom(t *testing.T) {
	b := newBed(t, Weights{})
	fd, outside := b.connected()
	b.noErrno(b.k.EpollAdd(b.epoll, fd, roomEvents, 1))
	b.expect(Event{epollOut, 1})
	p := make([]byte, 1<<20)
	end := outside.peer
	end.FillNext(p, 0)
	sent, errno := b.k.Sendmsg(fd, [][]byte{p[:100], p[100:]}, syscall.MSG_DONTWAIT)
	b.noErrno(errno)
	if sent != outside.limit {
		t.Errorf("sendmsg(2): %d, want %d", sent, outside.limit)
	}
	b.rest()
	b.expect() // there is no room
	outside.Receive(10)
	b.rest()
	b.expect(Event{epollOut, 1})
	outside.Receive(10)
	b.rest()
	b.expect() // nobody found none since
	if _, errno := b.k.Send(fd, p[sent:sent+20], syscall.MSG_DONTWAIT); errno != 0 {
		t.Error(errno)
	}
	if _, errno := b.k.Send(fd, p[:1], syscall.MSG_DONTWAIT); errno != syscall.EAGAIN {
		t.Errorf("send(2) without room: %v", errno)
	}
	b.rest()
	outside.Receive(outside.limit)
	b.rest()
	b.expect(Event{epollOut, 1})
}

func TestConnecting(t *testing.T) {
	b := newBed(t, Weights{})
	dial := func(port int, token uint64) int {
		t.Helper()
		fd := b.socket()
		if errno := b.k.Connect(fd, inetAddr(port)); errno != syscall.EINPROGRESS {
			t.Fatal(errno)
		}
		if errno := b.k.Connect(fd, inetAddr(port)); errno != syscall.EALREADY {
			t.Errorf("connect(2) once more: %v", errno)
		}
		b.noErrno(b.k.EpollAdd(b.epoll, fd, roomEvents, token))
		if _, errno := b.k.Name(fd, true); errno != syscall.ENOTCONN {
			t.Errorf("getpeername(2) while it connects: %v", errno)
		}
		return fd
	}
	pending := func(fd int, want syscall.Errno) {
		t.Helper()
		if got, errno := b.k.SocketError(fd); got != want || errno != 0 {
			t.Errorf("SO_ERROR: %v, %v, want %v", got, errno, want)
		}
	}
	const failed = epollIn | epollOut | epollRDHup | epollHup
	accepted, refused, silent := dial(port, 1), dial(1, 2), dial(SilentPort, 3)
	b.expect()
	b.rest()
	b.expect(Event{epollOut, 1}, Event{failed | epollErr, 2})
	pending(accepted, 0)
	pending(refused, syscall.ECONNREFUSED)
	pending(refused, 0) // it is taken
	addr, errno := b.k.Name(accepted, true)
	b.noErrno(errno)
	if got := binary.BigEndian.Uint16(addr[2:]); got != port {
		t.Errorf("getpeername(2): port %d", got)
	}
	b.noErrno(b.k.Shutdown(silent, syscall.SHUT_RDWR))
	b.expect(Event{epollOut | epollHup | epollErr, 3})
	pending(silent, syscall.ECONNRESET)
}

func TestBacklog(t *testing.T) {
	b := newBed(t, Weights{})
	l := b.socket()
	b.noErrno(b.k.Bind(l, inetAddr(80)))
	b.noErrno(b.k.Listen(l))
	b.noErrno(b.k.EpollAdd(b.epoll, l, readEvents, 1))
	if _, _, errno := b.k.Accept(l); errno != syscall.EAGAIN {
		t.Errorf("accept4(2) with an empty backlog: %v", errno)
	}
	b.k.Outside(80)
	b.k.Outside(80)
	b.expect(Event{epollIn, 1})
	for range 2 {
		_, _, errno := b.k.Accept(l)
		b.noErrno(errno)
	}
	b.expect()
}

// TestLateEvents has every edge come late, or at once with spurious ones, and loses none.
func TestLateEvents(t *testing.T) {
	b := newBed(t, Weights{LateEvent: 700, Spurious: 500, Short: 500})
	fd, outside := b.connected()
	b.noErrno(b.k.EpollAdd(b.epoll, fd, readEvents, 1))
	const total = 5000
	sent, got, events := 0, 0, 0
	ready := true
	for rounds := 0; got < total; rounds++ {
		if rounds > 100*total {
			t.Fatalf("after %d bytes of %d there are no more events", got, sent)
		}
		if sent < total {
			sent += outside.Send(min(1+b.dice.N(100), total-sent))
		}
		b.k.Step(b.dice)
		for _, e := range b.k.EpollWait(b.epoll, 64) {
			events++
			ready = ready || e.Events&epollIn != 0
		}
		for ready {
			n, errno := b.k.Recv(fd, make([]byte, 50), syscall.MSG_DONTWAIT)
			if errno != 0 {
				ready = false
			}
			got += n
		}
	}
	if b.k.PlayedTimes("late event") == 0 || b.k.PlayedTimes("spurious event") == 0 || events < 10 {
		t.Errorf("%d events, %v", events, b.k.Played)
	}
}

// TestLostEdge shows that TestLateEvents could fail.
func TestLostEdge(t *testing.T) {
	b := newBed(t, Weights{})
	b.k.Mutant = MutantLostEdge
	fd, outside := b.connected()
	b.noErrno(b.k.EpollAdd(b.epoll, fd, readEvents, 1))
	for range 1000 {
		if outside.Send(1) == 0 {
			t.Fatal("there is no room")
		}
		b.rest()
		if len(b.k.EpollWait(b.epoll, 64)) == 0 {
			return
		}
		b.receive(fd, 10, 1)
	}
	t.Error("no edge was lost")
}
