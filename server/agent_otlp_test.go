package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/model"
)

// Messages of OpenTelemetry, written field by field with the numbers of the specification.

func fixedField(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), v)
}

func doubleField(b []byte, num protowire.Number, v float64) []byte {
	return fixedField(b, num, math.Float64bits(v))
}

func keyValue(key string, value []byte) []byte {
	return bytesField(bytesField(nil, 1, []byte(key)), 2, value)
}

func text(s string) []byte { return bytesField(nil, 1, []byte(s)) }

// export is a request with one resource, one scope and metrics.
func export(metrics ...[]byte) []byte {
	resource := bytesField(nil, 1, keyValue("service.name", text("pumps")))
	scope := bytesField(nil, 1, bytesField(bytesField(nil, 1, []byte("meter")), 2, []byte("1.2.3")))
	for _, m := range metrics {
		scope = bytesField(scope, 2, m)
	}
	return bytesField(nil, 1, bytesField(bytesField(nil, 1, resource), 2, scope))
}

// metric has points as the data of one kind.
func metric(name string, kind protowire.Number, points ...[]byte) []byte {
	var data []byte
	for _, p := range points {
		data = bytesField(data, 1, p)
	}
	if kind != otlpGauge {
		data = varintField(data, 2, 2) // cumulative
	}
	return bytesField(bytesField(bytesField(nil, 1, []byte(name)), 3, []byte("m3/h")), kind, data)
}

func (s *web) otlp(t testing.TB, message []byte, header ...string) webAnswer {
	t.Helper()
	return s.ask(t, "POST", "/v1/metrics", string(message), append([]string{"Content-Type", "application/x-protobuf"}, header...)...)
}

const inMeter = "otel.scope.name=meter,service.name=pumps"

