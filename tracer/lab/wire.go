package lab

import (
	"net/netip"
	"time"
)

// Outcome is how one attempt ended for the client's socket.
type Outcome string

const (
	// OK: the answer came back complete.
	OK Outcome = "ok"
	// Timeout: no answer of any kind.
	Timeout Outcome = "timeout"
	// NoData: connected, but the exchange did not finish.
	NoData Outcome = "no-data"
	// Refused is ECONNREFUSED: a RST, or ICMP port unreachable.
	Refused Outcome = "refused"
	// Reset is ECONNRESET after the handshake.
	Reset Outcome = "reset"
	// HostUnreachable is EHOSTUNREACH.
	HostUnreachable Outcome = "host-unreachable"
	// NetUnreachable is ENETUNREACH.
	NetUnreachable Outcome = "net-unreachable"
	// Prohibited is EACCES or EPERM.
	Prohibited Outcome = "prohibited"
	// TooBig is EMSGSIZE: an ICMP "packet too big" arrived for a DF packet.
	TooBig Outcome = "too-big"
	// ProtocolUnreachable is ENOPROTOOPT: ICMP protocol unreachable.
	ProtocolUnreachable Outcome = "protocol-unreachable"
	// DNSError is a DNS answer with an rcode other than NOERROR.
	DNSError Outcome = "dns-error"
	// Failed is any other error; Attempt.Error says which.
	Failed Outcome = "failed"
)

// Attempt is one connection or request of the traffic, as its socket saw it.
type Attempt struct {
	Proto   string         `json:"proto"` // "tcp" or "udp"
	Local   netip.AddrPort `json:"local,omitzero"`
	Remote  netip.AddrPort `json:"remote"`
	Outcome Outcome        `json:"outcome"`
	Error   string         `json:"error,omitempty"`
	// Took is the time from the first system call to the outcome.
	Took time.Duration `json:"took_ns"`
	// Bytes is the payload of the answer.
	Bytes int `json:"bytes,omitempty"`
}

// The parent writes requests and reads responses, one JSON object a line.
// Responses come in any order; ID pairs them.
type request struct {
	ID     uint64          `json:"id"`
	Sysctl *sysctlArgs     `json:"sysctl,omitempty"`
	Listen *listenArgs     `json:"listen,omitempty"`
	Hold   *holdArgs       `json:"hold,omitempty"`
	Close  uint64          `json:"close,omitempty"` // the handle of a listener or of what is held
	Dial   *dialArgs       `json:"dial,omitempty"`
	Cast   *netip.AddrPort `json:"cast,omitempty"` // one datagram, no answer wanted
}

type response struct {
	ID       uint64   `json:"id"`
	Err      string   `json:"err,omitempty"`
	Hello    bool     `json:"hello,omitempty"`
	Old      string   `json:"old,omitempty"`
	Listener uint64   `json:"listener,omitempty"`
	Attempt  *Attempt `json:"attempt,omitempty"`
}

// sysctlArgs writes one key below /proc/sys; the old value is answered.
type sysctlArgs struct {
	Key   string `json:"key"` // "net/ipv4/ip_forward"
	Value string `json:"value"`
}

type serverKind string

const (
	serveHTTP  serverKind = "http"  // TCP: reads a request with body, answers 200
	serveEcho  serverKind = "echo"  // UDP: sends each datagram back
	serveDNS   serverKind = "dns"   // UDP and TCP
	serveRude  serverKind = "rude"  // TCP: sends data the client will not read
	serveHang  serverKind = "hang"  // TCP: accepts and reads, never answers
	serveReset serverKind = "reset" // TCP: resets after the first bytes
	serveFull  serverKind = "full"  // TCP: listens with a full accept queue
	serveDeaf  serverKind = "deaf"  // UDP: never reads
	serveSCTP  serverKind = "sctp"  // sends each packet back, without the kernel's SCTP
	serveGreet serverKind = "greet" // TCP: talks first, and answers one line
)

type listenArgs struct {
	Kind serverKind              `json:"kind"`
	Addr netip.AddrPort          `json:"addr"`
	Zone map[string][]netip.Addr `json:"zone,omitempty"` // DNS: name to addresses
	// RCode is DNS's only answer, if it is not 0; Delay comes before each answer of
	// DNS and of HTTP.
	RCode uint16        `json:"rcode,omitempty"`
	Delay time.Duration `json:"delay,omitempty"`
	// Forward, if set, is whom DNS asks for names that are not in Zone. Cut makes
	// it truncate every answer over UDP, and UDPOnly keeps it from TCP.
	Forward netip.AddrPort `json:"forward,omitzero"`
	Cut     bool           `json:"cut,omitempty"`
	UDPOnly bool           `json:"udp_only,omitempty"`
}

// holdArgs opens a connection, or sends one datagram, and keeps the socket.
type holdArgs struct {
	Proto string         `json:"proto"`
	To    netip.AddrPort `json:"to"`
}

type dialKind string

const (
	dialHTTP     dialKind = "http"
	dialUDP      dialKind = "udp"
	dialDNS      dialKind = "dns"
	dialTeardown dialKind = "teardown" // close with unread data
	dialConnect  dialKind = "connect"  // connect, and nothing else
	dialGreet    dialKind = "greet"    // wait for a greeting, then say goodbye

	dialDNSOverTCP dialKind = "dns-tcp"
	dialSCTP       dialKind = "sctp" // one packet, without the kernel's SCTP

	// The first packet only, with a wrong checksum.
	dialBrokenTCP dialKind = "broken-tcp"
	dialBrokenUDP dialKind = "broken-udp"
)

type dialArgs struct {
	Kind dialKind       `json:"kind"`
	To   netip.AddrPort `json:"to"`
	// Local is the source address; the zero value leaves it to the kernel.
	Local netip.Addr `json:"local,omitzero"`
	// LocalPort is the source port, 0 for any.
	LocalPort uint16        `json:"local_port,omitempty"`
	Timeout   time.Duration `json:"timeout"`
	// Retries resends an unanswered datagram, spread over Timeout.
	Retries int `json:"retries,omitempty"`
	// Body is the size of the request's payload in bytes.
	Body int `json:"body,omitempty"`
	// Pause comes between the connection and the request. HalfClose ends the
	// client's half after it, and Linger ends the connection with a reset.
	Pause     time.Duration `json:"pause,omitempty"`
	HalfClose bool          `json:"half_close,omitempty"`
	Linger    bool          `json:"linger,omitempty"`
	// Probe sets DF and ignores the path MTU that the kernel has learned.
	Probe bool   `json:"probe,omitempty"`
	Name  string `json:"name,omitempty"` // DNS: what to ask
	// Search lists names to ask for before, as a resolver's search list makes them.
	Search []string `json:"search,omitempty"`
	// Lookup comes before, and has to succeed for the rest to be tried.
	Lookup *dialArgs `json:"lookup,omitempty"`
}
