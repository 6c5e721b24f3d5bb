package uring

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkSockaddr converts addresses to those of the kernel, once per
// connect, and back, once per accept.
func BenchmarkSockaddr(b *testing.B) {
	for _, c := range []struct {
		name   string
		family int
		addr   net.Addr
	}{
		{"IPv4", unix.AF_INET, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 9732}},
		{"IPv6", unix.AF_INET6, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 9732}},
		{"unix", unix.AF_UNIX, &net.UnixAddr{Name: "/run/s", Net: "unix"}},
	} {
		raw := new(rawAddr)
		b.Run("do=set/of="+c.name, func(b *testing.B) {
			withoutAllocs(b, func() {
				if err := raw.set(c.addr, c.family); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run("do=get/of="+c.name, func(b *testing.B) {
			if err := raw.set(c.addr, c.family); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if raw.get() == nil {
					b.Fatal("no address comes out")
				}
			}
		})
	}
}
