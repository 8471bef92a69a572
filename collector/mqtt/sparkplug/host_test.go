package sparkplug

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// record is an Out that keeps lines.
type record struct {
	lines    []string
	counts   [Counters]int
	problems []error
	readings []Reading
	sent     []Packet
}

func (r *record) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// ms is a time as the tests write it: milliseconds since epoch.
func ms(ns int64) string {
	if ns%1_000_000 == 0 {
		return fmt.Sprint(ns/1_000_000 - base)
	}
	return fmt.Sprintf("%d+%d", ns/1_000_000-base, ns%1_000_000)
}

func (r *record) Reading(x Reading) {
	x.Sample.Blob = []byte(string(x.Sample.Blob))
	r.readings = append(r.readings, x)
	value, at, late := text(x.Sample), "-", ""
	if x.Sample.Null {
		value = "null"
	}
	if x.HasTime {
		at = ms(x.Sample.Time)
	}
	if x.Historical {
		late = " historical"
	}
	r.add("%s = %s %s %s at %s%s", x.Address, x.Sample.Type, value, x.Sample.Quality, at, late)
}

func (r *record) Define(d Definition) {
	r.add("define %s %s%s", d.Address, d.Type, describe(d))
}

func describe(d Definition) (s string) {
	if d.Unit != "" {
		s += " unit=" + d.Unit
	}
	if d.Description != "" {
		s += " description=" + d.Description
	}
	if d.Low != nil {
		s += fmt.Sprint(" low=", *d.Low)
	}
	if d.High != nil {
		s += fmt.Sprint(" high=", *d.High)
	}
	for _, name := range sorted(d.Attributes) {
		s += " " + name + "=" + d.Attributes[name]
	}
	return s
}

func (r *record) Down(addresses []string, at int64, reason string) {
	r.add("down %s at %s: %s", strings.Join(addresses, " "), ms(at), reason)
}
func (r *record) Up(addresses []string, at int64) {
	r.add("up %s at %s", strings.Join(addresses, " "), ms(at))
}
func (r *record) Lost(addresses []string, from, to int64, reason string) {
	r.add("lost %s from %s to %s: %s", strings.Join(addresses, " "), ms(from), ms(to), reason)
}
func (r *record) Publish(topic string, payload []byte, qos byte, retain bool) {
	r.sent = append(r.sent, Packet{topic, payload})
	r.add("publish %s qos=%d retain=%v", topic, qos, retain)
}
func (r *record) Count(c Counter, n int) { r.counts[c] += n }
func (r *record) Problem(topic string, err error) {
	r.problems = append(r.problems, err)
}

// take is what came out since the last take.
func (r *record) take() []string {
	lines := r.lines
	r.lines = nil
	return lines
}

const base = 1_700_000_000_000

// drive feeds a host with what an edge node G/N says.
type drive struct {
	t   *testing.T
	h   *Host
	out record
	seq uint8
	now time.Time
}

func newDrive(t *testing.T, o Options) *drive {
	return &drive{t: t, h: New(o), now: time.UnixMilli(base)}
}

// at sets the time, in milliseconds since base; messages are published as they arrive unless they say otherwise.
func (d *drive) at(ms int64) *drive { d.now = time.UnixMilli(base + ms); return d }

func (d *drive) payload(metrics ...Metric) *Payload {
	return &Payload{Timestamp: uint64(d.now.UnixMilli()), HasTimestamp: true, Metrics: metrics}
}

// send delivers a message of a type, with the next seq where it has one; device may be "".
func (d *drive) send(kind, device string, metrics ...Metric) {
	d.deliver(d.message(kind, device, metrics...))
}

// message makes a message without delivering it: it takes its seq.
func (d *drive) message(kind, device string, metrics ...Metric) Message {
	p := d.payload(metrics...)
	switch kind {
	case "NBIRTH":
		d.seq = 0
		fallthrough
	default:
		p.Seq, p.HasSeq = uint64(d.seq), true
		d.seq++
	case "NDEATH":
	}
	topic := Namespace + "/G/" + kind + "/N"
	if device != "" {
		topic += "/" + device
	}
	return Message{Topic: topic, Payload: encode(p), At: d.now}
}

func (d *drive) deliver(m Message) { m.At = d.now; d.h.Receive(m, &d.out) }

func (d *drive) tick() { d.h.Tick(d.now, &d.out) }

func (d *drive) want(lines ...string) {
	d.t.Helper()
	require.Equal(d.t, lines, d.out.take())
}

// val is a metric of the current time.
func (d *drive) val(name string, v float64) Metric {
	return named(name, DoubleType, double(v), uint64(d.now.UnixMilli()))
}

func session64(n int64) Metric { return named(bdSeq, Int64, long(n), 0) }

func control() Metric { return named(rebirthMetric, BooleanType, boolean(false), 0) }

