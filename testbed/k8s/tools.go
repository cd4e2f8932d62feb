package k8s

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tool is a program that is built from a module of its own under
// testbed/tools.
type tool struct {
	name, module string
	// pkg is an upstream main package; "." is the module's own.
	pkg string
	// set are linker settings, as -X takes them.
	set []string
	// links are other names of the same program.
	links []string
	// cni, if set, is the only one that needs it.
	cni CNI
	// full: only the full layout needs it.
	full bool
}

// needed are the tools of these flavours.
func needed(flavours []Flavour) []tool {
	return slices.DeleteFunc(tools(), func(t tool) bool {
		return !slices.ContainsFunc(flavours, func(f Flavour) bool { return (t.cni == "" || t.cni == f.CNI) && (!t.full || f.Full) })
	})
}

const kubernetesVersion = "v1.36.3"

func tools() []tool {
	return []tool{
		{name: "kubernetes", module: "kubernetes", pkg: ".",
			set: []string{
				"k8s.io/component-base/version.gitVersion=" + kubernetesVersion,
				"k8s.io/component-base/version.gitMajor=1",
				"k8s.io/component-base/version.gitMinor=36",
			},
			links: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"}},
		{name: "flanneld", module: "flannel", pkg: "."},
		{name: "coredns", module: "coredns", pkg: "."},
		{name: "pause", module: "pause", pkg: ".", full: true},
		{name: "calico-felix", module: "calico", pkg: "github.com/projectcalico/calico/felix/cmd/calico-felix", cni: Calico},
		{name: "calico", module: "calico", pkg: "github.com/projectcalico/calico/cni-plugin/cmd/calico", cni: Calico},
	}
}

// Cache is where the tools are kept, outside of any checkout.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "podpath", "testbed"), nil
}

// Build makes what the flavours need and the cache does not have yet, and
// returns the folder that holds it. tree is the checkout. It can take some
// twenty minutes the first time; what it does goes to say.
func Build(ctx context.Context, tree string, flavours []Flavour, say io.Writer) (string, error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	all := needed(flavours)
	for _, t := range all {
		key, err := t.key(tree)
		if err != nil {
			return "", err
		}
		built := filepath.Join(cache, "built", t.name+"-"+key)
		if _, err := os.Stat(built); err != nil {
			if err := t.build(ctx, tree, built, say); err != nil {
				return "", err
			}
		}
		fmt.Fprintln(sum, built)
	}
	bin := filepath.Join(cache, "bin-"+hex.EncodeToString(sum.Sum(nil))[:12])
	return bin, link(all, tree, cache, bin)
}

// key changes with everything that the program is built from.
func (t tool) key(tree string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, t.pkg, t.set)
	dir := filepath.Join(tree, "testbed", "tools", t.module)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sum.Write(b)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read module %s: %w", t.module, err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

func (t tool) build(ctx context.Context, tree, file string, say io.Writer) error {
	begun := time.Now()
	fmt.Fprintf(say, "build %s …\n", t.name)
	flags := "-s -w"
	for _, s := range t.set {
		flags += " -X " + s
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", file+".part", t.pkg)
	cmd.Dir = filepath.Join(tree, "testbed", "tools", t.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	cmd.Stderr = say
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	if err := os.Rename(file+".part", file); err != nil {
		return err
	}
	fmt.Fprintf(say, "build %s: %.0f s\n", t.name, time.Since(begun).Seconds())
	return nil
}

// link makes the folder of names that point to what was built.
func link(all []tool, tree, cache, bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, t := range all {
		key, err := t.key(tree)
		if err != nil {
			return err
		}
		for _, name := range append([]string{t.name}, t.links...) {
			err := os.Symlink(filepath.Join(cache, "built", t.name+"-"+key), filepath.Join(bin, name))
			if err != nil && !os.IsExist(err) {
				return err
			}
		}
	}
	return nil
}

// calicoManifest is the file of Calico's custom resource definitions in the
// module that its programs are built from.
func calicoManifest(tree string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/projectcalico/calico")
	cmd.Dir = filepath.Join(tree, "testbed", "tools", "calico")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the calico module: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "manifests", "crds.yaml"), nil
}
