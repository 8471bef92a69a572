package arrowin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var (
	// ErrMalformed is a stream that is not what it says it is.
	ErrMalformed = errors.New("malformed Arrow stream")
	// ErrUnsupported is a stream of a kind that is not taken here.
	ErrUnsupported = errors.New("unsupported Arrow stream")
	// ErrTooLarge is a stream beyond a limit.
	ErrTooLarge = errors.New("too large an Arrow stream")
)

// The kinds of messages, the types of fields and what else Arrow's Message.fbs and Schema.fbs number.
const (
	messageSchema     = 1
	messageDictionary = 2
	messageBatch      = 3

	leastVersion = 3 // V4

	typeNull        = 1
	typeInt         = 2
	typeFloat       = 3
	typeBinary      = 4
	typeUtf8        = 5
	typeBool        = 6
	typeDecimal     = 7
	typeDate        = 8
	typeTime        = 9
	typeTimestamp   = 10
	typeInterval    = 11
	typeList        = 12
	typeStruct      = 13
	typeDuration    = 18
	typeLargeBinary = 19
	typeLargeUtf8   = 20
)

// maxColumns is the most columns of a stream, unless its limits say otherwise.
const maxColumns = 1024

// maxDepth is how deep columns may lie within columns.
const maxDepth = 8

// layout is which buffers a column of a type has, and which columns lie in it.
type layout struct {
	bits    int      // of a value of fixed width; 0 for none
	offsets int      // bytes of an offset of values of any length; 0 for none
	list    bool     // the offsets are into inner, which is one column
	structs bool     // each of inner has as many values as the column
	inner   []layout // the columns inside
}

// buffers is how many buffers a column has itself.
func (l *layout) buffers() int {
	switch {
	case l.structs:
		return 1
	case l.list || l.bits > 0:
		return 2
	case l.offsets > 0:
		return 3
	}
	return 0 // null
}

// all is how many columns and buffers there are, with those inside.
func (l *layout) all() (columns, buffers int) {
	columns, buffers = 1, l.buffers()
	for i := range l.inner {
		c, b := l.inner[i].all()
		columns, buffers = columns+c, buffers+b
	}
	return columns, buffers
}

// checker holds the messages of one stream against the bytes they came with. It remembers the schema.
type checker struct {
	maxRows      int64
	maxColumns   int
	nested       bool // columns may lie within columns
	begun        bool
	columns      []layout         // of the values in record batches: of a dictionary its indices
	dictionaries map[int64]layout // of the values in dictionaries, by id
}

// check checks one message. The first must be a schema.
func (c *checker) check(header, body []byte) error {
	root, err := rootTable(header)
	if err != nil {
		return err
	}
	version, err := root.number(0, 2, 0)
	if err != nil {
		return err
	}
	if version < leastVersion {
		return fmt.Errorf("metadata version %d: %w", version, ErrUnsupported)
	}
	bodyLength, err := root.number(3, 8, 0)
	if err != nil {
		return err
	}
	if bodyLength != uint64(len(body)) {
		return malformed("message says its body has %d bytes, it has %d", bodyLength, len(body))
	}
	kind, err := root.number(1, 1, 0)
	if err != nil {
		return err
	}
	head, ok, err := root.table(2)
	if err != nil {
		return err
	}
	if !ok {
		return malformed("message without a header")
	}
	switch {
	case kind == messageSchema && !c.begun:
		c.begun = true
		return c.schema(&head)
	case !c.begun:
		return malformed("message of kind %d comes before the schema", kind)
	case kind == messageDictionary:
		return c.dictionary(&head, body)
	case kind == messageBatch:
		return c.batch(&head, body, c.columns)
	}
	return malformed("message of kind %d in the middle of a stream", kind)
}

