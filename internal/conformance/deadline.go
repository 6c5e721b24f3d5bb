package conformance

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

var (
	past    = time.Unix(1, 0)
	forever time.Time
)

// deadlineCases are Go's rules for deadlines.
var deadlineCases = []Case{
	{Name: "PastDeadlineUnblocksRead", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := goRead(ours, make([]byte, 16))
			parked(t, "fd.(*FD).Read", 1)
			set(t, ours.SetReadDeadline(past))
			wantTimeout(t, await(t, pending, "the end of Read").err, "read")
			wantReason(t, ours, fd.None)
			set(t, ours.SetReadDeadline(forever))
			write(t, peer, "alive")
			read(t, ours, "alive")
		})
	}},
	{Name: "PastDeadlineUnblocksWrite", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := fill(t, ours)
			set(t, ours.SetWriteDeadline(past))
			w := await(t, pending, "the end of Write")
			wantTimeout(t, w.err, "write")
			wantExactly(t, ours, peer, w.n)
		})
	}},
	{Name: "DeadlineExpires", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		const d = 20 * time.Millisecond
		for range 2 {
			start := time.Now()
			set(t, ours.SetReadDeadline(start.Add(d)))
			wantTimeout(t, readErr(t, ours, fd.None), "read")
			if took := time.Since(start); took < d {
				t.Errorf("a deadline of %v ended the Read after %v", d, took)
			}
		}
		wantTimeout(t, readErr(t, ours, fd.None), "read") // it stays expired
		set(t, ours.SetDeadline(forever))
		write(t, peer, "alive")
		read(t, ours, "alive")

		set(t, ours.SetWriteDeadline(time.Now().Add(d)))
		w := await(t, goWrite(ours, make([]byte, 64<<20)), "the end of Write")
		wantTimeout(t, w.err, "write")
	}},
	{Name: "ExpiredDeadlineConsumesNothing", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		write(t, peer, "kept")
		for range 3 {
			set(t, ours.SetReadDeadline(past))
			wantTimeout(t, readErr(t, ours, fd.None), "read")
		}
		set(t, ours.SetWriteDeadline(past))
		wantTimeout(t, writeErr(t, ours, fd.None), "write")
		_, err := ours.Writev([][]byte{[]byte("x")})
		wantTimeout(t, err, "write")
		set(t, ours.SetDeadline(forever))
		read(t, ours, "kept")
		write(t, ours, "only this")
		_ = ours.Close()
		got, err := io.ReadAll(plainReader{peer})
		if string(got) != "only this" {
			t.Errorf("the peer read %q, %v", got, err)
		}
	}},
	{Name: "ExpiredDeadlineAndEmptyCalls", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		set(t, ours.SetDeadline(past))
		if n, err := ours.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) = %d, %v", n, err)
		}
		if n, err := ours.Write(nil); n != 0 || err != nil {
			t.Errorf("Write(nil) = %d, %v", n, err)
		}
	}},
	{Name: "DeadlineIsPerHalf", Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		set(t, ours.SetReadDeadline(past))
		write(t, ours, "write is not concerned")
		read(t, peer, "write is not concerned")
		set(t, ours.SetReadDeadline(forever))
		set(t, ours.SetWriteDeadline(past))
		write(t, peer, "nor is read")
		read(t, ours, "nor is read")
	}},
	{Name: "DeadlineMoves", Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		// Later than the first, which must not end the Read.
		set(t, ours.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		set(t, ours.SetReadDeadline(time.Now().Add(time.Hour)))
		pending := goRead(ours, make([]byte, 16))
		parked(t, "fd.(*FD).Read", 1)
		select {
		case r := <-pending:
			t.Fatalf("Read ended with %v: by a deadline that was replaced", r.err)
		case <-time.After(30 * time.Millisecond):
		}
		// Earlier than the hour, while the Read waits.
		set(t, ours.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		wantTimeout(t, await(t, pending, "the end of Read").err, "read")
		// Cleared while the Read waits.
		set(t, ours.SetReadDeadline(time.Now().Add(time.Hour)))
		pending = goRead(ours, make([]byte, 16))
		parked(t, "fd.(*FD).Read", 1)
		set(t, ours.SetReadDeadline(forever))
		write(t, peer, "x")
		if r := await(t, pending, "the end of Read"); r.n != 1 || r.err != nil {
			t.Errorf("Read = %d, %v", r.n, r.err)
		}
	}},
	{Name: "DeadlineUnblocksQueuedReaders", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		const n = 4
		var calls []<-chan transfer
		for range n {
			calls = append(calls, goRead(ours, make([]byte, 16)))
		}
		parked(t, "fd.(*FD).Read", n)
		set(t, ours.SetReadDeadline(past))
		for _, c := range calls {
			wantTimeout(t, await(t, c, "the end of Read").err, "read")
		}
	}},
	{Name: "DeadlineBeforeConnect", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		f := e.Backend.Socket()
		t.Cleanup(func() { _ = f.Close() })
		set(t, f.SetDeadline(past)) // which says nothing about Connect
		if err := f.Connect(t.Context(), l.Addr()); err != nil {
			t.Fatal(err)
		}
		_ = e.Accept(t, l)
		wantTimeout(t, readErr(t, f, fd.None), "read")
		wantTimeout(t, writeErr(t, f, fd.None), "write")
		set(t, f.SetWriteDeadline(forever))
		write(t, f, "x")
	}},
	{Name: "DeadlineAfterClose", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		_ = ours.Close()
		if err := ours.SetDeadline(forever); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline: %v, want net.ErrClosed", err)
		}
		if err := ours.Conn().SetDeadline(forever); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Conn.SetDeadline: %v, want net.ErrClosed", err)
		}
	}},
	{Name: "DeadlinesLoseNoData", Core: true, Run: deadlinesLoseNoData},
	{Name: "DeadlinesLoseNoWrite", Core: true, Run: deadlinesLoseNoWrite},
}

