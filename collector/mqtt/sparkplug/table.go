package sparkplug

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// device is what births say of a device, or of the node itself. It outlives its sessions: an address that a later birth leaves out stays under
// a gap.
type device struct {
	node    *node
	topic   Topic // Type is empty
	online  bool  // its birth was seen, and no death since
	pending bool  // it was online before its node was born again, and its own birth has not come
	metrics map[string]*metric
	aliases map[uint64]*metric // empty while they may have changed
	points  map[string]*point  // by address
	order   []*point           // as they came, so that no output depends on the order of a map
}

// metric is one entry of a birth.
type metric struct {
	base     string // its address; members and elements stand behind it
	datatype Datatype
	aliased  bool // data may name it by alias only
	seen     bool // by the birth that is being read
	ignored  bool // it is no value of a device, or not for a historian
	one      *point
	members  map[string]*metric // of a template
	elements []*point           // of an array
	cells    map[string]*point  // of a data set, by what stands behind base
}

// point is one address.
type point struct {
	definition Definition
	owner      *metric
	defined    bool // Out knows of it
	present    bool // the newest birth has it
	down       bool
	downAt     int64
	captured   int64 // time of its value in the birth that is being read; 0: it has none of its own
	upAt       int64 // where that birth ended a gap; 0: it ended none
}

// moment is the message whose metrics are taken.
type moment struct {
	topic     string
	published int64 // for gaps: the payload's time, or the receive time where it has none or is ahead
	time      int64 // the payload's time
	timed     bool  // it has one
}

const maxMilliseconds = math.MaxInt64 / 1_000_000

// nanoseconds is a time as it travels; false for what is none.
func nanoseconds(ms uint64) (int64, bool) {
	if ms == 0 || ms > maxMilliseconds {
		return 0, false
	}
	return int64(ms * 1_000_000), true
}

var errUnknown = errors.New("no birth names it")

// birth takes the metrics of a birth into the tables, ends the gaps of their addresses and puts out their values.
func (h *Host) birth(d *device, metrics []Metric, m moment, out Out) {
	d.online = true
	clear(d.aliases)
	for _, x := range d.metrics {
		x.seen = false
	}
	for _, p := range d.order {
		p.present = false
	}
	entered := make([]*metric, len(metrics))
	shared := map[uint64]bool{}
	for i := range metrics {
		x := &metrics[i]
		e, err := h.enter(d, x, shared)
		if err == nil && e.ignored {
			continue
		}
		if err == nil {
			err = h.walk(d, e, x, true, func(p *point, x *Metric, _ Datatype, _ Value) {
				p.present, p.captured = true, 0
				if at, ok := nanoseconds(x.Timestamp); ok && x.HasTimestamp && !x.Historical {
					p.captured = at
				}
			})
		}
		if err != nil {
			h.refuse(m.topic, x, err, out)
			continue
		}
		entered[i] = e
	}
	maps.DeleteFunc(d.metrics, func(_ string, e *metric) bool { return !e.seen })
	d.up(m.published, out)
	d.down(m.published, "the newest birth does not have it", out, func(p *point) bool { return !p.present })
	for i, e := range entered {
		if e != nil {
			d.describe(e, &metrics[i], out)
			h.values(d, e, &metrics[i], m, out)
		}
	}
	for _, p := range d.order {
		p.upAt = 0
	}
}

// enter makes the entry of a metric of a birth.
func (h *Host) enter(d *device, x *Metric, shared map[uint64]bool) (*metric, error) {
	name := string(x.Name)
	switch {
	case name == "":
		return nil, errors.New("a birth must name its metrics")
	case !utf8.ValidString(name):
		return nil, fmt.Errorf("name %q is not UTF-8", name)
	case d.metrics[name] != nil && d.metrics[name].seen:
		return nil, errors.New("the birth has it twice")
	}
	e := d.metrics[name]
	if e == nil || e.datatype != x.Datatype {
		e = &metric{base: d.topic.Address(name), datatype: x.Datatype}
		d.metrics[name] = e
	}
	definition := x.Value.Kind == Instance && x.Value.Template.Definition
	if definition {
		d.node.define(name, x.Value.Template)
	}
	e.seen, e.aliased, e.ignored = true, x.HasAlias, definition || x.Transient || name == bdSeq || name == rebirthMetric
	if x.HasAlias {
		if other := d.aliases[x.Alias]; other != nil || shared[x.Alias] {
			shared[x.Alias] = true
			delete(d.aliases, x.Alias)
			return e, nil // both are known by their names alone: aliases that stand for two stand for none
		}
		d.aliases[x.Alias] = e
	}
	return e, nil
}

