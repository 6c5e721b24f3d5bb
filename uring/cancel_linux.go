package uring

import (
	"syscall"
	"unsafe"
)

// cancelAll ends the requests of a ring that is of no more use, by a duplicate of its
// descriptor: the original may be what was lost. It reports whether none of them will
// touch memory again, though they may not have completed: the kernel marks each before
// it returns, and looks at that mark before it goes on with one. What is sent without a
// copy is not ended by that.
//
// It waits for those who are in the kernel with the ring, whether it can do more or
// not. Reference: io_uring_register(2), IORING_REGISTER_SYNC_CANCEL (Linux 6.0).
func cancelAll(sysfd int, used Features) (letGo bool) {
	if !used.Has(FeatureSyncCancel) {
		// It is refused, behind the ring's lock. Most others would wait for the requests.
		_ = sysRegister(sysfd, unregisterPersonality, nil, 0)
		return false
	}
	arg := &syncCancelArg{fd: -1, flags: cancelEvery | cancelAny, timeout: [2]int64{1, 0}}
	errno := sysRegister(sysfd, registerSyncCancel, unsafe.Pointer(arg), 1)
	return errno == 0 || errno == syscall.ENOENT
}
