package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// findMirror is where this machine's own apt gets Debian from, so that a site's
// mirror is used; DEBIAN_MIRROR replaces it.
func findMirror() (string, error) {
	if m := os.Getenv("DEBIAN_MIRROR"); m != "" {
		return strings.TrimSuffix(m, "/"), nil
	}
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for its mirror: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if m, ok := strings.CutSuffix(strings.TrimSpace(line), "/debian/"); ok {
			return m, nil
		}
	}
	return "", errors.New("apt has no source of Debian: set DEBIAN_MIRROR to the address that has debian/ and debian-security/")
}

// archive is where packages come from.
type archive struct{ archive, suite string }

// archives are where the kernels come from, and the newest Debian's tools.
func archives(a arch) []archive {
	if a != amd64 {
		return []archive{{"debian", "trixie"}, {"debian-security", "trixie-security"}}
	}
	return []archive{
		{"debian", "bullseye"},
		{"debian-security", "bullseye-security"},
		{"debian", "bookworm"},
		{"debian-security", "bookworm-security"},
		{"debian", "trixie"},
		{"debian-security", "trixie-security"},
		{"debian", "trixie-backports"},
	}
}

// apt is a root of its own: nothing of the machine's packages, sources or
// settings is read or changed. What it downloads is verified against Debian's
// keys.
type apt struct {
	dir    string
	config string
	mu     sync.Mutex // of what unpacks
}

func newApt(dir string, kind arch) (*apt, error) {
	a := &apt{dir: dir, config: filepath.Join(dir, "apt.conf")}
	for _, d := range []string{"lists/partial", "archives/partial", "etc/parts"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("make apt root: %w", err)
		}
	}
	mirror, err := findMirror()
	if err != nil {
		return nil, err
	}
	var sources strings.Builder
	for _, s := range archives(kind) {
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s/%s %s main\n", keyring, mirror, s.archive, s.suite)
	}
	// APT_CONFIG is read first, so that these hide the machine's settings.
	config := fmt.Sprintf(`APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "5";
Dir %[1]q;
Dir::State %[1]q;
Dir::State::status "%[1]s/status";
Dir::Cache %[1]q;
Dir::Etc "%[1]s/etc";
Dir::Etc::sourceparts "%[1]s/etc/parts";
Dir::Etc::parts "%[1]s/etc/parts";
Dir::Etc::main "%[1]s/etc/none";
Dir::Etc::preferences "%[1]s/etc/none";
Dir::Etc::preferencesparts "%[1]s/etc/parts";
`, dir, kind)
	for name, text := range map[string]string{
		"status": "", "etc/none": "", "etc/sources.list": sources.String(), "apt.conf": config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("make apt root: %w", err)
		}
	}
	return a, nil
}

func (a *apt) run(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.config, "LC_ALL=C")
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, a.dir, "apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")
	return err
}

// images are the names of all kernel packages.
func (a *apt) images(ctx context.Context) ([]string, error) {
	out, err := a.run(ctx, a.dir, "apt-cache", "pkgnames", "linux-image-")
	return strings.Fields(out), err
}

var kernelPart = regexp.MustCompile(`(?m)^ *Depends: (linux-(?:binary|modules)-\S+)$`)

// kernelParts are a kernel's package, and those that newer kernels are split
// into.
func (a *apt) kernelParts(ctx context.Context, image string) ([]string, error) {
	out, err := a.run(ctx, a.dir, "apt-cache", "depends", image)
	if err != nil {
		return nil, err
	}
	names := []string{image}
	for _, m := range kernelPart.FindAllStringSubmatch(out, -1) {
		names = append(names, m[1])
	}
	return names, nil
}

// kernel downloads and unpacks a kernel, once.
func (a *apt) kernel(ctx context.Context, image, into string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	parts, err := a.kernelParts(ctx, image)
	if err != nil {
		return err
	}
	return a.unpack(ctx, parts, into)
}

// unpack downloads packages and unpacks them into one folder, once.
func (a *apt) unpack(ctx context.Context, names []string, into string) error {
	if _, err := os.Stat(into); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(into), "unpack-")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", names[0], err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if _, err := a.run(ctx, tmp, append([]string{"apt-get", "-qq", "download"}, names...)...); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != len(names) {
		return fmt.Errorf("download %s: got %d files", strings.Join(names, " "), len(debs))
	}
	root := filepath.Join(tmp, "root")
	for _, deb := range debs {
		if _, err := a.run(ctx, tmp, "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	if err := os.Rename(root, into); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("unpack %s: %w", names[0], err)
	}
	return nil
}