// walk calls leaf for every address of a metric and the value it has in x. A birth makes the addresses it does not know, data only more
// elements of a list that is known.
func (h *Host) walk(d *device, e *metric, x *Metric, birth bool, leaf func(p *point, x *Metric, t Datatype, v Value)) error {
	t := e.datatype
	if x.HasDatatype && x.Datatype != t {
		was, _ := t.Model()
		if is, ok := x.Datatype.Model(); !ok || is != was {
			return fmt.Errorf("is %s, its birth said %s", x.Datatype, t)
		}
		t = x.Datatype
	}
	if x.Null && !birth {
		e.each(func(p *point) { leaf(p, x, t, Value{}) })
		return nil
	}
	switch kind, scalar := t.Model(); {
	case scalar:
		p, err := h.point(d, e, &e.one, "", t, kind)
		if err == nil {
			leaf(p, x, t, x.Value)
		}
		return err
	case x.Null: // a birth of a list or an instance of nothing: its addresses are not known
		e.each(func(p *point) { leaf(p, x, t, Value{}) })
		return nil
	case t == TemplateType && x.Value.Kind == Instance:
		return h.walkMembers(d, e, x, birth, leaf)
	case t == DataSetType && x.Value.Kind == Set:
		return h.walkCells(d, e, x, leaf)
	case t.Array() && x.Value.Kind == Bytes:
		return h.walkElements(d, e, x, t, leaf)
	}
	return fmt.Errorf("%w: %s travels in %s", ErrPayload, t, x.Value.Kind)
}

func (h *Host) walkMembers(d *device, e *metric, x *Metric, birth bool, leaf func(p *point, x *Metric, t Datatype, v Value)) error {
	for i := range x.Value.Template.Metrics {
		member := &x.Value.Template.Metrics[i]
		name := string(member.Name)
		sub := e.members[name]
		if sub == nil || birth && sub.datatype != member.Datatype {
			if !birth || name == "" || !utf8.ValidString(name) {
				return fmt.Errorf("member %q: %w", name, errUnknown)
			}
			sub = &metric{base: e.base + "." + name, datatype: member.Datatype}
			if e.members == nil {
				e.members = map[string]*metric{}
			}
			e.members[name] = sub
		}
		sub.aliased = e.aliased
		// What the instance says holds for its members unless they say otherwise.
		inherited := *member
		inherited.Historical = member.Historical || x.Historical
		inherited.Transient = member.Transient || x.Transient
		if !member.HasTimestamp {
			inherited.Timestamp, inherited.HasTimestamp = x.Timestamp, x.HasTimestamp
		}
		if _, stated := qualityOf(member.Properties); !stated {
			if p := qualityProperty(x.Properties); p != nil {
				inherited.Properties = append(member.Properties[:len(member.Properties):len(member.Properties)], *p)
			}
		}
		if err := h.walk(d, sub, &inherited, birth, leaf); err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
	}
	return nil
}

