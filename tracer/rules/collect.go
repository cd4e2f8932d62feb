package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Collect says which rules the dropped packets of a flow met, what Service
// rules exist for it and what would have masqueraded it. It never fails: what
// could not be read or decided is in Blind.
func (r *Reader) Collect(ctx context.Context, q tracer.Query) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = q.Last
	defer func() { r.since = time.Time{} }()
	var why error
	for range readTries {
		var res Result
		if res, why = r.collect(ctx, q); why == nil {
			return res
		}
		r.log.DebugContext(ctx, "rules are read again", slog.Any("error", why))
		if ctx.Err() != nil {
			break
		}
	}
	// A part of one generation and a part of another may make a way that no packet
	// could take.
	r.giveUp = why
	defer func() { r.giveUp = nil }()
	res, _ := r.collect(ctx, q)
	return res
}

// collect is one attempt. Its error says that the rules changed meanwhile.
func (r *Reader) collect(ctx context.Context, q tracer.Query) (res Result, changed error) {
	defer r.leaveAll()
	took, begun := []slog.Attr{}, time.Now()
	lap := func(name string) {
		took = append(took, slog.Duration(name, time.Since(begun)))
		begun = time.Now()
	}
	host, err := r.enter(ctx, r.hostNS)
	lap("reading")
	for _, site := range q.Drops {
		if err := ctx.Err(); err != nil {
			res.Blind = append(res.Blind, tracer.Blind{What: "rules", Effect: fmt.Sprintf("reading stopped early: %v", err)})
			return res, r.settled()
		}
		r.dropSite(ctx, q, site, &res)
	}
	lap("drops")
	if err != nil {
		res.Blind = append(res.Blind, tracer.Blind{What: "rules of the node", Effect: err.Error()})
		return res, r.settled()
	}
	res.Services = services(ctx, host, q)
	lap("services")
	res.Masquerade, res.MasqueradeRead = masquerades(host, q)
	if len(res.Masquerade) == 0 && res.MasqueradeRead {
		if other, _ := masquerades(host, elsewhere(q)); len(other) > 0 {
			res.MasqueradeElsewhere = &other[0]
		}
	}
	res.Untracked, res.Zoned, res.Redirected = untracked(host, q), zoned(host, q), redirected(host, q)
	lap("masquerade")
	for _, s := range r.spaces {
		res.Blind = append(res.Blind, s.blind...)
	}
	r.log.LogAttrs(ctx, slog.LevelDebug, "rules evaluated", append(took, slog.Int("rules", len(res.Rules)), slog.Int("blind", len(res.Blind)))...)
	return res, r.settled()
}

// settled is nil if no namespace's rules changed while they were evaluated.
func (r *Reader) settled() (err error) {
	for _, s := range r.spaces {
		if s.conn != nil {
			err = errors.Join(err, s.settled())
		}
	}
	return err
}

// elsewhere is the same flow to a public address.
func elsewhere(q tracer.Query) tracer.Query {
	q.Flow.Dst = netip.AddrPortFrom(tracer.Outside(q.Flow.Dst.Addr().Is4()), q.Flow.Dst.Port())
	q.Translated = q.Flow
	return q
}

// dropSite explains one place where packets were dropped.
func (r *Reader) dropSite(ctx context.Context, q tracer.Query, site tracer.DropSite, res *Result) {
	if !byFilter(site.Drop) {
		return
	}
	s, err := r.enter(ctx, site.Device.NetNS)
	if err != nil {
		res.Blind = append(res.Blind, tracer.Blind{What: fmt.Sprintf("rules in netns %d", site.Device.NetNS), Effect: err.Error()})
		return
	}
	hook, fam, ok := hookOf(site)
	if !ok {
		s.note("the netfilter hook of a drop", "without the hook no rule can be named")
		return
	}
	if f, ok := r.observed(ctx, s, site, hook, fam); ok {
		if !have(res.Rules, f) {
			res.Rules = append(res.Rules, f)
		}
		return
	}
	p := s.packetAt(q, site, hook)
	hits := dropHits(s.all(), p, s, fam, hook, site.Drop.Engine)
	for _, f := range r.choose(s, hits) {
		if !have(res.Rules, f) {
			res.Rules = append(res.Rules, f)
		}
	}
}

