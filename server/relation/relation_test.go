package relation

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// sink gathers an Arrow stream.
type sink struct{ bytes.Buffer }

func (s *sink) Start() error { return nil }
func (s *sink) Close() error {
	s.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0})
	return nil
}

func (s *sink) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	padded := (meta.Len() + 7) / 8 * 8
	s.Write(binary.LittleEndian.AppendUint32([]byte{0xFF, 0xFF, 0xFF, 0xFF}, uint32(padded)))
	s.Write(meta.Bytes())
	s.Write(make([]byte, padded-meta.Len()))
	return p.SerializeBody(s)
}

// rows is what a scan answers: a map of columns for each row, nulls left out.
func rows(t *testing.T, at Moment, name string, s *Scan) []map[string]string {
	t.Helper()
	out, err := tryRows(t, at, name, s)
	require.NoError(t, err)
	return out
}

func tryRows(t *testing.T, at Moment, name string, s *Scan) (out []map[string]string, err error) {
	t.Helper()
	table, ok := Find(name)
	require.True(t, ok, name)
	var b sink
	n, err := table.Read(context.Background(), at, s, &b)
	if err != nil {
		return nil, err
	}
	r, err := ipc.NewReader(&b)
	require.NoError(t, err)
	defer r.Release()
	for i, c := range s.Columns {
		if !table.Dynamic() {
			require.Equal(t, table.Columns[c].Name, r.Schema().Field(i).Name)
			require.Equal(t, table.Columns[c].Type.String(), r.Schema().Field(i).Type.String())
		}
	}
	for r.Next() {
		for i := range int(r.Record().NumRows()) {
			row := map[string]string{}
			for c, f := range r.Schema().Fields() {
				if a := r.Record().Column(c); !a.IsNull(i) {
					row[f.Name] = a.ValueStr(i)
					if v, ok := a.(*array.Float64); ok { // every bit
						row[f.Name] = fmt.Sprint(math.Float64bits(v.Value(i)))
					}
				}
			}
			out = append(out, row)
		}
	}
	require.NoError(t, r.Err())
	require.Equal(t, uint64(len(out)), n)
	return out, nil
}

func call(name string, arguments map[string]any) *Scan {
	t, _ := Find(name)
	s := t.All()
	s.Arguments = map[string]string{}
	for k, v := range arguments {
		b, _ := json.Marshal(v)
		s.Arguments[k] = string(b)
	}
	return s
}

var testTypes = []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}

const second = int64(time.Second)

