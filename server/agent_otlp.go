package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/lineprotocol"
)

// Metrics of OpenTelemetry over gRPC, and over HTTP in protobuf and in JSON. Protobuf is decoded from its bytes, a data point at a time; JSON, which few send, becomes
// objects first, of which a body may have so many.

const (
	// maxOTLPObjects is the most objects of a body in JSON.
	maxOTLPObjects = 100_000
	// maxAttributeDepth is how deep lists and maps of an attribute may lie in each other.
	maxAttributeDepth = 8
	// otlpSource is whose samples a gap misses that a point without a value makes.
	otlpSource = "otlp"
	// noRecordedValue is the flag of such a point.
	noRecordedValue = 1
)

// postOTLP stores the data points of a message.
func (s *Server) postOTLP(ctx context.Context, out *reply, r *http.Request) error {
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	inJSON := typ == "application/json"
	if out.refuse = refuseOTLP; inJSON {
		out.refuse = refuseOTLPJSON
	}
	if err != nil || typ != "application/x-protobuf" && !inJSON {
		return &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content type %.100q: must be application/x-protobuf or application/json: %w", r.Header.Get("Content-Type"), errBadField)}
	}
	encoding := r.Header.Get("Content-Encoding")
	if encoding != "" && encoding != "identity" && encoding != "gzip" {
		return &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.40q: must be gzip or none: %w", encoding, errBadField)}
	}
	body, release, err := s.messageBody(ctx, out, r, encoding)
	if err != nil {
		return err
	}
	defer release()
	answer, err := s.takeOTLP(ctx, body, inJSON)
	if err != nil {
		return err
	}
	out.header.Set("Content-Type", typ)
	_, err = out.Write(answer)
	return err
}

// takeOTLP stores the data points of a message, and answers with an ExportMetricsServiceResponse.
func (s *Server) takeOTLP(ctx context.Context, body []byte, inJSON bool) (answer []byte, err error) {
	_, err = s.serveAgent(ctx, s.agents.namesOf(doorOpenTelemetry, callerOf(ctx).name, ""), "point", func(a *agentRows) error {
		a.gapSource = otlpSource
		m := otlp{agentRows: a, ctx: ctx, now: s.options.Now().UnixNano()}
		if inJSON {
			return m.takeJSON(body)
		}
		return m.takeMessage(body)
	})
	partial, isPartial := errors.AsType[*partialWrite](err)
	if err != nil && !isPartial {
		return nil, err
	}
	return exportResponse(partial, inJSON), nil
}

// otlpService is the MetricsService of OpenTelemetry, on the gRPC listener.
const otlpService = "opentelemetry.proto.collector.metrics.v1.MetricsService"

func (s *Server) otlpDesc() *grpc.ServiceDesc {
	export := func(ctx context.Context, body []byte) (*message.Encoded, error) {
		answer, err := s.takeOTLP(ctx, body, false)
		if err != nil { // exporters send again after UNAVAILABLE, and drop what is INVALID_ARGUMENT
			code, _, message := httpStatus(err)
			return nil, status.Error(rpcCode(code), message)
		}
		return &message.Encoded{Buffers: mem.BufferSlice{mem.SliceBuffer(answer)}}, nil
	}
	return &grpc.ServiceDesc{ServiceName: otlpService, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{ofBytes(otlpService, "Export", export)}}
}

// exportResponse is an ExportMetricsServiceResponse; partial is nil where everything is stored.
func exportResponse(partial *partialWrite, inJSON bool) []byte {
	switch {
	case inJSON && partial == nil:
		return []byte("{}\n")
	case inJSON:
		b, _ := json.Marshal(map[string]any{"partialSuccess": map[string]string{ // strings always encode; int64 is one in JSON
			"rejectedDataPoints": strconv.FormatUint(partial.dropped, 10), "errorMessage": partial.text,
		}})
		return append(b, '\n')
	case partial == nil:
		return nil
	}
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), partial.dropped)
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), strings.ToValidUTF8(partial.text, "\uFFFD"))
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
}

