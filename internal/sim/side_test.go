//go:build linux && sim

package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/simkernel"
)

// side is one of our ends of a connection, and what the application does with it.
type side struct {
	w      *world
	f      *fd.FD
	end    *simkernel.Endpoint
	number int // of the connection
	parked bool
	data   bool // a data handler serves it
	dice   *simkernel.Dice

	// One goroutine reads and one writes, unless a handler does.
	reads, writes         chan func()
	reading, writing      atomic.Bool
	broadcasting          atomic.Bool // writing is a broadcast's
	handlerReads          bool
	handlerWrites         bool
	gate                  chan struct{} // ends the waits of its handler
	sent, got             int64         // as Write and Read have said
	ended                 bool          // End was called
	readEnded, writeEnded bool
	shutRead              bool
	closing               bool
	last, lastCopy        []byte
}

// newSide registers an end, whose connection it knows by the client's port.
func (w *world) newSide(f *fd.FD, client, parked, data bool) *side {
	addr := f.RemoteAddr()
	sideNumber := 1
	if client {
		addr, sideNumber = f.LocalAddr(), 0
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp == nil { // it was reset, and closed, before it could be asked
		return nil
	}
	number := tcp.Port - simkernel.FirstPort
	end := w.k.End(number, sideNumber)
	if end == nil {
		return nil
	}
	s := &side{
		w: w, f: f, end: end, number: number, parked: parked, data: data,
		dice:  simkernel.NewDice(w.seed, uint64(number), uint64(sideNumber), 11),
		reads: make(chan func()), writes: make(chan func()), gate: make(chan struct{}),
	}
	s.handlerReads = !parked && (data || s.dice.Roll(700))
	s.handlerWrites = !parked && s.dice.Roll(600)
	w.mu.Lock()
	w.sides = append(w.sides, s)
	w.byFD[f] = s
	over := w.over
	w.mu.Unlock()
	w.workers.Go(func() { s.work(s.reads, &s.reading) })
	w.workers.Go(func() { s.work(s.writes, &s.writing) })
	if parked && s.dice.Roll(500) {
		s.reading.Store(true)
		s.reads <- s.readAll
	}
	if over {
		s.open()
	}
	return s
}

func (s *side) work(do chan func(), busy *atomic.Bool) {
	for f := range do {
		f()
		busy.Store(false)
	}
}

// open lets the handler go on that waits at the gate.
func (s *side) open() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	select {
	case <-s.gate:
	default:
		close(s.gate)
	}
}

// check holds an error to what FD promises.
func (s *side) check(op string, err error) {
	var e *fd.Error
	if !errors.As(err, &e) {
		s.w.k.Violate("connection %d: %s fails with %T, which is no *fd.Error: %v", s.number, op, err, err)
		return
	}
	for _, errno := range []syscall.Errno{syscall.ECANCELED, syscall.EINTR, syscall.EAGAIN, syscall.ENOENT, syscall.ETIME} {
		if errors.Is(err, errno) {
			s.w.k.Violate("connection %d: %s shows %v", s.number, op, err)
		}
	}
}

// read reads once, and reports whether reading goes on.
func (s *side) read(size int) bool {
	s.checkLast()
	if size%4 == 0 {
		if err := s.f.WaitRead(); err != nil {
			return s.readFailed("read", err)
		}
	}
	p := make([]byte, size)
	n, err := s.f.Read(p)
	if n < 0 || n > size || n == 0 && err == nil || n > 0 && err != nil {
		s.w.k.Violate("connection %d: Read of %d bytes returns %d, %v", s.number, size, n, err)
		return false
	}
	s.take(p[:n])
	s.last, s.lastCopy = p, append([]byte(nil), p...)
	return err == nil || s.readFailed("read", err)
}

// readAll reads on and on.
func (s *side) readAll() {
	d := simkernel.NewDice(s.w.seed, uint64(s.number), uint64(s.end.Side), 13)
	for s.read(1 + d.N(1<<d.N(16))) {
		_ = s.f.SetReadDeadline(time.Time{}) // which someone else may set
	}
}

// take checks what was received.
func (s *side) take(p []byte) {
	s.end.CheckReceived(p, s.got)
	s.got += int64(len(p))
}

// checkLast checks that nobody wrote to a buffer after its Read had returned.
func (s *side) checkLast() {
	if string(s.last) != string(s.lastCopy) {
		s.w.k.Violate("connection %d: a buffer changed after its Read had returned", s.number)
	}
	s.last, s.lastCopy = nil, nil
}

