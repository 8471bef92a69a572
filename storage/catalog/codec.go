package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/varvedb/varve/model"
)

// What records and rows are made of: little-endian fixed numbers, varints, and texts with their length in front. Every
// value has one form only, and readers refuse the others.

var errShort = errors.New("ends too early")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

func appendTime(b []byte, t int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(t)) }

// appendFilter writes one zero byte for the zero filter, else a one and its numbers.
func appendFilter(b []byte, f model.Filter) []byte {
	if f == (model.Filter{}) {
		return append(b, 0)
	}
	b = appendFloat(append(b, 1), f.Deviation)
	b = binary.AppendVarint(b, int64(f.MinTime))
	return binary.AppendVarint(b, int64(f.MaxTime))
}

func appendAttributes(b []byte, m map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	for _, k := range sortedKeys(m) {
		b = appendText(appendText(b, k), m[k])
	}
	return b
}

func appendSettings(b []byte, s *model.Settings) []byte {
	b = append(appendTime(b, s.From), byte(s.Type), flag(s.Stepped))
	b = appendText(b, s.Unit)
	b = binary.AppendVarint(b, int64(s.MaxGap))
	return appendText(b, s.StateSet)
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// appendTag writes what record and row of a tag have in common.
func appendTag(b []byte, t *model.Tag) []byte {
	b = append(b, t.UUID[:]...)
	b = appendText(appendText(b, t.Name), t.Description)
	b = appendFloat(appendFloat(b, t.SpanLow), t.SpanHigh)
	b = appendFilter(appendFilter(b, t.Exception), t.Compression)
	b = appendText(b, t.Retention)
	b = appendAttributes(b, t.Attributes)
	b = binary.AppendUvarint(b, uint64(len(t.Settings)))
	for i := range t.Settings {
		b = appendSettings(b, &t.Settings[i])
	}
	return b
}

func appendStates(b []byte, states []model.DigitalState) []byte {
	b = binary.AppendUvarint(b, uint64(len(states)))
	for _, s := range states {
		b = appendText(binary.AppendVarint(b, s.Code), s.Text)
	}
	return b
}

// reader takes values off the front of b. After the first error it yields zeros; err says what it was.
type reader struct {
	b   []byte
	err error
	in  *interner // keeps one copy of common texts and settings; may be nil
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail(fmt.Errorf("%d bytes wanted, %d left: %w", n, len(r.b), errShort))
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) fixed64() uint64 {
	if v := r.bytes(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail(errors.New("varint is cut off, too long or padded"))
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count is a number of items that take at least size bytes each, so that no count makes the caller allocate more than
// the input is long.
func (r *reader) count(size, most int) int {
	n := r.uvarint()
	if n > uint64(most) || n > uint64(len(r.b)/size) {
		r.fail(fmt.Errorf("%d items in %d bytes, most is %d: %w", n, len(r.b), most, errShort))
		return 0
	}
	return int(n)
}

func (r *reader) textBytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail(fmt.Errorf("text of %d bytes, %d left: %w", n, len(r.b), errShort))
		return nil
	}
	return r.bytes(int(n))
}

func (r *reader) text() string { return string(r.textBytes()) }

// commonText is a text that many tags share.
func (r *reader) commonText() string {
	b := r.textBytes()
	if r.in == nil || len(b) == 0 {
		return string(b)
	}
	if kept, ok := r.in.texts[string(b)]; ok {
		return kept
	}
	return r.in.text(string(b))
}

func (r *reader) flag() bool {
	v := r.byte()
	if v > 1 {
		r.fail(fmt.Errorf("flag is %d", v))
	}
	return v == 1
}

func (r *reader) float() float64 { return math.Float64frombits(r.fixed64()) }

func (r *reader) time() int64 { return int64(r.fixed64()) }

func (r *reader) filter() (f model.Filter) {
	if !r.flag() {
		return f
	}
	f = model.Filter{Deviation: r.float(), MinTime: time.Duration(r.varint()), MaxTime: time.Duration(r.varint())}
	if f == (model.Filter{}) {
		r.fail(errors.New("zero filter written out"))
	}
	return f
}

func (r *reader) attributes(most int) map[string]string {
	n := r.count(2, most)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	before := ""
	for i := range n {
		k := r.commonText()
		if i > 0 && k <= before {
			r.fail(fmt.Errorf("attribute %.40q follows %.40q", k, before))
		}
		before = k
		m[k] = r.text()
		if r.err != nil {
			return nil
		}
	}
	return m
}

func (r *reader) settings() model.Settings {
	return model.Settings{From: r.time(), Type: model.Type(r.byte()), Stepped: r.flag(), Unit: r.commonText(),
		MaxGap: time.Duration(r.varint()), StateSet: r.commonText()}
}

const leastSettingsBytes = 8 + 1 + 1 + 1 + 1 + 1

func (r *reader) tag(t *model.Tag) {
	copy(t.UUID[:], r.bytes(len(t.UUID)))
	t.Name, t.Description = r.text(), r.text()
	t.SpanLow, t.SpanHigh = r.float(), r.float()
	t.Exception, t.Compression = r.filter(), r.filter()
	t.Retention = r.commonText()
	t.Attributes = r.attributes(model.MaxAttributes)
	n := r.count(leastSettingsBytes, MaxSettings)
	switch {
	case n == 1 && r.in != nil:
		s := r.settings()
		if kept, ok := r.in.single[s]; ok {
			t.Settings = kept
		} else {
			t.Settings = r.in.settings([]model.Settings{s})
		}
	case n > 0:
		t.Settings = make([]model.Settings, n)
		for i := range t.Settings {
			t.Settings[i] = r.settings()
		}
	}
}

func (r *reader) states() []model.DigitalState {
	n := r.count(2, MaxStates)
	if n == 0 {
		return nil
	}
	states := make([]model.DigitalState, n)
	for i := range states {
		states[i] = model.DigitalState{Code: r.varint(), Text: r.text()}
	}
	return states
}

// end is the error met, or that bytes are left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%d bytes left over", len(r.b))
	}
	return r.err
}
