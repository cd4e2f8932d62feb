package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// service resolves svc/. As a destination it stands for its frontends and for
// its endpoints, because a packet carries the one before and the other after
// translation. As a source it stands for its pods.
func (r *resolver) service(ctx context.Context) error {
	spec := r.out.Spec
	if err := r.checkNamespace(); err != nil {
		return err
	}
	svc, ok := r.s.Service(spec.Namespace, spec.Name)
	if !ok {
		return &NotFoundError{What: r.what(), Near: r.nearObjects()}
	}
	if svc.ExternalName != "" && svc.Type == "ExternalName" {
		r.out.Description = fmt.Sprintf("Service %s (ExternalName %s)", svc.Key(), svc.ExternalName)
		return r.host(ctx, svc.ExternalName)
	}
	if r.opt.Source || r.opt.Selector != nil {
		return r.take(r.filter(r.behind(svc)), "pods behind Service "+svc.Key().String())
	}
	ports, err := r.servicePorts(svc)
	if err != nil {
		return err
	}
	r.frontends(svc, ports)
	r.backends(svc, ports)
	r.out.Description = "Service " + svc.Key().String()
	if len(svc.ClusterIPs) > 0 {
		r.out.Description += " (" + strings.Join(texts(svc.ClusterIPs), ", ") + ")"
	}
	if len(r.out.Targets) == 0 {
		return &SelectionError{What: r.what(), Reason: "the Service is headless and has no endpoints, so there is no address to follow"}
	}
	return nil
}

// behind selects the pods that the Service's slices name, or that it selects.
func (r *resolver) behind(svc *Service) func(*Pod) bool {
	listed := make(map[Key]bool)
	for _, sl := range r.s.Slices(svc.Key()) {
		for i := range sl.Endpoints {
			listed[sl.Endpoints[i].Pod] = true
		}
	}
	return func(p *Pod) bool { return listed[p.Key()] || svc.Selects(p) }
}

// servicePorts returns the ports that were asked for; all if none was. A number
// that the Service does not have is no error: that may be the very fault.
func (r *resolver) servicePorts(svc *Service) ([]ServicePort, error) {
	spec := r.out.Spec
	if spec.Port == 0 && spec.PortName == "" {
		return svc.Ports, nil
	}
	var out []ServicePort
	var names, numbers []string
	for _, p := range svc.Ports {
		if spec.PortName != "" && p.Name == spec.PortName || spec.Port != 0 && p.Port == spec.Port {
			out = append(out, p)
		}
		names = append(names, p.Name)
		numbers = append(numbers, fmt.Sprintf("%d/%s", p.Port, tracer.ProtoName(p.Proto)))
	}
	if len(out) == 0 && spec.PortName != "" {
		return nil, &SelectionError{
			What:   r.what(),
			Reason: fmt.Sprintf("the Service has no port named %q; it has %s", spec.PortName, strings.Join(names, ", ")),
		}
	}
	if len(out) == 0 {
		r.note("Service %s has no port %d; it has %s", svc.Key(), spec.Port, strings.Join(numbers, ", "))
	}
	return out, nil
}

// frontends adds the Service's own addresses. Without a port asked for, they
// are followed on every port, so that a wrong port is seen too.
func (r *resolver) frontends(svc *Service, ports []ServicePort) {
	roles := map[FrontendKind]TargetRole{
		FrontendClusterIP: RoleClusterIP, FrontendExternalIP: RoleExternalIP, FrontendLoadBalancer: RoleLoadBalancer,
	}
	port := r.out.Spec.Port
	if r.out.Spec.PortName != "" {
		port = ports[0].Port // names are unique within a Service
	}
	svc.eachVIP(func(ip netip.Addr, k FrontendKind) { r.addAddr(ip, port, 0, roles[k]) })
	for _, p := range ports {
		if p.NodePort == 0 {
			continue
		}
		for _, n := range r.s.nodes.infos {
			for _, ip := range n.IPs {
				r.addAddr(ip, p.NodePort, p.Proto, RoleNodePort)
			}
		}
	}
}

// backends adds the endpoints of the ports, ready or not.
func (r *resolver) backends(svc *Service, ports []ServicePort) {
	ready := 0
	for _, sl := range r.s.Slices(svc.Key()) {
		for _, sp := range sl.Ports {
			wanted := slices.ContainsFunc(ports, func(p ServicePort) bool { return p.Name == sp.Name && p.Proto == sp.Proto })
			if !wanted || sp.Number == 0 {
				continue
			}
			for i := range sl.Endpoints {
				if r.backend(&sl.Endpoints[i], sp) {
					ready++
				}
			}
		}
	}
	if ready == 0 {
		r.note("Service %s has no ready endpoint", svc.Key())
	}
}

func (r *resolver) backend(e *SliceEndpoint, port SlicePort) (ready bool) {
	for _, ip := range e.Addrs {
		r.addAddr(ip, port.Number, port.Proto, RoleBackend)
	}
	if p, ok := r.s.pods.get(e.Pod); ok {
		r.out.Pods = append(r.out.Pods, p)
	}
	return e.Ready
}
