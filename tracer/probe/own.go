package probe

// OwnProgram reports whether a program, by its id on this kernel, is one of
// this probe's, so that it is not taken for somebody else's.
func (p *Probe) OwnProgram(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	for _, prog := range p.programs() {
		info, err := prog.Info()
		if err != nil {
			continue
		}
		if own, ok := info.ID(); ok && uint32(own) == id {
			return true
		}
	}
	return false
}
