package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// asked is one question as each door takes it.
type asked struct {
	call   func(varvev1.QueryServiceClient) (grpc.ServerStreamingClient[varvev1.ArrowData], error)
	ticket *varvev1.FlightQuestion
	flags  []string // of varve query
}

const (
	doorsBegin = int64(1_780_000_000e9)
	doorsHours = 6
)

// TestSameBitsAtEveryDoor asks random questions about random samples of every type over gRPC, Flight, HTTP and the command line, and holds
// the answers against each other, bit by bit.
func TestSameBitsAtEveryDoor(t *testing.T) {
	address, web, _ := serveOverHTTP(t, t.TempDir(), "--http-listen", "127.0.0.1:0")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	rng := rand.New(rand.NewPCG(20261126, 1))
	varve(t, "tags", "states", "put", "--server", address, "pump", "0=stopped", "1=running", "2=tripped")
	varve(t, "tags", "create", "--server", address, "--type", "state", "--state-set", "pump", "pump")
	for tag, typ := range map[string]string{"float": "float64", "narrow": "float32", "int": "int64", "unsigned": "uint64"} {
		varve(t, "tags", "create", "--server", address, "--type", typ, "--unit", "Cel", tag)
		if tag == "narrow" || tag == "int" { // the others can be asked about without a unit everywhere
			varve(t, "tags", "update", "--server", address, "--unit", "K", "--from", time.Unix(0, doorsBegin+3600e9).UTC().Format(time.RFC3339), tag)
		}
	}
	write := varvev1.NewIngestServiceClient(conn)
	for range 3 { // the later ones replace some of what stands
		w, err := write.Write(t.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: doorRuns(rng)}})
		require.NoError(t, err)
		require.Zero(t, w.Result.Rejected, "%v", w.Result.Rejections)
	}
	rows, refused, gets := map[string]int{}, 0, 0
	for i := range 300 {
		name, q := drawQuestion(rng)
		what := fmt.Sprintf("question %d: varve query %s", i, strings.Join(q.flags, " "))

		stream, err := q.call(varvev1.NewQueryServiceClient(conn))
		require.NoError(t, err, what)
		var b bytes.Buffer
		var why string
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if why = refusalOf(err); why != "" {
				break
			}
			require.NoError(t, err, what)
			b.Write(m.Ipc)
		}
		if why != "" {
			refused++
			ticket, err := proto.Marshal(q.ticket)
			require.NoError(t, err)
			do, err := flight.NewClientFromConn(conn, nil).DoGet(t.Context(), &flight.Ticket{Ticket: ticket})
			require.NoError(t, err)
			_, err = do.Recv()
			require.Equal(t, why, refusalOf(err), what)
			body, err := protojson.Marshal(q.ticket)
			require.NoError(t, err)
			resp, err := http.Post("http://"+web+"/api/v1/query", "application/json", bytes.NewReader(body))
			require.NoError(t, err)
			var posted struct{ Error struct{ Message string } }
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&posted))
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, what)
			require.Equal(t, why, posted.Error.Message, what)
			_, says := fails(t, append([]string{"query", "--server", address}, q.flags...)...)
			require.Contains(t, says, why, what)
			continue
		}
		batches, err := ipc.NewReader(&b)
		require.NoError(t, err, what)
		over := cellsOf(t, what, batches.Schema(), batches.Read)
		batches.Release()

		ticket, err := proto.Marshal(q.ticket)
		require.NoError(t, err)
		do, err := flight.NewClientFromConn(conn, nil).DoGet(t.Context(), &flight.Ticket{Ticket: ticket})
		require.NoError(t, err, what)
		reader, err := flight.NewRecordReader(do)
		require.NoError(t, err, what)
		flown := cellsOf(t, what, reader.Schema(), reader.Read)
		reader.Release()
		require.Equal(t, over, flown, what)

		file, err := ipc.NewFileReader(strings.NewReader(varve(t, append([]string{"query", "--server", address, "--output", "arrow"}, q.flags...)...)))
		require.NoError(t, err, what)
		printed := cellsOf(t, what, file.Schema(), file.Read)
		require.NoError(t, file.Close())
		require.Equal(t, over, printed, what)

		posted := httpCells(t, what, postQuestion(t, web, q.ticket, "arrow"))
		require.Equal(t, over, posted, what)
		if parameters, ok := parametersOf(q.ticket); ok {
			gets++
			whole := what + "\n" + parameters.Encode()
			require.Equal(t, over, httpCells(t, whole, getQuestion(t, web, parameters, "arrow")), whole)
		}
		output := []string{"csv", "json", "parquet"}[i%3]
		shown := varve(t, append([]string{"query", "--server", address, "--output", output}, q.flags...)...)
		answered := string(postQuestion(t, web, q.ticket, strings.Replace(output, "json", "ndjson", 1)))
		if output == "parquet" {
			require.Equal(t, over[1:], parquetCells(t, what, answered)[1:], what)
			require.Equal(t, parquetCells(t, what, shown), parquetCells(t, what, answered), what)
		} else {
			require.Equal(t, shown, answered, "%s as %s", what, output)
		}
		document := string(postQuestion(t, web, q.ticket, "json"))
		require.True(t, json.Valid([]byte(document)), what)
		require.Equal(t, len(over)-1, strings.Count(document, "\n")-2, what)
		rows[name] += len(over) - 1
		if slices.Contains(q.flags, "--while") {
			rows["while "+name] += len(over) - 1
		}
	}
	t.Logf("rows compared: %v; refused: %d; asked by parameters: %d", rows, refused, gets)
	require.Positive(t, refused)
	require.Greater(t, gets, 200)
	for _, name := range append(slices.Clone(doorQuestions), "while aggregates", "while processed", "while states", "while wide") {
		require.Positive(t, rows[name], "no question for %s had an answer", name)
	}
}

