package calendar

import (
	"cmp"
	"math"
	"slices"
)

// period is the readings [from, to) under a name.
type period struct {
	name     string
	from, to int64
}

// periods divides into named periods. The time between two of them, and on either side of all, is one part.
type periods struct {
	all      []period // ascending, apart
	dayStart int64
}

func (p *periods) part(reading int64) part {
	i, _ := slices.BinarySearchFunc(p.all, reading, func(x period, reading int64) int { return cmp.Compare(x.to, reading+1) })
	// i is the first that ends behind reading.
	free := part{from: math.MinInt64 / 2, to: math.MaxInt64 / 2, off: true}
	if i > 0 {
		free.from = p.all[i-1].to
	}
	if i == len(p.all) {
		return free
	}
	if x := p.all[i]; x.from <= reading {
		return part{from: x.from, to: x.to, name: x.name}
	}
	free.to = p.all[i].from
	return free
}

func (p *periods) label(x part) string {
	switch {
	case x.name != "":
		return x.name
	case x.from < firstSecond:
		return "off"
	}
	return dayLabel(x.from, p.dayStart) + " off"
}
