package probe

import (
	"github.com/podpath/podpath/bpf"
)

// refreshLearned is called often; it does nothing yet unless due.
func (p *Probe) refreshLearned() {
	_ = bpf.TraceMapLearned
}