func have(fs []tracer.RuleFact, f tracer.RuleFact) bool {
	for _, x := range fs {
		if reflect.DeepEqual(x, f) {
			return true
		}
	}
	return false
}

// byFilter: the packet was dropped where rules are evaluated. Before kernel
// 5.17 there are no reasons, and the stage and engine come from the stack.
func byFilter(d tracer.Drop) bool {
	if d.Noise != "" {
		return false
	}
	switch d.Engine {
	case "nftables", "xtables", "nfqueue":
		return true
	case "":
		return d.Reason == "NETFILTER_DROP"
	}
	return false
}

func hookOf(site tracer.DropSite) (hook uint32, f family, ok bool) {
	f = famIP
	if (&packet{Tuple: site.Tuple}).v6() {
		f = famIP6
	}
	switch site.Drop.Stage {
	case tracer.StagePrerouting:
		return hookPrerouting, f, true
	case tracer.StageInput:
		return hookInput, f, true
	case tracer.StageForward:
		return hookForward, f, true
	case tracer.StageOutput:
		return hookOutput, f, true
	case tracer.StagePostrouting:
		return hookPostrouting, f, true
	case tracer.StageBridge:
		return bridgeHook(site.Drop.Stack), famBridge, true
	case tracer.StageIngress:
		return hookIngress, famNetdev, true
	case tracer.StageEgress:
		return hookEgress, famNetdev, true
	}
	return 0, f, false
}

// bridgeHook tells the bridge's hook by the function that called it, the nearest
// that says so: what forwards a frame was itself called by what took it in. The
// frames of the node itself are forwarded by the same function as those of others
// (net/bridge/br_forward.c).
func bridgeHook(stack []string) uint32 {
	for _, fn := range stack {
		switch {
		case strings.HasPrefix(fn, "br_forward_finish"):
			return hookPostrouting
		case strings.HasPrefix(fn, "br_forward"), strings.HasPrefix(fn, "__br_forward"):
			if slices.Contains(stack, "br_dev_xmit") {
				return hookOutput
			}
			return hookForward
		case strings.HasPrefix(fn, "br_pass_frame_up"):
			return hookInput
		case strings.HasPrefix(fn, "br_handle_frame"):
			return hookPrerouting
		}
	}
	return hookForward
}

// packetAt is what is known of the dropped packet at its hook.
func (s *space) packetAt(q tracer.Query, site tracer.DropSite, hook uint32) *packet {
	p := &packet{Tuple: site.Tuple, mark: site.Mark, markKnown: true, reply: triMaybe, orig: q.Flow, ct: site.Conn}
	in := site.InDevice
	if in.IfIndex == 0 && hook != hookOutput && hook != hookPostrouting {
		in = site.Device
	}
	if in.NetNS == s.inode && in.IfIndex != 0 {
		p.port = s.device(in.IfIndex)
		p.iif = s.routed(in.IfIndex)
		if site.Drop.Stage == tracer.StageBridge {
			p.iif = p.port
		}
	}
	switch hook {
	case hookOutput:
		p.iif = device{none: true}
		p.oif = s.output(p.Tuple, 0, p.mark)
	case hookPostrouting:
		if in.IfIndex == 0 {
			p.iif = device{none: true}
		}
		p.oif = s.device(site.Device.IfIndex)
	case hookForward:
		if site.Drop.Stage != tracer.StageBridge {
			p.oif = s.output(p.Tuple, p.iif.index, p.mark)
		}
	case hookIngress:
		p.iif, p.port, p.oif = s.device(site.Device.IfIndex), device{}, device{none: true}
	case hookEgress:
		p.oif = s.device(site.Device.IfIndex)
	default:
		p.oif = device{none: true}
	}
	s.connection(p, q, site)
	return p
}