func (c *checker) schema(s *fbTable) error {
	endianness, err := s.number(0, 2, 0)
	if err != nil {
		return err
	}
	if endianness != 0 {
		return fmt.Errorf("bytes are in the order of a big-endian machine: %w", ErrUnsupported)
	}
	fields, err := s.tables(1)
	if err != nil {
		return err
	}
	if len(fields) > c.maxColumns {
		return fmt.Errorf("%d columns, most is %d: %w", len(fields), c.maxColumns, ErrTooLarge)
	}
	if err := keyValues(s, 2); err != nil {
		return err
	}
	if _, _, err := s.vector(3, 8); err != nil {
		return err
	}
	c.dictionaries = map[int64]layout{}
	for i := range fields {
		l, err := c.field(&fields[i], 1)
		if err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
		c.columns = append(c.columns, l)
	}
	return nil
}

func keyValues(t *fbTable, field int) error {
	pairs, err := t.tables(field)
	if err != nil {
		return err
	}
	for i := range pairs {
		if err := errors.Join(pairs[i].text(0), pairs[i].text(1)); err != nil {
			return err
		}
	}
	return nil
}

// field checks one column of a schema, and those inside it.
func (c *checker) field(f *fbTable, depth int) (layout, error) {
	if err := errors.Join(f.text(0), keyValues(f, 6)); err != nil {
		return layout{}, err
	}
	if _, err := f.number(1, 1, 0); err != nil {
		return layout{}, err
	}
	kind, err := f.number(2, 1, 0)
	if err != nil {
		return layout{}, err
	}
	typ, ok, err := f.table(3)
	if err != nil {
		return layout{}, err
	}
	if !ok {
		return layout{}, malformed("no type")
	}
	inner, err := f.tables(5)
	if err != nil {
		return layout{}, err
	}
	values, err := layoutOf(kind, &typ, c.nested)
	if err != nil {
		return layout{}, err
	}
	if nests := values.list || values.structs; len(inner) > 0 && !nests || values.list && len(inner) != 1 {
		return layout{}, malformed("%d columns inside a column of type number %d", len(inner), kind)
	}
	if depth > maxDepth || len(inner) > c.maxColumns {
		return layout{}, fmt.Errorf("%d columns at depth %d: %w", len(inner), depth, ErrTooLarge)
	}
	for i := range inner {
		l, err := c.field(&inner[i], depth+1)
		if err != nil {
			return layout{}, fmt.Errorf("column %d inside it: %w", i, err)
		}
		values.inner = append(values.inner, l)
	}
	encoding, ok, err := f.table(4)
	if err != nil || !ok {
		return values, err
	}
	id, err := encoding.number(0, 8, 0)
	if err != nil {
		return layout{}, err
	}
	if len(values.inner) > 0 || values.buffers() == 0 || depth > 1 {
		return layout{}, fmt.Errorf("dictionary of columns or of nulls, or inside a column: %w", ErrUnsupported)
	}
	if was, ok := c.dictionaries[int64(id)]; ok && (was.bits != values.bits || was.offsets != values.offsets) {
		return layout{}, malformed("dictionary %d is of two types", id)
	}
	c.dictionaries[int64(id)] = values
	if _, err := encoding.number(2, 1, 0); err != nil {
		return layout{}, err
	}
	if _, err := encoding.number(3, 2, 0); err != nil {
		return layout{}, err
	}
	index, ok, err := encoding.table(1)
	if err != nil {
		return layout{}, err
	}
	if !ok {
		return layout{bits: 32}, nil // as the format says
	}
	return layoutOf(typeInt, &index, false)
}

