// Package urlquery reads a question from the parameters of a URL. It knows no question by itself: which parameters there are, and of
// which type, is what the fields of the request messages say, so that whatever has a field has a parameter too.
//
//	read=aggregates&tags=FI-101,TI-204&start=-1d&end=now&every=1h&aggregate=maximum
//
// # How fields become parameters
//
//   - Instants, such as start_ns, lose their unit and are written as on the command line: 2026-03-01T06:00:00Z, -1h, now.
//   - Durations, such as max_age_ns, lose it too: 90s, 1h30m.
//   - every is a duration, counted from the start on, or intervals of a calendar, which zone and calendar belong to.
//   - A list has two parameters: tags, with commas between the elements, and tag, once for each element, which may hold commas.
//   - Constants of an enum are short and small: bounds=outside is BOUNDS_OUTSIDE.
//
// Fields that are messages have no parameters: such questions are asked in a body.
package urlquery

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/varvedb/varve/internal/timeexpr"
)

// ErrBadParameter is wrapped by every error of Parse.
var ErrBadParameter = errors.New("parameter cannot be used")

// Kind is how the text of a parameter is read.
type Kind int

// The kinds. Plain is text, a number, true or false, or the short name of a constant, as the field has it.
const (
	Plain Kind = iota
	Instant
	Duration
	Every
	Zone
)

// Parameter is a parameter of a read.
type Parameter struct {
	Name  string
	One   string // of a list: the parameter that has one element
	Kind  Kind
	Field protoreflect.FieldDescriptor // that it sets; nil of a zone where only the times of the other parameters are in it
}

// durations are the fields in nanoseconds that are a length of time; all others are an instant.
var durations = []protoreflect.Name{"every_ns", "max_age_ns", "max_gap_ns", "time_resolution_ns", "min_time_ns", "max_time_ns", "lead_ns", "interval_ns"}

// Parameters are the parameters of a read, in the order of the fields of its request.
func Parameters(request protoreflect.MessageDescriptor) (out []Parameter) {
	fields := request.Fields()
	zone := Parameter{Name: "zone", Kind: Zone}
	for i := range fields.Len() {
		f := fields.Get(i)
		p := Parameter{Name: string(f.Name()), Field: f}
		base, nanoseconds := strings.CutSuffix(p.Name, "_ns")
		switch {
		case f.Kind() == protoreflect.MessageKind || p.Name == "step_ns":
			continue // every sets the step
		case p.Name == "zone":
			zone.Field = f
			continue
		case p.Name == "every":
			p.Kind = Every
		case slices.Contains(durations, f.Name()):
			p.Name, p.Kind = base, Duration
		case nanoseconds:
			p.Name, p.Kind = base, Instant
		}
		if f.IsList() {
			p.One = strings.TrimSuffix(p.Name, "s")
			if ies, ok := strings.CutSuffix(p.Name, "ies"); ok {
				p.One = ies + "y"
			}
		}
		out = append(out, p)
	}
	return append(out, zone)
}

// Reads are the questions that can be asked by parameters: the fields of the only oneof of a message, by name. A question whose tags
// are not in its own message is none of them.
func Reads(question protoreflect.MessageDescriptor) (out []protoreflect.FieldDescriptor) {
	fields := question.Oneofs().Get(0).Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message() != nil && f.Message().Fields().ByName("tags") != nil {
			out = append(out, f)
		}
	}
	return out
}

// Default is the read that is meant where read does not say.
const Default = "range"

// Parse sets the question that values ask in a message with a oneof of questions. now is what relative times count from.
func Parse(values url.Values, question protoreflect.Message, now time.Time) error {
	p := parser{values: values, now: now, zone: time.UTC}
	read, err := p.single("read")
	if err != nil {
		return err
	}
	if read == "" {
		read = Default
	}
	var names []string
	for _, f := range Reads(question.Descriptor()) {
		if string(f.Name()) == read {
			return p.parse(read, question.Mutable(f).Message())
		}
		names = append(names, string(f.Name()))
	}
	return bad("read=%.40q: must be one of %s", read, strings.Join(names, ", "))
}

func bad(format string, a ...any) error {
	return fmt.Errorf(format+": %w", append(a, ErrBadParameter)...)
}

type parser struct {
	values   url.Values
	now      time.Time
	zone     *time.Location
	zoneName string
	request  protoreflect.Message
}

func (p *parser) parse(read string, request protoreflect.Message) (err error) {
	p.request = request
	if p.zoneName, err = p.single("zone"); err != nil {
		return err
	}
	if p.zoneName != "" {
		if p.zone, err = time.LoadLocation(p.zoneName); err != nil || p.zoneName == "Local" {
			return bad("zone=%.80q: must be a name such as UTC or Europe/Berlin", p.zoneName)
		}
	}
	known := map[string]bool{"read": true, "zone": true}
	params := Parameters(request.Descriptor())
	var names []string
	for _, q := range params {
		names = append(names, q.Name)
		known[q.Name] = true
		if q.One != "" {
			known[q.One] = true
		}
		if q.Name == "end" {
			known["stop"] = true // what SQL calls it
		}
		if err := p.set(q); err != nil {
			return err
		}
	}
	for name := range p.values {
		if !known[name] {
			return bad("parameter %.40q: read=%s has none of that name; it has %s", name, read, strings.Join(names, ", "))
		}
	}
	return p.checkRange(read)
}

