package mqtt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

// path is a JSON pointer (RFC 6901), from the message or, relative, from an element of it.
type path struct {
	set      bool
	relative bool
	steps    []string
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

func parsePath(s string) (path, error) {
	p := path{set: s != ""}
	rest := s
	if strings.HasPrefix(rest, ".") {
		p.relative, rest = true, rest[1:]
	}
	switch {
	case rest == "" || rest == "/" && !p.relative: // the whole of it; a pointer to the key "" is not needed
		return p, nil
	case rest[0] != '/':
		return p, fmt.Errorf("path %q: must begin with / (from the message) or ./ (from an element)", s)
	}
	for step := range strings.SplitSeq(rest[1:], "/") {
		if i := strings.IndexByte(step, '~'); i >= 0 && (i+1 == len(step) || step[i+1] != '0' && step[i+1] != '1') {
			return p, fmt.Errorf("path %q: behind ~ stands 0 (for ~) or 1 (for /)", s)
		}
		p.steps = append(p.steps, unescape.Replace(step))
	}
	return p, nil
}

// find is what stands at a path; false where nothing does.
func (p *path) find(message, element any) (any, bool) {
	at := message
	if p.relative {
		at = element
	}
	for _, step := range p.steps {
		switch x := at.(type) {
		case map[string]any:
			v, ok := x[step]
			if !ok {
				return nil, false
			}
			at = v
		case []any:
			i, err := strconv.ParseUint(step, 10, 31)
			if err != nil || i >= uint64(len(x)) {
				return nil, false
			}
			at = x[i]
		default:
			return nil, false
		}
	}
	return at, true
}

// decode reads a message; numbers stay as they are written.
func decode(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("json: something stands behind the value")
	}
	return v, nil
}

// value is a JSON value as one of a type; 0 for the type that it has. Nothing is rounded but decimal fractions.
func value(v any, t model.Type) (collector.Value, error) {
	switch x := v.(type) {
	case nil:
		return collector.Value{}, nil
	case bool:
		switch t {
		case 0, model.Bool:
			return collector.Bool(x), nil
		case model.String:
			return collector.String(strconv.FormatBool(x)), nil
		case model.Int64, model.Uint64, model.Float32, model.Float64:
			return number(map[bool]string{false: "0", true: "1"}[x], t)
		}
	case json.Number:
		switch t {
		case model.String:
			return collector.String(x.String()), nil
		case 0:
			t = model.Float64
		}
		return number(x.String(), t)
	case string:
		switch t {
		case 0, model.String:
			return collector.String(x), nil
		}
		return number(strings.TrimSpace(x), t)
	default:
		if t == model.String {
			b, err := json.Marshal(v)
			return collector.String(string(b)), err
		}
	}
	return collector.Value{}, fmt.Errorf("%s is no %s", kindOf(v), t)
}

func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case bool:
		return "a boolean"
	}
	return fmt.Sprintf("%.40v", v)
}

// number is the text of a number, or of a boolean, as a value of a type.
func number(s string, t model.Type) (collector.Value, error) {
	wrong := func() (collector.Value, error) { return collector.Value{}, fmt.Errorf("%.40q is no %s", s, t) }
	switch t {
	case model.Bool:
		switch strings.ToLower(s) {
		case "1", "true", "on":
			return collector.Bool(true), nil
		case "0", "false", "off":
			return collector.Bool(false), nil
		}
	case model.Int64:
		if i, err := strconv.ParseInt(whole(s), 10, 64); err == nil {
			return collector.Int64(i), nil
		}
	case model.Uint64:
		if u, err := strconv.ParseUint(whole(s), 10, 64); err == nil {
			return collector.Uint64(u), nil
		}
	case model.Float32, model.Float64:
		bits := 64
		if t == model.Float32 {
			bits = 32
		}
		f, err := strconv.ParseFloat(s, bits)
		if err != nil || strings.ContainsAny(s, "xX_") {
			return wrong()
		}
		if i, err := strconv.ParseInt(s, 10, 64); err == nil && !exact(i, f) {
			return collector.Value{}, fmt.Errorf("%s is no exact %s: give int64 as its type", s, t)
		} else if u, err := strconv.ParseUint(s, 10, 64); err == nil && u > math.MaxInt64 && new(big.Float).SetFloat64(f).Cmp(new(big.Float).SetUint64(u)) != 0 {
			return collector.Value{}, fmt.Errorf("%s is no exact %s: give uint64 as its type", s, t)
		}
		if t == model.Float32 {
			return collector.Float32(float32(f)), nil
		}
		return collector.Float64(f), nil
	}
	return wrong()
}

func exact(i int64, f float64) bool { return f < 1<<63 && int64(f) == i }

// whole is a number without a fraction of zeros: 5.0 is an integer.
func whole(s string) string {
	if a, b, ok := strings.Cut(s, "."); ok && b != "" && strings.Trim(b, "0") == "" {
		return a
	}
	return s
}

// timeUnit is the unit of a format of numbers since 1970 UTC; 0 for rfc3339, and for none.
func timeUnit(format string) (time.Duration, error) {
	switch strings.ToLower(format) {
	case "", "rfc3339":
		return 0, nil
	case "unix":
		return time.Second, nil
	case "unix_ms":
		return time.Millisecond, nil
	case "unix_us":
		return time.Microsecond, nil
	case "unix_ns":
		return time.Nanosecond, nil
	}
	return 0, fmt.Errorf("%q: must be rfc3339, unix, unix_ms, unix_us or unix_ns", format)
}

// instant is a time of a message in nanoseconds since 1970 UTC.
func instant(v any, unit time.Duration) (int64, error) {
	var s string
	switch x := v.(type) {
	case json.Number:
		s = x.String()
		if unit == 0 {
			return 0, fmt.Errorf("time %s: a number needs a time_format such as unix_ms", s)
		}
	case string:
		s = strings.TrimSpace(x)
	default:
		return 0, fmt.Errorf("time: %s is none", kindOf(v))
	}
	if unit == 0 {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return 0, fmt.Errorf("time %.60q: must be like 2026-11-26T08:00:00.5Z", s)
		}
		if y := t.Year(); y < 1678 || y > 2261 {
			return 0, fmt.Errorf("time %.60q: must be in the years 1678 to 2261", s)
		}
		return t.UnixNano(), nil
	}
	return sinceEpoch(s, unit)
}

// sinceEpoch reads a decimal number of units, exactly; what is finer than a nanosecond is cut off.
func sinceEpoch(s string, unit time.Duration) (int64, error) {
	bad := fmt.Errorf("time %.60q: must be a number such as 1700000000.25, of the years 1678 to 2261", s)
	digits, negative := strings.CutPrefix(s, "-")
	a, b, _ := strings.Cut(digits, ".")
	if len(a) == 0 || len(a) > 19 || strings.Trim(a+b, "0123456789") != "" {
		return 0, bad
	}
	u, err := strconv.ParseUint(a, 10, 64)
	if err != nil || u > math.MaxInt64/uint64(unit) {
		return 0, bad
	}
	ns := int64(u) * int64(unit)
	for scale, i := int64(unit)/10, 0; scale > 0 && i < len(b); scale, i = scale/10, i+1 {
		add := scale * int64(b[i]-'0')
		if ns > math.MaxInt64-add {
			return 0, bad
		}
		ns += add
	}
	if negative {
		ns = -ns
	}
	return ns, nil
}
