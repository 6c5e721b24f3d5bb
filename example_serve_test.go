package ringfd_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"sync/atomic"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// The three styles, as the README has them.

func goroutines(ctx context.Context, l *accept.Listener) error {
	return accept.Loop{}.Run(ctx, l, func(f *fd.FD, _ net.Addr) {
		go func() {
			defer f.Close()
			echo(f)
		}()
	})
}

func echo(f *fd.FD) {
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return // f.Reason says why
		}
		f.Write(buf[:n])
	}
}

func blocking(ctx context.Context, b *ringfd.Backend, l *accept.Listener) error {
	return b.Serve(ctx, l, ringfd.Handler{Blocking: echo})
}

func data(ctx context.Context, b *ringfd.Backend, l *accept.Listener) error {
	return b.Serve(ctx, l, ringfd.Handler{
		Open: func(f *fd.FD) { log.Println(f.ID(), f.RemoteAddr()) },
		Data: func(f *fd.FD, data []byte) { f.Write(data) },
		End:  func(f *fd.FD, err error) { log.Println(f.ID(), err) },
	})
}

// The same echo in three styles. Serve returns when its context has ended and its
// handlers have.
func ExampleBackend_Serve() {
	log.SetOutput(io.Discard) // for the sake of the output below
	backend, err := ringfd.Open(ringfd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	for _, serve := range []func(context.Context, *accept.Listener) error{
		goroutines,
		func(ctx context.Context, l *accept.Listener) error { return blocking(ctx, backend, l) },
		func(ctx context.Context, l *accept.Listener) error { return data(ctx, backend, l) },
	} {
		ctx, stop := context.WithCancel(context.Background())
		listener, err := backend.Listen(ctx, "tcp", "127.0.0.1:0", accept.Config{})
		if err != nil {
			log.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- serve(ctx, listener) }()
		client, err := backend.Dial(ctx, "tcp", listener.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		client.Write([]byte("hello"))
		reply := make([]byte, 5)
		io.ReadFull(client.Conn(), reply)
		client.Close()
		stop()
		fmt.Printf("%s, %v\n", reply, <-served)
		listener.Close()
	}
	// Output:
	// hello, <nil>
	// hello, <nil>
	// hello, <nil>
}

// Two nodes that serve each other, and one message to all connections of one.
func ExampleBackend_Broadcast() {
	backend, err := ringfd.Open(ringfd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	ctx := context.Background()
	listener, err := backend.Listen(ctx, "tcp", "127.0.0.1:0", accept.Config{})
	if err != nil {
		log.Fatal(err)
	}
	var told atomic.Int32
	all := make(chan struct{})
	go backend.Serve(ctx, listener, ringfd.Handler{Data: func(f *fd.FD, data []byte) {
		if told.Add(int32(len(data))) == 3*int32(len("block")) {
			close(all)
		}
	}})
	var peers []*fd.FD
	for range 3 {
		f, err := backend.DialServe(ctx, "tcp", listener.Addr().String(), ringfd.Handler{Blocking: echo})
		if err != nil {
			log.Fatal(err)
		}
		peers = append(peers, f)
	}
	fmt.Println(backend.Broadcast(ctx, peers, []byte("block")))
	<-all
	// Output: []
}