// checkRange refuses a range with an edge that nobody gave, which would be the year 1970.
func (p *parser) checkRange(read string) error {
	fields := p.request.Descriptor().Fields()
	for _, list := range []protoreflect.Name{"times_ns", "edges_ns"} {
		if f := fields.ByName(list); f != nil && p.request.Get(f).List().Len() > 0 {
			return nil
		}
	}
	for _, edge := range []protoreflect.Name{"start_ns", "end_ns"} {
		name := strings.TrimSuffix(string(edge), "_ns")
		if f := fields.ByName(edge); f != nil && !f.HasPresence() && !p.given(name) && (name != "end" || !p.given("stop")) {
			return bad("read=%s needs %s, such as %s=2026-03-01T06:00:00Z", read, name, name)
		}
	}
	return nil
}

func (p *parser) given(name string) bool { return len(p.values[name]) > 0 }

// single is the text of a parameter that may stand once, empty without it.
func (p *parser) single(name string) (string, error) {
	switch texts := p.values[name]; len(texts) {
	case 0:
		return "", nil
	case 1:
		return texts[0], nil
	}
	return "", bad("parameter %s stands %d times, may stand once", name, len(p.values[name]))
}

func (p *parser) set(q Parameter) error {
	if q.Field != nil && q.Field.IsList() {
		return p.setList(q)
	}
	name := q.Name
	if name == "end" && p.given("stop") {
		if p.given("end") {
			return bad("parameters end and stop: give one, they mean the same")
		}
		name = "stop"
	}
	text, err := p.single(name)
	if err != nil || !p.given(name) {
		return err
	}
	switch q.Kind {
	case Zone:
		return nil // goes with every
	case Every:
		return p.setEvery(q, text)
	}
	v, err := p.value(name, q, text)
	if err != nil {
		return err
	}
	p.request.Set(q.Field, v)
	return nil
}

func (p *parser) setList(q Parameter) error {
	list, err := p.single(q.Name)
	if err != nil {
		return err
	}
	var texts []string
	if p.given(q.Name) {
		texts = strings.Split(list, ",")
	}
	names := slices.Repeat([]string{q.Name}, len(texts))
	texts = append(texts, p.values[q.One]...)
	for i, text := range texts {
		name := q.One
		if i < len(names) {
			name = q.Name
		}
		v, err := p.value(name, q, text)
		if err != nil {
			return err
		}
		p.request.Mutable(q.Field).List().Append(v)
	}
	return nil
}

// setEvery sets a step in nanoseconds where there is a duration and no calendar, else intervals of a calendar.
func (p *parser) setEvery(q Parameter, text string) error {
	fields := p.request.Descriptor().Fields()
	if step, err := time.ParseDuration(text); err == nil && !p.given("calendar") {
		if step <= 0 {
			return bad("every=%s: must be positive", text)
		}
		p.request.Set(fields.ByName("step_ns"), protoreflect.ValueOfInt64(step.Nanoseconds()))
		return nil
	}
	p.request.Set(q.Field, protoreflect.ValueOfString(text))
	if zone := fields.ByName("zone"); zone != nil && p.zoneName != "" && !p.given("calendar") {
		p.request.Set(zone, protoreflect.ValueOfString(p.zoneName))
	}
	return nil
}

// value reads one element.
func (p *parser) value(name string, q Parameter, text string) (protoreflect.Value, error) {
	var none protoreflect.Value
	switch q.Kind {
	case Instant:
		t, err := timeexpr.Parse(text, p.now, p.zone)
		if err != nil {
			return none, bad("%s: %v", name, err)
		}
		return protoreflect.ValueOfInt64(t), nil
	case Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return none, bad("%s=%.40q: must be a duration, such as 90s or 1h30m", name, text)
		}
		return protoreflect.ValueOfInt64(d.Nanoseconds()), nil
	}
	switch q.Field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BoolKind:
		if text == "true" || text == "false" {
			return protoreflect.ValueOfBool(text == "true"), nil
		}
		return none, bad("%s=%.40q: must be true or false", name, text)
	case protoreflect.Uint32Kind:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return none, bad("%s=%.40q: must be a number from 0 to %d", name, text, uint32(math.MaxUint32))
		}
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case protoreflect.Uint64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return none, bad("%s=%.40q: must be a number from 0 to %d", name, text, uint64(math.MaxUint64))
		}
		return protoreflect.ValueOfUint64(n), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return none, bad("%s=%.40q: must be a whole number", name, text)
		}
		return protoreflect.ValueOfInt64(n), nil
	case protoreflect.DoubleKind:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return none, bad("%s=%.40q: must be a number", name, text)
		}
		return protoreflect.ValueOfFloat64(x), nil
	case protoreflect.EnumKind:
		names := Constants(q.Field.Enum())
		for number, short := range names {
			if short == text {
				return protoreflect.ValueOfEnum(q.Field.Enum().Values().Get(number + 1).Number()), nil
			}
		}
		return none, bad("%s=%.40q: must be one of %s", name, text, strings.Join(names, ", "))
	}
	return none, bad("%s: a field of kind %s has no parameter", name, q.Field.Kind())
}

// Constants are the short names of the constants of an enum behind its first one, which stands for none of them.
func Constants(e protoreflect.EnumDescriptor) (names []string) {
	prefix := strings.TrimSuffix(string(e.Values().Get(0).Name()), "UNSPECIFIED")
	for i := 1; i < e.Values().Len(); i++ {
		names = append(names, strings.ToLower(strings.TrimPrefix(string(e.Values().Get(i).Name()), prefix)))
	}
	return names
}
