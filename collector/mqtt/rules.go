package mqtt

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	"github.com/varvedb/varve/model"
)

// rule is a Rule, prepared.
type rule struct {
	text      bool
	typ       model.Type
	each      path
	value     path
	time      path
	unit      time.Duration
	quality   path
	qualities map[string]model.Quality
	address   []piece
}

// piece is a part of an address.
type piece struct {
	literal string
	name    string // of the filter, topic or key
	at      path   // where neither a literal nor a name
}

// parseAddress reads an address with {names} and {paths} in it.
func parseAddress(s string, f *filter, each, text bool) (pieces []piece, err error) {
	for rest := s; rest != ""; {
		before, behind, found := strings.Cut(rest, "{")
		if before != "" {
			pieces = append(pieces, piece{literal: before})
		}
		if !found {
			return pieces, nil
		}
		var inside string
		if inside, rest, found = strings.Cut(behind, "}"); !found {
			return nil, fmt.Errorf("address %q: a { has no }", s)
		}
		switch {
		case strings.HasPrefix(inside, "/") || strings.HasPrefix(inside, "."):
			p, err := parsePath(inside)
			if err != nil {
				return nil, err
			}
			if text || p.relative && !each {
				return nil, fmt.Errorf("address %q: there is nothing for path %q to go through", s, inside)
			}
			pieces = append(pieces, piece{at: p})
		case inside == "topic", inside == "key" && each, slices.ContainsFunc(f.levels, func(l level) bool { return l.name == inside && inside != "" }):
			pieces = append(pieces, piece{name: inside})
		default:
			return nil, fmt.Errorf("address %q: {%s} is no name in the filter %q", s, inside, f.text)
		}
	}
	return pieces, nil
}

// message is one message while its readings are made.
type message struct {
	topic string
	names map[string]string
	root  any
	to    []collector.Reading
	begin int // of its readings in to
	bad   func(error)
}

// maxValues bounds what one message is taken for, where no rule says what is in it.
const maxValues = 10_000

// readings appends the readings of a message. What cannot be read goes to bad, with where it is; the rest is taken.
func (t *Topic) readings(m *packet.Publish, names map[string]string, to []collector.Reading, bad func(error)) []collector.Reading {
	x := message{topic: m.Topic, names: names, to: to, begin: len(to), bad: bad}
	if t.Format == "text" {
		if !utf8.Valid(m.Payload) {
			bad(errors.New("the text is not UTF-8"))
			return to
		}
		text := strings.TrimSpace(string(m.Payload))
		if len(t.Readings) == 0 {
			x.reading(&rule{typ: model.Float64, address: []piece{{name: "topic"}}}, text, "")
		}
		for i := range t.Readings {
			x.reading(&t.Readings[i].compiled, text, "")
		}
		return x.to
	}
	var err error
	if x.root, err = decode(m.Payload); err != nil {
		bad(err)
		return to
	}
	if len(t.Readings) == 0 {
		x.flatten(m.Topic, x.root)
		return x.to
	}
	for i := range t.Readings {
		x.rule(&t.Readings[i].compiled)
	}
	return x.to
}

// flatten makes a reading of every value there is.
func (x *message) flatten(address string, v any) {
	if len(x.to)-x.begin >= maxValues {
		x.bad(fmt.Errorf("%s: more than %d values: say which are wanted, with readings", address, maxValues))
		return
	}
	switch y := v.(type) {
	case map[string]any:
		for _, name := range keys(y) {
			x.flatten(address+"/"+name, y[name])
		}
	case []any:
		for i, e := range y {
			x.flatten(address+"/"+strconv.Itoa(i), e)
		}
	default:
		value, err := value(v, 0)
		x.add(collector.Reading{Address: address, Value: value}, false, err)
	}
}

func keys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// rule makes the readings of one rule. A message without what the rule is about is not at fault: messages of a topic may differ.
func (x *message) rule(r *rule) {
	if !r.each.set {
		if v, ok := r.value.find(x.root, nil); ok {
			x.element(r, v, nil, "")
		}
		return
	}
	list, ok := r.each.find(x.root, nil)
	if !ok {
		return
	}
	one := func(key string, element any) {
		if v, ok := r.value.find(x.root, element); ok {
			x.element(r, v, element, key)
		}
	}
	switch y := list.(type) {
	case []any:
		for i, e := range y {
			one(strconv.Itoa(i), e)
		}
	case map[string]any:
		for _, key := range keys(y) {
			one(key, y[key])
		}
	default:
		x.bad(fmt.Errorf("each: %s has no elements", kindOf(list)))
	}
}

// reading is element for what has no elements.
func (x *message) reading(r *rule, v any, key string) { x.element(r, v, nil, key) }

// element makes one reading.
func (x *message) element(r *rule, v, element any, key string) {
	out := collector.Reading{}
	var err error
	if out.Address, err = x.address(r, element, key); err != nil {
		x.bad(err)
		return
	}
	if out.Value, err = value(v, r.typ); err == nil && r.time.set {
		t, ok := r.time.find(x.root, element)
		if !ok {
			err = errors.New("time: nothing stands where it should")
		} else if out.Time, err = instant(t, r.unit); err == nil {
			out.HasTime = true
		}
	}
	stated := false
	if err == nil && r.quality.set {
		if q, ok := r.quality.find(x.root, element); ok {
			out.Quality, err = r.qualityOf(q)
			stated = true
		}
	}
	x.add(out, stated, err)
}

func (x *message) add(r collector.Reading, stated bool, err error) {
	switch {
	case err != nil:
		x.bad(fmt.Errorf("%.200s: %w", r.Address, err))
		return
	case r.Value.IsNull() && !stated:
		r.Quality = model.BadNoData
	}
	x.to = append(x.to, r)
}

// qualityOf reads a quality by the rule's own words, then by those of OPC UA.
func (r *rule) qualityOf(v any) (model.Quality, error) {
	var s string
	switch y := v.(type) {
	case string:
		s = y
	case json.Number:
		s = y.String()
	case bool:
		s = strconv.FormatBool(y)
	default:
		return 0, fmt.Errorf("quality: %s is none", kindOf(v))
	}
	if q, ok := r.qualities[s]; ok {
		return q, nil
	}
	if len(r.qualities) > 0 {
		return 0, fmt.Errorf("quality %.60q is not among qualities", s)
	}
	return model.ParseQuality(s)
}

// address is where a reading belongs.
func (x *message) address(r *rule, element any, key string) (string, error) {
	var b strings.Builder
	for i := range r.address {
		p := &r.address[i]
		switch {
		case p.at.set:
			v, ok := p.at.find(x.root, element)
			switch y := v.(type) {
			case string:
				b.WriteString(y)
			case json.Number:
				b.WriteString(y.String())
			default:
				return "", fmt.Errorf("address: %s: no text and no number is there (found: %v)", strings.Join(p.at.steps, "/"), ok)
			}
		case p.name == "topic":
			b.WriteString(x.topic)
		case p.name == "key":
			b.WriteString(key)
		case p.name != "":
			b.WriteString(x.names[p.name])
		default:
			b.WriteString(p.literal)
		}
	}
	return b.String(), nil
}
