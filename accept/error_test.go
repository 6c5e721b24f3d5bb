package accept_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// TestClassify is the table of accept errors, by errno.
func TestClassify(t *testing.T) {
	check := func(err error, want accept.Class) {
		t.Helper()
		if got := accept.Classify(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
		e := &accept.Error{Class: want, Err: err}
		if e.Temporary() != (want != accept.Unexpected) || e.Timeout() {
			t.Errorf("%v: Temporary = %v, Timeout = %v", e, e.Temporary(), e.Timeout())
		}
	}
	for class, errnos := range classes {
		for _, errno := range errnos {
			check(errno, class)
			check(os.NewSyscallError("accept", errno), class)
			check(fmt.Errorf("wrapped: %w", errno), class)
		}
	}
	check(errors.New("no errno"), accept.Unexpected)
}

func TestClassString(t *testing.T) {
	for class, want := range map[accept.Class]string{
		accept.System: "system", accept.Socket: "socket", accept.Unexpected: "unexpected", 0: "none",
	} {
		if class.String() != want {
			t.Errorf("%q, want %q", class, want)
		}
	}
}

// TestAccept: an error consumes no id, and what the caller did itself has no class.
func TestAccept(t *testing.T) {
	l := accept.New(newFake(nil, tooManyFiles, strange, nil), nil)
	first, _, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []accept.Class{accept.System, accept.Unexpected} {
		_, _, err := l.Accept(t.Context())
		if e, ok := errors.AsType[*accept.Error](err); !ok || e.Class != want {
			t.Errorf("Accept: %v, want class %v", err, want)
		}
	}
	second, addr, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second.ID() != first.ID()+1 {
		t.Errorf("id %d follows %d: a failed accept consumed one", second.ID(), first.ID())
	}
	if addr.String() != "[::1]:1" {
		t.Errorf("the peer is %v", addr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = l.Accept(ctx)
	wantPlain(t, err, context.Canceled)
	_ = l.Close()
	_, _, err = l.Accept(t.Context())
	wantPlain(t, err, net.ErrClosed)
}

func wantPlain(t *testing.T, err, want error) {
	t.Helper()
	if _, ok := errors.AsType[*accept.Error](err); ok || !errors.Is(err, want) {
		t.Errorf("%v (%T), want a plain %v", err, err, want)
	}
}

// TestAcceptEvents: create, then accept.
func TestAcceptEvents(t *testing.T) {
	var told []string
	l := accept.New(newFake(tooManyFiles, nil), &fd.Events{
		Create: func(id uint64) { told = append(told, "create") },
		Accept: func(id uint64, socket string) { told = append(told, "accept "+socket) },
	})
	for range 2 {
		_, _, _ = l.Accept(t.Context())
	}
	if got := strings.Join(told, ", "); got != "create, accept ::1:1" {
		t.Errorf("the events are %q", got)
	}
}

// TestNetListener: the outermost error is a net.Error that says what net/http
// and its like act on.
func TestNetListener(t *testing.T) {
	l := accept.New(newFake(tooManyFiles, thatOneIsGone, strange, nil), nil).NetListener()
	for _, temporary := range []bool{true, true, false} {
		_, err := l.Accept()
		netErr, ok := err.(net.Error)
		if !ok || netErr.Temporary() != temporary || netErr.Timeout() {
			t.Errorf("%v (%T): want a net.Error with Temporary %v", err, err, temporary)
		}
		if _, ok := errors.AsType[*accept.Error](err); !ok {
			t.Errorf("%v holds no *accept.Error", err)
		}
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.(*fd.Conn); !ok {
		t.Errorf("Accept returned a %T", c)
	}
	_ = l.Listener().Close()
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close after Close: %v, want net.ErrClosed", err)
	}
}

// TestNetListenerErrorForms: every call of the net view fails with a *net.OpError
// that names the call.
func TestNetListenerErrorForms(t *testing.T) {
	l := accept.New(newFake(), nil).NetListener()
	_, raw := l.SyscallConn()
	_, file := l.File()
	for op, err := range map[string]error{"raw-control": raw, "file": file} {
		e, ok := err.(*net.OpError)
		if !ok || e.Op != op || e.Net != "tcp" || e.Addr.String() != "[::1]:9732" || !errors.Is(err, syscall.ENOSYS) {
			t.Errorf("%s: %v (%T)", op, err, err)
		}
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		t.Errorf("SetDeadline: %v", err)
	}
}

func TestListenErrorText(t *testing.T) {
	for _, c := range []struct {
		network, address string
		reason           error
		want             string
		hint             bool
	}{
		{"tcp", "[::1]:9732", busy, "cannot listen on [::1]:9732: " + busy.Error(), true},
		{"tcp", ":9732", busy, "cannot listen on :9732: " + busy.Error(), true},
		{"tcp4", "127.0.0.1:80", os.ErrPermission, "cannot listen on 127.0.0.1:80: " + os.ErrPermission.Error(), true},
		{"unix", "/run/s", busy, "cannot listen on /run/s: " + busy.Error(), true},
		{"tcp", "nonsense", errors.New("bad"), "cannot listen on nonsense: bad", false},
	} {
		e := accept.NewListenError(c.network, c.address, c.reason)
		if !strings.HasPrefix(e.Error(), c.want) || (e.Hint != "") != c.hint || !strings.HasSuffix(e.Error(), ")") != !c.hint {
			t.Errorf("%q, want %q with a hint: %v", e, c.want, c.hint)
		}
		if !errors.Is(e, c.reason) {
			t.Errorf("%v does not hold its reason", e)
		}
	}
}
