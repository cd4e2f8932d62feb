package main

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// toolPackages are what the tests call, and the libraries of these.
func toolPackages() []string {
	return strings.Fields(`
		iptables libip4tc2 libip6tc2 libxtables12 libmnl0 libnftnl11 libnfnetlink0 libnetfilter-conntrack3
		nftables libnftables1 libedit2 libbsd0 libmd0 libtinfo6 libjansson4 libgmp10
		ipset libipset13 ipvsadm libpopt0 libnl-3-200 libnl-genl-3-200
		coreutils libc6
	`)
}

const toolFolder = "/usr/sbin/"

// toolLinks are the names by which the tests call one program.
func toolLinks() map[string]string {
	links := map[string]string{}
	for _, engine := range []string{"nft", "legacy"} {
		for _, family := range []string{"iptables", "ip6tables"} {
			for _, verb := range []string{"", "-restore", "-save"} {
				links[toolFolder+family+"-"+engine+verb] = "xtables-" + engine + "-multi"
			}
		}
	}
	return links
}

// tools fetches Debian's programs, and says where what of them is: files
// outside by their names inside.
func (a *apt) tools(ctx context.Context, cache string) (map[string]string, error) {
	uris, err := a.run(ctx, a.dir, append([]string{"apt-get", "-qq", "download", "--print-uris"}, toolPackages()...)...)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(cache, fmt.Sprintf("tools-%x", sha256.Sum256([]byte(uris)))[:20])
	if err := a.unpack(ctx, toolPackages(), root); err != nil {
		return nil, err
	}
	t := toolbox{root: root, files: map[string]string{}}
	for _, name := range []string{toolFolder + "xtables-nft-multi", toolFolder + "xtables-legacy-multi", toolFolder + "ipvsadm", toolFolder + "ipset", toolFolder + "nft", "/usr/bin/cat"} {
		if err := t.program(name); err != nil {
			return nil, fmt.Errorf("tool %s: %w", name, err)
		}
	}
	return t.files, nil
}

// toolbox gathers programs with what they load.
type toolbox struct {
	root  string // where the packages are
	files map[string]string
}

func (t *toolbox) program(name string) error {
	f, err := elf.Open(filepath.Join(t.root, name))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		text := make([]byte, p.Filesz)
		if _, err := p.ReadAt(text, 0); err != nil {
			return fmt.Errorf("read interpreter: %w", err)
		}
		interpreter := strings.TrimRight(string(text), "\x00")
		if err := t.library(path.Base(interpreter), interpreter); err != nil {
			return err
		}
	}
	t.files[name] = filepath.Join(t.root, name)
	return t.needed(f)
}

func (t *toolbox) needed(f *elf.File) error {
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read libraries: %w", err)
	}
	for _, lib := range libs {
		if err := t.library(lib, "/usr/lib/"+lib); err != nil {
			return err
		}
	}
	return nil
}

// library takes a shared library, with what it needs; what libxtables loads by
// itself comes with it, into the folder that it looks into.
func (t *toolbox) library(name, inside string) error {
	if t.files[inside] != "" {
		return nil
	}
	file, err := t.find(name)
	if err != nil {
		return err
	}
	t.files[inside] = file
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("library %s: %w", name, err)
	}
	defer f.Close()
	if strings.HasPrefix(name, "libxtables.") {
		if err := t.extensions(filepath.Join(filepath.Dir(file), "xtables")); err != nil {
			return err
		}
	}
	return t.needed(f)
}

func (t *toolbox) find(name string) (string, error) {
	var found string
	err := filepath.WalkDir(t.root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Base(p) == name {
			// The link of the loader is outside of the folder of the libraries.
			if _, err := os.Stat(p); err == nil {
				found = p
				return fs.SkipAll
			}
		}
		return err
	})
	if err == nil && found == "" {
		err = errors.New("no such file")
	}
	if err != nil {
		return "", fmt.Errorf("find library %s: %w", name, err)
	}
	return found, nil
}

func (t *toolbox) extensions(folder string) error {
	list, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("read the extensions of xtables: %w", err)
	}
	inside := strings.TrimPrefix(folder, t.root)
	for _, e := range list {
		file := filepath.Join(folder, e.Name())
		t.files[path.Join(inside, e.Name())] = file
		f, err := elf.Open(file)
		if err != nil {
			return fmt.Errorf("extension of xtables: %w", err)
		}
		err = t.needed(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("extension %s: %w", e.Name(), err)
		}
	}
	return nil
}
