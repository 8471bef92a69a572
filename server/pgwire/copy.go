package pgwire

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/jackc/pgx/v5/pgproto3"
)

// copyFormat is how COPY writes rows.
type copyFormat struct {
	name      string // text, csv or binary
	header    bool
	delimiter byte
	null      string
	quote     byte // of CSV
	escape    byte
	all       bool // every value of CSV is in quotes
}

// copyCommand answers COPY … TO STDOUT, of a query in parentheses or of a table.
func (s *session) copyCommand(st statement, oids []uint32) (*command, error) {
	query, at, err := copied(st)
	if err != nil {
		return nil, err
	}
	switch {
	case st.is(at, "FROM"):
		return nil, errorf(codeReadOnly, "cannot execute COPY FROM in a read-only transaction").hint("samples come in by the other doors; this one reads")
	case !st.is(at, "TO"):
		return nil, errorf(codeSyntax, "COPY must be COPY (query) TO STDOUT")
	case !st.is(at+1, "STDOUT"):
		return nil, errorf(codeNotSupported, "COPY is answered TO STDOUT alone").hint(`psql writes it to a file: \copy (select …) to 'file.csv' csv header`)
	}
	format, err := copyOptions(st, at+2)
	if err != nil {
		return nil, err
	}
	inner, err := s.prepareOf("COPY", query, oids)
	if err != nil {
		return nil, err
	}
	return &command{cursor: inner, run: func(args arrow.Record) (string, error) { return s.copyOut(inner, args, format) }}, nil
}

// copied is the query of a COPY, and the token behind it.
func copied(st statement) (query string, at int, err error) {
	if st.raw(1) != "(" {
		for at = 1; at < len(st.tokens) && st.raw(at) != "(" && !st.is(at, "TO") && !st.is(at, "FROM"); at++ {
		}
		columns, relation := "*", st.between(1, at)
		if st.raw(at) == "(" {
			end := st.closing(at)
			columns = st.between(at+1, end)
			at = end + 1
		}
		return "SELECT " + columns + " FROM " + relation, at, nil
	}
	end := st.closing(1)
	if end >= len(st.tokens) {
		return "", 0, errorf(codeSyntax, "COPY has a parenthesis that is not closed")
	}
	return st.between(2, end), end + 1, nil
}

// copyOptions reads options, as they are since PostgreSQL 9, in parentheses, or as before.
func copyOptions(st statement, i int) (f copyFormat, err error) {
	f.name = "text"
	if st.is(i, "WITH") {
		i++
	}
	end := len(st.tokens)
	if st.raw(i) == "(" {
		if i++; st.closing(i-1) != end-1 {
			return f, errorf(codeSyntax, "COPY has something behind its options")
		}
		end--
	}
	given := map[string]string{}
	for i < end {
		key := st.key(i)
		i++
		switch key {
		case ",":
			continue
		case "BINARY", "CSV", "TEXT":
			given["FORMAT"] = strings.ToLower(key)
			continue
		case "HEADER":
			given[key] = "true"
			if v := strings.ToLower(strings.Trim(st.raw(i), "'")); i < end && (v == "true" || v == "false" || v == "on" || v == "off" || v == "1" || v == "0") {
				given[key], i = v, i+1
			}
			continue
		case "FORCE_QUOTE", "FORCE":
			if key == "FORCE" {
				i++ // QUOTE
			}
			if st.raw(i) != "*" {
				return f, errorf(codeNotSupported, "COPY takes FORCE_QUOTE of all columns alone, *")
			}
			i++
			f.all = true
			continue
		case "FORMAT", "DELIMITER", "NULL", "QUOTE", "ESCAPE", "ENCODING":
		default:
			return f, errorf(codeNotSupported, "COPY has no option %.60q here", st.raw(i-1)).hint("it takes FORMAT text, csv or binary, HEADER, DELIMITER, NULL, QUOTE, ESCAPE, ENCODING and FORCE_QUOTE *")
		}
		if st.is(i, "AS") {
			i++
		}
		if i >= end {
			return f, errorf(codeSyntax, "COPY has option %s without a value", key)
		}
		v := st.raw(i)
		if v == `E'\t'` {
			v = "\t"
		} else if st.tokens[i].kind == text {
			v = st.value(i)
		}
		given[key], i = v, i+1
	}
	return f, f.take(given)
}