// born is a node with one metric of its own and a device with one, born at 0.
func born(t *testing.T, o Options) *drive {
	d := newDrive(t, o)
	d.at(0)
	d.send("NBIRTH", "", session64(1), control(), d.val("volts", 12).alias(1))
	d.send("DBIRTH", "D", d.val("temp", 20).alias(2))
	d.want("define G/N//volts float64", "G/N//volts = float64 12 Good at 0", "define G/N/D/temp float64", "G/N/D/temp = float64 20 Good at 0")
	return d
}

func TestBirthsAndData(t *testing.T) {
	d := born(t, Options{})
	d.at(1000)
	d.send("NDATA", "", d.val("volts", 12.5).alias(1).short())
	d.send("DDATA", "D", d.val("temp", 21)) // by name, though it has an alias
	d.at(1500)
	m := d.val("temp", 19).alias(2).short()
	m.Timestamp, m.Historical = base+700, true
	d.send("DDATA", "D", m)
	none := d.val("temp", 0).alias(2).short()
	none.Null, none.Value = true, Value{}
	d.send("DDATA", "D", none)
	d.want("G/N//volts = float64 12.5 Good at 1000", "G/N/D/temp = float64 21 Good at 1000", "G/N/D/temp = float64 19 Good at 700 historical",
		"G/N/D/temp = float64 null BadNoData at 1500")
	require.Empty(t, d.out.problems)
	require.Equal(t, [Counters]int{}, d.out.counts)
}

func TestQualities(t *testing.T) {
	d := born(t, Options{})
	for code, want := range map[int32]string{192: "Good", 0: "Bad", 500: "UncertainLastUsableValue", 64: "Uncertain", 216: "Good", 600: "Bad", 24: "Bad"} {
		m := d.val("temp", 1).alias(2).short()
		m.Properties = quality(code)
		d.send("DDATA", "D", m)
		d.want("G/N/D/temp = float64 1 " + want + " at 0")
	}
	m := d.val("temp", 0).alias(2).short()
	m.Null, m.Properties = true, quality(500)
	d.send("DDATA", "D", m)
	d.want("G/N/D/temp = float64 null UncertainLastUsableValue at 0")
}

func TestTimes(t *testing.T) {
	d := born(t, Options{})
	d.at(5)
	m := d.val("temp", 1).alias(2).short()
	m.HasTimestamp = false
	d.send("DDATA", "D", m) // the payload's
	p := d.payload(m)
	p.HasTimestamp, p.HasSeq, p.Seq = false, true, uint64(d.seq)
	d.seq++
	d.deliver(Message{Topic: "spBv1.0/G/DDATA/N/D", Payload: encode(p)}) // none
	m.HasTimestamp, m.Timestamp = true, 1<<62
	d.send("DDATA", "D", m) // one that is none
	d.want("G/N/D/temp = float64 1 Good at 5", "G/N/D/temp = float64 1 Good at -", "G/N/D/temp = float64 1 Good at 5")
	require.Equal(t, 1, d.out.counts[BadTimes])
}

// NDEATH takes everything of the node down at the time the host learns of it, whatever the will says; the births bring it back.
func TestDeathOfANode(t *testing.T) {
	d := born(t, Options{})
	d.at(2000)
	will := d.message("NDEATH", "", session64(1))
	d.at(9000)
	d.deliver(will)
	d.want("down G/N//volts at 9000: the edge node is gone (NDEATH)", "down G/N/D/temp at 9000: the edge node is gone (NDEATH)")
	d.deliver(will)
	d.want()
	require.Equal(t, 1, d.out.counts[StaleMessages])
	d.at(20000)
	old := d.val("volts", 12).alias(1)
	old.Timestamp = base + 500
	d.send("NBIRTH", "", session64(2), old)
	d.at(20001)
	d.send("DBIRTH", "D", d.val("temp", 22).alias(2))
	// A value captured before the gap is the value behind it too: the birth says so.
	d.want("up G/N//volts at 20000", "G/N//volts = float64 12 Good at 500", "G/N//volts = float64 12 Good at 20000", "up G/N/D/temp at 20001",
		"G/N/D/temp = float64 22 Good at 20001")
}

// A value that was captured in the gap ends it there.
func TestCapturedInTheGap(t *testing.T) {
	d := born(t, Options{})
	d.at(1000)
	d.send("NDEATH", "", session64(1))
	d.out.take()
	d.at(2000)
	inside, before := d.val("volts", 12), d.val("amps", 3)
	inside.Timestamp = base + 1500
	d.send("NBIRTH", "", session64(2), inside, before)
	d.want("up G/N//volts at 1500", "G/N//volts = float64 12 Good at 1500", "define G/N//amps float64", "G/N//amps = float64 3 Good at 2000")
}

