package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A syscallCounter counts the system calls of a process from its making until
// end, and says how many there were.
type syscallCounter interface {
	name() string
	end() (uint64, error)
}

// countSyscalls attaches to a process: with perf, which barely slows it, or
// else with strace. Counts are exact with both.
func countSyscalls(ctx context.Context, pid int) (syscallCounter, error) {
	p, perfErr := attachPerf(ctx, pid)
	if perfErr == nil {
		return p, nil
	}
	s, straceErr := attachStrace(ctx, pid)
	if straceErr == nil {
		return s, nil
	}
	return nil, fmt.Errorf("perf: %w; strace: %w", perfErr, straceErr)
}

// perfCounter is perf stat on the tracepoint of all system calls, switched by
// its control pipe, which acknowledges.
type perfCounter struct {
	cmd      *exec.Cmd
	commands *os.File
	acks     *bufio.Reader
	acksFile *os.File
	stderr   bytes.Buffer
}

const perfEvent = "raw_syscalls:sys_enter"

func attachPerf(ctx context.Context, pid int) (*perfCounter, error) {
	control, commands, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	acks, acknowledge, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, commands.Close())
	}
	defer func() { _ = acknowledge.Close() }()
	p := &perfCounter{commands: commands, acks: bufio.NewReader(acks), acksFile: acks}
	// Files 3 and 4 are the first two of ExtraFiles; -D -1 starts disabled.
	p.cmd = exec.CommandContext(ctx, "perf", "stat", "-x", ",", "-D", "-1", "--control", "fd:3,4",
		"-e", perfEvent, "-p", strconv.Itoa(pid))
	p.cmd.ExtraFiles = []*os.File{control, acknowledge}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		p.closePipes()
		return nil, err
	}
	_ = acknowledge.Close() // the end of perf is then the end of file on acks
	if err := p.command("enable"); err != nil {
		_ = p.cmd.Wait()
		p.closePipes()
		return nil, errors.New(firstLine(p.stderr.String(), err.Error()))
	}
	return p, nil
}

func (p *perfCounter) name() string { return "perf" }

func (p *perfCounter) command(name string) error {
	if _, err := io.WriteString(p.commands, name+"\n"); err != nil {
		return err
	}
	_, err := p.acks.ReadString('\n')
	return err
}

func (p *perfCounter) end() (uint64, error) {
	defer p.closePipes()
	err := p.command("disable")
	interrupted := p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait() // it ends by our signal
	if err = errors.Join(err, interrupted); err != nil {
		return 0, err
	}
	for line := range strings.Lines(p.stderr.String()) {
		if fields := strings.Split(line, ","); len(fields) > 2 && fields[2] == perfEvent {
			return strconv.ParseUint(fields[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("perf printed no count: %s", firstLine(p.stderr.String(), "nothing"))
}

func (p *perfCounter) closePipes() {
	_ = p.commands.Close()
	_ = p.acksFile.Close()
}

// straceCounter is strace -c.
type straceCounter struct {
	cmd    *exec.Cmd
	output string // the file with its summary
	dir    string
}

func attachStrace(ctx context.Context, pid int) (*straceCounter, error) {
	dir, err := os.MkdirTemp("", "ringfd-bench-")
	if err != nil {
		return nil, err
	}
	s := &straceCounter{dir: dir, output: filepath.Join(dir, "strace")}
	s.cmd = exec.CommandContext(ctx, "strace", "-f", "-c", "-o", s.output, "-p", strconv.Itoa(pid))
	stderr, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	lines := bufio.NewScanner(stderr)
	said := "it said nothing"
	for lines.Scan() {
		said = lines.Text()
		if strings.Contains(said, "attached") {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return s, nil
		}
	}
	_ = s.cmd.Wait()
	return nil, errors.Join(errors.New(said), os.RemoveAll(dir))
}

func (s *straceCounter) name() string { return "strace" }

func (s *straceCounter) end() (uint64, error) {
	defer func() { _ = os.RemoveAll(s.dir) }()
	interrupted := s.cmd.Process.Signal(syscall.SIGINT)
	_ = s.cmd.Wait() // it ends by our signal
	if interrupted != nil {
		return 0, interrupted
	}
	summary, err := os.ReadFile(s.output)
	if err != nil {
		return 0, err
	}
	return straceTotal(string(summary))
}

// straceTotal finds the number of calls in the last line of strace's summary.
func straceTotal(summary string) (uint64, error) {
	for line := range strings.Lines(summary) {
		fields := strings.Fields(line) // % time, seconds, usecs/call, calls, errors?, name
		if len(fields) >= 5 && fields[len(fields)-1] == "total" {
			return strconv.ParseUint(fields[3], 10, 64)
		}
	}
	return 0, errors.New("strace printed no summary")
}

func firstLine(text, otherwise string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return otherwise
}
