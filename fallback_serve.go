package ringfd

import (
	"context"
	"errors"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

var errNotBuilt = errors.New("not built")

func (b *netBackend) serve(ctx context.Context, l *accept.Listener, h Handler) error {
	return errNotBuilt
}
func (b *netBackend) served(h Handler) *fd.FD { panic(errNotBuilt) }
func (b *netBackend) start(f *fd.FD)          { panic(errNotBuilt) }
func (b *netBackend) broadcast(ctx context.Context, fds []*fd.FD, message []byte, done func(i, n int, err error)) {
	panic(errNotBuilt)
}
