package fd

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Leaked describes an FD that the collector has found: nobody can use it any more, and
// nobody has closed it. Its socket is closed then. Its Close event never comes, since its
// counters and reasons have gone with it.
type Leaked struct {
	// ID is that of the FD.
	ID uint64
	// Point is the remote address as SocketString prints it.
	Point string
	// Made is the stack of the call that made the FD, as debug.Stack formats it; nil
	// unless the environment has RINGFD_DEBUG=leaks.
	Made []byte
}

// debugsLeaks reports whether RINGFD_DEBUG asks for the stacks.
var debugsLeaks = sync.OnceValue(func() bool {
	return slices.Contains(strings.Split(os.Getenv("RINGFD_DEBUG"), ","), "leaks")
})

// lost is what is known of an FD that has gone.
type lost struct {
	id     uint64
	sock   Socket
	events *Events
	made   []byte
}

// CloseWhenLost has the collector close the socket of an FD that nobody has a reference
// to any more, as net has it. For backends, of FDs that nothing of theirs refers to.
func (f *FD) CloseWhenLost() {
	l := &lost{id: f.id, sock: f.sock, events: f.events}
	if debugsLeaks() {
		l.made = debug.Stack()
	}
	f.cleanup = runtime.AddCleanup(f, func(l *lost) { go l.close() }, l) // close may linger
}

func (l *lost) close() {
	remote := l.sock.RemoteAddr()
	_ = l.sock.Close()
	if e := l.events; e != nil && e.Leaked != nil && remote != nil {
		e.Leaked(Leaked{ID: l.id, Point: SocketString(remote), Made: l.made})
	}
}

// heldRawConn keeps its FD: who has it only can use the socket.
type heldRawConn struct {
	rc syscall.RawConn
	f  *FD
}

func (c *heldRawConn) Control(use func(fd uintptr)) error {
	defer runtime.KeepAlive(c.f)
	return c.rc.Control(use)
}

func (c *heldRawConn) Read(use func(fd uintptr) bool) error {
	defer runtime.KeepAlive(c.f)
	return c.rc.Read(use)
}

func (c *heldRawConn) Write(use func(fd uintptr) bool) error {
	defer runtime.KeepAlive(c.f)
	return c.rc.Write(use)
}