// refuseOTLP is an error as a google.rpc.Status.
func refuseOTLP(h http.Header, status int, message string) []byte {
	h.Set("Content-Type", "application/x-protobuf")
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(rpcCode(status)))
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), strings.ToValidUTF8(message, "\uFFFD"))
}

func refuseOTLPJSON(_ http.Header, status int, message string) []byte {
	b, _ := json.Marshal(map[string]any{"code": rpcCode(status), "message": message}) // always encodes
	return append(b, '\n')
}

// rpcCode is the code of gRPC for an HTTP status.
func rpcCode(status int) codes.Code {
	switch status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusInternalServerError:
		return codes.Internal
	}
	return codes.InvalidArgument
}

// messageBody is a body read whole, and unpacked if it is gzip, whose memory is held until release.
func (s *Server) messageBody(ctx context.Context, out *reply, r *http.Request, encoding string) ([]byte, func(), error) {
	packed, release, err := s.wholeBody(ctx, out, r)
	if err != nil || encoding != "gzip" {
		return packed, release, err
	}
	defer release()
	most := int64(s.options.MaxMessageBytes)
	held, err := s.hold(ctx, most)
	if err != nil {
		return nil, nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(z, most+1))
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%w: gzip: %w", errBody, err)
	case int64(len(body)) > most:
		err = messageTooLarge(most)
	default:
		return body, held, nil
	}
	held()
	return nil, nil, err
}

// otlp is a message being taken.
type otlp struct {
	*agentRows
	ctx   context.Context
	now   int64
	point int // that is being taken, from 1

	resource, scope []label
	metric          string
	key             []byte // of a series
}

// otlpPoint is a data point, of whatever kind of metric.
type otlpPoint struct {
	labels   []label
	time     uint64
	flags    uint64
	kind     lineprotocol.Kind // of value; 0 where there is none
	value    uint64
	count    uint64
	sum      *float64
	min, max *float64
	counts   []uint64
	bounds   []float64
	quantile [][2]float64
}

// Kinds of metrics, by the field of Metric that has their data.
const (
	otlpGauge       = 5
	otlpSum         = 7
	otlpHistogram   = 9
	otlpExponential = 10
	otlpSummary     = 11
)

// fields calls f for each field of a message.
func fields(what string, b []byte, f func(*field) error) error {
	for x := (field{rest: b}); len(x.rest) > 0; {
		if err := x.next(x.rest); err != nil {
			return wireError(what, err)
		}
		if err := f(&x); err != nil {
			return err
		}
	}
	return nil
}

// messages calls f for each field of a message that has a number and is a message itself.
func messages(what string, b []byte, num protowire.Number, f func([]byte) error) error {
	return fields(what, b, func(x *field) error {
		if x.num != num || x.typ != protowire.BytesType {
			return nil
		}
		return f(x.data)
	})
}

func (m *otlp) takeMessage(body []byte) error {
	err := messages("ExportMetricsServiceRequest", body, 1, func(resource []byte) error {
		m.resource = nil
		if err := messages("ResourceMetrics", resource, 1, func(r []byte) error {
			return messages("Resource", r, 1, func(kv []byte) error { return addAttribute(&m.resource, "", kv) })
		}); err != nil {
			return err
		}
		return messages("ResourceMetrics", resource, 2, m.takeScope)
	})
	if err != nil {
		return err
	}
	return m.store(m.ctx)
}

