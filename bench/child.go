package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// ChildCommand is the first argument of a child process; the second is its
// role. See Child.
const ChildCommand = "bench-child"

// The roles of a child process.
const (
	roleServer = "server"
	roleLoad   = "load"
)

// request is one line to a child process, reply its one line of answer.
type request struct {
	Do       string        `json:"do"`
	Server   *serverSpec   `json:"server,omitempty"`
	Load     *loadSpec     `json:"load,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
}

type reply struct {
	Error string `json:"error,omitempty"`
	// Unavailable says that the error is an *ringfd.UnavailableError.
	Unavailable bool         `json:"unavailable,omitempty"`
	Ready       *serverReady `json:"ready,omitempty"`
	Mark        *serverMark  `json:"mark,omitempty"`
	Load        *LoadResult  `json:"load,omitempty"`
}

// The requests. A server understands start, mark and stop; a generator start,
// run and stop.
const (
	doStart = "start"
	doMark  = "mark"
	doRun   = "run"
	doStop  = "stop"
)

// Child is the whole of a child process in the given role: it answers requests
// on in, a JSON value per line, until it is told to stop. When in ends early,
// the parent is gone, and the process exits at once.
func Child(role string, in io.Reader, out io.Writer) error {
	// Ctrl-C reaches the whole process group; the parent decides what ends.
	signal.Ignore(os.Interrupt)
	var serve func(request) (reply, error)
	switch role {
	case roleServer:
		serve = new(serverChild).serve
	case roleLoad:
		serve = new(loadChild).serve
	default:
		return fmt.Errorf("unknown role %q of a child process", role)
	}
	requests := make(chan request)
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			var r request
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				fmt.Fprintln(os.Stderr, "bad request:", err)
				break
			}
			requests <- r
		}
		os.Exit(1)
	}()
	encoder := json.NewEncoder(out)
	for r := range requests {
		answer, err := serve(r)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
		if r.Do == doStop {
			return nil
		}
	}
	return nil
}