// take completes a format by the options that were given.
func (f *copyFormat) take(given map[string]string) error {
	if v, ok := given["FORMAT"]; ok {
		f.name = strings.ToLower(v)
	}
	f.delimiter, f.null = '\t', `\N`
	switch f.name {
	case "csv":
		f.delimiter, f.null, f.quote, f.escape = ',', "", '"', '"'
	case "binary":
		if len(given) > 1 || f.all {
			return errorf(codeSyntax, "COPY in binary has no other options")
		}
		return nil
	case "text":
	default:
		return errorf(codeBadValue, "COPY format %.60q: must be text, csv or binary", f.name)
	}
	if f.all && f.name != "csv" {
		return errorf(codeSyntax, "COPY has FORCE_QUOTE in csv alone")
	}
	header := given["HEADER"]
	f.header = header == "true" || header == "on" || header == "1"
	if v, ok := given["NULL"]; ok {
		f.null = v
	}
	for key, to := range map[string]*byte{"DELIMITER": &f.delimiter, "QUOTE": &f.quote, "ESCAPE": &f.escape} {
		v, ok := given[key]
		if !ok {
			continue
		}
		if len(v) != 1 || v[0] >= 0x80 || v[0] == '\n' || v[0] == '\r' || v[0] == 0 || key != "DELIMITER" && f.name != "csv" {
			return errorf(codeBadValue, "COPY option %s is %.60q, must be one character of ASCII that ends no line, QUOTE and ESCAPE of csv", key, v)
		}
		*to = v[0]
	}
	if v, ok := given["QUOTE"]; ok && given["ESCAPE"] == "" {
		f.escape = v[0]
	}
	if f.delimiter == f.quote || strings.ContainsAny(f.null, "\r\n") || strings.IndexByte(f.null, f.delimiter) >= 0 ||
		f.name == "text" && (f.delimiter == '\\' || f.delimiter == '.' || f.delimiter >= 'a' && f.delimiter <= 'z' || f.delimiter >= '0' && f.delimiter <= '9') {
		return errorf(codeBadValue, "COPY delimiter %q, quote %q and null %.60q could be taken for each other, or for what is written", f.delimiter, f.quote, f.null)
	}
	if v, ok := given["ENCODING"]; ok {
		if _, err := acceptEncoding(v); err != nil {
			return err
		}
	}
	return nil
}

// copyOut sends all rows of a query as COPY does.
func (s *session) copyOut(p *prepared, args arrow.Record, f copyFormat) (tag string, err error) {
	if args != nil {
		args.Retain()
	}
	n := p.rows.Schema().NumFields()
	formats := make([]int16, n)
	if f.name == "binary" {
		for i := range formats {
			formats[i] = binaryFormat
		}
	}
	o, err := s.open(p, args, formats)
	if err != nil {
		return "", err
	}
	defer o.close()
	out := &pgproto3.CopyOutResponse{ColumnFormatCodes: make([]uint16, n)}
	begin := []byte(copySignature)
	if o.write = f.appendRow; f.name == "binary" {
		out.OverallFormat = 1
		for i := range formats {
			out.ColumnFormatCodes[i] = 1
		}
		o.write = func(dst []byte, cols []column, row int) []byte {
			dst = appendCopied(dst, begin, cols, row)
			begin = nil
			return dst
		}
	}
	s.send(out)
	if f.header {
		s.send(&pgproto3.CopyData{Data: f.headerLine(o.columns)})
	}
	end := s.beginRunning(o.cancel)
	defer end()
	rows, err := s.sendRows(o, 0)
	if err != nil {
		return "", cause(o.ctx, err)
	}
	if f.name == "binary" {
		s.send(&pgproto3.CopyData{Data: append(begin, 0xff, 0xff)})
	}
	s.send(&pgproto3.CopyDone{})
	return fmt.Sprintf("COPY %d", rows), nil
}

// copySignature begins COPY in binary: no flags, nothing more. PostgreSQL sends it with the first row, and some clients want it there.
const copySignature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// appendCopied is a row of COPY in binary, behind what goes before it.
func appendCopied(dst, before []byte, cols []column, row int) []byte {
	at := len(dst)
	dst = append(append(dst, 'd', 0, 0, 0, 0), before...)
	dst = appendFields(dst, cols, row)
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

// appendRow is a row of COPY as a line.
func (f copyFormat) appendRow(dst []byte, cols []column, row int) []byte {
	at := len(dst)
	dst = append(dst, 'd', 0, 0, 0, 0)
	var value []byte
	for i, c := range cols {
		if i > 0 {
			dst = append(dst, f.delimiter)
		}
		value = c(value[:0], row)
		if int32(binary.BigEndian.Uint32(value)) < 0 {
			dst = append(dst, f.null...)
			continue
		}
		dst = f.appendValue(dst, value[4:], len(cols) == 1)
	}
	dst = append(dst, '\n')
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

func (f copyFormat) headerLine(columns *pgproto3.RowDescription) (line []byte) {
	f.all = false
	for i, c := range columns.Fields {
		if i > 0 {
			line = append(line, f.delimiter)
		}
		line = f.appendValue(line, c.Name, len(columns.Fields) == 1)
	}
	return append(line, '\n')
}

// appendValue is a value that is not null. One that is alone in its line must not look like the end of all, \. in CSV.
func (f copyFormat) appendValue(dst, v []byte, alone bool) []byte {
	if f.name == "csv" {
		special := string([]byte{f.delimiter, f.quote, '\n', '\r'})
		if !f.all && string(v) != f.null && !strings.ContainsAny(string(v), special) && !(alone && string(v) == `\.`) {
			return append(dst, v...)
		}
		dst = append(dst, f.quote)
		for _, c := range v {
			if c == f.quote || c == f.escape {
				dst = append(dst, f.escape)
			}
			dst = append(dst, c)
		}
		return append(dst, f.quote)
	}
	for _, c := range v {
		if at := strings.IndexByte("\b\f\n\r\t\v\\", c); at >= 0 {
			dst = append(dst, '\\', `bfnrtv\`[at])
			continue
		}
		if c == f.delimiter {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}
