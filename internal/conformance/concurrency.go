package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// concurrencyCases call everything from everywhere.
var concurrencyCases = []Case{
	{Name: "ReaderAndWriterAreApart", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		reading := goRead(ours, make([]byte, 16))
		parked(t, "fd.(*FD).Read", 1)
		write(t, ours, "the reader does not stand in the way") // would hang here
		read(t, plainReader{peer}, "the reader does not stand in the way")
		write(t, peer, "x")
		await(t, reading, "the Read")
		writing := fill(t, ours)
		write(t, peer, "nor does the writer")
		read(t, plainReader{ours}, "nor does the writer")
		_ = ours.Close()
		await(t, writing, "the end of Write")
	}},
	{Name: "WritesDoNotInterleave", Core: true, Run: writesDoNotInterleave},
	{Name: "ReadersShareTheStream", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		const readers, total = 8, 1 << 20
		var sum atomic.Int64
		var group sync.WaitGroup
		for range readers {
			group.Go(func() {
				buf := make([]byte, 1000)
				for {
					n, err := ours.Read(buf)
					sum.Add(int64(n))
					if err != nil {
						if !errors.Is(err, io.EOF) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		write(t, peer, string(make([]byte, total)))
		_ = peer.CloseWrite()
		await(t, async(func() bool { group.Wait(); return true }), "the end of every reader")
		if sum.Load() != total || ours.Stats().Read != total {
			t.Errorf("the readers got %d bytes, the counter says %d, want %d", sum.Load(), ours.Stats().Read, total)
		}
	}},
	{Name: "DuplexEcho", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		const connections, rounds = 32, 50
		var group sync.WaitGroup
		for i := range connections {
			client := e.Dial(t, l.Addr())
			server := e.Accept(t, l)
			group.Go(func() {
				_, _ = io.Copy(struct{ io.Writer }{server.Conn()}, struct{ io.Reader }{server.Conn()})
				_ = server.Close()
			})
			group.Go(func() {
				defer client.Close()
				buf := make([]byte, 64)
				for j := range rounds {
					message := fmt.Sprintf("connection %d round %d", i, j)
					if _, err := client.Write([]byte(message)); err != nil {
						t.Error(err)
						return
					}
					if _, err := io.ReadFull(plainReader{client}, buf[:len(message)]); err != nil || string(buf[:len(message)]) != message {
						t.Errorf("%q came back as %q, %v", message, buf[:len(message)], err)
						return
					}
				}
			})
		}
		await(t, async(func() bool { group.Wait(); return true }), "the end of every echo")
	}},
	{Name: "EverythingAtOnce", Core: true, Run: everythingAtOnce},
}

// writesDoNotInterleave sends frames larger than the socket's buffers from many
// goroutines, by Write and by Writev.
func writesDoNotInterleave(t *testing.T, e *Env) {
	ours, peer := e.Pair(t)
	const writers, frames, size = 6, 8, 300 << 10
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			frame := make([]byte, size)
			for i := 0; i < size; i += 4 {
				binary.BigEndian.PutUint32(frame[i:], uint32(w))
			}
			for i := range frames {
				var err error
				if i%2 == 0 {
					_, err = ours.Write(frame)
				} else {
					_, err = ours.Writev([][]byte{frame[:1000], frame[1000 : size/2], frame[size/2:]})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := async(func() bool {
		group.Wait()
		_ = ours.CloseWrite()
		return true
	})
	counts := make(map[uint32]int)
	frame := make([]byte, size)
	for {
		_, err := io.ReadFull(plainReader{peer}, frame)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		owner := binary.BigEndian.Uint32(frame)
		for i := 0; i < size; i += 4 {
			if v := binary.BigEndian.Uint32(frame[i:]); v != owner {
				t.Fatalf("a frame of writer %d holds bytes of writer %d at %d", owner, v, i)
			}
		}
		counts[owner]++
	}
	await(t, done, "the end of every writer")
	for w := range uint32(writers) {
		if counts[w] != frames {
			t.Errorf("%d frames of writer %d arrived, want %d", counts[w], w, frames)
		}
	}
}

// everythingAtOnce has readers, writers, deadline setters, option setters and
// observers on one connection, and then closes it under them.
func everythingAtOnce(t *testing.T, e *Env) {
	for range e.times(3) {
		ours, peer := e.Pair(t)
		stop := make(chan struct{})
		var group sync.WaitGroup
		forever := func(f func() error) {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					err := f()
					if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
						continue
					}
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("%v, want net.ErrClosed", err)
					}
					return
				}
			})
		}
		for range 3 {
			buf := make([]byte, 4096)
			forever(func() error { _, err := ours.Read(buf); return err })
			data := make([]byte, 20000)
			forever(func() error { _, err := ours.Write(data); return err })
		}
		forever(func() error { _, err := ours.Writev([][]byte{{1}, {2}}); return err })
		forever(func() error { return ours.SetDeadline(time.Now().Add(100 * time.Microsecond)) })
		forever(func() error { return ours.SetReadDeadline(past) })
		forever(func() error { return ours.SetDeadline(time.Time{}) })
		forever(func() error { ours.Stats(); ours.RemoteAddr(); ours.Reason(); ours.Reasons(); return nil })
		forever(func() error { ours.AddReason(nil); ours.SetPeer("peer"); return nil })
		forever(func() error { return ours.Conn().SetReadBuffer(64 << 10) })
		forever(func() error {
			rc, err := ours.SyscallConn()
			if err != nil {
				return err
			}
			if err := rc.Control(func(uintptr) {}); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		echo := async(func() bool {
			_, _ = io.Copy(struct{ io.Writer }{peer.Conn()}, struct{ io.Reader }{peer.Conn()})
			return true
		})
		time.Sleep(5 * time.Millisecond) // of the free play of all of them
		for range 3 {
			group.Go(func() { _ = ours.Close() })
		}
		_ = ours.Close()
		close(stop)
		await(t, async(func() bool { group.Wait(); return true }), "the end of every call")
		_ = peer.Close()
		await(t, echo, "the end of the echo")
		if r, _ := ours.Reason(); r != fd.ClosedLocally {
			t.Errorf("Reason = %v", r)
		}
	}
}
