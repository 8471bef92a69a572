// Package plant makes the samples of the benchmark: tags that behave as those of a plant do, the same on every machine.
//
//	(seed, tag) → kind and settings → one sample per step, however the caller cuts them into slices
//
// Of every twenty tags twelve are analog measurements with drift, noise and the steps of a converter, three are setpoints,
// three are discrete states and two are counters. Half of the tags carry the 0 to 40 ms of delay that a scanner adds.
// Values are rounded to two or three decimals, as instruments deliver them. Other historians are measured on the same data;
// the checksum in the test is how two measurements know it. Nothing here may change without changing that. Products are
// converted to float64 before they are added, which forbids a machine to fuse the two.
package plant

import (
	"fmt"
	"math"
)

// Start is 2026-01-01T00:00:00Z in milliseconds, the first step of workload W1.
const Start int64 = 1767225600000

// YearBefore is the first step of workload W2, so that its last of 365 days ends at Start.
const YearBefore = Start - 365*86_400_000

// Kind says how a tag behaves.
type Kind uint8

const (
	Analog   Kind = iota // a drifting measurement with noise
	Setpoint             // constant, moved by hand now and then
	Discrete             // on and off, or one of eight states
	Counter              // grows steadily, or by whole numbers
)

// KindOf is the kind of a tag, by its number.
func KindOf(tag int) Kind {
	switch place := tag % 20; {
	case place < 12:
		return Analog
	case place < 15:
		return Setpoint
	case place < 18:
		return Discrete
	}
	return Counter
}

// Name is the name of a tag, by its number.
func Name(tag int) string { return fmt.Sprintf("T%05d", tag) }

// Tag makes the samples of one tag, in time order.
type Tag struct {
	random random
	kind   Kind
	class  int // 0 to 3: variants of a kind

	time    int64 // of the next step, milliseconds
	step    int64
	jitters bool

	low, span float64 // of the instrument
	state     float64 // analog: position in the span before noise; else the value itself
	drift     float64 // analog: standard deviation a step; counter: growth a step
	noise     float64 // analog: standard deviation, part of the span
	scale     float64 // analog: 100 for two decimals, 1,000 for three
	converter float64 // analog: step of the A/D converter in units, 0 for none
}

// NewTag is tag number of the plant that seed names, with its first sample at start and one every step, in milliseconds.
func NewTag(seed uint64, number int, start, step int64) *Tag {
	t := &Tag{
		random:  random{seed*golden + uint64(number)*0xd1342543de82ef95 + 12345},
		kind:    KindOf(number),
		class:   number / 40 % 4,
		time:    start,
		step:    step,
		jitters: number/20%2 == 1,
	}
	t.random.next()
	t.low = math.Round(t.random.uniform()*50) - 10
	t.span = [4]float64{10, 50, 100, 500}[t.random.next()%4]
	switch t.kind {
	case Analog:
		t.setAnalog()
	case Setpoint:
		t.state = t.setting()
	case Discrete:
		t.state = float64(t.random.next() % 2)
	case Counter:
		t.state = math.Round(t.random.uniform() * 1e6)
		t.drift = 0.5 + float64(4*t.random.uniform())
	}
	return t
}

func (t *Tag) setAnalog() {
	t.state = 0.3 + float64(0.4*t.random.uniform())
	t.drift = 0.00003 + float64(0.0002*t.random.uniform())
	t.noise = [4]float64{0.0002, 0.001, 0.003, 0.00005}[t.class]
	t.scale = 100
	if t.class >= 2 || t.span <= 10 {
		t.scale = 1000
	}
	switch t.class {
	case 0:
		t.converter = t.span / (1 << 12)
	case 1:
		t.converter = t.span / (1 << 16)
	}
}

// setting is a setpoint somewhere in the span, to one decimal.
func (t *Tag) setting() float64 {
	return math.Round((t.low+float64(t.span*t.random.uniform()))*10) / 10
}

// Next fills times, in milliseconds, and values, of the same length, with the next samples. What it writes does not depend
// on how many are asked for at once.
func (t *Tag) Next(times []int64, values []float64) {
	for i := range times {
		times[i] = t.time
		if t.jitters {
			times[i] += int64(t.random.next() % 41)
		}
		t.time += t.step
		values[i] = t.value()
	}
}

func (t *Tag) value() float64 {
	switch t.kind {
	case Analog:
		return t.measure()
	case Setpoint:
		if t.random.next()%1800 == 0 {
			t.state = t.setting()
		}
	case Discrete:
		t.switchOver()
	case Counter:
		return t.count()
	}
	return t.state
}

func (t *Tag) measure() float64 {
	t.state += float64(t.drift*t.random.normal()) + float64(0.0001*(0.5-t.state))
	v := t.low + float64(t.span*(t.state+float64(t.noise*t.random.normal())))
	if t.converter > 0 {
		v = t.low + float64(math.Round((v-t.low)/t.converter)*t.converter)
	}
	return math.Round(v*t.scale) / t.scale
}

func (t *Tag) switchOver() {
	if t.class < 2 {
		if t.random.next()%300 == 0 {
			t.state = 1 - t.state
		}
	} else if t.random.next()%120 == 0 {
		t.state = float64(t.random.next() % 8)
	}
}

func (t *Tag) count() float64 {
	if t.class >= 2 {
		t.state += float64(t.random.next() % 4)
		return t.state
	}
	t.state += float64(t.drift * (1 + float64(0.02*t.random.normal())))
	return math.Round(t.state*1000) / 1000
}
