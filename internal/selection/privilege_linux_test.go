package selection

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/child"
)

// dropped is what a process that was root, and is not any more, may do through a
// backend.
type dropped struct {
	Err string
	ID  int // the user that it became

	AsRoot, Before, After access

	// Threads are those that are still root's, and those of the kernel that work
	// for rings.
	Threads []string
}

// access is what a backend made of two unix sockets of root: one for root alone, one
// for everybody.
type access struct {
	Closed, Open string
	// Peer is the user whom the other end of a connection sees: of one that was
	// dialled, and of one that DialServe made.
	Peer, ServedPeer int
}

// socketsEnv names the folder of the sockets.
const socketsEnv = "RINGFD_TEST_SOCKETS"

// TestRootDropped: what goes through a ring has the privileges of the process as
// they are, not those that it once had. The ring that was made before the drop is
// no exception.
func TestRootDropped(t *testing.T) {
	needRing(t)
	if os.Getuid() != 0 {
		t.Skip("needs root, to give it up")
	}
	if disabled() == "1" {
		t.Skip("needs kernel.io_uring_disabled to be 0: with 1 only root makes rings")
	}
	dir, err := os.MkdirTemp("/tmp", "ringfd") // everybody may search /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var got dropped
	child.Run(t, "root dropped", &got, "RINGFD_BACKEND=", "RINGFD_WITHOUT=", socketsEnv+"="+dir)
	if got.Err != "" {
		t.Fatal(got.Err)
	}
	if want := (access{}); got.AsRoot != want {
		t.Errorf("as root: %+v, want %+v", got.AsRoot, want)
	}
	want := access{Closed: "permission denied", Peer: got.ID, ServedPeer: got.ID}
	if got.After != want {
		t.Errorf("on a backend of the ordinary user: %+v, want %+v", got.After, want)
	}
	if got.Before != want {
		t.Errorf("on the backend that root made, after the drop: %+v, want %+v", got.Before, want)
	}
	if len(got.Threads) > 0 {
		t.Errorf("threads that are root's, or the kernel's for rings: %v", got.Threads)
	}
}

func rootDropped() any {
	d := &dropped{}
	if err := d.run(os.Getenv(socketsEnv)); err != nil {
		d.Err = err.Error()
	}
	return d
}

func (d *dropped) run(dir string) error {
	closed, err := newRootSocket(dir, "closed", 0o600)
	if err != nil {
		return err
	}
	everybody, err := newRootSocket(dir, "open", 0o666)
	if err != nil {
		return err
	}
	before, err := ringfd.Open(ringfd.Options{Backend: ringfd.IOUring})
	if err != nil {
		return err
	}
	if d.AsRoot, err = look(before, closed, everybody); err != nil {
		return err
	}
	d.ID = child.DropRoot()
	after, err := ringfd.Open(ringfd.Options{Backend: ringfd.IOUring})
	if err != nil {
		return err
	}
	if d.After, err = look(after, closed, everybody); err != nil {
		return err
	}
	if d.Before, err = look(before, closed, everybody); err != nil {
		return err
	}
	d.Threads, err = suspects(d.ID)
	return errors.Join(err, after.Close(), before.Close())
}

func newRootSocket(dir, name string, mode os.FileMode) (*net.UnixListener, error) {
	path := filepath.Join(dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), os.Chmod(path, mode)
}

// look connects to both sockets, and in both ways to the one that is open.
func look(b *ringfd.Backend, closed, everybody *net.UnixListener) (a access, err error) {
	ctx := context.Background()
	f, err := b.Dial(ctx, "unix", closed.Addr().String())
	if err == nil {
		err = errors.Join(f.Close(), accepted(closed, nil))
	} else if errno := syscall.Errno(0); errors.As(err, &errno) {
		a.Closed, err = errno.Error(), nil
	}
	if err != nil {
		return a, err
	}
	if f, err = b.Dial(ctx, "unix", everybody.Addr().String()); err != nil {
		return a, err
	}
	if err := errors.Join(accepted(everybody, &a.Peer), f.Close()); err != nil {
		return a, err
	}
	f, err = b.DialServe(ctx, "unix", everybody.Addr().String(), ringfd.Handler{Data: func(*fd.FD, []byte) {}})
	if err != nil {
		return a, err
	}
	if err := errors.Join(accepted(everybody, &a.ServedPeer), f.Close()); err != nil {
		return a, err
	}
	return a, serves(b)
}

// accepted accepts a connection and finds out whose it is.
func accepted(l *net.UnixListener, user *int) error {
	c, err := l.AcceptUnix()
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	failed := raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	if user != nil {
		*user = int(peer.Uid)
	}
	return nil
}

// serves shows that the loops of b still serve.
func serves(b *ringfd.Backend) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := b.Listen(ctx, "tcp", "127.0.0.1:0", accept.Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	served, opened := make(chan error, 1), make(chan struct{})
	go func() {
		served <- b.Serve(ctx, l, ringfd.Handler{Open: func(*fd.FD) { close(opened) }, Data: func(*fd.FD, []byte) {}})
	}()
	f, err := b.Dial(ctx, "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer f.Close()
	select {
	case <-opened:
		return nil
	case err := <-served:
		return fmt.Errorf("Serve ended with %w", err)
	}
}

// suspects returns the threads of this process that are not the user's, and those
// that the kernel made for rings (iou-wrk, iou-sqp).
func suspects(user int) (found []string, err error) {
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		name, owners := "", ""
		for line := range strings.Lines(string(b)) {
			if value, ok := strings.CutPrefix(line, "Name:"); ok {
				name = strings.TrimSpace(value)
			}
			if value, ok := strings.CutPrefix(line, "Uid:"); ok {
				owners = strings.TrimSpace(value)
			}
		}
		all := fmt.Sprintf("%[1]d\t%[1]d\t%[1]d\t%[1]d", user)
		if owners != all || strings.HasPrefix(name, "iou-") {
			found = append(found, name+" of "+owners)
		}
	}
	return found, nil
}
