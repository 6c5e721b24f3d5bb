package fd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// TestReasonTexts: the texts are those of Octez's pp_close_reason, word for word.
func TestReasonTexts(t *testing.T) {
	cause, closing := errors.New("CAUSE"), errors.New("CLOSING")
	for _, c := range []struct {
		err  fd.Error
		want string
	}{
		{fd.Error{Reason: fd.ClosedByPeer, Err: io.EOF}, "connection closed by peer"},
		{fd.Error{Reason: fd.Lost, Err: cause}, "connection to peer was lost with exception CAUSE"},
		{fd.Error{Reason: fd.ClosedLocally, Err: net.ErrClosed}, "connection closed by us"},
		{fd.Error{Reason: fd.UnexpectedWhenClosing, Err: cause, CloseErr: closing},
			"unexpected error (CLOSING) whilst closing the socket following an error (CAUSE)"},
		{fd.Error{Reason: fd.Unexpected, Err: cause}, "connection closed because of an unexpected error CAUSE"},
		{fd.Error{Op: "read", Err: cause}, "read: CAUSE"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%v: %q, want %q", c.err.Reason, got, c.want)
		}
		if words := c.err.Reason.String(); c.err.Reason != fd.None && c.err.Reason != fd.UnexpectedWhenClosing &&
			!strings.HasPrefix(c.want, words) {
			t.Errorf("the text %q does not begin with %q", c.want, words)
		}
	}
}

func TestUnexpectedWhenClosing(t *testing.T) {
	for _, errno := range []struct {
		read   error
		reason string
	}{{syscallErr("read", reset), "lost"}, {errors.New("strange"), "unexpected"}} {
		f, s := connected(0, errno.read)
		s.closeErr = syscallErr("close", syscall.EIO)
		_, err := f.Read(make([]byte, 1))
		for range 2 { // at once, and from then on
			e, ok := errors.AsType[*fd.Error](err)
			if !ok || e.Reason != fd.UnexpectedWhenClosing {
				t.Fatalf("%s: %v, want UnexpectedWhenClosing", errno.reason, err)
			}
			if !errors.Is(err, syscall.EIO) || !errors.Is(err, errno.read) {
				t.Errorf("%v: both errors must be reachable", err)
			}
			_, err = f.Write([]byte("x"))
		}
		if r, err := f.Reason(); r != fd.UnexpectedWhenClosing || err == nil {
			t.Errorf("Reason = %v, %v", r, err)
		}
	}
}

// TestCloseFails: an error of close(2) is told once, and the FD is closed.
func TestCloseFails(t *testing.T) {
	f, s := connected(0, nil)
	s.closeErr = syscallErr("close", syscall.EIO)
	err := f.Close()
	if e, ok := errors.AsType[*fd.Error](err); !ok || e.Op != "close" || e.Reason != fd.Unexpected || !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: %v, want an Unexpected EIO", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if s.closes != 1 {
		t.Errorf("the socket was closed %d times", s.closes)
	}
	if r, _ := f.Reason(); r != fd.ClosedLocally {
		t.Errorf("Reason = %v: we closed it", r)
	}
}

// outcome is what an error of the socket means.
type outcome struct {
	err        error
	op         string // "read", "write", or "" for both
	reason     fd.Reason
	closes     bool
	peerClosed bool
	timeout    bool
	retryable  bool
}

// TestClassification is the table of errors of ARCHITECTURE.md, by errno.
func TestClassification(t *testing.T) {
	table := append([]outcome{
		{err: io.EOF, op: "read", reason: fd.ClosedByPeer, peerClosed: true},
		{err: net.ErrClosed, reason: fd.ClosedLocally, closes: true},
		{err: os.ErrDeadlineExceeded, reason: fd.None, timeout: true},
		{err: errors.New("no errno at all"), reason: fd.Unexpected, closes: true},
		{err: io.ErrUnexpectedEOF, reason: fd.Unexpected, closes: true},
	}, osOutcomes...)
	for _, o := range table {
		for _, op := range []string{"read", "write"} {
			if o.op != "" && o.op != op {
				continue
			}
			t.Run(op+"/"+o.err.Error(), func(t *testing.T) {
				f, s := connected(0, o.err)
				call := func() error {
					var err error
					if op == "read" {
						_, err = f.Read(make([]byte, 1))
					} else {
						_, err = f.Write([]byte("x"))
					}
					return err
				}
				err := call()
				e, ok := errors.AsType[*fd.Error](err)
				if !ok {
					t.Fatalf("%v (%T), want an *fd.Error", err, err)
				}
				if e.Op != op || e.Reason != o.reason || !errors.Is(err, o.err) {
					t.Errorf("%#v, want op %q, reason %q around %v", e, op, o.reason, o.err)
				}
				if closed := s.closes == 1; closed != o.closes {
					t.Errorf("the socket was closed %d times, want closed: %v", s.closes, o.closes)
				}
				if got := fd.PeerClosed(err); got != o.peerClosed {
					t.Errorf("PeerClosed = %v", got)
				}
				if e.Timeout() != o.timeout || e.Retryable() != o.retryable || e.Temporary() != (o.retryable || errors.Is(err, os.ErrDeadlineExceeded)) {
					t.Errorf("Timeout = %v, Retryable = %v, Temporary = %v", e.Timeout(), e.Retryable(), e.Temporary())
				}
				if r, _ := f.Reason(); r != o.reason {
					t.Errorf("the sticky reason is %q", r)
				}
				if again, _ := errors.AsType[*fd.Error](call()); o.closes && (again.Reason != o.reason || !errors.Is(again, o.err)) {
					t.Errorf("the next call gives %v", again)
				}
			})
		}
	}
}

