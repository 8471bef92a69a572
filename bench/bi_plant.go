package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// biStart is 2024-11-02T00:00:00Z, where the plant of internal/interop/bi begins and what the literals of its questions are of.
var biStart = time.Date(2024, 11, 2, 0, 0, 0, 0, time.UTC).UnixNano()

// biQualities are the qualities of its samples. Bad ones have no value.
var biQualities = map[uint32]string{
	0: "Good", 0x40000000: "Uncertain", 0x40930000: "UncertainSensorNotAccurate", 0x808C0000: "BadSensorFailure", 0x80310000: "BadNoCommunication",
}

// biPump are the states of its pump, by their codes.
var biPump = []string{"stopped", "starting", "running"}

// biTag is a tag and its samples in order of time. Of numbers, ints and texts one has a place for each time; of a state ints has codes.
type biTag struct {
	name, kind, unit, area, description string
	stepped                             bool

	times   []int64 // nanoseconds
	seqs    []uint32
	quality []uint32
	numbers []float64
	ints    []int64
	texts   []string

	id uint32 // that varve gave it
}

// bad reports whether a sample has no value.
func (t *biTag) bad(i int) bool { return t.quality[i]>>31 == 1 }

func (t *biTag) add(time int64, quality uint32) {
	t.times, t.quality, t.seqs = append(t.times, time), append(t.quality, quality), append(t.seqs, 0)
}

// biPlantOf is the plant of internal/interop/bi, for more days and with more tags of its kinds, so that its questions can be asked as they are. The first
// fifteen tags are those it has; the numbers are drawn anew.
func biPlantOf(tags, days int) []*biTag {
	r := rand.New(rand.NewPCG(20241103, uint64(tags)<<32|uint64(days)))
	var all []*biTag
	walk := func(name, unit, area, description string, step int64, value, deviation float64, decimals int, gap bool) {
		t := &biTag{name: name, kind: "float64", unit: unit, area: area, description: description}
		t.walk(r, days, step, value, deviation, decimals, gap)
		all = append(all, t)
	}
	for i := 1; i <= 5; i++ {
		walk(fmt.Sprintf("SITE1.TI-10%d", i), "Cel", "boiler", fmt.Sprintf("temperature %d", i), 60, 80, 0.25, 2, i == 1)
	}
	for i := 1; i <= 3; i++ {
		walk(fmt.Sprintf("SITE1.FI-20%d", i), "m3/h", "feed", fmt.Sprintf("flow %d", i), 20, 12, 0.1, 3, i == 1)
	}
	walk("SITE2.PI-301", "bar", "feed", "pressure", 10, 4, 0.01, 15, false)
	all = append(all, biSteps(r, days)...)
	for i := len(all); i < tags; i++ {
		switch i % 10 {
		case 0, 1, 2, 3, 4, 5:
			walk(fmt.Sprintf("SITE1.TI-1%04d", i), "Cel", "boiler", "temperature", 60, 80, 0.25, 2, false)
		case 6, 7, 8:
			walk(fmt.Sprintf("SITE1.FI-2%04d", i), "m3/h", "feed", "flow", 20, 12, 0.1, 3, false)
		case 9:
			walk(fmt.Sprintf("SITE2.PI-3%04d", i), "bar", "feed", "pressure", 10, 4, 0.01, 15, false)
		}
	}
	return all
}

// walk is a random walk with samples of every quality, and with a break on the first day where it has a gap.
func (t *biTag) walk(r *rand.Rand, days int, step int64, value, deviation float64, decimals int, gap bool) {
	scale := math.Pow(10, float64(decimals))
	codes := []uint32{0x40000000, 0x40930000, 0x808C0000, 0x80310000}
	for at := int64(0); at < int64(days)*86_400; at += step {
		value += r.NormFloat64() * deviation
		if gap && at > 20*3600 && at < 20*3600+5400 {
			continue // nobody collected
		}
		quality := uint32(0)
		if r.IntN(100) == 0 {
			quality = codes[r.IntN(len(codes))]
		}
		t.add(biStart+at*second, quality)
		t.numbers = append(t.numbers, math.Round(value*scale)/scale)
	}
}

