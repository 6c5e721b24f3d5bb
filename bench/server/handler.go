package server

import (
	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/fd"
)

// Style is how a handler for Backend.Serve is written. See ringfd.Handler.
type Style string

// The styles.
const (
	Blocking Style = "blocking"
	Data     Style = "data"
)

// Handler returns the service as a handler for b.Serve. Fanout broadcasts with b.
func (s *Server) Handler(b *ringfd.Backend, style Style) ringfd.Handler {
	s.backend = b
	if style == Blocking {
		return ringfd.Handler{Blocking: func(f *fd.FD) {
			c := fdConnection{f}
			s.beginning(c)
			s.ending(c, reasonOf(s.serveWaiting(c)))
		}}
	}
	h := ringfd.Handler{
		Open: func(f *fd.FD) { s.beginning(fdConnection{f}) },
		End: func(f *fd.FD, err error) {
			s.requests.Delete(f)
			s.ending(fdConnection{f}, reasonOf(err))
		},
	}
	switch s.spec.Service {
	case control.Exchange:
		h.Data = func(f *fd.FD, data []byte) { closeAfter(f, s.requestOf(f).exchange(f, data)) }
	case control.Fanout:
		h.Data = func(f *fd.FD, data []byte) { s.fanoutData(s.requestOf(f), data) }
	default:
		h.Data = func(f *fd.FD, data []byte) {
			_, err := f.Write(data)
			closeAfter(f, err)
		}
	}
	return h
}

// serveWaiting is serve, but for what an idle connection costs: it has a buffer only
// while there is something for it.
func (s *Server) serveWaiting(c fdConnection) error {
	if s.spec.Service != control.Echo {
		return s.serve(c)
	}
	for {
		if err := c.WaitRead(); err != nil {
			return err
		}
		buffer := s.buffers.Get().(*[]byte)
		n, err := c.Read(*buffer)
		if err == nil {
			_, err = c.Write((*buffer)[:n])
		}
		s.buffers.Put(buffer)
		if err != nil {
			return err
		}
	}
}

// requestOf returns what f has of a request. A connection that says nothing has
// none.
func (s *Server) requestOf(f *fd.FD) *request {
	r, ok := s.requests.Load(f)
	if !ok {
		r = s.newRequest()
		s.requests.Store(f, r)
	}
	return r
}

func (s *Server) fanoutData(r *request, in []byte) {
	for len(in) > 0 {
		var complete bool
		if in, complete = r.take(in, r.size); complete {
			s.tellAll(r.text)
		}
	}
}

// closeAfter ends a connection whose reply was not taken: the generator waits
// for it in vain, and is to find out at once.
func closeAfter(f *fd.FD, err error) {
	if err != nil {
		_ = f.CloseWithReason(err)
	}
}
