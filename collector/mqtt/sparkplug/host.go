package sparkplug

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	bdSeq         = "bdSeq"
	rebirthMetric = "Node Control/Rebirth"
)

// Options say how a Host deals with nodes. Zero means the default.
type Options struct {
	// HostID is the name under which the host says that it is there; nodes that wait for a primary host name it. Empty: it says nothing.
	HostID string

	// Reorder is how long a message waits for those before it that are missing. Longer finds more of them and delays what came. The default is 2 s.
	Reorder time.Duration

	// NoRebirth leaves out the one message that is ever sent to a node, the request to say everything again.
	NoRebirth bool

	// RebirthEvery is the shortest time between two requests to one node; the default is 1 min. RebirthsPerSecond bounds those to all nodes; the
	// default is 10.
	RebirthEvery      time.Duration
	RebirthsPerSecond int

	// BirthWait is how long a device may be silent behind the birth of its node before it counts as gone. The default is 10 s.
	BirthWait time.Duration

	// MaxNodes, MaxMetrics and MaxElements bound nodes, addresses of all of them, and elements of one array or cells of one data set. The
	// defaults are 10,000, 1,000,000 and 1,000.
	MaxNodes, MaxMetrics, MaxElements int

	// MaxHeld bounds the messages of one node that wait for others, and MaxHeldBytes those of all nodes; the defaults are 64 and 64 MiB.
	MaxHeld, MaxHeldBytes int
}

func (o *Options) defaults() {
	def := func(x *int, to int) {
		if *x == 0 {
			*x = to
		}
	}
	if o.Reorder == 0 {
		o.Reorder = 2 * time.Second
	}
	if o.RebirthEvery == 0 {
		o.RebirthEvery = time.Minute
	}
	if o.BirthWait == 0 {
		o.BirthWait = 10 * time.Second
	}
	def(&o.RebirthsPerSecond, 10)
	def(&o.MaxNodes, 10_000)
	def(&o.MaxMetrics, 1_000_000)
	def(&o.MaxElements, 1_000)
	def(&o.MaxHeld, 64)
	def(&o.MaxHeldBytes, 64<<20)
}

// Message is one message as the broker delivered it. Its payload belongs to the host until Receive returns, and longer if it has to wait: it must
// not be changed.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool
	At       time.Time // when it came; wall clock for gaps, its monotonic part, if it has one, for waiting
}

// Host is a host application. It is not for use by several goroutines at a time.
type Host struct {
	o         Options
	nodes     map[Topic]*node  // by group and node
	timed     map[string]*node // those with a time at which something is due
	points    int
	heldBytes int
	payload   Payload // used again for each message
	session   session
	tokens    float64 // requests for rebirths that may be sent now
	filled    time.Time
	wake      time.Time // when something of timed is due; zero: nothing is
}

// node is an edge node as its messages show it.
type node struct {
	topic       Topic  // Type and Device are empty
	key         string // group/node
	devices     map[string]*device
	order       []*device
	definitions map[string]map[string]string // parameters of template definitions, by name
	state       state
	bdSeq       uint64
	hasBdSeq    bool
	bornAt      int64  // publication of its birth
	born        uint64 // the same as the birth has it, in milliseconds
	next        uint8  // the number that the next message must have
	last        int64  // publication of the message before
	before      int64  // the same, of the session before
	recent      [32]passed
	recentAt    int
	given       [4]uint64 // numbers of this session that were given up and may still come
	held        []held
	ended       int64     // when its death was learnt of
	begun       time.Time // when its birth came
	waitUntil   time.Time // by which devices must have been born; zero: all are
	asked       time.Time // when a rebirth was last asked for
	wanted      bool      // a rebirth is
	quiet       bool      // its birth is being read: none is asked for
}

type state uint8

const (
	unknown  state = iota // no birth was seen since the connection was made
	online                // all is known
	doubtful              // messages are missing: aliases may have changed
	offline               // it died
)

type passed struct {
	hash uint64
	seq  uint8
	set  bool
}

// held is a message that waits for those before it.
type held struct {
	seq   uint8
	topic Topic
	m     Message
	time  uint64 // of the payload, in milliseconds; 0: it has none
}

// New makes a host that knows no nodes.
func New(o Options) *Host {
	o.defaults()
	return &Host{o: o, nodes: map[Topic]*node{}, timed: map[string]*node{}, tokens: float64(o.RebirthsPerSecond)}
}