func TestDeathOfAnotherSession(t *testing.T) {
	d := born(t, Options{})
	d.at(100)
	d.send("NDEATH", "", session64(0))
	d.want()
	require.Equal(t, 1, d.out.counts[StaleMessages])
	d.send("NDEATH", "", session64(2)) // of the connection behind, which never said a word
	require.Len(t, d.out.take(), 2)
	d.at(200)
	d.send("NBIRTH", "", session64(2))
	d.send("DBIRTH", "D", d.val("temp", 1))
	d.out.take()
	p := d.payload() // without a number it is taken for the one that is on
	d.deliver(Message{Topic: "spBv1.0/G/NDEATH/N", Payload: encode(p)})
	d.want("down G/N/D/temp at 200: the edge node is gone (NDEATH)")
}

// DDEATH takes the device down at the time in its payload.
func TestDeathOfADevice(t *testing.T) {
	d := born(t, Options{})
	d.at(3000)
	death := d.message("DDEATH", "D")
	d.at(3100)
	d.deliver(death)
	d.want("down G/N/D/temp at 3000: the device is gone (DDEATH)")
	d.at(4000)
	d.send("NDATA", "", d.val("volts", 13).alias(1).short())
	d.want("G/N//volts = float64 13 Good at 4000")
	d.send("DDATA", "D", d.val("temp", 5)) // of a device that is dead
	d.want("publish spBv1.0/G/NCMD/N qos=0 retain=false")
	require.Equal(t, 1, d.out.counts[BeforeBirth])
	d.at(5000)
	d.send("DBIRTH", "D", d.val("temp", 22).alias(2))
	d.want("up G/N/D/temp at 5000", "G/N/D/temp = float64 22 Good at 5000")
}

// A death whose clock is ahead must not put the gap, or its end, in the future.
func TestClockAhead(t *testing.T) {
	d := born(t, Options{})
	p := d.payload()
	p.Timestamp, p.Seq, p.HasSeq = base+9_000_000, uint64(d.seq), true
	d.seq++
	d.at(50)
	d.deliver(Message{Topic: "spBv1.0/G/DDEATH/N/D", Payload: encode(p)})
	d.want("down G/N/D/temp at 50: the device is gone (DDEATH)")
}

func TestDataBeforeBirth(t *testing.T) {
	d := newDrive(t, Options{Reorder: time.Second})
	d.seq = 17
	d.send("DDATA", "D", d.val("temp", 1))
	d.want()
	at, ok := d.h.Next()
	require.True(t, ok)
	require.Equal(t, int64(base+1000), at.UnixMilli())
	d.at(1000).tick()
	d.want("publish spBv1.0/G/NCMD/N qos=0 retain=false")
	require.Equal(t, 1, d.out.counts[BeforeBirth])
	require.Equal(t, 1, d.out.counts[Rebirths])
	d.at(1500)
	d.send("NDATA", "", d.val("volts", 1))
	d.at(3000).tick() // not again within a minute
	d.want()
	d.at(61000).tick()
	d.want("publish spBv1.0/G/NCMD/N qos=0 retain=false")
}

// The births of a node may overtake each other.
func TestBirthsOutOfOrder(t *testing.T) {
	d := newDrive(t, Options{})
	node := d.message("NBIRTH", "", session64(1), d.val("volts", 12))
	device := d.message("DBIRTH", "D", d.val("temp", 20))
	data := d.message("DDATA", "D", d.val("temp", 21))
	d.deliver(data)
	d.deliver(device)
	d.want()
	d.deliver(node)
	d.want("define G/N//volts float64", "G/N//volts = float64 12 Good at 0", "define G/N/D/temp float64", "G/N/D/temp = float64 20 Good at 0",
		"G/N/D/temp = float64 21 Good at 0")
	_, ok := d.h.Next()
	require.False(t, ok)
}

// Reordering: a message that came early waits, and goes on as if nothing had been when the missing one comes in time.
func TestReorderSuccess(t *testing.T) {
	d := born(t, Options{Reorder: time.Second})
	d.at(10)
	first := d.message("DDATA", "D", d.val("temp", 1).alias(2).short())
	second := d.message("DDATA", "D", d.val("temp", 2).alias(2).short())
	d.deliver(second)
	at, ok := d.h.Next()
	require.True(t, ok)
	require.Equal(t, int64(base+1010), at.UnixMilli())
	d.at(1009).tick()
	d.want()
	d.deliver(first)
	d.want("G/N/D/temp = float64 1 Good at 10", "G/N/D/temp = float64 2 Good at 10")
	_, ok = d.h.Next()
	require.False(t, ok)
	d.at(60000).tick()
	d.want()
	require.Equal(t, [Counters]int{}, d.out.counts)
}

