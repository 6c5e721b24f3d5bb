package uring

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// mapping is a part of the address space, as /proc/self/smaps has it.
type mapping struct {
	start, end uintptr
	name       string
	flags      []string
}

func mappings(t *testing.T) (all []mapping) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			all[len(all)-1].flags = strings.Fields(flags)
			continue
		}
		var m mapping
		if n, _ := fmt.Sscanf(line, "%x-%x", &m.start, &m.end); n == 2 {
			if fields := strings.Fields(line); len(fields) > 5 {
				m.name = fields[5]
			}
			all = append(all, m)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func (m mapping) has(flag string) bool {
	for _, f := range m.flags {
		if f == flag {
			return true
		}
	}
	return false
}

// TestMemoryIsNotForked: the memory of rings, and that of the buffers which the
// kernel writes to by itself, is not there in a forked child (MADV_DONTFORK).
func TestMemoryIsNotForked(t *testing.T) {
	e := newEngine(t, Config{})
	exchange(t, e)
	set, err := e.startLoops() // they have started
	if err != nil {
		t.Fatal(err)
	}
	const dontCopy = "dc"
	all := mappings(t)
	rings := 0
	for _, m := range all {
		if strings.Contains(m.name, "io_uring") {
			rings++
			if !m.has(dontCopy) {
				t.Errorf("a forked child would get the ring's memory at %x-%x: %v", m.start, m.end, m.flags)
			}
		}
	}
	if want := len(batchRings(t, e)) + len(set.all); rings < want {
		t.Errorf("%d mappings of rings are there, for %d rings", rings, want)
	}
	for i, l := range set.all {
		if l.buffers == nil {
			continue
		}
		for _, memory := range [][]byte{l.buffers.ring, l.buffers.memory} {
			start := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
			found := false
			for _, m := range all {
				if m.start <= start && start < m.end {
					found = true
					if !m.has(dontCopy) || m.end-start < uintptr(len(memory)) {
						t.Errorf("a forked child would get the buffers of loop %d at %x-%x: %v", i, m.start, m.end, m.flags)
					}
				}
			}
			if !found {
				t.Errorf("the buffers of loop %d are not in /proc/self/smaps", i)
			}
		}
	}
}

// exchange moves bytes between a goroutine and a connection that the loops serve.
func exchange(t *testing.T, e *Engine) {
	t.Helper()
	l, err := e.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- e.Serve(ctx, l, fd.Handler{Data: func(f *fd.FD, data []byte) { _, _ = f.Write(data) }})
	}()
	t.Cleanup(func() {
		cancel()
		<-served
		_ = l.Close()
	})
	client := fd.New(e.NewSocket(&fd.DialConfig{}), nil)
	defer client.Close()
	if err := client.Connect(t.Context(), l.Addr()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("ring")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	for n := 0; n < len(buf); {
		m, err := client.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
}