// layoutOf is the buffers of a type. Columns inside are for the caller to add.
func layoutOf(kind uint64, t *fbTable, nested bool) (layout, error) {
	switch kind {
	case typeList, typeStruct:
		if !nested {
			return layout{}, fmt.Errorf("columns inside a column: %w", ErrUnsupported)
		}
		if kind == typeStruct {
			return layout{structs: true}, nil
		}
		return layout{offsets: 4, list: true}, nil
	case typeDecimal:
		if _, err := t.number(0, 4, 0); err != nil {
			return layout{}, err
		}
		if _, err := t.number(1, 4, 0); err != nil {
			return layout{}, err
		}
		bits, err := t.number(2, 4, 128)
		if err == nil && bits != 128 && bits != 256 {
			err = malformed("decimals of %d bits", bits)
		}
		return layout{bits: int(bits & 511)}, err
	case typeInterval:
		return unitLayout(t, 0, 32, 64, 128)
	case typeNull:
		return layout{}, nil
	case typeBool:
		return layout{bits: 1}, nil
	case typeBinary, typeUtf8:
		return layout{offsets: 4}, nil
	case typeLargeBinary, typeLargeUtf8:
		return layout{offsets: 8}, nil
	case typeInt:
		if _, err := t.number(1, 1, 0); err != nil {
			return layout{}, err
		}
		bits, err := t.number(0, 4, 0)
		if err == nil && bits != 8 && bits != 16 && bits != 32 && bits != 64 {
			err = malformed("integers of %d bits", bits)
		}
		return layout{bits: int(bits & 127)}, err
	case typeFloat:
		precision, err := t.number(0, 2, 0)
		if err == nil && precision > 2 {
			err = malformed("floats of precision %d", precision)
		}
		return layout{bits: 16 << (precision & 3)}, err
	case typeDate:
		return unitLayout(t, 1, 32, 64)
	case typeTime:
		l, err := unitLayout(t, 1, 32, 32, 64, 64)
		if err != nil {
			return l, err
		}
		bits, err := t.number(1, 4, 32)
		if err == nil && bits != uint64(l.bits) {
			err = malformed("times of %d bits in a unit that takes %d", bits, l.bits)
		}
		return l, err
	case typeTimestamp:
		if err := t.text(1); err != nil {
			return layout{}, err
		}
		return unitLayout(t, 0, 64, 64, 64, 64)
	case typeDuration:
		return unitLayout(t, 1, 64, 64, 64, 64)
	}
	return layout{}, fmt.Errorf("type number %d; booleans, numbers, texts, bytes, dates and times are taken: %w", kind, ErrUnsupported)
}

// unitLayout is the width of values whose unit, the first field of their type, is one of some.
func unitLayout(t *fbTable, absent uint64, bits ...int) (layout, error) {
	unit, err := t.number(0, 2, absent)
	if err != nil {
		return layout{}, err
	}
	if unit >= uint64(len(bits)) {
		return layout{}, malformed("unit %d of times", unit)
	}
	return layout{bits: bits[unit]}, nil
}

func (c *checker) dictionary(d *fbTable, body []byte) error {
	id, err := d.number(0, 8, 0)
	if err != nil {
		return err
	}
	if _, err := d.number(2, 1, 0); err != nil {
		return err
	}
	values, ok := c.dictionaries[int64(id)]
	if !ok {
		return malformed("dictionary %d is of no column", id)
	}
	data, ok, err := d.table(1)
	if err != nil {
		return err
	}
	if !ok {
		return malformed("dictionary %d without values", id)
	}
	return c.batch(&data, body, []layout{values})
}

// nodeBytes and bufferBytes are the sizes of the structs FieldNode and Buffer.
const (
	nodeBytes   = 16
	bufferBytes = 16
)

