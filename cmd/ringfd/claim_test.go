package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClaim: files that cannot be made are found out before anything is measured, what
// is in a file stays until there is something to replace it, and none is left behind.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	kept, made := filepath.Join(dir, "kept"), filepath.Join(dir, "folder", "made")
	if err := os.WriteFile(kept, []byte("of the last run"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(made, filepath.Join(kept, "not a folder")); err == nil {
		t.Error("a file inside a file can be made")
	}
	if _, err := os.Stat(made); !os.IsNotExist(err) {
		t.Errorf("what was made for nothing is left: %v", err)
	}
	discard, err := claim("", "-", kept, made)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(made); err != nil {
		t.Error(err)
	}
	discard()
	if _, err := os.Stat(made); !os.IsNotExist(err) {
		t.Errorf("discard leaves what was made: %v", err)
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "of the last run" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// TestEchoNeedsPath: a unix socket is made nowhere but where it was asked for.
func TestEchoNeedsPath(t *testing.T) {
	t.Chdir(t.TempDir())
	var said strings.Builder
	if code := run([]string{"echo", "--network=unix", "--backend=net"}, stdio{strings.NewReader(""), &said, &said}); code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	if !strings.Contains(said.String(), "--listen") {
		t.Errorf("it does not say what to do: %s", &said)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("files were made: %v, %v", entries, err)
	}
}
