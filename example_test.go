package ringfd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// An echo server and a client, on whatever backend this machine has.
func Example() {
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
	served := make(chan error)
	go func() {
		conn, _, err := listener.Accept(ctx)
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				served <- err
				return
			}
			if _, err := conn.Write(buf[:n]); err != nil {
				served <- err
				return
			}
		}
	}()

	client, err := backend.Dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(client.Conn(), buf); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf)
	client.Close()
	fmt.Println(<-served)
	// Output:
	// hello
	// connection closed by peer
}

// Open says what it chose, and why not the other.
func ExampleOpen() {
	backend, err := ringfd.Open(ringfd.Options{Backend: ringfd.Net})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	fmt.Println(backend.Kind(), "-", backend.Why())
	// Output: net - forced by options
}

// A failed connect says how it failed.
func ExampleBackend_Dial() {
	backend, err := ringfd.Open(ringfd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()

	ctx, cancel := context.WithCancel(context.Background())
	cancel() // as an embedder that shuts down does
	_, err = backend.Dial(ctx, "tcp", "127.0.0.1:9732")
	if e, ok := errors.AsType[*fd.Error](err); ok {
		fmt.Println(e.Connect, errors.Is(err, context.Canceled))
	}
	// Output: canceled true
}

// The net view fits wherever net's own types do: here both ends of net/http.
func ExampleBackend_DialContext() {
	backend, err := ringfd.Open(ringfd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	listener, err := backend.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
	if err != nil {
		log.Fatal(err)
	}

	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello over HTTP")
	})}
	go server.Serve(listener.NetListener())
	defer server.Close()

	transport := &http.Transport{DialContext: backend.DialContext}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://" + listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Println(string(body))
	// Output: hello over HTTP
}

// The accept loop waits when the system is out of something, goes on when one
// connection is gone, and ends quietly when the listener is closed.
func ExampleBackend_Listen() {
	backend, err := ringfd.Open(ringfd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	listener, err := backend.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{Backlog: 128})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		client, err := backend.Dial(context.Background(), "tcp", listener.Addr().String())
		if err == nil {
			client.Close()
		}
	}()

	loop := accept.Loop{OnError: func(err *accept.Error, wait time.Duration) {
		log.Printf("%v, next try in %v", err, wait)
	}}
	err = loop.Run(context.Background(), listener, func(conn *fd.FD, from net.Addr) {
		fmt.Println("a connection from", from.(*net.TCPAddr).IP)
		conn.Close()
		listener.Close()
	})
	fmt.Println("the loop ended:", err)
	// Output:
	// a connection from 127.0.0.1
	// the loop ended: <nil>
}

// A Table holds what an embedder knows about its connections, by their ids.
func ExampleBackend_Socket() {
	backend, err := ringfd.Open(ringfd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()

	var peers fd.Table[string]
	conn := backend.Socket()
	peers.Store(conn, "a node in Paris")
	if who, ok := peers.LoadID(conn.ID()); ok {
		fmt.Println(who)
	}
	conn.CloseWithReason(errors.New("banned"))
	peers.Delete(conn)
	fmt.Println(conn.Reasons(), peers.Len())
	// Output:
	// a node in Paris
	// [banned] 0
}

// Events tell what happens to every FD of a Backend.
func ExampleOptions_events() {
	events := &fd.Events{
		Written: func(id uint64, n int, total uint64) { fmt.Println("written", n, "of", total) },
		Close:   func(c fd.Closed) { fmt.Println("closed:", c.Cause, c.Reasons) },
	}
	backend, err := ringfd.Open(ringfd.Options{Events: events})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	listener, err := backend.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := backend.Dial(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	conn.Write([]byte("hello"))
	conn.Write([]byte("world!"))
	conn.CloseWithReason(errors.New("too chatty"))
	// Output:
	// written 5 of 5
	// written 6 of 11
	// closed: connection closed by us [too chatty]
}
