package mqtt

import (
	"log/slog"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	"github.com/varvedb/varve/collector/mqtt/sparkplug"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
)

// A connection is the Out of its Host.

func (k *connection) Reading(r sparkplug.Reading) {
	k.grow()
	k.batch = append(k.batch, collector.Reading{Address: r.Address, Time: r.Sample.Time, HasTime: r.HasTime, Value: valueOf(r.Sample), Quality: r.Sample.Quality,
		Historical: r.Historical})
	if len(k.batch) >= batchReadings && k.failed == nil { // a birth may have many
		k.failed = k.put(k.ctx)
	}
}

func valueOf(s model.Sample) collector.Value {
	if s.Null {
		return collector.Value{}
	}
	return collector.Value{Type: s.Type, Bits: s.Bits, Text: string(s.Blob)}
}

func (k *connection) Define(d sparkplug.Definition) {
	o := collector.Offer{Address: d.Address, Type: d.Type, Description: d.Description}
	if _, err := unit.Parse(d.Unit); err == nil {
		o.Unit = d.Unit
	} else if o.Description == "" {
		o.Description = d.Unit
	}
	if k.offer != nil {
		k.offer(o)
	}
	if out, ok := k.out.(collector.Describer); ok {
		out.Describe([]collector.Offer{o})
	}
}

// inOrder does something with the sink behind the readings that came before.
func (k *connection) inOrder(do func() error) {
	if k.failed == nil {
		k.failed = k.put(k.ctx)
	}
	if k.failed == nil {
		k.failed = do()
	}
}

func (k *connection) Down(addresses []string, at int64, reason string) {
	k.inOrder(func() error { return k.out.Down(k.ctx, addresses, at, reason) })
}

func (k *connection) Up(addresses []string, at int64) {
	k.inOrder(func() error { return k.out.Up(k.ctx, addresses, at) })
}

func (k *connection) Lost(addresses []string, from, to int64, reason string) {
	k.inOrder(func() error { return k.out.Lost(k.ctx, addresses, from, to, reason) })
}

func (k *connection) Publish(topic string, payload []byte, qos byte, retain bool) {
	m := packet.Publish{Topic: topic, Payload: payload, QoS: qos, Retain: retain}
	if qos > 0 {
		m.ID = subscribeID - 1 - k.published%1000
		k.published++
	}
	if err := k.c.publish(m); err != nil {
		k.problems.say(topic, err) // if the connection is gone, reading will say so
	}
}

func (k *connection) Count(c sparkplug.Counter, n int) {
	switch c {
	case sparkplug.Rejected, sparkplug.Refused, sparkplug.UnknownMetrics, sparkplug.BeforeBirth:
		k.out.Count(collector.Rejected, n)
	}
	if k.env.Logger != nil && c != sparkplug.Transient {
		k.env.Logger.Debug("sparkplug", "what", c.String(), "n", n)
	}
}

func (k *connection) Problem(topic string, err error) { k.problems.say(topic, err) }

// problems writes what is wrong with messages to the log, not more often than somebody can read.
type problems struct {
	log   *slog.Logger
	now   func() time.Time
	until time.Time // the end of this minute
	said  int
	kept  int // not said in it
}

const problemsPerMinute = 10

func (p *problems) say(topic string, err error) {
	if p.log == nil {
		return
	}
	if now := p.now(); !now.Before(p.until) {
		if p.kept > 0 {
			p.log.Warn("more messages could not be taken", "n", p.kept)
		}
		p.until, p.said, p.kept = now.Add(time.Minute), 0, 0
	}
	if p.said >= problemsPerMinute {
		p.kept++
		return
	}
	p.said++
	p.log.Warn("a message, or a part of it, was not taken", "topic", topic, "error", err)
}
