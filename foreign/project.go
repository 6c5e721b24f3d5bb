package main

import (
	"encoding/json"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fetch returns the folder of the project's sources, a copy.
func (p project) fetch(goroot, work string) (string, error) {
	if p.module == "" {
		return filepath.Join(goroot, "src"), nil
	}
	dst := filepath.Join(work, "src", strings.ReplaceAll(p.module, "/", "-"))
	if _, err := os.Stat(dst); err == nil {
		return dst, nil
	}
	out, err := output(work, nil, "go", "mod", "download", "-json", p.module)
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", err
	}
	making := dst + ".making"
	if err := os.RemoveAll(making); err != nil {
		return "", err
	}
	if err := os.CopyFS(making, os.DirFS(module.Dir)); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(making, "go.mod")); os.IsNotExist(err) {
		path, _, _ := strings.Cut(p.module, "@")
		if err := os.WriteFile(filepath.Join(making, "go.mod"), []byte("module "+path+"\n\ngo 1.26\n"), 0o666); err != nil {
			return "", err
		}
	}
	return dst, os.Rename(making, dst)
}

// run runs the tests of all parts, for each of kinds, and tells which passed on ours
// when they were tried again only.
func (p project) run(goroot, work, test2json string, rows []*known, retries int) (got []results, flaky []string, err error) {
	src, err := p.fetch(goroot, work)
	if err != nil {
		return nil, nil, err
	}
	got = make([]results, len(kinds))
	for i := range got {
		got[i] = make(results)
	}
	for _, part := range p.parts {
		name, prefix := strings.ReplaceAll(p.name, "/", "-"), ""
		if len(p.parts) > 1 {
			name += "-" + strings.ReplaceAll(part.dir, "/", "-")
			prefix = part.dir + ": "
		}
		b, err := build(goroot, filepath.Join(src, part.dir), filepath.Join(work, "bin", name+".test"), part)
		if err != nil {
			return nil, nil, err
		}
		b.test2json = test2json
		b.known = func(test, kind string) bool { return isKnown(rows, p.name, prefix+test, kind) }
		var plain results
		for i, kind := range kinds {
			log, err := os.Create(filepath.Join(work, "log", name+"."+kind))
			if err != nil {
				return nil, nil, err
			}
			b.log = log
			own, err := b.all(kind)
			if i == 0 {
				plain = own
			}
			for _, test := range slices.Sorted(lost(plain, own)) {
				top, _, _ := strings.Cut(test, "/")
				for range retries {
					if err == nil && own[test] != passed && !b.known(top, kind) {
						if err = b.alone(kind, own, top, b.timeout/3); own[test] == passed {
							flaky = append(flaky, prefix+test+" on "+kind)
						}
					}
				}
			}
			_ = log.Close()
			if err != nil {
				return nil, nil, err
			}
			for test, o := range own {
				got[i][prefix+test] = o
			}
		}
	}
	return got, flaky, nil
}

// lost are the tests that pass on plain and not on ours: the smallest of those that
// contain each other, or the largest where it does not get to the smaller ones.
func lost(plain, ours results) iter.Seq[string] {
	all := make(map[string]bool)
	for test, o := range plain {
		if o == passed && ours[test] != passed {
			all[test] = true
		}
	}
	for test := range maps.Clone(all) {
		for parent := test; strings.Contains(parent, "/"); {
			parent = parent[:strings.LastIndex(parent, "/")]
			if !all[parent] {
				continue
			}
			if ours[test] == "" {
				delete(all, test)
			} else {
				delete(all, parent)
			}
		}
	}
	return maps.Keys(all)
}
