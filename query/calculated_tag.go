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
	inputs   []datedInput
	span     model.TimeRange // in which it has samples: no input changes there from one type of expressions to another
	programs []datedProgram  // ascending by from, never empty
}

// datedInput is a tag that a calculation is made of, and when its samples are of the type that they have in it.
type datedInput struct {
	tag  *model.Tag
	span model.TimeRange
}

// datedProgram is the expression in force from an instant on, with the units that its inputs have then.
type datedProgram struct {
	from    int64
	inputs  []int // that the program names, in its order; a version before or behind may have others
	program *expression.Program
	err     error // why it has no meaning then
}

// calculate makes a calculation of "name := expression", or of an expression that is its own name, for a question about a range.
func calculate(text string, id model.TagID, in model.TimeRange, byName func(string) (*model.Tag, bool)) (*calculatedTag, error) {
	name, text, err := nameAndText(text)
	if err != nil {
		return nil, err
	}
	return calculationOf(name, []*model.Calculation{{From: model.MinTime, Expression: text}}, id, in, byName)
}

// CheckCalculation reports why a calculation that is to be stored has no meaning for the tags there are. versions is what would be in force,
// ascending by their dates. Of tags whose type changes it is for what they become last.
func CheckCalculation(c Catalog, versions []*model.Calculation) error {
	_, err := storedCalculation(versions, math.MaxUint32, model.Between(model.MaxTime, model.MaxTime), c.ByName)
	return err
}

func storedCalculation(versions []*model.Calculation, id model.TagID, in model.TimeRange, byName func(string) (*model.Tag, bool)) (*calculatedTag, error) {
	return calculationOf(versions[0].Name, versions, id, in, byName)
}

// calculationOf makes a calculation of the expressions in force, each from its date to that of the next, for a question about a range.
func calculationOf(name string, versions []*model.Calculation, id model.TagID, in model.TimeRange, byName func(string) (*model.Tag, bool)) (*calculatedTag, error) {
	c := &calculatedTag{span: model.All}
	var newest []int // of each version, the program of the units that its tags have now
	for i, v := range versions {
		to := int64(model.All.End)
		if i+1 < len(versions) {
			to = versions[i+1].From
		}
		if err := c.addVersion(v, to, in, byName); err != nil {
			return nil, fmt.Errorf("expression %.200q: %w", v.Expression, err)
		}
		newest = append(newest, len(c.programs)-1)
	}
	if err := c.agree(newest); err != nil {
		return nil, err
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

func nameAndText(asked string) (name, text string, err error) {
	name, text, named := strings.Cut(asked, ":=")
	if name, text = strings.TrimSpace(name), strings.TrimSpace(text); !named || strings.ContainsAny(name, `'"`) {
		text = strings.TrimSpace(asked) // := may stand in a text or name
		name = text
	}
	if err := model.CheckName(name); err != nil {
		return "", "", fmt.Errorf("name of expression %.80q: %w: %w", asked, err, ErrBadRequest)
	}
	return name, text, nil
}

// inputsStepped reports whether no input slopes in the end, so that no value between their samples is one between two values.
func (c *calculatedTag) inputsStepped() bool {
	return !slices.ContainsFunc(c.inputs, func(x datedInput) bool {
		s := x.tag.At(x.span.End - 1)
		return !s.Stepped && !s.Type.AlwaysStepped()
	})
}

// addVersion adds the programs of an expression that is in force until an instant.
func (c *calculatedTag) addVersion(v *model.Calculation, to int64, in model.TimeRange, byName func(string) (*model.Tag, bool)) error {
	parsed, err := expression.Parse(v.Expression)
	if err != nil {
		return err
	}
	if len(parsed.References()) == 0 {
		return fmt.Errorf("it names no tag, whose samples would say at which times it has a value: %w", ErrBadRequest)
	}
	// Of a version outside of the range, what its tags are next to it counts.
	in.Start = min(max(in.Start, v.From), to-1)
	in.End = max(min(in.End, to), in.Start+1)
	valid := model.TimeRange{Start: v.From, End: to}
	var inputs []int
	for _, r := range parsed.References() {
		tag, ok := byName(r)
		if !ok {
			return fmt.Errorf("tag %.200q: %w", r, model.ErrTagNotFound)
		}
		span, err := asked{tag: tag}.alikeOver(in)
		if err != nil {
			return err
		}
		valid.Start, valid.End = max(valid.Start, span.Start), min(valid.End, span.End)
		inputs = append(inputs, c.input(datedInput{tag, span}))
	}
	if valid.Start > v.From {
		c.span.Start = max(c.span.Start, valid.Start)
	}
	if valid.End < to {
		c.span.End = min(c.span.End, valid.End)
	}
	c.text = v.Expression
	return c.check(parsed, inputs, valid.Start, valid.End)
}

// input is the place of a tag among the inputs; two names of one tag are two references to it.
func (c *calculatedTag) input(input datedInput) int {
	i := slices.IndexFunc(c.inputs, func(x datedInput) bool { return x.tag.ID == input.tag.ID && x.span == input.span })
	if i < 0 {
		i = len(c.inputs)
		c.inputs = append(c.inputs, input)
	}
	return i
}

// check makes a program for each period of [start, end) in which all inputs keep their units. The last one is of the units they have now.
func (c *calculatedTag) check(parsed *expression.Expression, inputs []int, start, end int64) error {
	instants := []int64{start}
	for _, i := range inputs {
		for _, s := range c.inputs[i].tag.Settings {
			if s.From > start && s.From < end {
				instants = append(instants, s.From)
			}
		}
	}
	slices.Sort(instants)
	var before []expression.Tag
	for _, from := range slices.Compact(instants) {
		tags := make([]expression.Tag, len(inputs))
		for k, i := range inputs {
			s := c.inputs[i].tag.At(from)
			tags[k] = expression.Tag{Type: s.Type, Unit: s.Unit}
		}
		if slices.Equal(tags, before) {
			continue
		}
		before = tags
		p, err := parsed.Check(tags)
		c.programs = append(c.programs, datedProgram{from: from, inputs: inputs, program: p, err: err})
	}
	return c.programs[len(c.programs)-1].err
}

// agree converts all programs to the unit of the last one. newest is the last program of each version: those must be of one type, and all or
// none of them of a unit.
func (c *calculatedTag) agree(newest []int) error {
	last := c.programs[len(c.programs)-1].program
	for i := range c.programs[:len(c.programs)-1] {
		d := &c.programs[i]
		if d.err != nil {
			continue
		}
		was := d.program
		d.program, d.err = was.In(last.Unit)
		if !slices.Contains(newest, i) {
			continue
		}
		switch {
		case was.Type != last.Type:
			return fmt.Errorf("its values are of another type before %s than from then on, and a calculation has one: %w",
				model.FormatTime(c.programs[i+1].from), ErrBadRequest)
		case d.err != nil:
			return fmt.Errorf("its unit before %s: %w", model.FormatTime(c.programs[i+1].from), d.err)
		case (was.Unit == "") != (last.Unit == ""):
			return fmt.Errorf("its values are in %q before %s and in %q from then on: %w",
				was.Unit, model.FormatTime(c.programs[i+1].from), last.Unit, ErrBadRequest)
		}
	}
	return nil
}

// at is the program for an instant.
func (c *calculatedTag) at(instant int64) *datedProgram {
	i := len(c.programs) - 1
	for i > 0 && c.programs[i].from > instant {
		i--
	}
	return &c.programs[i]
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
