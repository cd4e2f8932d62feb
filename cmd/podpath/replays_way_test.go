package main

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer"
)

// TestReplaysKeepTheirWay: no recorded flow that works is said to have left the way
// that the node's CNI sends packets, and those that did leave it are.
func TestReplaysKeepTheirWay(t *testing.T) {
	left := map[string]string{
		"overlay-route-missing":     "expected flannel.1 next, by flannel's VXLAN; it left by eth0 un-encapsulated",
		"routed-host-route-missing": "expected the node's end of the pod's veth pair next; it left by eth0 un-encapsulated",
	}
	folders, err := replays.Folders(keptRecordings)
	if err != nil {
		t.Fatal(err)
	}
	compared := map[string]int{}
	for _, f := range folders {
		cases, err := f.Cases()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			want, fires := left[c.Name]
			if f.Name() == "lab" && fires {
				delete(left, c.Name)
			} else if c.Code != tracer.CodeOK {
				continue
			}
			var said []string
			for _, v := range replayFile(t, f.File(c.Name)) {
				for _, cni := range v.CNI {
					compared[cni]++
				}
				for _, e := range v.Evidence {
					if strings.HasPrefix(e.What, "expected ") {
						said = append(said, e.What)
					}
				}
			}
			if got := strings.Join(said, "; "); got != want {
				t.Errorf("%s: says %q, want %q", c.Name, got, want)
			}
		}
	}
	for name := range left {
		t.Errorf("there is no recording of %s", name)
	}
	for _, cni := range []string{"flannel", "calico", "bridge"} {
		if compared[cni] == 0 {
			t.Errorf("no recording is of %s: %v", cni, compared)
		}
	}
}
