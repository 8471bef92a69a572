package modbus

import (
	"slices"
	"time"
)

// group is points that one request reads.
type group struct {
	unit     uint8
	table    table
	first    uint16
	quantity int // registers, or bits
	every    time.Duration
	points   []point

	due  time.Time
	gone bool // the device says that it has no such address
}

// plan makes groups of points: those of one unit, table and pace that lie near each other. gap is how much of no use is read to save a request.
func plan(points []point, gap int) []*group {
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b point) int {
		for _, d := range []int64{
			int64(a.unit) - int64(b.unit), int64(a.table) - int64(b.table), int64(a.every - b.every), int64(a.register) - int64(b.register),
		} {
			if d != 0 {
				return int(max(min(d, 1), -1))
			}
		}
		return 0
	})
	var groups []*group
	for _, p := range points {
		if n := len(groups); n > 0 && groups[n-1].takes(p, gap) {
			groups[n-1].add(p)
			continue
		}
		groups = append(groups, newGroup(p))
	}
	return groups
}

func newGroup(p point) *group {
	return &group{unit: p.unit, table: p.table, first: p.register, quantity: p.registers, every: p.every, points: []point{p}}
}

// takes reports whether a point, which begins no earlier than the group does, can be read with it.
func (g *group) takes(p point, gap int) bool {
	end := int(g.first) + g.quantity
	return p.unit == g.unit && p.table == g.table && p.every == g.every && int(p.register) <= end+gap &&
		int(p.register)+p.registers-int(g.first) <= g.table.most()
}

func (g *group) add(p point) {
	g.quantity = max(g.quantity, int(p.register)+p.registers-int(g.first))
	g.points = append(g.points, p)
}

// apart is a group for each point: which of them a device does not have is found so.
func (g *group) apart() []*group {
	var out []*group
	for _, p := range g.points {
		x := newGroup(p)
		x.due = g.due
		out = append(out, x)
	}
	return out
}

// addresses are those of its points.
func (g *group) addresses() []string {
	out := make([]string, len(g.points))
	for i := range g.points {
		out[i] = g.points[i].address
	}
	return out
}
