package conformance

import (
	"io"
	"net"
	"testing"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// octezCases are the tests of the Octez module, src/lib_p2p/tezt/test_p2p_fd.ml.
var octezCases = []Case{
	{Name: "OctezConnect", Core: true, Run: func(t *testing.T, e *Env) {
		client, server := e.octezPair(t)
		if client.RemoteAddr().String() != server.LocalAddr().String() {
			t.Errorf("the client is connected to %v, the server is %v", client.RemoteAddr(), server.LocalAddr())
		}
	}},
	{Name: "OctezReadWrite", Core: true, Run: func(t *testing.T, e *Env) {
		client, server := e.octezPair(t)
		write(t, server, "test")
		read(t, client, "test")
	}},
	{Name: "OctezClosedByPeerReadOutgoing", Core: true, Run: func(t *testing.T, e *Env) {
		client, server := e.octezPair(t)
		_ = server.Close()
		readErr(t, client, fd.ClosedByPeer, io.EOF)
	}},
	{Name: "OctezClosedByPeerReadIncoming", Run: func(t *testing.T, e *Env) {
		client, server := e.octezPair(t)
		_ = client.Close()
		readErr(t, server, fd.ClosedByPeer, io.EOF)
	}},
	{Name: "OctezLocallyClosedReadOutgoing", Core: true, Run: func(t *testing.T, e *Env) {
		client, _ := e.octezPair(t)
		_ = client.Close()
		readErr(t, client, fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "OctezLocallyClosedReadIncoming", Run: func(t *testing.T, e *Env) {
		_, server := e.octezPair(t)
		_ = server.Close()
		readErr(t, server, fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "OctezLocallyClosedWriteOutgoing", Run: func(t *testing.T, e *Env) {
		client, _ := e.octezPair(t)
		_ = client.Close()
		writeErr(t, client, fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "OctezLocallyClosedWriteIncoming", Run: func(t *testing.T, e *Env) {
		_, server := e.octezPair(t)
		_ = server.Close()
		writeErr(t, server, fd.ClosedLocally, net.ErrClosed)
	}},
}

// octezPair is Pair on a listener as those tests open it, with a backlog of 1.
func (e *Env) octezPair(t *testing.T) (client, server *fd.FD) {
	t.Helper()
	l := e.Listen(t, accept.Config{Backlog: 1})
	client = e.Dial(t, l.Addr())
	server = e.Accept(t, l)
	return client, server
}
