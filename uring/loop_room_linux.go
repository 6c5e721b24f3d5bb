package uring

import (
	"os"

	"golang.org/x/sys/unix"
)

// A send that waited for room would wait in the kernel, and on a connection whose peer
// has shut its half down it would have a thread there: io_uring's own poll ends at once
// on such a socket, whatever it was asked for (IO_POLL_UNMASK has POLLRDHUP), and after
// some tries the request is given to a worker. So the sends of a loop take what room
// there is. A socket that has none is registered with an epoll instance of the loop,
// which tells of room alone and is what the ring polls.

// roomEvents is how many sockets with room are taken from epoll at once.
const roomEvents = 64

// waitForRoom has c send no more until its socket has room. What it has to send leaves
// the memory that it shares with others.
func (l *loop) waitForRoom(c *conn) {
	if c.phase >= phaseEnding {
		return // nothing more is sent
	}
	for p := c.send.first; p != nil; p = p.next {
		if p.chunk != nil {
			l.makePrivate(p)
		}
	}
	errno := sysEpollAwaitRoom(l.roomFD, c.sysfd, c.userData(kindSend), c.send.watched)
	if errno != 0 {
		l.sendFailed(c, os.NewSyscallError("epoll_ctl", errno))
		return
	}
	c.send.full, c.send.watched = true, true
	if c.isData() && c.phase == phaseOpen {
		l.waits(c, timerWrite) // nobody waits but the connection
	}
}

// awaitRoom has room in any socket complete a request.
func (l *loop) awaitRoom() {
	l.own++
	l.push(&sqe{opcode: opPollAdd, fd: int32(l.roomFD), opFlags: pollEvents(unix.POLLIN), userData: kindRoom})
}

// takeRoom has the connections go on whose sockets have room. If there are more of them,
// the next request completes at once.
func (l *loop) takeRoom() {
	for i := range sysEpollWait(l.roomFD, l.roomed[:]) {
		if c := l.conns.find(tokenOf(&l.roomed[i])); c != nil {
			c.send.full = false
			l.touch(c)
		}
	}
}
