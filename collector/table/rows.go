package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// rowReader splits CSV (RFC 4180) into rows. It differs from encoding/csv in that memory is bounded, that a bad row does
// not end the reading, and that fields are bytes: text is kept as it stands, white space included.
type rowReader struct {
	src   io.Reader
	comma byte

	buf        []byte
	start, end int // buf[start:end] is read and not yet returned
	eof        bool

	line     int // where the row last returned begins, from 1
	nextLine int
	unclosed int // rows whose quote was never closed

	fields [][]byte
	spans  []span
	text   []byte // fields of rows with quotes, unescaped
}

type span struct {
	from, to int
	quoted   bool
}

// wasQuoted reports whether field i of the row last returned stood in quotes.
func (r *rowReader) wasQuoted(i int) bool { return i < len(r.spans) && r.spans[i].quoted }

// maxUnclosed bounds the work that open quotes cause, since what lies behind each is read twice.
const maxUnclosed = 1000

func newRowReader(src io.Reader, comma byte) *rowReader {
	return &rowReader{src: src, comma: comma, buf: make([]byte, 256<<10), nextLine: 1}
}

// findComma looks at the first line and takes what stands between its fields, if that is no comma.
func (r *rowReader) findComma() error {
	n, err := r.newline(0)
	if err != nil {
		return err
	}
	var count [256]int
	quoted := false
	for _, c := range r.buf[r.start : r.start+n] {
		if c == '"' {
			quoted = !quoted
		} else if !quoted {
			count[c]++
		}
	}
	if count[','] > 0 {
		return nil
	}
	most := 0
	for _, c := range []byte(";\t|") {
		if count[c] > most {
			most, r.comma = count[c], c
		}
	}
	return nil
}

// next is the fields of the next row that is not blank, in memory that holds until the call after. The error is a
// *[RowError] for a row that is no CSV, behind which reading goes on, and io.EOF behind the last row.
func (r *rowReader) next() ([][]byte, error) {
	for {
		n, err := r.newline(0)
		if err != nil {
			return nil, err
		}
		row := r.buf[r.start : r.start+n]
		r.line = r.nextLine
		if len(row) == 0 && r.eof && r.start >= r.end {
			return nil, io.EOF
		}
		if r.line == 1 {
			row = bytes.TrimPrefix(row, []byte("\xEF\xBB\xBF"))
		}
		if bytes.IndexByte(row, '"') >= 0 {
			return r.quoted(n)
		}
		r.advance(n)
		row = bytes.TrimSuffix(row, []byte("\r"))
		if len(row) == 0 {
			continue
		}
		return r.plain(row)
	}
}

func (r *rowReader) plain(row []byte) ([][]byte, error) {
	r.fields, r.spans = r.fields[:0], r.spans[:0]
	for {
		i := bytes.IndexByte(row, r.comma)
		if i < 0 {
			break
		}
		r.fields = append(r.fields, row[:i])
		row = row[i+1:]
		if len(r.fields) >= MaxColumns {
			return nil, &RowError{Line: r.line, Reason: fmt.Sprintf("more than %d fields", MaxColumns)}
		}
	}
	r.fields = append(r.fields, row)
	return r.fields, nil
}

// advance moves behind a row of n bytes and its newline.
func (r *rowReader) advance(n int) {
	r.start = min(r.start+n+1, r.end)
	r.nextLine++
}

// newline is the distance from start to the first newline at or behind start+from, or to the end of the file.
func (r *rowReader) newline(from int) (int, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.start+from:r.end], '\n'); i >= 0 {
			return from + i, nil
		}
		if r.eof {
			return r.end - r.start, nil
		}
		from = r.end - r.start
		if from > MaxRecordBytes {
			return 0, fmt.Errorf("line %d has more than %d bytes: %w", r.nextLine, MaxRecordBytes, ErrTooLarge)
		}
		if err := r.fill(); err != nil {
			return 0, fmt.Errorf("read behind line %d: %w", r.nextLine-1, err)
		}
	}
}

// fill reads more behind end. Offsets from start stay good, the buffer may not.
func (r *rowReader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if errors.Is(err, io.EOF) {
			r.eof = true
			return nil
		}
		if err != nil || n > 0 {
			return err
		}
	}
	return io.ErrNoProgress
}

// quoted parses a row that has quotes and may go on over several lines; its first line has n bytes.
func (r *rowReader) quoted(n int) ([][]byte, error) {
	first := n
	r.text, r.spans = r.text[:0], r.spans[:0]
	at := 0
	if r.line == 1 && bytes.HasPrefix(r.buf[r.start:r.start+n], []byte("\xEF\xBB\xBF")) {
		at = 3
	}
	lines := 1
	fail := func(reason string) ([][]byte, error) {
		r.advance(first)
		return nil, &RowError{Line: r.line, Reason: reason}
	}
	for {
		row := r.buf[r.start : r.start+n]
		if at == n || row[at] != '"' {
			at = r.bareField(row, at)
		} else {
			begin := len(r.text)
			for at++; ; {
				if i := bytes.IndexByte(row[at:], '"'); i >= 0 {
					r.text = append(r.text, row[at:at+i]...)
					at += i + 1
					if at < n && row[at] == '"' {
						r.text = append(r.text, '"')
						at++
						continue
					}
					break
				}
				r.text = append(r.text, row[at:]...)
				at = n
				if r.eof && r.start+n >= r.end || len(r.text)-begin > MaxFieldBytes {
					if r.unclosed++; r.unclosed > maxUnclosed {
						return nil, fmt.Errorf("line %d is the %dth whose quote is not closed: %w", r.line, r.unclosed, ErrTooLarge)
					}
					return fail("a quoted field is not closed")
				}
				r.text = append(r.text, '\n')
				at++
				lines++
				more, err := r.newline(at)
				if err != nil {
					return nil, err
				}
				n = more
				row = r.buf[r.start : r.start+n]
			}
			r.spans = append(r.spans, span{begin, len(r.text), true})
			if at < n && row[at] == '\r' && at+1 == n {
				at = n
			}
			if at < n && row[at] != r.comma {
				return fail("text stands behind a closing quote")
			}
		}
		if len(r.spans) > MaxColumns {
			return fail(fmt.Sprintf("more than %d fields", MaxColumns))
		}
		if at == n {
			break
		}
		at++ // the comma
	}
	r.advance(n)
	r.nextLine += lines - 1
	r.fields = r.fields[:0]
	for _, s := range r.spans {
		r.fields = append(r.fields, r.text[s.from:s.to])
	}
	return r.fields, nil
}

// bareField takes the field without quotes around it that begins at row[at] and returns where it ends. Quotes inside it
// are text.
func (r *rowReader) bareField(row []byte, at int) int {
	to := len(row)
	if i := bytes.IndexByte(row[at:], r.comma); i >= 0 {
		to = at + i
	}
	field := row[at:to]
	if to == len(row) {
		field = bytes.TrimSuffix(field, []byte("\r"))
	}
	begin := len(r.text)
	r.text = append(r.text, field...)
	r.spans = append(r.spans, span{begin, len(r.text), false})
	return to
}
