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
// does not read) on the only P and the only ring: other connections go on.
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
			const linger, limit = 2, 500 * time.Millisecond
			if err := lingering.Conn().SetLinger(linger); err != nil {
				t.Fatal(err)
			}
			closed := make(chan struct{})
			go func() {
				_ = lingering.Close() // for two seconds, or until a signal of the runtime ends the wait
				close(closed)
			}()
			longest, last, buf := time.Duration(0), time.Now(), make([]byte, 1)
			for {
				if _, err := client.Write(buf); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Read(buf); err != nil {
					t.Fatal(err)
				}
				longest, last = max(longest, time.Since(last)), time.Now()
				select {
				case <-closed:
					if longest > limit {
						t.Errorf("an echo took %v", longest)
					}
					return
				default:
				}
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
