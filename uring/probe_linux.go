package uring

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	probeMu     sync.Mutex
	probeCached *Report
)

// Probe finds out, by trying, whether io_uring works here and which optional
// features it has. A conclusive answer is kept for the life of the process;
// one that a lack of descriptors or memory spoiled is not.
func Probe() Report {
	probeMu.Lock()
	defer probeMu.Unlock()
	if probeCached != nil {
		return *probeCached
	}
	r := probe()
	var u *Unavailable
	if r.Unknown == 0 && (r.Err == nil || errors.As(r.Err, &u) && u.final) {
		probeCached = &r
	}
	return r
}

func probe() Report {
	r := Report{
		Details: make(map[Features]string),
		Kernel:  readKernel(), Sysctl: readSysctl(), Seccomp: yesNo(readSeccomp()), Memlock: readMemlock(),
	}
	base, err := newSmallRing(0)
	if err != nil {
		r.Err = explain(err)
		return r
	}
	defer base.close()
	if missing := base.missing(); missing != "" {
		r.Err = explain(fmt.Errorf("%w: %s", errTooOld, missing))
		return r
	}
	if err := selfTest(base); err != nil {
		r.Err = explain(err)
		return r
	}
	p := prober{report: &r, ring: base, ops: base.opcodes()}
	p.run()
	return r
}

// missing names what the library cannot do without, or "".
func (r *ring) missing() string {
	for _, need := range []struct {
		bit  uint32
		name string
	}{
		{featNoDrop, "IORING_FEAT_NODROP (Linux 5.5)"},
		{featSubmitStable, "IORING_FEAT_SUBMIT_STABLE (Linux 5.5)"},
		{featFastPoll, "IORING_FEAT_FAST_POLL (Linux 5.7)"},
	} {
		if r.features&need.bit == 0 {
			return need.name
		}
	}
	ops := r.opcodes()
	if ops == nil {
		return "" // the self-test decides
	}
	for _, op := range []uint8{opPollAdd, opSendmsg, opAccept, opAsyncCancel, opConnect, opClose, opSend, opRecv} {
		if !ops[op] {
			return fmt.Sprintf("the operation with opcode %d", op)
		}
	}
	return ""
}

// opcodes asks which operations the kernel knows; nil if it does not say.
// Reference: io_uring_register(2), IORING_REGISTER_PROBE (Linux 5.6).
func (r *ring) opcodes() map[uint8]bool {
	const most = 256
	type probeOp struct {
		op, _ uint8
		flags uint16
		_     uint32
	}
	var arg struct {
		lastOp, opsLen uint8
		_              uint16
		_              [3]uint32
		ops            [most]probeOp
	}
	const supported = 1
	if errno := r.register(registerProbe, unsafe.Pointer(&arg), most); errno != 0 {
		return nil
	}
	ops := make(map[uint8]bool)
	for _, op := range arg.ops[:arg.opsLen] {
		ops[op.op] = op.flags&supported != 0
	}
	return ops
}

// prober tries the optional features one by one.
type prober struct {
	report *Report
	ring   *ring
	ops    map[uint8]bool
}

func (p *prober) run() {
	p.setup(FeatureSubmitAll, setupSubmitAll)
	p.setup(FeatureCoopTaskrun, setupCoopTaskrun)
	p.setup(FeatureTaskrunFlag, setupCoopTaskrun|setupTaskrunFlag)
	p.setup(FeatureNoSQArray, setupNoSQArray)
	p.setup(FeatureSingleIssuer, setupSingleIssuer)
	p.setup(FeatureDeferTaskrun, setupSingleIssuer|setupDeferTaskrun)
	p.bit(FeatureSkipSuccess, featCQESkip)
	p.bit(FeatureExtArg, featExtArg)
	p.bit(FeatureBundles, featBundle)
	p.bit(FeatureMinTimeout, featMinTimeout)
	p.opcode(FeatureSendZC, opSendZC)
	p.opcode(FeatureSendmsgZC, opSendmsgZC)
	p.try(FeaturePollFirst, p.pollFirst)
	p.try(FeatureBufferRing, func() error { return p.bufferRing(0) })
	p.try(FeatureBufferRingInc, func() error { return p.bufferRing(pbufRingInc) })
	p.try(FeatureMultishotRecv, p.multishotRecv)
	p.try(FeatureMultishotAccept, p.multishotAccept)
	p.try(FeatureNAPI, p.napi)
	p.try(FeatureSyncCancel, p.syncCancel)
	p.try(FeatureSendWaitAll, p.sendWaitAll)
	p.try(FeatureRestrictions, p.restrictions)
	p.try(FeatureSockNonempty, p.sockNonempty)
	p.try(FeatureUnixNonempty, p.unixNonempty)
	p.try(FeatureAcceptDontwait, p.acceptDontwait)
}

