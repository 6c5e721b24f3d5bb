package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench/server"
)

// The targets: what can be measured.
const (
	IOUring = string(ringfd.IOUring)
	Net     = string(ringfd.Net)
	GoNet   = server.GoNet
	// Those that serve by Backend.Serve.
	IOUringBlocking = IOUring + "-" + string(server.Blocking)
	IOUringData     = IOUring + "-" + string(server.Data)
	NetBlocking     = Net + "-" + string(server.Blocking)
	NetData         = Net + "-" + string(server.Data)
	Gnet            = "gnet"
	Netpoll         = "netpoll"
	CEpoll          = "c-epoll"
	CIOUring        = "c-io_uring"
)

// The programs of the targets that are not in this module. They stand beside
// the command.
const (
	peersProgram   = "ringfd-peers" // gnet and netpoll
	epollProgram   = "ringfd-c-epoll"
	ioUringProgram = "ringfd-c-io_uring"
	appsProgram    = "ringfd-apps" // the real programs
)

// Target is a server to measure.
type Target struct {
	Name string `json:"name"`
	// Server is what its program knows it by.
	Server string `json:"server"`
	// About says what it is.
	About string `json:"about"`
	// Command starts a program that understands control.Command. nil is this
	// program itself; another build of it makes another target. Where it stands
	// is nothing to a reader of the report.
	Command []string `json:"-"`
}

// Targets returns all targets: ours first, and last the baseline, which is Go's
// net. The programs of the others are expected in the folder dir.
func Targets(dir string) []Target {
	program := func(name string) []string { return programIn(dir, name) }
	return []Target{
		{Name: IOUring, Server: IOUring, About: "ringfd on io_uring, a goroutine for each connection"},
		{Name: IOUringBlocking, Server: IOUringBlocking, About: "ringfd's Serve on io_uring, blocking handlers: a coroutine for each connection, and no buffer while it waits (FD.WaitRead)"},
		{Name: IOUringData, Server: IOUringData, About: "ringfd's Serve on io_uring, data handlers"},
		{Name: Net, Server: Net, About: "ringfd on Go's net, a goroutine for each connection"},
		{Name: NetBlocking, Server: NetBlocking, About: "ringfd's Serve on Go's net, blocking handlers"},
		{Name: NetData, Server: NetData, About: "ringfd's Serve on Go's net, data handlers"},
		{Name: Gnet, Server: Gnet, About: "gnet v2", Command: program(peersProgram)},
		{Name: Netpoll, Server: Netpoll, About: "cloudwego/netpoll", Command: program(peersProgram)},
		{Name: CEpoll, Server: CEpoll, About: "a floor: epoll in C", Command: program(epollProgram)},
		{Name: CIOUring, Server: CIOUring, About: "a floor: io_uring in C", Command: program(ioUringProgram)},
		{Name: GoNet, Server: GoNet, About: "Go's net without ringfd: the baseline"},
	}
}

// AppTargets returns what real programs run on, in the order of Targets. Their
// program is expected in the folder dir.
func AppTargets(dir string) []Target {
	apps := programIn(dir, appsProgram)
	return []Target{
		{Name: IOUring, Server: IOUring, About: "the program on ringfd's io_uring, by the net view", Command: apps},
		{Name: IOUringBlocking, Server: IOUringBlocking, About: "the program as a blocking handler of ringfd's Serve on io_uring", Command: apps},
		{Name: Net, Server: Net, About: "the program on ringfd's net", Command: apps},
		{Name: GoNet, Server: GoNet, About: "the program on Go's net: the baseline", Command: apps},
	}
}

// programIn is the command of a program in a folder.
func programIn(dir, name string) []string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return []string{filepath.Join(dir, name)}
}

// SelectTargets returns the targets of these names, in the order of targets;
// all of them without names.
func SelectTargets(targets []Target, names []string) ([]Target, error) {
	if len(names) == 0 {
		return targets, nil
	}
	var known []string
	for _, t := range targets {
		known = append(known, t.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown target %q: choose from %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return !slices.Contains(names, t.Name) }), nil
}

// missing says why a target's program is not there, or "".
func (t Target) missing() string {
	if t.Command == nil {
		return ""
	}
	if _, err := os.Stat(t.Command[0]); err != nil {
		return fmt.Sprintf("%v: `make peers` builds what this machine can build", err)
	}
	return ""
}
