package opcua

import (
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

// Status codes of values that the source itself cannot take.
var (
	badDataTypeUnknown = model.Quality(ua.StatusBadDataTypeIDUnknown) // a structure
	badTypeMismatch    = model.Quality(ua.StatusBadTypeMismatch)      // an array, and no element was asked for
	badIndexNoData     = model.Quality(ua.StatusBadIndexRangeNoData)  // an element that the array does not have
)

// overflowBits say that values before this one were lost in the server's queue (Part 4, 7.39.1: a data value's info bits, and among them Overflow).
const overflowBits = 0x0480

// outOfRange are times that the decoder cannot tell: the two that servers use for "never" wrap around as it makes nanoseconds of them.
var outOfRange = [...]int64{wrapped(math.MaxInt64), wrapped(2650467743990000000)}

// wrapped is what the decoder makes of a time of 100 ns since 1601.
func wrapped(ticks uint64) int64 { return int64((ticks - 116444736000000000) * 100) }

// instant is nanoseconds of a time with its part of 10 ps; not ok for none.
func instant(t time.Time, picoseconds uint16) (ns int64, ok bool) {
	if t.IsZero() {
		return 0, false
	}
	ns = t.UnixNano()
	if ns == outOfRange[0] || ns == outOfRange[1] || ns < model.MinTime || ns > model.MaxTime {
		return 0, false
	}
	return ns + int64(min(picoseconds, 9999))/100, true
}

// reading is what a data value is for an address. sourced says that its time is the source's and not the server's.
func reading(address string, element []uint32, d *ua.DataValue) (r collector.Reading, sourced bool) {
	r = collector.Reading{Address: address, Quality: model.Quality(d.Status)}
	if r.Time, sourced = instant(d.SourceTimestamp, d.SourcePicoseconds); sourced {
		r.HasTime = true
	} else {
		r.Time, r.HasTime = instant(d.ServerTimestamp, d.ServerPicoseconds)
	}
	if d.Value == nil || d.Value.Type() == ua.TypeIDNull {
		return r, sourced
	}
	v, problem := scalar(d.Value, element)
	if problem != 0 && !r.Quality.IsBad() {
		r.Quality = problem
	}
	r.Value = v
	return r, sourced
}

// scalar is one value: the variant itself, or an element of its array. The problem is 0 where there is none.
func scalar(v *ua.Variant, element []uint32) (collector.Value, model.Quality) {
	if !v.Has(ua.VariantArrayValues) {
		if element != nil {
			return collector.Value{}, badIndexNoData
		}
		return builtin(v.Value())
	}
	if element == nil {
		if b, ok := v.Value().(ua.ByteArray); ok {
			return collector.Bytes(string(b)), 0
		}
		return collector.Value{}, badTypeMismatch
	}
	x := reflect.ValueOf(v.Value())
	for _, i := range element {
		if x.Kind() != reflect.Slice || uint64(i) >= uint64(x.Len()) {
			return collector.Value{}, badIndexNoData
		}
		x = x.Index(int(i))
	}
	if x.Kind() == reflect.Slice && x.Type() != reflect.TypeFor[[]byte]() { // of fewer dimensions than the array has
		return collector.Value{}, badIndexNoData
	}
	return builtin(x.Interface())
}

// builtin is a value of one of the built-in types of Part 6, 5.1.2. What is no number is text: times as RFC 3339, ids and names as OPC UA writes
// them. A structure is no value.
func builtin(x any) (collector.Value, model.Quality) {
	switch x := x.(type) {
	case nil:
		return collector.Value{}, 0
	case bool:
		return collector.Bool(x), 0
	case int8:
		return collector.Int64(int64(x)), 0
	case uint8:
		return collector.Int64(int64(x)), 0
	case int16:
		return collector.Int64(int64(x)), 0
	case uint16:
		return collector.Int64(int64(x)), 0
	case int32: // enumerations too
		return collector.Int64(int64(x)), 0
	case uint32:
		return collector.Int64(int64(x)), 0
	case int64:
		return collector.Int64(x), 0
	case uint64:
		return collector.Uint64(x), 0
	case float32:
		return collector.Float32(x), 0
	case float64:
		if math.Float64bits(x) == math.Float64bits(math.NaN()) { // the decoder's own, for the one that Part 6, 5.2.2.3 says
			x = math.Float64frombits(0xFFF8000000000000)
		}
		return collector.Float64(x), 0
	case string:
		return collector.String(text(x)), 0
	case []byte:
		return collector.Bytes(string(x)), 0
	case ua.XMLElement:
		return collector.String(text(string(x))), 0
	case time.Time:
		ns, ok := instant(x, 0)
		if !ok {
			return collector.Value{}, 0
		}
		return collector.String(time.Unix(0, ns).UTC().Format(time.RFC3339Nano)), 0
	case ua.StatusCode:
		return collector.Int64(int64(x)), 0
	case *ua.Variant: // of an array of variants
		if x == nil || x.Type() == ua.TypeIDNull {
			return collector.Value{}, 0
		}
		if _, nested := x.Value().(*ua.Variant); nested || x.Has(ua.VariantArrayValues) {
			return collector.Value{}, badTypeMismatch
		}
		return builtin(x.Value())
	}
	return identity(x)
}

// identity is a value that identifies something, as text.
func identity(x any) (collector.Value, model.Quality) {
	switch x := x.(type) {
	case *ua.GUID:
		if len(x.Data4) == 8 {
			return collector.String(fmt.Sprintf("%08x-%04x-%04x-%s-%s", x.Data1, x.Data2, x.Data3, hex.EncodeToString(x.Data4[:2]), hex.EncodeToString(x.Data4[2:]))), 0
		}
	case *ua.NodeID:
		return collector.String(text(x.String())), 0
	case *ua.ExpandedNodeID:
		if x.NodeID != nil {
			return collector.String(text(x.NodeID.String())), 0
		}
	case *ua.QualifiedName:
		if x.NamespaceIndex == 0 {
			return collector.String(text(x.Name)), 0
		}
		return collector.String(strconv.Itoa(int(x.NamespaceIndex)) + ":" + text(x.Name)), 0
	case *ua.LocalizedText:
		return collector.String(text(x.Text)), 0
	}
	return collector.Value{}, badDataTypeUnknown
}

// text is UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "�") }
