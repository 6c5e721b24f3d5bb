// Command guest is the first process of a virtual machine: it makes what the tests
// need of a system, runs them, and turns the machine off. What it says goes to the
// second serial port; the first is the kernel's console.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/kernels"
	"github.com/ringfd/ringfd/uring"
)

const sysctl = "/proc/sys/kernel/io_uring_disabled"

// self is this program in the initramfs, where the kernel looks for it.
const self = "/init"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		probe()
		return
	}
	defer off()
	mount("devtmpfs", "/dev")
	mount("proc", "/proc")
	mount("sysfs", "/sys")
	mount("tmpfs", "/tmp")
	port, err := serial()
	if err != nil {
		fmt.Println("guest:", err)
		return
	}
	g := guest{port}
	g.must("bringing the loopback up", loopbackUp())
	g.must("having names looked up by DNS", lookUpNames())
	const files = 1 << 20
	g.must("raising the limit of descriptors", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: files}))
	g.run(self, "probe")
	part, err := plan()
	g.must("reading the plan", err)
	for i, r := range part.Runs {
		g.one(i, r)
	}
	g.say(kernels.DoneLine)
}

// off turns the machine off. What the serial port holds must leave it first.
func off() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("guest:", err)
	}
}

func mount(fs, path string) {
	err := os.MkdirAll(path, 0o755)
	if err == nil {
		err = unix.Mount(fs, path, fs, 0, "")
	}
	if err != nil && err != unix.EBUSY { // the kernel may have mounted /dev
		fmt.Printf("guest: mounting %s: %v\n", path, err)
	}
}

// lookUpNames has Go's resolver ask DNS servers, of which a test brings its own. Without
// the files it looks at /etc/hosts only.
func lookUpNames() error {
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"nsswitch.conf": "hosts: files dns\n", "resolv.conf": "nameserver 127.0.0.1\n"} {
		if err := os.WriteFile("/etc/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serial opens the second serial port, and keeps it from changing what is written.
func serial() (*os.File, error) {
	port, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	mode.Oflag &^= unix.OPOST
	return port, unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, mode)
}

// loopbackUp gives the loopback its addresses, of both families.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}

func plan() (part kernels.Part, err error) {
	b, err := os.ReadFile(kernels.PlanPath)
	if err == nil {
		err = json.Unmarshal(b, &part)
	}
	return part, err
}

type guest struct{ port *os.File }

func (g guest) say(line string) { fmt.Fprint(g.port, "\n", line, "\n") }

func (g guest) must(what string, err error) {
	if err != nil {
		g.say(kernels.TroubleLine + what + ": " + err.Error())
	}
}

// one runs one of the test binaries.
func (g guest) one(i int, r kernels.Run) {
	if r.Disabled != "" {
		if _, err := os.Stat(sysctl); err != nil {
			g.say(kernels.NoSysctlLine + fmt.Sprint(i))
			return
		}
		g.must("setting "+sysctl, os.WriteFile(sysctl, []byte(r.Disabled), 0))
	}
	g.say(kernels.BeginLine + fmt.Sprint(i))
	args := append([]string{"-test.v=test2json"}, r.Args...)
	status := g.run(filepath.Join(kernels.TestsPath, r.Binary), args...)
	g.say(fmt.Sprint(kernels.EndLine, i, " ", status))
}

// run runs a program with its output to the port, and returns its exit status.
func (g guest) run(path string, args ...string) string {
	c := exec.Command(path, args...)
	c.Stdout, c.Stderr = g.port, g.port
	c.Dir = "/tmp"
	c.Env = []string{"PATH=/", "TMPDIR=/tmp", "HOME=/tmp", "TERM=dumb"}
	for _, word := range strings.Fields(readFile("/proc/cmdline")) {
		if name, ok := strings.CutPrefix(word, "ringfd.env."); ok {
			c.Env = append(c.Env, name)
		}
	}
	if err := c.Run(); err != nil {
		return strings.ReplaceAll(err.Error(), "exit status ", "")
	}
	return "0"
}

func readFile(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// probe prints what the probe of package uring says.
func probe() {
	r := uring.Probe()
	p := kernels.Probe{Kernel: r.Kernel, Lacks: make(map[string]string)}
	if r.Err != nil {
		p.Err = r.Err.Error()
	}
	for _, f := range uring.FeatureTable {
		switch {
		case r.Found.Has(f.Bit):
			p.Found = append(p.Found, f.Name)
		case r.Unknown.Has(f.Bit):
			p.Lacks[f.Name] = "unknown: " + r.Details[f.Bit]
		default:
			p.Lacks[f.Name] = r.Details[f.Bit]
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	fmt.Printf("\n%s%s\n", kernels.ProbeLine, b)
}
