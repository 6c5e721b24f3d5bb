package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ringfd/ringfd/bench/control"
)

// process is a child process seen from its parent.
type process struct {
	ctx    context.Context
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *json.Decoder
	stderr bytes.Buffer // to be read after wait
	waited bool
}

// placement says where a child runs.
type placement struct {
	cpu   int // or anyCPU
	procs int // GOMAXPROCS
}

const anyCPU = -1

// startProcess starts command as a child in the given role. It is killed when
// ctx ends.
func startProcess(ctx context.Context, command []string, role string, where placement) (*process, error) {
	args := append(append([]string(nil), command[1:]...), control.Command, role)
	cmd := exec.CommandContext(ctx, command[0], args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", where.procs))
	p := &process{ctx: ctx, name: role + " process", cmd: cmd}
	cmd.Stderr = &p.stderr
	cmd.WaitDelay = 5 * time.Second // for a grandchild that keeps stderr open
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin, p.out = stdin, json.NewDecoder(stdout)
	if err := startOn(cmd, where.cpu); err != nil {
		return nil, fmt.Errorf("cannot start the %s: %w", p.name, err)
	}
	return p, nil
}

// errUnavailable is a backend that a child process could not open.
var errUnavailable = errors.New("not available")

func (p *process) call(r control.Request) (control.Reply, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return control.Reply{}, err
	}
	var answer control.Reply
	if _, err = p.stdin.Write(append(line, '\n')); err == nil {
		err = p.out.Decode(&answer)
	}
	switch {
	case err != nil:
		return control.Reply{}, p.died(err)
	case answer.Unavailable:
		return control.Reply{}, fmt.Errorf("%w: %s", errUnavailable, answer.Error)
	case answer.Error != "":
		return control.Reply{}, fmt.Errorf("%s: %s", p.name, answer.Error)
	}
	return answer, nil
}

// died says how a process ended that was not told to.
func (p *process) died(err error) error {
	p.end()
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	text := fmt.Sprintf("the %s ended on its own (%v): %v", p.name, p.cmd.ProcessState, err)
	if said := strings.TrimSpace(p.stderr.String()); said != "" {
		text += "\n" + said
	}
	return errors.New(text)
}

// end makes sure that the process is gone.
func (p *process) end() {
	if p.waited {
		return
	}
	p.waited = true
	_ = p.stdin.Close() // end of file: it exits
	_ = p.cmd.Wait()    // its state is in cmd.ProcessState
}