func (c *checker) batch(r *fbTable, body []byte, columns []layout) error {
	length, err := r.number(0, 8, 0)
	if err != nil {
		return err
	}
	if length > uint64(max(c.maxRows, 0)) {
		return fmt.Errorf("batch of %d rows, most is %d: %w", length, c.maxRows, ErrTooLarge)
	}
	if _, compressed, err := r.table(3); err != nil || compressed {
		return errors.Join(err, fmt.Errorf("compressed bodies; send them as they are: %w", ErrUnsupported))
	}
	nodes, node, err := r.vector(1, nodeBytes)
	if err != nil {
		return err
	}
	buffers, buffer, err := r.vector(2, bufferBytes)
	if err != nil {
		return err
	}
	if _, _, err := r.vector(4, 8); err != nil {
		return err
	}
	wantNodes, want := 0, 0
	for i := range columns {
		c, b := columns[i].all()
		wantNodes, want = wantNodes+c, want+b
	}
	if nodes != wantNodes || buffers != want {
		return malformed("batch of %d columns and %d buffers, its schema has %d and %d", nodes, buffers, wantNodes, want)
	}
	v := &columnVectors{header: r.b, body: body, node: node, buffer: buffer}
	for i := range columns {
		if err := v.check(&columns[i], int64(length), true); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

// columnVectors walks the nodes and buffers of a batch, which stand for its columns one after the other, those inside behind their own.
type columnVectors struct {
	header, body []byte
	node, buffer int // where the next of each stands
}

// check checks one column, which has so many values; one inside another may have more.
func (v *columnVectors) check(l *layout, length int64, exact bool) error {
	n, nulls := leInt64(v.header[v.node:]), leInt64(v.header[v.node+8:])
	v.node += nodeBytes
	if n < length || exact && n != length || nulls < 0 || nulls > n || n > math.MaxInt32 {
		return malformed("%d rows, %d of them null; there are to be %d", n, nulls, length)
	}
	parts := make([][]byte, l.buffers())
	for k := range parts {
		var err error
		if parts[k], err = within(v.body, leInt64(v.header[v.buffer:]), leInt64(v.header[v.buffer+8:])); err != nil {
			return err
		}
		v.buffer += bufferBytes
	}
	last, err := l.check(parts, n, nulls)
	if err != nil {
		return err
	}
	if l.structs {
		last = n
	}
	for i := range l.inner {
		if err := v.check(&l.inner[i], last, false); err != nil {
			return fmt.Errorf("column %d inside it: %w", i, err)
		}
	}
	return nil
}

func leInt64(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

func within(body []byte, at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at > int64(len(body)) || n > int64(len(body))-at {
		return nil, malformed("buffer of %d bytes at %d, the body has %d", n, at, len(body))
	}
	return body[at : at+n], nil
}

// check holds the buffers of a column against its rows, and returns the last offset.
func (l *layout) check(parts [][]byte, n, nulls int64) (last int64, err error) {
	if len(parts) == 0 {
		return 0, nil
	}
	if have := int64(len(parts[0])); nulls > 0 && have < (n+7)/8 {
		return 0, malformed("%d bytes say which of %d rows are null", have, n)
	} else if have > 0 && have < (n+7)/8 {
		return 0, malformed("%d bytes say which of %d rows are not null", have, n)
	}
	if l.structs || l.offsets > 0 && n == 0 {
		return 0, nil
	}
	if l.offsets == 0 {
		if have := int64(len(parts[1])); have < (n*int64(l.bits)+7)/8 {
			return 0, malformed("%d bytes of values of %d bits for %d rows", have, l.bits, n)
		}
		return 0, nil
	}
	offsets := parts[1]
	if int64(len(offsets)) < (n+1)*int64(l.offsets) {
		return 0, malformed("%d bytes of offsets of %d bytes for %d rows", len(offsets), l.offsets, n)
	}
	for i := range n + 1 {
		var at int64
		if l.offsets == 4 {
			at = int64(int32(binary.LittleEndian.Uint32(offsets[4*i:])))
		} else {
			at = leInt64(offsets[8*i:])
		}
		if at < last {
			return 0, malformed("offset of row %d is %d, behind %d", i, at, last)
		}
		last = at
	}
	if !l.list && last > int64(len(parts[2])) || last > math.MaxInt32 {
		return 0, malformed("offsets go to %d, beyond the values", last)
	}
	return last, nil
}
