package probe

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// Blind lists what this kernel, this configuration or the budget's level cannot
// show.
func (p *Probe) Blind() []tracer.Blind {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Concat(p.blind, p.levelBlind(), p.unwatchedBlind())
	if p.tier == TierTracepoint && !p.config.DropsOnly && slices.ContainsFunc(p.inventory.Devices, func(d tracer.Device) bool { return d.TakesOver() }) {
		list = append(list, BlindTakenOver)
	}
	return list
}

// BlindTakenOver is what tracepoints do not show of devices that take over what
// others receive (tracer.Device.TakesOver).
var BlindTakenOver = tracer.Blind{
	What:   "what macvlan and ipvlan devices receive is seen by tracepoints at the device below, and only if that is one of this node's namespaces",
	Effect: "whether an answer reached such a device is known from what is acknowledged, and not known of UDP",
}

// unwatchedBlind names the devices that took no program.
func (p *Probe) unwatchedBlind() []tracer.Blind {
	var list []tracer.Blind
	for key, u := range p.unwatched {
		list = append(list, tracer.Blind{
			What:   fmt.Sprintf("no program can be attached to %s in netns %d: %v", u.name, key.NetNS, u.err),
			Effect: "what passes there is not seen; that something was not seen proves nothing",
		})
	}
	slices.SortFunc(list, func(a, b tracer.Blind) int { return strings.Compare(a.What, b.What) })
	return list
}

// noteBlindness is called once, when the programs are loaded.
func (p *Probe) noteBlindness(c Config) {
	note := func(what, effect string) {
		p.blind = append(p.blind, tracer.Blind{What: what, Effect: effect})
	}
	if p.reasons == nil {
		note("kernel has no drop reasons (before 5.17)",
			"drops are told apart by the dropping function and its callers only; a reason is named where that function has just one")
	}
	if b, ok := symbolBlindness(p.symbols.path); ok {
		p.blind = append(p.blind, b)
	}
	if c.DropsOnly {
		return
	}
	if p.tier == TierTracepoint && c.Tier != TierTracepoint && !c.Wide {
		why := "kernel has no TCX (before 6.6)"
		if p.confined != "" && kernelHasTCX(p.kernel) {
			why = "no program can be attached to devices (" + p.confined + ")"
		}
		note(why, "every packet of the node passes the tracer, which costs more than watching single devices")
	}
	if p.tier == TierTracepoint {
		note("headers outside the linear part of a packet are not read by tracepoints",
			"packets of drivers that split headers may be missed on receive; see the counter beyond")
	}
}

// symbolBlindness looks at the first symbols only: hidden addresses are all 0.
func symbolBlindness(path string) (tracer.Blind, bool) {
	b := tracer.Blind{
		What:   "kernel symbol addresses are hidden (kernel.kptr_restrict, or CAP_SYSLOG is missing)",
		Effect: "the place of a drop is an address, and its stage is not known",
	}
	f, err := os.Open(path)
	if err != nil {
		return b, true
	}
	defer f.Close()
	buf := make([]byte, 4096)
	n, _ := f.Read(buf)
	for n > 0 && buf[n-1] != '\n' {
		n--
	}
	_, err = parseSymbols(bytes.NewReader(buf[:n]))
	return b, errors.Is(err, errHidden)
}