// Reordering that fails: the loss is recorded, aliases are forgotten, a rebirth is asked for.
func TestReorderRebirth(t *testing.T) {
	d := born(t, Options{Reorder: time.Second})
	d.at(10)
	lost := d.message("DDATA", "D", d.val("temp", 1).alias(2).short())
	d.at(20)
	d.send("DDATA", "D", d.val("temp", 2).alias(2).short())
	d.at(1020).tick()
	const doubt = ": its alias may have changed in a message that is missing"
	d.want("lost G/N//volts G/N/D/temp from 0 to 20: 1 messages of the edge node are missing, from seq 2 on", "down G/N//volts at 20"+doubt,
		"down G/N/D/temp at 20"+doubt, "publish spBv1.0/G/NCMD/N qos=0 retain=false")
	require.Equal(t, 1, d.out.counts[UnknownMetrics])
	d.at(1100)
	d.send("DDATA", "D", d.val("temp", 3)) // a name means what it meant
	d.want("up G/N/D/temp at 1100", "G/N/D/temp = float64 3 Good at 1100")
	d.deliver(lost) // too late for its alias
	d.want()
	require.Equal(t, 1, d.out.counts[LateMessages])
	d.at(1200)
	d.send("NBIRTH", "", session64(1), d.val("volts", 14).alias(7))
	d.send("DBIRTH", "D", d.val("temp", 4).alias(8))
	d.send("DDATA", "D", d.val("temp", 5).alias(8).short())
	d.want("up G/N//volts at 1200", "G/N//volts = float64 14 Good at 1200", "G/N/D/temp = float64 4 Good at 1200", "G/N/D/temp = float64 5 Good at 1200")
}

func TestSeqWraps(t *testing.T) {
	d := born(t, Options{})
	for i := range 600 {
		d.at(int64(i) + 1)
		d.send("DDATA", "D", d.val("temp", float64(i)).alias(2).short())
		d.want(fmt.Sprintf("G/N/D/temp = float64 %d Good at %d", i, i+1))
	}
	require.Equal(t, [Counters]int{}, d.out.counts)
}

func TestDuplicates(t *testing.T) {
	d := born(t, Options{})
	d.at(5)
	m := d.message("DDATA", "D", d.val("temp", 1).alias(2).short())
	early := d.message("DDATA", "D", d.val("temp", 2).alias(2).short())
	d.deliver(early)
	d.deliver(early)
	d.deliver(m)
	d.deliver(m)
	d.want("G/N/D/temp = float64 1 Good at 5", "G/N/D/temp = float64 2 Good at 5")
	require.Equal(t, 2, d.out.counts[Duplicates])
	b := d.message("NBIRTH", "", session64(1), d.val("volts", 12))
	d.deliver(b)
	d.deliver(b)
	d.want("G/N//volts = float64 12 Good at 5")
	require.Equal(t, 3, d.out.counts[Duplicates])
}

func TestNoRebirth(t *testing.T) {
	d := newDrive(t, Options{NoRebirth: true})
	d.seq = 17
	d.send("DDATA", "D", d.val("temp", 1))
	d.at(90000).tick()
	d.want()
	require.Equal(t, 1, d.out.counts[BeforeBirth])
	_, ok := d.h.Next()
	require.False(t, ok)
}

// Requests to all nodes are bounded too: after a restart of the broker there are many.
func TestRebirthRate(t *testing.T) {
	h, out := New(Options{RebirthsPerSecond: 4, Reorder: time.Millisecond}), &record{}
	now := time.UnixMilli(base)
	for i := range 100 {
		h.Receive(Message{Topic: fmt.Sprintf("spBv1.0/G/NDATA/N%d", i), Payload: encode(&Payload{HasSeq: true, Seq: 3}), At: now}, out)
	}
	sent := 0
	for i := range 20_000 {
		now = time.UnixMilli(base + int64(i))
		if at, ok := h.Next(); ok && !now.Before(at) {
			h.Tick(now, out)
		}
		if i == 900 {
			sent = out.counts[Rebirths]
		}
	}
	require.LessOrEqual(t, sent, 8)
	require.InDelta(t, 4+4*20, out.counts[Rebirths], 2)
	to := map[string]int{}
	for _, p := range out.sent {
		to[p.Topic]++
	}
	for topic, n := range to {
		require.Equal(t, 1, n, topic)
	}
}

func TestUnknownMetric(t *testing.T) {
	d := born(t, Options{})
	d.at(1)
	d.send("DDATA", "D", d.val("other", 1), d.val("temp", 2), d.val("x", 1).alias(99).short(), d.val("x", 1).alias(1).short()) // 1 is the node's
	d.want("G/N/D/temp = float64 2 Good at 1", "publish spBv1.0/G/NCMD/N qos=0 retain=false")
	require.Equal(t, 3, d.out.counts[UnknownMetrics])
}

