package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"

	"github.com/ringfd/ringfd/bench/load"
)

// pairLibp2p has a stream of libp2p on a connection: over its noise and its muxer, as
// its hosts put them on each connection, without the hosts.
func pairLibp2p(s *site, i int) (load.Caller, error) {
	near, far, err := s.pair()
	if err != nil {
		return nil, err
	}
	nearNode, err := newNode()
	if err != nil {
		return nil, err
	}
	farNode, err := newNode()
	if err != nil {
		return nil, err
	}
	upgraded := make(chan network.MuxedConn, 1)
	go func() {
		defer close(upgraded)
		muxed, err := farNode.upgrade(s.ctx, far, nil)
		if err != nil {
			return // the other end finds out
		}
		upgraded <- muxed
		if stream, err := muxed.AcceptStream(); err == nil {
			s.echo(stream)
		}
	}()
	client, err := nearNode.upgrade(s.ctx, near, farNode)
	if err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	server, ok := <-upgraded
	if !ok {
		return nil, errors.Join(errors.New("the other end cannot agree with us"), client.Close())
	}
	stream, err := client.OpenStream(s.ctx)
	if err != nil {
		return nil, err
	}
	return newStreamCaller(stream, s.spec.Request, i, func() error {
		return errors.Join(client.Close(), server.Close())
	}), nil
}

// node is a peer with its keys.
type node struct {
	id       peer.ID
	security *noise.Transport
}

func newNode() (*node, error) {
	key, public, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		return nil, err
	}
	security, err := noise.New(noise.ID, key, nil)
	return &node{id, security}, err
}

// upgrade makes a connection one of streams, to a peer that is known; or, on the end
// that was called, from any.
func (n *node) upgrade(ctx context.Context, conn net.Conn, to *node) (network.MuxedConn, error) {
	if to == nil {
		secure, err := n.security.SecureInbound(ctx, conn, "")
		if err != nil {
			return nil, err
		}
		return yamux.DefaultTransport.NewConn(secure, true, nil)
	}
	secure, err := n.security.SecureOutbound(ctx, conn, to.id)
	if err != nil {
		return nil, err
	}
	return yamux.DefaultTransport.NewConn(secure, false, nil)
}
