package fd_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// wrapped puts err into the wrappers that how names, one after the other.
func wrapped(err error, how string) error {
	for _, h := range how {
		switch h % 5 {
		case 0:
			err = os.NewSyscallError("call", err)
		case 1:
			err = &net.OpError{Op: "op", Net: "tcp", Err: err}
		case 2:
			err = fmt.Errorf("wrapped: %w", err)
		case 3:
			err = errors.Join(errors.New("another"), err)
		case 4:
			err = errors.Join(err)
		}
	}
	return err
}

// FuzzClassify: every errno of a Read, a Write and a Connect has one meaning,
// whatever it is wrapped in.
func FuzzClassify(f *testing.F) {
	for _, o := range osOutcomes {
		if errno, ok := o.err.(syscall.Errno); ok {
			f.Add(uint32(errno), "\x00")
			f.Add(uint32(errno), "\x00\x01\x02\x03\x04")
		}
	}
	f.Add(uint32(0), "")
	f.Add(uint32(1<<29+3), "\x03") // the invented numbers of Windows
	f.Fuzz(func(t *testing.T, number uint32, how string) {
		how = how[:min(len(how), 20)]
		errno := syscall.Errno(number)
		for _, op := range []string{"read", "write", "connect"} {
			bare, bareCloses := outcomeOf(t, op, errno)
			got, closes := outcomeOf(t, op, wrapped(errno, how))
			if got.Op != op || got.Reason != bare.Reason || got.Connect != bare.Connect || closes != bareCloses {
				t.Errorf("%s, errno %d: %#v, and wrapped %#v", op, number, bare, got)
			}
			if got.Timeout() != bare.Timeout() || got.Retryable() != bare.Retryable() || got.Temporary() != bare.Temporary() ||
				fd.PeerClosed(got) != fd.PeerClosed(bare) {
				t.Errorf("%s, errno %d: %v is another kind of error, wrapped: %v", op, number, bare, got)
			}
			if !errors.Is(got, errno) {
				t.Errorf("%s: errno %d is lost in %v", op, number, got)
			}
			checkOneMeaning(t, got, closes)
		}
	})
}

// outcomeOf lets a socket fail with err, and returns what the FD makes of it, and
// whether it closed the socket.
func outcomeOf(t *testing.T, op string, err error) (*fd.Error, bool) {
	t.Helper()
	var got error
	f, s := connected(0, err)
	switch op {
	case "read":
		_, got = f.Read(make([]byte, 1))
	case "write":
		_, got = f.Write(make([]byte, 1))
	case "connect":
		s = &fakeSocket{connect: err}
		f = fd.New(s, nil)
		got = f.Connect(t.Context(), &net.TCPAddr{})
	}
	e, ok := got.(*fd.Error)
	if !ok {
		t.Fatalf("%s: %v gave %v (%T)", op, err, got, got)
	}
	if reason, _ := f.Reason(); reason != e.Reason {
		t.Errorf("%s: the error says %q, the FD %q", op, e.Reason, reason)
	}
	return e, s.closes == 1
}

func checkOneMeaning(t *testing.T, e *fd.Error, closes bool) {
	t.Helper()
	switch {
	case e.Retryable():
		if closes || e.Op != "write" || e.Reason != fd.None {
			t.Errorf("%#v is Retryable; closed: %v", e, closes)
		}
	case e.Reason != fd.Lost && e.Reason != fd.Unexpected, !closes, e.Op == "connect" && e.Reason == fd.Lost:
		t.Errorf("%#v; closed: %v", e, closes)
	}
	if fd.PeerClosed(e) && e.Reason != fd.Lost && e.Op != "connect" {
		t.Errorf("%#v is the peer's doing", e)
	}
	text, cause := e.Error(), e.Err.Error()
	begins := e.Op + ": "
	switch {
	case e.Op == "connect":
		begins = "dial tcp :0: "
	case e.Reason != fd.None:
		begins = e.Reason.String()
	}
	cause = strings.TrimPrefix(cause, e.Op+": ") // which stands at the beginning
	if !strings.Contains(text, cause) || !strings.HasPrefix(text, begins) {
		t.Errorf("the text of %#v is %q", e, text)
	}
	if octez := e.CloseReason(); e.Reason != fd.None && (!strings.HasPrefix(octez, e.Reason.String()) || !strings.HasSuffix(octez, e.Err.Error())) {
		t.Errorf("the words of Octez for %#v are %q", e, octez)
	}
}
