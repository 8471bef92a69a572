package query

import "github.com/apache/arrow/go/v15/arrow"

// labelColumn is what people call the bucket of each row.
type labelColumn struct {
	labels []string // of all buckets of the question
	values varBytes
}

func (c *labelColumn) field() arrow.Field {
	return arrow.Field{Name: "label", Type: arrow.BinaryTypes.String}
}

func (c *labelColumn) append(bucket int) { c.values.append([]byte(c.labels[bucket]), true) }

func (c *labelColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }

func (c *labelColumn) reset() { c.values.reset() }
