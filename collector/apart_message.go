package collector

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/varvedb/varve/model"
)

// What a collector and the process of a source say to each other is messages, over the standard input and output of the process:
//
//	offset  size  field
//	0       4     bytes from 8 on, 1 to the most that the reader takes
//	4       4     CRC-32C of them: what something else writes in between must not become a value
//	8       1     kind
//	9             what the kind has
//
// Integers are little-endian; a text is its length, a varint, and its bytes. Messages of one process and one collector, which are the same program:
// nothing of it is kept.

// messageKind says what a message is.
type messageKind uint8

const (
	// To the process.
	msgStart  messageKind = iota + 1 // an order
	msgStop                          // the source is to end
	msgAnswer                        // to a call: its number, and a text that says what was wrong; empty for nothing

	// Of the process. Calls have a number, by which they are answered; it is free again then.
	msgPut    // number, count of readings, readings
	msgFlush  // number
	msgDown   // number, at, 0, reason, addresses
	msgUp     // number, at, 0, "", addresses
	msgLost   // number, from, to, reason, addresses
	msgCancel // number of a call whose context has ended

	msgCount    // counter, n
	msgDescribe // offer
	msgLog      // level, message, count of pairs, key and value of each
	msgFound    // a reading of a check
	msgOffer    // an offer of a browse
	msgEnded    // 1 if it is that the context ended, else 0; a text that says what was wrong. The last message
)

const (
	messageHead = 8
	// maxMessage is as long as a message of a process may be: what decodes bytes of a device is not trusted.
	maxMessage = 4 << 20
	// maxOrder is as long as a message to a process may be: the settings and addresses of one source.
	maxOrder = 1 << 30
	// fullMessage is how long messages get that could be longer or shorter.
	fullMessage = 256 << 10
	// maxPutReadings is how many readings a message may have.
	maxPutReadings = 8192
	// maxItem is as long as the texts of one reading, or one address, may be; well above what a tag takes.
	maxItem = 3 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var le = binary.LittleEndian

// messageWriter writes messages, from any goroutine.
type messageWriter struct {
	w    io.Writer
	most int

	mu  sync.Mutex
	buf []byte
}

// send writes a message; body appends what the kind has, and is nil where that is nothing.
func (m *messageWriter) send(kind messageKind, body func([]byte) []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := append(m.buf[:0], 0, 0, 0, 0, 0, 0, 0, 0, byte(kind))
	if body != nil {
		b = body(b)
	}
	if m.buf = b; cap(b) > 2*fullMessage {
		m.buf = nil
	}
	n := len(b) - messageHead
	if n > m.most {
		return fmt.Errorf("a message of %d bytes, most is %d", n, m.most)
	}
	le.PutUint32(b, uint32(n))
	le.PutUint32(b[4:], crc32.Checksum(b[messageHead:], castagnoli))
	_, err := m.w.Write(b)
	return err
}

// messageReader reads messages.
type messageReader struct {
	r    *bufio.Reader
	most int
	buf  []byte
}

// next reads a message, which holds until it is called again. io.EOF is the end between two messages.
func (m *messageReader) next() (messageKind, cursor, error) {
	var head [messageHead]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		return 0, cursor{}, err
	}
	n := int64(le.Uint32(head[:]))
	if n < 1 || n > int64(m.most) {
		return 0, cursor{}, fmt.Errorf("a message of %d bytes, which must be 1 to %d", n, m.most)
	}
	if int64(cap(m.buf)) < n {
		m.buf = make([]byte, n)
	}
	b := m.buf[:n]
	if _, err := io.ReadFull(m.r, b); err != nil {
		return 0, cursor{}, err
	}
	if want, got := le.Uint32(head[4:]), crc32.Checksum(b, castagnoli); got != want {
		return 0, cursor{}, fmt.Errorf("a message of %d bytes with checksum %08x, not %08x", n, got, want)
	}
	return messageKind(b[0]), cursor{b: b[1:]}, nil
}

// cursor reads what a message has. What is not there reads as zero; err says so then.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
	c.b = nil
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail("a message ends %d bytes early", n-uint64(len(c.b)))
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) uint8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (c *cursor) int64() int64 { return int64(c.uint64()) }

// text is a text, which holds as long as the message does.
func (c *cursor) text() []byte {
	n, size := binary.Uvarint(c.b)
	if size <= 0 {
		c.fail("a message ends within a length")
		return nil
	}
	c.b = c.b[size:]
	return c.take(n)
}

func (c *cursor) string() string { return string(c.text()) }

// count is how many things follow, of which each has at least so many bytes.
func (c *cursor) count(least int) int {
	n := uint64(c.uint32())
	if n*uint64(least) > uint64(len(c.b)) {
		c.fail("a message of %d bytes says that it has %d things", len(c.b), n)
		return 0
	}
	return int(n)
}

func (c *cursor) strings() (out []string) {
	for range c.count(1) {
		out = append(out, c.string())
	}
	return out
}

// end is the error of the message, which must have been read whole.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail("a message has %d bytes more than it should", len(c.b))
	}
	return c.err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, all []string) []byte {
	b = le.AppendUint32(b, uint32(len(all)))
	for _, s := range all {
		b = appendText(b, s)
	}
	return b
}

// Bits of a reading's first byte.
const (
	readingHasTime = 1 << iota
	readingHistorical
)

// leastReading is as short as a reading may be: flags, type, quality, time, an empty text of a value and one of an address.
const leastReading = 1 + 1 + 4 + 8 + 1 + 1

