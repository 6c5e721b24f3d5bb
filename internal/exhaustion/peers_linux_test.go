package exhaustion

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// stuck is what the peers say when they have done what they are for.
const stuck = "stuck"

// peers is the process: it connects, behaves as its kind does, and stays until its
// standard input ends, or its connections do.
func peers() any {
	n, _ := strconv.Atoi(os.Getenv(countVariable))
	behave := kinds[os.Getenv(kindVariable)]
	connections := make([]net.Conn, n)
	var all sync.WaitGroup
	const dialers = 8
	for d := range dialers {
		all.Go(func() {
			for i := d; i < n; i += dialers {
				c, err := net.Dial("unix", os.Getenv(addressVariable))
				for errors.Is(err, syscall.EAGAIN) { // the backlog is full
					time.Sleep(time.Millisecond)
					c, err = net.Dial("unix", os.Getenv(addressVariable))
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				connections[i] = c
			}
		})
	}
	all.Wait()
	_, _ = os.Stdin.Read(make([]byte, 1)) // go
	for _, c := range connections {
		all.Go(func() { behave(c) })
	}
	all.Wait()
	fmt.Print(stuck)
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(connections) // or the garbage collector closes some
	return n
}

var kinds = map[string]func(net.Conn){
	// busy ones echo for as long as they can.
	"busy": func(c net.Conn) {
		buf := make([]byte, 64)
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
		}
	},
	// silent ones say nothing.
	"silent": func(net.Conn) {},
	// slow ones send a few bytes, each on its own.
	"slow": func(c net.Conn) {
		for range slowBytes {
			_, _ = c.Write([]byte{'x'})
		}
	},
	// deaf ones ask, and never read the answers.
	"deaf": func(c net.Conn) { _, _ = c.Write([]byte("x")) },
	// half ones ask, end their half of the connection, and never read the answers.
	"half": func(c net.Conn) {
		_, _ = c.Write([]byte("x"))
		_ = c.(*net.UnixConn).CloseWrite()
	},
	// flooding ones send until nothing is taken for a while, and never read.
	"flooding": func(c net.Conn) {
		block := make([]byte, 64<<10)
		for {
			_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			if _, err := c.Write(block); err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					fmt.Fprintln(os.Stderr, err)
				}
				return
			}
		}
	},
}

const slowBytes = 8
