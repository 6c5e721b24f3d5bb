package uring

import (
	"encoding/binary"
	"net"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawAddr is a sockaddr that the kernel reads (connect) or writes (accept). It
// lives on the heap, rooted in its op.
type rawAddr struct {
	any unix.RawSockaddrAny
	len uint32
}

func (r *rawAddr) address() uint64 { return uint64(uintptr(unsafe.Pointer(&r.any))) }

// set encodes addr for a socket of the given family: AF_INET6 takes IPv4 as
// v4-mapped.
func (r *rawAddr) set(addr net.Addr, family int) error {
	switch a := addr.(type) {
	case *net.TCPAddr:
		if family == unix.AF_INET {
			sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.any))
			*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bigEndian(a.Port)}
			copy(sa.Addr[:], a.IP.To4()) // a nil IP is the wildcard
			r.len = unix.SizeofSockaddrInet4
			return nil
		}
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.any))
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: bigEndian(a.Port), Scope_id: zoneID(a.Zone)}
		if !a.IP.Equal(net.IPv4zero) {
			copy(sa.Addr[:], a.IP.To16())
		}
		r.len = unix.SizeofSockaddrInet6
		return nil
	case *net.UnixAddr:
		sa := (*unix.RawSockaddrUnix)(unsafe.Pointer(&r.any))
		*sa = unix.RawSockaddrUnix{Family: unix.AF_UNIX}
		abstract := a.Name == "" || a.Name[0] == '@' // no name: the kernel makes one up
		if n := len(a.Name); n > len(sa.Path) || n == len(sa.Path) && !abstract {
			return os.NewSyscallError("sockaddr", syscall.EINVAL)
		}
		for i := range len(a.Name) {
			sa.Path[i] = int8(a.Name[i])
		}
		r.len = uint32(unsafe.Offsetof(sa.Path)) + uint32(len(a.Name))
		if abstract { // a leading zero, no final one
			sa.Path[0] = 0
		} else {
			r.len++
		}
		return nil
	}
	return &net.AddrError{Err: "want a *net.TCPAddr or *net.UnixAddr", Addr: addr.String()}
}

// get decodes. Addresses that are v4-mapped come out as IPv4.
func (r *rawAddr) get() net.Addr {
	switch r.any.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.any))
		return &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: int(bigEndian(int(sa.Port)))}
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.any))
		ip := append(net.IP(nil), sa.Addr[:]...)
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		return &net.TCPAddr{IP: ip, Port: int(bigEndian(int(sa.Port))), Zone: zoneName(sa.Scope_id)}
	case unix.AF_UNIX:
		sa := (*unix.RawSockaddrUnix)(unsafe.Pointer(&r.any))
		return &net.UnixAddr{Name: unixName(sa, r.len), Net: "unix"}
	}
	return nil
}

// unixName is the path; an abstract or unnamed socket's begins with @.
func unixName(sa *unix.RawSockaddrUnix, size uint32) string {
	n := int(size) - int(unsafe.Offsetof(sa.Path))
	path := unsafe.Slice((*byte)(unsafe.Pointer(&sa.Path[0])), max(min(n, len(sa.Path)), 0))
	if len(path) == 0 {
		return "@"
	}
	if path[0] == 0 {
		return "@" + string(path[1:])
	}
	return unix.ByteSliceToString(path)
}

// bigEndian turns a port to network byte order, and back.
func bigEndian(port int) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], uint16(port))
	return binary.NativeEndian.Uint16(b[:])
}

func zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.Atoi(zone)
	return uint32(n)
}

func zoneName(id uint32) string {
	if id == 0 {
		return ""
	}
	if i, err := net.InterfaceByIndex(int(id)); err == nil {
		return i.Name
	}
	return strconv.Itoa(int(id))
}

// localAddrOf asks the kernel. Reference: getsockname(2).
func localAddrOf(sysfd int) net.Addr {
	r := rawAddr{len: unix.SizeofSockaddrAny}
	if errno := sysGetsockname(sysfd, &r); errno != 0 {
		return nil
	}
	return r.get()
}
