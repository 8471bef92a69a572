package query

import (
	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/storage/chunk"
)

// eachOrigin calls f for the parts of r that share a source and an ingest time, in order. Rows that nobody sent have none.
func eachOrigin(r rows, f func(o *chunk.Origin, n int)) {
	at := 0
	for i := range r.Origins {
		o := &r.Origins[i]
		from, to := max(at, r.from), min(at+o.Samples, r.to)
		if from < to {
			f(o, to-from)
		}
		at += o.Samples
	}
	if from := max(at, r.from); from < r.to {
		f(nil, r.to-from)
	}
}

// ingestColumn is when each row's sample was taken in, to the second; null of a bound, or a gap, that is no sample.
type ingestColumn struct {
	nullable bool // there may be such bounds
	seconds  []int64
	valid    validity
}

func (c *ingestColumn) field() arrow.Field {
	return arrow.Field{Name: "ingest_time", Type: secondType, Nullable: c.nullable}
}

func (c *ingestColumn) append(r rows) error {
	eachOrigin(r, func(o *chunk.Origin, n int) {
		if o == nil {
			o = &chunk.Origin{}
			c.valid.appendAll(n, !c.nullable)
		} else {
			c.valid.appendAll(n, true)
		}
		c.seconds = appendRepeated(c.seconds, o.Ingest, n)
	})
	return nil
}

func (c *ingestColumn) array() arrow.ArrayData {
	return fixedData(secondType, len(c.seconds), &c.valid, bytesOf(c.seconds))
}

func (c *ingestColumn) reset() {
	c.seconds = c.seconds[:0]
	c.valid.reset()
}
func (c *ingestColumn) blobBytes() int { return 0 }

// sourceColumn is who sent each row's sample. Sources turn up while reading, so its dictionary grows; the stream writer
// sends what was added.
type sourceColumn struct {
	name       func(uint32) string
	indices    []int32
	valid      validity
	index      map[uint32]int32
	names      []string
	nameBytes  int64
	dictionary arrow.Array // of names, nil while names it lacks were added
}

func newSourceColumn(name func(uint32) string) *sourceColumn {
	return &sourceColumn{name: name, index: map[uint32]int32{}}
}

func (c *sourceColumn) field() arrow.Field {
	return arrow.Field{Name: "source", Type: nameType, Nullable: true}
}

func (c *sourceColumn) append(r rows) error {
	eachOrigin(r, func(o *chunk.Origin, n int) {
		if o == nil || o.Source == 0 {
			c.indices = appendRepeated(c.indices, 0, n)
			c.valid.appendAll(n, false)
			return
		}
		c.indices = appendRepeated(c.indices, c.indexOf(o.Source), n)
		c.valid.appendAll(n, true)
	})
	return nil
}

func (c *sourceColumn) indexOf(id uint32) int32 {
	i, ok := c.index[id]
	if !ok {
		i = int32(len(c.names))
		name := c.name(id)
		c.index[id], c.names, c.nameBytes, c.dictionary = i, append(c.names, name), c.nameBytes+int64(len(name)), nil
	}
	return i
}

func (c *sourceColumn) array() arrow.ArrayData {
	if c.dictionary == nil {
		c.dictionary = stringArray(c.names, c.nameBytes)
	}
	return dictionaryData(c.indices, &c.valid, c.dictionary)
}

func (c *sourceColumn) reset() {
	c.indices = c.indices[:0]
	c.valid.reset()
}
func (c *sourceColumn) blobBytes() int { return 0 }
