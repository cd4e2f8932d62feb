// Package lab builds a small cluster out of network namespaces – a node with a
// bridge and an uplink, its pods, a second node and the outside – breaks one
// thing in it, and sends real traffic through the breakage.
//
// Every namespace is inhabited by a child process of this program, connected by
// pipes. No namespace has a name, nothing is mounted, and nothing outside those
// namespaces is changed: when this process ends, however it ends, the children
// end and the kernel removes everything with them.
//
// The package decides nothing about faults. It states for each what it is, so
// that a tool that looks at the packets can be held against it.
package lab
