package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// beyondBuffers is more than the buffers of two sockets hold.
const beyondBuffers = 64 << 20

// broadcastCases are about Broadcast.
var broadcastCases = []Case{
	{Name: "Broadcast", Core: true, Run: func(t *testing.T, e *Env) {
		connections := 1000
		if e.Row.Core || raceEnabled || e.Network != Networks()[0] {
			connections = 50
		}
		fds, peers := e.audience(t, connections)
		// And to what was dialled, with a handler and without.
		l := e.Listen(t, defaultConfig)
		fds = append(fds, e.Dial(t, l.Addr()))
		peers = append(peers, plainReader{e.Accept(t, l)})
		plain, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		fds = append(fds, plain)
		peers = append(peers, plainReader{e.Accept(t, l)})

		for _, size := range []int{1, 1000, 60000} {
			message := pattern(size)
			if errs := e.Backend.Broadcast(t.Context(), fds, message); errs != nil {
				t.Fatalf("Broadcast: %v", errs)
			}
			for _, c := range peers {
				read(t, c, string(message))
			}
		}
		for _, f := range fds {
			if n := f.Stats().Written; n != 61001 {
				t.Fatalf("%d bytes were counted", n)
			}
		}
		if errs := e.Backend.Broadcast(t.Context(), fds, nil); errs != nil {
			t.Errorf("Broadcast of nothing: %v", errs)
		}
		if errs := e.Backend.Broadcast(t.Context(), nil, []byte("x")); errs != nil {
			t.Errorf("Broadcast to nobody: %v", errs)
		}
	}},
	{Name: "BroadcastToASlowOne", Core: true, Run: func(t *testing.T, e *Env) {
		fds, peers := e.audience(t, 3)
		message := pattern(beyondBuffers)
		sent := async(func() []error { return e.Backend.Broadcast(context.Background(), fds, message) })
		var quick []<-chan error
		for _, c := range peers[1:] {
			quick = append(quick, async(func() error { return wantStream(c, message) }))
		}
		for _, q := range quick {
			if err := await(t, q, "the message at a quick one"); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case errs := <-sent:
			t.Fatalf("Broadcast returned %v, and one has not read", errs)
		default:
		}
		if err := wantStream(peers[0], message); err != nil {
			t.Error(err)
		}
		if errs := await(t, sent, "the end of Broadcast"); errs != nil {
			t.Errorf("Broadcast: %v", errs)
		}
	}},
	{Name: "BroadcastToAClosedOne", Core: true, Run: func(t *testing.T, e *Env) {
		fds, peers := e.audience(t, 4)
		_ = fds[1].Close()
		set(t, fds[2].SetWriteDeadline(past))
		errs := e.Backend.Broadcast(t.Context(), fds, []byte("hello"))
		if len(errs) != len(fds) || errs[0] != nil || errs[3] != nil {
			t.Fatalf("Broadcast: %v", errs)
		}
		wantErr(t, "Broadcast", errs[1], "write", fd.ClosedLocally, net.ErrClosed)
		wantErr(t, "Broadcast", errs[2], "write", fd.None, os.ErrDeadlineExceeded)
		read(t, peers[0], "hello")
		read(t, peers[3], "hello")
		set(t, fds[2].SetWriteDeadline(forever))
		if err := e.Backend.Broadcast(t.Context(), fds[2:3], []byte("again")); err != nil {
			t.Errorf("Broadcast: %v", err)
		}
		read(t, peers[2], "again")
	}},
	{Name: "BroadcastContextNothingTaken", Core: true, Run: func(t *testing.T, e *Env) {
		fds, peers := e.audience(t, 2)
		before := fill(t, fds[0]) // which the message would follow
		ctx, cancel := context.WithCancel(t.Context())
		sent := async(func() []error { return e.Backend.Broadcast(ctx, fds, []byte("torn")) })
		read(t, peers[1], "torn")
		cancel()
		errs := await(t, sent, "the end of Broadcast")
		if len(errs) != 2 || errs[1] != nil {
			t.Fatalf("Broadcast: %v", errs)
		}
		wantErr(t, "Broadcast", errs[0], "write", fd.None, context.Canceled)
		wantReason(t, fds[0], fd.None)
		if err := wantStream(peers[0], make([]byte, 64<<20)); err != nil {
			t.Fatal(err)
		}
		if w := await(t, before, "the end of Write"); w.err != nil {
			t.Errorf("Write = %d, %v", w.n, w.err)
		}
		write(t, fds[0], "after")
		read(t, peers[0], "after")

		for i, err := range e.Backend.Broadcast(ctx, fds, []byte("over")) {
			wantErr(t, "Broadcast", err, "write", fd.None, context.Canceled)
			write(t, fds[i], "alive")
			read(t, peers[i], "alive")
		}
	}},
	{Name: "BroadcastContextPartTaken", Core: true, Run: func(t *testing.T, e *Env) {
		fds, peers := e.audience(t, 2)
		set(t, fds[1].SetWriteDeadline(forever))
		message := pattern(beyondBuffers)
		ctx, cancel := context.WithCancel(t.Context())
		sent := async(func() []error { return e.Backend.Broadcast(ctx, fds, message) })
		if err := wantStream(peers[1], message); err != nil {
			t.Fatal(err)
		}
		read(t, peers[0], string(message[:1]))
		cancel()
		errs := await(t, sent, "the end of Broadcast")
		if len(errs) != 2 || errs[1] != nil {
			t.Fatalf("Broadcast: %v", errs)
		}
		wantErr(t, "Broadcast", errs[0], "write", fd.ClosedLocally, context.Canceled, fd.ErrSlowConsumer)
		if text := errs[0].Error(); !strings.Contains(text, fd.ErrSlowConsumer.Error()) || strings.Contains(text, "unexpected") {
			t.Errorf("the error of a slow consumer reads %q", text)
		}
		if err := writeErr(t, fds[0], fd.ClosedLocally, fd.ErrSlowConsumer); !errors.Is(err, context.Canceled) || len(fds[0].Reasons()) != 1 {
			t.Errorf("the end is %v, with the reasons %v", err, fds[0].Reasons())
		}
		n := int(fds[0].Stats().Written)
		if n == 0 || n >= len(message) {
			t.Fatalf("%d bytes were counted", n)
		}
		if err := wantStream(peers[0], message[1:n]); err != nil {
			t.Error(err)
		}
		wantAll(t, peers[0].(net.Conn), "")
		write(t, fds[1], "alive")
		read(t, peers[1], "alive")
	}},
	{Name: "BroadcastUnderADeadline", Core: true, Run: func(t *testing.T, e *Env) {
		// A deadline of the FD's own ends its part, as it ends a Write.
		fds, peers := e.audience(t, 1)
		message := pattern(beyondBuffers)
		sent := async(func() []error { return e.Backend.Broadcast(context.Background(), fds, message) })
		read(t, peers[0], string(message[:1]))
		set(t, fds[0].SetWriteDeadline(past))
		errs := await(t, sent, "the end of Broadcast")
		if len(errs) != 1 {
			t.Fatalf("Broadcast: %v", errs)
		}
		wantTimeout(t, errs[0], "write")
		if err := wantStream(peers[0], message[1:fds[0].Stats().Written]); err != nil {
			t.Error(err)
		}
		set(t, fds[0].SetWriteDeadline(forever))
		write(t, fds[0], "alive")
		read(t, peers[0], "alive")
	}},
	{Name: "BroadcastFromHandlers", Core: true, Run: broadcastFromHandlers},
	{Name: "BehindBroadcast", Core: true, Run: behindBroadcast},
	{Name: "BroadcastInOrder", Core: true, Run: broadcastInOrder},
}

