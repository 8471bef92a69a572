package mqtt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	"github.com/varvedb/varve/collector/mqtt/sparkplug"
)

const (
	batchReadings = 1000
	batchAge      = 100 * time.Millisecond
	stopPatience  = 5 * time.Second

	// catchUp is how long after a connection, or a wait for a full queue, the broker is taken to have too little room for what comes.
	catchUp = time.Second
	// waited is how long a batch takes at least for which a full queue was waited. The collector tells a gap later than that.
	waited      = 50 * time.Millisecond
	browseQuiet = 15 * time.Second

	// subscribeID is the identifier of our SUBSCRIBE. Identifiers of the two sides have nothing to do with each other, but there are brokers that
	// refuse one that a message of theirs has, which they count from 1.
	subscribeID = 65535
)

// source is a source of type mqtt. What it holds goes on from one connection to the next.
type source struct {
	env      collector.Env
	s        *Settings
	host     *sparkplug.Host // of Sparkplug, else nil
	runs     int             // connections made
	down     bool            // its tags are under a gap
	problems problems
	quiet    time.Duration // after which Browse ends
}

func open(e collector.Env, s *Settings) (collector.Source, error) { return newSource(e, s), nil }

func newSource(e collector.Env, s *Settings) *source {
	x := &source{env: e, s: s, problems: problems{log: e.Logger, now: e.Now}, quiet: browseQuiet}
	if s.Sparkplug != nil {
		x.host = sparkplug.New(s.Sparkplug.options())
	}
	return x
}

// Pushed is part of collector.Pushed. Nodes of Sparkplug number their messages: what is dropped of them is seen by that.
func (x *source) Pushed() bool { return x.host == nil }

// Run is one connection.
func (x *source) Run(ctx context.Context, out collector.Sink) error {
	return x.run(ctx, out, false, nil)
}

// Check connects under another name, without a session, a share or a STATE, so that it takes nothing from a collector that runs.
func (x *source) Check(ctx context.Context, report func(collector.Reading)) error {
	return newSource(x.env, x.s).run(ctx, probe{report: report}, true, nil)
}

// errQuiet is why Browse ends by itself.
var errQuiet = errors.New("nothing new came")

// Browse listens until nothing new comes for a while: to the topics that are configured, or to those of a filter, and of Sparkplug to births,
// which it asks for where the configuration lets it. What is published more seldom is not seen.
func (x *source) Browse(ctx context.Context, at string, each func(collector.Offer) error) error {
	s := *x.s
	if at != "" {
		if s.Sparkplug != nil {
			return errors.New("of Sparkplug all that the groups have is listed: leave the place out")
		}
		s.Topics = []Topic{{Filter: at}}
		if err := s.Check(); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	seen := map[string]bool{}
	quiet := time.AfterFunc(x.quiet, func() { stop(errQuiet) })
	defer quiet.Stop()
	offer := func(o collector.Offer) {
		if !seen[o.Address] {
			seen[o.Address] = true
			quiet.Reset(x.quiet)
			if err := each(o); err != nil {
				stop(err)
			}
		}
	}
	err := newSource(x.env, &s).run(ctx, probe{report: func(r collector.Reading) {
		offer(collector.Offer{Address: r.Address, Type: r.Value.Type})
	}}, true, offer)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errQuiet):
		return nil
	case cause != nil:
		return cause
	}
	return err
}

// probe is a Sink of Check and Browse.
type probe struct{ report func(collector.Reading) }

func (p probe) Put(_ context.Context, readings []collector.Reading) error {
	for _, r := range readings {
		p.report(r)
	}
	return nil
}
func (probe) Flush(context.Context) error                                { return nil }
func (probe) Down(context.Context, []string, int64, string) error        { return nil }
func (probe) Up(context.Context, []string, int64) error                  { return nil }
func (probe) Lost(context.Context, []string, int64, int64, string) error { return nil }
func (probe) Count(collector.Counter, int)                               {}

// connection is a Run while its client is connected.
type connection struct {
	*source
	ctx       context.Context
	c         *client
	out       collector.Sink
	offer     func(collector.Offer) // of Browse, else nil
	filters   []packet.Filter
	keeps     bool // the broker keeps messages: they are acknowledged when they are on disk
	ready     bool // the broker said that it has subscribed us
	batch     []collector.Reading
	began     time.Time // when the first reading of the batch came
	acks      []uint16  // of messages whose readings are in the batch, or were before
	upAt      time.Time // when at the earliest it has caught up with what the broker kept; zero: it has
	published uint16    // identifier of the message published last
	failed    error     // of the sink or the connection, from within a call that has no error
}

