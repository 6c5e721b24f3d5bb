package conformance

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// dataCases are about bytes: all of them, in order, counted.
var dataCases = []Case{
	{Name: "ZeroLength", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		for _, empty := range [][]byte{nil, {}} {
			if n, err := ours.Read(empty); n != 0 || err != nil { // recv(2) would say end of file
				t.Errorf("Read of nothing = %d, %v", n, err)
			}
			if n, err := ours.Write(empty); n != 0 || err != nil {
				t.Errorf("Write of nothing = %d, %v", n, err)
			}
		}
		for _, empty := range [][][]byte{nil, {}, {nil}, {{}, {}}} {
			if n, err := ours.Writev(empty); n != 0 || err != nil {
				t.Errorf("Writev of nothing = %d, %v", n, err)
			}
		}
		wantReason(t, ours, fd.None)
		write(t, peer, "x")
		read(t, ours, "x")
		_ = ours.Close()
		if _, err := ours.Write(nil); err == nil {
			t.Error("Write of nothing on a closed FD succeeded")
		}
		if _, err := ours.Read(nil); err == nil {
			t.Error("Read of nothing on a closed FD succeeded")
		}
	}},
	{Name: "ReadReturnsWhatThereIs", Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		write(t, peer, "0123456789")
		buf := bytes.Repeat([]byte{0xAA}, 32)
		n, err := ours.Read(buf[:4])
		if n != 4 || err != nil || string(buf[:4]) != "0123" {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if buf[4] != 0xAA {
			t.Error("Read wrote beyond its buffer")
		}
		n, err = ours.Read(buf) // the rest, without waiting for 32
		if n != 6 || err != nil || string(buf[:6]) != "456789" {
			t.Fatalf("Read = %d %q, %v", n, buf[:n], err)
		}
	}},
	{Name: "SimultaneousLargeMessages", Core: true, Run: func(t *testing.T, e *Env) {
		// Both write before either reads: 2^17 bytes, the oversized message of
		// Octez, then more than any buffer holds.
		for _, size := range []int{1 << 17, 8 << 20} {
			client, server := e.Pair(t)
			data := pattern(size)
			var outcomes []<-chan transfer
			for _, f := range []*fd.FD{client, server} {
				outcomes = append(outcomes, goWrite(f, data))
			}
			for _, f := range []*fd.FD{server, client} {
				got := make([]byte, size)
				r := await(t, async(func() transfer {
					n, err := io.ReadFull(plainReader{f}, got)
					return transfer{n, err}
				}), "the other's message")
				if r.err != nil {
					t.Fatal(r.err)
				}
				checkPattern(t, got, size)
			}
			for _, c := range outcomes {
				if w := await(t, c, "the end of Write"); w.n != size || w.err != nil {
					t.Errorf("Write = %d, %v", w.n, w.err)
				}
			}
		}
	}},
	{Name: "ChunkedMessages", Run: func(t *testing.T, e *Env) {
		client, server := e.Pair(t)
		message := pattern(256)
		const chunk = 21
		for range 50 {
			sent := async(func() error {
				for rest := message; len(rest) > 0; {
					n := min(chunk, len(rest))
					if _, err := client.Write(rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			})
			got := make([]byte, len(message))
			if _, err := io.ReadFull(plainReader{server}, got); err != nil || !bytes.Equal(got, message) {
				t.Fatalf("got %x, %v", got, err)
			}
			if err := await(t, sent, "the end of the chunks"); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{Name: "MessageSizes", Core: true, Run: func(t *testing.T, e *Env) {
		// Every power of two and its neighbours: the sizes at which engines
		// change their ways.
		client, server := e.Pair(t)
		for power := 0; power <= 20; power += 2 {
			for _, size := range []int{1<<power - 1, 1 << power, 1<<power + 1} {
				if size == 0 {
					continue
				}
				data := pattern(size)
				w := goWrite(client, data)
				got := make([]byte, size)
				if _, err := io.ReadFull(plainReader{server}, got); err != nil {
					t.Fatal(err)
				}
				checkPattern(t, got, size)
				if r := await(t, w, "the end of Write"); r.n != size || r.err != nil {
					t.Fatalf("Write(%d) = %d, %v", size, r.n, r.err)
				}
			}
		}
	}},
	{Name: "LargeWriteSlowReader", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			const size = 6 << 20
			w := goWrite(ours, pattern(size))
			parked(t, "fd.(*FD).Write", 1)
			got := make([]byte, size)
			if _, err := io.ReadFull(slowReader{peer}, got); err != nil {
				t.Fatal(err)
			}
			checkPattern(t, got, size)
			if r := await(t, w, "the end of Write"); r.n != size || r.err != nil {
				t.Errorf("Write = %d, %v", r.n, r.err)
			}
		})
	}},
	{Name: "WritevMany", Core: true, Run: func(t *testing.T, e *Env) {
		// More than IOV_MAX (1024) buffers, empty ones among them.
		ours, peer := e.Pair(t)
		whole := pattern(3000 * 700)
		var buffers [][]byte
		for i, rest := 0, whole; len(rest) > 0; i++ {
			n := min(len(rest), i%1400)
			buffers = append(buffers, rest[:n])
			rest = rest[n:]
		}
		if len(buffers) <= 2*1024 {
			t.Fatalf("only %d buffers", len(buffers))
		}
		lengths := make([]int, len(buffers))
		for i, b := range buffers {
			lengths[i] = len(b)
		}
		w := async(func() transfer {
			n, err := ours.Writev(buffers)
			return transfer{int(n), err}
		})
		got := make([]byte, len(whole))
		if _, err := io.ReadFull(slowReader{plainReader{peer}}, got); err != nil {
			t.Fatal(err)
		}
		checkPattern(t, got, len(whole))
		if r := await(t, w, "the end of Writev"); r.n != len(whole) || r.err != nil {
			t.Errorf("Writev = %d, %v", r.n, r.err)
		}
		for i, b := range buffers {
			if len(b) != lengths[i] {
				t.Fatalf("Writev changed buffer %d", i)
			}
		}
		if got := ours.Stats().Written; got != uint64(len(whole)) {
			t.Errorf("Stats().Written = %d, want %d", got, len(whole))
		}
	}},
	{Name: "WritevEnds", Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		// Empty buffers first, last, and between.
		if n, err := ours.Writev([][]byte{nil, []byte("a"), {}, []byte("bc"), nil}); n != 3 || err != nil {
			t.Fatalf("Writev = %d, %v", n, err)
		}
		read(t, plainReader{peer}, "abc")
		_ = ours.Close()
		_, err := ours.Writev([][]byte{[]byte("x")})
		wantErr(t, "Writev", err, "write", fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "Counters", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		if s := ours.Stats(); s != (fd.Stats{}) {
			t.Errorf("a new FD has counted %+v", s)
		}
		write(t, ours, "12345")
		read(t, plainReader{peer}, "12345")
		write(t, peer, "123")
		read(t, plainReader{ours}, "123")
		want := fd.Stats{Read: 3, Written: 5}
		_ = ours.Close()
		if s := ours.Stats(); s != want {
			t.Errorf("Stats = %+v, want %+v", s, want)
		}
		if s := peer.Stats(); s != (fd.Stats{Read: want.Written, Written: want.Read}) {
			t.Errorf("the peer's Stats = %+v", s)
		}
	}},
}

// pattern returns n bytes that tell their place.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

func checkPattern(t testing.TB, got []byte, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("got %d bytes, want %d", len(got), n)
	}
	for i, b := range got {
		if b != byte(i^i>>8^i>>16) {
			t.Fatalf("byte %d of %d is wrong", i, n)
		}
	}
}
