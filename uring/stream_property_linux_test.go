package uring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// script is what a peer does, one step after the other.
type script []step

type step struct {
	do    action
	size  int
	pause time.Duration // afterwards
}

type action uint8

const (
	sendBytes action = iota
	sendUrgent
	sendDescriptor
	endWriting
	resetAll
)

// drawScript draws what a peer on l may do. It ends by a half close or a reset.
func drawScript(t *rapid.T, l lane) script {
	middle := rapid.Custom(func(t *rapid.T) step {
		s := step{
			size:  rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 3*receiveLimit)).Draw(t, "size"),
			pause: rapid.SampledFrom([]time.Duration{0, 0, 0, time.Microsecond, 100 * time.Microsecond}).Draw(t, "pause"),
		}
		if rapid.IntRange(0, 4).Draw(t, "special") == 0 {
			s.do = sendUrgent
			if !l.tcp() {
				s.do = sendDescriptor
			}
		}
		return s
	})
	steps := rapid.SliceOfN(middle, 0, 12).Draw(t, "steps")
	return append(steps, step{do: rapid.SampledFrom([]action{endWriting, resetAll}).Draw(t, "end")})
}

// play plays the script on a peer, and returns what it has sent.
func (sc script) play(l lane, peer int) (sent []byte, err error) {
	next := func(n int) []byte {
		from := len(sent)
		for i := range n {
			sent = append(sent, byte((from+i)*7))
		}
		return sent[from:]
	}
	for _, s := range sc {
		switch s.do {
		case sendBytes:
			for part := next(s.size); len(part) > 0 && err == nil; {
				var n int
				n, err = unix.Write(peer, part)
				part = part[max(n, 0):]
			}
		case sendUrgent: // in line: see SO_OOBINLINE
			err = unix.Sendto(peer, next(1), unix.MSG_OOB, nil)
		case sendDescriptor:
			err = unix.Sendmsg(peer, next(1), unix.UnixRights(peer), nil, 0)
		case endWriting:
			err = unix.Shutdown(peer, unix.SHUT_WR)
		case resetAll:
			for end := time.Now().Add(10 * time.Second); l.tcp(); runtime.Gosched() { // it drops what has not arrived
				if n, _ := unix.IoctlGetInt(peer, unix.TIOCOUTQ); n == 0 {
					break
				} else if time.Now().After(end) {
					return sent, errors.New("what was sent does not arrive")
				}
			}
			if l.tcp() {
				err = sysSetLinger(peer, &unix.Linger{Onoff: 1})
			}
			if err == nil {
				err = unix.Close(peer)
			}
		}
		if err != nil {
			return sent, fmt.Errorf("step %+v: %w", s, err)
		}
		if s.pause > 0 {
			time.Sleep(s.pause)
		}
	}
	return sent, nil
}

// TestStreamProperty: whatever the peer does, and however it is read, the reader gets
// exactly what was sent, and then the right end; it never waits for ever.
func TestStreamProperty(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		e := newEngine(t, Config{Without: l.without})
		rapid.Check(t, func(t *rapid.T) { streamProperty(t, e, l) })
	})
}

func streamProperty(t *rapid.T, e *Engine, l lane) {
	s, peer, err := l.open(e)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sc := drawScript(t, l)
	resets := sc[len(sc)-1].do == resetAll
	if !resets {
		defer unix.Close(peer)
	}
	sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 3, 100, 4096, receiveLimit, receiveLimit + 1, 5 * receiveLimit}), 1, 6).Draw(t, "buffers")
	deadlines := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 0, time.Nanosecond, 20 * time.Microsecond, 200 * time.Microsecond}), 1, 5).Draw(t, "deadlines")
	deadlines = append(deadlines, 0) // else it may never read
	waits := rapid.SliceOfN(rapid.Bool(), 1, 4).Draw(t, "WaitRead first")
	touched := rapid.IntRange(0, 7).Draw(t, "descriptor given away") == 0

	if l.tcp() {
		err = unix.SetsockoptInt(int(s.sysfd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	} else if resets { // what the peer leaves unread makes its close a reset
		_, err = s.Write([]byte("unread"))
	}
	if touched && err == nil {
		_, err = s.SyscallConn()
	}
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		data []byte
		err  error
	}
	played, read := make(chan outcome, 1), make(chan outcome, 1)
	go func() {
		var o outcome
		o.data, o.err = sc.play(l, peer)
		played <- o
	}()
	go func() {
		var o outcome
		o.data, o.err = readAll(s, sizes, deadlines, waits)
		read <- o
	}()
	var sent, got outcome
	for range 2 {
		select {
		case sent = <-played:
			if sent.err != nil {
				_ = s.Close()
				t.Fatal(sent.err)
			}
		case got = <-read:
		case <-time.After(20 * time.Second):
			left, _ := unix.IoctlGetInt(int(s.sysfd), unix.TIOCINQ)
			t.Fatalf("the reader waits for ever in the state %#x, and %d bytes lie there", s.read.state.Load(), left)
		}
	}
	want := error(io.EOF)
	if resets {
		want = syscall.ECONNRESET
	}
	if !errors.Is(got.err, want) {
		t.Errorf("the end is %v, want %v", got.err, want)
	}
	if !bytes.Equal(got.data, sent.data) {
		same := 0
		for same < min(len(got.data), len(sent.data)) && got.data[same] == sent.data[same] {
			same++
		}
		t.Errorf("%d bytes came of %d, and they differ from %d on", len(got.data), len(sent.data), same)
	}
}

// readAll reads until the end, by buffers of these sizes in turns, with these deadlines
// in turns: none where it is 0.
func readAll(s *Socket, sizes []int, deadlines []time.Duration, waits []bool) (got []byte, err error) {
	for turn := 0; ; turn++ {
		at := time.Time{}
		if d := deadlines[turn%len(deadlines)]; d > 0 {
			at = time.Now().Add(d)
		}
		if err := s.SetReadDeadline(at); err != nil {
			return got, err
		}
		var n int
		buf := make([]byte, sizes[turn%len(sizes)])
		if waits[turn%len(waits)] {
			err = s.WaitRead()
		}
		if err == nil {
			n, err = s.Read(buf)
		}
		got = append(got, buf[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return got, err
		}
		err = nil
	}
}
