package answer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// Extra says which columns beside time, tag, value and quality are written.
type Extra struct {
	Seq, Source bool
	Ends        bool // what ended each value
	Bound       bool // whether the row stands at an edge or outside of it
	Gaps        bool // which gap the row is, if it is one
}

// WriteCSV writes time,tag,value,quality rows with a header, CRLF nowhere. Empty text is "", a null value nothing.
func WriteCSV(w io.Writer, rows *Rows, x Extra) (samples uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString("time,tag,value,quality")
	if x.Bound {
		out.WriteString(",bound")
	}
	if x.Gaps {
		out.WriteString(",gap,gap_end")
	}
	if x.Seq {
		out.WriteString(",seq")
	}
	if x.Source {
		out.WriteString(",ingest_time,source")
	}
	if x.Ends {
		out.WriteString(",kind,edit_time,author,reason,edit_offset")
	}
	out.WriteByte('\n')
	var b []byte
	tag, tagField := "\x00", ""
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return samples, out.Flush()
		}
		if err != nil {
			return samples, errors.Join(err, out.Flush())
		}
		if row.Tag != tag {
			tag, tagField = row.Tag, string(appendField(nil, row.Tag))
		}
		b = append(appendTime(b[:0], row.Time), ',')
		b = append(append(b, tagField...), ',')
		b = append(appendCSVValue(b, row.Value), ',')
		b = appendQuality(b, row.Quality)
		if x.Bound {
			b = strconv.AppendBool(append(b, ','), row.Bound)
		}
		if x.Gaps {
			b = append(append(append(b, ','), row.Gap...), ',')
			if row.GapEnd != nil {
				b = appendTime(b, *row.GapEnd)
			}
		}
		if x.Seq {
			b = strconv.AppendUint(append(b, ','), uint64(row.Seq), 10)
		}
		if x.Source {
			if b = append(b, ','); !row.NotIngested {
				b = appendTime(b, row.Ingest*1_000_000_000)
			}
			b = appendField(append(b, ','), row.Source)
		}
		if e := &row.End; x.Ends {
			b = append(append(append(b, ','), e.Kind...), ',')
			b = append(appendTime(b, e.Time), ',')
			b = append(appendField(b, e.Author), ',')
			b = append(appendField(b, e.Reason), ',')
			if e.Offset != 0 {
				b = strconv.AppendUint(b, e.Offset, 10)
			}
		}
		if _, err := out.Write(append(b, '\n')); err != nil {
			return samples, err
		}
		samples++
	}
}

func appendTime(b []byte, t int64) []byte {
	return time.Unix(0, t).UTC().AppendFormat(b, time.RFC3339Nano)
}

// appendQuality writes a status code as model.ParseQuality reads it.
func appendQuality(b []byte, q model.Quality) []byte {
	if q == model.Good {
		return append(b, "Good"...)
	}
	return append(b, q.Text()...)
}

func appendCSVValue(b []byte, v Value) []byte {
	switch {
	case v.Null:
		return b
	case v.Type == model.String || v.Type == model.State:
		if v.Text == "" && v.Type == model.String {
			return append(b, `""`...)
		}
		return appendField(b, v.String())
	}
	return v.appendText(b)
}

// appendField writes text as one CSV field, in quotes where it must be.
func appendField(b []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") && !strings.HasPrefix(s, " ") && !strings.HasSuffix(s, " ") {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// WriteJSON writes one object per line. int64 and uint64, NaN and infinities are strings, since JSON readers lose them;
// bytes are base64; a state's value is its text, with its number in code.
func WriteJSON(w io.Writer, rows *Rows, x Extra) (samples uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	var b []byte
	tag, tagField := "\x00", ""
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return samples, out.Flush()
		}
		if err != nil {
			return samples, errors.Join(err, out.Flush())
		}
		if row.Tag != tag {
			tag, tagField = row.Tag, string(appendJSONString(nil, row.Tag))
		}
		b = appendTime(append(b[:0], `{"time":"`...), row.Time)
		b = append(append(b, `","tag":`...), tagField...)
		b = appendJSONValue(append(b, `,"value":`...), row.Value)
		b = appendQuality(append(b, `,"quality":"`...), row.Quality)
		b = append(b, '"')
		if x.Bound {
			b = strconv.AppendBool(append(b, `,"bound":`...), row.Bound)
		}
		if x.Gaps {
			b = appendJSONGap(b, &row)
		}
		if x.Seq {
			b = strconv.AppendUint(append(b, `,"seq":`...), uint64(row.Seq), 10)
		}
		if x.Source {
			if b = append(b, `,"ingest_time":`...); row.NotIngested {
				b = append(b, "null"...)
			} else {
				b = append(appendTime(append(b, '"'), row.Ingest*1_000_000_000), '"')
			}
			b = appendJSONString(append(b, `,"source":`...), row.Source)
		}
		if x.Ends {
			b = appendJSONEnd(b, &row.End)
		}
		if _, err := out.Write(append(b, '}', '\n')); err != nil {
			return samples, err
		}
		samples++
	}
}

