package conformance

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers the questions of a net.Resolver over UDP, and counts them.
type nameServer struct {
	conn    net.PacketConn
	records map[dnsmessage.Type][]netip.Addr
	silent  dnsmessage.Type // questions of this type get no answer; 0: none

	mu    sync.Mutex
	asked map[dnsmessage.Type]int
}

// Resolver returns a resolver for which every name has these addresses.
func Resolver(t testing.TB, ips ...netip.Addr) *net.Resolver { return serverOf(ips...).resolver(t) }

// resolver starts the server, and returns a resolver that asks it.
func (s *nameServer) resolver(t testing.TB) *net.Resolver {
	t.Helper()
	var err error
	if s.conn, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.asked = make(map[dnsmessage.Type]int)
	ended := async(func() error { return s.serve() })
	t.Cleanup(func() {
		_ = s.conn.Close()
		_ = await(t, ended, "the end of the name server")
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) serve() error {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		s.mu.Lock()
		s.asked[q.Type]++
		s.mu.Unlock()
		if q.Type == s.silent {
			continue
		}
		answer, err := s.answer(m.ID, q)
		if err != nil {
			return err
		}
		_, _ = s.conn.WriteTo(answer, from)
	}
}

func (s *nameServer) answer(id uint16, q dnsmessage.Question) ([]byte, error) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	for _, ip := range s.records[q.Type] {
		var body dnsmessage.ResourceBody = &dnsmessage.AResource{}
		if ip.Is4() {
			body = &dnsmessage.AResource{A: ip.As4()}
		} else {
			body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: body,
		})
	}
	return m.Pack()
}

// count returns how many questions of a type have come.
func (s *nameServer) count(kind dnsmessage.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[kind]
}
