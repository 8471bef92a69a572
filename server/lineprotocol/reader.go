package lineprotocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// Reader reads the lines of a body, see the package's comment. It is for one goroutine.
type Reader struct {
	Line Line // the last one read

	in      io.Reader
	unit    int64 // nanoseconds of one in a time as written
	maxLine int
	number  int // of the line that begins at pos, less one

	buf   []byte // of the body; what is behind pos is not read yet
	pos   int
	ended bool  // buf holds all that is left
	err   error // why reading ended, if not because of the end of the body

	text []byte // of the fields of Line that had escapes
}

// readBytes is how much is read at once.
const readBytes = 64 << 10

// NewReader reads a body whose times count units of so many nanoseconds. A line of more than maxLine bytes is an error of that line.
func NewReader(in io.Reader, unit int64, maxLine int) *Reader {
	r := &Reader{buf: make([]byte, 0, readBytes)}
	r.Reset(in, unit, maxLine)
	return r
}

// Reset begins a body, with the memory of the one before.
func (r *Reader) Reset(in io.Reader, unit int64, maxLine int) {
	if cap(r.buf) > readBytes || cap(r.text) > readBytes {
		r.buf, r.text = make([]byte, 0, readBytes), nil
	}
	*r = Reader{in: in, unit: unit, maxLine: maxLine, buf: r.buf[:0], text: r.text[:0], Line: Line{Fields: r.Line.Fields[:0]}}
}

// errShort says that a line goes on behind what was read.
var errShort = errors.New("the line goes on")

// Next reads the next line. An error is io.EOF at the end of the body, an *Error of a line that is wrong, behind which it goes on, or why the
// body could not be read, which is for good.
func (r *Reader) Next() error {
	for {
		if r.skipBlank() {
			n, err := r.parse(r.buf[r.pos:])
			if err == nil && n <= r.maxLine {
				r.advance(n)
				return nil
			}
			if err == nil {
				return r.skipLong()
			}
			if done, err := r.refuse(err); done {
				return err
			}
		} else if r.ended {
			if r.err != nil {
				return r.err
			}
			return io.EOF
		}
		if len(r.buf)-r.pos > r.maxLine {
			return r.skipLong()
		}
		r.fill()
	}
}

// refuse steps over a line that is wrong, if its end was read.
func (r *Reader) refuse(err error) (bool, error) {
	at, isPlace := errors.AsType[*place](err)
	if !isPlace && !r.ended {
		return false, nil // it goes on
	}
	b := r.buf[r.pos:]
	var end lineEnd
	n, found := end.find(b)
	if !found {
		if !r.ended {
			return false, nil
		}
		n = bytes.IndexByte(b, '\n') + 1 // of a text that never ends; there is one, see fill
	}
	e := &Error{Line: r.number + 1, Reason: "a text without its closing quote"}
	if isPlace {
		e.Reason = at.reason
		e.Line += bytes.Count(b[:at.at], newline)
		e.Column = at.at - bytes.LastIndexByte(b[:at.at], '\n')
	}
	r.advance(n)
	return true, e
}

// skipLong steps over a line that is too long.
func (r *Reader) skipLong() error {
	e := &Error{Line: r.number + 1, Reason: fmt.Sprintf("it has more than %d bytes", r.maxLine)}
	var end lineEnd
	for {
		n, found := end.find(r.buf[r.pos:])
		if r.advance(n); found || r.ended {
			return e
		}
		r.fill()
	}
}

var newline = []byte{'\n'}

// advance steps over n bytes that end with a line, or lie within one that is stepped over.
func (r *Reader) advance(n int) {
	r.number += bytes.Count(r.buf[r.pos:r.pos+n], newline)
	r.pos += n
}

// fill reads more. At the end of a body it adds the end of a line if there is none, so that only a text can be open there.
func (r *Reader) fill() {
	if r.ended {
		return
	}
	left := copy(r.buf, r.buf[r.pos:])
	r.buf, r.pos = r.buf[:left], 0
	if cap(r.buf)-left < readBytes/2 {
		r.buf = append(make([]byte, 0, 2*cap(r.buf)), r.buf...)
	}
	// As much again as is there already, so that a long line is not gone over for every packet of it.
	err := r.read(max(2*left, left+1))
	if err == nil {
		return
	}
	r.ended = true
	if !errors.Is(err, io.EOF) {
		r.err = err
		r.buf = r.buf[:0] // a line that was cut off may look whole
		return
	}
	if k := len(r.buf); k > 0 && r.buf[k-1] != '\n' {
		r.buf = append(r.buf, '\n')
	}
}

