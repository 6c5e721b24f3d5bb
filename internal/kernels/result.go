package kernels

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfd/ringfd/uring"
)

// Kernel is what came of all parts on one kernel.
type Kernel struct {
	Release  string // as uname says
	Package  string `json:",omitempty"` // version of the Debian package
	Found    []string
	Lacks    map[string]string
	Parts    []string // that have run
	Rows     []Row
	NoSysctl bool     `json:",omitempty"`
	Troubles []string `json:",omitempty"`
}

// Results are of several kernels.
type Results struct {
	Commit  string
	Kernels []Kernel
}

// Load reads results; no file is no results.
func Load(path string) (r Results, err error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// Save writes results.
func (r Results) Save(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Kernel returns that of release, a new one if there is none.
func (r *Results) Kernel(release string) *Kernel {
	for i := range r.Kernels {
		if r.Kernels[i].Release == release {
			return &r.Kernels[i]
		}
	}
	r.Kernels = append(r.Kernels, Kernel{Release: release})
	slices.SortStableFunc(r.Kernels, func(a, b Kernel) int { return version(a.Release) - version(b.Release) })
	return r.Kernel(release)
}

// Add replaces what is known of a part by o.
func (k *Kernel) Add(part Part, o Outcome) {
	if !slices.Contains(k.Parts, part.Name) {
		k.Parts = append(k.Parts, part.Name)
	}
	for _, row := range o.Rows {
		k.Rows = slices.DeleteFunc(k.Rows, func(r Row) bool { return r.Name == row.Name })
		k.Rows = append(k.Rows, row)
	}
	if o.Probe != nil {
		k.Found, k.Lacks = o.Probe.Found, o.Probe.Lacks
	}
	k.NoSysctl = k.NoSysctl || o.NoSysctl
	prefix := part.Name + ": "
	k.Troubles = slices.DeleteFunc(k.Troubles, func(t string) bool { return strings.HasPrefix(t, prefix) })
	for _, t := range o.Troubles {
		k.Troubles = append(k.Troubles, prefix+t)
	}
}

// leftOut are features that a configuration of a kernel leaves out, by the option
// that does so.
var leftOut = map[string]string{
	"napi": "CONFIG_NET_RX_BUSY_POLL", // io_uring's napi.c is built with it only
}

// Missing checks the probe against FeatureTable: it returns the features that a
// kernel as new as this one must have and the probe did not find. config is the
// text of the kernel's configuration, "" if it is not known; a feature that an
// option leaves out may be missing where the option is not set.
func Missing(p *Probe, config string) (missing []string) {
	if p == nil {
		return []string{"the probe has said nothing"}
	}
	if p.Err != "" {
		return []string{"io_uring: " + p.Err}
	}
	for _, f := range uring.FeatureTable {
		if version(f.Since) > version(p.Kernel) || slices.Contains(p.Found, f.Name) {
			continue
		}
		if option, ok := leftOut[f.Name]; ok && !strings.Contains(config, option+"=y") {
			continue
		}
		missing = append(missing, fmt.Sprintf("%s (Linux %s): %s", f.Name, f.Since, p.Lacks[f.Name]))
	}
	return missing
}

// version orders "5.10" after "5.9"; it looks at the first two numbers.
func version(s string) int {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	v := 0
	for i := range 2 {
		n := 0
		if i < len(parts) {
			n, _ = strconv.Atoi(parts[i])
		}
		v = 1000*v + n
	}
	return v
}

// Failed reports that anything went wrong on k.
func (k *Kernel) Failed() bool {
	return len(k.Troubles) > 0 || slices.ContainsFunc(k.Rows, func(r Row) bool { return len(r.Failed) > 0 })
}

// Table returns the results in Markdown, a column for each kernel.
func (r Results) Table() string {
	var b strings.Builder
	line := func(name string, cell func(k *Kernel) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for i := range r.Kernels {
			fmt.Fprintf(&b, " %s |", cell(&r.Kernels[i]))
		}
		b.WriteByte('\n')
	}
	line("row", func(k *Kernel) string { return k.name() })
	fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", 1+len(r.Kernels)))
	for _, name := range r.rowNames() {
		line(label(name), func(k *Kernel) string { return k.cell(name) })
	}
	line("features found", func(k *Kernel) string {
		return fmt.Sprintf("%d of %d", len(k.Found), len(uring.FeatureTable))
	})
	line("newer features, carried back", func(k *Kernel) string { return list(k.backports()) })
	line("warnings of the kernel", func(k *Kernel) string {
		if len(k.Troubles) > 0 {
			return fmt.Sprintf("**%d**", len(k.Troubles))
		}
		return "none"
	})
	return b.String()
}

func (k *Kernel) name() string {
	if k.Package != "" {
		return "Linux " + k.Package
	}
	return "Linux " + k.Release
}

// label quotes what is a name in the code.
func label(row string) string {
	if strings.Contains(row, "package") {
		return row
	}
	return "`" + row + "`"
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

// rowNames are those of all kernels, as Parts orders them.
func (r Results) rowNames() (names []string) {
	var there []string
	for _, k := range r.Kernels {
		for _, row := range k.Rows {
			there = append(there, row.Name)
		}
	}
	for _, part := range Parts() {
		for _, run := range part.Runs {
			name := run.Row
			if name == "" {
				name = part.Name
			}
			if slices.Contains(there, name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	for _, name := range there {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (k *Kernel) cell(name string) string {
	i := slices.IndexFunc(k.Rows, func(r Row) bool { return r.Name == name })
	if i < 0 {
		if k.NoSysctl && strings.HasPrefix(name, "kernel.") {
			return "no such sysctl"
		}
		return "not run"
	}
	row := k.Rows[i]
	text := fmt.Sprintf("%d pass", row.Passed)
	if len(row.Skipped) > 0 {
		text += fmt.Sprintf(", %d skipped", len(row.Skipped))
	}
	if len(row.Failed) > 0 {
		text += fmt.Sprintf(", **%d fail**", len(row.Failed))
	}
	return text
}

// backports are found on a kernel older than the one that brought them upstream.
func (k *Kernel) backports() (names []string) {
	for _, f := range uring.FeatureTable {
		if slices.Contains(k.Found, f.Name) && version(f.Since) > version(k.Release) {
			names = append(names, f.Name)
		}
	}
	return names
}
