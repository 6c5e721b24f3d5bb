// Command ringfd-apps is real programs, as servers on ringfd and on Go's net, for the
// bench lab, which starts it as a child process (see package control): as a server,
// or as the client of a program whose protocol the lab's generator does not speak. It
// is a module of its own so that what the programs import is not ringfd's.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ringfd-apps:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch strings.Join(args, " ") {
	case control.Command + " " + control.RoleServer:
		return control.ServeChild(os.Stdin, os.Stdout, new(server))
	case control.Command + " " + control.RoleLoad:
		return load.CallChild(os.Stdin, os.Stdout, callers)
	}
	return fmt.Errorf("cannot run %q: the bench lab starts this program, as `ringfd-apps %s %s`",
		strings.Join(args, " "), control.Command, control.RoleServer)
}
