package fd

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// CheckAddr says what is wrong with an address to connect to, or to listen on, before
// any socket is made: an *AddrError that names the field. Fields that the kernel would
// cut off or take for something else (an IP of three bytes, a port of 65536, a zone that
// no interface has, a zero byte in a path) are refused. For backends.
func CheckAddr(a net.Addr) error {
	switch a := a.(type) {
	case nil:
		return &AddrError{Field: "address", Problem: "is nil", Cure: wantAddr}
	case *net.TCPAddr:
		if a == nil {
			return &AddrError{Field: "address", Problem: "is a nil *net.TCPAddr", Cure: wantAddr}
		}
		return checkTCP(a)
	case *net.UnixAddr:
		if a == nil {
			return &AddrError{Field: "address", Problem: "is a nil *net.UnixAddr", Cure: wantAddr}
		}
		return checkUnix(a)
	}
	return &AddrError{Addr: fmt.Sprint(a), Field: "type", Problem: fmt.Sprintf("is %T", a), Cure: wantAddr, Err: syscall.EAFNOSUPPORT}
}

const wantAddr = "give a *net.TCPAddr or a *net.UnixAddr"

// CheckConnect is CheckAddr for a connect to remote from local, which is nil unless the
// configuration says otherwise. Both must be of one type, and of one family unless one
// of them names none, as package net has it. For backends.
func CheckConnect(local, remote net.Addr) error {
	if err := CheckAddr(remote); err != nil {
		return err
	}
	if unix, ok := remote.(*net.UnixAddr); ok && unix.Name == "" {
		return &AddrError{Field: "Name", Problem: "is empty", Cure: "give the path of the unix socket", Err: syscall.ECONNREFUSED}
	}
	if local == nil {
		return nil
	}
	if err := CheckAddr(local); err != nil {
		e := err.(*AddrError)
		e.Field = "Dial.LocalAddr: " + e.Field
		return e
	}
	from, isTCP := local.(*net.TCPAddr)
	to, toTCP := remote.(*net.TCPAddr)
	switch {
	case isTCP != toTCP:
		return &AddrError{
			Addr: local.String(), Field: "Dial.LocalAddr: type", Problem: fmt.Sprintf("is %T, and the remote address %T", local, remote),
			Cure: "give one of the same network",
		}
	case isTCP && !SameFamily(from.IP, to.IP):
		return &AddrError{
			Addr: local.String(), Field: "Dial.LocalAddr: IP", Problem: "is of another family than " + to.String(),
			Cure: "give one of the same family", Err: syscall.EAFNOSUPPORT,
		}
	}
	return nil
}

// SameFamily reports that both are of IPv4 or both of IPv6, where unspecified ones are of
// either.
func SameFamily(a, b net.IP) bool {
	if len(a) == 0 || len(b) == 0 || a.IsUnspecified() || b.IsUnspecified() {
		return true
	}
	return (a.To4() == nil) == (b.To4() == nil)
}

// CloneAddr copies an address that CheckAddr accepts, which its owner may change later.
// For backends.
func CloneAddr(addr net.Addr) net.Addr {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return &net.TCPAddr{IP: slices.Clone(a.IP), Port: a.Port, Zone: a.Zone}
	case *net.UnixAddr:
		return &net.UnixAddr{Name: a.Name, Net: "unix"}
	}
	return addr
}

func checkTCP(a *net.TCPAddr) error {
	bad := func(field, problem, cure string) error {
		return &AddrError{Addr: a.String(), Field: field, Problem: problem, Cure: cure, Err: syscall.EINVAL}
	}
	switch n := len(a.IP); {
	case n != 0 && n != net.IPv4len && n != net.IPv6len:
		return bad("IP", fmt.Sprintf("has %d bytes", n), "give 4 or 16, or none for this host")
	case a.Port < 0 || a.Port > 65535:
		return bad("Port", "is "+strconv.Itoa(a.Port), "give 0 to 65535")
	case a.Zone == "":
		return nil
	case a.IP.To4() != nil:
		return bad("Zone", "is "+strconv.Quote(a.Zone), "IPv4 addresses have none")
	}
	if _, err := strconv.ParseUint(a.Zone, 10, 31); err == nil { // the number of an interface
		return nil
	}
	if _, err := net.InterfaceByName(a.Zone); err != nil {
		return bad("Zone", "is "+strconv.Quote(a.Zone), "give the name or the number of an interface of this host")
	}
	return nil
}

func checkUnix(a *net.UnixAddr) error {
	bad := func(field, problem, cure string) error {
		return &AddrError{Addr: a.Name, Field: field, Problem: problem, Cure: cure, Err: syscall.EINVAL}
	}
	if a.Net != "" && a.Net != "unix" {
		return bad("Net", "is "+strconv.Quote(a.Net), `give "unix": streams only`)
	}
	// The kernel ends a path with a zero byte; an abstract name begins with one.
	abstract := strings.HasPrefix(a.Name, "@") && (runtime.GOOS == "linux" || runtime.GOOS == "windows")
	longest := len(syscall.RawSockaddrUnix{}.Path)
	if !abstract {
		longest--
	}
	switch {
	case len(a.Name) > longest:
		return bad("Name", fmt.Sprintf("has %d bytes", len(a.Name)),
			fmt.Sprintf("a unix socket's has %d at most: choose a shorter directory, or a relative path", longest))
	case !abstract && strings.IndexByte(a.Name, 0) >= 0:
		return bad("Name", "has a zero byte", "which would end the path: leave it out")
	}
	return nil
}

// AddrError is an address that cannot be what the caller means. Nothing was connected,
// bound or made. errors.As finds the same as a *net.AddrError, and the errno that the
// kernel would give, where there is one.
type AddrError struct {
	// Addr is the address, as far as it can be written.
	Addr string
	// Field is the field that is wrong, Problem what it is, and Cure what to give.
	Field, Problem, Cure string
	// Err is the errno that the kernel would give, or nil.
	Err error
}

func (e *AddrError) text() string { return e.Field + " " + e.Problem + ": " + e.Cure }

// Error names the address, the field, the problem and the cure.
func (e *AddrError) Error() string {
	if e.Addr == "" {
		return e.text()
	}
	return "address " + strconv.Quote(e.Addr) + ": " + e.text()
}

// Unwrap gives errors.As a *net.AddrError, and the errno.
func (e *AddrError) Unwrap() []error {
	as := []error{&net.AddrError{Err: e.text(), Addr: e.Addr}}
	if e.Err != nil {
		as = append(as, e.Err)
	}
	return as
}