// readFailed reports whether reading goes on after an error.
func (s *side) readFailed(op string, err error) bool {
	s.check(op, err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	s.readEnded = true
	var e *fd.Error
	if errors.As(err, &e) && e.Reason == fd.ClosedByPeer && errors.Is(err, io.EOF) {
		if mine, peer := s.end.State(), s.w.k.End(s.number, 1-s.end.Side).State(); !mine.Dead && s.got != peer.Sent && !s.w.died() {
			s.w.k.Violate("connection %d, side %d: end of file after %d bytes of %d", s.number, s.end.Side, s.got, peer.Sent)
		}
	}
	return false
}

// write writes once, and reports whether writing goes on.
func (s *side) write(size int, vector bool) bool {
	p := make([]byte, size)
	s.end.FillNext(p, s.sent)
	var n int
	var err error
	if vector {
		var parts [][]byte
		for rest := p; len(rest) > 0; {
			k := 1 + s.dice.N(len(rest))
			parts, rest = append(parts, rest[:k]), rest[k:]
		}
		var n64 int64
		n64, err = s.f.Writev(parts)
		n = int(n64)
	} else {
		n, err = s.f.Write(p)
	}
	for i := range p {
		p[i] = 0xee // it is the caller's again
	}
	if n < 0 || n > size || err == nil && n != size {
		s.w.k.Violate("connection %d: Write of %d bytes returns %d, %v", s.number, size, n, err)
		return false
	}
	s.sent += int64(n)
	return err == nil || s.writeFailed(err)
}

func (s *side) writeFailed(err error) bool {
	s.check("write", err)
	var e *fd.Error
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &e) && e.Retryable() {
		return true
	}
	s.writeEnded = true
	return false
}

// blocking is a blocking handler.
func (w *world) blocking(f *fd.FD, client bool) {
	s := w.newSide(f, client, false, false)
	if s == nil {
		return
	}
	defer w.handlerEnded(s)
	rounds := s.dice.N(40)
	for range rounds {
		goesOn := true
		switch n := s.dice.N(12); {
		case n < 5 && s.handlerReads:
			goesOn = s.read(s.size())
		case n < 8 && s.handlerWrites:
			goesOn = s.write(s.size(), s.dice.Roll(300))
		case n == 9:
			f.Offload(s.wait)
		case n == 8:
			w.elsewhere(s)
		case n == 10:
			_ = f.SetReadDeadline(time.Now().Add(time.Duration(s.dice.N(20)-2) * time.Millisecond))
		case n == 11:
			_ = f.SetDeadline(time.Time{})
		}
		if !goesOn {
			break
		}
	}
	_ = f.SetDeadline(time.Time{})
	switch s.dice.N(8) {
	case 0:
		panic("a handler panics")
	case 1:
		runtime.Goexit()
	case 2:
		_ = f.Close()
	case 3:
		_ = f.CloseWrite()
	case 4:
		if s.handlerReads {
			for s.read(s.size()) {
				_ = f.SetReadDeadline(time.Time{}) // which someone else may set
			}
		}
	default:
		f.Offload(func() { <-s.gate })
	}
}

// elsewhere has the handler of s write to other connections that loops serve.
func (w *world) elsewhere(s *side) {
	all := w.all()
	if s.dice.Roll(300) {
		w.broadcastTo(s.dice, func(to *side) bool { return !to.parked }, func(write func()) { write() })
		return
	}
	to := all[s.dice.N(len(all))]
	if !to.parked && !to.handlerWrites && !to.writeEnded && to.writing.CompareAndSwap(false, true) {
		to.write(s.size(), s.dice.Roll(300))
		to.writing.Store(false)
	}
}

// wait waits for the gate, or a moment.
func (s *side) wait() {
	t := time.NewTimer(time.Millisecond)
	defer t.Stop()
	select {
	case <-s.gate:
	case <-t.C:
	}
}

// handlerEnded is deferred: the goroutines may go on, until the FD says no.
func (w *world) handlerEnded(s *side) {
	w.k.Note("handler ended", int64(s.number))
}

// handler makes a data handler.
func (w *world) handler(data, client bool) ringfd.Handler {
	if !data {
		return ringfd.Handler{Blocking: func(f *fd.FD) { w.blocking(f, client) }}
	}
	return ringfd.Handler{
		Open: func(f *fd.FD) {
			if s := w.newSide(f, client, false, true); s != nil && s.handlerWrites {
				s.write(1+s.dice.N(3000), false)
			}
		},
		Data: func(f *fd.FD, data []byte) {
			s := w.side(f)
			if s == nil {
				return
			}
			if s.ended {
				w.k.Violate("connection %d: Data after End", s.number)
			}
			s.take(data)
			if s.dice.Roll(50) {
				_, err := f.Read(make([]byte, 1))
				if !errors.Is(err, fd.ErrDataHandler) && !s.closing && !errors.Is(err, net.ErrClosed) && f.Stats().Read > 0 && err == nil {
					w.k.Violate("connection %d: Read in a data handler: %v", s.number, err)
				}
			}
			switch n := s.dice.N(100); {
			case n < 50:
				if s.handlerWrites && !s.writeEnded {
					s.write(s.size(), s.dice.Roll(300))
				}
			case n < 60:
				w.elsewhere(s)
			case n == 96:
				_ = f.CloseWrite()
				s.writeEnded = s.handlerWrites
			case n == 97:
				_ = f.Close()
			case n == 98:
				panic("a data handler panics")
			case n == 99:
				runtime.Goexit()
			}
		},
		End: func(f *fd.FD, err error) {
			s := w.side(f)
			if s == nil {
				return
			}
			if s.ended {
				w.k.Violate("connection %d: End twice", s.number)
			}
			s.ended = true
			if err == nil {
				w.k.Violate("connection %d: End without an error", s.number)
				return
			}
			s.readFailed("end", err)
			if s.handlerWrites && s.dice.Roll(200) {
				s.write(s.size(), false)
			}
		},
	}
}

