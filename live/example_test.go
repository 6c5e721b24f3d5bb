package live_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/live"
)

// A process shows its backend, and another reads it: or `ringfd doctor --live
// PATH` does.
func Example() {
	backend, err := ringfd.Open(ringfd.Options{Backend: ringfd.Net})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "live")
	server, err := live.Serve(path, backend)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	snapshot, err := live.Read(context.Background(), path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(snapshot.Backend, "-", snapshot.Why)
	fmt.Println("sockets:", snapshot.Stats.Sockets)
	// Output:
	// net - forced by options
	// sockets: 0
}
