package main

import (
	"encoding/binary"
	"io"
	"net"

	"github.com/ringfd/ringfd/bench/control"
)

// headerSize is that of a reply: the stamp of its request, and a length.
const headerSize = 2 * control.StampSize

// twoWrites answers with a header, and then with a payload.
func twoWrites(s *site) (func(net.Conn), error) {
	payload := s.filler[:s.spec.Reply-headerSize]
	return func(c net.Conn) {
		defer func() { _ = c.Close() }()
		request, header := make([]byte, s.spec.Request), make([]byte, headerSize)
		for {
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			s.answered()
			copy(header, request[:control.StampSize])
			binary.BigEndian.PutUint64(header[control.StampSize:], uint64(len(payload)))
			if _, err := c.Write(header); err != nil {
				return
			}
			if _, err := c.Write(payload); err != nil {
				return
			}
		}
	}, nil
}
