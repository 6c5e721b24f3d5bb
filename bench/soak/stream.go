package soak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ringfd/ringfd/bench/load"
)

// stream is what a peer that misbehaves says and is due on its connection.
type stream interface {
	// begin says about n bytes. The peer is due something from then on.
	begin(n int) error
	// take receives and checks n bytes, or what it is due if that is less.
	take(n int) error
	// takeSome receives what shows that all goes on, and takeAll all there is,
	// until the server ends the connection.
	takeSome() error
	takeAll() error
}

var errWrong = errors.New("what came is not what it should be")

// longest is the most that a peer says.
const longest = 5 << 20

// pattern is what peers say and are due.
func pattern(spec Spec) []byte { return load.Pattern(max(longest, spec.Message)) }

// echoes is the stream of a peer of an echo: the pattern, and back.
type echoes struct {
	*peer
	said chan int // how much, once that is known
	due  int      // -1 as long as it is not
	got  int
}

func newEchoes(p *peer) *echoes { return &echoes{peer: p, said: make(chan int, 1), due: -1} }

func (e *echoes) begin(n int) error {
	e.said <- n
	_, err := e.conn.Write(e.pattern[:n])
	return err
}

func (e *echoes) take(n int) error {
	if e.due < 0 {
		e.due = <-e.said
	}
	part := make([]byte, min(n, e.due-e.got))
	_, err := io.ReadFull(e.conn, part)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", e.got, e.due, err)
	}
	if !bytes.Equal(part, e.pattern[e.got:e.got+len(part)]) {
		return fmt.Errorf("%w, after %d of %d bytes", errWrong, e.got, e.due)
	}
	e.got += len(part)
	e.checked += uint64(len(part))
	return nil
}

func (e *echoes) takeSome() error {
	for e.due < 0 || e.got < e.due {
		if err := e.take(64 << 10); err != nil {
			return err
		}
	}
	return nil
}

func (e *echoes) takeAll() error {
	if err := e.takeSome(); err != nil {
		return err
	}
	n, err := e.conn.Read(make([]byte, 1))
	if n > 0 || err != io.EOF {
		return fmt.Errorf("%w: %d bytes and %v where the end should be, after %d", errWrong, n, err, e.got)
	}
	return nil
}

// broadcasts is the stream of a member of a group: what others broadcast. It says
// no whole message, which all would get.
type broadcasts struct {
	*peer
	message []byte // the one that is coming in, of which
	have    int
	last    uint64 // the number of the one before; 0 for none
}

func newBroadcasts(p *peer) *broadcasts {
	return &broadcasts{peer: p, message: make([]byte, p.spec.Message)}
}

func (b *broadcasts) begin(n int) error {
	_, err := b.conn.Write(b.pattern[:min(n, b.spec.Message-1)])
	return err
}

// take receives n bytes, or what comes until the end: then there are no more
// broadcasts. That none is left out is for the generators to see.
func (b *broadcasts) take(n int) error {
	_ = b.conn.SetReadDeadline(b.end)
	err := b.receive(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

func (b *broadcasts) receive(n int) error {
	for n > 0 {
		k, err := b.conn.Read(b.message[b.have:])
		b.checked += uint64(k)
		n -= k
		if b.have += k; b.have == len(b.message) {
			if wrong := b.check(); wrong != nil {
				return wrong
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check looks at a whole message: it has the number of the sender's next one. A
// data handler may leave one out for a member that does not read, but never goes
// back.
func (b *broadcasts) check() error {
	b.have = 0
	number := binary.NativeEndian.Uint64(b.message)
	if number <= b.last || number >= 1<<40 || !bytes.Equal(b.message[8:], b.pattern[8:len(b.message)]) {
		return fmt.Errorf("%w: broadcast %d after %d", errWrong, number, b.last)
	}
	b.last = number
	return nil
}

// takeSome receives what has come meanwhile, at least.
func (b *broadcasts) takeSome() error { return b.take(64 * b.spec.Message) }

func (b *broadcasts) takeAll() error {
	for {
		switch err := b.receive(64 << 10); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}