func (h *Host) walkCells(d *device, e *metric, x *Metric, leaf func(p *point, x *Metric, t Datatype, v Value)) error {
	set := x.Value.DataSet
	if len(set.Rows)*len(set.Columns) > h.o.MaxElements {
		return fmt.Errorf("%d rows of %d columns: at most %d values become tags", len(set.Rows), len(set.Columns), h.o.MaxElements)
	}
	if e.cells == nil {
		e.cells = map[string]*point{}
	}
	for r, row := range set.Rows {
		for c, v := range row {
			kind, ok := set.Types[c].Model()
			if !ok {
				return fmt.Errorf("column %q is %s", set.Columns[c], set.Types[c])
			}
			behind := "[" + strconv.Itoa(r) + "]." + set.Columns[c]
			if !utf8.ValidString(behind) {
				return fmt.Errorf("column %q is not UTF-8", set.Columns[c])
			}
			cell := e.cells[behind]
			p, err := h.point(d, e, &cell, behind, set.Types[c], kind)
			if err != nil {
				return err
			}
			e.cells[behind] = p
			leaf(p, x, set.Types[c], v)
		}
	}
	return nil
}

func (h *Host) walkElements(d *device, e *metric, x *Metric, t Datatype, leaf func(p *point, x *Metric, t Datatype, v Value)) error {
	of, _ := t.element()
	kind, _ := of.Model()
	return Elements(t, x.Value.Bytes, func(i int, v Value) error {
		if i >= h.o.MaxElements {
			return fmt.Errorf("more than %d elements become no tags", h.o.MaxElements)
		}
		if i == len(e.elements) {
			e.elements = append(e.elements, nil)
		}
		behind := ""
		if e.elements[i] == nil {
			behind = "[" + strconv.Itoa(i) + "]"
		}
		p, err := h.point(d, e, &e.elements[i], behind, of, kind)
		if err == nil {
			leaf(p, x, of, v)
		}
		return err
	})
}

var errTooMany = errors.New("there are more metrics than are taken")

// point is *at, made where it is nil.
func (h *Host) point(d *device, e *metric, at **point, behind string, t Datatype, kind model.Type) (*point, error) {
	if *at != nil {
		if old := &(*at).definition; old.Type != kind { // a column that changed its type
			old.Datatype, old.Type = t, kind
			(*at).defined = false
		}
		return *at, nil
	}
	address := e.base + behind
	p := d.points[address]
	switch {
	case p != nil && p.present && p.owner != e:
		return nil, fmt.Errorf("its address %q is another metric's too", address)
	case p == nil && h.points >= h.o.MaxMetrics:
		return nil, errTooMany
	case p == nil:
		p = &point{}
		h.points++
		d.points[address] = p
		d.order = append(d.order, p)
	}
	p.owner = e
	if p.definition.Type != kind || p.definition.Datatype != t {
		p.definition = Definition{Address: address, Datatype: t, Type: kind}
		p.defined = false
	}
	*at = p
	return p, nil
}

// each calls f for every address that a metric has.
func (e *metric) each(f func(p *point)) {
	if e.one != nil {
		f(e.one)
	}
	for _, p := range e.elements {
		if p != nil {
			f(p)
		}
	}
	for _, name := range sorted(e.cells) {
		f(e.cells[name])
	}
	for _, name := range sorted(e.members) {
		e.members[name].each(f)
	}
}

// values puts out what a metric says of its addresses.
func (h *Host) values(d *device, e *metric, x *Metric, m moment, out Out) {
	if x.Transient {
		out.Count(Transient, 1)
		return
	}
	err := h.walk(d, e, x, false, func(p *point, x *Metric, t Datatype, v Value) {
		if x.Transient {
			out.Count(Transient, 1)
			return
		}
		r := Reading{Address: p.definition.Address, Historical: x.Historical}
		quality, stated := qualityOf(x.Properties)
		if x.Null {
			r.Sample = model.Sample{Type: p.definition.Type, Null: true}
			if !stated {
				quality = model.BadNoData
			}
		} else {
			s, err := v.Scalar(t)
			if err != nil {
				h.refuse(m.topic, x, err, out)
				return
			}
			r.Sample = s
		}
		r.Sample.Quality = quality
		at := m.published
		if r.Sample.Time, r.HasTime = nanoseconds(x.Timestamp); !x.HasTimestamp || !r.HasTime {
			if x.HasTimestamp {
				out.Count(BadTimes, 1)
			}
			r.Sample.Time, r.HasTime = m.time, m.timed
		}
		if !p.defined {
			p.present = true
			p.defined = true
			out.Define(p.definition)
		}
		if p.down && !r.Historical { // its name was there, after its alias became doubtful
			p.down = false
			out.Up([]string{r.Address}, max(at, p.downAt+1))
		}
		out.Reading(r)
		if p.upAt != 0 && r.Sample.Time < p.upAt && r.HasTime && !r.Historical {
			// The birth says that a value captured before the gap is the value now: without a sample behind the gap nothing would.
			r.Sample.Time = p.upAt
			out.Reading(r)
		}
	})
	if err != nil {
		h.refuse(m.topic, x, err, out)
	}
}

