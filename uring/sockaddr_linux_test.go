package uring

import (
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSockaddrRoundTrip(t *testing.T) {
	v4, v6 := net.IPv4(192, 0, 2, 1).To4(), net.ParseIP("2001:db8::1")
	for _, c := range []struct {
		name   string
		family int
		in     net.Addr
		out    net.Addr // nil: as in
	}{
		{"IPv4", unix.AF_INET, &net.TCPAddr{IP: v4, Port: 0x1234}, nil},
		{"IPv4 in 16 bytes", unix.AF_INET, &net.TCPAddr{IP: v4.To16(), Port: 65535}, &net.TCPAddr{IP: v4, Port: 65535}},
		{"IPv4 wildcard", unix.AF_INET, &net.TCPAddr{Port: 80}, &net.TCPAddr{IP: net.IPv4zero.To4(), Port: 80}},
		{"IPv6", unix.AF_INET6, &net.TCPAddr{IP: v6, Port: 80}, nil},
		{"IPv6 wildcard", unix.AF_INET6, &net.TCPAddr{Port: 80}, &net.TCPAddr{IP: net.IPv6zero, Port: 80}},
		{"IPv6 wildcard for 0.0.0.0", unix.AF_INET6, &net.TCPAddr{IP: net.IPv4zero}, &net.TCPAddr{IP: net.IPv6zero}},
		{"IPv4 on an IPv6 socket", unix.AF_INET6, &net.TCPAddr{IP: v4, Port: 80}, nil},
		{"a zone by name", unix.AF_INET6, &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "lo"}, nil},
		{"a zone by number", unix.AF_INET6, &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "1234567"}, nil},
		{"a path", unix.AF_UNIX, &net.UnixAddr{Name: "/tmp/a socket", Net: "unix"}, nil},
		{"the longest path", unix.AF_UNIX, &net.UnixAddr{Name: strings.Repeat("p", 107), Net: "unix"}, nil},
		{"an abstract name", unix.AF_UNIX, &net.UnixAddr{Name: "@abstract", Net: "unix"}, nil},
		{"the longest abstract name", unix.AF_UNIX, &net.UnixAddr{Name: "@" + strings.Repeat("a", 107), Net: "unix"}, nil},
		{"no name", unix.AF_UNIX, &net.UnixAddr{Net: "unix"}, &net.UnixAddr{Name: "@", Net: "unix"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.out == nil {
				c.out = c.in
			}
			if a, ok := c.in.(*net.TCPAddr); ok && a.Zone == "lo" {
				if _, err := net.InterfaceByName(a.Zone); err != nil {
					t.Skipf("needs the interface lo, which package net does not find (qemu-user for s390x): %v", err)
				}
			}
			r := new(rawAddr)
			if err := r.set(c.in, c.family); err != nil {
				t.Fatal(err)
			}
			if got := r.get(); !reflect.DeepEqual(got, c.out) {
				t.Errorf("%#v came out of %#v, want %#v", got, c.in, c.out)
			}
		})
	}
}

func TestSockaddrRefuses(t *testing.T) {
	for _, addr := range []net.Addr{
		&net.UnixAddr{Name: strings.Repeat("p", 108)},
		&net.UnixAddr{Name: "@" + strings.Repeat("a", 108)},
		&net.UDPAddr{},
	} {
		if err := new(rawAddr).set(addr, unix.AF_UNIX); err == nil {
			t.Errorf("%#v is accepted", addr)
		}
	}
}

// TestSockaddrAsNet decodes what the kernel says of net's own sockets, and
// encodes what net says.
func TestSockaddrAsNet(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:0"}, {"tcp4", ":0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"}, {"tcp6", ":0"},
		{"unix", filepath.Join(dir, "socket")}, {"unix", "@ringfd sockaddr test"}, {"unix", ""},
	} {
		t.Run(c.network+" "+c.address, func(t *testing.T) {
			l, err := net.Listen(c.network, c.address)
			if err != nil {
				t.Skip("needs a system that can listen there: ", err)
			}
			defer l.Close()
			raw, err := l.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.Control(func(fd uintptr) {
				ours, r := localAddrOf(int(fd)), new(rawAddr)
				if ours.Network() != l.Addr().Network() || ours.String() != l.Addr().String() {
					t.Errorf("the address is %v, net says %v", ours, l.Addr())
				}
				family, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.set(l.Addr(), family); err != nil {
					t.Fatal(err)
				}
				kernel := rawAddr{len: unix.SizeofSockaddrAny}
				if err := sockname(int(fd), &kernel); err != nil {
					t.Fatal(err)
				}
				if *r != kernel {
					t.Errorf("%v is encoded as %v, by the kernel as %v", l.Addr(), *r, kernel)
				}
			})
		})
	}
}

// sockname is localAddrOf without the decoding.
func sockname(sysfd int, r *rawAddr) error {
	_, _, errno := syscall.Syscall(unix.SYS_GETSOCKNAME, uintptr(sysfd), uintptr(unsafe.Pointer(&r.any)), uintptr(unsafe.Pointer(&r.len)))
	if errno != 0 {
		return errno
	}
	return nil
}
