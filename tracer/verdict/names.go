package verdict

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// name gives an endpoint as people say it: "shop/checkout-7d9", "Service
// payments/api", "203.0.113.77".
func name(e tracer.Endpoint) string {
	switch {
	case e.Name == "":
		return e.IP.String()
	case e.Kind == tracer.KindService:
		return "Service " + e.Namespace + "/" + e.Name
	case e.Kind == tracer.KindNode:
		return "node " + e.Name
	}
	return e.Namespace + "/" + e.Name
}

func (in *Input) source() string {
	if in.Cluster.Source.Name == "" {
		return addressText(in.Journey.Flow.Src.Addr())
	}
	return name(in.Cluster.Source)
}

func (in *Input) destination() string {
	if in.Cluster.Destination.Name == "" {
		return addressText(in.Journey.Flow.Dst.Addr())
	}
	return name(in.Cluster.Destination)
}

func (in *Input) target() string {
	if in.Cluster.Target.Name == "" {
		return addressText(in.Journey.Translated.Dst.Addr())
	}
	return name(in.Cluster.Target)
}

// addressText is an address, or that there is none.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return "a pod without an address"
	}
	return a.String()
}

// port is the destination port as the client asked: "TCP 80".
func (in *Input) port() string {
	return portOf(in.Journey.Flow.Proto, in.Journey.Flow.Dst.Port())
}

// targetPort is the port after translation.
func (in *Input) targetPort() string {
	return portOf(in.Journey.Flow.Proto, in.Journey.Translated.Dst.Port())
}

func portOf(proto uint8, port uint16) string {
	if proto == tracer.ProtoICMP || proto == tracer.ProtoICMPv6 {
		return tracer.ProtoName(proto)
	}
	return fmt.Sprintf("%s %d", tracer.ProtoName(proto), port)
}

func (in *Input) family6() bool { return in.Journey.Flow.Dst.Addr().Is6() }

// podRef and serviceRef name objects.
func podRef(p *tracer.PodFacts) *tracer.Ref {
	if p == nil {
		return nil
	}
	return &tracer.Ref{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
}

func serviceRef(s *tracer.ServiceFacts) *tracer.Ref {
	return &tracer.Ref{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
}

func (in *Input) nodeRef() *tracer.Ref { return &tracer.Ref{Kind: "Node", Name: in.NodeName} }

// at says where a drop happened, by what: "dropped on n1 at cali12ab (forward
// hook, nftables)".
func (in *Input) at(d *tracer.DropSeen) string {
	s := in.where(d.Device)
	var by []string
	if d.Drop.Stage != "" {
		by = append(by, string(d.Drop.Stage)+" hook")
	}
	if d.Drop.Engine != "" {
		by = append(by, d.Drop.Engine)
	}
	if len(by) > 0 {
		s += " (" + strings.Join(by, ", ") + ")"
	}
	return s
}

// seenDrop is a drop as evidence.
func (in *Input) seenDrop(d *tracer.DropSeen) tracer.Evidence {
	if d.Reported {
		return in.seenAnswer(in.unresolved())
	}
	reason := d.Drop.Reason
	if reason == "" {
		reason = "dropped"
	}
	what := fmt.Sprintf("%s at %s: %s", reason, d.Drop.Location, d.Tuple)
	if d.Count > 1 {
		what += fmt.Sprintf(", %d times", d.Count)
	}
	if d.Drop.Stage != "" {
		what += ", " + string(d.Drop.Stage)
	}
	return tracer.Evidence{Time: d.First, Where: in.where(d.Device), What: what, Event: d.Event}
}

// seenAnswer is an answer as evidence.
func (in *Input) seenAnswer(a *tracer.Answer) tracer.Evidence {
	return tracer.Evidence{Time: a.Time, Where: in.where(a.Device), What: answerText(a), Event: a.Event}
}

func answerText(a *tracer.Answer) string {
	switch a.Kind {
	case tracer.AnswerRST:
		return "TCP RST from " + a.From.String()
	case tracer.AnswerSynAck:
		return "SYN-ACK from " + a.From.String()
	case tracer.AnswerICMP:
		return fmt.Sprintf("ICMP type %d code %d (%s) from %s", a.ICMPType, a.ICMPCode, icmpName(a), a.From)
	}
	return string(a.Kind) + " from " + a.From.String()
}

// icmpName is the message's name (RFC 792, RFC 1812 §5.2.7, RFC 4443).
func icmpName(a *tracer.Answer) string {
	switch {
	case tooBig(a):
		return fmt.Sprintf("packet too big, MTU %d", a.ICMPMTU)
	case portUnreachable(a):
		return "port unreachable"
	case prohibited(a):
		return "administratively prohibited"
	case timeExceeded(a):
		return "time exceeded"
	case a.ICMPCode == 0:
		return "no route / network unreachable"
	case a.ICMPCode == 1 || a.Proto == tracer.ProtoICMPv6 && a.ICMPCode == 3:
		return "host unreachable"
	}
	return "unreachable"
}

// seenState is a fact of the node or the cluster as evidence.
func (in *Input) seenState(where, format string, args ...any) tracer.Evidence {
	return tracer.Evidence{Time: in.Now, Where: where, What: fmt.Sprintf(format, args...)}
}

// seenTranslation is a translation as evidence.
func (in *Input) seenTranslation(t tracer.Translation) tracer.Evidence {
	return tracer.Evidence{
		Time: in.Journey.First, Where: in.NodeName, Event: t.Event,
		What: fmt.Sprintf("%s %s to %s (conntrack)", strings.ToUpper(t.Kind), t.From, t.To),
	}
}
