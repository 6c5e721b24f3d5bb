package selection

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/uring"
)

// outcome is what an Open came to, in a form that passes between processes.
type outcome struct {
	Kind ringfd.Kind
	Why  string
	// Err is the text of Open's error; the rest is from its UnavailableError.
	Err         string
	Unavailable bool
	Cause, Cure string
	// Features are those in use, Found those that the probe found.
	Features, Found ringfd.Features
	// Echo is why no bytes went through a connection, "" when they did.
	Echo string
}

// open opens a backend and moves bytes through it.
func open(o ringfd.Options) outcome {
	b, err := ringfd.Open(o)
	if err != nil {
		result := outcome{Err: err.Error()}
		var u *ringfd.UnavailableError
		if errors.As(err, &u) {
			result.Unavailable, result.Cause, result.Cure = true, u.Cause.Error(), u.Cure
		}
		return result
	}
	result := outcome{Kind: b.Kind(), Why: b.Why(), Features: b.Features()}
	if b.Kind() == ringfd.IOUring {
		result.Found = uring.Probe().Found
	}
	if err := echo(b); err != nil {
		result.Echo = err.Error()
	}
	if err := b.Close(); err != nil {
		result.Echo = fmt.Sprint("closing the backend: ", err)
	}
	return result
}

// echo sends bytes to a server on the same backend and back.
func echo(b *ringfd.Backend) error {
	ctx := context.Background()
	l, err := b.Listen(ctx, "tcp", "127.0.0.1:0", accept.Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		f, _, err := l.Accept(ctx)
		if err == nil {
			defer f.Close()
			_, err = io.Copy(f, f)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		served <- err
	}()
	f, err := b.Dial(ctx, "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer f.Close()
	const sent = "to and fro"
	if _, err := f.Write([]byte(sent)); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(f, got); err != nil {
		return err
	}
	if string(got) != sent {
		return fmt.Errorf("sent %q, got %q back", sent, got)
	}
	if err := f.CloseWrite(); err != nil {
		return err
	}
	return <-served
}
