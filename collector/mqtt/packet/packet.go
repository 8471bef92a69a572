// Package packet is what a subscriber needs of MQTT 3.1.1 and 5.0 on the wire: it writes CONNECT, SUBSCRIBE, PUBLISH, PUBACK, PINGREQ and
// DISCONNECT, and reads what a broker sends to such a client. Sizes are checked before memory is taken.
package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// Version is the protocol level, as CONNECT has it.
type Version byte

const (
	V3 Version = 4 // 3.1.1
	V5 Version = 5
)

// Type is the kind of a packet, the high half of its first byte.
type Type byte

const (
	TypeConnect    Type = 1
	TypeConnack    Type = 2
	TypePublish    Type = 3
	TypePuback     Type = 4
	TypeSubscribe  Type = 8
	TypeSuback     Type = 9
	TypePingreq    Type = 12
	TypePingresp   Type = 13
	TypeDisconnect Type = 14
)

var (
	// ErrPacket is the class of what is wrong with bytes of a broker.
	ErrPacket = errors.New("mqtt packet")
	// ErrTooLarge says that a packet is larger than was asked for.
	ErrTooLarge = errors.New("mqtt packet too large")
)

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPacket, fmt.Sprintf(format, args...))
}

// Packet is a packet as it came: its type, its flags, and what stands behind its length.
type Packet struct {
	Type  Type
	Flags byte
	Body  []byte
}

// firstRead is how much memory is taken on the word of a length alone.
const firstRead = 64 << 10

