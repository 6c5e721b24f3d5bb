package ringfd_test

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ringfd/ringfd/internal/conformance"
)

// BenchmarkAbort is what net/http does after each request: a goroutine waits in Read, a
// deadline in the past ends that, its end is awaited, and the deadline is taken back. It
// is compared with Go's own connections.
func BenchmarkAbort(b *testing.B) {
	eachBackend(b, func(b *testing.B, row conformance.Row) {
		client, _ := open(b, row, "tcp4").Pair(b)
		abort(b, client.Conn())
	})
	b.Run("backend=go-net", func(b *testing.B) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		abort(b, c)
	})
}

func abort(b *testing.B, c net.Conn) {
	b.Helper()
	begin, ended := make(chan struct{}), make(chan error)
	go func() {
		defer close(ended)
		buf := make([]byte, 1)
		for range begin {
			_, err := c.Read(buf)
			ended <- err
		}
	}()
	defer close(begin)
	b.ReportAllocs()
	for b.Loop() {
		begin <- struct{}{}
		runtime.Gosched() // so that the Read waits
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			b.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			b.Fatalf("Read: %v", err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
