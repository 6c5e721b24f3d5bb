//go:build linux && giouring && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package uring

import (
	"context"
	"fmt"
	"io"
	"net"
	"reflect"
	"syscall"
	"testing"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// TestGiouringLayout compares what ring_giouring_linux.go mirrors, field by
// field.
func TestGiouringLayout(t *testing.T) {
	mirrors(t, reflect.TypeFor[giouring.Ring](), reflect.TypeFor[giouringRing]())
	mirrors(t, reflect.TypeFor[giouring.SubmissionQueue](), reflect.TypeFor[giouringSQ]())
	mirrors(t, reflect.TypeFor[giouring.CompletionQueue](), reflect.TypeFor[giouringCQ]())
	for _, same := range []struct{ theirs, ours reflect.Type }{
		{reflect.TypeFor[giouring.Params](), reflect.TypeFor[params]()},
		{reflect.TypeFor[giouring.SubmissionQueueEntry](), reflect.TypeFor[sqe]()},
		{reflect.TypeFor[giouring.CompletionQueueEvent](), reflect.TypeFor[cqe]()},
	} {
		if same.theirs.Size() != same.ours.Size() || same.theirs.NumField() != same.ours.NumField() {
			t.Errorf("%v is not laid out as %v", same.ours, same.theirs)
			continue
		}
		for i := range same.theirs.NumField() {
			theirs, ours := same.theirs.Field(i), same.ours.Field(i)
			if theirs.Offset != ours.Offset || theirs.Type.Size() != ours.Type.Size() {
				t.Errorf("%v.%s is not laid out as %v.%s", same.ours, ours.Name, same.theirs, theirs.Name)
			}
		}
	}
}

func mirrors(t *testing.T, theirs, ours reflect.Type) {
	t.Helper()
	if theirs.Size() != ours.Size() || theirs.NumField() != ours.NumField() {
		t.Errorf("%v is not laid out as %v", ours, theirs)
		return
	}
	for i := range theirs.NumField() {
		a, b := theirs.Field(i), ours.Field(i)
		if a.Name != b.Name || a.Offset != b.Offset || a.Type.Kind() != b.Type.Kind() || a.Type.Size() != b.Type.Size() {
			t.Errorf("%v.%s is not laid out as %v.%s", ours, b.Name, theirs, a.Name)
		}
	}
}

// TestGiouringHasNoNoSQArray shows that what giouring would corrupt is refused.
func TestGiouringHasNoNoSQArray(t *testing.T) {
	needRing(t)
	if r, err := newRing(8, 16, setupNoSQArray); err != errNoSQArray {
		t.Errorf("newRing: %v, want %v", err, errNoSQArray)
		if err == nil {
			r.close()
		}
	}
	if Probe().Found.Has(FeatureNoSQArray) {
		t.Error("the probe finds no_sqarray")
	}
}

// TestRequestsAsGiouring compares the bytes of each request with those of
// giouring's Prepare methods. They are given zeroed entries, and zeroed
// arguments where giouring takes a Go value's address for it.
func TestRequestsAsGiouring(t *testing.T) {
	e := newEngine(t, Config{})
	s, _ := newPair(t, e)
	p := s.ring
	var want giouring.SubmissionQueueEntry
	// check compares the first request that act publishes.
	check := func(name string, p *parked, act func() error, prepare func()) {
		t.Helper()
		p.mu.Lock()
		p.alone = 0 // else a send does without the ring
		p.mu.Unlock()
		release := hold(p)
		done := make(chan error, 1)
		n := len(queuedRequests(p))
		go func() { done <- act() }()
		until(t, "the request is published", func() bool { return len(queuedRequests(p)) > n })
		got := queuedRequests(p)[n]
		want = giouring.SubmissionQueueEntry{}
		prepare()
		want.UserData = got.userData
		if a, b := bytesOf(&got), bytesOf(&want); a != b {
			t.Errorf("%s:\n%x, giouring has\n%x", name, a, b)
		}
		release()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	pointer := func(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

	out := []byte("out")
	check("send", p, func() error { _, err := s.Write(out); return err }, func() {
		want.PrepareSend(int(s.sysfd), pointer(out), uint32(len(out)), unix.MSG_NOSIGNAL|unix.MSG_WAITALL)
		quietly(s, &want)
	})
	check("sendmsg", p, func() error { _, err := s.Writev([][]byte{out, out}); return err }, func() {
		want.PrepareSendMsg(int(s.sysfd), (*syscall.Msghdr)(unsafe.Pointer(&s.write.op.vec.msg)), unix.MSG_NOSIGNAL|unix.MSG_WAITALL)
		quietly(s, &want)
	})
	check("poll", p, func() error { _, err := p.poll(&s.write.op, s.sysfd, unix.POLLOUT, false); return err }, func() {
		want.PreparePollAdd(int(s.sysfd), unix.POLLOUT)
	})

	r, peer := newPair(t, e)
	if _, err := unix.Write(peer, out); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 64)
	check("recv", r.ring, func() error { _, err := r.Read(in); return err }, func() {
		want.PrepareRecv(int(r.sysfd), pointer(in), uint32(len(in)), 0)
	})

	l, err := e.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client := e.NewSocket(&fd.DialConfig{})
	check("connect", client.ring, func() error { return client.Connect(t.Context(), l.Addr()) }, func() {
		remote := client.write.op.remote
		addr := (*syscall.Sockaddr)(unsafe.Pointer(&remote.any)) // what giouring calls for: see its signature
		want.PrepareConnect(int(client.sysfd), addr, uint64(remote.len))
	})
	var accepted fd.Socket
	check("accept", l.ring, func() (err error) { accepted, err = l.Accept(context.Background()); return err }, func() {
		remote := l.op.remote
		want.PrepareAccept(int(l.sysfd), uintptr(remote.address()), uint64(uintptr(unsafe.Pointer(&remote.len))), unix.SOCK_CLOEXEC)
	})
	for _, c := range []io.Closer{client, accepted, l} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}

	sysfd := int(s.sysfd)
	check("close", p, s.Close, func() { want.PrepareClose(sysfd) })

	// A cancel request is flushed with its own call: its entry is read after.
	blocked := make(chan error, 1)
	before := r.ring.count()
	go func() { _, err := r.Read(in); blocked <- err }()
	until(t, "the receive is published", func() bool { return r.ring.count() > before })
	target := userData(r.read.op.slot, r.read.op.gen.Load())
	r.ring.abort(&r.read.op, abortClosed, net.ErrClosed)
	if err := <-blocked; err != net.ErrClosed {
		t.Errorf("the aborted read: %v", err)
	}
	got := r.ring.ring.sqes[(r.ring.ring.sq.sqeTail-1)&(r.ring.ring.sqEntries-1)]
	want = giouring.SubmissionQueueEntry{}
	want.PrepareCancel64(target, 0)
	want.UserData = kindCancel | target
	want.Fd = 0 // no descriptor is looked at; giouring writes -1
	if a, b := bytesOf(&got), bytesOf(&want); a != b {
		t.Errorf("cancel:\n%x, giouring has\n%x", a, b)
	}
}

// quietly makes want a send that does not wait and posts no completion, where s
// asks for that.
func quietly(s *Socket, want *giouring.SubmissionQueueEntry) {
	if s.ring.used.Has(FeatureSkipSuccess) {
		want.SetFlags(uint32(giouring.SqeCQESkipSuccess))
		want.OpcodeFlags |= unix.MSG_DONTWAIT
	}
}

func bytesOf[T sqe | giouring.SubmissionQueueEntry](entry *T) string {
	return fmt.Sprintf("%x", unsafe.Slice((*byte)(unsafe.Pointer(entry)), sqeSize))
}