// appendJSONGap writes of a sample nulls, and of an open gap one for its end.
func appendJSONGap(b []byte, row *Row) []byte {
	if row.Gap == "" {
		return append(b, `,"gap":null,"gap_end":null`...)
	}
	b = appendJSONString(append(b, `,"gap":`...), row.Gap)
	if row.GapEnd == nil {
		return append(b, `,"gap_end":null`...)
	}
	return append(appendTime(append(b, `,"gap_end":"`...), *row.GapEnd), '"')
}

func appendJSONEnd(b []byte, e *End) []byte {
	b = append(append(b, `,"kind":"`...), e.Kind...)
	b = appendTime(append(b, `","edit_time":"`...), e.Time)
	b = appendJSONString(append(b, `","author":`...), e.Author)
	b = appendJSONString(append(b, `,"reason":`...), e.Reason)
	if e.Offset != 0 {
		b = strconv.AppendUint(append(b, `,"edit_offset":`...), e.Offset, 10)
	}
	return b
}

func appendJSONValue(b []byte, v Value) []byte {
	if v.Null {
		return append(b, "null"...)
	}
	switch v.Type {
	case model.Float64, model.Float32:
		x := math.Float64frombits(v.Bits)
		if v.Type == model.Float32 {
			x = model.WidenFloat32(uint32(v.Bits))
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return append(v.appendText(append(b, '"')), '"')
		}
		if x == 0 && math.Signbit(x) {
			return append(b, "-0.0"...) // readers that tell integers from numbers make 0 of -0
		}
		return v.appendText(b)
	case model.Bool:
		return v.appendText(b)
	case model.Int64, model.Uint64:
		return append(v.appendText(append(b, '"')), '"')
	case model.Bytes:
		b = base64.StdEncoding.AppendEncode(append(b, '"'), []byte(v.Text))
		return append(b, '"')
	case model.State:
		b = appendJSONString(b, v.String())
		return strconv.AppendInt(append(b, `,"code":`...), int64(v.Bits), 10)
	}
	return appendJSONString(b, v.Text)
}

func appendJSONString(b []byte, s string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// maxTableRows is how many rows a table looks at for the width of its columns.
const maxTableRows = 1000

const tableTime = "2006-01-02T15:04:05.999999999Z07:00"

// WriteTable writes columns for people, with times in zone.
func WriteTable(w io.Writer, rows *Rows, zone *time.Location, x Extra) (samples uint64, err error) {
	out := bufio.NewWriter(w)
	header := []string{"TIME", "TAG", "VALUE", "QUALITY"}
	if x.Bound {
		header = append(header, "BOUND")
	}
	if x.Gaps {
		header = append(header, "GAP", "GAP END")
	}
	if x.Seq {
		header = append(header, "SEQ")
	}
	if x.Source {
		header = append(header, "INGESTED", "SOURCE")
	}
	if x.Ends {
		header = append(header, "KIND", "EDITED", "AUTHOR", "REASON")
	}
	t := table{out: out, lines: [][]string{header}}
	for {
		row, err := rows.Next()
		if err != nil {
			t.flush()
			if errors.Is(err, io.EOF) {
				return samples, out.Flush()
			}
			return samples, errors.Join(err, out.Flush())
		}
		line := []string{time.Unix(0, row.Time).In(zone).Format(tableTime), row.Tag, Printable(row.Value.String()), row.Quality.Text()}
		if x.Bound {
			line = append(line, strconv.FormatBool(row.Bound))
		}
		if x.Gaps {
			end := ""
			if row.GapEnd != nil {
				end = time.Unix(0, *row.GapEnd).In(zone).Format(tableTime)
			}
			line = append(line, Printable(row.Gap), end)
		}
		if x.Seq {
			line = append(line, strconv.Itoa(int(row.Seq)))
		}
		if x.Source {
			ingested := "-"
			if !row.NotIngested {
				ingested = time.Unix(row.Ingest, 0).In(zone).Format(time.RFC3339)
			}
			line = append(line, ingested, row.Source)
		}
		if x.Ends {
			e := &row.End
			line = append(line, e.Kind, time.Unix(0, e.Time).In(zone).Format(tableTime), Printable(e.Author), Printable(e.Reason))
		}
		t.add(line)
		samples++
	}
}

// Printable keeps out of a text what could steer a terminal: control characters, and those that turn the direction of writing around.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return '·'
		}
		return r
	}, s)
}

type table struct {
	out   *bufio.Writer
	lines [][]string
	width []int // nil until the first flush
}

func (t *table) add(line []string) {
	t.lines = append(t.lines, line)
	if len(t.lines) >= maxTableRows {
		t.flush()
	}
}

func (t *table) flush() {
	for _, l := range t.lines {
		for i, s := range l {
			if i >= len(t.width) {
				t.width = append(t.width, 0)
			}
			t.width[i] = max(t.width[i], utf8.RuneCountInString(s))
		}
	}
	for _, l := range t.lines {
		for i, s := range l {
			pad := strings.Repeat(" ", t.width[i]-utf8.RuneCountInString(s))
			switch {
			case i == len(l)-1:
				t.out.WriteString(s)
			case i == 2: // values to the right
				t.out.WriteString(pad + s + "  ")
			default:
				t.out.WriteString(s + pad + "  ")
			}
		}
		t.out.WriteByte('\n')
	}
	t.lines = t.lines[:0]
}
