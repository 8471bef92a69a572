package packet

import "fmt"

// reasons are the codes of version 5 from 128 on that a subscriber meets, and their names in the specification.
var reasons = map[byte]string{
	0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error", 0x84: "unsupported protocol version",
	0x85: "client identifier not valid", 0x86: "bad user name or password", 0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy",
	0x8A: "banned", 0x8B: "server shutting down", 0x8C: "bad authentication method", 0x8D: "keep alive timeout", 0x8E: "session taken over",
	0x8F: "topic filter invalid", 0x90: "topic name invalid", 0x93: "receive maximum exceeded", 0x94: "topic alias invalid", 0x95: "packet too large",
	0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action", 0x99: "payload format invalid", 0x9A: "retain not supported",
	0x9B: "QoS not supported", 0x9C: "use another server", 0x9D: "server moved", 0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded",
	0xA0: "maximum connect time", 0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
}

// refusals are the codes of CONNACK in version 3.1.1.
var refusals = map[byte]string{1: "unacceptable protocol version", 2: "client identifier rejected", 3: "server unavailable", 4: "bad user name or password",
	5: "not authorized"}

// Reason is a code in words.
func Reason(v Version, code byte) string {
	name := reasons[code]
	if v == V3 && name == "" {
		name = refusals[code]
	}
	if name == "" {
		return fmt.Sprintf("code %d", code)
	}
	return name
}
