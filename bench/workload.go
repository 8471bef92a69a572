package main

import (
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/varvedb/varve/bench/plant"
)

const (
	second      = 1_000_000_000
	millisecond = 1_000_000
)

// workload hands out the runs of one connection in the order they are sent. What next returns is valid until the call
// after it.
type workload interface {
	tags() (from, to int)
	next() (tag int, times []int64, values []float64, ok bool)
}

// newWorkloads prepares the samples of every connection. For W1 that takes 16 bytes a sample.
func newWorkloads(o *options) []workload {
	if o.Workload == "w1" {
		return workloadsOf(o, makeColumns(o))
	}
	return workloadsOf(o, nil)
}

// workloadsOf are the workloads over columns that were made before, or over none, of W2. They can be had again and again.
func workloadsOf(o *options, kept *columns) (all []workload) {
	for c := range o.Connections {
		from, to := c*o.Tags/o.Connections, (c+1)*o.Tags/o.Connections
		if kept != nil {
			late := lateness{percent: o.LatePercent, slices: 600 / o.RunSamples}
			s := &sliced{columns: kept, from: from, to: to, late: late, tag: from}
			if o.Shuffled {
				s.order = rand.New(rand.NewPCG(o.Seed, uint64(c))).Perm(kept.slices())
			}
			all = append(all, s)
		} else {
			all = append(all, newYear(o, from, to))
		}
	}
	return all
}

// columns are the samples of every tag of a workload in the order a collector's queue holds them: a slice of time after
// the other, in each a run of every tag.
type columns struct {
	tags, run int
	times     []int64 // nanoseconds
	values    []float64
}

func makeColumns(o *options) *columns {
	c := &columns{tags: o.Tags, run: o.RunSamples, times: make([]int64, o.samples()), values: make([]float64, o.samples())}
	workers := runtime.GOMAXPROCS(0)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for tag := w; tag < o.Tags; tag += workers {
				times, values := makeTag(o, tag, o.samplesPerTag())
				for slice := range c.slices() {
					toTimes, toValues := c.at(slice, tag)
					copy(toTimes, times[slice*c.run:])
					copy(toValues, values[slice*c.run:])
				}
			}
		})
	}
	wait.Wait()
	return c
}

func (c *columns) slices() int { return len(c.times) / (c.tags * c.run) }

// at is one run.
func (c *columns) at(slice, tag int) ([]int64, []float64) {
	first := (slice*c.tags + tag) * c.run
	return c.times[first : first+c.run], c.values[first : first+c.run]
}

// makeTag is the first samples of one tag.
func makeTag(o *options, tag, samples int) ([]int64, []float64) {
	times, values := make([]int64, samples), make([]float64, samples)
	plant.NewTag(o.Seed, tag, o.start(), o.step()).Next(times, values)
	for i := range times {
		times[i] *= millisecond
	}
	return times, values
}

// start is the workload's first step in milliseconds.
func (o *options) start() int64 {
	switch {
	case o.Begin != 0:
		return o.Begin
	case o.Workload == "w2":
		return plant.YearBefore
	}
	return plant.Start
}

// lateness says which runs are sent late, and by how many slices of time.
type lateness struct{ percent, slices int }

func (l lateness) holds(tag, slice int) bool {
	mixed := (uint64(tag)*0x9e3779b97f4a7c15 + uint64(slice)*0xd1342543de82ef95) >> 40
	return int(mixed%100) < l.percent
}

// sliced is W1: slice after slice of time, in each a run of every tag; then, where runs are held back, those of an
// earlier slice. Where the slices are shuffled none is held back.
type sliced struct {
	*columns
	from, to int // tags
	late     lateness
	order    []int // of the slices; nil for that of time

	slice  int
	tag    int
	behind bool // at the runs that were held back
}

func (s *sliced) tags() (int, int) { return s.from, s.to }

func (s *sliced) next() (int, []int64, []float64, bool) {
	slices := s.columns.slices()
	last := slices
	if s.late.percent > 0 {
		last += s.late.slices
	}
	for s.slice < last {
		for s.tag < s.to {
			tag, slice := s.tag, s.slice
			s.tag++
			if s.behind {
				slice -= s.late.slices
			}
			if slice < 0 || slice >= slices || s.late.holds(tag, slice) != s.behind {
				continue
			}
			if s.order != nil {
				slice = s.order[slice]
			}
			times, values := s.at(slice, tag)
			return tag, times, values, true
		}
		s.tag = s.from
		if !s.behind && s.late.percent > 0 {
			s.behind = true
			continue
		}
		s.behind = false
		s.slice++
	}
	return 0, nil, nil, false
}

// year is W2: runs made as they are sent, one of every tag in turn.
type year struct {
	plant  []*plant.Tag
	from   int
	at     int // of plant
	left   int // runs of every tag
	times  []int64
	values []float64
}

func newYear(o *options, from, to int) *year {
	y := &year{from: from, left: o.samplesPerTag() / o.RunSamples, times: make([]int64, o.RunSamples), values: make([]float64, o.RunSamples)}
	for tag := from; tag < to; tag++ {
		y.plant = append(y.plant, plant.NewTag(o.Seed, tag, o.start(), o.step()))
	}
	return y
}

func (y *year) tags() (int, int) { return y.from, y.from + len(y.plant) }

func (y *year) next() (int, []int64, []float64, bool) {
	if y.left == 0 {
		return 0, nil, nil, false
	}
	tag := y.from + y.at
	y.plant[y.at].Next(y.times, y.values)
	for i := range y.times {
		y.times[i] *= millisecond
	}
	if y.at++; y.at == len(y.plant) {
		y.at = 0
		y.left--
	}
	return tag, y.times, y.values, true
}