// What a birth leaves out that an older one had is not collected any more, and comes back with the next that has it.
func TestMetricsThatGo(t *testing.T) {
	d := born(t, Options{})
	d.at(50)
	d.send("NBIRTH", "", session64(1), d.val("amps", 3).alias(1)) // the alias of volts is now another's
	d.want("down G/N//volts at 50: the newest birth does not have it", "define G/N//amps float64", "G/N//amps = float64 3 Good at 50")
	d.send("DBIRTH", "D", d.val("temp", 20).alias(2))
	d.send("NDATA", "", d.val("", 4).alias(1).short())
	d.want("G/N/D/temp = float64 20 Good at 50", "G/N//amps = float64 4 Good at 50")
	d.at(60)
	d.send("NBIRTH", "", session64(1), d.val("volts", 3).alias(1))
	d.want("up G/N//volts at 60", "down G/N//amps at 60: the newest birth does not have it", "G/N//volts = float64 3 Good at 60")
}

// A device that was there and is not born again behind its node is gone since then.
func TestDeviceNotBornAgain(t *testing.T) {
	d := born(t, Options{BirthWait: time.Second})
	d.at(100)
	d.send("NBIRTH", "", session64(1), d.val("volts", 12).alias(1))
	d.want("G/N//volts = float64 12 Good at 100")
	d.at(1099).tick()
	d.want()
	d.at(1100).tick()
	d.want("down G/N/D/temp at 100: the edge node was born again, the device was not")
	d.at(1200)
	d.send("DBIRTH", "D", d.val("temp", 7))
	d.want("up G/N/D/temp at 1200", "G/N/D/temp = float64 7 Good at 1200")
	d.at(9000).tick()
	d.want()
}

// Its birth was lost: what it says is not taken, and from the node's birth on that is a gap.
func TestDeviceBirthLost(t *testing.T) {
	d := born(t, Options{Reorder: time.Second})
	d.at(100)
	d.send("NBIRTH", "", session64(1), d.val("volts", 12).alias(1))
	d.message("DBIRTH", "D", d.val("temp", 20).alias(2))
	d.at(200)
	d.send("DDATA", "D", d.val("temp", 30))
	d.at(1200).tick()
	d.want("G/N//volts = float64 12 Good at 100", "lost G/N//volts G/N/D/temp from 100 to 200: 1 messages of the edge node are missing, from seq 1 on",
		"down G/N//volts at 200: its alias may have changed in a message that is missing",
		"down G/N/D/temp at 200: its alias may have changed in a message that is missing", "publish spBv1.0/G/NCMD/N qos=0 retain=false")
	require.Equal(t, 1, d.out.counts[BeforeBirth])
}

// A session that begins without the end of the one before: between the last message and the birth anything may have been.
func TestSessionWithoutDeath(t *testing.T) {
	d := born(t, Options{})
	d.at(400)
	d.send("NDATA", "", d.val("volts", 13).alias(1).short())
	d.at(900)
	d.send("NBIRTH", "", session64(2), d.val("volts", 14).alias(1))
	d.want("G/N//volts = float64 13 Good at 400", "lost G/N//volts G/N/D/temp from 400 to 900: a session began and nobody said when the one before ended",
		"G/N//volts = float64 14 Good at 900")
	d.at(901) // the will of the older session comes late
	d.send("NDEATH", "", session64(1))
	d.want()
}

// A birth of the session before that comes late changes nothing.
func TestBirthOfTheSessionBefore(t *testing.T) {
	d := born(t, Options{})
	old := d.message("NBIRTH", "", session64(1), d.val("other", 1).alias(1))
	d.at(10)
	d.send("NBIRTH", "", session64(2), d.val("volts", 14).alias(1))
	d.out.take()
	d.deliver(old)
	d.want()
	require.Equal(t, 1, d.out.counts[StaleMessages])
	d.send("NDATA", "", d.val("", 15).alias(1).short())
	d.want("G/N//volts = float64 15 Good at 10")
}

// Aliases that stand for two stand for none; those of two devices do not meet.
func TestSharedAliases(t *testing.T) {
	d := newDrive(t, Options{})
	d.send("NBIRTH", "", session64(1), d.val("a", 1).alias(1), d.val("b", 2).alias(1), d.val("c", 3).alias(1), d.val("d", 4).alias(2))
	d.send("DBIRTH", "D", d.val("e", 5).alias(2))
	d.out.take()
	d.send("NDATA", "", d.val("", 9).alias(1).short(), d.val("", 8).alias(2).short(), d.val("a", 7))
	d.send("DDATA", "D", d.val("", 6).alias(2).short())
	d.want("G/N//d = float64 8 Good at 0", "G/N//a = float64 7 Good at 0", "publish spBv1.0/G/NCMD/N qos=0 retain=false", "G/N/D/e = float64 6 Good at 0")
	require.Equal(t, 1, d.out.counts[UnknownMetrics])
}