// Receive takes one message.
func (h *Host) Receive(m Message, out Out) {
	h.Tick(m.At, out)
	if h.state(m, out) {
		return
	}
	if m.Retained { // what a broker kept says how things were, not how they are
		out.Count(StaleMessages, 1)
		return
	}
	topic, err := ParseTopic(m.Topic)
	if err != nil {
		out.Count(Rejected, 1)
		out.Problem(m.Topic, err)
		return
	}
	if topic.Type == "NCMD" || topic.Type == "DCMD" {
		return // not for a host
	}
	if err := Decode(m.Payload, &h.payload); err != nil {
		out.Count(Rejected, 1)
		out.Problem(m.Topic, err)
		return
	}
	n := h.node(topic)
	if n == nil {
		out.Count(Refused, 1)
		return
	}
	switch topic.Type {
	case "NBIRTH":
		h.nodeBirth(n, m, out)
	case "NDEATH":
		h.nodeDeath(n, m, out)
	default:
		h.sequenced(n, topic, m, out)
	}
	h.due(n)
}

// node finds or makes a node; nil where there are too many.
func (h *Host) node(t Topic) *node {
	t = Topic{Group: t.Group, Node: t.Node}
	n := h.nodes[t]
	if n == nil && len(h.nodes) < h.o.MaxNodes {
		t = Topic{Group: strings.Clone(t.Group), Node: strings.Clone(t.Node)} // of a longer text that need not stay
		n = &node{topic: t, key: t.Group + "/" + t.Node, devices: map[string]*device{}, definitions: map[string]map[string]string{}}
		h.nodes[t] = n
	}
	return n
}

// device finds or makes a device; its address space may be empty for ever.
func (n *node) device(id string) *device {
	d := n.devices[id]
	if d == nil {
		id = strings.Clone(id)
		d = &device{node: n, topic: Topic{Group: n.topic.Group, Node: n.topic.Node, Device: id}, metrics: map[string]*metric{}, aliases: map[uint64]*metric{},
			points: map[string]*point{}}
		n.devices[id] = d
		n.order = append(n.order, d)
	}
	return d
}

// moment is when a message was published.
func (p *Payload) moment(m *Message) moment {
	x := moment{topic: m.Topic, published: m.At.UnixNano()}
	if x.time, x.timed = nanoseconds(p.Timestamp); x.timed {
		x.published = min(x.time, x.published) // a clock that is ahead must not hold a gap open until it is right
	}
	return x
}

// nodeBirth begins a session, or begins it again where it was asked to.
func (h *Host) nodeBirth(n *node, m Message, out Out) {
	p := &h.payload
	if !p.HasSeq || p.Seq > 255 {
		out.Count(Rejected, 1)
		out.Problem(m.Topic, fmt.Errorf("%w: NBIRTH needs seq 0 to 255, has %s", ErrPayload, p.seqText()))
		return
	}
	if n.passed(uint8(p.Seq), &m) {
		out.Count(Duplicates, 1)
		return
	}
	at := p.moment(&m)
	session, has := p.bdSeq()
	known := n.state == online || n.state == doubtful
	if has && n.hasBdSeq && known && !n.wanted && p.Timestamp < n.born && uint8(session+1) == uint8(n.bdSeq) {
		out.Count(StaleMessages, 1) // of the session before, and late
		return
	}
	// What waits and is older is of the session before: what it waited for will not come. What is newer came before its birth.
	var newer []held
	n.held = slices.DeleteFunc(n.held, func(x held) bool {
		late := x.time != 0 && x.time >= p.Timestamp
		if late {
			newer = append(newer, x)
		}
		return late
	})
	if len(n.held) > 0 {
		n.quiet = true
		for len(n.held) > 0 {
			h.giveUp(n, m.At, out)
		}
		n.quiet = false
		if err := Decode(m.Payload, &h.payload); err != nil { // giving up read other payloads into it
			return
		}
	}
	if known && has && n.hasBdSeq && session != n.bdSeq {
		if addresses := n.up(); addresses != nil {
			out.Lost(addresses, n.last, max(at.published, n.last+1), "a session began and nobody said when the one before ended")
		}
	}
	n.state, n.wanted = online, false
	n.bdSeq, n.hasBdSeq, n.bornAt, n.born = session, has, at.published, p.Timestamp
	n.before, n.last = min(n.last, at.published-1), at.published
	n.begun = m.At
	n.next = uint8(p.Seq) + 1
	n.given = [4]uint64{}
	n.held = newer
	n.recent, n.recentAt = [32]passed{}, 0
	n.pass(uint8(p.Seq), &m)
	clear(n.definitions)
	n.waitUntil = time.Time{}
	for _, d := range n.order {
		if d.topic.Device != "" && d.online {
			d.online = false
			d.pending = true
			n.waitUntil = m.At.Add(h.o.BirthWait)
		}
		clear(d.aliases)
	}
	h.birth(n.device(""), p.Metrics, at, out)
	h.drain(n, out)
}