// broadcastInOrder: what a data handler broadcasts to connections that no loop has
// arrives in the order in which it did, and no more is kept for them than for
// others.
func broadcastInOrder(t *testing.T, e *Env) {
	const count = 2000
	plain, peer := e.parkedAndPeer(t)
	failed := make(chan error, 1)
	kept := 0
	l, _ := e.serveWith(t, fd.Handler{Data: func(_ *fd.FD, data []byte) {
		if string(data) == "count" {
			for i := range uint64(count) {
				if errs := e.Backend.Broadcast(context.Background(), []*fd.FD{plain}, binary.BigEndian.AppendUint64(nil, i)); errs != nil {
					failed <- errs[0]
					return
				}
			}
			failed <- nil
			return
		}
		message := pattern(64 << 10)
		for ; kept < beyondBuffers/len(message); kept++ {
			if errs := e.Backend.Broadcast(context.Background(), []*fd.FD{plain}, message); errs != nil {
				failed <- errs[0]
				return
			}
		}
		failed <- nil
	}})
	c := e.peerOf(t, l)
	write(t, c, "count")
	for i := range uint64(count) {
		var number [8]byte
		if _, err := io.ReadFull(peer, number[:]); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(number[:]); got != i {
			t.Fatalf("message %d came where %d should be", got, i)
		}
	}
	if err := await(t, failed, "the end of the handler"); err != nil {
		t.Fatal(err)
	}
	if e.Backend.Kind() == ringfd.Net {
		return // nothing is kept there: a Write of a data handler waits
	}
	write(t, c, "fill")
	var fdErr *fd.Error
	if err := await(t, failed, "the end of the handler"); !errors.As(err, &fdErr) || !fdErr.Retryable() || kept == 0 {
		t.Fatalf("after %d messages to one that does not read: %v", kept, err)
	}
	for range kept {
		if err := wantStream(peer, pattern(64<<10)); err != nil {
			t.Fatal(err)
		}
	}
}

