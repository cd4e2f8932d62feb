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
	arch  arch
	image *regexp.Regexp // of the package
	older []lack         // what only later kernels have
	// quick limits the rows of every change; nil for none.
	quick *regexp.Regexp
	// reasons: it says why it drops a packet, which the faults that are built apart
	// rest on. apart: they are part of every change.
	reasons, apart bool
}

// Images for clouds have all that podpath needs, and are small.
func releases() []release {
	tcx := lack{"TCX", "needs TCX"}
	owners := lack{"owners of nft tables", "needs owners of nft tables"}
	r := func(name string, a arch, version string, older ...lack) release {
		return release{name: name, arch: a, older: older, reasons: name != "5.10", apart: name == "6.12", image: regexp.MustCompile(`^linux-image-` + version + `-cloud-` + string(a) + `$`)}
	}
	other := r("arm64", arm64, `6\.12\.\d+\+deb\d+`)
	other.quick = regexp.MustCompile("^(probe Test(DropByRule|TCPAtEveryDevice|Translation|VXLANDevice)|lab (healthy|policy-ingress))$")
	between := r("6.18", amd64, `6\.18\.\d+\+deb\d+`)
	between.quick = regexp.MustCompile("^(probe|node|rules) ")
	return []release{
		r("5.10", amd64, `5\.10\.\d+-\d+`, tcx, owners),
		r("6.1", amd64, `6\.1\.\d+-\d+`, tcx),
		r("6.12", amd64, `6\.12\.\d+\+deb\d+`),
		between, // it has the hooks of the one before and the one after, which show the lab's faults
		r("7", amd64, `7\.\d+\.\d+\+deb\d+`),
		other, // the processor is another: what every change runs shows that programs load and see
	}
}

// version is how the table calls a kernel: by its package's name, shortened.
func (r release) version(image string) string {
	v := strings.TrimSuffix(strings.TrimPrefix(image, "linux-image-"), "-cloud-"+string(r.arch))
	if r.arch != amd64 {
		v += " " + string(r.arch)
	}
	return v
}

// lacks is what tests may be skipped for.
func (r release) lacks(tree *moduleTree) []lack {
	list := slices.Clone(r.older)
	if r.name == "5.10" { // they came with 5.13
		list = append(list, lack{"catch-all elements", "needs catch-all elements"})
	}
	for _, m := range []struct{ module, what string }{
		{"ip_vs", "IPVS"}, {"ip_set", "ipset"}, {"xt_set", "xt_set"}, {"ip_tables", "iptables-legacy"}, {"nft_compat", "iptables-nft"}, {"sctp", "SCTP"},
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