func TestDisconnected(t *testing.T) {
	d := born(t, Options{})
	d.at(500)
	d.h.Disconnected(d.now, &d.out)
	d.want("down G/N//volts at 500: the broker is not reached", "down G/N/D/temp at 500: the broker is not reached")
	d.at(600)
	d.send("NDATA", "", d.val("volts", 13).alias(1).short())
	d.at(2600).tick()
	d.want("publish spBv1.0/G/NCMD/N qos=0 retain=false")
	d.at(2700)
	d.send("NBIRTH", "", session64(1), d.val("volts", 14).alias(1))
	d.want("up G/N//volts at 2700", "G/N//volts = float64 14 Good at 2700")
}

func TestTemplates(t *testing.T) {
	d := newDrive(t, Options{})
	motor := func(at uint64, metrics ...Metric) Metric {
		return named("Motor 1", TemplateType, Value{Kind: Instance, Template: &Template{Ref: "Motor", Version: "3", Metrics: metrics,
			Parameters: []Parameter{{Name: "serial", Datatype: Int64, Value: long(4711)}}}}, at)
	}
	speed, running := named("Speed", DoubleType, double(1450), 0), named("Running", BooleanType, boolean(true), base+3)
	speed.Properties = []Property{{Key: "engUnit", Datatype: StringType, Value: str("rpm")}, {Key: "engHigh", Datatype: Int32, Value: intOf(1500)}}
	bearing := named("Bearing", TemplateType, Value{Kind: Instance, Template: &Template{Ref: "Bearing", Metrics: []Metric{named("T", FloatType, float(40.5), 0)}}}, 0)
	definition := named("Motor", TemplateType, Value{Kind: Instance, Template: &Template{Definition: true, Metrics: []Metric{speed, running},
		Parameters: []Parameter{{Name: "maker", Datatype: StringType, Value: str("Acme")}, {Name: "serial", Datatype: Int64, Value: long(0)}}}}, 0)
	d.at(9)
	d.send("NBIRTH", "", session64(1), motor(base+7, speed, running, bearing).alias(5), definition)
	const attributes = " maker=Acme serial=4711 template=Motor template_version=3"
	d.want("define G/N//Motor 1.Speed float64 unit=rpm high=1500"+attributes, "define G/N//Motor 1.Running bool"+attributes,
		"define G/N//Motor 1.Bearing.T float32"+attributes, "G/N//Motor 1.Speed = float64 1450 Good at 7", "G/N//Motor 1.Running = bool true Good at 3",
		"G/N//Motor 1.Bearing.T = float32 40.5 Good at 7")
	d.at(20)
	part := motor(base+15, named("Speed", 0, double(1300), 0))
	part.Value.Template.Metrics[0].HasDatatype = false
	part.Properties = quality(500)
	d.send("NDATA", "", part.alias(5).short())
	d.want("G/N//Motor 1.Speed = float64 1300 UncertainLastUsableValue at 15")
	part.Null, part.Value, part.Properties = true, Value{}, nil
	d.send("NDATA", "", part.alias(5).short())
	d.want("G/N//Motor 1.Bearing.T = float32 null BadNoData at 15", "G/N//Motor 1.Running = bool null BadNoData at 15",
		"G/N//Motor 1.Speed = float64 null BadNoData at 15")
	d.send("NDATA", "", motor(base+16, named("Torque", DoubleType, double(1), 0)).alias(5).short())
	d.want()
	require.ErrorContains(t, d.out.problems[0], `member "Torque": no birth names it`)
	d.send("NDEATH", "", session64(1))
	require.Contains(t, d.out.take()[0], "down G/N//Motor 1.Speed G/N//Motor 1.Running G/N//Motor 1.Bearing.T at 20")
}

