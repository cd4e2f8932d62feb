package probe

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sync/errgroup"
)

// loadCollection makes the maps and then loads the programs side by side: most
// of the time until podpath is ready, the kernel verifies, one program on one
// CPU.
func loadCollection(spec *ebpf.CollectionSpec, kernel *btf.Spec) (*ebpf.Collection, error) {
	options := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: kernel}}
	coll, err := ebpf.NewCollectionWithOptions(withPrograms(spec, nil), options)
	if err != nil {
		return nil, err
	}
	options.MapReplacements = coll.Maps
	for name, m := range spec.Maps {
		m.MaxEntries = coll.Maps[name].MaxEntries() // the kernel's own number, for a map per CPU
	}
	loaded := make(chan *ebpf.Collection, len(spec.Programs))
	var group errgroup.Group
	for name, program := range spec.Programs {
		one := withPrograms(spec, map[string]*ebpf.ProgramSpec{name: program})
		group.Go(func() error {
			c, err := ebpf.NewCollectionWithOptions(one, options)
			if err == nil {
				loaded <- c
			}
			return err
		})
	}
	err = group.Wait()
	close(loaded)
	for c := range loaded {
		for name := range c.Programs {
			coll.Programs[name] = c.DetachProgram(name)
		}
		c.Close()
	}
	if err != nil {
		coll.Close()
		return nil, err
	}
	return coll, nil
}

// withPrograms is a copy that shares nothing, of all but the programs.
func withPrograms(spec *ebpf.CollectionSpec, programs map[string]*ebpf.ProgramSpec) *ebpf.CollectionSpec {
	some := *spec
	some.Programs = programs
	return some.Copy()
}
