package simulator

import (
	"fmt"
	"math"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

// Plant is what the settings describe. It has no state: everything follows from the seed and the number of the step, so a test, or a restart, can
// ask for any step.
type Plant struct {
	s         Settings
	addresses []string
}

// NewPlant is the plant of settings, which must have been checked.
func NewPlant(s Settings) *Plant {
	p := &Plant{s: s.withDefaults()}
	for _, o := range p.Offers() {
		p.addresses = append(p.addresses, o.Address)
	}
	return p
}

// Offers describe the addresses: sensor/1 …, pump/1 …, counter/1 ….
func (p *Plant) Offers() (out []collector.Offer) {
	for i := range p.s.Sensors {
		out = append(out, collector.Offer{Address: fmt.Sprintf("sensor/%d", i+1), Type: model.Float64, Unit: "Cel", Description: "temperature with noise and drift"})
	}
	for i := range p.s.Pumps {
		out = append(out, collector.Offer{Address: fmt.Sprintf("pump/%d", i+1), Type: model.Int64, Description: "state of a pump", States: states})
	}
	for i := range p.s.Counters {
		out = append(out, collector.Offer{Address: fmt.Sprintf("counter/%d", i+1), Type: model.Uint64, Description: "pulses, back to 0 at 1,000,000"})
	}
	return out
}

var states = map[int64]string{0: "Stopped", 1: "Running", 2: "Fault"}

// Time is the true time of a step, ns UTC.
func (p *Plant) Time(step int64) int64 { return p.s.epoch() + step*int64(p.s.Every) }

// StepAt is the last step at or before an instant.
func (p *Plant) StepAt(t int64) int64 {
	d, every := t-p.s.epoch(), int64(p.s.Every)
	if d < 0 {
		return (d - every + 1) / every
	}
	return d / every
}

// What is drawn for a step: numbers that go into the hash.
const (
	drawNoise = iota + 1
	drawBase
	drawPump
	drawCounter
	drawBad
	drawLate
	drawDuplicate
	drawDown
	drawJump
)

// draw is a number of [0, 1) that seed, what, which and when decide.
func (p *Plant) draw(what, which, when int64) float64 {
	x := uint64(p.s.Seed)
	for _, v := range []int64{what, which, when} { // splitmix64
		x += 0x9E3779B97F4A7C15 + uint64(v)*0xD1B54A32D192ED03
		x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
		x = (x ^ x>>27) * 0x94D049BB133111EB
		x ^= x >> 31
	}
	return float64(float64(x>>11) / (1 << 53)) // the conversion keeps it from being joined with a sum: every machine draws the same
}

// Down reports whether the device does not answer at a step.
func (p *Plant) Down(step int64) bool { return p.within(step, p.s.Faults.Down, drawDown) }

// ClockOff is by how much the device's clock is ahead at a step.
func (p *Plant) ClockOff(step int64) time.Duration {
	if p.within(step, p.s.Faults.ClockOff.Window, drawJump) {
		return p.s.Faults.ClockOff.By
	}
	return 0
}

// within reports whether a step lies in one of the windows: one in each stretch of w.Every, somewhere in it.
func (p *Plant) within(step int64, w Window, what int64) bool {
	if w.Every <= 0 {
		return false
	}
	t := p.Time(step) - p.s.epoch()
	stretch := t / int64(w.Every)
	begin := stretch*int64(w.Every) + int64(p.draw(what, 0, stretch)*float64(w.Every-w.For))
	return t >= begin && t < begin+int64(w.For)
}

// At is what the device says at a step: a reading of each address, those held up at an earlier step, and repeats. Nothing while it is down.
func (p *Plant) At(step int64) []collector.Reading { return p.appendAt(nil, step) }

func (p *Plant) appendAt(out []collector.Reading, step int64) []collector.Reading {
	if p.Down(step) {
		return out
	}
	late := int64(p.s.Faults.LateBy)
	for n, address := range p.addresses {
		which := int64(n)
		if before := step - late; p.isLate(which, before) && !p.Down(before) {
			out = append(out, p.reading(address, which, before))
		}
		if p.isLate(which, step) {
			continue
		}
		r := p.reading(address, which, step)
		out = append(out, r)
		if p.draw(drawDuplicate, which, step) < p.s.Faults.Duplicates {
			out = append(out, r)
		}
	}
	return out
}

// isLate reports whether a reading is held up, to come LateBy steps later. What the device would say while it is down then is never said.
func (p *Plant) isLate(which, step int64) bool {
	return step >= 0 && p.draw(drawLate, which, step) < p.s.Faults.Late
}

func (p *Plant) reading(address string, which, step int64) collector.Reading {
	r := collector.Reading{Address: address, Time: p.Time(step) + int64(p.ClockOff(step)), HasTime: true}
	if p.draw(drawBad, which, step) < p.s.Faults.Bad {
		r.Quality = model.BadSensorFailure
		return r
	}
	switch {
	case which < int64(p.s.Sensors):
		r.Value = collector.Float64(p.sensor(which, step))
	case which < int64(p.s.Sensors+p.s.Pumps):
		// A pump stays as it is for a stretch of 20 to 40 steps.
		length := 20 + int64(p.draw(drawPump, which, -1)*20)
		r.Value = collector.Int64(int64(p.draw(drawPump, which, step/length) * 3))
	default:
		perStep := 1 + int64(p.draw(drawCounter, which, -1)*100)
		r.Value = collector.Uint64(uint64(step*perStep+int64(p.draw(drawCounter, which, step)*float64(perStep))) % 1_000_000)
	}
	return r
}

// sensor is a swing of an hour around a base, with drift and noise, in steps of 0.01 as a transmitter has them.
func (p *Plant) sensor(which, step int64) float64 {
	base, phase := 20+float64(60*p.draw(drawBase, which, 0)), p.draw(drawBase, which, 1)
	hours := float64(float64(step) * p.s.Every.Hours())
	noise := p.draw(drawNoise, which, step) + p.draw(drawNoise, which, -step-1) - 1
	v := base + float64(5*math.Sin(2*math.Pi*(hours+phase))) + float64(p.s.Drift*hours/24) + float64(p.s.Noise*noise)
	return math.Round(v*100) / 100
}