func (m *otlp) takeScope(b []byte) error {
	m.scope = nil
	err := messages("ScopeMetrics", b, 1, func(scope []byte) error {
		return fields("InstrumentationScope", scope, func(x *field) error {
			switch {
			case x.typ != protowire.BytesType:
			case x.num == 1 && len(x.data) > 0:
				m.scope = append(m.scope, label{"otel.scope.name", string(x.data)})
			case x.num == 3:
				return addAttribute(&m.scope, "otel.scope.", x.data)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return messages("ScopeMetrics", b, 2, m.takeMetric)
}

func (m *otlp) takeMetric(b []byte) error {
	m.metric = ""
	if err := messages("Metric", b, 1, func(name []byte) error { m.metric = string(name); return nil }); err != nil {
		return err
	}
	return fields("Metric", b, func(x *field) error {
		if x.typ != protowire.BytesType || x.num < otlpGauge || x.num > otlpSummary {
			return nil
		}
		kind := x.num
		return messages("data of a metric", x.data, 1, func(point []byte) error {
			p := otlpPoint{}
			if err := p.read(kind, point); err != nil {
				return err
			}
			return m.take(kind, &p)
		})
	})
}

// read reads a data point. The kinds have most fields under the same numbers.
func (p *otlpPoint) read(kind protowire.Number, b []byte) error {
	attributes, flags := protowire.Number(7), protowire.Number(8)
	switch kind {
	case otlpHistogram:
		attributes, flags = 9, 10
	case otlpExponential:
		attributes, flags = 1, 10
	}
	number := kind == otlpGauge || kind == otlpSum
	return fields("data point", b, func(x *field) error {
		switch {
		case x.num == attributes && x.typ == protowire.BytesType:
			return addAttribute(&p.labels, "", x.data)
		case x.num == flags && x.typ == protowire.VarintType:
			p.flags = x.number
		case x.num == 3 && x.typ == protowire.Fixed64Type:
			p.time = x.number
		case number && x.num == 4 && x.typ == protowire.Fixed64Type:
			p.kind, p.value = lineprotocol.Float, x.number
		case number && x.num == 6 && x.typ == protowire.Fixed64Type:
			p.kind, p.value = lineprotocol.Int, x.number
		case number:
		case x.num == 4 && x.typ == protowire.Fixed64Type:
			p.count = x.number
		case x.num == 5 && x.typ == protowire.Fixed64Type:
			p.sum = doubleOf(x.number)
		case kind == otlpExponential && x.num == 12 && x.typ == protowire.Fixed64Type:
			p.min = doubleOf(x.number)
		case kind == otlpExponential && x.num == 13 && x.typ == protowire.Fixed64Type:
			p.max = doubleOf(x.number)
		case kind == otlpExponential: // its buckets move as it is filled, so that no tag could be one
		case kind == otlpSummary && x.num == 6 && x.typ == protowire.BytesType:
			var q [2]float64
			if err := fields("quantile", x.data, func(y *field) error {
				if (y.num == 1 || y.num == 2) && y.typ == protowire.Fixed64Type {
					q[y.num-1] = math.Float64frombits(y.number)
				}
				return nil
			}); err != nil {
				return err
			}
			p.quantile = append(p.quantile, q)
		case kind == otlpSummary:
		case x.num == 6:
			return fixed64s(x, func(v uint64) { p.counts = append(p.counts, v) })
		case x.num == 7:
			return fixed64s(x, func(v uint64) { p.bounds = append(p.bounds, math.Float64frombits(v)) })
		case x.num == 11 && x.typ == protowire.Fixed64Type:
			p.min = doubleOf(x.number)
		case x.num == 12 && x.typ == protowire.Fixed64Type:
			p.max = doubleOf(x.number)
		}
		return nil
	})
}

func doubleOf(bits uint64) *float64 { return new(math.Float64frombits(bits)) }

// fixed64s is the numbers of a field that may be packed.
func fixed64s(x *field, add func(uint64)) error {
	switch {
	case x.typ == protowire.Fixed64Type:
		add(x.number)
	case x.typ == protowire.BytesType && len(x.data)%8 == 0:
		for b := x.data; len(b) > 0; b = b[8:] {
			add(leUint64(b))
		}
	case x.typ == protowire.BytesType:
		return wireError("buckets", errWire)
	}
	return nil
}

// addAttribute adds a KeyValue to labels.
func addAttribute(to *[]label, prefix string, b []byte) error {
	var l label
	err := fields("KeyValue", b, func(x *field) (err error) {
		switch {
		case x.typ != protowire.BytesType:
		case x.num == 1:
			l.key = prefix + string(x.data)
		case x.num == 2:
			l.value, err = attributeText(x.data, 0)
		}
		return err
	})
	*to = append(*to, l)
	return err
}

// attributeText is an AnyValue as a name has it: texts, numbers and booleans as they are, bytes in base64, lists as [a,b], maps as {k:v}.
func attributeText(b []byte, depth int) (text string, err error) {
	if depth > maxAttributeDepth {
		return "", fmt.Errorf("an attribute of more than %d lists and maps in each other: %w", maxAttributeDepth, errWire)
	}
	err = fields("AnyValue", b, func(x *field) error {
		switch {
		case x.num == 1 && x.typ == protowire.BytesType:
			text = string(x.data)
		case x.num == 2 && x.typ == protowire.VarintType:
			text = strconv.FormatBool(x.number != 0)
		case x.num == 3 && x.typ == protowire.VarintType:
			text = strconv.FormatInt(int64(x.number), 10)
		case x.num == 4 && x.typ == protowire.Fixed64Type:
			text = formatDouble(math.Float64frombits(x.number))
		case x.num == 7 && x.typ == protowire.BytesType:
			text = base64.StdEncoding.EncodeToString(x.data)
		case x.num == 5 && x.typ == protowire.BytesType:
			var items []string
			err := messages("ArrayValue", x.data, 1, func(item []byte) error {
				t, err := attributeText(item, depth+1)
				items = append(items, t)
				return err
			})
			text = "[" + strings.Join(items, ",") + "]"
			return err
		case x.num == 6 && x.typ == protowire.BytesType:
			var items []string
			err := messages("KeyValueList", x.data, 1, func(kv []byte) error {
				key, value := "", ""
				err := fields("KeyValue", kv, func(y *field) (err error) {
					switch {
					case y.typ != protowire.BytesType:
					case y.num == 1:
						key = string(y.data)
					case y.num == 2:
						value, err = attributeText(y.data, depth+1)
					}
					return err
				})
				items = append(items, key+":"+value)
				return err
			})
			slices.Sort(items)
			text = "{" + strings.Join(items, ",") + "}"
			return err
		}
		return nil
	})
	return text, err
}

func formatDouble(f float64) string {
	if math.IsInf(f, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// take gathers the values of a data point.
func (m *otlp) take(kind protowire.Number, p *otlpPoint) error {
	m.point++
	at := int64(p.time)
	if p.time == 0 {
		at = m.now
		m.server.metrics.timeless.Inc()
	}
	switch {
	case m.metric == "":
		m.drop("a metric without a name", varvev1.RejectCode_REJECT_CODE_BAD_NAME)
		return nil
	case len(m.metric)+sizeOf(m.resource)+sizeOf(m.scope)+sizeOf(p.labels) > model.MaxNameBytes:
		m.drop(fmt.Sprintf("name and attributes make a name of more than %d bytes", model.MaxNameBytes), varvev1.RejectCode_REJECT_CODE_BAD_NAME)
		return nil
	case p.time > math.MaxInt64:
		m.drop(fmt.Sprintf("time %d ns is none that 64 bits with a sign have", p.time), varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW)
		return nil
	}
	labels := slices.Concat(m.resource, m.scope, p.labels)
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.key, b.key) })
	if p.flags&noRecordedValue != 0 {
		if kind == otlpGauge || kind == otlpSum {
			m.stale = append(m.stale, staleMark{m.tagOf("", labels), at, m.point})
		}
		return nil
	}
	value := func(part string, labels []label, kind lineprotocol.Kind, bits uint64) {
		m.add(m.tagOf(part, labels), at, kind, bits, nil, m.point)
	}
	double := func(part string, f *float64) {
		if f != nil {
			value(part, labels, lineprotocol.Float, math.Float64bits(*f))
		}
	}
	switch kind {
	case otlpGauge, otlpSum:
		if p.kind == 0 {
			m.drop("a data point without a value", varvev1.RejectCode_REJECT_CODE_MALFORMED)
			return nil
		}
		value("", labels, p.kind, p.value)
	case otlpHistogram, otlpExponential, otlpSummary:
		if n := len(p.counts); n > 0 && n != len(p.bounds)+1 {
			m.drop(fmt.Sprintf("%d buckets and %d bounds", n, len(p.bounds)), varvev1.RejectCode_REJECT_CODE_MALFORMED)
			return nil
		}
		value(":count", labels, lineprotocol.Uint, p.count)
		double(":sum", p.sum)
		double(":min", p.min)
		double(":max", p.max)
		total := uint64(0)
		for i, n := range p.counts {
			bound := math.Inf(1)
			if i < len(p.bounds) {
				bound = p.bounds[i]
			}
			total += n
			value(":bucket", withLabel(labels, "le", bound), lineprotocol.Uint, total)
		}
		for _, q := range p.quantile {
			value(":quantile", withLabel(labels, "quantile", q[0]), lineprotocol.Float, math.Float64bits(q[1]))
		}
	}
	if m.full() {
		return m.store(m.ctx)
	}
	return nil
}

// sizeOf is how long labels are at least in a name.
func sizeOf(labels []label) (n int) {
	for _, l := range labels {
		n += len(l.key) + len(l.value) + len(",=")
	}
	return n
}

// withLabel is labels and one more, in order.
func withLabel(labels []label, key string, value float64) []label {
	all := append(slices.Clone(labels), label{key, formatDouble(value)})
	slices.SortStableFunc(all, func(a, b label) int { return cmp.Compare(a.key, b.key) })
	return all
}

// tagOf is the tag of a part of the metric, and labels in order.
func (m *otlp) tagOf(part string, labels []label) *agentTag {
	m.key = binary.AppendUvarint(m.key[:0], uint64(len(m.metric)))
	m.key = append(append(m.key, m.metric...), part...)
	for _, l := range labels {
		for _, text := range []string{l.key, l.value} {
			m.key = append(binary.AppendUvarint(m.key, uint64(len(text))), text...)
		}
	}
	series := m.names.find(m.key, m.last)
	if series == nil {
		series = m.names.add(m.key, m.last, m.names.name(m.metric, part, labels))
	}
	m.last = series
	if tag := series.tag(nil, nil); tag != nil {
		return tag
	}
	return series.addTag(nil, "")
}

// drop notes a data point that is not stored.
func (m *otlp) drop(reason string, code varvev1.RejectCode) {
	m.dropped++
	m.server.metrics.rejected.WithLabelValues(code.String()).Inc()
	m.note(m.point, reason)
}

// The same messages in JSON. Integers of 64 bits are texts there, or numbers.

type otlpJSON struct {
	ResourceMetrics []struct {
		Resource     struct{ Attributes []otlpAttribute }
		ScopeMetrics []struct {
			Scope struct {
				Name       string
				Attributes []otlpAttribute
			}
			Metrics []struct {
				Name                                                 string
				Gauge, Sum, Histogram, ExponentialHistogram, Summary *struct{ DataPoints []otlpPointJSON }
			}
		}
	}
}

type otlpAttribute struct {
	Key   string
	Value otlpValue
}

type otlpValue struct {
	StringValue *string
	BoolValue   *bool
	IntValue    *integer
	DoubleValue *double
	BytesValue  *[]byte
	ArrayValue  *struct{ Values []otlpValue }
	KvlistValue *struct{ Values []otlpAttribute }
}

type otlpPointJSON struct {
	Attributes     []otlpAttribute
	TimeUnixNano   integer
	AsDouble       *double
	AsInt          *integer
	Flags          uint64
	Count          integer
	Sum, Min, Max  *double
	BucketCounts   []integer
	ExplicitBounds []double
	QuantileValues []struct{ Quantile, Value double }
}

// integer is one of 64 bits, with a sign or without.
type integer uint64

// UnmarshalJSON is part of json.Unmarshaler.
func (n *integer) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if v, err := strconv.ParseUint(text, 10, 64); err == nil {
		*n = integer(v)
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%.40q is no integer of 64 bits", text)
	}
	*n = integer(v)
	return nil
}

// double is a number, or one of the texts NaN, Infinity and -Infinity.
type double float64

// UnmarshalJSON is part of json.Unmarshaler.
func (d *double) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%.40q is no double", text)
	}
	*d = double(f)
	return nil
}

func (d *double) pointer() *float64 {
	if d == nil {
		return nil
	}
	return new(float64(*d))
}

func (m *otlp) takeJSON(body []byte) error {
	if n := countObjects(body); n > maxOTLPObjects {
		return &httpError{http.StatusRequestEntityTooLarge, fmt.Errorf("body has %d objects, most is %d; protobuf may have more: %w", n, maxOTLPObjects, errTooMany)}
	}
	if !utf8.Valid(body) {
		return fmt.Errorf("%w: it is not UTF-8", errBody)
	}
	var message otlpJSON
	if err := json.Unmarshal(body, &message); err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	for _, r := range message.ResourceMetrics {
		m.resource = nil
		addJSON(&m.resource, "", r.Resource.Attributes)
		for _, s := range r.ScopeMetrics {
			m.scope = nil
			if s.Scope.Name != "" {
				m.scope = []label{{"otel.scope.name", s.Scope.Name}}
			}
			addJSON(&m.scope, "otel.scope.", s.Scope.Attributes)
			for _, x := range s.Metrics {
				m.metric = x.Name
				for kind, data := range map[protowire.Number]*struct{ DataPoints []otlpPointJSON }{
					otlpGauge: x.Gauge, otlpSum: x.Sum, otlpHistogram: x.Histogram, otlpExponential: x.ExponentialHistogram, otlpSummary: x.Summary,
				} {
					if data == nil {
						continue
					}
					for i := range data.DataPoints {
						if err := m.take(kind, data.DataPoints[i].point()); err != nil {
							return err
						}
					}
				}
			}
		}
	}
	return m.store(m.ctx)
}

func (p *otlpPointJSON) point() *otlpPoint {
	out := &otlpPoint{time: uint64(p.TimeUnixNano), flags: p.Flags, count: uint64(p.Count), sum: p.Sum.pointer(), min: p.Min.pointer(), max: p.Max.pointer()}
	addJSON(&out.labels, "", p.Attributes)
	switch {
	case p.AsInt != nil:
		out.kind, out.value = lineprotocol.Int, uint64(*p.AsInt)
	case p.AsDouble != nil:
		out.kind, out.value = lineprotocol.Float, math.Float64bits(float64(*p.AsDouble))
	}
	for _, n := range p.BucketCounts {
		out.counts = append(out.counts, uint64(n))
	}
	for _, f := range p.ExplicitBounds {
		out.bounds = append(out.bounds, float64(f))
	}
	for _, q := range p.QuantileValues {
		out.quantile = append(out.quantile, [2]float64{float64(q.Quantile), float64(q.Value)})
	}
	return out
}

func addJSON(to *[]label, prefix string, attributes []otlpAttribute) {
	for i := range attributes {
		*to = append(*to, label{prefix + attributes[i].Key, attributes[i].Value.text()})
	}
}

// text is a value as attributeText has it. The parser of JSON bounds how deep it is.
func (v *otlpValue) text() string {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.BoolValue != nil:
		return strconv.FormatBool(*v.BoolValue)
	case v.IntValue != nil:
		return strconv.FormatInt(int64(*v.IntValue), 10)
	case v.DoubleValue != nil:
		return formatDouble(float64(*v.DoubleValue))
	case v.BytesValue != nil:
		return base64.StdEncoding.EncodeToString(*v.BytesValue)
	case v.ArrayValue != nil:
		var items []string
		for i := range v.ArrayValue.Values {
			items = append(items, v.ArrayValue.Values[i].text())
		}
		return "[" + strings.Join(items, ",") + "]"
	case v.KvlistValue != nil:
		var items []string
		for i := range v.KvlistValue.Values {
			x := &v.KvlistValue.Values[i]
			items = append(items, x.Key+":"+x.Value.text())
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ",") + "}"
	}
	return ""
}