func (x *source) run(ctx context.Context, out collector.Sink, try bool, offer func(collector.Offer)) (err error) {
	k := &connection{source: x, ctx: ctx, out: out, offer: offer, keeps: x.s.Session > 0 && !try}
	hello := packet.Connect{ClientID: x.s.ClientID, Clean: !k.keeps, KeepAlive: uint16(x.s.KeepAlive / time.Second), User: x.s.User, Password: x.s.Password.Value(),
		ReceiveMaximum: uint16(x.s.InFlight), MaximumPacket: uint32(x.s.MaxPacket)}
	if hello.ClientID == "" {
		hello.ClientID = "varve-" + x.env.Name
	}
	if try {
		hello.ClientID += "-try"
	}
	if k.keeps {
		hello.SessionExpiry = uint32(x.s.Session / time.Second)
	}
	if x.host != nil && !try {
		if will, ok := x.host.Will(x.env.Now()); ok {
			hello.Will = &packet.Publish{Topic: will.Topic, Payload: will.Payload, QoS: 1, Retain: true}
		}
	}
	if k.c, err = dial(ctx, x.s, x.env.Now, hello); err != nil {
		return err
	}
	defer k.c.close()
	if x.runs++; x.runs > 1 {
		out.Count(collector.Reconnects, 1)
	}
	k.upAt = x.env.Now()
	if k.c.connack.SessionPresent {
		k.upAt = k.upAt.Add(catchUp)
	}
	k.filters = x.subscriptions(try)
	b, err := packet.EncodeSubscribe(k.c.v, subscribeID, k.filters)
	if err == nil {
		err = k.c.write(b)
	}
	if err == nil {
		err = k.loop(try)
	}
	if ctx.Err() != nil {
		return k.leave(try)
	}
	if k.failed == nil { // the sink still takes what was read; the broker is not there to be told
		err = errors.Join(err, k.put(k.ctx), k.lost(err))
	}
	return err
}

// subscriptions is what the broker is asked for. One that only tries takes no share away from others.
func (x *source) subscriptions(try bool) (filters []packet.Filter) {
	if x.host == nil {
		for i := range x.s.Topics {
			t := x.s.Topics[i]
			if try {
				t.Share = ""
			}
			filters = append(filters, t.subscription(x.s.filters[i]))
		}
		return filters
	}
	if x.s.Sparkplug.HostID != "" && !try {
		filters = append(filters, packet.Filter{Topic: sparkplug.StateTopic(x.s.Sparkplug.HostID), QoS: 1})
	}
	for _, g := range x.s.Sparkplug.Groups {
		filters = append(filters, packet.Filter{Topic: sparkplug.Namespace + "/" + g + "/#", QoS: 1})
	}
	if len(x.s.Sparkplug.Groups) == 0 {
		filters = append(filters, packet.Filter{Topic: sparkplug.Namespace + "/#", QoS: 1})
	}
	return filters
}

// loop takes packets until the connection or ctx is over.
func (k *connection) loop(try bool) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(k.pause())
		select {
		case <-k.ctx.Done():
			return k.ctx.Err()
		case p, ok := <-k.c.in:
			if !ok {
				return k.c.err
			}
			err := k.packet(p, try)
			k.c.done(p)
			if err != nil {
				return err
			}
		case <-timer.C:
			if k.host != nil {
				k.host.Tick(k.env.Now(), k)
			}
		}
		// Messages that wait to be acknowledged hold up the broker, which sends only so many: they do not wait for a batch to grow old.
		idle := len(k.c.in) == 0 && len(k.acks) > 0
		if idle || len(k.batch) >= batchReadings || len(k.acks) >= k.s.InFlight/2 || len(k.batch) > 0 && k.env.Now().Sub(k.began) >= batchAge {
			if err := k.flush(); err != nil {
				return err
			}
		}
		if k.failed == nil {
			k.caughtUp()
		}
		if k.failed != nil {
			return k.failed
		}
	}
}

// caughtUp says that nothing is missed from now on, once that is so: the broker has subscribed us, and what it kept was taken, so that it has room for what comes.
func (k *connection) caughtUp() {
	now := k.env.Now()
	if k.host != nil || k.upAt.IsZero() || !k.ready || now.Before(k.upAt) || len(k.c.in) > 0 {
		return
	}
	k.down, k.upAt = false, time.Time{}
	k.failed = k.out.Up(k.ctx, nil, now.UnixNano())
}

// pause is how long there is nothing to do unless a packet comes.
func (k *connection) pause() time.Duration {
	d := time.Minute
	if len(k.batch) > 0 {
		d = batchAge - k.env.Now().Sub(k.began)
	}
	if k.host != nil {
		if at, ok := k.host.Next(); ok {
			d = min(d, at.Sub(k.env.Now()))
		}
	} else if !k.upAt.IsZero() && k.ready {
		d = min(d, k.upAt.Sub(k.env.Now()))
	}
	return max(d, time.Millisecond)
}