func TestArraysAndDataSets(t *testing.T) {
	d := newDrive(t, Options{MaxElements: 4})
	list := func(values ...float32) Metric {
		return named("curve", FloatArray, Value{Kind: Bytes, Bytes: packed32(values...)}, uint64(d.now.UnixMilli()))
	}
	table := func(rows ...[]Value) Metric {
		return named("batch", DataSetType, Value{Kind: Set, DataSet: &DataSet{Columns: []string{"id", "ok"}, Types: []Datatype{Int16, BooleanType}, Rows: rows}}, base+1)
	}
	d.at(1)
	d.send("NBIRTH", "", session64(1), list(1, 2), table([]Value{intOf(-5), boolean(true)}))
	d.want("define G/N//curve[0] float32", "define G/N//curve[1] float32", "G/N//curve[0] = float32 1 Good at 1", "G/N//curve[1] = float32 2 Good at 1",
		"define G/N//batch[0].id int64", "define G/N//batch[0].ok bool", "G/N//batch[0].id = int64 -5 Good at 1", "G/N//batch[0].ok = bool true Good at 1")
	d.at(2)
	d.send("NDATA", "", list(4, 5, 6), table([]Value{intOf(-6), boolean(false)}, []Value{intOf(7), boolean(true)}))
	d.want("G/N//curve[0] = float32 4 Good at 2", "G/N//curve[1] = float32 5 Good at 2", "define G/N//curve[2] float32", "G/N//curve[2] = float32 6 Good at 2",
		"G/N//batch[0].id = int64 -6 Good at 1", "G/N//batch[0].ok = bool false Good at 1", "define G/N//batch[1].id int64", "G/N//batch[1].id = int64 7 Good at 1",
		"define G/N//batch[1].ok bool", "G/N//batch[1].ok = bool true Good at 1")
	d.send("NDATA", "", list(1, 2, 3, 4, 5))
	require.ErrorContains(t, d.out.problems[0], "more than 4 elements")
	d.out.take()
	d.send("NDATA", "", table([]Value{intOf(1), boolean(true)}, []Value{intOf(1), boolean(true)}, []Value{intOf(1), boolean(true)}))
	require.ErrorContains(t, d.out.problems[1], "3 rows of 2 columns: at most 4 values become tags")
	d.want()
}

func TestDefinitions(t *testing.T) {
	d := newDrive(t, Options{})
	m := d.val("flow", 1)
	m.Metadata = &Metadata{Description: "feed"}
	m.Properties = []Property{{Key: "Engineering Units", Datatype: StringType, Value: str("m3/h")}, {Key: "EngLow", Datatype: DoubleType, Value: double(-1)},
		{Key: "engHigh", Datatype: DoubleType, Value: double(99.5)}, {Key: "Quality", Datatype: Int32, Value: intOf(192)}, {Key: "Loop", Datatype: StringType, Value: str("F-101")}}
	d.send("NBIRTH", "", session64(1), m)
	d.want("define G/N//flow float64 unit=m3/h description=feed low=-1 high=99.5 Loop=F-101", "G/N//flow = float64 1 Good at 0")
	d.send("NBIRTH", "", session64(1), m)
	require.Len(t, d.out.take(), 0) // the same message
	d.at(1)
	d.send("NBIRTH", "", session64(1), m)
	d.want("G/N//flow = float64 1 Good at 0") // the same metric: nothing new to tell
	d.at(2)
	d.send("NBIRTH", "", session64(1), named("flow", Int32, intOf(-7), base+2))
	d.want("define G/N//flow int64", "G/N//flow = int64 -7 Good at 2")
}

// Broken metrics are refused one by one; their message and their neighbours are taken.
func TestBadMetrics(t *testing.T) {
	d := newDrive(t, Options{})
	at := uint64(base)
	d.send("NBIRTH", "", session64(1), named("", Int32, intOf(1), at), named("\xff", Int32, intOf(1), at), named("a", Unknown, intOf(1), at),
		named("b", Int32, str("x"), at), named("c", Int32Array, Value{Kind: Bytes, Bytes: []byte{1}}, at), named("d", DataSetType, intOf(1), at), d.val("e", 1), d.val("e", 2),
		named("t", TemplateType, Value{Kind: Instance, Template: &Template{Ref: "T", Metrics: []Metric{d.val("x", 1)}}}, at), d.val("t.x", 3))
	d.want("define G/N//b int64", "define G/N//e float64", "G/N//e = float64 1 Good at 0", "define G/N//t.x float64 template=T", "G/N//t.x = float64 1 Good at 0")
	for i, want := range []string{"must name its metrics", "not UTF-8", `metric "a"`, "4 bytes", "DataSet travels in int_value", "has it twice", "is another metric's too", `metric "b"`} {
		if i == 3 {
			want = "1 bytes are no Int32Array"
		}
		require.ErrorContains(t, d.out.problems[i], want)
	}
	require.Equal(t, 8, d.out.counts[Rejected])
	d.send("NDATA", "", named("e", StringType, str("x"), at), named("b", Int32, intOf(4), at))
	d.want("G/N//b = int64 4 Good at 0")
	require.ErrorContains(t, d.out.problems[8], "is String, its birth said Double")
}

