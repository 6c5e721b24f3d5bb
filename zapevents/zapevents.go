// Package zapevents logs the events of package fd with zap, as Octez logs
// them: under the name p2p.fd, with its event names, fields, messages and
// levels.
//
// Each entry carries the name of its event in the field "event". Debug:
// create_fd, close_fd, try_read, read_fd, try_write, written_fd, connect and
// accept. Info: close_fd_reason and close_fd_unknown_reason, one of them per
// connection. Warn: close_fd_error, and held_loop, leaked_fd and ring_lost, which
// Octez does not have.
// Byte counts are 64 bits wide.
package zapevents

import (
	"fmt"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ringfd/ringfd/fd"
)

// New returns events that are logged by l, named "p2p.fd" below l's own name.
// An event whose level is off costs the level check and nothing more; the
// level may change at any time. With a nil logger New returns nil, which
// disables the events.
func New(l *zap.Logger) *fd.Events {
	if l == nil {
		return nil
	}
	// The caller would always be this file.
	e := events{l.Named("p2p.fd").WithOptions(zap.WithCaller(false))}
	return &fd.Events{
		Create:     e.create,
		Close:      e.close,
		CloseError: e.closeError,
		TryRead:    e.tryRead,
		Read:       e.read,
		TryWrite:   e.tryWrite,
		Written:    e.written,
		Connect:    e.connect,
		Accept:     e.accept,
		Held:       e.held,
		Panic:      e.panicked,
		RingLost:   e.ringLost,
		Leaked:     e.leaked,
	}
}

type events struct{ log *zap.Logger }

// on is asked before anything is formatted.
func (e events) on(level zapcore.Level) bool { return e.log.Core().Enabled(level) }

func (e events) create(id uint64) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"create fd", event("create_fd"), connection(id))
}

func (e events) close(c fd.Closed) {
	if e.on(zap.DebugLevel) {
		stats := strconv.FormatUint(c.Read, 10) + "/" + strconv.FormatUint(c.Written, 10)
		e.log.Debug(cnx(c.ID)+"close fd (stats : "+stats+")", event("close_fd"), connection(c.ID),
			zap.Uint64("nread", c.Read), zap.Uint64("nwrit", c.Written))
	}
	if e.on(zap.InfoLevel) {
		e.disconnected(c)
	}
}

// disconnected logs the one line per connection that an operator reads. The
// connection id is ours: Octez leaves it out, and so the line could not be
// matched with those of the same connection.
func (e events) disconnected(c fd.Closed) {
	fields := []zap.Field{event("close_fd_unknown_reason"), connection(c.ID)}
	from := "disconnected from " + orUndefined(c.Point, "<Undefined_point>") +
		"#" + orUndefined(c.Peer, "<Undefined_peer_id>") + ": "
	if c.Point != "" {
		fields = append(fields, zap.String("point", c.Point))
	}
	if c.Peer != "" {
		fields = append(fields, zap.String("peer", c.Peer))
	}
	reasons := reasonsOf(c)
	if len(reasons) == 0 {
		e.log.Info(from+"unknown reason", fields...)
		return
	}
	fields[0] = event("close_fd_reason")
	e.log.Info(from+strings.Join(reasons, ", "), append(fields, zap.Strings("reason", reasons))...)
}

// reasonsOf lists the embedder's reasons, latest first, and then how the
// connection ended, unless we ended it. So only a Close that says nothing, of
// a connection that was well, has no reason.
func reasonsOf(c fd.Closed) []string {
	var reasons []string
	for _, r := range c.Reasons {
		reasons = append(reasons, r.Error())
	}
	if c.Cause != nil && c.Cause.Reason != fd.ClosedLocally {
		reasons = append(reasons, c.Cause.CloseReason())
	}
	return reasons
}

func (e events) closeError(id uint64, err error) {
	if !e.on(zap.WarnLevel) {
		return
	}
	e.log.Warn("socket related to connection "+strconv.FormatUint(id, 10)+" failed to close:"+err.Error(),
		event("close_fd_error"), connection(id), zap.Error(err))
}

func (e events) tryRead(id uint64, length int) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"try read "+strconv.Itoa(length), event("try_read"), connection(id),
		zap.Int("length", length))
}

func (e events) read(id uint64, n int, total uint64) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"read "+moved(n, total), event("read_fd"), connection(id),
		zap.Int("nread", n), zap.Uint64("nread_total", total))
}

func (e events) tryWrite(id uint64, length int) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"try write "+strconv.Itoa(length), event("try_write"), connection(id),
		zap.Int("length", length))
}

func (e events) written(id uint64, n int, total uint64) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"written "+moved(n, total), event("written_fd"), connection(id),
		zap.Int("nwrit", n), zap.Uint64("nwrit_total", total))
}

func (e events) connect(id uint64, socket string) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"connect "+socket, event("connect"), connection(id), zap.String("socket", socket))
}

func (e events) accept(id uint64, socket string) {
	if !e.on(zap.DebugLevel) {
		return
	}
	e.log.Debug(cnx(id)+"accept "+socket, event("accept"), connection(id), zap.String("socket", socket))
}

// held has the stack as a field of its own: zap's would be that of the watchdog.
func (e events) held(h fd.Held) {
	if !e.on(zap.WarnLevel) {
		return
	}
	e.log.Warn(cnx(h.ID)+"handler has held its loop for "+h.For.String(), event("held_loop"), connection(h.ID),
		zap.Duration("duration", h.For), zap.ByteString("stack", h.Stack))
}

// panicked has the stack as a field of its own: zap's would be that of the backend.
func (e events) panicked(id uint64, err *fd.PanicError) {
	if !e.on(zap.ErrorLevel) {
		return
	}
	e.log.Error(cnx(id)+"handler panicked: "+fmt.Sprint(err.Value), event("handler_panic"), connection(id),
		zap.ByteString("stack", err.Stack))
}

func (e events) ringLost(err error) {
	if e.on(zap.WarnLevel) {
		e.log.Warn("a ring is lost: "+err.Error(), event("ring_lost"), zap.Error(err))
	}
}

func event(name string) zap.Field { return zap.String("event", name) }

func connection(id uint64) zap.Field { return zap.Uint64("connection_id", id) }

func cnx(id uint64) string { return "cnx:" + strconv.FormatUint(id, 10) + ":" }

func moved(n int, total uint64) string {
	return strconv.Itoa(n) + " (" + strconv.FormatUint(total, 10) + ")"
}

func orUndefined(s, undefined string) string {
	if s == "" {
		return undefined
	}
	return s
}

func (e events) leaked(l fd.Leaked) {
	if !e.on(zap.WarnLevel) {
		return
	}
	e.log.Warn(cnx(l.ID)+"fd was lost without a close", event("leaked_fd"), connection(l.ID),
		zap.String("point", l.Point), zap.ByteString("made", l.Made))
}
