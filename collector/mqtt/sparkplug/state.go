package sparkplug

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// session is the host's own connection: when it began, which its will, its birth and every STATE it repeats say.
type session struct {
	began int64 // milliseconds since 1970 UTC
	open  bool
}

type stateMessage struct {
	Online    bool  `json:"online"`
	Timestamp int64 `json:"timestamp"`
}

// Packet is a message to publish: STATE messages all have QoS 1 and are retained.
type Packet struct {
	Topic   string
	Payload []byte
}

func (h *Host) packet(online bool, at int64) Packet {
	b, _ := json.Marshal(stateMessage{online, at}) // of a bool and an integer
	return Packet{StateTopic(h.o.HostID), b}
}

// Will begins a session, and is what the broker publishes when it ends without a word: the will of the CONNECT packet. False where the host has
// no name.
func (h *Host) Will(now time.Time) (Packet, bool) {
	h.session = session{began: now.UnixMilli()}
	return h.packet(false, h.session.began), h.o.HostID != ""
}

// Birth says that the host is there, with the time of its will. It goes out first, after the subscriptions.
func (h *Host) Birth() (Packet, bool) {
	h.session.open = true
	return h.packet(true, h.session.began), h.o.HostID != ""
}

// Death says that the host goes, before it disconnects.
func (h *Host) Death(now time.Time) (Packet, bool) {
	h.session.open = false
	return h.packet(false, now.UnixMilli()), h.o.HostID != ""
}

// state deals with messages about hosts, and reports whether m is one. One that says this host is gone, the will of an older connection, is
// contradicted at once.
func (h *Host) state(m Message, out Out) bool {
	if len(m.Topic) < len(Namespace)+7 || m.Topic[:len(Namespace)+7] != Namespace+"/STATE/" {
		return false
	}
	if h.o.HostID == "" || m.Topic != StateTopic(h.o.HostID) || !h.session.open {
		return true
	}
	var s stateMessage
	if json.Unmarshal(m.Payload, &s) != nil || !s.Online {
		p, _ := h.Birth()
		out.Publish(p.Topic, p.Payload, 1, true)
	}
	return true
}

// rebirthRequest is the payload that asks a node for its births: a Boolean under the name, since nobody knows its aliases; no seq.
func rebirthRequest(ms int64) []byte {
	var m []byte
	m = protowire.AppendTag(m, 1, protowire.BytesType)
	m = protowire.AppendString(m, rebirthMetric)
	m = protowire.AppendTag(m, 3, protowire.VarintType)
	m = protowire.AppendVarint(m, uint64(ms))
	m = protowire.AppendTag(m, 4, protowire.VarintType)
	m = protowire.AppendVarint(m, uint64(BooleanType))
	m = protowire.AppendTag(m, 14, protowire.VarintType)
	m = protowire.AppendVarint(m, 1)
	var p []byte
	p = protowire.AppendTag(p, 1, protowire.VarintType)
	p = protowire.AppendVarint(p, uint64(ms))
	p = protowire.AppendTag(p, 2, protowire.BytesType)
	return protowire.AppendBytes(p, m)
}
