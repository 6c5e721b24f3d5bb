package simkernel

import "syscall"

// Weights say how often things happen, in a thousand.
type Weights struct {
	Delay      int // a request that could end at once ends later
	Fail       int // a request fails, with an errno of its manual page
	Cancelled  int // a request ends as cancelled, and nobody asked
	Short      int // a transfer moves less than it could
	DropMore   int // a multishot ends after a success
	NoBuffer   int // a receive finds no buffer though there are some
	EnterEINTR int
	EnterAgain int // EAGAIN or EBUSY, nothing submitted
	EnterShort int // fewer requests are taken
	Die        int // the ring dies, in a hundred thousand
	Setup      int // setup or register is refused
	Scribble   int // the kernel writes to receive buffers that it owns
	Reset      int // a connection is reset
	LateCancel int // a cancelled request ends later
	LateNotif  int // a zero-copy send's memory is held longer
	ZCRefused  int // EOPNOTSUPP of a zero-copy send
	Partial    int // only a part of what is under way arrives
	LateEvent  int // an epoll event comes later
	Spurious   int // an epoll event comes that says nothing new
}

// RandomWeights draws weights, each of which is often zero.
func RandomWeights(d *Dice) Weights {
	draw := func(most int) int {
		if d.Roll(400) {
			return 0
		}
		return d.N(most + 1)
	}
	w := Weights{
		Delay: draw(900), Cancelled: draw(60), Short: draw(500), DropMore: draw(300), NoBuffer: draw(60),
		EnterEINTR: draw(150), EnterAgain: draw(150), EnterShort: draw(300), Scribble: draw(300),
		LateCancel: draw(900), LateNotif: draw(900), ZCRefused: draw(200), Partial: draw(900),
	}
	if d.Roll(500) {
		w.Fail, w.Reset, w.Setup = draw(30), draw(30), draw(100)
	}
	w.LateEvent, w.Spurious = draw(900), draw(300)
	return w
}

// Mutant is a rule that the kernel breaks on purpose, to show that a check finds it.
type Mutant string

// The mutants.
const (
	MutantTwice      Mutant = "complete twice"
	MutantNever      Mutant = "complete never"
	MutantLoseByte   Mutant = "lose a byte"
	MutantDoubleByte Mutant = "double a byte"
	MutantCross      Mutant = "cross two connections"
	MutantSameBuffer Mutant = "hand out one buffer twice"
	MutantLateWrite  Mutant = "write after the completion"
	MutantLeakFD     Mutant = "leak a descriptor"
	MutantCloseTwice Mutant = "close twice"
	MutantTwoRecvs   Mutant = "receive twice at once"
	MutantReuse      Mutant = "close before the request is submitted"
	MutantShortQuiet Mutant = "say nothing of a short send"
	MutantLostEdge   Mutant = "lose an epoll event"
	MutantNoMore     Mutant = "say that a socket is empty that is not"
)

// Mutants are all of them.
var Mutants = []Mutant{
	MutantTwice, MutantNever, MutantLoseByte, MutantDoubleByte, MutantCross, MutantSameBuffer, MutantLateWrite,
	MutantLeakFD, MutantCloseTwice, MutantTwoRecvs, MutantReuse, MutantShortQuiet, MutantLostEdge, MutantNoMore,
}

// The errnos of the manual pages, recv(2) and so on, and those of the protocols
// that show there.
var (
	recvErrnos = []syscall.Errno{
		syscall.EAGAIN, syscall.EBADF, syscall.ECONNREFUSED, syscall.EFAULT, syscall.EINTR, syscall.EINVAL,
		syscall.ENOMEM, syscall.ENOTCONN, syscall.ENOTSOCK, syscall.ECONNRESET, syscall.ETIMEDOUT,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EIO, syscall.ECONNABORTED,
	}
	sendErrnos = []syscall.Errno{
		syscall.EACCES, syscall.EAGAIN, syscall.EALREADY, syscall.EBADF, syscall.ECONNRESET, syscall.EDESTADDRREQ,
		syscall.EFAULT, syscall.EINTR, syscall.EINVAL, syscall.EISCONN, syscall.EMSGSIZE, syscall.ENOBUFS,
		syscall.ENOMEM, syscall.ENOTCONN, syscall.ENOTSOCK, syscall.EOPNOTSUPP, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	}
	acceptErrnos = []syscall.Errno{
		syscall.EAGAIN, syscall.EBADF, syscall.ECONNABORTED, syscall.EFAULT, syscall.EINTR, syscall.EINVAL,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOTSOCK, syscall.EOPNOTSUPP,
		syscall.EPERM, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.ENONET,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ESOCKTNOSUPPORT, syscall.EPROTONOSUPPORT, syscall.ETIMEDOUT,
	}
	connectErrnos = []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EADDRINUSE, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EAGAIN,
		syscall.EALREADY, syscall.EBADF, syscall.ECONNREFUSED, syscall.EFAULT, syscall.EINPROGRESS, syscall.EINTR,
		syscall.ENETUNREACH, syscall.ENOTSOCK, syscall.EPROTOTYPE, syscall.ETIMEDOUT, syscall.EHOSTUNREACH,
	}
	closeErrnos = []syscall.Errno{syscall.EINTR, syscall.EIO, syscall.ENOSPC, syscall.EDQUOT}
	pollErrnos  = []syscall.Errno{syscall.EINVAL, syscall.ENOMEM, syscall.EINTR}
	readErrnos  = []syscall.Errno{syscall.EAGAIN, syscall.EINTR, syscall.EIO, syscall.EINVAL, syscall.EBADF, syscall.EFAULT}
	setupErrnos = []syscall.Errno{syscall.EFAULT, syscall.EINVAL, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EPERM}
	buffErrnos  = []syscall.Errno{syscall.EINVAL, syscall.ENOMEM, syscall.EEXIST, syscall.EFAULT}
	dieErrnos   = []syscall.Errno{syscall.EBADR, syscall.ENXIO, syscall.EOWNERDEAD, syscall.EBADFD, syscall.EOPNOTSUPP}
)

func errnosOf(opcode uint8) []syscall.Errno {
	switch opcode {
	case opRecv:
		return recvErrnos
	case opSend, opSendmsg, opSendZC, opSendmsgZC:
		return sendErrnos
	case opAccept:
		return acceptErrnos
	case opConnect:
		return connectErrnos
	case opClose:
		return closeErrnos
	case opPollAdd:
		return pollErrnos
	case opRead:
		return readErrnos
	}
	return nil
}
