package answer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// ChangeOutputs are the formats of a ChangeWriter.
var ChangeOutputs = []string{"table", "csv", "json"}

// ChangeWriter writes the messages of a subscription, each at once.
type ChangeWriter struct {
	// TypesOf is the types of a tag; they decide how values are read, as in NewRows. It is asked once for each name.
	TypesOf func(tag string) (Types, error)
	// Zone is the zone of times in a table.
	Zone *time.Location

	out    *bufio.Writer
	format string
	types  map[string]Types
	table  table
}

// NewChangeWriter begins an output in one of ChangeOutputs.
func NewChangeWriter(w io.Writer, format string, zone *time.Location, typesOf func(string) (Types, error)) *ChangeWriter {
	c := &ChangeWriter{TypesOf: typesOf, Zone: zone, out: bufio.NewWriter(w), format: format, types: map[string]Types{}}
	switch format {
	case "csv":
		c.out.WriteString("time,tag,value,quality,seq,kind,ingest_time,author,reason,offset,end\n")
	case "table":
		c.table = table{out: c.out, lines: [][]string{{"TIME", "TAG", "VALUE", "QUALITY", "KIND", "AUTHOR", "REASON"}}}
	}
	return c
}

// Write writes what a message tells and returns how many changes that is: samples, and ranges of tags.
func (c *ChangeWriter) Write(m *varvev1.SubscribeResponse) (n int, err error) {
	switch what := m.What.(type) {
	case *varvev1.SubscribeResponse_Changes:
		n, err = c.changes(what.Changes)
	case *varvev1.SubscribeResponse_Range:
		for _, tag := range what.Range.Tags {
			for _, in := range what.Range.Ranges {
				c.rangeChange(m.Offset, what.Range, tag, in)
				n++
			}
		}
	case *varvev1.SubscribeResponse_Lost:
		if c.format == "json" {
			fmt.Fprintf(c.out, `{"lost_from":%d,"lost_to":%d}`+"\n", what.Lost.First, what.Lost.End)
		}
	}
	if err != nil {
		return n, errors.Join(err, c.out.Flush())
	}
	switch c.format {
	case "json":
		fmt.Fprintf(c.out, `{"token":%q,"offset":%d}`+"\n", m.Token, m.Offset)
	case "table":
		if len(c.table.lines) > 1 || len(c.table.width) > 0 {
			c.table.flush() // a header alone waits for the width of what is under it
		}
	}
	return n, c.out.Flush()
}

// changes writes the rows of a message.
func (c *ChangeWriter) changes(ipc []byte) (n int, err error) {
	if err := c.each(ipc, c.learn); err != nil {
		return 0, err
	}
	err = c.each(ipc, func(r *Row) error {
		n++
		c.row(r)
		return nil
	})
	return n, err
}

func (c *ChangeWriter) each(ipc []byte, do func(*Row) error) error {
	r, err := ReadMessage(ipc)
	if err != nil {
		return err
	}
	defer r.Close()
	rows := NewRows(r, c.types)
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(&row); err != nil {
			return err
		}
	}
}

// learn asks for the type of the row's tag if it is not known.
func (c *ChangeWriter) learn(r *Row) error {
	if _, known := c.types[r.Tag]; known {
		return nil
	}
	t, err := c.TypesOf(r.Tag)
	c.types[r.Tag] = t
	return err
}

func (c *ChangeWriter) row(r *Row) {
	e := &r.End
	switch c.format {
	case "csv":
		b := append(appendField(append(appendTime(nil, r.Time), ','), r.Tag), ',')
		b = append(appendCSVValue(b, r.Value), ',')
		b = strconv.AppendUint(append(appendQuality(b, r.Quality), ','), uint64(r.Seq), 10)
		c.out.Write(append(c.appendCSVRecord(b, e), ",\n"...))
	case "json":
		b := appendJSONString(append(appendTime([]byte(`{"time":"`), r.Time), `","tag":`...), r.Tag)
		b = appendJSONValue(append(b, `,"value":`...), r.Value)
		b = append(appendQuality(append(b, `,"quality":"`...), r.Quality), `","seq":`...)
		c.out.Write(append(appendJSONRecord(strconv.AppendUint(b, uint64(r.Seq), 10), e), "}\n"...))
	default:
		c.table.add([]string{
			time.Unix(0, r.Time).In(c.Zone).Format(tableTime), r.Tag, Printable(r.Value.String()), r.Quality.Text(), e.Kind, Printable(e.Author), Printable(e.Reason),
		})
	}
}

func (c *ChangeWriter) rangeChange(offset uint64, r *varvev1.RangeChange, tag string, in *varvev1.TimeSpan) {
	kind := strings.ToLower(strings.TrimPrefix(r.Effect.String(), "RANGE_EFFECT_"))
	e := &End{Kind: kind, Time: r.IngestNs, Author: r.Author, Reason: r.Reason, Offset: offset}
	switch c.format {
	case "csv":
		b := append(appendField(append(appendTime(nil, in.StartNs), ','), tag), ",,,"...)
		c.out.Write(append(appendTime(append(c.appendCSVRecord(b, e), ','), in.EndNs), '\n'))
	case "json":
		b := appendTime(append(appendTime([]byte(`{"time":"`), in.StartNs), `","end":"`...), in.EndNs)
		c.out.Write(append(appendJSONRecord(appendJSONString(append(b, `","tag":`...), tag), e), "}\n"...))
	default:
		end := "to " + time.Unix(0, in.EndNs).In(c.Zone).Format(tableTime)
		c.table.add([]string{time.Unix(0, in.StartNs).In(c.Zone).Format(tableTime), tag, end, "", kind, Printable(r.Author), Printable(r.Reason)})
	}
}

func (c *ChangeWriter) appendCSVRecord(b []byte, e *End) []byte {
	b = append(append(append(b, ','), e.Kind...), ',')
	b = append(appendField(append(appendTime(b, e.Time), ','), e.Author), ',')
	return strconv.AppendUint(append(appendField(b, e.Reason), ','), e.Offset, 10)
}

func appendJSONRecord(b []byte, e *End) []byte {
	b = appendTime(append(append(append(b, `,"kind":"`...), e.Kind...), `","ingest_time":"`...), e.Time)
	b = appendJSONString(append(b, `","author":`...), e.Author)
	b = appendJSONString(append(b, `,"reason":`...), e.Reason)
	return strconv.AppendUint(append(b, `,"offset":`...), e.Offset, 10)
}
