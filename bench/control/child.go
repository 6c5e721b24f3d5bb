package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// Child is a whole child process: it answers requests on in by handle until
// it is told to stop. When in ends early the parent is gone, and the process
// exits at once.
func Child(in io.Reader, out io.Writer, handle func(Request) (Reply, error)) error {
	// Ctrl-C reaches the whole process group; the parent decides what ends.
	signal.Ignore(os.Interrupt)
	requests := make(chan Request)
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			var r Request
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				fmt.Fprintln(os.Stderr, "bad request:", err)
				break
			}
			requests <- r
		}
		os.Exit(1)
	}()
	encoder := json.NewEncoder(out)
	for r := range requests {
		answer, err := handle(r)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
		if r.Do == DoStop {
			return nil
		}
	}
	return nil
}
