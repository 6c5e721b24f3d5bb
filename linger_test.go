package ringfd_test

import (
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// TestLingeringCloseHoldsNothingUp closes a connection that lingers (its peer
// does not read) on the only P and the only ring: it does linger, and other
// connections go on.
func TestLingeringCloseHoldsNothingUp(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, row := range conformance.Rows() {
		if row.Name != "net" && row.Name != "io_uring" {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			b := row.Open(t)
			l, err := b.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			lingering, deaf := connect(t, b, l)
			defer deaf.Close()
			client, server := connect(t, b, l)
			defer client.Close()
			defer server.Close()
			go io.Copy(server.Conn(), server.Conn())

			if err := lingering.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := lingering.Write(make([]byte, 16<<20)); err == nil {
				t.Fatal("the peer's buffers took 16 MiB")
			}
			const seconds = 1
			if err := lingering.Conn().SetLinger(seconds); err != nil {
				t.Fatal(err)
			}
			closed := make(chan time.Duration)
			start := time.Now()
			go func() {
				_ = lingering.Close()
				closed <- time.Since(start)
			}()
			echoes, buf := 0, make([]byte, 1)
			for {
				select {
				case took := <-closed:
					if took < seconds*time.Second || echoes < 100 {
						t.Errorf("Close took %v, with %d echoes meanwhile; want %d s and many", took, echoes, seconds)
					}
					return
				default:
				}
				if _, err := client.Write(buf); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Read(buf); err != nil {
					t.Fatal(err)
				}
				echoes++
			}
		})
	}
}

func connect(t *testing.T, b *ringfd.Backend, l *accept.Listener) (dialled, accepted *fd.FD) {
	t.Helper()
	dialled, err := b.Dial(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if accepted, _, err = l.Accept(context.Background()); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}