// testStart is where the samples of tests begin.
var testStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// testMoment is a store with a tag of every type, named for it, each with 300 samples of any quality, some of them edited.
func testMoment(t *testing.T) Moment {
	t.Helper()
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SegmentBytes: 1 << 20, MemoryBytes: 64 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	ctx := context.Background()
	changes := []catalog.Change{{PutStateSet: &catalog.PutStateSet{Set: model.StateSet{Name: "pump", States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}}}}
	for i, typ := range testTypes {
		settings := model.Settings{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped(), Unit: map[bool]string{true: "Cel"}[typ == model.Float64]}
		if typ == model.State {
			settings.StateSet = "pump"
		}
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: "was/" + typ.String(), UUID: model.UUID{1, byte(i)}, Settings: []model.Settings{settings}, Attributes: map[string]string{"area": "north"},
		}}})
	}
	results, err := db.ChangeCatalog(ctx, changes)
	require.NoError(t, err)
	for i, typ := range testTypes {
		require.NoError(t, results[i+1].Err)
		renamed, err := db.ChangeCatalog(ctx, []catalog.Change{{Rename: &catalog.Rename{ID: results[i+1].Tag.ID, NewName: "plant/" + typ.String()}}})
		require.NoError(t, err)
		require.NoError(t, renamed[0].Err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var batch storage.Batch
	for i, typ := range testTypes {
		var s model.Samples
		s.Reset(typ)
		for k := range int64(300) {
			x := model.Sample{Time: testStart + k*second + 123_456_789, Type: typ, Quality: []model.Quality{model.Good, model.Good, model.Uncertain, model.BadNoData}[rng.IntN(4)]}
			switch typ {
			case model.Float64:
				x.Bits = math.Float64bits(rng.NormFloat64())
			case model.Float32:
				x.Bits = uint64(math.Float32bits(float32(rng.NormFloat64())))
			case model.Bool, model.State:
				x.Bits = rng.Uint64N(2)
			case model.String, model.Bytes:
				x.Blob = []byte(strings.Repeat("x", rng.IntN(5)))
			default:
				x.Bits = rng.Uint64()
			}
			s.Append(x)
		}
		batch.Runs = append(batch.Runs, storage.Run{Tag: results[i+1].Tag.ID, Mode: model.Insert, Samples: s})
	}
	submit(t, db, batch)
	edit := storage.Batch{Author: "mara", Reason: "recalibrated", Runs: []storage.Run{{Tag: results[1].Tag.ID, Mode: model.Update, Samples: model.Samples{
		Type: model.Float64, Times: []int64{testStart + 5*second + 123_456_789}, Bits: []uint64{math.Float64bits(7)},
	}}}}
	submit(t, db, edit)
	view, err := db.View(ctx, storage.Accepted)
	require.NoError(t, err)
	t.Cleanup(view.Close)
	engine, err := query.New(query.FromDB(db), query.Options{})
	require.NoError(t, err)
	return Moment{Catalog: db.Catalog(), View: view, Engine: engine, Now: time.Unix(0, testStart+600*second)}
}

func submit(t *testing.T, db *storage.DB, b storage.Batch) {
	t.Helper()
	p, err := db.Submit(context.Background(), &b)
	require.NoError(t, err)
	r, err := p.Applied(context.Background())
	require.NoError(t, err)
	require.Zero(t, r.Rejected)
}

// Whatever narrows a scan of samples, its rows are those of the whole table that meet it.
func TestScansAreNarrowedToWhatMeetsThem(t *testing.T) {
	at := testMoment(t)
	table, _ := Find("samples")
	all := rows(t, at, "samples", table.All())
	require.Len(t, all, 8*300)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		s := table.All()
		if rng.IntN(2) == 0 {
			s.Names = []string{}
			for _, typ := range testTypes {
				if rng.IntN(2) == 0 {
					s.Names = append(s.Names, "plant/"+typ.String())
				}
			}
			s.Names = append(s.Names, "nobody")
		}
		if rng.IntN(2) == 0 {
			s.IDs = []uint32{uint32(rng.IntN(10)), 100, uint32(rng.IntN(10) + 10)}
		}
		if rng.IntN(2) == 0 {
			s.In = model.TimeRange{Start: testStart + rng.Int64N(400*second), End: testStart + rng.Int64N(400*second)}
		}
		s.Severities = query.Severities(rng.IntN(8))
		s.Nothing = rng.IntN(10) == 0
		name := []string{"samples", "good_samples"}[rng.IntN(2)]
		var want []map[string]string
		for _, row := range all {
			var ns, id int64
			_, err := fmt.Sscan(row["time_ns"], &ns)
			require.NoError(t, err)
			_, err = fmt.Sscan(row["tag_id"], &id)
			require.NoError(t, err)
			severity := map[string]query.Severities{"Good": 1, "Uncertain": 2, "Bad": 4}[row["severity"]]
			if !s.Nothing && (s.Names == nil || slices.Contains(s.Names, row["tag"])) && (s.IDs == nil || slices.Contains(s.IDs, uint32(id))) && s.In.Contains(ns) &&
				(s.Severities == 0 || s.Severities&severity != 0) && (name == "samples" || severity == 1) {
				want = append(want, row)
			}
		}
		require.ElementsMatch(t, want, rows(t, at, name, s), "%+v", s)
	}
	s := table.All()
	s.Names = []string{"was/bool", "nobody"}
	_, err := tryRows(t, at, "samples", s)
	require.ErrorIs(t, err, ErrFormerName)
	require.ErrorContains(t, err, `"plant/bool"`)
	s.Names = append(s.Names, "plant/int64")
	require.Len(t, rows(t, at, "samples", s), 300)
	s.Limit = 7
	require.Len(t, rows(t, at, "samples", s), 7)
	_, err = tryRows(t, at, "samples", &Scan{Columns: []int{11}, In: model.All})
	require.ErrorIs(t, err, ErrBadScan)
}

