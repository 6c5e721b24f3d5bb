package main

import (
	"fmt"

	"github.com/ringfd/ringfd"
)

type doctorCommand struct {
	JSON bool `name:"json" help:"Print the findings as JSON."`
}

func (c *doctorCommand) Run(io stdio) error {
	backend, err := open(ringfd.Options{})
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "backend %s: %s\n", backend.Kind(), backend.Why())
	return backend.Close()
}