func TestOTLP(t *testing.T) {
	s := startAgents(t, Options{})
	unit := keyValue("unit", text("P-1"))
	at := func(b []byte, ns uint64) []byte { return fixedField(b, 3, ns) }
	var counts, bounds []byte
	for i, n := range []uint64{3, 0, 5} {
		counts = protowire.AppendFixed64(counts, n)
		if i < 2 {
			bounds = protowire.AppendFixed64(bounds, math.Float64bits([]float64{0.5, 2}[i]))
		}
	}
	histogram := bytesField(bytesField(doubleField(fixedField(at(nil, 5), 4, 8), 5, 12.5), 6, counts), 7, bounds)
	histogram = doubleField(doubleField(bytesField(histogram, 9, unit), 11, 0.1), 12, 9)
	summary := bytesField(doubleField(fixedField(at(nil, 6), 4, 7), 5, 70), 6, doubleField(doubleField(nil, 1, 0.99), 2, 11))
	// Scale, zero count and buckets of either sign, which are passed over.
	exponential := varintField(fixedField(doubleField(fixedField(at(bytesField(nil, 1, unit), 7), 4, 9), 5, -3.5), 7, 2), 6, protowire.EncodeZigZag(-1))
	exponential = bytesField(bytesField(exponential, 8, varintField(bytesField(nil, 2, []byte{3, 4}), 1, 2)), 9, bytesField(nil, 2, []byte{0}))
	exponential = doubleField(doubleField(doubleField(exponential, 12, -4), 13, 2), 14, 1e-9)
	everything := bytesField(nil, 7, keyValue("z", varintField(nil, 3, math.MaxUint64)))
	everything = bytesField(everything, 7, keyValue("b", varintField(nil, 2, 1)))
	everything = bytesField(everything, 7, keyValue("d", doubleField(nil, 4, 0.25)))
	everything = bytesField(everything, 7, keyValue("raw", bytesField(nil, 7, []byte{1, 2})))
	everything = bytesField(everything, 7, keyValue("list", bytesField(nil, 5, bytesField(bytesField(nil, 1, text("x,y")), 1, varintField(nil, 3, 2)))))
	everything = bytesField(everything, 7, keyValue("map", bytesField(nil, 6, bytesField(bytesField(nil, 1, keyValue("k2", text("v"))), 1, keyValue("k1", text("w"))))))
	everything = bytesField(everything, 7, keyValue("empty", nil))
	message := export(
		metric("pump.flow", otlpGauge, doubleField(at(bytesField(nil, 7, unit), 1), 4, 12.5), doubleField(at(bytesField(nil, 7, unit), 2), 4, math.NaN())),
		metric("pump.starts", otlpSum, fixedField(at(nil, 3), 6, math.MaxUint64)),
		metric("odd:name{", otlpGauge, doubleField(at(everything, 4), 4, 1)),
		metric("latency", otlpHistogram, histogram),
		metric("lag", otlpSummary, summary),
		metric("sizes", otlpExponential, exponential),
	)
	inJSON := `{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"pumps"}}]},"scopeMetrics":[{"scope":{"name":"meter","version":"1.2.3"},"metrics":[
		{"name":"pump.flow","unit":"m3/h","gauge":{"dataPoints":[{"attributes":[{"key":"unit","value":{"stringValue":"P-1"}}],"timeUnixNano":"1","asDouble":12.5},{"attributes":[{"key":"unit","value":{"stringValue":"P-1"}}],"timeUnixNano":2,"asDouble":"NaN"}]}},
		{"name":"pump.starts","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"timeUnixNano":"3","asInt":"-1","exemplars":[{"traceId":"5b8efff798038103d269b633813fc60c"}]}]}},
		{"name":"odd:name{","gauge":{"dataPoints":[{"timeUnixNano":"4","asDouble":1,"attributes":[{"key":"z","value":{"intValue":"-1"}},{"key":"b","value":{"boolValue":true}},{"key":"d","value":{"doubleValue":0.25}},
			{"key":"raw","value":{"bytesValue":"AQI="}},{"key":"list","value":{"arrayValue":{"values":[{"stringValue":"x,y"},{"intValue":2}]}}},
			{"key":"map","value":{"kvlistValue":{"values":[{"key":"k2","value":{"stringValue":"v"}},{"key":"k1","value":{"stringValue":"w"}}]}}},{"key":"empty","value":{}}]}]}},
		{"name":"latency","histogram":{"dataPoints":[{"attributes":[{"key":"unit","value":{"stringValue":"P-1"}}],"timeUnixNano":"5","count":"8","sum":12.5,"bucketCounts":["3","0","5"],"explicitBounds":[0.5,2],"min":0.1,"max":9}]}},
		{"name":"lag","summary":{"dataPoints":[{"timeUnixNano":"6","count":7,"sum":70,"quantileValues":[{"quantile":0.99,"value":11}]}]}},
		{"name":"sizes","exponentialHistogram":{"dataPoints":[{"attributes":[{"key":"unit","value":{"stringValue":"P-1"}}],"timeUnixNano":"7","count":"9","sum":-3.5,"scale":-1,"zeroCount":"2",
			"positive":{"offset":1,"bucketCounts":["3","4"]},"negative":{"bucketCounts":["0"]},"min":-4,"max":2,"zeroThreshold":1e-9}]}}
	]}]}]}`
	want := map[string]string{
		"pump.flow{" + inMeter + ",unit=P-1}": "1970-01-01T00:00:00.000000001Z 12.5\n1970-01-01T00:00:00.000000002Z NaN",
		"pump.starts{" + inMeter + "}":        "1970-01-01T00:00:00.000000003Z -1",
		`odd\:name\{{b=true,d=0.25,empty=,list=[x\,y\,2],map={k1:w\,k2:v\},otel.scope.name=meter,raw=AQI=,service.name=pumps,z=-1}`: "1970-01-01T00:00:00.000000004Z 1",
		"latency:count{" + inMeter + ",unit=P-1}":                              "1970-01-01T00:00:00.000000005Z 8",
		"latency:sum{" + inMeter + ",unit=P-1}":                                "1970-01-01T00:00:00.000000005Z 12.5",
		"latency:min{" + inMeter + ",unit=P-1}":                                "1970-01-01T00:00:00.000000005Z 0.1",
		"latency:max{" + inMeter + ",unit=P-1}":                                "1970-01-01T00:00:00.000000005Z 9",
		"latency:bucket{le=0.5," + inMeter + ",unit=P-1}":                      "1970-01-01T00:00:00.000000005Z 3",
		"latency:bucket{le=2," + inMeter + ",unit=P-1}":                        "1970-01-01T00:00:00.000000005Z 3",
		"latency:bucket{le=+Inf," + inMeter + ",unit=P-1}":                     "1970-01-01T00:00:00.000000005Z 8",
		"lag:count{" + inMeter + "}":                                           "1970-01-01T00:00:00.000000006Z 7",
		"lag:sum{" + inMeter + "}":                                             "1970-01-01T00:00:00.000000006Z 70",
		"sizes:count{" + inMeter + ",unit=P-1}":                                "1970-01-01T00:00:00.000000007Z 9",
		"sizes:sum{" + inMeter + ",unit=P-1}":                                  "1970-01-01T00:00:00.000000007Z -3.5",
		"sizes:min{" + inMeter + ",unit=P-1}":                                  "1970-01-01T00:00:00.000000007Z -4",
		"sizes:max{" + inMeter + ",unit=P-1}":                                  "1970-01-01T00:00:00.000000007Z 2",
		"lag:quantile{otel.scope.name=meter,quantile=0.99,service.name=pumps}": "1970-01-01T00:00:00.000000006Z 11",
	}
	for i, a := range []webAnswer{
		s.otlp(t, message), s.otlp(t, []byte(zipped(message)), "Content-Encoding", "gzip"), s.otlp(t, []byte(inJSON), "Content-Type", "application/json"), s.otlp(t, message),
	} {
		require.Equal(t, 200, a.code, a.body)
		if i == 2 {
			require.Equal(t, "application/json", a.header.Get("Content-Type"))
			require.Equal(t, "{}\n", a.body)
		} else {
			require.Equal(t, "application/x-protobuf", a.header.Get("Content-Type"))
			require.Empty(t, a.body)
		}
		require.Len(t, s.tagNames(), len(want), "%d: %v", i, s.tagNames())
		for name, samples := range want {
			require.Equal(t, samples, s.stored(t, name), name)
		}
	}
	for name, typ := range map[string]model.Type{"pump.starts{" + inMeter + "}": model.Int64, "lag:count{" + inMeter + "}": model.Uint64, "lag:sum{" + inMeter + "}": model.Float64} {
		tag, ok := s.db.Catalog().ByName(name)
		require.True(t, ok)
		require.Equal(t, typ, tag.Current().Type)
	}
	// In JSON alone, what protobuf does not have here: every tag is made by it.
	fresh := startAgents(t, Options{})
	require.Equal(t, 200, fresh.otlp(t, []byte(inJSON), "Content-Type", "application/json").code)
	require.Equal(t, s.tagNames(), fresh.tagNames())
}