// Parts have every tag once, about as many each, and those that are not made yet too.
func TestParts(t *testing.T) {
	at := testMoment(t)
	samples, _ := Find("samples")
	for n := 1; n < 20; n++ {
		for _, s := range []*Scan{{In: model.All}, {In: model.All, IDs: []uint32{7, 2, 3, 99}}, {In: model.All, Names: []string{"plant/bool", "nobody"}}, {In: model.All, Nothing: true}} {
			wanted, err := at.tagsOf(s)
			require.NoError(t, err)
			tags := 0
			for range wanted {
				tags++
			}
			parts, err := samples.Parts(at, s, n)
			require.NoError(t, err)
			require.Len(t, parts, max(min(n, tags), 1))
			have := 0
			for _, p := range parts {
				part := *s
				part.FirstID, part.EndID = p[0], p[1]
				some, err := at.tagsOf(&part)
				require.NoError(t, err)
				own := 0
				for range some {
					own++
				}
				require.GreaterOrEqual(t, own, tags/len(parts))
				require.LessOrEqual(t, own, tags/len(parts)+1)
				have += own
			}
			require.Equal(t, tags, have)
			for id := uint32(1); id < 100; id++ {
				in := 0
				for _, p := range parts {
					if id >= p[0] && (p[1] == 0 || id < p[1]) {
						in++
					}
				}
				require.Equal(t, 1, in, "id %d of %v", id, parts)
			}
		}
	}
}

func TestTables(t *testing.T) {
	at := testMoment(t)
	all := func(name string) []map[string]string {
		table, _ := Find(name)
		return rows(t, at, name, table.All())
	}
	tags := all("tags")
	require.Len(t, tags, 8)
	require.Equal(t, map[string]string{
		"tag_id": tags[0]["tag_id"], "name": "plant/float64", "type": "float64", "unit": "Cel", "stepped": "false",
		"first_time": "2026-03-01 00:00:00.123456Z", "last_time": "2026-03-01 00:04:59.123456Z", "samples": "300",
	}, tags[0])
	names := all("tag_names")
	require.Len(t, names, 16)
	require.Equal(t, "was/float64", names[0]["name"])
	require.NotContains(t, names[0], "valid_from")
	require.Equal(t, names[0]["valid_to"], names[1]["valid_from"])
	require.Len(t, all("tag_attributes"), 8)
	require.Equal(t, []map[string]string{
		{"state_set": "pump", "version": "1", "code": "0", "state": "off"},
		{"state_set": "pump", "version": "1", "code": "1", "state": "on"},
	}, all("state_sets"))

	// The newest samples are the last of each tag.
	samples, latest := all("samples"), all("latest")
	require.Len(t, latest, 8)
	for i, row := range latest {
		require.Equal(t, fmt.Sprint(math.Float64bits(600-299.123456789)), row["age_s"])
		delete(row, "age_s")
		require.Equal(t, samples[300*i+299], row)
	}

	// Versions that stand are the samples, but for the edited one, which has two.
	versions := all("versions")
	require.Len(t, versions, 8*300+1)
	require.Equal(t, "inserted", versions[5]["kind"])
	require.Equal(t, "replaced", versions[6]["kind"])
	require.Equal(t, fmt.Sprint(math.Float64bits(7)), versions[6]["value"])
	require.Equal(t, "mara", versions[6]["author"])
	require.Equal(t, "recalibrated", versions[6]["reason"])
	standing := slices.Delete(versions, 5, 6)
	for i, row := range standing {
		for _, c := range []string{"time", "tag", "value", "value_int", "value_text", "quality", "status", "time_ns", "seq", "tag_id"} {
			require.Equal(t, samples[i][c], row[c], "%s of %v", c, row)
		}
	}
}