func (k *connection) packet(p packet.Packet, try bool) error {
	switch p.Type {
	case packet.TypePublish:
		m, err := p.Publish(k.c.v)
		if err != nil {
			return err
		}
		k.out.Count(collector.Received, len(p.Body))
		k.message(&m)
		if m.QoS == 1 {
			k.acks = append(k.acks, m.ID)
		}
		return k.failed
	case packet.TypeSuback:
		a, err := p.Suback(k.c.v)
		if err != nil {
			return err
		}
		return k.subscribed(a, try)
	case packet.TypePuback: // of a STATE
		return nil
	case packet.TypeDisconnect:
		d, err := p.Disconnect()
		if err != nil {
			return err
		}
		return refusal("the broker ends the connection", packet.Reason(k.c.v, d.Code), d.Reason)
	}
	return fmt.Errorf("%w: the broker sends a packet of type %d", packet.ErrPacket, p.Type)
}

// subscribed looks at what the broker granted.
func (k *connection) subscribed(a packet.Suback, try bool) error {
	if a.ID != subscribeID || len(a.Codes) != len(k.filters) || k.ready {
		return fmt.Errorf("%w: SUBACK %d with %d codes for %d filters", packet.ErrPacket, a.ID, len(a.Codes), len(k.filters))
	}
	for i, code := range a.Codes {
		switch f := k.filters[i]; {
		case code >= 0x80:
			return refusal(fmt.Sprintf("subscribe to %q: the broker refuses", f.Topic), packet.Reason(k.c.v, code), a.Reason)
		case code < f.QoS && k.keeps:
			return fmt.Errorf("subscribe to %q: the broker grants QoS %d only, with which it keeps no messages: leave session out", f.Topic, code)
		}
	}
	k.ready = true
	if k.host != nil {
		if birth, ok := k.host.Birth(); ok && !try {
			k.Publish(birth.Topic, birth.Payload, 1, true)
		}
	}
	return k.failed
}

// message makes readings of a message.
func (k *connection) message(m *packet.Publish) {
	bad := func(err error) {
		k.out.Count(collector.Rejected, 1)
		k.problems.say(m.Topic, err)
	}
	if k.host != nil {
		k.host.Receive(sparkplug.Message{Topic: m.Topic, Payload: m.Payload, Retained: m.Retain, At: k.env.Now()}, k)
		return
	}
	if m.Retain && k.s.Retained == "none" {
		return
	}
	for i, f := range k.s.filters {
		names, ok := f.match(m.Topic)
		if !ok {
			continue
		}
		before := len(k.batch)
		k.grow()
		k.batch = k.s.Topics[i].readings(m, names, k.batch, bad)
		if m.Retain && k.s.Retained == "timed" {
			kept := k.batch[:before]
			for _, r := range k.batch[before:] {
				if r.HasTime {
					kept = append(kept, r)
				}
			}
			k.batch = kept
		}
		return
	}
	bad(errors.New("no topic of the configuration has it"))
}

func (k *connection) grow() {
	if len(k.batch) == 0 {
		k.began = k.env.Now()
	}
}

// flush hands on what was read and acknowledges it to the broker.
func (k *connection) flush() error {
	if err := k.put(k.ctx); err != nil {
		return err
	}
	if len(k.acks) == 0 {
		return nil
	}
	if k.keeps {
		if err := k.out.Flush(k.ctx); err != nil {
			k.failed = err
			return err
		}
	}
	var b []byte
	for _, id := range k.acks {
		b = append(b, packet.EncodePuback(id)...)
	}
	k.acks = k.acks[:0]
	return k.c.write(b)
}

func (k *connection) put(ctx context.Context) error {
	if len(k.batch) == 0 {
		return nil
	}
	began := time.Now()
	err := k.out.Put(ctx, k.batch)
	k.batch = k.batch[:0]
	if err != nil {
		k.failed = err
	}
	if time.Since(began) >= waited { // the queue was full: the broker may have dropped what it was to keep
		k.upAt = k.env.Now().Add(catchUp)
	}
	return err
}

// lost says that the broker is not reached since it was heard last.
func (k *connection) lost(why error) error {
	if k.host != nil {
		k.host.Disconnected(k.env.Now(), k)
		return errors.Join(k.failed, k.put(k.ctx))
	}
	if k.down {
		return nil
	}
	k.down = true
	return k.out.Down(k.ctx, nil, k.c.heard.Load(), fmt.Sprintf("the broker is not reached: %v", why))
}

// leave ends a connection that is not wanted any more: what was read is handed on, the broker told.
func (k *connection) leave(try bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), stopPatience)
	defer cancel()
	k.ctx = ctx
	err := k.failed
	if err == nil {
		err = k.flush()
	}
	if k.host != nil && !try {
		if death, ok := k.host.Death(k.env.Now()); ok {
			k.Publish(death.Topic, death.Payload, 1, true)
		}
	}
	return errors.Join(err, k.c.write(packet.EncodeDisconnect()))
}
