package uring

import (
	"net"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FuzzSockaddr: an address that can be encoded decodes to itself, in its shortest
// form.
func FuzzSockaddr(f *testing.F) {
	f.Add(uint8(0), []byte{192, 0, 2, 1}, uint16(80), uint32(0), "")
	f.Add(uint8(1), []byte(net.IPv6loopback), uint16(65535), uint32(1), "")
	f.Add(uint8(1), []byte(net.IPv4(192, 0, 2, 1)), uint16(1), uint32(0), "")
	f.Add(uint8(1), []byte(nil), uint16(0), uint32(77777777), "")
	f.Add(uint8(2), []byte(nil), uint16(0), uint32(0), "/run/a socket")
	f.Add(uint8(2), []byte(nil), uint16(0), uint32(0), "@"+strings.Repeat("a", 107))
	f.Add(uint8(2), []byte(nil), uint16(0), uint32(0), strings.Repeat("p", 108))
	f.Add(uint8(2), []byte(nil), uint16(0), uint32(0), "")
	f.Fuzz(func(t *testing.T, kind uint8, ip []byte, port uint16, zone uint32, name string) {
		var in, want net.Addr
		family := []int{unix.AF_INET, unix.AF_INET6, unix.AF_UNIX}[kind%3]
		switch {
		case family == unix.AF_UNIX:
			in, want = &net.UnixAddr{Name: name, Net: "unix"}, &net.UnixAddr{Name: name, Net: "unix"}
			if name == "" {
				want = &net.UnixAddr{Name: "@", Net: "unix"}
			}
		case len(ip) != 0 && len(ip) != 4 && len(ip) != 16, family == unix.AF_INET && len(ip) == 16 && net.IP(ip).To4() == nil:
			return // familyOf gives such addresses no such family
		default:
			in = &net.TCPAddr{IP: ip, Port: int(port), Zone: zoneName(zone)}
			want = shortest(ip, port, zone, family)
		}
		r := new(rawAddr)
		if err := r.set(in, family); err != nil {
			if len(name) < 108 || family != unix.AF_UNIX {
				t.Fatalf("%#v: %v", in, err)
			}
			return
		}
		if strings.Contains(name, "\x00") && name[0] != '@' {
			return // the kernel ends the path there
		}
		if got := r.get(); !reflect.DeepEqual(got, want) {
			t.Errorf("%#v came out of %#v, want %#v", got, in, want)
		}
	})
}

func shortest(ip net.IP, port uint16, zone uint32, family int) *net.TCPAddr {
	a := &net.TCPAddr{IP: ip, Port: int(port)}
	if v4 := ip.To4(); v4 != nil {
		a.IP = v4
	}
	if family == unix.AF_INET {
		if len(ip) == 0 {
			a.IP = net.IPv4zero.To4()
		}
		return a
	}
	if len(ip) == 0 || ip.Equal(net.IPv4zero) {
		a.IP = net.IPv6zero
	}
	a.Zone = zoneName(zone)
	return a
}

// FuzzSockaddrDecode: whatever the kernel writes is decoded, or refused, and what
// is decoded encodes to the same.
func FuzzSockaddrDecode(f *testing.F) {
	for _, a := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}, &net.TCPAddr{IP: net.IPv6loopback, Port: 80},
		&net.UnixAddr{Name: "/a/path"}, &net.UnixAddr{Name: "@abstract\x00name"}, &net.UnixAddr{},
	} {
		r := new(rawAddr)
		family, err := familyOf(a)
		if err != nil || r.set(a, family) != nil {
			f.Fatal(a, err)
		}
		f.Add(unsafe.Slice((*byte)(unsafe.Pointer(&r.any)), int(r.len)), r.len)
	}
	f.Add([]byte{1, 0, 'x'}, uint32(1<<31))
	f.Add([]byte{1, 0}, uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, size uint32) {
		r := new(rawAddr)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&r.any)), unsafe.Sizeof(r.any)), data)
		r.len = size
		a := r.get()
		if a == nil {
			return
		}
		if u, ok := a.(*net.UnixAddr); ok && len(data) > 2 && data[2] != 0 && (data[2] == '@' || len(u.Name) > 107) {
			return // a path that net, too, takes for an abstract name; one without its final zero
		}
		if ip, ok := a.(*net.TCPAddr); ok && r.any.Addr.Family == unix.AF_INET6 && ip.IP.Equal(net.IPv4zero) {
			return // which stands for the wildcard of both families there
		}
		again := new(rawAddr)
		if err := again.set(a, int(r.any.Addr.Family)); err != nil {
			t.Fatalf("%#v: %v", a, err)
		}
		if got := again.get(); !reflect.DeepEqual(got, a) {
			t.Errorf("%#v came out of %#v", got, a)
		}
	})
}