// refuse counts and tells of a metric that is not taken.
func (h *Host) refuse(topic string, x *Metric, err error, out Out) {
	c := Rejected
	switch {
	case errors.Is(err, errTooMany):
		c = Refused
	case errors.Is(err, errUnknown):
		c = UnknownMetrics
	}
	out.Count(c, 1)
	if x.HasName {
		out.Problem(topic, fmt.Errorf("metric %q: %w", x.Name, err))
	} else {
		out.Problem(topic, fmt.Errorf("metric of alias %d: %w", x.Alias, err))
	}
}

// describe tells Out of the addresses of a metric of a birth where it does not know of them, or otherwise.
func (d *device) describe(e *metric, x *Metric, out Out) {
	common := Definition{}
	common.properties(x)
	if x.Value.Kind == Instance {
		d.node.parameters(x.Value.Template, &common)
	}
	e.describe(x, common, out)
}

func (e *metric) describe(x *Metric, common Definition, out Out) {
	if x.Value.Kind == Instance {
		for i := range x.Value.Template.Metrics {
			member := &x.Value.Template.Metrics[i]
			sub := e.members[string(member.Name)]
			if sub == nil {
				continue
			}
			own := Definition{Attributes: maps.Clone(common.Attributes)}
			own.properties(member)
			sub.describe(member, own, out)
		}
		return
	}
	e.each(func(p *point) {
		want := common
		want.Address, want.Datatype, want.Type = p.definition.Address, p.definition.Datatype, p.definition.Type
		if !p.defined || !reflect.DeepEqual(want, p.definition) {
			p.definition, p.defined = want, true
			out.Define(want)
		}
	})
}

// up ends the gaps of what a birth has: where its value was captured if that was in the gap, else where the birth was published.
func (d *device) up(published int64, out Out) {
	addresses := map[int64][]string{}
	for _, p := range d.order {
		if !p.down || !p.present {
			continue
		}
		at := max(published, p.downAt+1)
		if p.captured > p.downAt {
			at = min(at, p.captured)
		}
		p.down, p.upAt = false, at
		addresses[at] = append(addresses[at], p.definition.Address)
	}
	for _, at := range slices.Sorted(maps.Keys(addresses)) {
		out.Up(addresses[at], at)
	}
}

// down opens a gap at the points that which chooses.
func (d *device) down(at int64, reason string, out Out, which func(*point) bool) {
	var addresses []string
	for _, p := range d.order {
		if !p.down && which(p) {
			p.down, p.downAt = true, at
			addresses = append(addresses, p.definition.Address)
		}
	}
	if addresses != nil {
		out.Down(addresses, at, reason)
	}
}

// data puts out the metrics of a data message, and reports whether one of them is of no birth.
func (h *Host) data(d *device, metrics []Metric, m moment, out Out) (unknown bool) {
	for i := range metrics {
		x := &metrics[i]
		var e *metric
		switch {
		case x.HasName && len(x.Name) > 0:
			e = d.metrics[string(x.Name)]
		case x.HasAlias:
			e = d.aliases[x.Alias]
		}
		switch {
		case e != nil && !e.ignored:
			h.values(d, e, x, m, out)
		case x.Transient:
			out.Count(Transient, 1)
		case e == nil:
			h.refuse(m.topic, x, errUnknown, out)
			unknown = true
		}
	}
	return unknown
}
