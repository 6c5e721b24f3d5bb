package child

import (
	_ "embed"
	"fmt"
	"strings"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

//go:embed docker.txt
var docker string

// FilterAsDocker puts this process under the default seccomp profile of Docker's
// engine, on all threads and for good, with more system calls allowed. The profile
// is that of amd64.
func FilterAsDocker(more ...string) {
	var names []string
	for line := range strings.Lines(docker) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "#") {
			names = append(names, name)
		}
	}
	when := func(name string, operation seccomp.Operation, value uint64) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{
			Name:       name,
			Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: operation, Value: value}},
		}
	}
	const newNamespaces = 0x7e020000 // the CLONE_NEW flags
	conditional := []seccomp.NameWithConditions{
		when("clone", seccomp.BitsNotSet, newNamespaces),
		when("socket", seccomp.LessThan, unix.AF_DECnet), // unix and internet sockets are
		when("socket", seccomp.Equal, unix.AF_NETLINK),   // and this, and others for none of us
	}
	for _, persona := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff} {
		conditional = append(conditional, when("personality", seccomp.Equal, persona))
	}
	load(seccomp.Policy{
		DefaultAction: seccomp.ActionErrno, // EPERM
		Syscalls: []seccomp.SyscallGroup{
			{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
			{Names: append(names, more...), NamesWithCondtions: conditional, Action: seccomp.ActionAllow},
		},
	})
}

func load(policy seccomp.Policy) {
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy})
	if err != nil {
		panic(fmt.Sprint("installing a seccomp filter: ", err))
	}
}
