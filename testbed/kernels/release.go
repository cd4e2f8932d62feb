package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// release is a line of kernels that Debian offers; the newest of it is tested.
type release struct {
	name  string
	image *regexp.Regexp // of the package
	tcx   bool           // the kernel has TCX
}

// Images for clouds have all that podpath needs, and are small.
func releases() []release {
	r := func(name, pattern string, tcx bool) release {
		return release{name, regexp.MustCompile(`^linux-image-` + pattern + `-cloud-amd64$`), tcx}
	}
	return []release{
		r("5.10", `5\.10\.\d+-\d+`, false),
		r("6.1", `6\.1\.\d+-\d+`, false),
		r("6.12", `6\.12\.\d+\+deb\d+`, true),
		r("6.18", `6\.18\.\d+\+deb\d+`, true),
		r("7", `7\.\d+\.\d+\+deb\d+`, true),
	}
}

// lacks is what tests may be skipped for.
func (r release) lacks(tree *moduleTree) []lack {
	var list []lack
	if !r.tcx {
		list = append(list, lack{"TCX", "needs TCX"})
	}
	for _, m := range []struct{ module, what string }{
		{"ip_vs", "IPVS"}, {"ip_tables", "iptables-legacy"}, {"nft_compat", "iptables-nft"}, {"sctp", "SCTP"},
	} {
		if !tree.has(m.module) {
			list = append(list, lack{m.what, "needs " + m.what})
		}
	}
	return list
}

func chosen(list string) ([]release, error) {
	all := releases()
	if list == "" {
		return all, nil
	}
	var out []release
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(r release) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no kernel %q is known", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// newest picks from the names of packages.
func (r release) newest(names []string) (string, error) {
	var found []string
	for _, n := range names {
		if r.image.MatchString(n) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no package is called like %s", r.image)
	}
	return slices.MaxFunc(found, compareVersions), nil
}

var numbers = regexp.MustCompile(`\d+`)

// compareVersions orders names that differ in their numbers.
func compareVersions(a, b string) int {
	return slices.CompareFunc(numbers.FindAllString(a, -1), numbers.FindAllString(b, -1), func(x, y string) int {
		m, errM := strconv.Atoi(x)
		n, errN := strconv.Atoi(y)
		if errM != nil || errN != nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(m, n)
	})
}
