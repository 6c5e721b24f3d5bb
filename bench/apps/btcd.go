package main

import (
	"errors"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/peer"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ringfd/ringfd/bench/load"
)

// btcdCaller pings the other end, which answers as every node of Bitcoin does.
type btcdCaller struct {
	near, far *peer.Peer
	stamp     stamp
	pongs     chan uint64
}

func pairBtcd(s *site, i int) (load.Caller, error) {
	near, far, err := s.pair()
	if err != nil {
		return nil, err
	}
	c := &btcdCaller{stamp: stamp{number: i}, pongs: make(chan uint64, 1)}
	var greeted sync.WaitGroup
	greeted.Add(2)
	config := func() *peer.Config {
		return &peer.Config{
			UserAgentName: "ringfd-bench", ChainParams: &chaincfg.SimNetParams, AllowSelfConns: true,
			TrickleInterval: time.Minute, // of what is never sent here
			Listeners:       peer.MessageListeners{OnVerAck: func(*peer.Peer, *wire.MsgVerAck) { greeted.Done() }},
		}
	}
	nearConfig, farConfig := config(), config()
	nearConfig.Listeners.OnPong = func(_ *peer.Peer, m *wire.MsgPong) { c.pongs <- m.Nonce }
	farConfig.Listeners.OnRead = func(_ *peer.Peer, _ int, m wire.Message, _ error) { // before it answers
		if _, ping := m.(*wire.MsgPing); ping {
			s.answered()
		}
	}
	c.far = peer.NewInboundPeer(farConfig)
	if c.near, err = peer.NewOutboundPeer(nearConfig, far.LocalAddr().String()); err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	c.far.AssociateConnection(far)
	c.near.AssociateConnection(near)
	greeted.Wait()
	return c, nil
}

var errDisconnected = errors.New("the peer disconnected")

func (c *btcdCaller) Call() error {
	c.stamp.count++
	nonce := uint64(c.stamp.number)<<40 | c.stamp.count
	c.near.QueueMessage(wire.NewMsgPing(nonce), nil)
	select {
	case pong := <-c.pongs:
		if pong != nonce {
			return errMixedUp
		}
		return nil
	case <-c.near.Done():
		return errDisconnected
	}
}

func (c *btcdCaller) Close() error {
	c.near.Disconnect()
	c.far.Disconnect()
	c.near.WaitForDisconnect()
	c.far.WaitForDisconnect()
	return nil
}
