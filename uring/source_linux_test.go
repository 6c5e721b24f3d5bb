package uring

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// source is what the package's own files, without its tests, say of io_uring's
// constants: which there are, and which files use them.
type source struct {
	values map[string]uint64
	uses   map[string][]string // by file, without those that declare
}

// abiConstant are the names of opcodes, flags of requests, flags of rings, and
// register opcodes; not sizes and offsets.
var abiConstant = regexp.MustCompile(`^(op|sqe|setup|register|unregister)[A-Z]`)

func readSource(t *testing.T) source {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "ring_linux.go" }) {
		t.Skip("the sources are not here: go test in the folder of the package would make this run")
	}
	s := source{make(map[string]uint64), make(map[string][]string)}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var declared []*ast.Ident
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, id := range n.Names {
					declared = append(declared, id)
					if abiConstant.MatchString(id.Name) && len(n.Values) == len(n.Names) {
						s.value(id.Name, n.Values[i])
					}
				}
			case *ast.Ident:
				if abiConstant.MatchString(n.Name) && !slices.Contains(declared, n) && !slices.Contains(s.uses[name], n.Name) {
					s.uses[name] = append(s.uses[name], n.Name)
				}
			}
			return true
		})
	}
	// What is not a constant of a number (a function, a size) is none of ours.
	for name, used := range s.uses {
		s.uses[name] = slices.DeleteFunc(used, func(id string) bool { _, ok := s.values[id]; return !ok })
	}
	return s
}

// value files a constant of numbers only.
func (s source) value(name string, expr ast.Expr) {
	v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, types.ExprString(expr))
	if err != nil || v.Value == nil || name == "sqeSize" {
		return
	}
	if n, exact := constant.Uint64Val(constant.ToInt(v.Value)); exact {
		s.values[name] = n
	}
}

// used returns the values of the constants with a prefix that the files which keep
// picks use.
func (s source) used(prefix string, keep func(file string) bool) []uint8 {
	all := make(map[uint8]bool)
	for file, names := range s.uses {
		for _, name := range names {
			if strings.HasPrefix(name, prefix) && keep(file) {
				all[uint8(s.values[name])] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// kindOfFile says which kind of ring the requests of a file are for.
func kindOfFile(file string) string {
	switch prefix, _, _ := strings.Cut(strings.TrimSuffix(file, "_linux.go"), "_"); prefix {
	case "loop", "conn":
		return "loop"
	case "batch", "endpoint", "poller":
		return "batch"
	}
	return "" // trials, the list itself, what makes rings
}

// TestAllowedIsWhatIsUsed holds the lists against the source: an opcode or a flag
// that the package begins to use, or ceases to, must go into its list, or out.
func TestAllowedIsWhatIsUsed(t *testing.T) {
	s := readSource(t)
	for _, kind := range kinds {
		list := kind.allowed(AllFeatures)
		ours := func(file string) bool { return kindOfFile(file) == kind.name }
		if used := s.used("op", ours); !slices.Equal(used, slices.Sorted(slices.Values(list.ops))) {
			t.Errorf("the %s ring uses the opcodes %v and allows %v", kind.name, used, slices.Sorted(slices.Values(list.ops)))
		}
		var flags uint8
		for _, flag := range s.used("sqe", ours) {
			flags |= flag
		}
		if flags != list.flags {
			t.Errorf("the %s ring uses the flags %#x of requests and allows %#x", kind.name, flags, list.flags)
		}
		want := []uint8{registerEnableRings}
		if kind.name == "loop" { // whose burial cancels; nothing of a batch waits
			want = append(want, registerSyncCancel)
		}
		if !slices.Equal(list.registers, want) {
			t.Errorf("the %s ring allows the register opcodes %v, want %v: the rest comes before", kind.name, list.registers, want)
		}
	}
}

// TestNoRingPolls: no constant of the package, and so no ring, has the flags of
// kernel threads that poll (IOPOLL, SQPOLL, SQ_AFF) or of a share in the workers of
// another ring (ATTACH_WQ).
func TestNoRingPolls(t *testing.T) {
	const never = 1<<0 | 1<<1 | 1<<2 | 1<<5
	found := 0
	for name, value := range readSource(t).values {
		if strings.HasPrefix(name, "setup") {
			found++
			if value&never != 0 {
				t.Errorf("%s is %#x", name, value)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d flags of rings were found in the source", found)
	}
	const ofSetup = FeatureSubmitAll | FeatureCoopTaskrun | FeatureTaskrunFlag | FeatureNoSQArray |
		FeatureSingleIssuer | FeatureDeferTaskrun | FeatureRestrictions
	for mask := ofSetup; ; mask = (mask - 1) & ofSetup { // every subset
		for _, f := range []Features{mask, mask | AllFeatures&^ofSetup} {
			for _, flags := range append(loopSetups(f), setupFlags(f)|setupRestricted(f)) {
				if flags&never != 0 {
					t.Errorf("with %s a ring is made with the flags %#x", f, flags)
				}
				if flags&setupRDisabled != 0 != f.Has(FeatureRestrictions) {
					t.Errorf("with %s a ring is made with the flags %#x: restricted or not?", f, flags)
				}
			}
		}
		if mask == 0 {
			break
		}
	}
}
