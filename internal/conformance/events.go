package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// eventCases are about ids and events.
var eventCases = []Case{
	{Name: "IDs", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		last := e.Backend.Socket().ID()
		next := func(f *fd.FD) {
			t.Helper()
			if f.ID() != last+1 {
				t.Errorf("id %d follows %d", f.ID(), last)
			}
			last = f.ID()
		}
		for range 3 {
			f := e.Backend.Socket()
			next(f)
			if err := f.Connect(t.Context(), l.Addr()); err != nil {
				t.Fatal(err)
			}
			// A failed accept consumes none.
			_ = l.SetDeadline(past)
			if _, _, err := l.Accept(t.Context()); err == nil {
				t.Fatal("Accept succeeded after its deadline")
			}
			_ = l.SetDeadline(forever)
			server := e.Accept(t, l)
			next(server)
			_, _ = f.Close(), server.Close()
		}
		dead := e.Backend.Socket()
		next(dead)
		_ = dead.Connect(t.Context(), e.deadAddr(t))
		next(e.Backend.Socket())
	}},
	{Name: "EventOrder", Core: true, Run: func(t *testing.T, e *Env) {
		var log eventLog
		e = e.With(t, func(o *ringfd.Options) { o.Events = log.events() })
		l := e.Listen(t, defaultConfig)
		client := e.Dial(t, l.Addr())
		server := e.Accept(t, l)
		point := fd.SocketString(l.Addr())
		log.want(t, client, "create", "connect "+point)
		log.want(t, server, "create", "accept "+fd.SocketString(server.RemoteAddr()))

		write(t, client, "hello")
		log.want(t, client, "try write 5", "written 5 of 5")
		_, _ = client.Writev([][]byte{[]byte("a"), nil, []byte("bc")})
		log.want(t, client, "try write 3", "written 3 of 8")
		buf := make([]byte, 8)
		if _, err := io.ReadFull(server.Conn(), buf); err != nil {
			t.Fatal(err)
		}
		got := log.take(server)
		if len(got) < 2 || got[0] != "try read 8" || !slices.Contains([]string{"read 8 of 8", "read 3 of 8"}, got[len(got)-1]) {
			t.Errorf("reading 8 bytes told %q", got)
		}
		_, _ = client.Write(nil)
		log.want(t, client, "try write 0", "written 0 of 8")
		_, _ = client.Read(nil)
		log.want(t, client, "try read 0")

		client.SetPeer("someone")
		ban := errors.New("banned")
		_ = client.CloseWithReason(ban)
		_ = client.Close()
		log.want(t, client, "close 0/8 connection closed by us [banned] "+point+"#someone")
		_, _ = client.Read(buf)
		_, _ = client.Write(buf)
		log.want(t, client, "try read 8", "try write 8")

		_, _ = server.Read(buf)
		log.want(t, server, "try read 8", "read 0 of 8")
		_ = server.Close()
		log.want(t, server, "close 8/0 connection closed by peer [] "+fd.SocketString(server.RemoteAddr())+"#")
	}},
	{Name: "EventsOfFailedConnect", Run: func(t *testing.T, e *Env) {
		var log eventLog
		e = e.With(t, func(o *ringfd.Options) { o.Events = log.events() })
		addr := e.deadAddr(t)
		f := e.Backend.Socket()
		err := f.Connect(t.Context(), addr)
		log.want(t, f, "create", "connect "+fd.SocketString(addr), "close 0/0 "+fmt.Sprint(err)+" [] #")
	}},
	{Name: "EventsOfReset", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		var log eventLog
		e = e.With(t, func(o *ringfd.Options) { o.Events = log.events() })
		l := e.Listen(t, accept.Config{})
		peer, err := net.Dial(e.Network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ours := e.Accept(t, l)
		point := fd.SocketString(ours.RemoteAddr())
		reset(t, peer)
		_, err = ours.Read(make([]byte, 4))
		_ = ours.Close()
		log.want(t, ours, "create", "accept "+point, "try read 4", "close 0/0 "+fmt.Sprint(err)+" [] "+point+"#")
	}},
	{Name: "CloseEventOnce", Core: true, Run: func(t *testing.T, e *Env) {
		var log eventLog
		e = e.With(t, func(o *ringfd.Options) { o.Events = log.events() })
		ours, _ := e.Pair(t)
		log.take(ours)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() { _ = ours.Close() })
		}
		group.Wait()
		if got := log.take(ours); len(got) != 1 {
			t.Errorf("8 closes told %q", got)
		}
	}},
}

// eventLog writes events down, by FD.
type eventLog struct {
	mu   sync.Mutex
	told map[uint64][]string
}

func (l *eventLog) add(id uint64, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = make(map[uint64][]string)
	}
	l.told[id] = append(l.told[id], fmt.Sprintf(format, args...))
}

func (l *eventLog) take(f *fd.FD) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told[f.ID()]
	delete(l.told, f.ID())
	return told
}

func (l *eventLog) want(t testing.TB, f *fd.FD, want ...string) {
	t.Helper()
	if got := l.take(f); !slices.Equal(got, want) {
		t.Errorf("events\n got  %q\n want %q", got, want)
	}
}

func (l *eventLog) events() *fd.Events {
	return &fd.Events{
		Create: func(id uint64) { l.add(id, "create") },
		Close: func(c fd.Closed) {
			l.add(c.ID, "close %d/%d %v %v %s#%s", c.Read, c.Written, c.Cause, c.Reasons, c.Point, c.Peer)
		},
		CloseError: func(id uint64, err error) { l.add(id, "close error %v", err) },
		TryRead:    func(id uint64, n int) { l.add(id, "try read %d", n) },
		Read:       func(id uint64, n int, total uint64) { l.add(id, "read %d of %d", n, total) },
		TryWrite:   func(id uint64, n int) { l.add(id, "try write %d", n) },
		Written:    func(id uint64, n int, total uint64) { l.add(id, "written %d of %d", n, total) },
		Connect:    func(id uint64, socket string) { l.add(id, "connect %s", socket) },
		Accept:     func(id uint64, socket string) { l.add(id, "accept %s", socket) },
	}
}
