package glue

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestWhose fails where the connections of all other tests are not whose they should be.
func TestWhose(t *testing.T) {
	listen, conn := "*net.%sListener", "*net.%sConn"
	if kind := os.Getenv("RINGFD_FOREIGN"); kind == "net" || kind == "io_uring" {
		listen, conn = "*accept.NetListener%.0s", "*fd.Conn%.0s"
	}
	for network, c := range map[string]struct{ address, name string }{
		"tcp":  {"localhost:0", "TCP"},
		"tcp4": {"127.0.0.1:0", "TCP"},
		"unix": {filepath.Join(t.TempDir(), "s"), "Unix"},
	} {
		l, err := net.Listen(network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if got, want := fmt.Sprintf("%T", l), fmt.Sprintf(listen, c.name); got != want {
			t.Errorf("Listen of %s gave a %s instead of a %s", network, got, want)
		}
		a, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, got := range []net.Conn{a, b} {
			if got, want := fmt.Sprintf("%T", got), fmt.Sprintf(conn, c.name); got != want {
				t.Errorf("a connection of %s is a %s instead of a %s", network, got, want)
			}
		}
	}
}
