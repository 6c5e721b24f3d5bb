package uring

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// allowed is what a ring may do: the kernel refuses all other requests, and all
// other calls of io_uring_register, with EACCES. It binds whoever gets hold of the
// ring's descriptor or of its memory, and us; it cannot be taken back.
type allowed struct {
	ops       []uint8
	flags     uint8 // of requests
	registers []uint8
}

// allowedBatch is what the rings of the pollers need.
func allowedBatch(f Features) allowed {
	a := allowed{ops: []uint8{opRecv}, registers: []uint8{registerEnableRings}}
	if f.Has(FeatureAcceptDontwait) {
		a.ops = append(a.ops, opAccept)
	}
	return a
}

// allowedLoop is what the ring of a loop needs. Its buffers and NAPI are registered
// before it is restricted. Connecting is a goroutine's business.
func allowedLoop(f Features) allowed {
	a := allowed{
		ops:       []uint8{opRecv, opSend, opSendmsg, opAccept, opClose, opPollAdd, opAsyncCancel, opRead},
		registers: registersAllowed(f),
	}
	for _, zeroCopy := range []struct {
		feature Features
		op      uint8
	}{{FeatureSendZC, opSendZC}, {FeatureSendmsgZC, opSendmsgZC}} {
		if f.Has(zeroCopy.feature) { // the kernel refuses a list of what it does not know
			a.ops = append(a.ops, zeroCopy.op)
		}
	}
	if f.Has(FeatureSkipSuccess) {
		a.flags |= sqeSkipSuccess
	}
	if f.Has(FeatureBufferRing) {
		a.flags |= sqeBufferSelect
	}
	return a
}

// registersAllowed are the calls of io_uring_register that a ring in use needs: for its
// burial, see cancelAll.
func registersAllowed(f Features) []uint8 {
	if f.Has(FeatureSyncCancel) {
		return []uint8{registerEnableRings, registerSyncCancel}
	}
	return []uint8{registerEnableRings}
}

// setupRestricted are the flags for a ring that enable will restrict.
func setupRestricted(f Features) uint32 {
	if f.Has(FeatureRestrictions) {
		return setupRDisabled
	}
	return 0
}

// restriction is struct io_uring_restriction.
type restriction struct {
	kind  uint16
	value uint8 // a register opcode, an opcode, or flags
	_     uint8
	_     [3]uint32
}

const (
	restrictRegister = 0 // IORING_RESTRICTION_REGISTER_OP
	restrictOp       = 1 // IORING_RESTRICTION_SQE_OP
	restrictFlags    = 2 // IORING_RESTRICTION_SQE_FLAGS_ALLOWED
)

func (a allowed) restrictions() []restriction {
	list := []restriction{{kind: restrictFlags, value: a.flags}}
	for _, op := range a.ops {
		list = append(list, restriction{kind: restrictOp, value: op})
	}
	// The list of register opcodes must not be empty: kernels after 6.18 restrict
	// requests and registers apart, and either only if something is said of it.
	for _, op := range a.registers {
		list = append(list, restriction{kind: restrictRegister, value: op})
	}
	return list
}

// enable restricts a ring that was made disabled, and enables it. The thread that
// does so becomes the only issuer of a ring of SINGLE_ISSUER. Of other rings there
// is nothing to do. Reference: io_uring_register(2), IORING_REGISTER_RESTRICTIONS
// and IORING_REGISTER_ENABLE_RINGS (Linux 5.10).
func (r *ring) enable(a allowed) error {
	if r.setup&setupRDisabled == 0 {
		return nil
	}
	list := a.restrictions()
	if errno := r.register(registerRestrictions, unsafe.Pointer(unsafe.SliceData(list)), uint32(len(list))); errno != 0 {
		return fmt.Errorf("restricting the ring: %w", os.NewSyscallError("io_uring_register", errno))
	}
	if errno := r.register(registerEnableRings, nil, 0); errno != 0 {
		return fmt.Errorf("enabling the ring: %w", os.NewSyscallError("io_uring_register", errno))
	}
	return nil
}

// restrictions looks whether a restricted ring does what it may, and refuses the
// rest.
func (p *prober) restrictions() error {
	r, err := newSmallRing(setupRDisabled)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.enable(allowedLoop(p.report.Found)); err != nil {
		return err
	}
	c, err := r.do(sqe{opcode: opAsyncCancel, addr: 1})
	if err != nil {
		return err
	}
	if err := c.result(); !errors.Is(err, syscall.ENOENT) { // there is nothing to cancel
		return fmt.Errorf("a request that is allowed ended with: %v", err)
	}
	if c, err = r.do(sqe{opcode: opNop}); err != nil {
		return err
	}
	if err := c.result(); !errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("a request that is not allowed ended with: %v", err)
	}
	return nil
}