// answer files what a trial said: the feature is there, or not, or (for lack
// of memory or descriptors) it is not known.
func (p *prober) answer(f Features, err error) {
	switch {
	case err == nil:
		p.report.Found |= f
		return
	case errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, errNoCQE):
		p.report.Unknown |= f
	}
	p.report.Details[f] = err.Error()
}

func (p *prober) setup(f Features, flags uint32) {
	r, err := newSmallRing(flags)
	if err == nil {
		r.close()
	}
	p.answer(f, err)
}

func (p *prober) bit(f Features, bit uint32) {
	var err error
	if p.ring.features&bit == 0 {
		err = errors.New("the feature bit is not set")
	}
	p.answer(f, err)
}

func (p *prober) opcode(f Features, op uint8) {
	var err error
	if !p.ops[op] {
		err = errors.New("the operation is not known")
	}
	p.answer(f, err)
}

func (p *prober) try(f Features, trial func() error) { p.answer(f, trial()) }

// errNoCQE says that a trial's completion did not come.
var errNoCQE = errors.New("no completion came")

// do submits one request and waits for its completion.
func (r *ring) do(request sqe) (cqe, error) {
	r.push(&request)
	return r.await(1)
}

// await submits n requests and returns the next completion. It gives up after
// a second, which no trial needs.
func (r *ring) await(n uint32) (cqe, error) {
	if errno := r.enter(n, 0, 0); n > 0 && errno != 0 {
		return cqe{}, errno
	}
	for deadline := time.Now().Add(time.Second); r.ready() == 0; {
		wait := time.Until(deadline)
		if wait <= 0 {
			return cqe{}, errNoCQE
		}
		if _, err := sysPollIn(r.fd, int(wait.Milliseconds())+1); err != nil && err != syscall.EINTR {
			return cqe{}, err
		}
	}
	c := r.peek(0)
	r.advance(1)
	return c, nil
}

// result is the errno of a completion.
func (c cqe) result() error {
	if c.res < 0 {
		return syscall.Errno(-c.res)
	}
	return nil
}

// socketPair is two connected stream sockets.
type socketPair [2]int

func newSocketPair() (socketPair, error) {
	p, err := sysSocketpair()
	return p, err
}

func (p socketPair) close() {
	_ = sysClose(p[0])
	_ = sysClose(p[1])
}

// The buffers of the trials. They are never freed: a kernel that keeps a request
// longer than a trial waits may write to them for ever. probeMu guards them.
var (
	trialOut = []byte("ring")
	trialIn  = make([]byte, 8)
	trialBig = make([]byte, 64<<10) // more than a socket takes whose SO_SNDBUF is the least
)

// selfTest moves bytes and cancels a receive: what a ring lives on.
func selfTest(r *ring) error {
	pair, err := newSocketPair()
	if err != nil {
		return err
	}
	defer pair.close()
	c, err := r.do(sqe{opcode: opSend, fd: int32(pair[0]), addr: address(trialOut), len: length(trialOut), opFlags: unix.MSG_NOSIGNAL})
	if err == nil {
		err = c.result()
	}
	if err != nil {
		return fmt.Errorf("sending through the ring: %w", err)
	}
	c, err = r.do(sqe{opcode: opRecv, fd: int32(pair[1]), addr: address(trialIn), len: length(trialIn)})
	if err == nil {
		err = c.result()
	}
	if err != nil {
		return fmt.Errorf("receiving through the ring: %w", err)
	}
	if got := trialIn[:c.res]; string(got) != string(trialOut) {
		return fmt.Errorf("receiving through the ring: got %q for %q", got, trialOut)
	}
	if err := r.cancelTest(pair); err != nil {
		return fmt.Errorf("cancelling through the ring: %w", err)
	}
	return nil
}

// cancelTest looks for both completions; their order is not fixed.
func (r *ring) cancelTest(pair socketPair) error {
	const waiting, cancelling = 1, 2
	r.push(&sqe{opcode: opRecv, fd: int32(pair[1]), addr: address(trialIn), len: length(trialIn), userData: waiting})
	r.push(&sqe{opcode: opAsyncCancel, addr: waiting, userData: cancelling})
	toSubmit := uint32(2) // with the first wait
	for range 2 {
		c, err := r.await(toSubmit)
		toSubmit = 0
		switch {
		case err != nil:
			return err
		case c.userData == cancelling && c.res < 0:
			return c.result()
		case c.userData == waiting && c.res != -int32(syscall.ECANCELED) && c.res != -int32(syscall.EINTR):
			return fmt.Errorf("the receive ended with %d", c.res)
		}
	}
	return nil
}