// parkedAndPeer returns a connection that no loop has, and its peer, which is net's.
func (e *Env) parkedAndPeer(t *testing.T) (*fd.FD, net.Conn) {
	t.Helper()
	l, err := net.Listen(e.Network, e.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	_ = peer.SetDeadline(time.Now().Add(patience))
	return f, peer
}

// audience returns served connections and their peers, which are net's.
func (e *Env) audience(t testing.TB, n int) (fds []*fd.FD, peers []io.Reader) {
	l := e.Listen(t, defaultConfig)
	for range n {
		c := e.peerOf(t, l)
		f := e.Accept(t, l)
		fds, peers = append(fds, f), append(peers, c)
	}
	return fds, peers
}

// wantStream reads exactly this, piece by piece.
func wantStream(r io.Reader, want []byte) error {
	buf := make([]byte, 256<<10)
	for got := 0; got < len(want); {
		n, err := r.Read(buf[:min(len(buf), len(want)-got)])
		if !bytes.Equal(buf[:n], want[got:got+n]) {
			return fmt.Errorf("other bytes arrived at %d", got)
		}
		if got += n; err != nil {
			return fmt.Errorf("%d of %d bytes arrived: %w", got, len(want), err)
		}
	}
	return nil
}

// broadcastFromHandlers is a chat: what one says, all are told, by its handler.
func broadcastFromHandlers(t *testing.T, e *Env) {
	const members, length = 10, 8
	for _, data := range []bool{false, true} {
		t.Run(fmt.Sprintf("data %v", data), func(t *testing.T) {
			var mu sync.Mutex
			var all []*fd.FD
			joined := make(chan struct{}, members)
			join := func(f *fd.FD) {
				mu.Lock()
				all = append(all, f)
				mu.Unlock()
				joined <- struct{}{}
			}
			say := func(message []byte) {
				mu.Lock()
				audience := slices.Clone(all)
				mu.Unlock()
				if errs := e.Backend.Broadcast(context.Background(), audience, message); errs != nil {
					t.Errorf("Broadcast: %v", errs)
				}
			}
			h := fd.Handler{Blocking: func(f *fd.FD) {
				join(f)
				buf := make([]byte, length)
				for {
					for got := 0; got < length; {
						n, err := f.Read(buf[got:])
						if err != nil {
							return
						}
						got += n
					}
					say(buf)
				}
			}}
			if data {
				h = fd.Handler{Open: join, Data: func(_ *fd.FD, data []byte) { say(data) }}
			}
			l, stop := e.serveWith(t, h)
			var peers []net.Conn
			for range members {
				peers = append(peers, e.peerOf(t, l))
				await(t, joined, "a member")
			}
			var want []string
			for i, c := range peers {
				want = append(want, fmt.Sprintf("m%0*d", length-1, i))
				write(t, c, want[i])
			}
			for i, c := range peers {
				got := make([]byte, members*length)
				if _, err := io.ReadFull(c, got); err != nil {
					t.Fatalf("member %d: %v", i, err)
				}
				var told []string
				for message := range slices.Chunk(got, length) {
					told = append(told, string(message))
				}
				if slices.Sort(told); !slices.Equal(told, want) {
					t.Errorf("member %d was told %s", i, strings.Join(told, " "))
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// behindBroadcast: what a data handler has broadcast to a connection of another loop
// comes before what a handler of that does later, though that loop has not looked at it
// yet.
func behindBroadcast(t *testing.T, e *Env) {
	if min(runtime.GOMAXPROCS(0), runtime.NumCPU()) < 2 {
		t.Skip("there is only one loop; two cores would make this run")
	}
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 2 })
	for _, then := range []struct {
		name, want string
		do         func(f *fd.FD) error
	}{
		{"Write", "first second", func(f *fd.FD) error {
			_, err := f.Write([]byte("second"))
			return err
		}},
		{"Writev", "first second", func(f *fd.FD) error {
			_, err := f.Writev([][]byte{[]byte("sec"), []byte("ond")})
			return err
		}},
		{"CloseWrite", "first ", (*fd.FD).CloseWrite},
		{"Close", "first ", (*fd.FD).Close},
		{"return", "first ", func(*fd.FD) error { return nil }},
	} {
		t.Run(then.name, func(t *testing.T) { thenBehindBroadcast(t, e, then.want, then.do) })
	}
}

func thenBehindBroadcast(t *testing.T, e *Env, want string, do func(f *fd.FD) error) {
	ready, target := make(chan *fd.FD, 1), make(chan *fd.FD, 1)
	sent, reports := make(chan struct{}), make(chan error, 1)
	l, _ := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
		ready <- f
		select { // which holds the loop
		case <-sent:
		case <-time.After(patience / 2):
		}
		reports <- do(f)
	}})
	opened := make(chan struct{}, 2)
	other, _ := e.serveWith(t, fd.Handler{Open: func(*fd.FD) { opened <- struct{}{} }, Data: func(*fd.FD, []byte) {
		select {
		case f := <-target:
			if errs := e.Backend.Broadcast(context.Background(), []*fd.FD{f}, []byte("first ")); errs != nil {
				t.Error(errs[0])
			}
			close(sent)
		default:
		}
	}})
	peers := []net.Conn{e.peerOf(t, other), e.peerOf(t, other)} // one of them is on the loop that is not held
	for range peers {
		await(t, opened, "Open")
	}
	c := e.peerOf(t, l)
	target <- await(t, ready, "the handler that holds its loop")
	for _, peer := range peers {
		write(t, peer, "go")
	}
	wantAll(t, c, want)
	wantReport(t, reports)
}