// Functions answer as the tables do where both know.
func TestFunctions(t *testing.T) {
	at := testMoment(t)
	start, stop := "2026-03-01 00:00:10+00", "2026-03-01 00:00:20+00"
	for _, tags := range []any{"plant/float64", []string{"plant/uint64"}, "plant/*", []string{"plant/state"}, "plant/bool", "plant/string", []string{"plant/int64", "plant/state"}, "plant/float32"} {
		raw := rows(t, at, "raw", call("raw", map[string]any{"tags": tags, "start": start, "stop": stop}))
		table, _ := Find("samples")
		s := table.All()
		s.In = model.TimeRange{Start: testStart + 10*second, End: testStart + 20*second}
		s.Names = []string{}
		for _, r := range raw {
			s.Names = append(s.Names, r["tag"])
		}
		slices.Sort(s.Names)
		s.Names = slices.Compact(s.Names)
		for _, r := range raw {
			require.Contains(t, r, "ingested_at")
			for _, own := range []string{"ingested_at", "source", "value_bytes"} {
				delete(r, own)
			}
		}
		require.ElementsMatch(t, rows(t, at, "samples", s), raw, "%v", tags)
		reverse := rows(t, at, "raw", call("raw", map[string]any{"tags": tags, "start": start, "stop": stop, "reverse": true}))
		require.Len(t, reverse, len(raw))

		// At the times of samples their values stand, and nothing else.
		instants := rows(t, at, "at_times", call("at_times", map[string]any{"tags": tags, "times": []string{"2026-03-01 00:00:12"}}))
		every := rows(t, at, "interpolated", call("interpolated", map[string]any{"tags": tags, "start": "2026-03-01 00:00:12+00", "stop": "2026-03-01 00:00:13+00", "every": "1s"}))
		require.Equal(t, instants, every)
		require.Len(t, instants, len(s.Names))
	}
	counts := rows(t, at, "aggregate", call("aggregate", map[string]any{"tags": []string{"plant/*"}, "start": start, "stop": stop, "every": "5s", "functions": "Count", "treat_uncertain_as_bad": false}))
	require.Len(t, counts, 16)
	for _, every := range []string{"00:00:05", "00:00:05.000000"} { // INTERVAL '5 seconds', as the engine writes it
		require.Equal(t, counts, rows(t, at, "aggregate", call("aggregate", map[string]any{"tags": []string{"plant/*"}, "start": start, "stop": stop, "every": every, "functions": "Count", "treat_uncertain_as_bad": false})))
	}
	for _, r := range counts {
		require.Equal(t, "5", r["raw_count"])
		require.Equal(t, "Count", r["function"])
	}
	plot := rows(t, at, "plot", call("plot", map[string]any{"tags": "plant/float64", "start": start, "stop": stop, "pixels": 3}))
	require.NotEmpty(t, plot)
	states := rows(t, at, "time_in_state", call("time_in_state", map[string]any{"tags": []string{"plant/state"}, "start": start, "stop": stop, "every": "10s"}))
	require.NotEmpty(t, states)
	require.Contains(t, []string{"on", "off"}, states[0]["state"])
	parts := rows(t, at, "completeness", call("completeness", map[string]any{"tags": []string{"plant/state", "plant/string"}, "start": start, "stop": stop, "every": "5s", "interval": "1h"}))
	require.Len(t, parts, 4)
	for _, r := range parts {
		require.Equal(t, []string{"5", fmt.Sprint(math.Float64bits(100)), fmt.Sprint(math.Float64bits(0))}, []string{r["samples"], r["collected"], r["unknown"]})
	}

	wide, _ := Find("wide")
	s := call("wide", map[string]any{"tags": []string{"plant/float64", "plant/state"}, "start": start, "stop": stop, "every": "2s", "quality": true})
	columns, err := wide.ColumnsWith(at, s)
	require.NoError(t, err)
	var names []string
	for i, c := range columns {
		names = append(names, c.Name+" "+c.Type.String())
		s.Columns = append(s.Columns, i)
	}
	require.Equal(t, []string{"time timestamp[ns, tz=UTC]", "plant/float64 float64", "plant/float64:q int64", "plant/state utf8", "plant/state:q int64"}, names)
	require.Len(t, rows(t, at, "wide", s), 5)
	s.Columns = []int{3}
	require.Len(t, rows(t, at, "wide", s)[0], 1)

	byIDs := call("raw", map[string]any{})
	byIDs.IDs = []uint32{1, 9999}
	require.Len(t, rows(t, at, "raw", byIDs), 300)
	byIDs.IDs = []uint32{}
	require.Empty(t, rows(t, at, "raw", byIDs))

	for _, x := range []struct {
		name      string
		arguments map[string]any
		says      string
	}{
		{"raw", nil, "tags of raw: missing"},
		{"raw", map[string]any{"tags": "nobody"}, "tag not found"},
		{"raw", map[string]any{"tags": "was/bool"}, `"plant/bool"`},
		{"raw", map[string]any{"tags": "x*"}, "no tag matches"},
		{"raw", map[string]any{"tags": "plant/bool", "bounds": "all"}, "bounds of raw"},
		{"raw", map[string]any{"tags": "plant/bool", "bounds": "outside"}, "without start or stop"},
		{"raw", map[string]any{"tags": "plant/bool", "max": 0}, "must be 1 to"},
		{"raw", map[string]any{"tags": "plant/bool", "reverse": true}, "reverse of raw"},
		{"raw", map[string]any{"tags": "plant/bool", "start": "soon"}, "no instant"},
		{"raw", map[string]any{"tags": 7}, "cannot be used"},
		{"at_times", map[string]any{"tags": "plant/bool"}, "times of at_times: missing"},
		{"interpolated", map[string]any{"tags": "plant/bool", "start": start}, "both must be given"},
		{"interpolated", map[string]any{"tags": "plant/bool", "start": start, "stop": stop}, "every of interpolated: missing"},
		{"interpolated", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "-1s"}, "must be positive"},
		{"interpolated", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "00:00:00"}, "must be positive"},
		{"interpolated", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "-00:00:05"}, "every"},
		{"interpolated", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "99999999999:00:00"}, "every"},
		{"aggregate", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "1s"}, "functions of aggregate: missing"},
		{"aggregate", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "1s", "functions": []string{"Nothing"}}, "Nothing"},
		{"aggregate", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "1s", "functions": "Count", "percent_good": 101}, "must be 0 to 100"},
		{"plot", map[string]any{"tags": "plant/bool", "start": start, "stop": stop}, "pixels of plot: missing"},
		{"completeness", map[string]any{"tags": "plant/float64", "start": start, "stop": stop, "interval": "x"}, "must be a length of time"},
		{"time_in_state", map[string]any{"tags": "plant/float64", "start": start, "stop": stop, "every": "1s"}, "must be bool, state or of integers"},
	} {
		_, err := tryRows(t, at, x.name, call(x.name, x.arguments))
		require.ErrorContains(t, err, x.says, "%+v", x)
	}
	_, err = wide.ColumnsWith(at, call("wide", map[string]any{"tags": "plant/bool", "start": start, "stop": stop, "every": "1s", "mode": "sideways"}))
	require.ErrorContains(t, err, "mode of wide")
}

// The page of the tables names every table, function, column and argument, in order.
func TestThePageHasTheTables(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/sql.md")
	require.NoError(t, err)
	for _, x := range Tables {
		_, section, ok := strings.Cut(string(page), "\n### `"+x.Name+"`")
		require.True(t, ok, "no section of %s", x.Name)
		section, _, _ = strings.Cut(section, "\n### ")
		rest := section
		for _, c := range x.Columns {
			_, after, ok := strings.Cut(rest, "`"+c.Name+"`")
			require.True(t, ok, "%s: column %s is not there, or not in its place", x.Name, c.Name)
			rest = after
		}
		for _, a := range x.Arguments {
			require.Contains(t, section, "`"+a.Name+"`", x.Name)
		}
	}
}
