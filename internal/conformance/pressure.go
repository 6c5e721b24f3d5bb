package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// pressureCases are about handlers whose peers are slow, or gone early.
var pressureCases = []Case{
	{Name: "WriteDeadlineAgain", Core: true, Run: func(t *testing.T, e *Env) {
		// A call that was ended says nothing about the next one, on this connection
		// or on the next that the same goroutine serves.
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		reports := make(chan error, 1)
		l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) error {
			for i := range 3 {
				if err := f.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
					return err
				}
				if n, err := f.Write(make([]byte, beyondBuffers)); !errors.Is(err, os.ErrDeadlineExceeded) {
					return fmt.Errorf("Write %d = %d, %v", i, n, err)
				}
			}
			return nil
		}))
		for range 2 {
			c := e.peerOf(t, l)
			wantReport(t, reports)
			_ = c.Close()
		}
	}},
	{Name: "EndRightAfterData", Core: true, Run: endRightAfterData},
	{Name: "BackPressureEnds", Core: true, Run: func(t *testing.T, e *Env) {
		// A flood that is echoed to a peer that does not read yet.
		e = e.With(t, func(o *ringfd.Options) { o.Loops.WriteLimit = 256 << 10 })
		l, _ := e.serveWith(t, dataEcho())
		c := e.peerOf(t, l)
		message := pattern(32 << 20)
		sent := goWrite(c, message)
		parked(t, "net.(*conn).Write", 1)
		if err := wantStream(c, message); err != nil {
			t.Fatal(err)
		}
		if w := await(t, sent, "the end of Write"); w.err != nil {
			t.Error(w.err)
		}
	}},
	{Name: "ResetWithBacklog", TCP: true, Core: true, Run: func(t *testing.T, e *Env) {
		closed := make(chan error, 1)
		opened := make(chan *fd.FD, 1)
		l, _ := e.serveWith(t, fd.Handler{
			Open: func(f *fd.FD) {
				_ = f.Conn().SetLinger(0)
				opened <- f
				_, _ = f.Write(make([]byte, beyondBuffers))
			},
			Data: func(*fd.FD, []byte) {},
		})
		c := e.peerOf(t, l)
		f := await(t, opened, "Open")
		read(t, c, "\x00")
		go func() { closed <- f.Close() }()
		if err := await(t, closed, "the end of Close"); err != nil {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, c); err == nil {
			t.Errorf("the peer read %d bytes, and no reset", n)
		}
	}},
	{Name: "WritevLimit", Core: true, Run: func(t *testing.T, e *Env) {
		if e.Backend.Kind() == ringfd.Net {
			t.Skip("on net a data handler's Writev waits; io_uring would make this run")
		}
		e = e.With(t, func(o *ringfd.Options) { o.Loops.WriteLimit = 128 << 10 })
		const each, most = 4, 1000
		taken := make(chan int, 1)
		message := pattern(50 << 10)
		l, _ := e.serveWith(t, fd.Handler{Data: func(f *fd.FD, _ []byte) {
			for i := range most {
				n, err := f.Writev([][]byte{message, message, message, message})
				if err != nil {
					if n != 0 {
						t.Errorf("Writev = %d, %v; want all or nothing", n, err)
					}
					taken <- i
					_ = f.Close()
					return
				}
			}
			t.Error("it was not refused")
			taken <- most
		}})
		c := e.peerOf(t, l)
		write(t, c, "x")
		for range await(t, taken, "the refusal") * each {
			if err := wantStream(c, message); err != nil {
				t.Fatal(err)
			}
		}
		wantAll(t, c, "")
	}},
	{Name: "ZeroCopy", Run: func(t *testing.T, e *Env) {
		// It turns itself off where the kernel copies, or knows nothing of it.
		e = e.With(t, func(o *ringfd.Options) { o.Loops.ZeroCopy = 1 << 10 })
		for _, h := range echoes() {
			t.Run(h.name, func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				c := e.peerOf(t, l)
				for _, size := range []int{100, 2 << 10, 64 << 10, 8 << 20} {
					if err := wantEcho(c, pattern(size)); err != nil {
						t.Fatalf("%d bytes: %v", size, err)
					}
				}
			})
		}
	}},
	{Name: "GoexitAmongOthers", Core: true, Unix: true, Run: goexitAmongOthers},
	{Name: "BroadcastThenClose", Core: true, Run: func(t *testing.T, e *Env) {
		message := pattern(100 << 10)
		l, _ := e.serveWith(t, fd.Handler{Data: func(f *fd.FD, _ []byte) {
			if errs := e.Backend.Broadcast(context.Background(), []*fd.FD{f}, message); errs != nil {
				t.Errorf("Broadcast: %v", errs)
			}
			_ = f.Close()
		}})
		c := e.peerOf(t, l)
		write(t, c, "x")
		wantAll(t, c, string(message))
	}},
}

// endRightAfterData: an end that comes with the last data is seen.
func endRightAfterData(t *testing.T, e *Env) {
	times := e.times(100)
	for _, size := range []int{5, 5000, 40000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			ends := make(chan error, 1)
			for _, h := range []style{
				{"blocking", fd.Handler{Blocking: func(f *fd.FD) {
					n, err := io.Copy(io.Discard, struct{ io.Reader }{f.Conn()})
					if int(n) != size {
						err = fmt.Errorf("%d of %d bytes, then %w", n, size, err)
					}
					ends <- err
				}}},
				{"data", fd.Handler{
					Data: func(*fd.FD, []byte) {},
					End: func(f *fd.FD, err error) {
						if errors.Is(err, io.EOF) && f.Stats().Read == uint64(size) {
							err = nil
						}
						ends <- err
					},
				}},
			} {
				l, _ := e.serveWith(t, h.handler)
				for range times {
					c, err := net.Dial(e.Network, l.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					write(t, c, string(pattern(size)))
					_ = c.Close()
					if err := await(t, ends, h.name+": the end"); err != nil {
						t.Fatal(h.name, ": ", err)
					}
				}
			}
		})
	}
}

// goexitAmongOthers has handlers end their goroutines while others of the same
// loop receive floods: those lose nothing.
func goexitAmongOthers(t *testing.T, e *Env) {
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	var floods []<-chan error
	flood := func(l *accept.Listener, times int, message []byte) {
		c := e.peerOf(t, l)
		floods = append(floods, async(func() error {
			for range times {
				if err := wantEcho(c, message); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	message := pattern(8 << 20)
	for _, h := range echoes() {
		l, _ := e.serveWith(t, h.handler)
		for range e.times(4) {
			flood(l, 1, message)
			flood(l, 300, message[:3000])
		}
	}
	data, _ := e.serveWith(t, fd.Handler{Data: func(*fd.FD, []byte) { runtime.Goexit() }})
	blocking, _ := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
		_, _ = f.Read(make([]byte, 10))
		runtime.Goexit()
	}})
	for range 300 { // more than there are buffers
		for _, l := range []*accept.Listener{data, blocking} {
			c := e.peerOf(t, l)
			write(t, c, "0123456789 and more")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}
	for _, f := range floods {
		if err := await(t, f, "the end of an echo"); err != nil {
			t.Error(err)
		}
	}
}
