package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/server/lineprotocol"
)

// Line is how line protocol of InfluxDB is read.
type Line struct {
	Unit string `yaml:"unit"` // of times: ns (the default), us, ms or s
}

var lineUnits = map[string]time.Duration{"": 1, "ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second}

func (l Line) check() error {
	if lineUnits[l.Unit] == 0 {
		return fmt.Errorf("unit %.40q: must be ns, us, ms or s", l.Unit)
	}
	return nil
}

// lineRows reads lines of line protocol.
type lineRows struct {
	unit    int64
	maxLine int
	prefix  string
	in      bytes.Reader
	reader  *lineprotocol.Reader
	newest  int64
}

func newLineRows(s *Settings, file string, last int64) *lineRows {
	base, _, _ := strings.Cut(path.Base(strings.ReplaceAll(file, `\`, "/")), ".")
	r := &lineRows{unit: int64(lineUnits[s.Line.Unit]), maxLine: int(s.MaxLine), prefix: strings.ReplaceAll(s.Prefix, "{file}", base), newest: last}
	r.reader = lineprotocol.NewReader(&r.in, r.unit, r.maxLine)
	return r
}

func (r *lineRows) last() int64 { return r.newest }

func (r *lineRows) read(line []byte, each func(collector.Reading), fault func(error)) (int, error) {
	r.in.Reset(line)
	r.reader.Reset(&r.in, r.unit, r.maxLine)
	if err := r.reader.Next(); err != nil {
		if bad := (*lineprotocol.Error)(nil); errors.As(err, &bad) {
			return 0, &lineError{bad.Reason}
		}
		if errors.Is(err, io.EOF) { // blank, or a comment
			return 0, nil
		}
		return 0, err
	}
	l := &r.reader.Line
	series, err := lineprotocol.Split(l.Series)
	if err != nil {
		return 0, &lineError{err.Error()}
	}
	for i := range l.Fields {
		f := &l.Fields[i]
		key, err := lineprotocol.Unescape(f.Key)
		if err != nil {
			fault(&lineError{err.Error()})
			continue
		}
		each(collector.Reading{Address: r.prefix + lineAddress(series, key), Time: l.Time, HasTime: l.HasTime, Value: lineValue(f)})
	}
	if l.HasTime {
		r.newest = l.Time
	}
	return 1, nil
}

func lineValue(f *lineprotocol.Field) collector.Value {
	switch f.Kind {
	case lineprotocol.Float:
		return collector.Value{Type: model.Float64, Bits: f.Bits}
	case lineprotocol.Int:
		return collector.Value{Type: model.Int64, Bits: f.Bits}
	case lineprotocol.Uint:
		return collector.Value{Type: model.Uint64, Bits: f.Bits}
	case lineprotocol.Bool:
		return collector.Value{Type: model.Bool, Bits: f.Bits}
	}
	return collector.String(string(f.Text))
}

// What could be taken for the end of its part has a backslash before it, so that two series never have one address. The server's doors for agents name
// tags in the same way, so that a file and an agent that writes the same come to the same tags.
var (
	escapeMeasurement = strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	escapeField       = strings.NewReplacer(`\`, `\\`, `{`, `\{`)
	escapeKey         = strings.NewReplacer(`\`, `\\`, `=`, `\=`)
	escapeValue       = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `}`, `\}`)
)

// lineAddress is measurement.field{key=value,…}, with the keys in order.
func lineAddress(s lineprotocol.Series, field string) string {
	var b strings.Builder
	b.WriteString(escapeMeasurement.Replace(s.Measurement) + "." + escapeField.Replace(field))
	for i, t := range s.Tags {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(escapeKey.Replace(t.Key) + "=" + escapeValue.Replace(t.Value))
	}
	if len(s.Tags) > 0 {
		b.WriteByte('}')
	}
	return b.String()
}
