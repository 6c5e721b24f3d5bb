package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// Client reads snapshots. One goroutine at a time may use it.
type Client struct {
	path    string
	backend *ringfd.Backend
	conn    *fd.FD
	in      *json.Decoder
}

// Dial connects to the Server at path. ctx bounds the connecting only. The error
// says what to do. Close the Client when done.
func Dial(ctx context.Context, path string) (*Client, error) {
	backend, err := ringfd.Open(ringfd.Options{Backend: ringfd.Net})
	if err != nil {
		return nil, err // of RINGFD_WITHOUT
	}
	conn, err := backend.Dial(ctx, "unix", path)
	if err != nil {
		return nil, errors.Join(dialError(path, err), backend.Close())
	}
	return &Client{path: path, backend: backend, conn: conn, in: json.NewDecoder(conn)}, nil
}

func dialError(path string, err error) error {
	cure := "is it the socket of live.Serve?"
	e, _ := errors.AsType[*fd.Error](err)
	switch {
	case errors.Is(err, os.ErrNotExist):
		cure = "start the process, and give the path that it gives live.Serve"
	case e != nil && e.Connect == fd.ConnectRefused:
		cure = "the process that served it has ended: start it again"
	case errors.Is(err, os.ErrPermission):
		cure = "run this as the user who runs the process"
	}
	return fmt.Errorf("cannot read live figures at %s: %w; %s", path, err, cure)
}

// Read asks for a snapshot and waits for it, until ctx ends. After an error the
// Client is of no use but to be closed.
func (c *Client) Read(ctx context.Context) (*Snapshot, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	a, err := c.ask(request{Get: getSnapshot})
	var ended *fd.Error
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &ended) || errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w; the process has ended, or shows no more: start it again", err)
	case err == nil && a.Error != "":
		err = errors.New(a.Error)
	case err != nil || a.Snapshot == nil:
		err = errors.New("what answers there is not live.Serve: give the path that the process gives it")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read live figures at %s: %w", c.path, err)
	}
	return a.Snapshot, nil
}

func (c *Client) ask(r request) (answer, error) {
	var a answer
	text, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	if _, err := c.conn.Write(append(text, '\n')); err != nil {
		return a, err
	}
	if err := c.in.Decode(&a); err != nil {
		return a, err
	}
	return a, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.backend.Close() }

// Read connects to the Server at path, and reads one snapshot.
func Read(ctx context.Context, path string) (*Snapshot, error) {
	c, err := Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	snapshot, err := c.Read(ctx)
	return snapshot, errors.Join(err, c.Close())
}