// biSteps are the tags that step, and two that are sampled otherwise than once at a time or at whole seconds.
func biSteps(r *rand.Rand, days int) []*biTag {
	counter := &biTag{name: "SITE2.COUNT-401", kind: "int64", stepped: true, area: "packing", description: "pieces"}
	for k, n := int64(0), int64(1)<<53; k < int64(days)*288; k++ {
		n += r.Int64N(40)
		counter.add(biStart+k*300*second, 0)
		counter.ints = append(counter.ints, n)
	}
	pump := &biTag{name: "SITE1.P-101.RUN", kind: "state", stepped: true, area: "feed", description: "feed pump"}
	valve := &biTag{name: "SITE1.XV-102.OPEN", kind: "bool", stepped: true, area: "feed", description: "inlet valve"}
	for at := int64(7); at < int64(days)*86_400; at += 60 + r.Int64N(2340) {
		quality := uint32(0)
		if r.IntN(10) == 0 {
			quality = 0x80310000
		}
		pump.add(biStart+at*second, quality)
		pump.ints = append(pump.ints, []int64{0, 2, 1, 2}[r.IntN(4)])
		valve.add(biStart+(at+3)*second, 0)
		valve.ints = append(valve.ints, int64(r.IntN(10)/4%2))
	}
	batch := &biTag{name: "SITE2.BATCH", kind: "string", stepped: true, area: "packing", description: "batch in work"}
	for k := range int64(days) * 6 {
		batch.add(biStart+k*4*3600*second, 0)
		batch.texts = append(batch.texts, fmt.Sprintf("B-%d; 'ä\"", 100+r.IntN(900)))
	}
	lab := &biTag{name: "LAB.PH", kind: "float64", unit: "[pH]", description: "acidity, three readings a sample"}
	for k := range int64(days) * 4 {
		for seq := range uint32(3) {
			lab.add(biStart+k*6*3600*second+11, uint32(r.IntN(2))*0x40000000)
			lab.seqs[len(lab.seqs)-1] = seq
			lab.numbers = append(lab.numbers, math.Round((7+r.NormFloat64()*0.3)*100)/100)
		}
	}
	fast := &biTag{name: "SITE1.VIB-1", kind: "float64", unit: "mm/s", area: "boiler", description: "vibration, between microseconds"}
	for k := range int64(3000) {
		fast.add(biStart+3600*second+k*333_333_333+1, 0)
		fast.numbers = append(fast.numbers, r.NormFloat64())
	}
	return []*biTag{counter, pump, valve, batch, lab, fast}
}

// biRow is a sample as a row of the SQL table samples; what is nil is NULL.
type biRow struct {
	tag      *biTag
	ns       int64
	seq      uint32
	quality  uint32
	number   *float64
	integer  *int64
	text     *string
	severity string
}

// row is the sample at i.
func (t *biTag) row(i int) biRow {
	r := biRow{tag: t, ns: t.times[i], seq: t.seqs[i], quality: t.quality[i], severity: []string{"Good", "Uncertain", "Bad", "Bad"}[t.quality[i]>>30]}
	if t.bad(i) {
		return r
	}
	switch t.kind {
	case "float64":
		r.number = &t.numbers[i]
	case "int64":
		near := float64(t.ints[i])
		r.number, r.integer = &near, &t.ints[i]
	case "bool":
		r.integer = &t.ints[i]
	case "state":
		r.integer, r.text = &t.ints[i], &biPump[t.ints[i]]
	case "string":
		r.text = &t.texts[i]
	}
	return r
}

// status is the name of its quality.
func (r *biRow) status() string { return biQualities[r.quality] }

func biCount(tags []*biTag) (n int) {
	for _, t := range tags {
		n += len(t.times)
	}
	return n
}
