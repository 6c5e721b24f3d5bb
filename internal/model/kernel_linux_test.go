package model

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// patience bounds every wait for what must happen.
const patience = 6 * time.Second

// The states of a TCP connection that tell how far it has ended
// (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpTimeWait    = 6
	tcpClose       = 7
)

// ended waits until our kernel has seen what the model says of the peer's end.
func (c *conn) awaitEnd(t *rapid.T) {
	t.Helper()
	switch {
	case c.broken, c.fin && c.writeEnded:
		c.awaitState(t, func(s uint8) bool { return s == tcpClose || s == tcpTimeWait })
	case c.fin:
		c.awaitState(t, func(s uint8) bool {
			return !slices.Contains([]uint8{tcpEstablished, tcpFinWait1, tcpFinWait2}, s)
		})
	}
}

// awaitState waits for a state of the kernel's socket: no call of ours tells that
// a segment has come without changing what the test is about.
func (c *conn) awaitState(t *rapid.T, is func(state uint8) bool) {
	t.Helper()
	if c.phase != connected {
		return
	}
	waits := c.reading != nil || c.writing != nil
	raw, err := c.f.SyscallConn()
	if waits && err != nil {
		return // the call that waits has met the end already
	}
	if err != nil {
		t.Fatalf("fd %d: SyscallConn: %v", c.f.ID(), err)
	}
	var state uint8
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Microsecond) {
		controlErr := raw.Control(func(sysfd uintptr) {
			var info *unix.TCPInfo
			if info, err = unix.GetsockoptTCPInfo(int(sysfd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				state = info.State
			}
		})
		if _, err := c.f.SyscallConn(); waits && err != nil {
			return
		}
		if controlErr != nil || err != nil {
			t.Fatalf("fd %d: TCP_INFO: %v, %v", c.f.ID(), controlErr, err)
		}
		if is(state) {
			return
		}
	}
	t.Fatalf("fd %d: the connection stays in state %d", c.f.ID(), state)
}
