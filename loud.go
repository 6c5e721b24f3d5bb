package ringfd

import (
	"fmt"
	"os"

	"github.com/ringfd/ringfd/fd"
)

// loud returns events that tell of panics and held loops: on standard error where
// the application does not say how. Both are mistakes of a handler that nobody else
// would learn of.
func loud(events *fd.Events) *fd.Events {
	var e fd.Events
	if events != nil {
		e = *events
	}
	if e.Panic == nil {
		e.Panic = func(id uint64, err *fd.PanicError) {
			fmt.Fprintf(os.Stderr, "ringfd: the handler of connection %d panicked: %v\n%s\n", id, err.Value, err.Stack)
		}
	}
	if e.Held == nil {
		e.Held = func(h fd.Held) {
			fmt.Fprintf(os.Stderr, "ringfd: the handler of connection %d has held its loop for %v, and all its connections: FD.Offload runs what computes or waits elsewhere\n%s\n", h.ID, h.For, h.Stack)
		}
	}
	return &e
}