// plainReader reads an FD as io wants it: with a bare io.EOF.
type plainReader struct{ f *fd.FD }

func (r plainReader) Read(p []byte) (int, error) { return r.f.Conn().Read(p) }

func set(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("setting a deadline: %v", err)
	}
}

// wantTimeout checks an expired deadline: an error of the call, and no end.
func wantTimeout(t testing.TB, err error, op string) {
	t.Helper()
	wantErr(t, op, err, op, fd.None, os.ErrDeadlineExceeded)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		t.Errorf("Timeout() of %v is false", err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		t.Errorf("%v matches an error that it is not", err)
	}
}

// deadlinesLoseNoData reads a counted stream under thousands of deadlines that
// fall due while data arrives, set by the reader and by a stranger: a cancelled
// receive may have data, and no byte of it may be lost, doubled or moved.
func deadlinesLoseNoData(t *testing.T, e *Env) {
	ours, peer := e.Pair(t)
	const total = 64 << 10
	sent := async(func() error {
		var block [64]byte
		for i := uint32(0); i < total; i += uint32(len(block)) {
			for j := 0; j < len(block); j += 4 {
				binary.BigEndian.PutUint32(block[j:], i+uint32(j))
			}
			if _, err := peer.Write(block[:]); err != nil {
				return err
			}
			if i%512 == 0 {
				time.Sleep(20 * time.Microsecond) // so that the reader finds nothing at times
			}
		}
		return peer.CloseWrite()
	})
	stop := make(chan struct{})
	stranger := async(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
				_ = ours.SetReadDeadline(past)
				time.Sleep(50 * time.Microsecond)
			}
		}
	})
	var got []byte
	buf := make([]byte, 48)
	expired := 0
	for i := 0; ; i++ {
		set(t, ours.SetReadDeadline(time.Now().Add(time.Duration(i%40)*time.Microsecond)))
		n, err := ours.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			expired++
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	await(t, stranger, "the end of the stranger")
	if err := await(t, sent, "the end of the sender"); err != nil {
		t.Fatal(err)
	}
	if len(got) != total {
		t.Fatalf("%d bytes arrived, %d were sent", len(got), total)
	}
	for i := 0; i < total; i += 4 {
		if v := binary.BigEndian.Uint32(got[i:]); v != uint32(i) {
			t.Fatalf("at %d there are the bytes of %d", i, v)
		}
	}
	if expired == 0 {
		t.Error("no deadline expired: the case tried nothing")
	}
}

// deadlinesLoseNoWrite sends a counted stream under deadlines that cut writes
// short; going on after the count that Write returned must give it all, once.
func deadlinesLoseNoWrite(t *testing.T, e *Env) {
	ours, peer := e.Pair(t)
	data := pattern(16 << 20)
	got := async(func() []byte {
		all, _ := io.ReadAll(slowReader{plainReader{peer}})
		return all
	})
	expired := 0
	for sent := 0; sent < len(data); {
		set(t, ours.SetWriteDeadline(time.Now().Add(time.Duration(expired%300)*time.Microsecond)))
		n, err := ours.Write(data[sent:])
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			expired++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	_ = ours.Close()
	checkPattern(t, await(t, got, "end of file at the peer"), len(data))
	if expired == 0 {
		t.Error("no deadline expired: the case tried nothing")
	}
}

// slowReader leaves the socket's buffers full for a moment at each read.
type slowReader struct{ r io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Microsecond)
	return s.r.Read(p)
}