// Read reads one packet of at most limit bytes behind its length. The body is new memory.
func Read(r io.Reader, limit int) (Packet, error) {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Packet{}, err
	}
	p := Packet{Type: Type(b[0] >> 4), Flags: b[0] & 15}
	size := 0
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return p, wrong("its length has more than 4 bytes")
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return p, unexpected(err)
		}
		size |= int(b[0]&0x7F) << shift
		if b[0] < 0x80 {
			break
		}
	}
	if size > limit {
		return p, fmt.Errorf("%w: %d bytes, most is %d", ErrTooLarge, size, limit)
	}
	p.Body = make([]byte, min(size, firstRead))
	read := 0
	for {
		n, err := io.ReadFull(r, p.Body[read:])
		if read += n; err != nil {
			return p, unexpected(err)
		}
		if read == size {
			return p, nil
		}
		p.Body = append(p.Body, make([]byte, min(size-read, read))...)
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// reader takes fields off a body; after the first that is not there it has an error and gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int, what string) []byte {
	if r.err == nil && n > len(r.b) {
		r.err = wrong("ends in its %s", what)
	}
	if r.err != nil {
		return make([]byte, min(n, 4))
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte(what string) byte     { return r.take(1, what)[0] }
func (r *reader) uint16(what string) uint16 { return binary.BigEndian.Uint16(r.take(2, what)) }
func (r *reader) uint32(what string) uint32 { return binary.BigEndian.Uint32(r.take(4, what)) }

func (r *reader) bytes(what string) []byte {
	n := r.uint16(what)
	if r.err != nil {
		return nil
	}
	return r.take(int(n), what)
}

func (r *reader) text(what string) string {
	b := r.bytes(what)
	if r.err == nil && !utf8.Valid(b) {
		r.err = wrong("its %s is not UTF-8", what)
	}
	return string(b)
}

func (r *reader) varint(what string) (x uint32) {
	for shift := 0; shift <= 21; shift += 7 {
		b := r.byte(what)
		x |= uint32(b&0x7F) << shift
		if b < 0x80 {
			return x
		}
	}
	if r.err == nil {
		r.err = wrong("its %s has more than 4 bytes", what)
	}
	return 0
}

// Properties are those of version 5 that a subscriber has a use for.
type Properties struct {
	SessionExpiry     uint32 // CONNACK: seconds, if HasSessionExpiry
	ClientID          string // CONNACK: given by the broker
	Reason            string
	KeepAlive         uint16 // CONNACK: seconds, if HasKeepAlive
	MaximumQoS        byte   // CONNACK: 2 where it is not said
	NoRetain          bool   // CONNACK
	NoWildcards       bool   // CONNACK
	NoShared          bool   // CONNACK
	TopicAlias        uint16 // PUBLISH
	HasSessionExpiry  bool
	HasKeepAlive      bool
	MaximumPacketSize uint32 // CONNACK: 0 for no limit
}

// properties reads the properties of a packet, in the lengths that all of the specification have.
func (r *reader) properties(to *Properties) {
	n := int(r.varint("length of properties"))
	p := reader{b: r.take(n, "properties")}
	if r.err != nil {
		return
	}
	for len(p.b) > 0 && p.err == nil {
		switch id := p.varint("property"); id {
		case 0x11:
			to.SessionExpiry, to.HasSessionExpiry = p.uint32("session expiry"), true
		case 0x12:
			to.ClientID = p.text("assigned client identifier")
		case 0x13:
			to.KeepAlive, to.HasKeepAlive = p.uint16("server keep alive"), true
		case 0x1F:
			to.Reason = p.text("reason")
		case 0x23:
			to.TopicAlias = p.uint16("topic alias")
		case 0x24:
			to.MaximumQoS = p.byte("maximum QoS")
		case 0x25:
			to.NoRetain = p.byte("retain available") == 0
		case 0x27:
			to.MaximumPacketSize = p.uint32("maximum packet size")
		case 0x28:
			to.NoWildcards = p.byte("wildcard subscriptions available") == 0
		case 0x2A:
			to.NoShared = p.byte("shared subscriptions available") == 0
		case 0x01, 0x17, 0x19, 0x29:
			p.byte("property")
		case 0x21, 0x22:
			p.uint16("property")
		case 0x02, 0x18:
			p.uint32("property")
		case 0x0B:
			p.varint("property")
		case 0x03, 0x08, 0x15, 0x1A, 0x1C, 0x09, 0x16:
			p.bytes("property")
		case 0x26:
			p.bytes("property")
			p.bytes("property")
		default:
			if p.err == nil {
				p.err = wrong("property %#x is not known", id)
			}
		}
	}
	r.err = p.err
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = wrong("%d bytes stand behind its end", len(r.b))
	}
	return r.err
}

// Connack is the answer to CONNECT.
type Connack struct {
	SessionPresent bool
	Code           byte // 0: connected
	Properties
}

func (p Packet) Connack(v Version) (c Connack, err error) {
	r := reader{b: p.Body}
	c.SessionPresent = r.byte("flags")&1 != 0
	c.Code = r.byte("code")
	c.MaximumQoS = 2
	if v == V5 {
		r.properties(&c.Properties)
	}
	return c, r.end()
}

// Publish is a message. Topic and Payload of one that was read share the packet's memory.
type Publish struct {
	Topic   string
	Payload []byte
	ID      uint16 // 0 with QoS 0
	QoS     byte
	Retain  bool
	Dup     bool
}

func (p Packet) Publish(v Version) (m Publish, err error) {
	m = Publish{QoS: p.Flags >> 1 & 3, Retain: p.Flags&1 != 0, Dup: p.Flags&8 != 0}
	r := reader{b: p.Body}
	m.Topic = r.text("topic")
	if m.QoS > 0 {
		m.ID = r.uint16("identifier")
	}
	var props Properties
	if v == V5 {
		r.properties(&props)
	}
	switch {
	case r.err != nil:
		return m, r.err
	case m.QoS == 3 || m.QoS > 0 && m.ID == 0:
		return m, wrong("PUBLISH with QoS %d and identifier %d", m.QoS, m.ID)
	case props.TopicAlias != 0: // none were offered
		return m, wrong("PUBLISH with topic alias %d", props.TopicAlias)
	case m.Topic == "":
		return m, wrong("PUBLISH without a topic")
	}
	m.Payload = r.b
	return m, nil
}

// Puback is the answer to a PUBLISH with QoS 1.
type Puback struct {
	ID   uint16
	Code byte
}

func (p Packet) Puback() (a Puback, err error) {
	r := reader{b: p.Body}
	a.ID = r.uint16("identifier")
	if len(r.b) > 0 {
		a.Code = r.byte("code")
	}
	return a, r.err
}

// Suback is the answer to SUBSCRIBE: a code per filter, the QoS granted or from 128 on why not.
type Suback struct {
	ID    uint16
	Codes []byte
	Properties
}

func (p Packet) Suback(v Version) (a Suback, err error) {
	r := reader{b: p.Body}
	a.ID = r.uint16("identifier")
	if v == V5 {
		r.properties(&a.Properties)
	}
	a.Codes = r.b
	return a, r.err
}

// Disconnect is a broker's last word, of version 5.
type Disconnect struct {
	Code byte
	Properties
}

func (p Packet) Disconnect() (d Disconnect, err error) {
	r := reader{b: p.Body}
	if len(r.b) > 0 {
		d.Code = r.byte("code")
	}
	if len(r.b) > 0 {
		r.properties(&d.Properties)
	}
	return d, r.end()
}

// Connect asks for a session.
type Connect struct {
	ClientID       string
	Clean          bool   // begin anew, whatever the broker kept
	KeepAlive      uint16 // seconds
	User           string
	Password       string
	Will           *Publish
	SessionExpiry  uint32 // version 5: seconds the broker keeps the session
	ReceiveMaximum uint16 // version 5: messages not acknowledged; 0 for the default of 65,535
	MaximumPacket  uint32 // version 5: 0 for no limit
}

// Filter is one subscription.
type Filter struct {
	Topic string
	QoS   byte
}

var errLong = errors.New("a text of MQTT has at most 65,535 bytes")

func appendText(b []byte, s string) ([]byte, error) {
	if len(s) > math.MaxUint16 {
		return b, errLong
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...), nil
}

func appendVarint(b []byte, x int) []byte {
	for x >= 0x80 {
		b = append(b, byte(x)|0x80)
		x >>= 7
	}
	return append(b, byte(x))
}

func packet(t Type, flags byte, body []byte) []byte {
	return append(appendVarint([]byte{byte(t)<<4 | flags}, len(body)), body...)
}

// Encode is the packet for version v.
func (c *Connect) Encode(v Version) ([]byte, error) {
	flags := byte(0)
	if c.Clean {
		flags |= 2
	}
	if c.Will != nil {
		flags |= 4 | c.Will.QoS<<3
		if c.Will.Retain {
			flags |= 32
		}
	}
	if c.Password != "" {
		flags |= 64
	}
	if c.User != "" {
		flags |= 128
	}
	b := append([]byte{0, 4, 'M', 'Q', 'T', 'T', byte(v), flags}, byte(c.KeepAlive>>8), byte(c.KeepAlive))
	if v == V5 {
		var props []byte
		if c.SessionExpiry > 0 {
			props = binary.BigEndian.AppendUint32(append(props, 0x11), c.SessionExpiry)
		}
		if c.ReceiveMaximum > 0 {
			props = binary.BigEndian.AppendUint16(append(props, 0x21), c.ReceiveMaximum)
		}
		if c.MaximumPacket > 0 {
			props = binary.BigEndian.AppendUint32(append(props, 0x27), c.MaximumPacket)
		}
		b = append(appendVarint(b, len(props)), props...)
	}
	texts := []string{c.ClientID}
	if c.Will != nil {
		texts = append(texts, c.Will.Topic, string(c.Will.Payload))
	}
	if c.User != "" {
		texts = append(texts, c.User)
	}
	if c.Password != "" {
		texts = append(texts, c.Password)
	}
	var err error
	for i, s := range texts {
		if i == 1 && c.Will != nil && v == V5 {
			b = append(b, 0) // no properties of the will
		}
		if b, err = appendText(b, s); err != nil {
			return nil, err
		}
	}
	return packet(TypeConnect, 0, b), nil
}

// EncodeSubscribe is a SUBSCRIBE.
func EncodeSubscribe(v Version, id uint16, filters []Filter) ([]byte, error) {
	b := binary.BigEndian.AppendUint16(nil, id)
	if v == V5 {
		b = append(b, 0)
	}
	var err error
	for _, f := range filters {
		if b, err = appendText(b, f.Topic); err != nil {
			return nil, err
		}
		b = append(b, f.QoS)
	}
	return packet(TypeSubscribe, 2, b), nil
}

// Encode is the packet for version v.
func (m *Publish) Encode(v Version) ([]byte, error) {
	b, err := appendText(nil, m.Topic)
	if err != nil {
		return nil, err
	}
	flags := m.QoS << 1
	if m.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, m.ID)
	}
	if m.Retain {
		flags |= 1
	}
	if m.Dup {
		flags |= 8
	}
	if v == V5 {
		b = append(b, 0)
	}
	return packet(TypePublish, flags, append(b, m.Payload...)), nil
}

// EncodePuback is a PUBACK that takes the message, in both versions.
func EncodePuback(id uint16) []byte {
	return packet(TypePuback, 0, binary.BigEndian.AppendUint16(nil, id))
}

// EncodePing is a PINGREQ, EncodeDisconnect a DISCONNECT that means to: the broker does not publish the will.
func EncodePing() []byte       { return packet(TypePingreq, 0, nil) }
func EncodeDisconnect() []byte { return packet(TypeDisconnect, 0, nil) }