// bdSeq is the number by which a birth and a death belong together.
func (p *Payload) bdSeq() (uint64, bool) {
	for i := range p.Metrics {
		if x := &p.Metrics[i]; string(x.Name) == bdSeq && !x.Null && (x.Value.Kind == Int || x.Value.Kind == Long) {
			return x.Value.Bits, true
		}
	}
	return 0, false
}

func (p *Payload) seqText() string {
	if !p.HasSeq {
		return "none"
	}
	return fmt.Sprint(p.Seq)
}

// nodeDeath ends a session: everything of the node is down from when the host learns of it, as the time in the payload is that of the connection.
func (h *Host) nodeDeath(n *node, m Message, out Out) {
	session, has := h.payload.bdSeq()
	// The death of the connection that followed the one whose birth was seen ends that too: it died before it said anything. An older one is
	// the will of a session that was over long ago.
	if n.state == unknown || n.state == offline || has && n.hasBdSeq && session != n.bdSeq && uint8(session) != uint8(n.bdSeq+1) {
		out.Count(StaleMessages, 1)
		return
	}
	for len(n.held) > 0 {
		h.giveUp(n, m.At, out)
	}
	h.end(n, offline, m.At.UnixNano(), "the edge node is gone (NDEATH)", out)
}

// end takes a node out of its session.
func (h *Host) end(n *node, to state, at int64, reason string, out Out) {
	n.state, n.wanted, n.waitUntil, n.ended = to, false, time.Time{}, at
	for _, d := range n.order {
		d.online, d.pending = false, false
		clear(d.aliases)
		d.down(at, reason, out, func(*point) bool { return true })
	}
}

// sequenced takes a message that has its place among those of its node.
func (h *Host) sequenced(n *node, topic Topic, m Message, out Out) {
	p := &h.payload
	if !p.HasSeq || p.Seq > 255 {
		out.Count(Rejected, 1)
		out.Problem(m.Topic, fmt.Errorf("%w: %s needs seq 0 to 255, has %s", ErrPayload, topic.Type, p.seqText()))
		return
	}
	seq := uint8(p.Seq)
	known := n.state == online || n.state == doubtful
	switch {
	case n.passed(seq, &m):
		out.Count(Duplicates, 1)
	case known && p.Timestamp != 0 && p.Timestamp < n.born && m.At.Sub(n.begun) < h.o.Reorder:
		// Published before the birth that it follows: of the session before. Its seq is not to be mistaken for one of this session's, nor its
		// aliases. Long behind the birth it is rather a clock that was set back.
		out.Count(StaleMessages, 1)
		if addresses := n.all(); addresses != nil {
			out.Lost(addresses, min(p.moment(&m).published, n.before), n.bornAt, "a message of the session before came behind the birth of the next")
		}
	case known && seq == n.next:
		h.inOrder(n, seq, topic, &m, out)
		h.drain(n, out)
	case known && n.given[seq/64]>>(seq%64)&1 != 0:
		out.Count(LateMessages, 1)
		n.given[seq/64] &^= 1 << (seq % 64)
		n.pass(seq, &m)
		if topic.Type == "NDATA" || topic.Type == "DDATA" { // births and deaths say how things were
			h.apply(n, topic, &m, out)
		}
	case slices.ContainsFunc(n.held, func(x held) bool {
		return x.seq == seq && x.m.Topic == m.Topic && string(x.m.Payload) == string(m.Payload)
	}):
		out.Count(Duplicates, 1)
	default:
		h.hold(n, held{seq: seq, topic: topic, m: m, time: p.Timestamp}, out)
	}
}

// hold keeps a message that came before those it follows, or before the birth of its node.
func (h *Host) hold(n *node, x held, out Out) {
	n.held = append(n.held, x)
	h.heldBytes += len(x.m.Payload)
	for len(n.held) > h.o.MaxHeld || h.heldBytes > h.o.MaxHeldBytes && len(n.held) > 0 {
		h.giveUp(n, x.m.At, out)
	}
}

