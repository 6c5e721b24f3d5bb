package main

import (
	"crypto/ecdsa"
	"errors"
	"net"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/rlpx"

	"github.com/ringfd/ringfd/bench/load"
)

// rlpxCaller sends messages of devp2p to the other end, which returns each.
type rlpxCaller struct {
	near, far *rlpx.Conn
	stamp     stamp
	out       []byte
}

// messageCode is the first that is not devp2p's own.
const messageCode = 16

func pairRLPx(s *site, i int) (load.Caller, error) {
	near, far, err := s.pair()
	if err != nil {
		return nil, err
	}
	c := &rlpxCaller{stamp: stamp{number: i}, out: make([]byte, s.spec.Request)}
	if err := c.handshake(near, far); err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	go func() {
		for {
			code, data, _, err := c.far.Read()
			if err != nil {
				return
			}
			s.answered()
			if _, err := c.far.Write(code, data); err != nil {
				return
			}
		}
	}()
	return c, nil
}

// handshake agrees on keys, and on compression, as every node does.
func (c *rlpxCaller) handshake(near, far net.Conn) error {
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		var err error
		if keys[i], err = crypto.GenerateKey(); err != nil {
			return err
		}
	}
	c.near, c.far = rlpx.NewConn(near, &keys[1].PublicKey), rlpx.NewConn(far, nil)
	answered := make(chan error, 1)
	go func() {
		_, err := c.far.Handshake(keys[1])
		answered <- err
	}()
	_, err := c.near.Handshake(keys[0])
	if err == nil {
		err = <-answered
	}
	c.near.SetSnappy(true)
	c.far.SetSnappy(true)
	return err
}

func (c *rlpxCaller) Call() error {
	c.stamp.put(c.out)
	if _, err := c.near.Write(messageCode, c.out); err != nil {
		return err
	}
	_, in, _, err := c.near.Read()
	if err != nil {
		return err
	}
	return sameAs(c.out, in)
}

func (c *rlpxCaller) Close() error { return errors.Join(c.near.Close(), c.far.Close()) }
