package kube

import (
	"strings"
	"testing"
	"time"
)

// shopDump is a small dual-stack cluster of two nodes, as kubectl prints it
// (keys in alphabetical order, items before kind).
const shopDump = `{
 "apiVersion": "v1",
 "items": [
  {"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"a"}},
   "spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24","fd00:1::/64"]},
   "status":{"addresses":[{"type":"InternalIP","address":"172.30.0.11"},{"type":"InternalIP","address":"fd00:f::11"},{"type":"Hostname","address":"n1"}],
    "conditions":[{"type":"Ready","status":"True"}]}},
  {"apiVersion":"v1","kind":"Node","metadata":{"name":"n2","annotations":{"flannel.alpha.coreos.com/backend-type":"host-gw","other":"x"}},
   "spec":{"podCIDR":"10.244.2.0/24"},
   "status":{"addresses":[{"type":"InternalIP","address":"172.30.0.12"}],"conditions":[{"type":"Ready","status":"Unknown"}]}},
  {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"team":"web"}}},
  {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"payments"}},
  {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system"}},
  {"apiVersion":"v1","kind":"Pod",
   "metadata":{"name":"checkout-7d9f-x2x4q","namespace":"shop","uid":"u1","creationTimestamp":"2026-11-22T09:00:00Z",
    "labels":{"app":"checkout","pod-template-hash":"7d9f"},
    "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"checkout-7d9f","uid":"r1","controller":true}]},
   "spec":{"nodeName":"n1","containers":[{"name":"c","ports":[{"name":"http","containerPort":8080,"protocol":"TCP"}]}]},
   "status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"},{"ip":"fd00:1::7"}],
    "conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"c","restartCount":3}]}},
  {"apiVersion":"v1","kind":"Pod",
   "metadata":{"name":"api-5c-aaaaa","namespace":"payments","uid":"u2","creationTimestamp":"2026-11-22T09:00:00Z",
    "labels":{"app":"api","pod-template-hash":"5c"},
    "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"api-5c","uid":"r2","controller":true}]},
   "spec":{"nodeName":"n2","containers":[{"name":"c","ports":[{"name":"web","containerPort":8080,"hostPort":18080,"hostIP":"172.30.0.12"}]}]},
   "status":{"phase":"Running","podIP":"10.244.2.9","conditions":[{"type":"Ready","status":"True"}]}},
  {"apiVersion":"v1","kind":"Pod",
   "metadata":{"name":"batch-1","namespace":"shop","labels":{"app":"checkout"}},
   "spec":{"nodeName":"n1","containers":[{"name":"c"}]},
   "status":{"phase":"Succeeded","podIP":"10.244.1.7"}},
  {"apiVersion":"v1","kind":"Pod",
   "metadata":{"name":"slow-0","namespace":"shop","labels":{"app":"slow"},
    "ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"slow","uid":"s1","controller":true}]},
   "spec":{"nodeName":"n1","containers":[{"name":"c"}]},
   "status":{"phase":"Pending","containerStatuses":[{"name":"c","state":{"waiting":{"reason":"ImagePullBackOff","message":"back-off pulling image"}}}]}},
  {"apiVersion":"v1","kind":"Pod",
   "metadata":{"name":"exporter-abc","namespace":"kube-system","labels":{"app":"exporter"},
    "ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"exporter","uid":"d1","controller":true}]},
   "spec":{"nodeName":"n1","hostNetwork":true,"containers":[{"name":"c","ports":[{"name":"metrics","containerPort":9100,"hostPort":9100}]}]},
   "status":{"phase":"Running","podIP":"172.30.0.11"}},
  {"apiVersion":"v1","kind":"Service","metadata":{"name":"api","namespace":"payments"},
   "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.20","clusterIPs":["10.96.0.20","fd00:96::20"],"externalIPs":["192.0.2.5"],
    "selector":{"app":"api"},"externalTrafficPolicy":"Local",
    "ports":[{"name":"http","port":80,"targetPort":"web","nodePort":30080,"protocol":"TCP"},{"name":"admin","port":9000,"targetPort":9000,"protocol":"TCP","nodePort":30900}]},
   "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.10"},{"ip":"203.0.113.11","ipMode":"Proxy"}]}}},
  {"apiVersion":"v1","kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"},
   "spec":{"type":"ClusterIP","clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],"selector":{"k8s-app":"kube-dns"},
    "ports":[{"name":"dns","port":53,"targetPort":53,"protocol":"UDP"},{"name":"dns-tcp","port":53,"targetPort":53,"protocol":"TCP"}]}},
  {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4",
   "metadata":{"name":"api-x1","namespace":"payments","labels":{"kubernetes.io/service-name":"api"}},
   "ports":[{"name":"http","port":8080,"protocol":"TCP"},{"name":"admin","port":9000,"protocol":"TCP"}],
   "endpoints":[{"addresses":["10.244.2.9"],"nodeName":"n2","conditions":{"ready":true},"targetRef":{"kind":"Pod","namespace":"payments","name":"api-5c-aaaaa"}}]},
  {"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"allow-frontend","namespace":"payments"},
   "spec":{"podSelector":{"matchLabels":{"app":"api"}},"policyTypes":["Ingress"],
    "ingress":[{"from":[{"namespaceSelector":{"matchLabels":{"team":"front"}}}],"ports":[{"port":"web","protocol":"TCP"}]}]}},
  {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"shop"}}
 ],
 "kind": "List",
 "metadata": {"resourceVersion": ""}
}`

func shop(t testing.TB) *Snapshot {
	t.Helper()
	s, _, err := ReadDump(strings.NewReader(shopDump), "fixture")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
