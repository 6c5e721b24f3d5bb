package bench

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// goroutines is the generator for every OS: a goroutine for each connection,
// on Go's net.
type goroutines struct {
	conns []net.Conn
	size  int
	seq   []uint64 // of the last message, per connection
}

func openGoroutines(spec loadSpec) (generator, error) {
	g := &goroutines{size: spec.Size, seq: make([]uint64, spec.Conns)}
	for range spec.Conns {
		conn, err := net.Dial("tcp", spec.Address)
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
		g.conns = append(g.conns, conn)
	}
	return g, nil
}

func (g *goroutines) run(d time.Duration, r *LoadResult, latencies *hdrhistogram.Histogram) error {
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs []error
	)
	end := time.Now().Add(d)
	for i := range g.conns {
		wg.Go(func() {
			own := newHistogram()
			n, err := g.drive(i, end, own)
			mu.Lock()
			defer mu.Unlock()
			r.Messages += n
			latencies.Merge(own)
			errs = append(errs, err)
		})
	}
	wg.Wait()
	r.Sent, r.Received = r.Messages*uint64(g.size), r.Messages*uint64(g.size)
	return errors.Join(errs...)
}

// drive sends messages on connection i until end, at least one, and returns
// how many.
func (g *goroutines) drive(i int, end time.Time, latencies *hdrhistogram.Histogram) (uint64, error) {
	conn := g.conns[i]
	if err := conn.SetDeadline(end.Add(stallLimit)); err != nil {
		return 0, err
	}
	// Writing goes on while the reply of a large message already comes in.
	starts, wrote := make(chan struct{}), make(chan error)
	message, answer := make([]byte, g.size), make([]byte, g.size)
	go func() {
		for range starts {
			_, err := conn.Write(message)
			wrote <- err
		}
	}()
	defer close(starts)
	for n := uint64(0); ; n++ {
		start := time.Now()
		if n > 0 && !start.Before(end) {
			return n, nil
		}
		g.seq[i]++
		binary.NativeEndian.PutUint64(message, stamp(i, g.seq[i]))
		starts <- struct{}{}
		_, err := io.ReadFull(conn, answer)
		record(latencies, int64(time.Since(start)))
		if err := errors.Join(<-wrote, err); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = errStalled
			}
			return n, err
		}
		if binary.NativeEndian.Uint64(answer) != stamp(i, g.seq[i]) {
			return n, errMixedUp
		}
	}
}

// stamp tells the messages of all connections apart.
func stamp(conn int, seq uint64) uint64 { return uint64(conn)<<40 | seq }

func (g *goroutines) close() error {
	var errs []error
	for _, conn := range g.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}
