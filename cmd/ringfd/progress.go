package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ringfd/ringfd/bench"
)

// progressLine tells where a run is: in a terminal on one line that is written
// anew, elsewhere on a line for each round.
type progressLine struct {
	out      io.Writer
	terminal bool
}

func newProgressLine(out io.Writer) progressLine {
	file, ok := out.(*os.File)
	if !ok {
		return progressLine{out: out}
	}
	info, err := file.Stat()
	return progressLine{out, err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (l progressLine) show(p bench.Progress) {
	line := fmt.Sprintf("[%d/%d] %s", p.Done+1, p.All, p.What)
	if p.Left > 0 {
		line += fmt.Sprintf(", about %v left", p.Left.Round(time.Second))
	}
	if !l.terminal {
		fmt.Fprintln(l.out, line)
		return
	}
	// Back to the start, and clear what was there: ECMA-48, EL.
	fmt.Fprintf(l.out, "\r\x1b[K%s", line)
	if p.Done+1 == p.All {
		fmt.Fprintln(l.out)
	}
}
