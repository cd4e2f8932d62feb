package probe

import (
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/podpath/podpath/tracer"
)

// Each level takes away what it says, drops are shown at all of them, and going
// back brings everything back.
func TestBudgetLevels(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		n.node.dropAt(nftables.ChainHookForward, tracer.ProtoUDP, 9999)
		inv := inventory(t, n.all()...)
		roles := map[tracer.DeviceKey]tracer.DeviceRole{
			n.client.key("eth0"): tracer.RolePod, n.node.key("toc"): tracer.RolePodHost, n.node.key("tos"): tracer.RoleUplink,
			n.server.key("eth0"): tracer.RoleOther,
		}
		for i := range inv.Devices {
			if role, ok := roles[inv.Devices[i].DeviceKey]; ok {
				inv.Devices[i].Role = role
			}
		}
		// What all levels show together is within the last one's second, too.
		r := record(t, Config{Tier: tier, MaxEvents: 10000}, selectPair(), n.all()...)
		if err := r.probe.SetInventory(inv); err != nil {
			t.Fatal(err)
		}
		n.server.listenTCP(server4 + ":8080")
		list := r.probe.BudgetLevels()
		for _, level := range append(list, tracer.BudgetCounting, tracer.BudgetDrops, tracer.BudgetFull) {
			if err := r.probe.SetBudgetLevel(level); err != nil {
				t.Fatalf("%s: %v", level, err)
			}
			before, mark := steadyStats(t, r.probe), len(r.all())
			n.client.dialTCP(server4 + ":8080")
			n.client.sendUDP(server4+":9999", 1)
			r.wait("drop at "+string(level), func(e tracer.Event) bool { return e.Seq > uint64(mark) && e.Kind == tracer.EventDrop })
			after := steadyStats(t, r.probe)
			packets := after.Hooks[tracer.EventRX]["selected"] - before.Hooks[tracer.EventRX]["selected"]
			events := after.Hooks[tracer.EventRX]["events"] - before.Hooks[tracer.EventRX]["events"]
			switch {
			case level == tracer.BudgetDrops || level == tracer.BudgetFewDrops:
				if packets != 0 {
					t.Errorf("%s: %d packets at devices", level, packets)
				}
			case level == tracer.BudgetPods:
				if packets == 0 || r.attached(n.node.key("tos")) {
					t.Errorf("%s: %d packets at devices", level, packets)
				}
			case level == tracer.BudgetCounting:
				if packets == 0 || events != 0 {
					t.Errorf("%s: %d events of %d packets", level, events, packets)
				}
			case events == 0 || level == tracer.BudgetFull && events != packets:
				t.Errorf("%s: %d events of %d packets", level, events, packets)
			}
			blind := r.probe.levelBlind()
			if (len(blind) == 0) != (level == tracer.BudgetFull) {
				t.Errorf("%s: hides %v", level, blind)
			}
			for _, b := range blind {
				if !strings.HasPrefix(b.What, "budget: ") || b.Effect == "" {
					t.Errorf("%s: %+v", level, b)
				}
			}
		}
		if tier == TierTracepoint && len(list) != 5 || tier == TierTCX && len(list) != 6 {
			t.Errorf("levels %v", list)
		}
	})
}

// attached reports whether a program is attached to the device.
func (r *recorder) attached(key tracer.DeviceKey) bool {
	r.probe.mu.Lock()
	defer r.probe.mu.Unlock()
	_, ok := r.probe.devices[key]
	return ok
}