func (w *world) side(f *fd.FD) *side {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byFD[f]
}

// size draws the size of a transfer.
func (s *side) size() int {
	switch n := s.dice.N(100); {
	case n < 50:
		return 1 + s.dice.N(100)
	case n < 80:
		return 1 + s.dice.N(5000)
	case n < 98:
		return 1 + s.dice.N(20000)
	}
	return 1 + s.dice.N(70000)
}

// act does one thing with s, or nothing.
func (s *side) act(d *simkernel.Dice) {
	switch n := d.N(100); {
	case n < 40:
		if !s.handlerReads && !s.readEnded && s.reading.CompareAndSwap(false, true) {
			size := s.size()
			s.reads <- func() { s.read(size) }
		}
	case n < 80:
		if !s.handlerWrites && !s.writeEnded && s.writing.CompareAndSwap(false, true) {
			size, vector := s.size(), s.dice.Roll(300)
			s.writes <- func() { s.write(size, vector) }
		}
	case n < 84:
		_ = s.f.SetReadDeadline(time.Now().Add(time.Duration(d.N(10)-1) * time.Millisecond))
	case n < 88:
		_ = s.f.SetWriteDeadline(time.Now().Add(time.Duration(d.N(10)-1) * time.Millisecond))
	case n < 94:
		_ = s.f.SetDeadline(time.Time{})
	case n < 95:
		s.w.workers.Go(func() { _ = s.f.CloseRead() })
	case n < 97:
		if !s.handlerWrites && s.writing.CompareAndSwap(false, true) {
			s.writes <- func() { _ = s.f.CloseWrite() }
		}
	case n < 98:
		s.close()
	case n < 99:
		s.w.broadcastTo(d, func(*side) bool { return true }, s.w.workers.Go)
	}
}

func (s *side) close() {
	s.closing = true
	s.w.workers.Go(func() { _ = s.f.Close() })
}

// broadcastTo writes one message to several that it may, on whatever runs it.
func (w *world) broadcastTo(d *simkernel.Dice, may func(*side) bool, run func(func())) {
	var to []*side
	for _, s := range w.all() {
		if may(s) && !s.handlerWrites && !s.writeEnded && d.Roll(600) && s.writing.CompareAndSwap(false, true) {
			s.broadcasting.Store(true)
			to = append(to, s)
		}
	}
	if len(to) == 0 {
		return
	}
	w.mu.Lock()
	w.broadcasts++
	id := w.broadcasts
	w.mu.Unlock()
	size := to[0].size()
	message := make([]byte, size)
	simkernel.FillBroadcast(message, id)
	ctx, cancel := context.WithCancel(context.Background())
	if d.Roll(300) {
		ctx, cancel = context.WithTimeout(context.Background(), time.Duration(d.N(10))*time.Millisecond)
	}
	fds := make([]*fd.FD, len(to))
	written := make([]uint64, len(to))
	for i, s := range to {
		fds[i], written[i] = s.f, s.f.Stats().Written
		s.end.Overlay(id, s.sent, size)
	}
	run(func() {
		defer cancel()
		errs := w.backend.Broadcast(ctx, fds, message)
		clear(message)
		for i, s := range to {
			n := int(s.f.Stats().Written - written[i])
			s.sent += int64(n)
			if errs == nil || errs[i] == nil {
				if n != size {
					w.k.Violate("connection %d: a broadcast of %d bytes wrote %d, without an error", s.number, size, n)
				}
			} else {
				if !errors.Is(errs[i], context.DeadlineExceeded) {
					s.writeFailed(errs[i])
				}
				if n > 0 && n < size && !s.writeEnded {
					s.writeEnded = true // its stream has another pattern for a while
				}
				// What was sent by a ring that died nobody knows.
				if n == 0 && !(s.writeEnded && w.died()) {
					s.end.Overlay(id, 0, 0)
				}
			}
			s.broadcasting.Store(false)
			s.writing.Store(false)
		}
	})
}
