package uring

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProcs changes the number of Ps while connections echo, up to more than there are
// cores, and back: every byte comes back, pollers are added as connections come, and
// none is lost.
func TestProcs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	e := newEngine(t, Config{})
	const added = 16 // connections, per number of Ps
	var all sync.WaitGroup
	var stop atomic.Bool
	var rounds []*atomic.Int64
	var both [][2]*Socket
	start := func(i int) {
		server, peer := newPair(t, e)
		client := e.NewSocket(nil)
		dup, err := unix.FcntlInt(uintptr(peer), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			err = unix.SetNonblock(dup, true)
		}
		if err == nil {
			err = client.open(int32(dup), unix.AF_UNIX)
		}
		if err != nil {
			t.Fatal(err)
		}
		done := new(atomic.Int64)
		rounds = append(rounds, done)
		both = append(both, [2]*Socket{server, client})
		all.Go(func() {
			if err := echo(server); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
		all.Go(func() {
			defer client.Close()
			defer client.CloseWrite()
			for round := 0; !stop.Load(); round++ {
				want := make([]byte, 1+(i*7919+round*104729)%3000)
				for at := range want {
					want[at] = byte(i + round + at)
				}
				if _, err := client.Write(want); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("connection %d: other bytes came back in round %d, or: %v", i, round, err)
					return
				}
				done.Add(1)
			}
		})
	}
	most := 1
	for _, procs := range []int{1, 2, 4, 8, 2, 1, 8} {
		runtime.GOMAXPROCS(procs)
		before := len(*e.pollers.Load())
		for range added {
			start(len(rounds))
		}
		most = max(most, e.wantedPollers())
		if n := len(*e.pollers.Load()); n != most || n < before {
			t.Errorf("with %d Ps there are %d pollers, want %d; before there were %d", procs, n, most, before)
		}
		since := make([]int64, len(rounds))
		for i, done := range rounds {
			since[i] = done.Load()
		}
		behind := func() (all []int) {
			for i, done := range rounds {
				if done.Load() < since[i]+20 {
					all = append(all, i)
				}
			}
			return all
		}
		for end := time.Now().Add(10 * time.Second); len(behind()) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				for _, i := range behind() {
					for _, s := range both[i] {
						there, _ := unix.IoctlGetInt(int(s.sysfd), unix.TIOCINQ)
						t.Errorf("connection %d waits in the states %#x and %#x with %d bytes there", i, s.read.state.Load(), s.write.state.Load(), there)
					}
				}
				break
			}
		}
	}
	if most < 2 {
		t.Errorf("with 8 Ps %d pollers are wanted", most)
	}
	used := 0
	for _, p := range *e.pollers.Load() {
		if p.wakeups.Load() > 0 {
			used++
		}
	}
	if used != most {
		t.Errorf("%d of %d pollers were ever woken", used, most)
	}
	stop.Store(true)
	all.Wait()
}
