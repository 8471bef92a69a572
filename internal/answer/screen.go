package answer

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/mattn/go-runewidth"
)

// Screen is how the rows of a statement stand on a terminal.
type Screen struct {
	Zone    *time.Location
	Width   int  // of the terminal, in characters; 0 for any
	Records bool // a line for each column of a row, in place of a table
}

// textMin is to how many characters a column of texts is cut at most.
const textMin = 8

// WriteScreen writes the rows of a statement as a table that fits the terminal: texts that are too long end with …, numbers and times are
// never cut. Where that is not enough the rows are written column by column.
func WriteScreen(w io.Writer, r *Reader, s Screen) (rows uint64, err error) {
	p := &page{out: bufio.NewWriterSize(w, 64<<10), Screen: s, fields: r.Schema().Fields()}
	defer func() {
		p.flush()
		err = errors.Join(err, p.out.Flush())
	}()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		for i := range int(rec.NumRows()) {
			cells := make([]bucketCell, len(p.fields))
			for k, f := range p.fields {
				if cells[k], err = statementCell(rec.Column(k), f.Name, i); err != nil {
					return rows, err
				}
			}
			p.add(tableCells(cells, s.Zone))
			rows++
		}
	}
}

// page is the rows that are set together, at most maxTableRows.
type page struct {
	Screen
	out    *bufio.Writer
	fields []arrow.Field
	lines  [][]string
	width  []int // of columns, as far as they are known; never less than on the page before
	headed bool
	number uint64 // of rows that were written as records
}

func (p *page) add(line []string) {
	p.lines = append(p.lines, line)
	if len(p.lines) >= maxTableRows {
		p.flush()
	}
}

// flush writes the page.
func (p *page) flush() {
	if len(p.fields) == 0 || len(p.lines) == 0 && (p.headed || p.Records) {
		return
	}
	if !p.Records {
		p.Records = !p.fit()
	}
	if p.Records {
		p.records()
	} else {
		p.table()
	}
	p.lines = p.lines[:0]
}

// fit chooses how wide columns are; false where the terminal is too narrow for all of them.
func (p *page) fit() bool {
	if p.width == nil {
		p.width = make([]int, len(p.fields))
	}
	least := make([]int, len(p.fields))
	total := 2 * (len(p.fields) - 1)
	narrowest := total
	for i, f := range p.fields {
		widest := 0
		for _, line := range p.lines {
			widest = max(widest, runewidth.StringWidth(line[i]))
		}
		if least[i] = widest; !rigid(f.Type) {
			least[i] = min(widest, textMin)
		}
		head := runewidth.StringWidth(Printable(f.Name))
		least[i] = max(least[i], min(head, textMin))
		p.width[i] = max(p.width[i], widest, head)
		if p.Width > 0 {
			p.width[i] = max(least[i], min(p.width[i], p.Width))
		}
		total += p.width[i]
		narrowest += least[i]
	}
	if p.Width > 0 && narrowest > p.Width {
		return false
	}
	for p.Width > 0 && total > p.Width {
		at := -1
		for i := range p.width {
			if p.width[i] > least[i] && (at < 0 || p.width[i] > p.width[at]) {
				at = i
			}
		}
		p.width[at]--
		total--
	}
	return true
}

// rigid reports whether values of a type are never cut: a number without its end is another number.
func rigid(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.STRING, arrow.BINARY, arrow.DICTIONARY, arrow.LIST, arrow.STRUCT:
		return false
	}
	return true
}

func (p *page) table() {
	if !p.headed {
		p.headed = true
		head := make([]string, len(p.fields))
		for i, f := range p.fields {
			head[i] = Printable(strings.ToUpper(f.Name))
		}
		p.line(head)
	}
	for _, line := range p.lines {
		p.line(line)
	}
}

func (p *page) line(cells []string) {
	var b strings.Builder
	for i, text := range cells {
		text = runewidth.Truncate(text, p.width[i], "…")
		pad := strings.Repeat(" ", p.width[i]-runewidth.StringWidth(text))
		if numeric(p.fields[i].Type) {
			text, pad = pad+text, ""
		}
		if i > 0 {
			b.WriteString("  ")
		}
		b.WriteString(text + pad)
	}
	p.out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

func numeric(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT64, arrow.UINT64, arrow.UINT32, arrow.FLOAT64, arrow.FLOAT32, arrow.DECIMAL128:
		return true
	}
	return false
}

func (p *page) records() {
	names := make([]string, len(p.fields))
	for i, f := range p.fields {
		names[i] = f.Name
	}
	for _, line := range p.lines {
		p.number++
		writeRecord(p.out, p.number, names, line)
	}
}