// read reads until so many bytes are in the buffer, or it is full but for a byte that may have to end the last line.
func (r *Reader) read(atLeast int) error {
	for empty := 0; len(r.buf) < min(atLeast, cap(r.buf)-1); {
		n, err := r.in.Read(r.buf[len(r.buf) : cap(r.buf)-1])
		r.buf = r.buf[:len(r.buf)+n]
		if err != nil {
			return err
		}
		if empty++; n > 0 {
			empty = 0
		} else if empty > 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// skipBlank steps over empty lines, comments and spaces, and reports whether a line begins.
func (r *Reader) skipBlank() bool {
	for r.pos < len(r.buf) {
		b := r.buf[r.pos:]
		i := 0
		for i < len(b) && b[i] == ' ' {
			i++
		}
		if i == len(b) {
			return false
		}
		r.pos += i
		b = b[i:]
		switch b[0] {
		case '#':
			end := bytes.IndexByte(b, '\n')
			if end < 0 || control(bytes.TrimSuffix(b[:end], []byte{'\r'})) {
				return true // whose fault parse finds
			}
			r.advance(end + 1)
		case '\n':
			r.advance(1)
		case '\r':
			if len(b) == 1 || b[1] != '\n' {
				return true
			}
			r.advance(2)
		default:
			return true
		}
	}
	return false
}

func control(b []byte) bool {
	return bytes.ContainsFunc(b, func(c rune) bool { return c < ' ' || c == 0x7F })
}

// place is what is wrong where in a line.
type place struct {
	at     int
	reason string
}

func (p *place) Error() string { return p.reason }

func wrong(at int, format string, args ...any) error {
	return &place{at, fmt.Sprintf(format, args...)}
}

// parse reads the line that b begins with into r.Line and says how long it is.
func (r *Reader) parse(b []byte) (n int, err error) {
	i := plainBytes(b)
	for ; i < len(b) && class[b[i]]&endsSeries == 0; i++ {
		if b[i] == '\\' && i+1 < len(b) && b[i+1] == ' ' {
			i++
		}
	}
	if i >= len(b) {
		return 0, errShort
	}
	if i == 0 || b[0] == '#' || b[i] != ' ' {
		return 0, noFields(b, i)
	}
	l := &r.Line
	l.Number, l.Series, l.Fields, r.text = r.number+1, b[:i], l.Fields[:0], r.text[:0]
	i = skipSpaces(b, i)
	for {
		if len(l.Fields) == MaxFields {
			return 0, wrong(i, "more than %d fields", MaxFields)
		}
		l.Fields = append(l.Fields, Field{})
		if i, err = r.field(b, i, &l.Fields[len(l.Fields)-1]); err != nil {
			return 0, err
		}
		if b[i] != ',' {
			break
		}
		i++
	}
	if i = skipSpaces(b, i); i == len(b) {
		return 0, errShort
	}
	l.Time, l.HasTime = 0, false
	if b[i] == '\n' {
		return i + 1, nil
	}
	if b[i] != '\r' {
		if l.Time, i, err = r.time(b, i); err != nil {
			return 0, err
		}
		l.HasTime = true
	}
	return endOfLine(b, i)
}

// noFields is what is wrong with a line whose measurement and tags end at i, and nothing follows.
func noFields(b []byte, i int) error {
	if b[0] == '#' {
		return wrong(0, "a comment with a control character")
	}
	if b[i] != '\n' && b[i] != '\r' {
		return wrong(i, "the control character %q in measurement and tags", b[i])
	}
	if _, err := Split(b[:i]); err != nil {
		return wrong(i, "%s", err)
	}
	return wrong(i, "there are no fields")
}

// plainBytes is a number of bytes that b begins with, a multiple of eight, none of which ends a series or is a backslash.
func plainBytes(b []byte) (n int) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; n+8 <= len(b); n += 8 {
		// A byte below 0x21 borrows from its top bit where that is not set, and so does one that is 0.
		w := binary.LittleEndian.Uint64(b[n:])
		backslash, del := w^('\\'*ones), w^(0x7F*ones)
		if ((w-0x21*ones)&^w|(backslash-ones)&^backslash|(del-ones)&^del)&tops != 0 {
			break
		}
	}
	return n
}

func skipSpaces(b []byte, i int) int {
	for i < len(b) && b[i] == ' ' {
		i++
	}
	return i
}

// endOfLine is behind the end of a line that must be at i.
func endOfLine(b []byte, i int) (int, error) {
	i = skipSpaces(b, i)
	switch {
	case i == len(b) || b[i] == '\r' && i+1 == len(b):
		return 0, errShort
	case b[i] == '\n':
		return i + 1, nil
	case b[i] == '\r' && b[i+1] == '\n':
		return i + 2, nil
	}
	return 0, wrong(i, "%q where the line should end", b[i])
}

// field reads the field at i and says where it ends: at a comma, a space or the end of the line.
func (r *Reader) field(b []byte, i int, f *Field) (int, error) {
	from := i
	for ; i < len(b) && class[b[i]]&endsKey == 0; i++ {
		if b[i] == '\\' && i+1 < len(b) && escapable(b[i+1], endsKey) {
			i++
		}
	}
	switch {
	case i >= len(b):
		return 0, errShort
	case i == from:
		return 0, wrong(i, "%q where a field should begin", b[i])
	case b[i] != '=':
		return 0, wrong(i, "field %.40q has no value: = must follow", b[from:i])
	case i+1 == len(b):
		return 0, errShort
	}
	f.Key = b[from:i]
	i++
	if b[i] == '"' {
		return r.fieldText(b, i+1, f)
	}
	from = i
	for i < len(b) && class[b[i]]&endsValue == 0 {
		i++
	}
	switch {
	case i == len(b):
		return 0, errShort
	case i == from:
		return 0, wrong(i, "field %.40q has no value", f.Key)
	}
	if reason := f.read(b[from:i]); reason != "" {
		return 0, wrong(from, "value %.40q of field %.40q %s", b[from:i], f.Key, reason)
	}
	return i, nil
}

// unescapedText is what stands behind a backslash in a text, and what that means; 0 where the backslash stands for itself.
var unescapedText = [256]byte{'"': '"', '\\': '\\', 'n': '\n', 'r': '\r', 't': '\t'}

// fieldText reads a text behind its opening quote.
func (r *Reader) fieldText(b []byte, i int, f *Field) (int, error) {
	from, start, escapes := i, len(r.text), false
	for ; i < len(b) && b[i] != '"'; i++ {
		if b[i] != '\\' || i+1 == len(b) {
			continue
		}
		if c := unescapedText[b[i+1]]; c != 0 {
			r.text = append(append(r.text, b[from:i]...), c)
			from, escapes = i+2, true
			i++
		}
	}
	if i+1 >= len(b) {
		return 0, errShort
	}
	f.Kind, f.Text = Text, b[from:i]
	if escapes {
		r.text = append(r.text, b[from:i]...)
		f.Text = r.text[start:len(r.text):len(r.text)]
	}
	if !utf8.Valid(f.Text) {
		return 0, wrong(i, "the text of field %.40q is not UTF-8", f.Key)
	}
	if i++; class[b[i]]&endsValue == 0 {
		return 0, wrong(i, "%q behind the text of field %.40q", b[i], f.Key)
	}
	return i, nil
}

// read reads a value that is no text, or says what is wrong with it.
func (f *Field) read(b []byte) (wrong string) {
	ok := false
	switch last := b[len(b)-1]; {
	case b[0] == 't' || b[0] == 'T' || b[0] == 'f' || b[0] == 'F':
		f.Kind = Bool
		if f.Bits, ok = parseBool(b); !ok {
			return "is no boolean: true or false"
		}
	case b[0] != '-' && b[0] != '.' && (b[0] < '0' || b[0] > '9'):
		return "is no value: numbers are 1, 1.5, 1i or 1u, text stands in quotes"
	case last == 'i':
		f.Kind = Int
		if f.Bits, ok = parseInt(b[:len(b)-1]); !ok {
			return fmt.Sprintf("is no integer from %d to %d", int64(math.MinInt64), int64(math.MaxInt64))
		}
	case last == 'u':
		f.Kind = Uint
		if f.Bits, ok = parseUint(b[:len(b)-1]); !ok {
			return fmt.Sprintf("is no integer from 0 to %d", uint64(math.MaxUint64))
		}
	default:
		f.Kind = Float
		if f.Bits, ok = parseFloat(b); !ok {
			return "is no number that a double has"
		}
	}
	return ""
}

// time reads the time at i.
func (r *Reader) time(b []byte, i int) (int64, int, error) {
	from := i
	for i < len(b) && (b[i] == '-' || b[i] >= '0' && b[i] <= '9') {
		i++
	}
	switch {
	case i == len(b):
		return 0, i, errShort
	case b[i] != ' ' && b[i] != '\r' && b[i] != '\n':
		return 0, i, wrong(i, "%q in a time", b[i])
	}
	bits, ok := parseInt(b[from:i])
	t := int64(bits)
	if ok && r.unit != 1 {
		ok = t <= math.MaxInt64/r.unit && t >= math.MinInt64/r.unit
		t *= r.unit
	}
	if !ok {
		return 0, i, wrong(from, "time %.40q is none that 64 bits of nanoseconds have", b[from:i])
	}
	return t, i, nil
}

// lineEnd finds the end of a line that something is wrong with. An end of line inside a text is none: what follows there must not be taken for a line.
type lineEnd struct {
	inFields, inText, escape bool
	last                     byte
}

// find is how many bytes of the line b has, and whether it ends there.
func (e *lineEnd) find(b []byte) (int, bool) {
	for i, c := range b {
		if e.escape {
			e.escape = false
			if e.inText && unescapedText[c] != 0 || !e.inText && escapable(c, endsKey) {
				e.last = 0
				continue
			}
		}
		switch {
		case c == '\\':
			e.escape = true
		case e.inText:
			e.inText = c != '"'
		case c == '\n':
			return i + 1, true
		case c == ' ':
			e.inFields = true
		case c == '"' && e.last == '=' && e.inFields:
			e.inText = true
		}
		e.last = c
	}
	return len(b), false
}
