package query

import (
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
)

// asked is one tag of a question.
type asked struct {
	tag   *model.Tag
	index int32   // of its name in the dictionary
	unit  *toUnit // nil: values as they are stored
}

// tagList is what a question's names and ids mean.
type tagList struct {
	asked     []asked
	names     []string // the dictionary: a tag asked by name keeps that name in the answer, by id its current one
	nameBytes int64
	unit      string // that values are asked for in; empty: as they are stored

	spans map[model.TagID]model.TimeRange // of tags whose unit changed: outside of it they have no samples for the question; nil for none

	calculations map[model.TagID]*calculatedTag // by ids from the highest down, which no tag of the catalogue has; nil for none
}

// resolve finds every tag or fails for the first that is not there. in is the range that the question is about, byName says what a name means.
func resolve(c Catalog, t Tags, in model.TimeRange, byName func(string) (*model.Tag, bool)) (*tagList, error) {
	l := &tagList{asked: make([]asked, 0, t.count()), names: make([]string, 0, t.count())}
	var index map[string]int32 // nil where nothing is asked for twice: ids that ascend are of tags of different names
	if len(t.Names) > 0 || len(t.Expressions) > 0 || !ascend(t.IDs) {
		index = make(map[string]int32, t.count())
	}
	add := func(name string, tag *model.Tag) {
		i, ok := index[name]
		if !ok {
			i = int32(len(l.names))
			if index != nil {
				index[name] = i
			}
			l.names = append(l.names, name)
			l.nameBytes += int64(len(name))
		}
		l.asked = append(l.asked, asked{tag: tag, index: i})
	}
	for _, name := range t.Names {
		tag, ok := byName(name)
		if !ok {
			calc, err := l.stored(c, name, in)
			if err != nil {
				return nil, err
			}
			tag = calc.tag
		}
		add(name, tag)
	}
	for _, id := range t.IDs {
		tag, ok := c.Tag(id)
		if ok && tag.Of != 0 {
			tag, ok = c.Tag(tag.Of)
		}
		if !ok {
			return nil, fmt.Errorf("tag with id %d: %w", id, model.ErrTagNotFound)
		}
		add(tag.Name, tag)
	}
	for _, text := range t.Expressions {
		calc, err := calculate(text, l.nextID(), in, byName)
		if err != nil {
			return nil, err
		}
		l.addCalculation(calc)
		add(calc.tag.Name, calc.tag)
	}
	if len(l.calculations) > MaxExpressions {
		return nil, fmt.Errorf("%d expressions and stored calculations are asked for, most is %d: %w", len(l.calculations), MaxExpressions, ErrBadRequest)
	}
	return l, nil
}

// nextID is an id that no tag of the catalogue has, nor a calculation before.
func (l *tagList) nextID() model.TagID { return math.MaxUint32 - model.TagID(len(l.calculations)) }

func (l *tagList) addCalculation(c *calculatedTag) {
	if l.calculations == nil {
		l.calculations = map[model.TagID]*calculatedTag{}
	}
	l.calculations[c.tag.ID] = c
}

// stored is the calculation that the catalogue keeps under a name that no tag has. Asked for twice it is the same.
func (l *tagList) stored(c Catalog, name string, in model.TimeRange) (*calculatedTag, error) {
	for _, calc := range l.calculations { // of Names alone: Expressions come later
		if calc.tag.Name == name {
			return calc, nil
		}
	}
	versions := c.CalculationInForce(name)
	if len(versions) == 0 {
		return nil, fmt.Errorf("tag %.200q: %w", name, model.ErrTagNotFound)
	}
	if len(l.calculations) >= MaxExpressions {
		return nil, fmt.Errorf("more than %d stored calculations are asked for: %w", MaxExpressions, ErrBadRequest)
	}
	calc, err := storedCalculation(versions, l.nextID(), in, c.ByName)
	if err != nil {
		return nil, fmt.Errorf("stored calculation %.200q: %w", name, err)
	}
	l.addCalculation(calc)
	return calc, nil
}

// onlyStored refuses calculations where the question is about what is stored.
func (l *tagList) onlyStored() error {
	for _, c := range l.calculations {
		return fmt.Errorf("%.200q is a calculation, which has no samples that are stored, and this question is about those: %w", c.tag.Name, ErrBadRequest)
	}
	return nil
}

func ascend(ids []model.TagID) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i] <= ids[i-1] {
			return false
		}
	}
	return true
}

// dictionary is the names as one Arrow array. The stream writer compares it by pointer, so it is made once.
func (l *tagList) dictionary() arrow.Array { return stringArray(l.names, l.nameBytes) }

// namesAt reads a name as of an instant: the tag that had it then, or else the one that has it or had it last. So a
// name that moved from one tag to another finds, for a range in the past, the tag it meant in the past.
func namesAt(c Catalog, at int64) func(string) (*model.Tag, bool) {
	return func(name string) (*model.Tag, bool) {
		if tag, ok := c.ByNameAt(name, at); ok {
			return tag, true
		}
		return c.ByName(name)
	}
}

// valueType is the type of the tag's values in the answer.
func (a asked) valueType() model.Type {
	if a.unit != nil {
		return model.Float64
	}
	return a.tag.Current().Type
}

// types is the set of types that values of the tags have, or had, in the answer.
func (l *tagList) types() typeSet { return l.typesIn(model.All) }

// typeSet is a set of types as bits.
type typeSet uint16

func (s *typeSet) add(t model.Type)     { *s |= 1 << t }
func (s typeSet) has(t model.Type) bool { return s&(1<<t) != 0 }

// single is the only type of the set, or false.
func (s typeSet) single() (model.Type, bool) {
	for t := model.Float64; t <= model.Bytes; t++ {
		if s == 1<<t {
			return t, true
		}
	}
	return 0, false
}

func stringArray(values []string, size int64) arrow.Array {
	offsets := make([]int32, 1, len(values)+1)
	data := make([]byte, 0, size)
	for _, v := range values {
		data = append(data, v...)
		offsets = append(offsets, int32(len(data)))
	}
	d := array.NewData(arrow.BinaryTypes.String, len(values),
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets)), memory.NewBufferBytes(data)}, nil, 0, 0)
	defer d.Release()
	return array.NewStringData(d)
}

// describe names a tag in an error.
func (a asked) describe() string {
	return a.tag.Name + " (id " + strconv.Itoa(int(a.tag.Owner())) + ")"
}
