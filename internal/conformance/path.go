package conformance

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/accept"
)

// pathCases are about the paths of unix listeners.
var pathCases = []Case{
	{Name: "UnixPathOfSuccessor", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		path := l.Addr().String()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		successor, err := e.Backend.Listen(t.Context(), "unix", path, defaultConfig)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantListening(t, path)
		_ = successor.Close()
		wantNoPath(t, path)
	}},
	{Name: "UnixPathTaken", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		path := l.Addr().String()
		if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("mine"), 0o600)); err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if text, err := os.ReadFile(path); string(text) != "mine" {
			t.Errorf("the file that has taken the path is gone: %v", err)
		}
	}},
	{Name: "UnixPathMoved", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		path := l.Addr().String()
		if err := os.Rename(path, path+"2"); err != nil {
			t.Fatal(err)
		}
		wantListening(t, path+"2")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path + "2"); err != nil {
			t.Errorf("the path that was moved away: %v", err)
		}
	}},
	{Name: "UnixUnlinkOnClose", Unix: true, Run: func(t *testing.T, e *Env) {
		// As *net.UnixListener: on by default, with a duplicate too.
		for _, unlink := range []bool{true, false} {
			for _, byBackend := range []bool{true, false} {
				b := e.own(t)
				l, err := b.Listen(t.Context(), "unix", e.Address(t), defaultConfig)
				if err != nil {
					t.Fatal(err)
				}
				path := l.Addr().String()
				if !unlink {
					var view net.Listener = l.NetListener()
					view.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
				}
				file, err := l.File()
				if err != nil {
					t.Fatal(err)
				}
				if byBackend {
					_ = b.Close()
				}
				_ = l.Close()
				if unlink {
					wantNoPath(t, path)
				} else {
					duplicate, err := net.FileListener(file)
					if err != nil {
						t.Fatal(err)
					}
					wantListening(t, path)
					c, err := duplicate.Accept()
					if err != nil {
						t.Fatal(err)
					}
					_, _ = c.Close(), duplicate.Close()
				}
				_, _ = file.Close(), b.Close()
			}
		}
	}},
	{Name: "UnixListenFailsWithoutPath", Unix: true, Run: func(t *testing.T, e *Env) {
		b := e.own(t)
		_ = b.Close()
		path := e.Address(t)
		if _, err := b.Listen(t.Context(), "unix", path, defaultConfig); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Listen after Backend.Close: %v", err)
		}
		wantNoPath(t, path)
		refusal := errors.New("not this one")
		_, err := e.Backend.Listen(t.Context(), "unix", path, accept.Config{Control: func(string, string, syscall.RawConn) error { return refusal }})
		if !errors.Is(err, refusal) {
			t.Errorf("Listen: %v", err)
		}
		wantNoPath(t, path)
	}},
	{Name: "UnixListenBusyKeepsPath", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		path := l.Addr().String()
		if _, err := e.Backend.Listen(t.Context(), "unix", path, defaultConfig); err == nil {
			t.Error("two listen on a path")
		}
		wantListening(t, path)
	}},
	{Name: "UnlinkOnCloseOfTCP", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		l.SetUnlinkOnClose(false) // which says nothing
		l.SetUnlinkOnClose(true)
	}},
}

// wantListening checks that somebody listens at a path.
func wantListening(t testing.TB, path string) {
	t.Helper()
	var d net.Dialer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		t.Fatalf("nobody listens there any more: %v", err)
	}
	_ = c.Close()
}

func wantNoPath(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path %s is left: %v", path, err)
	}
}
