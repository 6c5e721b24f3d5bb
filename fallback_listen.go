package ringfd

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// streamListener is what *net.TCPListener and *net.UnixListener have in common.
type streamListener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
	File() (*os.File, error)
}

// netAcceptor is accept.Acceptor on a net listener. net has one deadline per
// listener and no contexts: a context that ends sets a past deadline for as
// long as its Accept takes to return, and Accepts that meet it by chance look
// at what is theirs and go on. Serve has no deadline: it takes one that has passed
// away once all Accepts have met it, and the next Accept puts it back.
type netAcceptor struct {
	backend *netBackend
	l       streamListener
	path    accept.Path
	life    context.Context // ends with Close
	end     context.CancelFunc

	// duplicated: others have the descriptor (File), and may make it block.
	duplicated atomic.Bool

	mu       sync.Mutex
	deadline time.Time  // the user's
	aborting int        // Accepts that a context is ending
	aborts   int        // how often one began to
	timed    int        // Accepts that the deadline is for
	waived   bool       // Serve has taken the deadline away
	changed  *sync.Cond // timed or deadline
}

func (b *netBackend) listen(addr net.Addr, network string, config accept.Config) (accept.Acceptor, error) {
	if tcp, ok := addr.(*net.TCPAddr); ok && config.V6Only && network == "tcp" && (tcp.IP == nil || tcp.IP.IsUnspecified() && tcp.IP.To4() == nil) {
		network = "tcp6"
	}
	lc := net.ListenConfig{
		KeepAlive:       -1,
		KeepAliveConfig: fd.KeepAlive(config.KeepAlive),
		Control: func(network, address string, c syscall.RawConn) error {
			if err := beforeBind(c, config); err != nil {
				return err
			}
			if config.Control != nil {
				return config.Control(network, address, c)
			}
			return nil
		},
	}
	lc.SetMultipathTCP(false) // whose sockets refuse TCP_USER_TIMEOUT, and which the ring does not make
	l, err := lc.Listen(context.Background(), network, addr.String())
	if err != nil {
		return nil, bare(err)
	}
	a := &netAcceptor{backend: b, l: l.(streamListener)}
	if u, ok := l.(*net.UnixListener); ok { // which would remove a successor's path, too
		u.SetUnlinkOnClose(false)
		a.path.Bound(l.Addr())
	}
	a.changed = sync.NewCond(&a.mu)
	a.life, a.end = context.WithCancel(context.Background())
	a.life.Done() // made here, and not in the synctest bubble of one who asks first
	if config.Backlog > 0 {
		if err := control(a.l, func(h uintptr) error { return setBacklog(h, config.Backlog) }); err != nil {
			a.path.Remove()
			_ = l.Close()
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		a.path.Remove()
		_ = l.Close()
		return nil, net.ErrClosed
	}
	b.listeners[a] = struct{}{}
	return a, nil
}

func (a *netAcceptor) Accept(ctx context.Context) (fd.Socket, error) {
	a.mu.Lock()
	a.timed++
	if a.waived && a.aborting == 0 {
		_ = a.applyDeadline()
	}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.timed--
		a.changed.Broadcast()
		a.mu.Unlock()
	}()
	s, err := a.accept(ctx, (*netAcceptor).expired)
	if err != nil {
		return nil, err // not s: a nil *netSocket is no nil Socket
	}
	return s, nil
}

// accept accepts until expired says that the deadline has passed.
func (a *netAcceptor) accept(ctx context.Context, expired func(a *netAcceptor, aborts int) bool) (*netSocket, error) {
	for {
		a.mu.Lock()
		aborts := a.aborts
		if a.aborting > 0 {
			aborts--
		}
		a.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := a.acceptOnce(ctx)
		if err == nil {
			s := &netSocket{backend: a.backend, conn: c.(streamConn)}
			if !a.backend.opened(s) {
				_ = c.Close()
				return nil, net.ErrClosed
			}
			return s, nil
		}
		if err = bare(err); !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		if ctx.Err() == nil && expired(a, aborts) {
			return nil, err
		}
	}
}

// expired reports whether it was the user's deadline that ended an accept: no context
// has ended one since there were so many aborts. The time does not tell: it may stand
// still, in a synctest bubble, or be set back.
func (a *netAcceptor) expired(aborts int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.aborts == aborts
}

func (a *netAcceptor) deadlinePassed() bool {
	return !a.deadline.IsZero() && !time.Now().Before(a.deadline)
}

// waiveDeadline takes a deadline that has passed away, for Serve.
func (a *netAcceptor) waiveDeadline(int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.timed > 0 && a.deadlinePassed() {
		a.changed.Wait()
	}
	if a.aborting == 0 && a.deadlinePassed() {
		a.waived = true
		_ = a.l.SetDeadline(time.Time{})
	}
	return false
}

func (a *netAcceptor) applyDeadline() error {
	a.waived = false
	return bare(a.l.SetDeadline(a.deadline))
}

func (a *netAcceptor) acceptOnce(ctx context.Context) (net.Conn, error) {
	if a.duplicated.Load() {
		_ = control(a.l, unblock)
	}
	if ctx.Done() == nil {
		return a.l.Accept()
	}
	var aborted sync.Mutex // a channel would belong to a synctest bubble, where ctx may not
	aborted.Lock()
	stop := context.AfterFunc(ctx, func() {
		defer aborted.Unlock()
		a.mu.Lock()
		a.aborting++
		a.aborts++
		_ = a.l.SetDeadline(longAgo)
		a.mu.Unlock()
	})
	c, err := a.l.Accept()
	if !stop() {
		aborted.Lock()
		a.restoreDeadline()
	}
	return c, err
}

// restoreDeadline undoes the past deadline of a context that ended.
func (a *netAcceptor) restoreDeadline() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.aborting--
	if a.aborting <= 0 {
		_ = a.applyDeadline()
	}
}

func (a *netAcceptor) SetDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deadline = monotonic(t)
	a.changed.Broadcast()
	if a.aborting > 0 {
		return nil // applied when the last of them has returned
	}
	return a.applyDeadline()
}

// monotonic is t by the monotonic clock. A deadline that is set again, or compared with
// the time, would otherwise move with the wall clock.
func monotonic(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Now().Add(time.Until(t))
}

func (a *netAcceptor) Close() error {
	a.backend.mu.Lock()
	delete(a.backend.listeners, a)
	a.backend.mu.Unlock()
	a.end()
	a.path.Remove()
	return bare(a.l.Close())
}

func (a *netAcceptor) Addr() net.Addr                        { return a.l.Addr() }
func (a *netAcceptor) SyscallConn() (syscall.RawConn, error) { return a.l.SyscallConn() }
func (a *netAcceptor) SetUnlinkOnClose(unlink bool)          { a.path.SetUnlinkOnClose(unlink) }

// File duplicates the descriptor. Its holder may make both block, which Accept undoes.
func (a *netAcceptor) File() (*os.File, error) {
	a.duplicated.Store(true)
	return duplicate(a.l, a.l.Addr().Network()+":"+a.l.Addr().String())
}