// refusalOf is why a question was refused whose answer would be worked out of values in two units.
func refusalOf(err error) string {
	if s := status.Convert(err); s.Code() == codes.InvalidArgument && strings.Contains(s.Message(), "nothing is worked out of both") {
		return s.Message()
	}
	return ""
}

// postQuestion asks in a body.
func postQuestion(t *testing.T, web string, q *varvev1.FlightQuestion, format string) []byte {
	body, err := protojson.Marshal(q)
	require.NoError(t, err)
	resp, err := http.Post("http://"+web+"/api/v1/query?format="+format, "application/json", bytes.NewReader(body))
	return wholeBody(t, resp, err)
}

// getQuestion asks by parameters.
func getQuestion(t *testing.T, web string, parameters url.Values, format string) []byte {
	parameters.Set("format", format)
	resp, err := http.Get("http://" + web + "/api/v1/query?" + parameters.Encode())
	return wholeBody(t, resp, err)
}

func wholeBody(t *testing.T, resp *http.Response, err error) []byte {
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(b))
	return b
}

func httpCells(t *testing.T, what string, body []byte) [][]string {
	r, err := ipc.NewReader(bytes.NewReader(body))
	require.NoError(t, err, what)
	defer r.Release()
	return cellsOf(t, what, r.Schema(), r.Read)
}

func parquetCells(t *testing.T, what, text string) [][]string {
	f, err := file.NewParquetReader(strings.NewReader(text))
	require.NoError(t, err, what)
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: 1000}, memory.DefaultAllocator)
	require.NoError(t, err, what)
	records, err := r.GetRecordReader(t.Context(), nil, nil)
	require.NoError(t, err, what)
	defer records.Release()
	return cellsOf(t, what, records.Schema(), records.Read)
}

