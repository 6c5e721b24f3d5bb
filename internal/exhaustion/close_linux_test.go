package exhaustion

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// closeLimit is how long Backend.Close may take with these connections: what its
// comment says, a second for ten thousand of them, with room for a busy machine.
const closeLimit = 10 * time.Second

// TestCloseUnderLoad closes a Backend that serves ten thousand busy connections.
// Nothing is left: no goroutine, descriptor, request, or mapped memory of a ring.
func TestCloseUnderLoad(t *testing.T) {
	n := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil { // Go has raised the soft one
		t.Fatal(err)
	}
	if most := int(limit.Cur) - 200; n > most {
		t.Logf("RLIMIT_NOFILE is %d: with %d connections instead of %d", limit.Cur, most, n)
		n = most
	}
	if raceEnabled {
		n = min(n, 1000)
	}
	for _, style := range []string{"goroutines", "blocking", "data"} {
		for _, kind := range []ringfd.Kind{ringfd.IOUring, ringfd.Net} {
			t.Run(style+"/"+string(kind), func(t *testing.T) { closeUnderLoad(t, style, kind, n) })
		}
	}
}

func closeUnderLoad(t *testing.T, style string, kind ringfd.Kind, n int) {
	goroutines, maps := runtime.NumGoroutine(), ringMaps(t)
	b := open(t, ringfd.Options{Backend: kind})
	l, err := b.Listen(context.Background(), "unix", path(t), accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var served, ended atomic.Int64
	var handlers sync.WaitGroup
	echo := func(f *fd.FD) {
		defer ended.Add(1)
		buf := make([]byte, 64)
		for first := true; ; first = false {
			n, err := f.Read(buf)
			if err == nil {
				_, err = f.Write(buf[:n])
			}
			if err != nil {
				return
			}
			if first {
				served.Add(1)
			}
		}
	}
	serving := make(chan error, 1)
	go func() {
		switch style {
		case "goroutines":
			serving <- accept.Loop{}.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) {
				handlers.Go(func() { echo(f) })
			})
		case "blocking":
			serving <- b.Serve(context.Background(), l, ringfd.Handler{Blocking: echo})
		case "data":
			serving <- b.Serve(context.Background(), l, ringfd.Handler{
				Data: func(f *fd.FD, data []byte) {
					if f.Stats().Read == uint64(len(data)) {
						served.Add(1)
					}
					_, _ = f.Write(data)
				},
				End: func(*fd.FD, error) { ended.Add(1) },
			})
		}
	}()
	load := startPeers(t, "busy", l.Addr().String(), n)
	until(t, "every connection is accepted", func() bool { return b.Stats().Sockets == n })
	load.begin()
	until(t, "every connection is served", func() bool { return served.Load() == int64(n) })

	start := time.Now()
	err = b.Close()
	took := time.Since(start)
	t.Logf("closing %d connections took %v", n, took)
	if err != nil || took > closeLimit {
		t.Errorf("Close: %v, after %v; the limit is %v", err, took, closeLimit)
	}
	if s := b.Stats(); s.Sockets != 0 || s.Listeners != 0 || s.InFlight != 0 {
		t.Errorf("left: %+v", s)
	}
	if left := ringMaps(t) - maps; left != 0 {
		t.Errorf("%d mappings of rings are left", left)
	}
	if err := <-serving; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving ended with %v", err)
	}
	handlers.Wait()
	if ended.Load() != int64(n) {
		t.Errorf("%d of %d handlers ended", ended.Load(), n)
	}
	load.ready() // the peers have seen the end of every connection
	load.stop()
	until(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines })
}