// partialOf is what a response says that was not stored.
func partialOf(t *testing.T, body string) (rejected uint64, message string) {
	require.NoError(t, messages("response", []byte(body), 1, func(partial []byte) error {
		return fields("partial", partial, func(x *field) error {
			if x.num == 1 {
				rejected = x.number
			} else {
				message = string(x.data)
			}
			return nil
		})
	}))
	return rejected, message
}

// bytesCodec is a client's that has messages as bytes.
type bytesCodec struct{}

func (bytesCodec) Name() string                       { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (bytesCodec) Unmarshal(b []byte, into any) error { *into.(*[]byte) = bytes.Clone(b); return nil }

// Over gRPC it is the same message, and the same answer.
func TestOTLPOverGRPC(t *testing.T) {
	s := startAgents(t, Options{})
	call := func(message []byte, o ...grpc.CallOption) (answer []byte, err error) {
		err = s.conn.Invoke(testContext(t), "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", message, &answer, append(o, grpc.ForceCodec(bytesCodec{}))...)
		return answer, err
	}
	point := func(at, v uint64) []byte { return fixedField(fixedField(nil, 3, at), 6, v) }
	answer, err := call(export(metric("m", otlpSum, point(1, 5), point(2, 6))))
	require.NoError(t, err)
	require.Empty(t, answer, "all is stored")
	answer, err = call(export(metric("m", otlpSum, point(3, 7))), grpc.UseCompressor("gzip"))
	require.NoError(t, err)
	require.Empty(t, answer)
	require.Equal(t, "1970-01-01T00:00:00.000000001Z 5\n1970-01-01T00:00:00.000000002Z 6\n1970-01-01T00:00:00.000000003Z 7", s.stored(t, "m{"+inMeter+"}"))

	partly := export(metric("m", otlpSum, point(4, 8), fixedField(nil, 3, 5)))
	answer, err = call(partly)
	require.NoError(t, err)
	require.Equal(t, s.otlp(t, partly).body, string(answer))
	require.Contains(t, string(answer), "without a value")
	require.Contains(t, s.stored(t, "m{"+inMeter+"}"), "00004Z 8")
	_, err = call([]byte{0xff})
	requireCode(t, codes.InvalidArgument, err, "")
}

func TestOTLPOfWhatIsNotStored(t *testing.T) {
	s := startAgents(t, Options{})
	good := metric("good", otlpGauge, fixedField(fixedField(nil, 3, 1), 6, 7))
	message := export(
		metric("", otlpGauge, fixedField(fixedField(nil, 3, 1), 6, 7)),
		metric("v", otlpGauge, fixedField(nil, 3, 1)),
		metric("b", otlpHistogram, bytesField(fixedField(nil, 3, 1), 6, make([]byte, 24))),
		metric("t", otlpGauge, fixedField(fixedField(nil, 3, math.MaxUint64), 6, 7)),
		metric(strings.Repeat("n", 1100), otlpGauge, fixedField(fixedField(nil, 3, 1), 6, 7)),
		metric("far", otlpGauge, fixedField(fixedField(nil, 3, 4_000_000_000_000_000_000), 6, 7)),
		good,
	)
	a := s.otlp(t, message)
	require.Equal(t, 200, a.code)
	rejected, says := partialOf(t, a.body)
	require.Equal(t, uint64(6), rejected)
	require.Equal(t, "point 1: a metric without a name; point 2: a data point without a value; point 3: 3 buckets and 0 bounds; "+
		"point 4: time 18446744073709551615 ns is none that 64 bits with a sign have; point 5: name and attributes make a name of more than 1024 bytes; and 1 more", says)
	require.Equal(t, "1970-01-01T00:00:00.000000001Z 7", s.stored(t, "good{"+inMeter+"}"))

	a = s.otlp(t, []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{"timeUnixNano":"1"},{"timeUnixNano":"2","asInt":"5"}]}}]}]}]}`), "Content-Type", "application/json")
	require.Equal(t, 200, a.code)
	require.JSONEq(t, `{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"point 1: a data point without a value"}}`, a.body)
	require.Equal(t, "1970-01-01T00:00:00.000000002Z 5", s.stored(t, "x"))
}

func TestOTLPPointsWithoutAValueAreGaps(t *testing.T) {
	s := startAgents(t, Options{})
	point := func(ns uint64, flags uint64) []byte {
		return export(metric("m", otlpGauge, varintField(fixedField(fixedField(nil, 3, ns), 6, 7), 8, flags)))
	}
	for _, p := range [][]byte{point(1e9, 0), point(2e9, noRecordedValue), point(2e9, noRecordedValue), point(4e9, 0)} {
		require.Equal(t, 200, s.otlp(t, p).code)
	}
	tag, ok := s.db.Catalog().ByName("m{" + inMeter + "}")
	require.True(t, ok)
	require.Equal(t, "1970-01-01T00:00:01Z 7\n1970-01-01T00:00:04Z 7", s.stored(t, tag.Name))
	require.Empty(t, s.db.OpenGaps([]model.TagID{tag.ID}, otlpSource))
	a := s.get(t, "read=at_times&format=csv&tag=m{"+inMeter+"}&times=1970-01-01T00:00:03Z")
	require.Contains(t, a.body, ",,BadNoCommunication")
	require.Equal(t, 200, s.otlp(t, export(metric("late", otlpGauge, fixedField(nil, 6, 7)))).code)
	require.Equal(t, "2026-03-01T12:00:00Z 7", s.stored(t, "late{"+inMeter+"}"), "without a time")
}

func TestOTLPOfHostileBodies(t *testing.T) {
	file, token := tokens(t, Read, Write)
	s := startAgents(t, Options{MaxMessageBytes: 64 << 10, Security: Security{TokenFile: file}})
	w := []string{"Authorization", "Bearer " + token[Write]}
	require.Equal(t, 401, s.otlp(t, nil).code)
	require.Equal(t, 403, s.otlp(t, nil, "Authorization", "Bearer "+token[Read]).code)
	require.Equal(t, 415, s.otlp(t, nil, append(w, "Content-Type", "text/plain")...).code)
	require.Equal(t, 415, s.otlp(t, nil, append(w, "Content-Encoding", "zstd")...).code)
	require.Equal(t, 413, s.otlp(t, make([]byte, 70_000), w...).code)
	require.Equal(t, 413, s.otlp(t, []byte(zipped(make([]byte, 70_000))), append(w, "Content-Encoding", "gzip")...).code)
	require.Equal(t, 400, s.otlp(t, []byte("x"), append(w, "Content-Encoding", "gzip")...).code)
	a := s.otlp(t, []byte("\x0a\xff"), w...)
	require.Equal(t, 400, a.code)
	require.Equal(t, "application/x-protobuf", a.header.Get("Content-Type"))
	var code uint64
	require.NoError(t, fields("Status", []byte(a.body), func(x *field) error {
		if x.num == 1 {
			code = x.number
		}
		return nil
	}))
	require.Equal(t, uint64(3), code)
	for _, body := range []string{"{", "[]", `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{"timeUnixNano":"x"}]}}]}]}]}`, "\"\xff\""} {
		a := s.otlp(t, []byte(body), append(w, "Content-Type", "application/json")...)
		require.Equal(t, 400, a.code, body)
		var status struct {
			Code    int
			Message string
		}
		require.NoError(t, json.Unmarshal([]byte(a.body), &status), a.body)
		require.Equal(t, 3, status.Code)
	}
	deep := text("x")
	for range 20 {
		deep = bytesField(nil, 5, bytesField(nil, 1, deep))
	}
	a = s.otlp(t, export(metric("m", otlpGauge, bytesField(fixedField(nil, 6, 1), 7, keyValue("k", deep)))), w...)
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "lists and maps in each other")
	// A large resource with many points is gone over once.
	points := make([][]byte, 10_000)
	resource := bytesField(nil, 1, bytesField(nil, 1, keyValue("k", text(strings.Repeat("v", 20_000)))))
	many := bytesField(nil, 1, bytesField(resource, 2, bytesField(nil, 2, metric("m", otlpGauge, points...))))
	a = s.otlp(t, many, w...)
	require.Equal(t, 200, a.code)
	rejected, _ := partialOf(t, a.body)
	require.Equal(t, uint64(10_000), rejected)
}

// FuzzOTLP needs an answer to any message, in protobuf and in JSON, and a server that goes on.
func FuzzOTLP(f *testing.F) {
	f.Add(export(metric("m", otlpGauge, doubleField(fixedField(nil, 3, 1), 4, 12.5))), false)
	f.Add([]byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{"timeUnixNano":"2","asInt":"5"}]}}]}]}]}`), true)
	s := startAgents(f, Options{})
	f.Fuzz(func(t *testing.T, message []byte, inJSON bool) {
		var header []string
		if inJSON {
			header = []string{"Content-Type", "application/json"}
		}
		a := s.otlp(t, message, header...)
		require.Contains(t, []int{200, 400, 413}, a.code, fmt.Sprint(a.body))
	})
}