// parametersOf is a question as parameters of a URL, written from docs/reference/http.md; false where it has a field without one.
func parametersOf(q *varvev1.FlightQuestion) (values url.Values, ok bool) {
	m := q.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	values, ok = url.Values{"read": {string(f.Name())}}, true
	m.Get(f).Message().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		text := func(v protoreflect.Value) string {
			switch {
			case name == "step_ns" || name == "every_ns" || name == "time_resolution_ns" || name == "max_age_ns":
				return time.Duration(v.Int()).String()
			case strings.HasSuffix(name, "_ns"):
				return time.Unix(0, v.Int()).UTC().Format(time.RFC3339Nano)
			case f.Enum() != nil:
				constant := string(f.Enum().Values().ByNumber(v.Enum()).Name())
				return strings.ToLower(constant[strings.Index(constant, "_")+1:])
			}
			return v.String()
		}
		parameter := strings.TrimSuffix(name, "_ns")
		switch {
		case f.Message() != nil:
			ok = false
		case name == "step_ns":
			values.Set("every", text(v))
		case f.IsList():
			parameter = strings.TrimSuffix(strings.Replace(parameter, "ies", "ys", 1), "s")
			for i := range v.List().Len() {
				values.Add(parameter, text(v.List().Get(i)))
			}
		default:
			values.Set(parameter, text(v))
		}
		return ok
	})
	for _, edge := range []string{"start", "end"} { // of a range 1970 is a time like others
		if f := m.Get(f).Message().Descriptor().Fields().ByName(protoreflect.Name(edge + "_ns")); f != nil && !f.HasPresence() && !values.Has(edge) && !values.Has("time") {
			values.Set(edge, "1970-01-01")
		}
	}
	return values, ok
}

// cellsOf is a header and the rows behind it, numbers as their bits.
func cellsOf(t *testing.T, what string, schema *arrow.Schema, next func() (arrow.Record, error)) [][]string {
	header := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		typ := f.Type
		if d, ok := typ.(*arrow.DictionaryType); ok {
			typ = d.ValueType
		}
		header[i] = fmt.Sprintf("%s %s %s", f.Name, typ, f.Metadata)
	}
	out := [][]string{header}
	for {
		rec, err := next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err, what)
		for row := range int(rec.NumRows()) {
			cells := make([]string, rec.NumCols())
			for i := range cells {
				cells[i] = bitsOf(rec.Column(i), row)
			}
			out = append(out, cells)
		}
	}
}

func bitsOf(col arrow.Array, row int) string {
	if col.IsNull(row) {
		return "null"
	}
	switch c := col.(type) {
	case *array.Float64:
		return strconv.FormatUint(math.Float64bits(c.Value(row)), 16)
	case *array.Float32:
		return strconv.FormatUint(uint64(math.Float32bits(c.Value(row))), 16)
	case *array.Dictionary:
		return bitsOf(c.Dictionary(), c.GetValueIndex(row))
	case *array.Binary:
		return hex.EncodeToString(c.Value(row))
	case *array.Timestamp: // Parquet has no seconds
		return strconv.FormatInt(c.Value(row).ToTime(c.DataType().(*arrow.TimestampType).Unit).UnixNano(), 10)
	}
	return col.ValueStr(row)
}

var doorTags = []string{"float", "narrow", "int", "unsigned", "bool", "text", "bytes", "pump"}