// TestReasonIsSticky: what the kernel says later does not change it.
func TestReasonIsSticky(t *testing.T) {
	f, s := connected(0, io.EOF)
	_, _ = f.Read(make([]byte, 1))
	s.write = func([]byte) (int, error) { return 0, syscallErr("write", reset) }
	_, err := f.Write([]byte("x"))
	e, _ := errors.AsType[*fd.Error](err)
	if e.Reason != fd.ClosedByPeer || !errors.Is(err, reset) {
		t.Errorf("Write: %v with reason %q, want its own cause under the first reason", err, e.Reason)
	}
	if s.closes != 1 {
		t.Error("the FD is not closed")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if r, cause := f.Reason(); r != fd.ClosedByPeer || !errors.Is(cause, io.EOF) {
		t.Errorf("Reason = %q, %v", r, cause)
	}
}

// TestConnectFailures: the kinds that need no network.
func TestConnectFailures(t *testing.T) {
	table := append([]connectOutcome{
		{context.Canceled, fd.ConnectCanceled, fd.ClosedLocally, false},
		{context.DeadlineExceeded, fd.ConnectTimedOut, fd.ClosedLocally, true},
		{errors.New("strange"), fd.ConnectOther, fd.Unexpected, false},
	}, osConnectOutcomes...)
	for _, o := range table {
		s := &fakeSocket{connect: o.err}
		f := fd.New(s, nil)
		err := f.Connect(t.Context(), &net.TCPAddr{})
		e, ok := errors.AsType[*fd.Error](err)
		if !ok || e.Op != "connect" || e.Connect != o.kind || e.Reason != o.reason || e.Timeout() != o.timeout || !errors.Is(err, o.err) {
			t.Errorf("%v: %#v, want %q, %q, timeout %v", o.err, e, o.kind, o.reason, o.timeout)
		}
		if s.closes != 1 {
			t.Errorf("%v: the FD is not closed", o.err)
		}
	}
}

type connectOutcome struct {
	err     error
	kind    fd.ConnectFailure
	reason  fd.Reason
	timeout bool
}

// TestHalfCloseFails: it ends nothing.
func TestHalfCloseFails(t *testing.T) {
	f, s := connected(0, nil)
	s.half = syscallErr("shutdown", syscall.ENOTCONN)
	for name, err := range map[string]error{"CloseRead": f.CloseRead(), "CloseWrite": f.CloseWrite()} {
		if e, ok := errors.AsType[*fd.Error](err); !ok || e.Reason != fd.None || !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.closes != 0 {
		t.Error("the FD is closed")
	}
}

// TestNeverConnected: every call fails, and none ends anything.
func TestNeverConnected(t *testing.T) {
	f := fd.New(&fakeSocket{}, nil)
	_, read := f.Read(make([]byte, 1))
	_, write := f.Write(nil)
	_, writev := f.Writev(nil)
	_, file := f.File()
	_, raw := f.SyscallConn()
	for name, err := range map[string]error{
		"Read": read, "Write": write, "Writev": writev, "File": file, "SyscallConn": raw,
		"CloseRead": f.CloseRead(), "CloseWrite": f.CloseWrite(), "SetNoDelay": f.Conn().SetNoDelay(true),
	} {
		if !errors.Is(err, syscall.ENOTCONN) || errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v, want ENOTCONN", name, err)
		}
	}
	if r, err := f.Reason(); r != fd.None || err != nil {
		t.Errorf("Reason = %v, %v", r, err)
	}
}