func TestBadMessages(t *testing.T) {
	d := born(t, Options{})
	for _, topic := range []string{"x", "spBv1.0", "spBv1.0/G/NDATA", "spBv1.0/G/NDATA/N/D", "spBv1.0/G/DDATA/N", "spBv1.0/G/XDATA/N", "spBv1.0/G//N", "spBv1.0/G/DDATA/N/D/E",
		"spAv1.0/G/NDATA/N", "spBv1.0/\xff/NDATA/N"} {
		d.deliver(Message{Topic: topic})
		require.Contains(t, d.out.problems[len(d.out.problems)-1].Error(), fmt.Sprintf("topic %q", topic))
	}
	d.deliver(Message{Topic: "spBv1.0/G/NDATA/N", Payload: []byte{0}})
	d.deliver(Message{Topic: "spBv1.0/G/NDATA/N", Payload: encode(&Payload{})})
	d.deliver(Message{Topic: "spBv1.0/G/NDATA/N", Payload: encode(&Payload{HasSeq: true, Seq: 256})})
	d.deliver(Message{Topic: "spBv1.0/G/NBIRTH/N", Payload: encode(&Payload{})})
	require.Equal(t, 14, d.out.counts[Rejected])
	d.deliver(Message{Topic: "spBv1.0/G/NCMD/N", Payload: []byte{0}}) // another host's, not for this one
	m := d.message("NBIRTH", "", session64(9))
	m.Retained = true
	d.deliver(m)
	require.Equal(t, 1, d.out.counts[StaleMessages])
	d.want()
}

func TestTransient(t *testing.T) {
	d := newDrive(t, Options{})
	m := d.val("alarm text", 1).alias(4)
	m.Transient = true
	d.send("NBIRTH", "", session64(1), m, d.val("volts", 1))
	d.send("NDATA", "", m.short(), d.val("volts", 2))
	d.want("define G/N//volts float64", "G/N//volts = float64 1 Good at 0", "G/N//volts = float64 2 Good at 0")
}

func TestLimits(t *testing.T) {
	d := newDrive(t, Options{MaxNodes: 2, MaxMetrics: 3, MaxHeld: 2})
	d.send("NBIRTH", "", session64(1), d.val("a", 1), d.val("b", 1), d.val("c", 1), d.val("d", 1))
	require.Equal(t, 1, d.out.counts[Refused])
	require.Len(t, d.out.take(), 6)
	d.send("NDATA", "", d.val("c", 2))
	d.want("G/N//c = float64 2 Good at 0")
	for _, node := range []string{"N2", "N3"} {
		d.deliver(Message{Topic: "spBv1.0/G/NDATA/" + node, Payload: encode(&Payload{HasSeq: true})})
	}
	require.Equal(t, 2, d.out.counts[Refused])
	d.message("NDATA", "") // is lost; two more may wait, the third does not
	for range 2 {
		d.send("NDATA", "", d.val("c", 3))
	}
	d.want()
	d.send("NDATA", "", d.val("c", 4))
	require.Equal(t, 1, d.out.counts[Missing])
	require.Len(t, d.out.take(), 5)
}

func TestState(t *testing.T) {
	h, out := New(Options{HostID: "varve"}), &record{}
	now := time.UnixMilli(base)
	will, ok := h.Will(now)
	require.True(t, ok)
	require.Equal(t, Packet{"spBv1.0/STATE/varve", []byte(`{"online":false,"timestamp":1700000000000}`)}, will)
	// Before the birth nothing is contradicted.
	h.Receive(Message{Topic: will.Topic, Payload: will.Payload, At: now}, out)
	require.Empty(t, out.take())
	birth, ok := h.Birth()
	require.True(t, ok)
	require.Equal(t, Packet{"spBv1.0/STATE/varve", []byte(`{"online":true,"timestamp":1700000000000}`)}, birth)
	h.Receive(Message{Topic: birth.Topic, Payload: birth.Payload, At: now}, out)
	require.Empty(t, out.take())
	// The will of an older session comes late.
	h.Receive(Message{Topic: will.Topic, Payload: []byte(`{"online":false,"timestamp":1}`), At: now, Retained: true}, out)
	require.Equal(t, []string{"publish spBv1.0/STATE/varve qos=1 retain=true"}, out.take())
	require.Equal(t, birth, out.sent[0])
	h.Receive(Message{Topic: "spBv1.0/STATE/other", Payload: will.Payload, At: now}, out)
	require.Empty(t, out.take())
	death, ok := h.Death(now.Add(5 * time.Second))
	require.True(t, ok)
	require.Equal(t, `{"online":false,"timestamp":1700000005000}`, string(death.Payload))
	h.Receive(Message{Topic: will.Topic, Payload: death.Payload, At: now}, out) // its own
	require.Empty(t, out.take())
	_, ok = New(Options{}).Will(now)
	require.False(t, ok)
}

// The one message to a node: the NCMD of 6.4.31, by name, true, without seq.
func TestRebirthRequest(t *testing.T) {
	var p Payload
	require.NoError(t, Decode(rebirthRequest(base), &p))
	require.Equal(t, Payload{Timestamp: base, HasTimestamp: true, Metrics: []Metric{named("Node Control/Rebirth", BooleanType, boolean(true), base)}}, p)
}
