package accept_test

import (
	"syscall"

	"github.com/ringfd/ringfd/accept"
)

// The numbers are those of the Windows SDK, spelled out on purpose: no constant
// is shared with the table under test.
const (
	tooManyFiles  = syscall.Errno(10024)
	thatOneIsGone = syscall.Errno(10054)
	notSupported  = syscall.Errno(10045)
	strange       = syscall.Errno(10022)
	busy          = syscall.Errno(10048)
)

var classes = map[accept.Class][]syscall.Errno{
	accept.System:     {10024, 4, 8, 10055, 10050},
	accept.Socket:     {10013, 10045, 10051, 10053, 10054, 64, 10060, 10064, 10065},
	accept.Unexpected: {10022, 10038, 6},
}
