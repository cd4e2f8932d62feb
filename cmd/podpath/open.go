package main

import (
	"errors"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/node"
	"github.com/podpath/podpath/tracer/probe"
)

// onNode is what every verb that looks at this node has: the kernel's programs,
// what they may cost, and the node's state.
type onNode struct {
	probe  *probe.Probe
	node   *node.Node
	budget *budget
	// outdated is why the selection is not that of the cluster and the node as
	// they are now, nil if it is.
	outdated error
}

// open loads what c asks for. hostNetNS is a path to the node's own namespace, ""
// for the process's.
func (a *app) open(c probe.Config, limits budgetFlags, hostNetNS string) (onNode, error) {
	c.Logger, c.Symbols, c.MaxEvents = a.logger(), a.symbols, uint32(limits.events)
	p, err := probe.Open(c)
	if err != nil {
		return onNode{}, err
	}
	n, err := node.New(node.Config{Logger: c.Logger, HostNetNS: hostNetNS, OwnProgram: p.OwnProgram})
	if err != nil {
		return onNode{}, errors.Join(err, p.Close())
	}
	return onNode{probe: p, node: n, budget: newBudget(limits, p, a.say)}, nil
}

// hidden is what of this node cannot be seen.
func (o *onNode) hidden() []tracer.Blind {
	list := append(o.probe.Blind(), o.node.Blind()...)
	if o.outdated != nil {
		list = append(list, tracer.Blind{
			What:   "the selection could not be brought up to date: " + o.outdated.Error(),
			Effect: "pods, addresses and devices that are new are not watched; that something was not seen proves nothing",
		})
	}
	return list
}

// closeNode detaches everything; nothing may have been opened.
func (o *onNode) closeNode() error {
	if o.probe == nil {
		return nil
	}
	return errors.Join(o.probe.Close(), o.node.Close())
}