func appendReading(b []byte, r *Reading) []byte {
	var flags byte
	if r.HasTime {
		flags |= readingHasTime
	}
	if r.Historical {
		flags |= readingHistorical
	}
	b = append(b, flags, byte(r.Value.Type))
	b = le.AppendUint32(b, uint32(r.Quality))
	b = le.AppendUint64(b, uint64(r.Time))
	if r.Value.Type.Blob() {
		b = appendText(b, r.Value.Text)
	} else {
		b = le.AppendUint64(b, r.Value.Bits)
	}
	return appendText(b, r.Address)
}

// reading reads one reading. Its value is of a type that a source may have, with no more bits than that has.
func (c *cursor) reading(r *Reading, names *interner) {
	flags, t := c.uint8(), model.Type(c.uint8())
	r.HasTime, r.Historical = flags&readingHasTime != 0, flags&readingHistorical != 0
	r.Quality = model.Quality(c.uint32())
	r.Time = c.int64()
	r.Value = Value{Type: t}
	if t.Blob() {
		r.Value.Text = c.string()
	} else {
		r.Value.Bits = c.uint64()
	}
	r.Address = names.of(c.text())
	switch bits := r.Value.Bits; {
	case flags&^(readingHasTime|readingHistorical) != 0:
		c.fail("a reading of %.100q has flags %#x", r.Address, flags)
	case t != 0 && !t.Valid() || t == model.State:
		c.fail("a reading of %.100q has a value of type %d", r.Address, t)
	case t == model.Bool && bits > 1, t == model.Float32 && bits > math.MaxUint32:
		c.fail("a reading of %.100q, of type %d, has a value of %#x", r.Address, t, bits)
	}
}

// readings reads what a put has, into memory that may be used again.
func (c *cursor) readings(into []Reading, names *interner) []Reading {
	n := c.count(leastReading)
	if n > maxPutReadings {
		c.fail("a message has %d readings, most is %d", n, maxPutReadings)
	}
	for i := 0; i < n && c.err == nil; i++ {
		into = append(into, Reading{})
		c.reading(&into[i], names)
	}
	return into
}

// interner keeps the addresses of a source, so that a reading of one that was there before allocates nothing.
type interner struct {
	known map[string]string
	bytes int
}

// maxInterned bounds what an interner keeps; then it begins anew.
const maxInterned = 64 << 20

func (i *interner) of(b []byte) string {
	if s, ok := i.known[string(b)]; ok {
		return s
	}
	const each = 64 // besides the text
	if i.bytes += len(b) + each; i.known == nil || i.bytes > maxInterned {
		i.known, i.bytes = map[string]string{}, len(b)+each
	}
	s := string(b)
	i.known[s] = s
	return s
}

func appendOffer(b []byte, o *Offer) []byte {
	b = append(b, byte(o.Type))
	for _, s := range []string{o.Address, o.Name, o.Unit, o.Description} {
		b = appendText(b, s)
	}
	b = le.AppendUint32(b, uint32(len(o.States)))
	for code, text := range o.States {
		b = appendText(le.AppendUint64(b, uint64(code)), text)
	}
	return b
}

func (c *cursor) offer() (o Offer) {
	if o.Type = model.Type(c.uint8()); o.Type != 0 && !o.Type.Valid() {
		c.fail("an offer is of type %d", o.Type)
	}
	o.Address, o.Name, o.Unit, o.Description = c.string(), c.string(), c.string(), c.string()
	for range c.count(9) {
		if o.States == nil {
			o.States = map[int64]string{}
		}
		code := c.int64()
		o.States[code] = c.string()
	}
	return o
}

// order is what a process is told to do.
type order struct {
	task      task
	at        string // of a browse
	kind      string
	name      string
	dir       string
	level     int64  // of what is logged, the least
	settings  string // YAML
	addresses []string
	patterns  []Pattern
	secrets   []string // what refers to it and the secret itself, in turn
}

// task is what a source is to do.
type task uint8

const (
	taskRun task = iota + 1
	taskCheck
	taskBrowse
)

// orderVersion is raised when a message changes: the program may have been replaced on disk since the collector started.
const orderVersion = 2

func (o *order) append(b []byte) []byte {
	b = append(b, orderVersion, byte(o.task))
	b = le.AppendUint64(b, uint64(o.level))
	for _, s := range []string{o.at, o.kind, o.name, o.dir, o.settings} {
		b = appendText(b, s)
	}
	var patterns []string
	for _, p := range o.patterns {
		kind := "+"
		if p.Skip {
			kind = "-"
		}
		patterns = append(patterns, kind+p.Regexp)
	}
	return appendTexts(appendTexts(appendTexts(b, o.addresses), patterns), o.secrets)
}

func (c *cursor) order() (o order) {
	if v := c.uint8(); v != orderVersion {
		c.fail("the collector is of another version than the program on disk (%d, not %d); restart it", v, orderVersion)
	}
	o.task, o.level = task(c.uint8()), c.int64()
	o.at, o.kind, o.name, o.dir, o.settings = c.string(), c.string(), c.string(), c.string(), c.string()
	o.addresses = c.strings()
	for _, p := range c.strings() {
		if p == "" {
			c.fail("a pattern is empty")
			break
		}
		o.patterns = append(o.patterns, Pattern{Regexp: p[1:], Skip: p[0] == '-'})
	}
	o.secrets = c.strings()
	return o
}
