package query

import (
	"math"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
)

// varBytes is values without a fixed width, end to end.
type varBytes struct {
	ends  []int32 // of each value in data, behind a leading 0
	data  []byte
	valid validity
}

func (v *varBytes) rows() int { return max(len(v.ends)-1, 0) }

func (v *varBytes) append(value []byte, valid bool) {
	if len(v.ends) == 0 {
		v.ends = append(v.ends, 0)
	}
	if valid {
		v.data = append(v.data, value...)
	}
	v.ends = append(v.ends, int32(len(v.data)))
	v.valid.appendAll(1, valid)
}

func (v *varBytes) appendNulls(n int) {
	if len(v.ends) == 0 {
		v.ends = append(v.ends, 0)
	}
	v.ends = appendRepeated(v.ends, int32(len(v.data)), n)
	v.valid.appendAll(n, false)
}

func (v *varBytes) array(t arrow.DataType) arrow.ArrayData {
	if len(v.ends) == 0 {
		v.ends = append(v.ends, 0)
	}
	return array.NewData(t, v.rows(), []*memory.Buffer{v.valid.buffer(), memory.NewBufferBytes(bytesOf(v.ends)), memory.NewBufferBytes(v.data)}, nil, v.valid.nulls, 0)
}

func (v *varBytes) reset() {
	v.ends, v.data = v.ends[:0], v.data[:0]
	v.valid.reset()
}

// blobColumn is values of type string or bytes.
type blobColumn struct {
	name   string
	typ    model.Type
	mixed  bool // samples of other types are null, not an error
	values varBytes
}

func (c *blobColumn) dataType() arrow.DataType {
	if c.typ == model.String {
		return arrow.BinaryTypes.String
	}
	return arrow.BinaryTypes.Binary
}

func (c *blobColumn) field() arrow.Field {
	return arrow.Field{Name: c.name, Type: c.dataType(), Nullable: true}
}

func (c *blobColumn) append(r rows) error {
	if r.Type != c.typ && c.mixed {
		c.values.appendNulls(r.count())
		return nil
	}
	if err := requireType(r, c.typ); err != nil {
		return err
	}
	for i := r.from; i < r.to; i++ {
		c.values.append(r.Blobs[i], !r.IsNull(i))
	}
	return nil
}

func (c *blobColumn) array() arrow.ArrayData { return c.values.array(c.dataType()) }
func (c *blobColumn) reset()                 { c.values.reset() }
func (c *blobColumn) blobBytes() int         { return len(c.values.data) }

// mixedTextColumn is the column value_text: text, the text of states, and the digits of what is too large for
// value_int.
type mixedTextColumn struct {
	states *stateTexts
	values varBytes
}

func (c *mixedTextColumn) field() arrow.Field {
	return arrow.Field{Name: "value_text", Type: arrow.BinaryTypes.String, Nullable: true}
}

func (c *mixedTextColumn) append(r rows) error {
	switch r.Type {
	case model.String:
		for i := r.from; i < r.to; i++ {
			c.values.append(r.Blobs[i], !r.IsNull(i))
		}
	case model.State:
		for i := r.from; i < r.to; i++ {
			text, ok := c.states.text(r.tag, r.Times[i], int64(r.Bits[i]))
			c.values.append([]byte(text), ok && !r.IsNull(i))
		}
	case model.Uint64:
		var digits [20]byte
		for i := r.from; i < r.to; i++ {
			c.values.append(strconv.AppendUint(digits[:0], r.Bits[i], 10), r.Bits[i] > math.MaxInt64 && !r.IsNull(i))
		}
	default:
		c.values.appendNulls(r.count())
	}
	return nil
}

func (c *mixedTextColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }
func (c *mixedTextColumn) reset()                 { c.values.reset() }
func (c *mixedTextColumn) blobBytes() int         { return len(c.values.data) }

// stateTexts finds the text of a code by the version of the tag's set that was in force at the sample's time.
type stateTexts struct {
	catalog Catalog
	sets    map[string][]*model.StateSet // every version of a name asked for, ascending
	texts   map[*model.StateSet]map[int64]string
}

func newStateTexts(c Catalog) *stateTexts {
	return &stateTexts{catalog: c, sets: map[string][]*model.StateSet{}, texts: map[*model.StateSet]map[int64]string{}}
}

func (s *stateTexts) text(tag *model.Tag, at int64, code int64) (string, bool) {
	settings := tag.At(at)
	if settings.StateSet == "" {
		return "", false
	}
	set := s.inForce(settings.StateSet, at)
	if set == nil {
		return "", false
	}
	texts, ok := s.texts[set]
	if !ok {
		texts = make(map[int64]string, len(set.States))
		for _, d := range set.States {
			texts[d.Code] = d.Text
		}
		s.texts[set] = texts
	}
	text, ok := texts[code]
	return text, ok
}

// inForce is the version of a set that holds at an instant: the highest that had begun by then, or else the first.
func (s *stateTexts) inForce(name string, at int64) *model.StateSet {
	versions, ok := s.sets[name]
	if !ok {
		versions = s.versions(name)
		s.sets[name] = versions
	}
	for _, set := range slices.Backward(versions) {
		if set.From <= at || set.Version == 1 {
			return set
		}
	}
	return nil
}

func (s *stateTexts) versions(name string) []*model.StateSet {
	newest, ok := s.catalog.StateSet(name, 0)
	if !ok {
		return nil
	}
	versions := make([]*model.StateSet, 0, newest.Version)
	for v := uint32(1); v < newest.Version; v++ {
		if set, ok := s.catalog.StateSet(name, v); ok {
			versions = append(versions, set)
		}
	}
	return append(versions, newest)
}