// doorRuns are samples of every type at random times, some Uncertain, Bad or without a value.
func doorRuns(rng *rand.Rand) (runs []*varvev1.Run) {
	for _, tag := range doorTags {
		n := 40 + rng.IntN(200)
		r := &varvev1.Run{Tag: tag}
		for i := range n {
			r.TimesNs = append(r.TimesNs, doorsBegin+rng.Int64N(doorsHours*3600)*1e9+rng.Int64N(3)/2*rng.Int64N(1e9))
			r.QualityCount = append(r.QualityCount, 1)
			r.QualityCode = append(r.QualityCode, []uint32{0, 0, 0, 0, 0x40000000, 0x80000000, 0x40920000}[rng.IntN(7)])
			if r.QualityCode[i] == 0x80000000 && rng.IntN(2) == 0 {
				r.NullAt = append(r.NullAt, uint32(i))
			}
			x := rng.NormFloat64() * 100
			switch tag {
			case "float":
				r.Float64 = append(r.Float64, []float64{x, x, x, math.Round(x), math.Copysign(0, -1), math.Inf(1), math.Float64frombits(0x7FF8_0000_0000_0123)}[rng.IntN(7)])
			case "narrow":
				r.Float32 = append(r.Float32, float32(x))
			case "int":
				r.Int64 = append(r.Int64, int64(x)<<rng.IntN(50))
			case "unsigned":
				r.Uint64 = append(r.Uint64, rng.Uint64()>>rng.IntN(64))
			case "bool":
				r.Bool = append(r.Bool, x > 0)
			case "text":
				r.Text = append(r.Text, fmt.Sprintf("läuft %d", int(x)))
			case "bytes":
				r.Blob = append(r.Blob, []byte{byte(int(x)), 0xFF})
			case "pump":
				r.State = append(r.State, rng.Int64N(3))
			}
		}
		runs = append(runs, r)
	}
	return runs
}

var doorQuestions = []string{"range", "modified", "latest", "at", "interpolated", "aggregates", "processed", "states", "wide", "plot"}

