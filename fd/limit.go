package fd

import "syscall"

// The limits of this library, as errors that name them: errors.Is finds them.
var (
	// ErrWriteLimit is the error of a Data handler's Write while more than
	// Options.Loops.WriteLimit of its connection waits to be sent. It is Retryable, and
	// the Write has taken nothing.
	ErrWriteLimit error = &limitError{
		"more than Options.Loops.WriteLimit waits to be sent, because the peer does not read: write less, close the connection, or raise the limit",
		noMemoryErrnos[0],
	}
	// ErrSlowConsumer is the error of a connection that had taken a part of a Broadcast
	// when its context ended. The connection is closed.
	ErrSlowConsumer error = &limitError{
		"the peer is too slow for the Broadcast's context, and what it would get next would be torn: give it longer, or drop the peer", 0,
	}
)

// limitError is a limit of ours, under an errno that says what to do about it.
type limitError struct {
	text  string
	errno syscall.Errno // 0: none
}

func (e *limitError) Error() string { return e.text }

func (e *limitError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}
