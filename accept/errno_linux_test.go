package accept_test

import (
	"syscall"

	"github.com/ringfd/ringfd/accept"
)

func init() {
	classes[accept.Socket] = append(classes[accept.Socket], syscall.ENONET)
}
