package conformance

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// holder has handlers that give their connections to the test and wait for its
// end, so that a case about connections sees those of Serve and DialServe.
type holder struct {
	mu    sync.Mutex
	holds []func()
	given map[*accept.Listener]chan *fd.FD
}

// hold returns a handler that waits, and what ends its wait.
func (h *holder) hold(give func(*fd.FD)) (fd.Handler, func()) {
	done := make(chan struct{})
	end := sync.OnceFunc(func() { close(done) })
	h.mu.Lock()
	h.holds = append(h.holds, end)
	h.mu.Unlock()
	return fd.Handler{Blocking: func(f *fd.FD) {
		give(f)
		f.Offload(func() { <-done })
	}}, end
}

// release lets every handler return.
func (h *holder) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, end := range h.holds {
		end()
	}
}

// accepted returns what Serve accepts from l; it serves until the end of the test.
func (h *holder) accepted(t testing.TB, b *ringfd.Backend, l *accept.Listener) <-chan *fd.FD {
	h.mu.Lock()
	given, ok := h.given[l]
	if !ok {
		if h.given == nil {
			h.given = make(map[*accept.Listener]chan *fd.FD)
		}
		given = make(chan *fd.FD, 4096) // so that no handler holds its loop
		h.given[l] = given
	}
	h.mu.Unlock()
	if ok {
		return given
	}
	handler, end := h.hold(func(f *fd.FD) { given <- f })
	ctx, cancel := context.WithCancel(context.Background())
	ended := async(func() error { return b.Serve(ctx, l, handler) })
	t.Cleanup(func() {
		end()
		cancel()
		if err := await(t, ended, "the end of Serve"); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return given
}

func (h *holder) dial(t testing.TB, ctx context.Context, b *ringfd.Backend, addr net.Addr) *fd.FD {
	t.Helper()
	handler, end := h.hold(func(*fd.FD) {})
	f, err := b.DialServe(ctx, addr.Network(), addr.String(), handler)
	if err != nil {
		t.Fatalf("DialServe: %v", err)
	}
	t.Cleanup(func() {
		_ = f.Close()
		end()
	})
	return f
}
