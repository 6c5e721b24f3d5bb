package fd_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// BenchmarkErrorText prints the error of each reason.
func BenchmarkErrorText(b *testing.B) {
	for _, c := range []struct {
		name   string
		reason fd.Reason
	}{
		{"none", fd.None}, {"by-peer", fd.ClosedByPeer}, {"locally", fd.ClosedLocally}, {"lost", fd.Lost},
		{"unexpected", fd.Unexpected}, {"when-closing", fd.UnexpectedWhenClosing},
	} {
		err := error(&fd.Error{Op: "read", Reason: c.reason, Err: syscallErr("read", reset), CloseErr: syscall.EIO})
		b.Run("reason="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err.Error() == "" {
					b.Fatal("the error says nothing")
				}
			}
		})
	}
}

// BenchmarkErrorsIs asks an error what the loops of an embedder ask it.
func BenchmarkErrorsIs(b *testing.B) {
	eof := &fd.Error{Op: "read", Reason: fd.ClosedByPeer, Err: io.EOF}
	late := &fd.Error{Op: "read", Err: os.ErrDeadlineExceeded}
	lost := &fd.Error{Op: "read", Reason: fd.Lost, Err: syscallErr("read", reset)}
	f, _ := connected(0, nil)
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	_, closed := f.Read(make([]byte, 1))
	for _, c := range []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"EOF", eof, io.EOF, true},
		{"deadline", late, os.ErrDeadlineExceeded, true},
		{"errno", lost, reset, true},
		{"closed", closed, net.ErrClosed, true},
		{"no", lost, net.ErrClosed, false},
	} {
		b.Run("is="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if errors.Is(c.err, c.target) != c.want {
					b.Fatalf("errors.Is(%v, %v) is %v", c.err, c.target, !c.want)
				}
			}
		})
	}
}

// BenchmarkClassify asks an error what it means, by the errno in it.
func BenchmarkClassify(b *testing.B) {
	lost := &fd.Error{Op: "read", Reason: fd.Lost, Err: syscallErr("read", reset)}
	for _, c := range []struct {
		name string
		call func() bool
		want bool
	}{
		{"PeerClosed", func() bool { return fd.PeerClosed(lost) }, true},
		{"Timeout", lost.Timeout, false},
		{"Temporary", lost.Temporary, false},
		{"Retryable", lost.Retryable, false},
	} {
		b.Run("ask="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.call() != c.want {
					b.Fatalf("%s is %v", c.name, !c.want)
				}
			}
		})
	}
}

// BenchmarkEnd is a Read that ends its connection, the making of the FD
// included: the error is classified, the FD closed, its reason kept.
func BenchmarkEnd(b *testing.B) {
	for _, c := range []struct {
		name   string
		err    error
		reason fd.Reason
	}{
		{"EOF", io.EOF, fd.ClosedByPeer},
		{"lost", syscallErr("read", reset), fd.Lost},
		{"unexpected", errors.New("no errno"), fd.Unexpected},
	} {
		b.Run("by="+c.name, func(b *testing.B) {
			s := &fakeSocket{read: func([]byte) (int, error) { return 0, c.err }}
			buf := make([]byte, 1)
			b.ReportAllocs()
			for b.Loop() {
				f := fd.Accepted(s, nil)
				_, _ = f.Read(buf)
				if reason, _ := f.Reason(); reason != c.reason {
					b.Fatalf("the reason is %v, want %v", reason, c.reason)
				}
			}
		})
	}
}
