//go:build linux && giouring && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package uring

import (
	"fmt"
	"io"
	"net"
	"reflect"
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

// TestRequestsAsGiouring compares the requests of a poller with what giouring's Prepare
// methods make. They are given zeroed entries.
func TestRequestsAsGiouring(t *testing.T) {
	e := newEngine(t, Config{})
	s, _ := newPair(t, e)
	s.fd, s.read.buf = s.sysfd, make([]byte, 64)
	l, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l.fd = l.sysfd
	for name, c := range map[string]struct {
		ep      *endpoint
		prepare func(want *giouring.SubmissionQueueEntry)
	}{
		"recv": {&s.endpoint, func(want *giouring.SubmissionQueueEntry) {
			want.PrepareRecv(int(s.sysfd), uintptr(address(s.read.buf)), length(s.read.buf), unix.MSG_DONTWAIT)
		}},
		"accept": {&l.endpoint, func(want *giouring.SubmissionQueueEntry) {
			want.PrepareAccept(int(l.sysfd), uintptr(l.remote.address()), uint64(uintptr(unsafe.Pointer(&l.remote.len))),
				unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			want.IoPrio = acceptDontwait // which giouring does not know
		}},
	} {
		var got sqe
		if !c.ep.request(&got, AllFeatures) {
			t.Errorf("%s: no request is made", name)
			continue
		}
		var want giouring.SubmissionQueueEntry
		c.prepare(&want)
		if a, b := bytesOf(&got), bytesOf(&want); a != b {
			t.Errorf("%s:\n%x, giouring has\n%x", name, a, b)
		}
	}
	s.read.buf = nil
}

// TestLoopRequestsAsGiouring compares the requests that a loop has made of late, which
// stay in its queue's memory, with what giouring's Prepare methods make of the same
// descriptors, buffers and flags: what is given lies where giouring puts it, and nothing
// else is set.
func TestLoopRequestsAsGiouring(t *testing.T) {
	e, set := newLoops(t, 1, 0)
	l, _ := serveOn(t, e, fd.Handler{Blocking: func(f *fd.FD) {
		buf := make([]byte, 64)
		if _, err := f.Read(buf); err == nil {
			_, _ = f.Write(buf)
			_, _ = f.Writev([][]byte{buf, buf})
		}
	}})
	seen := make(map[uint8]bool)
	look := func(loop *loop) {
		for i := range loop.ring.sqes {
			got := loop.ring.sqes[i]
			var want giouring.SubmissionQueueEntry
			switch got.opcode {
			case opSend:
				want.PrepareSend(int(got.fd), uintptr(got.addr), got.len, int(got.opFlags))
			case opSendmsg:
				want.PrepareSendMsg(int(got.fd), nil, got.opFlags)
				want.Addr = got.addr
			case opRecv:
				want.PrepareRecv(int(got.fd), uintptr(got.addr), got.len, int(got.opFlags))
				want.BufIG = got.bufIndex
			case opAccept:
				want.PrepareAccept(int(got.fd), uintptr(got.addr), got.off, got.opFlags)
			case opClose:
				want.PrepareClose(int(got.fd))
			case opRead:
				want.PrepareRead(int(got.fd), uintptr(got.addr), got.len, 0)
			case opPollAdd:
				want.PreparePollAdd(int(got.fd), got.opFlags)
				want.Len = got.len // whether again and again
			case opAsyncCancel:
				want.PrepareCancel64(got.addr, 0)
				want.Fd = 0 // no descriptor is looked at; giouring writes -1
			default:
				continue
			}
			seen[got.opcode] = true
			want.UserData, want.Flags, want.IoPrio = got.userData, got.flags, got.ioprio
			if a, b := bytesOf(&got), bytesOf(&want); a != b {
				t.Errorf("opcode %d:\n%x, giouring has\n%x", got.opcode, a, b)
			}
		}
	}
	for range 3 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 64)); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		onLoop(t, set.all[0], look)
	}
	for _, op := range []uint8{opRecv, opAccept, opRead} {
		if !seen[op] {
			t.Errorf("the loop made no request with opcode %d", op)
		}
	}
}

func bytesOf[T sqe | giouring.SubmissionQueueEntry](entry *T) string {
	return fmt.Sprintf("%x", unsafe.Slice((*byte)(unsafe.Pointer(entry)), sqeSize))
}
