package uring

// A data handler gets nothing while much of what it wrote waits to be sent: it would
// answer, and what it writes has a limit.

// backlogged reports that nothing is to come for c's data handler.
func (l *loop) backlogged(c *conn) bool { return c.send.queued > l.set.config.WriteLimit/2 }

// keeps reports that there is data that was kept.
func (r *receiving) keeps() bool { return r.consumed < len(r.unread) }

// keptBack keeps data that came nevertheless, and reports whether it had to. A
// multishot receive that is being cancelled may still bring all that the socket had,
// and that can be more than WriteLimit.
func (l *loop) keptBack(c *conn, data []byte) bool {
	if !l.backlogged(c) && !c.receive.keeps() {
		return false
	}
	l.keep(c, data)
	l.touch(c)
	return true
}

// deliverKept gives the data handler of c what was kept, as far as it may get it.
func (l *loop) deliverKept(c *conn) {
	r := &c.receive
	for c.phase == phaseOpen && r.unread != nil && !l.backlogged(c) {
		if !r.keeps() {
			l.memory.putUnread(r.unread)
			r.unread, r.consumed = nil, 0
			return
		}
		data := r.unread[r.consumed:min(len(r.unread), r.consumed+largeBuffer)]
		r.consumed += len(data)
		l.callHandler(c, callData, data, nil)
	}
}
