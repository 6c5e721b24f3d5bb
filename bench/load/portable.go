package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// portable is the driver for every OS: two goroutines for each connection, on
// Go's net, one that reads and one that opens, writes and closes. So a message
// costs it more than the others, it cannot spin, and its sends in open loop are
// as late as timers of Go are: up to a millisecond on some systems.
type portable struct {
	mu     sync.Mutex // guards all below, and the script
	script *script
	conns  []net.Conn // nil for one that is not open
	failed error
	ending bool

	wake    []chan struct{} // to the writers: their connections are ready
	changed chan struct{}   // to drive: the phase may be over
	all     sync.WaitGroup
}

func openPortable(s *script) (driver, error) {
	if s.spec.Spin {
		return nil, fmt.Errorf("the driver %s cannot spin: leave that out, or choose another driver where there is one", Portable)
	}
	p := &portable{script: s, conns: make([]net.Conn, s.spec.Conns), changed: make(chan struct{}, 1)}
	for i := range p.conns {
		wake := make(chan struct{}, 1)
		p.wake = append(p.wake, wake)
		if s.spec.Workload != Churn {
			if err := p.open(i); err != nil {
				return nil, errors.Join(err, p.close())
			}
		}
		p.all.Go(func() {
			for range wake {
				if err := p.do(i); err != nil {
					p.fail(err)
				}
			}
		})
	}
	return p, nil
}

func (p *portable) open(i int) error {
	addresses := p.script.spec.addresses()
	conn, err := net.DialTimeout(p.script.spec.Network, addresses[i%len(addresses)], StallLimit)
	if err != nil {
		return fmt.Errorf("connection %d: %w", i, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return conn.Close()
	}
	p.conns[i] = conn
	p.all.Go(func() {
		if err := p.read(i, conn); err != nil {
			p.fail(err)
		}
	})
	return nil
}

func (p *portable) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil && !p.ending {
		p.failed = err
		p.change()
	}
}

func (p *portable) change() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// flush wakes the writers of the connections that are ready.
func (p *portable) flush() {
	s := p.script
	for _, i := range s.ready {
		if p.ending {
			break
		}
		s.conns[i].listed = false
		select {
		case p.wake[i] <- struct{}{}:
		default: // it is awake, and has not looked yet
		}
	}
	s.ready = s.ready[:0]
}

func (p *portable) drive(ph phase, d time.Duration) error {
	p.mu.Lock()
	p.script.begin(ph, d, clock())
	p.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		rest, done, err := p.turn()
		if done || err != nil {
			return err
		}
		// A goroutine that spins would keep Go from looking at the sockets.
		timer.Reset(rest)
		select {
		case <-p.changed:
		case <-timer.C:
		}
	}
}

// turn does what is to be done by now. rest is when there is more.
func (p *portable) turn() (rest time.Duration, done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, s := clock(), p.script
	err = p.failed
	if err == nil {
		err = s.tick(now)
	}
	if err == nil {
		err = s.stalled(now)
	}
	p.flush()
	return s.rest(now), s.done(now), err
}

// do is what a writer does when connection i is ready.
func (p *portable) do(i int) error {
	for {
		p.mu.Lock()
		c, conn := &p.script.conns[i], p.conns[i]
		ended := c.ended && !p.ending // else close has closed it
		c.ended = false
		if ended {
			p.conns[i] = nil
		}
		out, ending := p.script.output(i), p.ending
		p.mu.Unlock()
		switch {
		case ended:
			if err := conn.Close(); err != nil {
				return err
			}
		case len(out) == 0 || ending:
			return nil
		case conn == nil:
			if err := p.open(i); err != nil {
				return err
			}
		default:
			n, err := conn.Write(out)
			p.mu.Lock()
			p.script.wrote(i, n)
			p.mu.Unlock()
			if err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
		}
	}
}

// read gives the script what comes on connection i.
func (p *portable) read(i int, conn net.Conn) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		now := clock()
		if err == io.EOF {
			return fmt.Errorf("connection %d: the server closed it: %w", i, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		p.mu.Lock()
		err = p.script.input(i, buffer[:n], now)
		ended := p.script.conns[i].ended // and the writer closes it
		p.flush()
		if p.script.done(now) {
			p.change()
		}
		p.mu.Unlock()
		if err != nil || ended {
			return err
		}
	}
}

func (p *portable) close() error {
	p.mu.Lock()
	p.ending = true
	var errs []error
	for i, conn := range p.conns {
		if conn != nil {
			errs = append(errs, conn.Close())
			p.conns[i] = nil
		}
	}
	p.mu.Unlock()
	for _, wake := range p.wake {
		close(wake)
	}
	p.all.Wait()
	return errors.Join(errs...)
}
