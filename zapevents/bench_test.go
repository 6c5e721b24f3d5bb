package zapevents_test

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/zapevents"
)

// BenchmarkEvent shows what each event costs with every level off, which must
// allocate nothing, and logged as JSON to nowhere.
func BenchmarkEvent(b *testing.B) {
	ended := fd.Closed{
		ID: 1, Stats: fd.Stats{Read: 512, Written: 512}, Point: "127.0.0.1:9732", Peer: "idr7",
		Cause: &fd.Error{Op: "read", Reason: fd.ClosedByPeer, Err: io.EOF}, Reasons: []error{errors.New("banned")},
	}
	for _, c := range []struct {
		name string
		tell func(*fd.Events)
	}{
		{"create", func(e *fd.Events) { e.Create(1) }},
		{"connect", func(e *fd.Events) { e.Connect(1, "127.0.0.1:9732") }},
		{"accept", func(e *fd.Events) { e.Accept(1, "127.0.0.1:9732") }},
		{"try-read", func(e *fd.Events) { e.TryRead(1, 512) }},
		{"read", func(e *fd.Events) { e.Read(1, 512, 512) }},
		{"try-write", func(e *fd.Events) { e.TryWrite(1, 512) }},
		{"written", func(e *fd.Events) { e.Written(1, 512, 512) }},
		{"close", func(e *fd.Events) { e.Close(ended) }},
		{"close-error", func(e *fd.Events) { e.CloseError(1, syscall.EIO) }},
	} {
		b.Run("event="+c.name+"/log=off", func(b *testing.B) {
			_, events := counted(zap.ErrorLevel) // above that of every event
			if n := testing.AllocsPerRun(100, func() { c.tell(events) }); n != 0 {
				b.Fatalf("%v allocations for an event that is off, want none", n)
			}
			b.ReportAllocs()
			for b.Loop() {
				c.tell(events)
			}
		})
		b.Run("event="+c.name+"/log=on", func(b *testing.B) {
			log, events := counted(zap.DebugLevel)
			b.ReportAllocs()
			for b.Loop() {
				c.tell(events)
			}
			if log.lines < b.N {
				b.Fatalf("%d events made %d lines", b.N, log.lines)
			}
		})
	}
}

// lines counts the entries that are written to it, and keeps nothing.
type lines struct{ lines int }

func (l *lines) Write(p []byte) (int, error) {
	l.lines++
	return io.Discard.Write(p)
}

// counted returns events that are logged as JSON from level on.
func counted(level zapcore.Level) (*lines, *fd.Events) {
	log := new(lines)
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(log), level)
	return log, zapevents.New(zap.New(core))
}
