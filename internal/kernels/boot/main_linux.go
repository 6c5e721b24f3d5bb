// Command boot runs the tests on the kernels that it is given, in qemu, without
// help of the processor:
//
//	boot [-part REGEXP] [-results FILE] VMLINUZ...
//
// Beside vmlinuz-X a config-X and a version-X are read if they are there. It prints
// a table and fails if a test does, if a kernel lacks a feature that it should have,
// or if it warns of anything. Reading the console of a boot that failed is the
// reader's part: it is kept.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringfd/ringfd/internal/kernels"
)

var (
	only     = flag.String("part", "", "run only the parts that match this regular expression")
	dir      = flag.String("dir", "dist/kernels", "the directory for what is made")
	results  = flag.String("results", "dist/kernels/results.json", "the file that results are added to")
	limit    = flag.Duration("limit", 30*time.Minute, "how long a boot may take")
	timeout  = flag.Duration("timeout", 10*time.Minute, "how long a test binary may take, in the guest")
	args     = flag.String("args", "", "further arguments of the test binaries, e.g. -test.run=TestServe/serve-net/tcp4/Close")
	parallel = flag.Int("parallel", 1, "how many boots at a time")
	build    = flag.Bool("build", true, "build the tests first")
)

func main() {
	flag.Parse()
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

func run(images []string) error {
	if *build {
		if err := buildTests(); err != nil {
			return err
		}
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	r, err := kernels.Load(*results)
	if err != nil {
		return err
	}
	r.Commit = commit()
	var boots sync.WaitGroup
	var mu sync.Mutex // guards r and what is printed
	var broken error
	failed := false
	slots := make(chan struct{}, max(*parallel, 1))
	for _, image := range images {
		for _, part := range kernels.Parts() {
			if !pattern.MatchString(part.Name) {
				continue
			}
			slots <- struct{}{}
			boots.Go(func() {
				defer func() { <-slots }()
				o, err := one(image, part)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					failed = file(&r, image, part, o) || failed
					err = r.Save(*results)
				}
				broken = cmp.Or(broken, err)
			})
		}
	}
	boots.Wait()
	if broken != nil {
		return broken
	}
	fmt.Print("\n", r.Table())
	if failed {
		return fmt.Errorf("something failed: see the lines above, and the files in %s", *dir)
	}
	return nil
}

// one boots image for a part, and says what came of it.
func one(image string, part kernels.Part) (kernels.Outcome, error) {
	began := time.Now()
	o, console, err := boot(image, part, filepath.Join(*dir, nameOf(image)+"."+part.Name))
	if err != nil {
		return o, err
	}
	o.Troubles = append(o.Troubles, kernels.Troubles(console)...)
	for _, m := range kernels.Missing(o.Probe, beside(image, "config")) {
		o.Troubles = append(o.Troubles, "missing: "+m)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %.0f s\n", nameOf(image), part.Name, time.Since(began).Seconds())
	for _, row := range o.Rows {
		fmt.Fprintf(&b, "  %s: %d passed, %d skipped, %d failed\n", row.Name, row.Passed, len(row.Skipped), len(row.Failed))
		for _, test := range row.Failed {
			fmt.Fprintln(&b, "    failed:", test)
		}
	}
	for _, t := range o.Troubles {
		fmt.Fprintln(&b, "  trouble:", t)
	}
	fmt.Print(b.String())
	return o, nil
}

// file adds o to r, and reports that something failed.
func file(r *kernels.Results, image string, part kernels.Part, o kernels.Outcome) (failed bool) {
	release := nameOf(image)
	if o.Probe != nil {
		release = o.Probe.Kernel
	}
	k := r.Kernel(release)
	k.Package = strings.TrimSpace(beside(image, "version"))
	k.Add(part, o)
	return k.Failed()
}

// nameOf is what follows vmlinuz- in the name of an image.
func nameOf(image string) string { return strings.TrimPrefix(filepath.Base(image), "vmlinuz-") }

// beside reads what lies beside vmlinuz-X.
func beside(image, what string) string {
	dir, name := filepath.Split(image)
	x, ok := strings.CutPrefix(name, "vmlinuz-")
	if !ok {
		return ""
	}
	b, _ := os.ReadFile(filepath.Join(dir, what+"-"+x))
	return string(b)
}

// buildTests builds static binaries into dir/tests.
func buildTests() error {
	env := append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	goRun := func(args ...string) error {
		c := exec.Command(goCommand(), args...)
		c.Env, c.Stdout, c.Stderr = env, os.Stdout, os.Stderr
		return c.Run()
	}
	if err := os.MkdirAll(filepath.Join(*dir, "tests"), 0o755); err != nil {
		return err
	}
	const strip = "-ldflags=-s -w"
	for name, pkg := range kernels.Binaries {
		if err := goRun("test", "-c", strip, "-o", filepath.Join(*dir, "tests", name), pkg); err != nil {
			return fmt.Errorf("building the tests of %s: %w", pkg, err)
		}
	}
	return goRun("build", strip, "-o", filepath.Join(*dir, "guest"), "./internal/kernels/guest")
}

func goCommand() string {
	if name := os.Getenv("GO"); name != "" {
		return name
	}
	return "go"
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// boot boots image with the tests of part, and returns what the guest said and what
// the kernel wrote to its console.
func boot(image string, part kernels.Part, log string) (o kernels.Outcome, console string, err error) {
	initramfs := log + ".initramfs"
	if err := writeInitramfs(initramfs, part); err != nil {
		return o, "", err
	}
	defer os.Remove(initramfs)
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	output, guest, err := os.Pipe()
	if err != nil {
		return o, "", err
	}
	defer output.Close()
	c := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
		"-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
		"-kernel", image, "-initrd", initramfs,
		"-append", "console=ttyS0 oops=panic panic=-1"+environment(),
		"-serial", "file:"+log+".console", "-chardev", "stdio,id=tests,signal=off", "-serial", "chardev:tests")
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = guest, &stderr
	if err := c.Start(); err != nil {
		guest.Close()
		return o, "", err
	}
	guest.Close()
	kept, err := os.Create(log + ".log")
	if err != nil {
		return o, "", err
	}
	defer kept.Close()
	o, err = kernels.ReadOutput(part, output, kept)
	_, _ = io.Copy(kept, output) // after an error
	if ended := c.Wait(); ended != nil && err == nil {
		o.Troubles = append(o.Troubles, fmt.Sprintf("qemu: %v %s (%v is the limit)", ended, &stderr, *limit))
	}
	b, _ := os.ReadFile(log + ".console")
	return o, string(b), err
}

// environment hands RINGFD variables on to the tests.
func environment() (words string) {
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "RINGFD_") && !strings.ContainsAny(v, " \"") {
			words += " ringfd.env." + v
		}
	}
	return words
}

func writeInitramfs(path string, part kernels.Part) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	part.Runs = slices.Clone(part.Runs)
	for i := range part.Runs {
		r := &part.Runs[i]
		r.Args = slices.Concat([]string{"-test.timeout=" + timeout.String()}, r.Args, strings.Fields(*args))
	}
	plan, err := json.Marshal(part)
	if err != nil {
		return err
	}
	a := kernels.NewArchive(f)
	for _, name := range []string{"dev", "proc", "sys", "tmp", "etc", "tests"} {
		a.Dir(name)
	}
	a.File("etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.File("etc/nsswitch.conf", []byte("hosts: files\n"))
	a.File(strings.TrimPrefix(kernels.PlanPath, "/"), plan)
	a.Copy("init", filepath.Join(*dir, "guest"))
	copied := make(map[string]bool)
	for _, r := range part.Runs {
		if !copied[r.Binary] {
			copied[r.Binary] = true
			a.Copy("tests/"+r.Binary, filepath.Join(*dir, "tests", r.Binary))
		}
	}
	if err := a.Close(); err != nil {
		return err
	}
	return f.Close()
}
