package conformance

import (
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// allocCases count allocations, of the whole process.
var allocCases = []Case{
	{Name: "ReadAndWriteAllocateNothing", Core: true, Run: func(t *testing.T, e *Env) {
		client, server := e.Pair(t)
		message, buf := make([]byte, 64), make([]byte, 64)
		wantNoAllocs(t, func() {
			if _, err := client.Write(message); err != nil {
				t.Fatal(err)
			}
			readAll(t, server, buf)
		})
	}},
	{Name: "WaitingReadsAllocateNothing", Core: true, Run: func(t *testing.T, e *Env) {
		client, server := e.Pair(t)
		echoed := async(func() bool {
			buf := make([]byte, 64)
			for {
				n, err := server.Read(buf)
				if err != nil {
					return true
				}
				if _, err := server.Write(buf[:n]); err != nil {
					return true
				}
			}
		})
		wantEchoWithoutAllocs(t, client, echoed)
	}},
}

// wantEchoWithoutAllocs has the other end of client echo, until echoed tells its end.
func wantEchoWithoutAllocs(t *testing.T, client *fd.FD, echoed <-chan bool) {
	t.Helper()
	message, buf := make([]byte, 64), make([]byte, 64)
	wantNoAllocs(t, func() {
		if _, err := client.Write(message); err != nil {
			t.Fatal(err)
		}
		readAll(t, client, buf)
	})
	_ = client.Close()
	await(t, echoed, "the end of the echo")
}

func wantNoAllocs(t *testing.T, f func()) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates; a run without -race would make this run")
	}
	if n := testing.AllocsPerRun(500, f); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

func readAll(t *testing.T, f *fd.FD, buf []byte) {
	for got := 0; got < len(buf); {
		n, err := f.Read(buf[got:])
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
}
