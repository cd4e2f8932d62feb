package k8s

import (
	"encoding/json"
	"fmt"
)

// Link is a device of a namespace, as ip -json link shows it.
type Link struct {
	Name  string `json:"ifname"`
	Index int    `json:"ifindex"`
	MTU   int    `json:"mtu"`
	// Peer is the index of the other end, in the other namespace; 0 if it has
	// none.
	Peer int `json:"link_index"`
}

// Links are the devices of the namespace.
func (s *Space) Links() ([]Link, error) {
	out, err := s.Output("ip", "-json", "link", "show")
	if err != nil {
		return nil, err
	}
	var links []Link
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("links of %s: %w", s.name, err)
	}
	return links, nil
}

// MTU is a device's.
func (s *Space) MTU(device string) (int, error) {
	links, err := s.Links()
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.Name == device {
			return l.MTU, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", s.name, device)
}

// PeerIndex is the index of the node's end of the pod's eth0.
func (p *Pod) PeerIndex() (int, error) {
	links, err := p.Links()
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.Name == "eth0" {
			return l.Peer, nil
		}
	}
	return 0, fmt.Errorf("pod %s has no eth0", p.Name)
}
