package accept

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Class says what an accept error is about, and so what to do about it.
type Class uint8

const (
	// System: the machine or the process is out of something, or its network is
	// down. Wait, then accept again; connections stay queued meanwhile.
	System Class = iota + 1
	// Socket: that one connection is gone. Accept again at once.
	Socket
	// Unexpected: the listener itself cannot go on.
	Unexpected
)

// String returns "system", "socket" or "unexpected".
func (c Class) String() string {
	switch c {
	case System:
		return "system"
	case Socket:
		return "socket"
	case Unexpected:
		return "unexpected"
	}
	return "none"
}

// Error is a failed accept. errors.As finds *os.SyscallError and syscall.Errno
// below it.
type Error struct {
	Class Class
	Err   error
}

var _ net.Error = (*Error)(nil)

// Error returns the class and the cause.
func (e *Error) Error() string { return "accept: " + e.Class.String() + " error: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports an expired deadline of the listener.
func (e *Error) Timeout() bool { return errors.Is(e.Err, os.ErrDeadlineExceeded) }

// Temporary is true for System and Socket: net/http and others then wait a
// little and accept again.
func (e *Error) Temporary() bool { return e.Class == System || e.Class == Socket || e.Timeout() }

// Classify returns the class of an accept error by the errno in it, following
// accept(2), the Windows Sockets error codes, and the table of the Octez
// module with its gaps filled (ARCHITECTURE.md). An error without an errno is
// Unexpected.
func Classify(err error) Class {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if class, ok := classes[errno]; ok {
			return class
		}
	}
	return Unexpected
}

// ListenError is a listener that could not be opened. Nothing was left open.
type ListenError struct {
	// Reason is the cause; errors.As finds a syscall.Errno below it.
	Reason error
	// Address is the host as given, Port the port; for a unix socket Address is
	// the path and Port is 0.
	Address string
	Port    int
	// Hint says what to do, where that is known.
	Hint string
}

// Error names the address, the cause, and the cure where there is one.
func (e *ListenError) Error() string {
	where := e.Address
	if e.Port != 0 || e.Address == "" {
		where = net.JoinHostPort(e.Address, strconv.Itoa(e.Port))
	}
	text := "cannot listen on " + where + ": " + e.Reason.Error()
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Reason }

// NewListenError makes a ListenError for an address as passed to Listen, with
// a hint for the causes that have a known cure. For backends.
func NewListenError(network, address string, reason error) *ListenError {
	e := &ListenError{Reason: reason, Address: address}
	if host, port, err := net.SplitHostPort(address); err == nil && network != "unix" {
		e.Address = host
		e.Port, _ = strconv.Atoi(port)
	}
	if network == "unix" {
		e.Hint = unixHint(address, reason)
	} else {
		e.Hint = tcpHint(e.Port, reason)
	}
	return e
}

func tcpHint(port int, reason error) string {
	switch {
	case errors.Is(reason, addressInUse):
		return "another process, or this one, listens there: stop it, choose another port, or set ReusePort on both"
	case errors.Is(reason, addressNotAvailable):
		return "that is no address of this host"
	case errors.Is(reason, os.ErrPermission) && 0 < port && port < 1024:
		return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
	}
	return ""
}

// unixHint finds out what is at the path: to learn whether somebody listens there it
// connects.
func unixHint(path string, reason error) string {
	switch {
	case errors.Is(reason, os.ErrNotExist):
		return "there is no such directory: make it"
	case errors.Is(reason, os.ErrPermission):
		return "this process may not make a file there"
	case !errors.Is(reason, addressInUse):
		return ""
	}
	const listens = "another process, or this one, listens there: stop it, or choose another path"
	if strings.HasPrefix(path, "@") {
		return listens
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return "the path was taken, and is free now: try again"
	case info.Mode()&os.ModeSocket == 0:
		return "what is there is no socket: choose another path"
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	} else if errors.Is(err, connectionRefused) {
		return "a socket is left there that nobody listens on any more: remove it"
	}
	return listens
}