// unhold takes the held message i out.
func (h *Host) unhold(n *node, i int) held {
	x := n.held[i]
	n.held = slices.Delete(n.held, i, i+1)
	h.heldBytes -= len(x.m.Payload)
	return x
}

// drain takes held messages whose turn it is.
func (h *Host) drain(n *node, out Out) {
	for n.state == online || n.state == doubtful {
		i := slices.IndexFunc(n.held, func(x held) bool { return x.seq == n.next })
		if i < 0 {
			return
		}
		x := h.unhold(n, i)
		if Decode(x.m.Payload, &h.payload) == nil { // as it did when it came
			h.inOrder(n, x.seq, x.topic, &x.m, out)
		}
	}
}

// inOrder takes the message whose turn it is; h.payload is its payload.
func (h *Host) inOrder(n *node, seq uint8, topic Topic, m *Message, out Out) {
	n.next = seq + 1
	n.given[seq/64] &^= 1 << (seq % 64)
	n.pass(seq, m)
	n.last = max(n.last, h.payload.moment(m).published)
	h.apply(n, topic, m, out)
}

// giveUp stops waiting for what is missing before the first message that is held: it is lost, and with it what it may have said of aliases. Of a
// node that is not known it lets go of all that is held: nobody can say what it means.
func (h *Host) giveUp(n *node, now time.Time, out Out) {
	if n.state == unknown || n.state == offline {
		out.Count(BeforeBirth, len(n.held))
		from := n.ended
		for len(n.held) > 0 {
			x := h.unhold(n, len(n.held)-1)
			if at, ok := nanoseconds(x.time); ok && at < n.bornAt {
				from = min(from, n.before)
			} else if ok && at < n.ended {
				from = min(from, n.last)
			}
		}
		if addresses := n.all(); from < n.ended && addresses != nil { // overtaken by the death of their session
			out.Lost(addresses, from, n.ended, "messages of a session came behind its end")
		}
		h.want(n, now, out)
		return
	}
	first := 0
	for i := range n.held {
		if n.held[i].seq-n.next < n.held[first].seq-n.next {
			first = i
		}
	}
	x := h.unhold(n, first)
	missing := int(x.seq - n.next)
	for seq := n.next; seq != x.seq; seq++ {
		n.given[seq/64] |= 1 << (seq % 64)
	}
	out.Count(Missing, missing)
	n.state = doubtful
	to := n.last + 1
	if err := Decode(x.m.Payload, &h.payload); err == nil { // as it did when it came
		to = max(to, h.payload.moment(&x.m).published)
	}
	if addresses := n.up(); addresses != nil {
		out.Lost(addresses, n.last, to, fmt.Sprintf("%d messages of the edge node are missing, from seq %d on", missing, n.next))
	}
	for _, d := range n.order {
		clear(d.aliases)
		d.down(to, "its alias may have changed in a message that is missing", out, func(p *point) bool { return p.owner.aliased })
	}
	h.want(n, now, out)
	h.inOrder(n, x.seq, x.topic, &x.m, out)
	h.drain(n, out)
}

// up is every address of a node that is not under a gap, all every one.
func (n *node) up() []string  { return n.addresses(func(p *point) bool { return !p.down }) }
func (n *node) all() []string { return n.addresses(func(*point) bool { return true }) }

func (n *node) addresses(which func(*point) bool) (addresses []string) {
	for _, d := range n.order {
		for _, p := range d.order {
			if which(p) {
				addresses = append(addresses, p.definition.Address)
			}
		}
	}
	return addresses
}

// apply takes what a message in order says.
func (h *Host) apply(n *node, topic Topic, m *Message, out Out) {
	p := &h.payload
	at := p.moment(m)
	d := n.devices[topic.Device]
	switch {
	case topic.Type == "DBIRTH":
		d = n.device(topic.Device)
		d.pending = false
		h.birth(d, p.Metrics, at, out)
	case topic.Type == "DDEATH":
		if d != nil {
			d.online, d.pending = false, false
			clear(d.aliases)
			d.down(at.published, "the device is gone (DDEATH)", out, func(*point) bool { return true })
		}
	case d == nil || !d.online:
		out.Count(BeforeBirth, 1)
		if d != nil && d.pending { // its birth is among what is missing: from that of its node on nothing is known of it
			d.pending = false
			d.down(n.bornAt, "its birth is missing", out, func(*point) bool { return true })
		}
		h.want(n, m.At, out)
	case h.data(d, p.Metrics, at, out):
		h.want(n, m.At, out)
	}
}