// connection fills in what conntrack said, or what can be concluded: a SYN
// without ACK opens a connection.
func (s *space) connection(p *packet, q tracer.Query, site tracer.DropSite) {
	switch {
	case site.Tuple.Src == q.Flow.Src:
		p.reply = triNo
	case site.Tuple.Dst == q.Flow.Src:
		p.reply = triYes
	}
	if site.TCPFlags != 0 && p.Proto == tracer.ProtoTCP {
		p.flags, p.flagsKnown = site.TCPFlags, true
	}
	if ct := site.Conn; ct != nil {
		p.orig, p.reply = ct.Orig, yesIf(ct.IsReply())
		switch ct.Info {
		case 0, 3:
			p.state = stEstablished
		case 1, 4:
			p.state = stRelated
		case 2:
			p.state = stNew
		case 7:
			p.state = stUntracked
		}
		return
	}
	if p.flagsKnown && p.flags&(tracer.TCPSyn|tracer.TCPAck|tracer.TCPRst|tracer.TCPFin) == tracer.TCPSyn && p.reply == triNo {
		p.state = stNew
	}
}

// dropHits evaluates every base chain of a hook in order, and returns the
// places that may have dropped the packet. engine is what the stack told.
func dropHits(rs *ruleset, p *packet, env environment, f family, hook uint32, engine string) []hit {
	keep := func(c *chain) bool {
		legacy := c.table.engine == "iptables-legacy"
		switch {
		case engine == "nftables" && legacy, engine == "xtables" && !legacy:
			return false
		case c.base.typ == "nat":
			// NAT chains see only the packet that opens a connection.
			return p.state == 0 || p.state == stNew
		case hook == hookIngress:
			return atDevice(c, p.iif)
		case hook == hookEgress:
			return atDevice(c, p.oif)
		}
		return true
	}
	w := &walk{m: newMachine(p, env)}
	for _, c := range rs.hookChains(f, hook, keep) {
		if w.run(c) {
			break
		}
	}
	var out []hit
	for _, h := range w.hits {
		// The mark was read at the drop. Where the evaluation arrives with
		// another one, it took a way that the packet did not take.
		h.sure = h.sure && (!h.markKnown || h.mark == p.mark)
		if h.base.base.typ == "nat" && p.state == 0 {
			h.sure = false // whether the packet came to it is not known
		}
		if h.drops() && engine != "nfqueue" || h.act.kind == vQueue && engine == "nfqueue" {
			out = append(out, h)
		}
	}
	return out
}

// atDevice: the chain is hooked to the device, or to a list of them.
func atDevice(c *chain, d device) bool {
	return c.base.device == "" || d.name == "" || c.base.device == d.name
}

// choose names the rules that dropped, best first. A rule whose counter stood
// still did not. A rule that surely matches and whose counter moved comes
// first. Otherwise a rule is named only if nothing else could have dropped the
// packet instead: an undecided rule's counter may have moved for others.
func (r *Reader) choose(s *space, hits []hit) []tracer.RuleFact {
	var sure, left []candidate
	fresh := s.fresh(hits)
	for _, h := range hits {
		c := candidate{hit: h, how: "computed"}
		if now, ok := fresh[h.rule]; ok {
			n, known := r.moved(s, h.rule, now)
			if known && n == 0 {
				continue
			}
			if known {
				c.how, c.packets = "counter", n
			}
		}
		if h.sure && c.how == "counter" {
			sure = append(sure, c)
		} else {
			left = append(left, c)
		}
	}
	switch {
	case len(sure) > 0:
		for _, c := range left {
			s.doubt(c, "could also have dropped the packet")
		}
		return facts(sure)
	case len(left) == 1 && (left[0].sure || left[0].how == "counter" && left[0].understood()):
		return facts(left)
	}
	for _, c := range left {
		s.doubt(c, "may or may not have dropped the packet; no rule is named")
	}
	return nil
}

// candidate is a place that may have dropped the packet.
type candidate struct {
	hit
	how     string
	packets uint64
}

// understood: the rule drops, if it matches.
func (c *candidate) understood() bool {
	_, not := c.act.stmt.(unknown)
	return !not
}

func (c *candidate) rendered() tracer.RuleFact {
	f := c.fact(c.how)
	f.Packets = c.packets
	return f
}

func facts(cs []candidate) (out []tracer.RuleFact) {
	for _, c := range cs {
		out = append(out, c.rendered())
	}
	return out
}

func (s *space) doubt(c candidate, effect string) {
	f := c.rendered()
	s.note(fmt.Sprintf("%s table %s chain %s: %s", f.Family, f.Table, f.Chain, f.Text), effect)
}