// drawQuestion draws a question that has an answer.
func drawQuestion(rng *rand.Rand) (name string, q asked) {
	pick := func(from ...string) []string {
		out := slices.Clone(from)
		rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out[:1+rng.IntN(min(3, len(out)))]
	}
	instant := func() int64 {
		return doorsBegin + rng.Int64N((doorsHours+2)*3600)*1e9 - 3600e9 + rng.Int64N(2)*rng.Int64N(1e9)
	}
	text := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
	start, end := instant(), instant()
	step := 60e9 * (1 + rng.Int64N(90))
	numbers := pick("float", "narrow", "int", "unsigned")
	tags := pick(doorTags...)
	flag := func(on bool, flags ...string) bool {
		if on {
			q.flags = append(q.flags, flags...)
		}
		return on
	}
	coin := func() bool { return rng.IntN(2) == 0 }
	unit := func(tags []string) string {
		for _, t := range tags {
			if !slices.Contains([]string{"float", "narrow", "int", "unsigned"}, t) {
				return ""
			}
		}
		if flag(coin(), "--unit", "[degF]") {
			return "[degF]"
		}
		return ""
	}
	q.flags = []string{"--start", text(start), "--end", text(end)}
	every, zone := "", ""
	buckets := func() {
		if flag(coin(), "--every", "1h of day", "--tz", "Australia/Lord_Howe") {
			every, zone, step = "1h of day", "Australia/Lord_Howe", 0
			return
		}
		q.flags = append(q.flags, "--every", time.Duration(step).String())
	}
	while := func() string {
		texts := []string{"bool", "pump = 'running'", "not bool or pump != 'tripped'", "is_bad(bool) and pump = 'stopped'", "pump = 'running' and 1 < 2"}
		if text := texts[rng.IntN(len(texts))]; flag(rng.IntN(3) == 0, "--while", text) {
			return text
		}
		return ""
	}
	name = doorQuestions[rng.IntN(len(doorQuestions))]
	var expressions []string
	if coin() && name != "modified" {
		expressions = pick("mean := avg(float, narrow)", "max(int, unsigned)", "if(pump = 'running', float, narrow)", "x := else(float, int) + 2")
		if name == "states" {
			expressions = []string{"on := bool and pump = 'running' or is_bad(float)"}
		}
	}
	defer func() {
		for _, x := range expressions {
			q.flags = append(q.flags, "--expression", x)
		}
	}()
	switch name {
	case "range":
		r := &varvev1.ReadRangeRequest{Tags: tags, Expressions: expressions, StartNs: &start, EndNs: &end}
		r.WithSeq = flag(coin(), "--with-seq")
		r.WithSource = flag(len(expressions) == 0 && coin(), "--with-source")
		if flag(coin(), "--limit", "17") {
			r.Limit = 17
		}
		switch rng.IntN(5) {
		case 0, 1, 2:
			bounds := 1 + rng.IntN(3)
			flag(true, "--bounds", boundNames[bounds])
			r.Bounds = varvev1.Bounds(bounds + 1)
		case 3:
			flag(true, "--quality", "bad,uncertain")
			r.Severities = []varvev1.Severity{varvev1.Severity_SEVERITY_BAD, varvev1.Severity_SEVERITY_UNCERTAIN}
		case 4:
			tags = numbers
			flag(true, "--where", "> 1")
			r.Tags = numbers
			r.Where = []*varvev1.Comparison{{Operator: varvev1.Comparison_OPERATOR_GREATER, Operand: &varvev1.Comparison_Integer{Integer: 1}}}
		}
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Range{Range: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadRange, r)
	case "modified":
		r := &varvev1.ReadModifiedRequest{Tags: tags, StartNs: start, EndNs: end}
		flag(true, "--modified")
		r.WithSeq = flag(coin(), "--with-seq")
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Modified{Modified: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadModified, r)
	case "latest":
		r := &varvev1.LatestRequest{Tags: tags, Expressions: expressions}
		q.flags = []string{"--latest"}
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Latest{Latest: r}}
		q.call = callOf(varvev1.QueryServiceClient.Latest, r)
	case "at", "interpolated":
		r := &varvev1.ReadAtTimesRequest{Tags: tags, Expressions: expressions}
		if name == "at" {
			var at []string
			for range 1 + rng.IntN(20) {
				r.TimesNs = append(r.TimesNs, instant())
				at = append(at, text(r.TimesNs[len(r.TimesNs)-1]))
			}
			q.flags = []string{"--at", strings.Join(at, ",")}
		} else {
			r.StartNs, r.EndNs, r.EveryNs = start, end, step
			flag(true, "--interpolated", "--every", time.Duration(step).String())
		}
		r.UseUncertain = flag(coin(), "--use-uncertain")
		if r.Discrete = flag(rng.IntN(4) == 0, "--discrete"); !r.Discrete {
			r.BridgeBad = flag(coin(), "--bridge-bad")
			if stepped := coin(); flag(coin(), fmt.Sprintf("--stepped=%t", stepped)) {
				r.Stepped = &stepped
			}
		}
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_AtTimes{AtTimes: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadAtTimes, r)
	case "aggregates":
		tags = numbers
		buckets()
		r := &varvev1.ReadAggregatesRequest{Tags: tags, Expressions: expressions, StartNs: start, EndNs: end, StepNs: step, Every: every, Zone: zone}
		r.Aggregates = pick("count", "sum", "minimum", "maximum_time", "first", "range", "standard_deviation", "event_weighted_average", "time_weighted_average", "duration_good", "worst_quality")
		flag(true, "--aggregate", strings.Join(r.Aggregates, ","))
		r.UseUncertain = flag(coin(), "--use-uncertain")
		if flag(rng.IntN(3) == 0, "--fill", "previous", "--fill-limit", "2") {
			r.Fill, r.FillLimit = "previous", 2
		}
		r.While = while()
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Aggregates{Aggregates: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadAggregates, r)
	case "processed":
		tags = numbers
		buckets()
		bad, good := true, uint32(100)
		r := &varvev1.ReadProcessedRequest{Tags: tags, Expressions: expressions, StartNs: start, EndNs: end, StepNs: step, Every: every, Zone: zone, TreatUncertainAsBad: &bad, PercentDataGood: &good}
		// The first one is answered in long rows only, which is what makes the command line ask for them.
		if r.While = while(); r.While == "" {
			r.Aggregates = append([]string{"TimeAverage2"}, pick("Average", "Interpolative", "Total", "MinimumActualTime2", "PercentBad", "WorstQuality2", "DeltaBounds", "percentile(95)", "total(h)", "delta", "minimum")...)
		} else { // which those of Part 13 do not have
			r.Aggregates = append([]string{"total(min)"}, pick("percentile(95)", "time_weighted_percentile(10)", "total(h)", "delta", "minimum", "increase", "rate", "transitions", "last_time", "circular_mean")...)
		}
		flag(true, "--aggregate", strings.Join(r.Aggregates, ","))
		if flag(coin(), "--use-uncertain", "--percent-good", "70") {
			bad, good = false, 70
		}
		r.UseSlopedExtrapolation = flag(coin(), "--sloped-extrapolation")
		if flag(rng.IntN(3) == 0, "--fill", "omit") {
			r.Fill = "omit"
		}
		if flag(coin(), "--time-resolution", "1s") {
			r.TimeResolutionNs = 1e9
		}
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadProcessed, r)
	case "states":
		tags = pick("bool", "pump")
		flag(true, "--time-in-state")
		buckets()
		r := &varvev1.ReadTimeInStateRequest{Tags: tags, Expressions: expressions, StartNs: start, EndNs: end, StepNs: step, Every: every, Zone: zone}
		r.UseUncertain = flag(coin(), "--use-uncertain")
		r.While = while()
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_TimeInState{TimeInState: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadTimeInState, r)
	case "wide":
		r := &varvev1.ReadWideRequest{Expressions: expressions, StartNs: start, EndNs: end, Mode: varvev1.ReadWideRequest_Mode(1 + rng.IntN(3))}
		tags = pick("float", "narrow", "int", "bool", "text", "pump")
		flag(true, "--wide", "--mode", wideModes[r.Mode-1])
		if r.Mode == varvev1.ReadWideRequest_MODE_AGGREGATE {
			tags = pick("float", "narrow")
			r.Aggregate = pick("time_weighted_average", "Average", "maximum")[0]
			flag(true, "--aggregate", r.Aggregate)
			buckets()
			if flag(coin(), "--fill", "linear") {
				r.Fill = "linear"
			}
			if r.Aggregate != "Average" {
				r.While = while()
			}
		} else {
			flag(true, "--every", time.Duration(step).String())
		}
		r.Tags, r.StepNs, r.Every, r.Zone = tags, step, every, zone
		r.WithQuality = flag(coin(), "--with-quality")
		r.UseUncertain = flag(r.Mode != varvev1.ReadWideRequest_MODE_ASOF && coin(), "--use-uncertain")
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Wide{Wide: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadWide, r)
	case "plot":
		start, end = min(start, end), max(start, end)+1
		q.flags = []string{"--start", text(start), "--end", text(end)}
		if tags = numbers; coin() {
			tags = append(tags, "pump")
		}
		width := 3 + rng.Uint32N(300)
		r := &varvev1.ReadPlotRequest{Tags: tags, Expressions: expressions, StartNs: start, EndNs: end, Width: width}
		flag(true, "--pixels", strconv.Itoa(int(width)))
		if flag(coin(), "--lttb") {
			r.Width, r.Lttb = 0, width
		}
		r.UseUncertain = flag(coin(), "--use-uncertain")
		r.Unit = unit(r.Tags)
		q.ticket = &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Plot{Plot: r}}
		q.call = callOf(varvev1.QueryServiceClient.ReadPlot, r)
	}
	q.flags = append(q.flags, tags...)
	return name, q
}

// callOf is a call of QueryService with its request.
func callOf[R any](call func(varvev1.QueryServiceClient, context.Context, R, ...grpc.CallOption) (grpc.ServerStreamingClient[varvev1.ArrowData], error), r R) func(varvev1.QueryServiceClient) (grpc.ServerStreamingClient[varvev1.ArrowData], error) {
	return func(c varvev1.QueryServiceClient) (grpc.ServerStreamingClient[varvev1.ArrowData], error) {
		return call(c, context.Background(), r)
	}
}
