package query

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
)

// MaxExpressions is how many expressions one request may ask for; it stands in query.proto.
const MaxExpressions = 64

// calculatedTag is a tag that is no tag of the catalogue: its samples are what an expression gives at the times of the samples of its
// inputs. docs/reference/expressions.md has the rules.
type calculatedTag struct {
	tag      *model.Tag
	text     string
	inputs   []*model.Tag
	programs []datedProgram // ascending by from, never empty
}

// datedProgram is the expression with the units that its inputs have from an instant on.
type datedProgram struct {
	from    int64
	program *expression.Program
	err     error // why it has no meaning then
}

// calculate makes a calculation of "name := expression", or of an expression that is its own name.
func calculate(asked string, id model.TagID, byName func(string) (*model.Tag, bool)) (*calculatedTag, error) {
	name, text, named := strings.Cut(asked, ":=")
	if name, text = strings.TrimSpace(name), strings.TrimSpace(text); !named || strings.ContainsAny(name, `'"`) {
		text = strings.TrimSpace(asked) // := may stand in a text or name
		name = text
	}
	if err := model.CheckName(name); err != nil {
		return nil, fmt.Errorf("name of expression %.80q: %w: %w", asked, err, ErrBadRequest)
	}
	parsed, err := expression.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("expression %.200q: %w", text, err)
	}
	if len(parsed.References()) == 0 {
		return nil, fmt.Errorf("expression %.200q names no tag, whose samples would say at which times it has a value: %w", text, ErrBadRequest)
	}
	c := &calculatedTag{text: text}
	for _, r := range parsed.References() {
		tag, ok := byName(r)
		if !ok {
			return nil, fmt.Errorf("expression %.200q: tag %.200q: %w", text, r, model.ErrTagNotFound)
		}
		if tag.Retyped() {
			return nil, fmt.Errorf("expression %.200q: the type of tag %.200q changed, and there is no expression over two types: %w", text, r, ErrBadRequest)
		}
		c.inputs = append(c.inputs, tag)
	}
	if err := c.check(parsed); err != nil {
		return nil, fmt.Errorf("expression %.200q: %w", text, err)
	}
	last := c.programs[len(c.programs)-1].program
	settings := model.Settings{From: model.MinTime, Unit: last.Unit, Stepped: c.inputsStepped()}
	switch last.Type {
	case expression.Number:
		settings.Type = model.Float64
	case expression.Bool:
		settings.Type = model.Bool
	default: // a digital state is its text: there may be several sets
		settings.Type = model.String
	}
	settings.Stepped = settings.Stepped || settings.Type.AlwaysStepped()
	c.tag = &model.Tag{ID: id, Name: name, Settings: []model.Settings{settings}}
	return c, nil
}

// inputsStepped reports whether no input slopes, so that no value between their samples is one between two values.
func (c *calculatedTag) inputsStepped() bool {
	return !slices.ContainsFunc(c.inputs, func(t *model.Tag) bool { return !t.Current().Stepped && !t.Current().Type.AlwaysStepped() })
}

// check makes a program for each period in which all inputs keep their units. The result is in one unit, that of the last.
func (c *calculatedTag) check(parsed *expression.Expression) error {
	instants := []int64{model.MinTime}
	for _, t := range c.inputs {
		for _, s := range t.Settings {
			instants = append(instants, s.From)
		}
	}
	slices.Sort(instants)
	var before []expression.Tag
	for _, from := range slices.Compact(instants) {
		tags := make([]expression.Tag, len(c.inputs))
		for i, t := range c.inputs {
			s := t.At(from)
			tags[i] = expression.Tag{Type: s.Type, Unit: s.Unit}
		}
		if slices.Equal(tags, before) {
			continue
		}
		before = tags
		p, err := parsed.Check(tags)
		c.programs = append(c.programs, datedProgram{from: from, program: p, err: err})
	}
	last := c.programs[len(c.programs)-1]
	if last.err != nil {
		return last.err
	}
	for i := range c.programs[:len(c.programs)-1] {
		d := &c.programs[i]
		if d.err == nil {
			d.program, d.err = d.program.In(last.program.Unit)
		}
	}
	return nil
}

// at is the program for an instant.
func (c *calculatedTag) at(instant int64) (*expression.Program, error) {
	i := len(c.programs) - 1
	for i > 0 && c.programs[i].from > instant {
		i--
	}
	if d := c.programs[i]; d.err != nil {
		return nil, fmt.Errorf("%s: with the units that its tags had at %s: %w", c.tag.Name, model.FormatTime(instant), d.err)
	}
	return c.programs[i].program, nil
}

// sample is a value as one of the calculation's type.
func (c *calculatedTag) sample(instant int64, v expression.Value) model.Sample {
	s := model.Sample{Time: instant, Type: c.tag.Current().Type, Quality: v.Quality, Null: v.Null}
	switch {
	case v.Null:
	case v.Type == expression.Bool:
		if v.Bool {
			s.Bits = 1
		}
	case v.Type != expression.Number:
		s.Blob = []byte(v.Text)
	case v.Exact:
		s.Bits = math.Float64bits(float64(v.Int))
	default:
		s.Bits = math.Float64bits(v.Float)
	}
	return s
}