// passed reports whether this very message was taken a short while ago.
func (n *node) passed(seq uint8, m *Message) bool {
	hash := hashOf(m)
	for i := range n.recent {
		if x := &n.recent[i]; x.set && x.seq == seq && x.hash == hash {
			return true
		}
	}
	return false
}

func (n *node) pass(seq uint8, m *Message) {
	n.recent[n.recentAt] = passed{hashOf(m), seq, true}
	n.recentAt = (n.recentAt + 1) % len(n.recent)
}

func hashOf(m *Message) uint64 {
	return bits.RotateLeft64(xxhash.Sum64String(m.Topic), 1) ^ xxhash.Sum64(m.Payload)
}

// want asks for the birth of a node, now or as soon as it may.
func (h *Host) want(n *node, now time.Time, out Out) {
	if !n.quiet {
		n.wanted = true
		h.ask(n, now, out)
	}
}

// ask requests a rebirth where one is wanted and may be asked for now.
func (h *Host) ask(n *node, now time.Time, out Out) {
	if !n.wanted || h.o.NoRebirth || !n.asked.IsZero() && now.Sub(n.asked) < h.o.RebirthEvery {
		return
	}
	if since := now.Sub(h.filled).Seconds(); h.filled.IsZero() || since > 0 {
		if !h.filled.IsZero() {
			h.tokens = min(h.tokens+float64(since*float64(h.o.RebirthsPerSecond)), float64(h.o.RebirthsPerSecond))
		}
		h.filled = now
	}
	if h.tokens < 1 {
		return
	}
	h.tokens--
	n.asked = now
	out.Count(Rebirths, 1)
	out.Publish(Namespace+"/"+n.topic.Group+"/NCMD/"+n.topic.Node, rebirthRequest(now.UnixMilli()), 0, false)
}

// due puts a node among those that have to be looked at later, or takes it out.
func (h *Host) due(n *node) {
	at, ok := h.next(n)
	if !ok {
		if delete(h.timed, n.key); len(h.timed) == 0 {
			h.wake = time.Time{}
		}
		return
	}
	h.timed[n.key] = n
	if h.wake.IsZero() || at.Before(h.wake) {
		h.wake = at
	}
}

// next is when something of a node is due; false for never.
func (h *Host) next(n *node) (at time.Time, ok bool) {
	earlier := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for i := range n.held {
		earlier(n.held[i].m.At.Add(h.o.Reorder))
	}
	if !n.waitUntil.IsZero() {
		earlier(n.waitUntil)
	}
	if n.wanted && !h.o.NoRebirth {
		again := n.asked.Add(h.o.RebirthEvery)
		if more := h.filled.Add(time.Second / time.Duration(h.o.RebirthsPerSecond)); h.tokens < 1 && more.After(again) {
			again = more
		}
		earlier(again)
	}
	return at, ok
}

// Next is when Tick has something to do; false for never.
func (h *Host) Next() (time.Time, bool) { return h.wake, !h.wake.IsZero() }

// Tick does what has become due.
func (h *Host) Tick(now time.Time, out Out) {
	if h.wake.IsZero() || now.Before(h.wake) {
		return
	}
	h.wake = time.Time{}
	for _, key := range sorted(h.timed) {
		n := h.timed[key]
		for slices.ContainsFunc(n.held, func(x held) bool { return now.Sub(x.m.At) >= h.o.Reorder }) {
			h.giveUp(n, now, out)
		}
		if !n.waitUntil.IsZero() && !now.Before(n.waitUntil) {
			n.waitUntil = time.Time{}
			for _, d := range n.order {
				if d.pending {
					d.pending = false
					d.down(n.bornAt, "the edge node was born again, the device was not", out, func(*point) bool { return true })
				}
			}
		}
		h.ask(n, now, out)
		h.due(n)
	}
}

// Disconnected says that the broker cannot be reached: nothing is known of any node from now on.
func (h *Host) Disconnected(now time.Time, out Out) {
	nodes := slices.SortedFunc(maps.Values(h.nodes), func(a, b *node) int { return strings.Compare(a.key, b.key) })
	for _, n := range nodes {
		if n.state == online || n.state == doubtful {
			n.quiet = true
			for len(n.held) > 0 {
				h.giveUp(n, now, out)
			}
			n.quiet = false
			h.end(n, unknown, now.UnixNano(), "the broker is not reached", out)
		}
		for len(n.held) > 0 {
			h.unhold(n, len(n.held)-1)
		}
		n.wanted, n.asked = false, time.Time{}
		n.recent = [32]passed{}
		h.due(n)
	}
}
