package fd

import (
	"context"
	"errors"
	"slices"
	"syscall"
)

// The errno tables of the classification are in errno_*.go, by the names of
// each OS: numbers differ (71 is EPROTO on Linux and EREMOTE on BSD), and on
// Windows the syscall.E* names are inventions that no call returns.

// isLost reports the errnos with which a network or a peer breaks an
// established connection.
func isLost(errno syscall.Errno) bool { return slices.Contains(lostErrnos, errno) }

// isPeerReset reports the errnos that the peer's own end causes.
func isPeerReset(errno syscall.Errno) bool { return slices.Contains(resetErrnos, errno) }

// isBrokenPipe reports the errnos of a write whose half has ended, by us or by the
// peer. A reset is none of them: that is the peer's, whatever we have ended.
func isBrokenPipe(errno syscall.Errno) bool { return slices.Contains(brokenPipeErrnos, errno) }

// isNoMemory reports a passing lack of kernel memory.
func isNoMemory(errno syscall.Errno) bool { return slices.Contains(noMemoryErrnos, errno) }

func isTimeoutErrno(err error) bool { return slices.Contains(timeoutErrnos, errnoOf(err)) }

// connectFailure names the failure of a connect.
func connectFailure(err error) ConnectFailure {
	switch {
	case errors.Is(err, context.Canceled):
		return ConnectCanceled
	case errors.Is(err, context.DeadlineExceeded), isTimeoutErrno(err):
		return ConnectTimedOut
	}
	errno := errnoOf(err)
	switch {
	case slices.Contains(refusedErrnos, errno):
		return ConnectRefused
	case slices.Contains(hostUnreachableErrnos, errno):
		return ConnectHostUnreachable
	case slices.Contains(netUnreachableErrnos, errno):
		return ConnectNetworkUnreachable
	}
	return ConnectOther
}
