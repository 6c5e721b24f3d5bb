package uring

import (
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/child"
)

const (
	fairConnections = 200
	fairWindow      = 50 // messages per connection in a window, on average
	fairWindows     = 3
)

// closedLoop has a byte come and go on each descriptor that this process was given, one
// at a time, and is another process because it must not compete for the P. It returns how
// often that was, per connection and window: a window is over after so many messages of
// all together.
func closedLoop() any {
	n, err := strconv.Atoi(os.Getenv(pingConnections))
	if err != nil {
		panic(err)
	}
	const first = 3
	all, buf := make([]unix.PollFd, n), make([]byte, 1)
	send := func(i int) {
		if _, err := unix.Write(first+i, buf); err != nil {
			panic(err)
		}
	}
	for i := range all {
		all[i] = unix.PollFd{Fd: int32(first + i), Events: unix.POLLIN}
		send(i)
	}
	windows := make([][]int, fairWindows)
	for w := range windows {
		windows[w] = make([]int, n)
		for left := n * fairWindow; left > 0; {
			if _, err := unix.Poll(all, -1); err != nil && err != unix.EINTR {
				panic(err)
			}
			for i := range all {
				if all[i].Revents == 0 {
					continue
				}
				if n, err := unix.Read(first+i, buf); n != 1 {
					panic(err)
				}
				windows[w][i]++
				left--
				send(i)
			}
		}
	}
	for i := range all {
		_ = unix.Shutdown(first+i, unix.SHUT_WR)
	}
	return windows
}

// TestFair has closed-loop connections share a P with a goroutine that computes: in each
// window none gets less than half of the mean share.
func TestFair(t *testing.T) {
	for _, c := range []struct {
		name     string
		computes bool
	}{{"alone", false}, {"beside one that computes", true}} {
		t.Run(c.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			e := newEngine(t, Config{})
			client := child.Command("closed loop", pingConnections+"="+strconv.Itoa(fairConnections))
			client.Stderr = os.Stderr
			var echoes sync.WaitGroup
			for range fairConnections {
				s, peer := newPair(t, e)
				dup, err := unix.Dup(peer)
				if err != nil {
					t.Fatal(err)
				}
				f := os.NewFile(uintptr(dup), "peer")
				defer f.Close()
				client.ExtraFiles = append(client.ExtraFiles, f)
				echoes.Go(func() {
					if err := echo(s); err != nil {
						t.Error(err)
					}
				})
			}
			var stop atomic.Bool
			var computing sync.WaitGroup
			if c.computes {
				computing.Go(func() {
					for !stop.Load() {
					}
				})
			}
			out, err := client.Output()
			stop.Store(true)
			computing.Wait()
			echoes.Wait()
			var windows [][]int
			if err == nil {
				err = json.Unmarshal(out, &windows)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, counts := range windows {
				least, most := slices.Min(counts), slices.Max(counts)
				t.Logf("window %d: between %d and %d messages, %d on average", i, least, most, fairWindow)
				if 2*least < fairWindow {
					t.Errorf("window %d: a connection got %d messages where the mean is %d", i, least, fairWindow)
				}
			}
		})
	}
}
