package uring

import (
	"testing"

	"golang.org/x/sys/unix"
)

// lane is a kind of connection, and what the kernel does not say of it.
type lane struct {
	name    string
	family  int
	without Features
}

// lanes are TCP and unix sockets, of which the ring says whether there is more, and of
// which it does not.
var lanes = []lane{
	{"tcp", unix.AF_INET, 0},
	{"tcp, not said", unix.AF_INET, FeatureSockNonempty},
	{"unix", unix.AF_UNIX, 0},
	{"unix, not said", unix.AF_UNIX, FeatureUnixNonempty},
	{"unix, nothing said", unix.AF_UNIX, FeatureSockNonempty},
}

func eachLane(t *testing.T, f func(t *testing.T, l lane)) {
	for _, l := range lanes {
		t.Run(l.name, func(t *testing.T) { f(t, l) })
	}
}

func (l lane) tcp() bool { return l.family == unix.AF_INET }

// exact reports that the ring of e says of the lane's sockets whether there is more.
func (l lane) exact(e *Engine) bool {
	if l.tcp() {
		return e.used.Has(FeatureSockNonempty)
	}
	return e.used.Has(FeatureUnixNonempty)
}

// pair is newPair over the lane.
func (l lane) pair(t testing.TB, e *Engine) (s *Socket, peer int) {
	t.Helper()
	s, peer, err := l.open(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close() // the test may have
		_ = unix.Close(peer)
	})
	return s, peer
}

func (l lane) open(e *Engine) (s *Socket, peer int, err error) {
	make := newSocketPair
	if l.tcp() {
		make = loopbackPair
	}
	fds, err := make()
	if err == nil {
		err = unix.SetNonblock(fds[0], true)
	}
	if err == nil {
		err = unix.SetNonblock(fds[1], false)
	}
	if err != nil {
		return nil, 0, err
	}
	s = e.NewSocket(nil)
	return s, fds[1], s.open(int32(fds[0]), l.family)
}
