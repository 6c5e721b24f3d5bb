package ringfd_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/internal/leak"
)

// TestDescriptors has a busy backend of each row: none of its descriptors survives
// exec, and no ring has a thread of the kernel that polls.
func TestDescriptors(t *testing.T) {
	for _, row := range conformance.Rows() {
		if row.Core {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			before := leak.Descriptors()
			b := row.Open(t)
			busy(t, b)
			kinds := make(map[string]int)
			for number, what := range leak.Descriptors() {
				if before[number] == what {
					continue
				}
				kind, _, _ := strings.Cut(what, ":[")
				if strings.HasPrefix(what, "anon_inode:") {
					kind = strings.Trim(strings.TrimPrefix(what, "anon_inode:"), "[]")
				}
				kinds[kind]++
				info, err := os.ReadFile("/proc/self/fdinfo/" + number)
				if err != nil {
					t.Fatal(err)
				}
				if flags, err := strconv.ParseUint(field(string(info), "flags"), 8, 64); err != nil || flags&closeOnExec == 0 {
					t.Errorf("descriptor %s, %s, survives exec: flags %#o, %v", number, what, flags, err)
				}
				// Kernels before 5.18 say nothing of it, or a thread that is 0 or -1.
				if thread := field(string(info), "SqThread"); kind == "io_uring" && thread != "" && thread != "-1" {
					t.Errorf("descriptor %s: thread %s of the kernel polls the ring", number, thread)
				}
			}
			want := map[string]int{"socket": 10}
			if b.Kind() == ringfd.IOUring {
				want["io_uring"], want["eventpoll"], want["eventfd"] = 1, 1, 1 // of a loop, a poller, a loop
			}
			for kind, n := range want {
				if kinds[kind] < n {
					t.Errorf("the backend has %d descriptors that are %s, want %d at least: %v", kinds[kind], kind, n, kinds)
				}
			}
		})
	}
}

const closeOnExec = 0o2000000 // O_CLOEXEC as /proc shows it

// field returns a field of /proc/…/fdinfo.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// busy has b accept and dial in all the ways there are, over TCP and unix sockets,
// until the end of the test.
func busy(t *testing.T, b *ringfd.Backend) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ringfd") // t.TempDir is too long for sun_path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for i, address := range []struct{ network, accepting, serving string }{
		{"tcp", "127.0.0.1:0", "127.0.0.1:0"},
		{"unix", filepath.Join(dir, "a"), filepath.Join(dir, "s")},
	} {
		listen := func(at string) *accept.Listener {
			l, err := b.Listen(t.Context(), address.network, at, accept.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return l
		}
		dial := func(to net.Addr) *fd.FD {
			f, err := b.Dial(t.Context(), address.network, to.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
		accepting, serving := listen(address.accepting), listen(address.serving)
		client := dial(accepting.Addr())
		server, _, err := accepting.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		for _, f := range []*fd.FD{client, server} {
			file, err := f.File()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = file.Close() })
		}

		ctx, cancel := context.WithCancel(t.Context())
		served, ready := make(chan error, 1), make(chan string, 2)
		go func() {
			served <- b.Serve(ctx, serving, ringfd.Handler{
				Open: func(f *fd.FD) { ready <- fmt.Sprint("served ", i) },
				Data: func(*fd.FD, []byte) {},
			})
		}()
		t.Cleanup(func() {
			cancel()
			<-served
		})
		dial(serving.Addr())
		<-ready
		ours, err := b.DialServe(t.Context(), address.network, accepting.Addr().String(), ringfd.Handler{Data: func(*fd.FD, []byte) {}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ours.Close() })
	}
}
