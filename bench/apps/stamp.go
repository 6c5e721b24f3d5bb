package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// stamp gives each message of a caller a text of its own.
type stamp struct {
	number int // of the caller
	count  uint64
}

func (s *stamp) next() string {
	s.count++
	return fmt.Sprintf("%016x", uint64(s.number)<<40|s.count)
}

// put begins a message with the next stamp.
func (s *stamp) put(message []byte) {
	s.count++
	binary.BigEndian.PutUint64(message, uint64(s.number)<<40|s.count)
}

var errMixedUp = errors.New("a reply is not what its message asks for")

// sameAs returns an error unless a reply is its request.
func sameAs(request, reply []byte) error {
	if !bytes.Equal(request, reply) {
		return errMixedUp
	}
	return nil
}

// streamCaller has its messages echoed on a stream of bytes.
type streamCaller struct {
	io.ReadWriter
	close   func() error
	stamp   stamp
	out, in []byte
}

func newStreamCaller(rw io.ReadWriter, size, number int, end func() error) *streamCaller {
	return &streamCaller{ReadWriter: rw, close: end, stamp: stamp{number: number}, out: make([]byte, size), in: make([]byte, size)}
}

func (c *streamCaller) Call() error {
	c.stamp.put(c.out)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, c.in); err != nil {
		return err
	}
	return sameAs(c.out, c.in)
}

func (c *streamCaller) Close() error { return c.close() }
