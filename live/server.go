package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// maxRequest is the longest line that is taken for a request, in bytes.
const maxRequest = 4 << 10

// getSnapshot is the one request.
const getSnapshot = "snapshot"

type request struct {
	Get string `json:"get"`
}

type answer struct {
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Server answers on one socket.
type Server struct {
	source  Source
	about   Snapshot
	backend *ringfd.Backend // of the socket
	handled sync.WaitGroup  // connections
	ended   chan error      // of the accept loop
}

// Serve listens on a unix socket at path, and shows source to whoever asks
// there, until Close. It returns as soon as it listens.
//
// The socket has mode 0600, from its birth on Linux, a moment later on other
// systems; on Windows, which has no modes, its folder decides who may open it.
// A socket that is left over from a process that ended is removed first. The
// error is an *accept.ListenError.
func Serve(path string, source Source) (*Server, error) {
	backend, err := ringfd.Open(ringfd.Options{Backend: ringfd.Net})
	if err != nil {
		return nil, err // of RINGFD_WITHOUT
	}
	l, err := listen(backend, path)
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	s := &Server{source: source, about: about(source), backend: backend, ended: make(chan error, 1)}
	go func() {
		err := accept.Loop{}.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) {
			s.handled.Go(func() { s.serve(f) })
		})
		if err != nil { // nobody would answer those that wait to be accepted
			_ = l.Close()
		}
		s.ended <- err
	}()
	return s, nil
}

// Close ends every connection, and removes the socket. When it returns, nothing
// is left of the Server. Closing again returns net.ErrClosed.
func (s *Server) Close() error {
	if err := s.backend.Close(); err != nil {
		return err
	}
	err := <-s.ended
	s.handled.Wait()
	return err
}

// serve answers on one connection.
func (s *Server) serve(f *fd.FD) {
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, maxRequest)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.send(f, answer{Error: fmt.Sprintf("the request is longer than %d bytes", maxRequest)})
			return
		}
		if err != nil || !s.send(f, s.answer(line)) {
			return // the peer has ended, or Close was called
		}
	}
}

func (s *Server) answer(line []byte) answer {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return answer{Error: fmt.Sprintf(`the request is not JSON: %v; ask {"get":%q}`, err, getSnapshot)}
	}
	if r.Get != getSnapshot {
		return answer{Error: fmt.Sprintf("this version does not know %q: it has %q", r.Get, getSnapshot)}
	}
	snapshot := s.about
	snapshot.Uptime = time.Since(snapshot.Started)
	snapshot.Stats = s.source.Stats()
	return answer{Snapshot: &snapshot}
}

// send reports whether a was sent.
func (s *Server) send(f *fd.FD, a answer) bool {
	text, err := json.Marshal(a)
	if err != nil {
		return false // no answer has what JSON has not
	}
	_, err = f.Write(append(text, '\n'))
	return err == nil
}

// listen listens at path once nothing is in the way.
func listen(backend *ringfd.Backend, path string) (*accept.Listener, error) {
	ctx := context.Background()
	failed := func(err error, hint string) (*accept.Listener, error) {
		return nil, &accept.ListenError{Reason: err, Address: path, Hint: hint}
	}
	if path == "" || strings.HasPrefix(path, "@") {
		return failed(errors.New("the path is not that of a file"), "give a path: abstract unix sockets are open to everyone")
	}
	if hint, err := clear(ctx, backend, path); err != nil {
		return failed(err, hint)
	}
	l, err := backend.Listen(ctx, "unix", path, accept.Config{Control: private})
	if err != nil {
		return failed(errors.Unwrap(err), hintOf(err, path))
	}
	if err := restrict(path); err != nil {
		return failed(errors.Join(err, l.Close()), "use a file system that has modes")
	}
	return l, nil
}

// clear removes the socket that a process left at path when it ended. Two
// processes that do so at the same moment can be in each other's way: then one of
// them serves a socket that has lost its name.
func clear(ctx context.Context, backend *ringfd.Backend, path string) (hint string, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return hintOf(err, path), err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return "remove it, or give another path", errors.New("there is a file that is no socket")
	}
	f, err := backend.Dial(ctx, "unix", path)
	if err == nil {
		return "stop it, or give another path", errors.Join(errors.New("a process serves this path"), f.Close())
	}
	if e, ok := errors.AsType[*fd.Error](err); !ok || e.Connect != fd.ConnectRefused {
		return hintOf(err, path), err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return hintOf(err, path), err
	}
	return "", nil
}

// maxPath is what every system has room for (sockaddr_un: 108 bytes on Linux and
// Windows, 104 on the BSDs and macOS, with a zero at the end).
const maxPath = 103

// hintOf says what to do about an error of path, where that is known.
func hintOf(err error, path string) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "make its folder first"
	case errors.Is(err, os.ErrPermission):
		return "give a path in a folder of your own"
	case len(path) > maxPath:
		return fmt.Sprintf("the path has %d bytes: a unix socket's has at most %d", len(path), maxPath)
	}
	return ""
}
