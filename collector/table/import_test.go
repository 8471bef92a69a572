package table

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func write(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	return path
}

func importFile(t testing.TB, s Server, path string, o Options) *Report {
	r, err := Import(context.Background(), s, path, o)
	require.NoError(t, err)
	return r
}

func TestImportWide(t *testing.T) {
	p, s := newPlainServer(t)
	r := importFile(t, s, "testdata/tep.csv", Options{Mapping: Mapping{Prefix: "TEP.06."}})
	require.False(t, r.AnyRejected())
	require.EqualValues(t, 24, r.Applied)
	require.Equal(t, 4, r.TagsCreated)
	require.Equal(t, []string{
		"2001-01-01T00:00:00Z 0.25058 Good", "2001-01-01T00:03:00Z 0.24944 Good", "2001-01-01T00:06:00Z 0.25058 Good",
		"2001-01-01T00:09:00Z 0.2518 Good", "2001-01-01T00:12:00Z 0.24764 Good", "2001-01-01T00:15:00Z 0.247 Good",
	}, p.samples["TEP.06.XMEAS_01"])

	again := importFile(t, s, "testdata/tep.csv", Options{Mapping: Mapping{Prefix: "TEP.06."}})
	require.Zero(t, again.Sent)
	require.EqualValues(t, 1, again.Skipped)
	require.Equal(t, r.Source, again.Source)
	resent := importFile(t, s, "testdata/tep.csv", Options{Mapping: Mapping{Prefix: "TEP.06."}, Resend: true})
	require.EqualValues(t, 1, resent.Duplicates)
	require.Zero(t, resent.Applied)
	require.Len(t, p.samples["TEP.06.XMEAS_01"], 6)

	other := importFile(t, s, "testdata/tep.csv", Options{Mapping: Mapping{Prefix: "OTHER."}})
	require.NotEqual(t, r.Source, other.Source)
	require.EqualValues(t, 24, other.Applied)
}

func TestImportLong(t *testing.T) {
	p, s := newPlainServer(t)
	r := importFile(t, s, "testdata/hurco.csv", Options{Mode: varvev1.WriteMode_WRITE_MODE_APPEND})
	require.Equal(t, Long, r.Shape)
	require.False(t, r.AnyRejected())
	require.Equal(t, 1, r.OutOfOrder)
	require.Equal(t, map[string][]string{
		"EStop_State": {`2017-05-01T10:25:03.4693962Z "UNAVAILABLE" BadNoCommunication`, `2017-05-01T10:26:46.7662712Z "ARMED" Good`},
		"Feed_Rate": {
			"2017-05-01T10:25:03.4693962Z null BadNoCommunication", "2017-05-01T10:26:46.7662712Z 0 Good",
			"2017-05-01T10:26:55.7975212Z 21.16667 Good", "2017-05-01T10:26:55.7975212Z 21.16667 Good",
			"2002-01-01T04:11:02.796875Z null BadNoCommunication", "2017-05-01T10:26:57.0631462Z null BadNoData",
		},
		"Program_Name_Running": {`2017-05-01T10:26:46.7662712Z " " Good`, `2017-05-01T10:26:56.0631462Z "" Good`},
		"system_cond":          {`2017-05-01T10:26:58.0631462Z "Warning" Good`, `2017-05-01T10:26:59.0631462Z "Warning" Good`},
		"system_cond.detail":   {`2017-05-01T10:26:58.0631462Z "1101|||INTERFERE" Good`, `2017-05-01T10:26:59.0631462Z "433||say \"no\",|SAME PROGRAM EXISTS" Good`},
	}, p.samples)

	_, plain := newPlainServer(t)
	r = importFile(t, plain, "testdata/hurco.csv", Options{})
	require.EqualValues(t, 1, r.Ignored)
	require.Contains(t, strings.Join(r.Notes, "\n"), "--mode append")
}

func TestImportKeysAndOtherColumns(t *testing.T) {
	p, s := newPlainServer(t)
	path := write(t, "wind.csv", "time,turbine,power,state\n2024-07-01T00:00:00Z,7,1.5,G\n2024-07-01T00:00:00Z,8,2,b\n2024-07-01T00:10:00Z,7,,\n2024-07-01T00:10:00Z, ,3,x\n")
	r := importFile(t, s, path, Options{Mapping: Mapping{KeyColumns: []string{"turbine"}}})
	require.Equal(t, map[string][]string{
		"7.power": {"2024-07-01T00:00:00Z 1.5 Good"}, "8.power": {"2024-07-01T00:00:00Z 2 Good"},
		"7.state": {`2024-07-01T00:00:00Z "G" Good`}, "8.state": {`2024-07-01T00:00:00Z "b" Good`},
	}, p.samples)
	require.Equal(t, 1, r.BadRows)
	require.Equal(t, []Fault{{Reason: "the key is empty", Column: "turbine", Count: 1, Lines: []int{5}}}, r.Reasons)

	p, s = newPlainServer(t)
	r = importFile(t, s, path, Options{})
	require.EqualValues(t, 4, r.Ignored) // the rows share their times
	require.Contains(t, strings.Join(r.Notes, "\n"), "--key-column turbine")
	require.Contains(t, p.samples, "turbine")

	p, s = newPlainServer(t)
	path = write(t, "parts.csv", "time,part,op,tag,value,detail\n2017-02-02T16:37:08Z,Box-01,OP1,Block,0,\n2017-02-02T16:37:08Z,Box-01,OP1,Feed,1.5,\n2017-02-02T16:37:09Z,Box-01,OP2,Block,9,\n")
	importFile(t, s, path, Options{})
	require.Equal(t, map[string][]string{
		"Block": {"2017-02-02T16:37:08Z 0 Good", "2017-02-02T16:37:09Z 9 Good"}, "Feed": {"2017-02-02T16:37:08Z 1.5 Good"},
		"part": {`2017-02-02T16:37:08Z "Box-01" Good`, `2017-02-02T16:37:09Z "Box-01" Good`},
		"op":   {`2017-02-02T16:37:08Z "OP1" Good`, `2017-02-02T16:37:09Z "OP2" Good`},
	}, p.samples)
	p, s = newPlainServer(t)
	importFile(t, s, path, Options{Mapping: Mapping{KeyColumns: []string{"part", "op"}}})
	require.Equal(t, []string{"2017-02-02T16:37:08Z 0 Good"}, p.samples["Box-01.OP1.Block"])
	require.Equal(t, []string{"2017-02-02T16:37:09Z 9 Good"}, p.samples["Box-01.OP2.Block"])
}

func TestLongTablesHaveQualities(t *testing.T) {
	p, s := newPlainServer(t)
	path := write(t, "q.csv", strings.Join([]string{
		"Timestamp,TagName,Value,Quality",
		"2024-01-01T00:00:00Z,a,1.5,Good",
		"2024-01-01T00:00:01Z,a,2.5,uncertainsubnormal",
		"2024-01-01T00:00:02Z,a,3.5,0x80AB0401",
		"2024-01-01T00:00:03Z,a,,BadSensorFailure",
		"2024-01-01T00:00:04Z,a,,",
		"2024-01-01T00:00:05Z,a,4.5,",
		"2024-01-01T00:00:06Z,a,5.5,192",
		"2024-01-01T00:00:07Z,a,6.5,0",
		"2024-01-01T00:00:08Z,a,7.5,fine",
		"2024-01-01T00:00:00Z,b,x,Bad",
		"2024-01-01T00:00:01Z,b,,Bad",
		"2024-01-01T00:00:02Z,b,\"\",Bad",
		"2024-01-01T00:00:03Z,b,UNAVAILABLE,Uncertain",
		"",
	}, "\n"))
	r := importFile(t, s, path, Options{Mapping: Mapping{Qualities: map[string]string{"192": "Good"}}})
	require.Equal(t, Long, r.Shape)
	require.Equal(t, map[string][]string{
		"a": {
			"2024-01-01T00:00:00Z 1.5 Good", "2024-01-01T00:00:01Z 2.5 UncertainSubNormal", "2024-01-01T00:00:02Z 3.5 BadInvalidArgument+Calculated",
			"2024-01-01T00:00:03Z null BadSensorFailure", "2024-01-01T00:00:04Z null BadNoData", "2024-01-01T00:00:05Z 4.5 Good",
			"2024-01-01T00:00:06Z 5.5 Good",
		},
		"b": {
			`2024-01-01T00:00:00Z "x" Bad`, "2024-01-01T00:00:01Z null Bad", `2024-01-01T00:00:02Z "" Bad`,
			`2024-01-01T00:00:03Z "UNAVAILABLE" Uncertain`,
		},
	}, p.samples)
	require.Equal(t, 2, r.BadRows)
	require.Contains(t, r.Reasons[0].Reason, `quality "0" may be an OPC DA quality`)
	require.Equal(t, []int{9}, r.Reasons[0].Lines)
	require.Contains(t, r.Reasons[1].Reason, `"fine"`)

	_, err := Scan(context.Background(), path, Mapping{QualityColumn: "state"}, nil)
	require.ErrorIs(t, err, ErrHeader)
}

func TestAStoppedImportTellsHowFarItCame(t *testing.T) {
	_, s := newPlainServer(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	text := "time,a\n" + strings.Repeat("2024-01-01T00:00:00Z,1\n", 5000)
	r, err := Import(ctx, s, write(t, "x.csv", text), Options{OnProgress: func(p Progress) {
		if !p.Scanning {
			stop()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.NotZero(t, r.Rows)
	require.Less(t, r.Rows, 5000)
}

// A column that was given a type does not become text; what does not fit it is rejected.
func TestNoNoteOnTextWhereThereIsNone(t *testing.T) {
	_, s := newPlainServer(t)
	m := Mapping{
		Columns:   map[string]Column{"a": {Type: "float32"}, "p": {StateSet: "pump"}},
		StateSets: map[string]map[int64]string{"pump": {0: "stopped"}},
	}
	r := importFile(t, s, write(t, "x.csv", "time,a,p\n2024-01-01T00:00:00Z,1,0\n2024-01-01T00:00:01Z,hot,broken\n"), Options{Mapping: m})
	require.Equal(t, 2, r.BadFields)
	require.Empty(t, r.Notes)
	require.Equal(t, `"broken" is no state of pump; varve tags states get pump shows them`, r.Reasons[1].Reason)
}

func TestOtherDelimitersAndDecimals(t *testing.T) {
	for name, text := range map[string]string{
		"semicolons": "time;a;b\n2024-01-01T00:00:00Z;1.5;x\n",
		"in quotes":  "\uFEFF\"time\";\"a\";\"b\"\r\n\"2024-01-01T00:00:00Z\";\"1.5\";\"x\"\r\n",
		"tabs":       "time\ta\tb\n2024-01-01T00:00:00Z\t1.5\tx\n",
		"bars":       "time|a|b\n2024-01-01T00:00:00Z|1.5|x\n",
	} {
		p, s := newPlainServer(t)
		importFile(t, s, write(t, "x.csv", text), Options{})
		require.Equal(t, map[string][]string{"a": {"2024-01-01T00:00:00Z 1.5 Good"}, "b": {`2024-01-01T00:00:00Z "x" Good`}}, p.samples, name)
	}

	path := write(t, "x.csv", "time;a;b;c\n2024-01-01T00:00:00Z;1,5;2;1,5 bar\n2024-01-01T00:00:01Z;-2,5e-3;3,25;x,y\n2024-01-01T00:00:02Z;7;NaN;z\n")
	p, s := newPlainServer(t)
	r := importFile(t, s, path, Options{Mapping: Mapping{Decimal: ","}})
	require.False(t, r.AnyRejected())
	require.Empty(t, r.Notes)
	require.Equal(t, map[string][]string{
		"a": {"2024-01-01T00:00:00Z 1.5 Good", "2024-01-01T00:00:01Z -0.0025 Good", "2024-01-01T00:00:02Z 7 Good"},
		"b": {"2024-01-01T00:00:00Z 2 Good", "2024-01-01T00:00:01Z 3.25 Good", "2024-01-01T00:00:02Z NaN Good"},
		"c": {`2024-01-01T00:00:00Z "1,5 bar" Good`, `2024-01-01T00:00:01Z "x,y" Good`, `2024-01-01T00:00:02Z "z" Good`},
	}, p.samples)
	p, s = newPlainServer(t)
	r = importFile(t, s, path, Options{})
	require.Equal(t, []string{"a holds numbers with a decimal comma and became text; import with --decimal ','"}, r.Notes)
	require.Equal(t, `2024-01-01T00:00:00Z "1,5" Good`, p.samples["a"][0])
}

func TestDateAndTimeOfDayApart(t *testing.T) {
	want := map[string][]string{"a": {"2004-03-10T18:00:00Z 1 Good", "2004-03-10T19:00:00Z 2 Good"}}
	for name, c := range map[string]struct {
		text string
		m    Mapping
	}{
		"date and time":           {"Date,Time,a\n2004-03-10,18:00:00,1\n2004-03-10,19:00:00,2\n", Mapping{}},
		"time before date":        {"time,a,date\n18:00:00,1,2004-03-10\n19:00:00,2,2004-03-10\n", Mapping{}},
		"in a format":             {"Date;Time;a\n10/03/2004;18.00.00;1\n10/03/2004;19.00.00;2\n", Mapping{TimeFormat: "%d/%m/%Y %H.%M.%S"}},
		"columns of other names":  {"Day,Clock,a\n2004-03-10,18:00,1\n2004-03-10,19:00,2\n", Mapping{TimeColumn: "Day+Clock"}},
		"a column with a + in it": {"a,x+y\n1,2004-03-10T18:00:00Z\n2,2004-03-10T19:00:00Z\n", Mapping{TimeColumn: "x+y"}},
	} {
		p, s := newPlainServer(t)
		r := importFile(t, s, write(t, "x.csv", c.text), Options{Mapping: c.m})
		require.False(t, r.AnyRejected(), name)
		require.Equal(t, want, p.samples, name)
	}
	p, s := newPlainServer(t)
	importFile(t, s, write(t, "x.csv", "time,date,a\n2004-03-10T18:00:00Z,2004-03-10,1\n"), Options{})
	require.Len(t, p.samples, 2, "a date beside a whole time is a value")
	_, err := Scan(context.Background(), write(t, "x.csv", "Day,a\n2004-03-10,1\n"), Mapping{TimeColumn: "Day+Clock"}, nil)
	require.ErrorIs(t, err, ErrHeader)
}

func TestImportReportsWhatItCannotTake(t *testing.T) {
	p, s := newPlainServer(t)
	p.refuse["refused"] = true
	path := write(t, "bad.csv", strings.Join([]string{
		"time,a,refused,text",
		"yesterday,1,1,x", // line 2: introduces no tag before the others
		"2024-01-01T00:00:00Z,1,1,x",
		"2024-01-01T00:00:01Z,1",
		"2024-01-01T00:00:02Z,2,2,\"x",
		"2024-01-01T00:00:03Z,3,,\xff",
		"2024-01-01T00:00:04Z,many,,y\x00z",
		"9999-01-01T00:00:05Z,4,,y",
		"",
	}, "\n"))
	r := importFile(t, s, path, Options{Mapping: Mapping{Columns: map[string]Column{"a": {Type: "float64"}}}})
	require.True(t, r.AnyRejected())
	require.Equal(t, []string{"2024-01-01T00:00:00Z 1 Good", "2024-01-01T00:00:03Z 3 Good"}, p.samples["a"])
	require.Equal(t, []string{`2024-01-01T00:00:00Z "x" Good`}, p.samples["text"])
	require.Equal(t, 4, r.BadRows)
	require.Equal(t, 4, r.BadFields)
	got := map[string][]int{}
	for _, f := range r.Reasons {
		got[f.Column+": "+f.Reason] = f.Lines
	}
	require.Equal(t, map[string][]int{
		`time: time "yesterday" is not of the form 2006-01-02T15:04:05Z`: {2},
		"refused: too many tags":         {3},
		": 2 fields, the header has 4":   {4},
		": a quoted field is not closed": {5},
		"text: text is not UTF-8; convert the file first, for instance with iconv": {6},
		`a: "many" is no float64`: {7},
		"text: text has zero bytes; the file may be UTF-16: convert it to UTF-8 first": {7},
		"time: time 9999-01-01T00:00:05Z is outside the years 1678 to 2261":            {8},
	}, got)
}

// An import that was cut off goes on behind what is applied and leaves what one whole run would.
func TestImportResumes(t *testing.T) {
	var text strings.Builder
	text.WriteString("time,a,b\n")
	for i := range 270_000 {
		fmt.Fprintf(&text, "%d,%d,%d\n", i, i, i%7)
	}
	path := write(t, "long.csv", text.String())
	o := Options{Mapping: Mapping{TimeFormat: "unix"}}

	whole, s := newPlainServer(t)
	r := importFile(t, s, path, o)
	require.EqualValues(t, 540_000, r.Applied)
	require.Greater(t, r.Batches, uint64(8))

	parts, s := newPlainServer(t)
	parts.hangUpAt = 6
	_, err := Import(context.Background(), s, path, o)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	parts.hangUpAt = 0
	rest := importFile(t, s, path, o)
	require.EqualValues(t, 5, rest.Skipped)
	require.Equal(t, r.Batches, rest.Batches)
	require.Equal(t, whole.samples, parts.samples)
}

func TestImportFitsTheTypesOfTagsThatExist(t *testing.T) {
	p, s := newPlainServer(t)
	_, err := p.CreateTags(context.Background(), &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{
		{Name: "text", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_STRING}}},
		{Name: "whole", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_INT64}}},
	}})
	require.NoError(t, err)
	path := write(t, "x.csv", "time,text,whole\n2024-01-01T00:00:00Z,1.50,7\n2024-01-01T00:00:01Z,2,7.5\n")
	r := importFile(t, s, path, Options{})
	require.Equal(t, []string{`2024-01-01T00:00:00Z "1.50" Good`, `2024-01-01T00:00:01Z "2" Good`}, p.samples["text"])
	require.Equal(t, []string{"2024-01-01T00:00:00Z 7 Good"}, p.samples["whole"])
	require.Equal(t, []Fault{{Reason: `"7.5" is no int64`, Column: "whole", Count: 1, Lines: []int{3}}}, r.Reasons)
}

func TestImportStatesAndMapping(t *testing.T) {
	p, s := newPlainServer(t)
	mapping := write(t, "map.yaml", `
time_column: at
time_format: "%d.%m.%Y %H:%M"
time_zone: Europe/Berlin
prefix: "{file}."
missing: ["?"]
bad: {ERR: BadSensorFailure}
columns:
  pump: {tag: P-101.RUN, state_set: pump}
  "T*": {type: float32, unit: Cel, description: a temperature}
  note: {skip: true}
state_sets:
  pump: {0: stopped, 1: running}
`)
	m, err := ReadMapping(mapping)
	require.NoError(t, err)
	path := write(t, "unit1.data.csv", "at,pump,T1,T2,note\n01.07.2024 12:00,running,20.1,?,a\n01.07.2024 12:01,0,ERR,3,b\n01.07.2024 12:02,off,1,2,\n")
	r := importFile(t, s, path, Options{Mapping: m})
	require.Equal(t, map[string][]string{
		"unit1.P-101.RUN": {"2024-07-01T10:00:00Z state 1 Good", "2024-07-01T10:01:00Z state 0 Good"},
		"unit1.T1":        {"2024-07-01T10:00:00Z 20.1 Good", "2024-07-01T10:01:00Z null BadSensorFailure", "2024-07-01T10:02:00Z 1 Good"},
		"unit1.T2":        {"2024-07-01T10:01:00Z 3 Good", "2024-07-01T10:02:00Z 2 Good"},
	}, p.samples)
	require.Equal(t, []Fault{{Reason: `"off" is no state of pump; varve tags states get pump shows them`, Column: "unit1.P-101.RUN", Count: 1, Lines: []int{4}}}, r.Reasons)
	require.Equal(t, "Cel", p.tags["unit1.T1"].Settings[0].Unit)
	require.Equal(t, "pump", p.tags["unit1.P-101.RUN"].Settings[0].StateSet)
	require.Equal(t, "a temperature", p.tags["unit1.T2"].Description)
	require.Equal(t, 3, r.LocalTimes)
}

func TestMappingRefusesNonsense(t *testing.T) {
	for text, says := range map[string]string{
		"shape: deep":                            "shape",
		"colums: {}":                             "unknown key colums: must be one of shape, delimiter",
		"columns: {a: {units: m}}":               "unknown key units: must be one of tag, type, unit",
		"time_zone: Mars/Olympus":                "time zone",
		"delimiter: abc":                         "delimiter",
		"time_format: '%Q'":                      "%Q",
		"columns: {a: {type: float}}":            "float",
		"columns: {a: {type: state}}":            "state_set",
		"columns: {'[': {type: bool}}":           "pattern",
		"bad: {x: Awful}":                        "Awful",
		"decimal: ;":                             "decimal",
		"qualities: {x: Awful}":                  "Awful",
		"bad: {'': Bad}":                         "empty",
		"state_sets: {pump: {0: 'on', 1: 'on'}}": "pump",
		"prefix: [1]":                            "cannot unmarshal",
		"shape: [":                               "yaml",
	} {
		_, err := ReadMapping(write(t, "m.yaml", text))
		require.ErrorContains(t, err, says, text)
		require.ErrorIs(t, err, ErrMapping, text)
	}
}

func TestTagsTable(t *testing.T) {
	m := Mapping{Columns: map[string]Column{"a": {Unit: "bar"}}}
	require.NoError(t, m.AddTags(write(t, "tags.csv", "\uFEFFtag,description,units,type\na,pressure,Pa,float32\nb,,Cel,ACTUATOR\n")))
	require.Equal(t, map[string]Column{"a": {Unit: "bar", Description: "pressure", Type: "float32"}, "b": {Unit: "Cel"}}, m.Columns)
	require.ErrorIs(t, m.AddTags(write(t, "tags.csv", "name_of_it,unit\n")), ErrMapping)
	require.ErrorIs(t, m.AddTags("testdata/none.csv"), os.ErrNotExist)
}

func TestScanRefusesWhatIsNoTable(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		m    Mapping
		want error
	}{
		"empty":                    {"", Mapping{}, ErrHeader},
		"two columns of one name":  {"time,a,a\n2024-01-01T00:00:00Z,1,2\n", Mapping{}, ErrHeader},
		"no time column":           {"a,b\n1,2\n", Mapping{}, ErrHeader},
		"only a time column":       {"time\n2024-01-01T00:00:00Z\n", Mapping{}, ErrHeader},
		"unknown time column":      {"time,a\n2024-01-01T00:00:00Z,1\n", Mapping{TimeColumn: "when"}, ErrHeader},
		"unknown key column":       {"time,a\n2024-01-01T00:00:00Z,1\n", Mapping{KeyColumns: []string{"b"}}, ErrHeader},
		"time as key":              {"time,a\n2024-01-01T00:00:00Z,1\n", Mapping{KeyColumns: []string{"time"}}, ErrHeader},
		"long without a tag":       {"time,a\n2024-01-01T00:00:00Z,1\n", Mapping{Shape: Long}, ErrHeader},
		"times nobody understands": {"time,a\n01/02/2024,1\n", Mapping{}, ErrTimes},
		"UTF-16":                   {"t\x00i\x00m\x00e\x00,\x00a\x00\n\x001\x00\n\x00", Mapping{}, ErrHeader},
		"a tag twice":              {"time,a,b\n2024-01-01T00:00:00Z,1,2\n", Mapping{Columns: map[string]Column{"b": {Tag: "a"}}}, ErrMapping},
		"semicolons, and a comma":  {"time;a, b\n2024-01-01T00:00:00Z;1\n", Mapping{}, ErrHeader},
		"no header":                {"2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z,2\n", Mapping{}, ErrHeader},
		"no header, one row":       {"P101,2024-01-01T00:00:00Z,1\n", Mapping{}, ErrHeader},
		"lines end in CR only":     {"time,a\r2024-01-01T00:00:00Z,1\r", Mapping{}, ErrHeader},
		"empty times":              {"time,a\n,1\n,2\n", Mapping{}, ErrTimes},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Scan(context.Background(), write(t, "x.csv", c.text), c.m, nil)
			require.ErrorIs(t, err, c.want)
		})
	}
	_, err := Scan(context.Background(), os.DevNull, Mapping{}, nil)
	require.ErrorContains(t, err, "not a regular file")
	_, err = Scan(context.Background(), t.TempDir(), Mapping{}, nil)
	require.ErrorContains(t, err, "a directory")
	_, err = Scan(context.Background(), "-", Mapping{}, nil)
	require.ErrorContains(t, err, "save a stream as a file")
	_, err = Scan(context.Background(), write(t, "x.xlsx", "PK\x03\x04\x00\x00"), Mapping{}, nil)
	require.ErrorContains(t, err, "save the sheet as CSV")
	_, err = Scan(context.Background(), "testdata/none.csv", Mapping{}, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for text, says := range map[string]string{
		"time,a\n13/02/2024,1\n":     `column time of line 2 holds "13/02/2024"`,
		"time,a\n1704067200,1\n":     "--time-format unix:",
		"time,a\n1704067200.5,1\n":   "--time-format unix:",
		"ts,a\n1704067200123,1\n":    "--time-format unix_ms:",
		"ts,a\n1704067200123456,1\n": "--time-format unix_us:",
		"time,a\n,1\n":               "--time-column",
		"time,a\r2024-01-01,1\r":     "tr '\\r' '\\n'",
	} {
		_, err := Scan(context.Background(), write(t, "x.csv", text), Mapping{}, nil)
		require.ErrorContains(t, err, says, text)
	}
}

// A line of units under the header is rejected, since it has no time; the columns are numbers all the same.
func TestRejectedRowsDecideNoType(t *testing.T) {
	p, s := newPlainServer(t)
	r := importFile(t, s, write(t, "x.csv", "time,a,b\n,bar,Cel\nTS,x,y\n2024-01-01T00:00:00Z,1.5,2\nlater,z,3\n"), Options{})
	require.Equal(t, 3, r.BadRows)
	require.Equal(t, []string{"2024-01-01T00:00:00Z 1.5 Good"}, p.samples["a"])
	require.Equal(t, []string{"2024-01-01T00:00:00Z 2 Good"}, p.samples["b"])
	require.Len(t, r.Notes, 0)

	r = importFile(t, s, write(t, "x.csv", "time,a\n2024-01-01T00:00:00Z,1,\n"), Options{})
	require.Equal(t, 1, r.BadRows)
	require.Empty(t, r.Notes, "rows that are rejected are rows")
}

func TestFilesWithoutSamples(t *testing.T) {
	_, s := newPlainServer(t)
	for name, text := range map[string]string{
		"header only":    "time,a\n",
		"only bad rows":  "time,a\n\"x\n\"y\"z\n",
		"only empty":     "time,a\n2024-01-01T00:00:00Z,\n",
		"only bad times": "time,a\n" + strings.Repeat("2024-01-01T00:00:00Z\n", 3),
	} {
		r := importFile(t, s, write(t, "x.csv", text), Options{})
		require.Zero(t, r.Samples, name)
		require.Equal(t, strings.Contains(name, "bad"), r.AnyRejected(), name)
	}
}

func TestCompressedFilesAreToldByTheirBytes(t *testing.T) {
	text, err := os.ReadFile("testdata/tep.csv")
	require.NoError(t, err)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(text[:40])
	require.NoError(t, z.Close())
	z.Reset(&zipped) // two members one behind the other
	_, _ = z.Write(text[40:])
	require.NoError(t, z.Close())
	e, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	_, s := newPlainServer(t)
	sources := map[string]bool{}
	for name, content := range map[string][]byte{"plain.gz": text, "gzip.csv": zipped.Bytes(), "zstd": e.EncodeAll(text, nil)} {
		r := importFile(t, s, write(t, name, string(content)), Options{})
		require.Equal(t, 24, r.Samples, name)
		sources[r.Source] = true
	}
	require.Len(t, sources, 1, "packing changes no identity")

	for name, content := range map[string][]byte{"cut.gz": zipped.Bytes()[:zipped.Len()-9], "cut.zst": e.EncodeAll(text, nil)[:60]} {
		r, err := Import(context.Background(), s, write(t, name, string(content)), Options{})
		require.Error(t, err, name)
		require.ErrorContains(t, err, "cut off")
		require.Zero(t, r.Sent, "a damaged file sends nothing")
	}
	bomb := e.EncodeAll(make([]byte, 100<<20), nil)
	_, err = Scan(context.Background(), write(t, "bomb.zst", string(bomb)), Mapping{}, nil)
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestManyColumns(t *testing.T) {
	p, s := newPlainServer(t)
	var text strings.Builder
	text.WriteString("time")
	for i := range 100_000 {
		fmt.Fprintf(&text, ",c%d", i)
	}
	for row := range 3 {
		fmt.Fprintf(&text, "\n2024-01-01T00:00:0%dZ", row)
		for i := range 100_000 {
			fmt.Fprintf(&text, ",%d", i+row)
		}
	}
	r := importFile(t, s, write(t, "wide.csv", text.String()), Options{})
	require.EqualValues(t, 300_000, r.Applied)
	require.Equal(t, []string{"2024-01-01T00:00:00Z 99999 Good", "2024-01-01T00:00:01Z 100000 Good", "2024-01-01T00:00:02Z 100001 Good"}, p.samples["c99999"])
}

// Whatever a wide table holds, each field that is there comes back as a sample, and nothing else does.
func TestWideTablesComeBackWhole(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 20 {
		columns, rows := 1+rng.IntN(8), rng.IntN(300)
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		header := []string{"time"}
		kinds := make([]int, columns)
		for i := range columns {
			header = append(header, fmt.Sprintf("c%d", i))
			kinds[i] = rng.IntN(5)
		}
		require.NoError(t, w.Write(header))
		want := map[string][]string{}
		for range rows {
			at := rng.Int64N(2e18) - 1e18
			row := []string{model.FormatTime(at)}
			for i, kind := range kinds {
				field, value := randomField(rng, kind)
				if row = append(row, field); field != "" {
					want[header[i+1]] = append(want[header[i+1]], fmt.Sprintf("%s %s Good", model.FormatTime(at), value))
				}
			}
			require.NoError(t, w.Write(row))
		}
		w.Flush()
		p, s := newPlainServer(t)
		types := map[string]Column{"c*": {}}
		for i, kind := range kinds {
			if kind == 4 {
				types[fmt.Sprintf("c%d", i)] = Column{Type: "string"}
			}
		}
		r := importFile(t, s, write(t, "x.csv", text.String()), Options{Mode: varvev1.WriteMode_WRITE_MODE_APPEND, Mapping: Mapping{Columns: types}})
		require.False(t, r.AnyRejected(), "%+v", r)
		require.Equal(t, want, p.samples)
	}
}

func randomField(rng *rand.Rand, kind int) (field, value string) {
	if rng.IntN(5) == 0 {
		return "", ""
	}
	switch kind {
	case 0:
		x := math.Float64frombits(rng.Uint64())
		if math.IsNaN(x) || x == math.Trunc(x) {
			x = 0.5
		}
		return strconv.FormatFloat(x, 'g', -1, 64), strconv.FormatFloat(x, 'g', -1, 64)
	case 1:
		n := rng.IntN(1000)
		return strconv.Itoa(n), strconv.Itoa(n)
	case 2:
		x := math.Round(rng.NormFloat64()*1e4) / 100
		return strconv.FormatFloat(x, 'f', 2, 64), strconv.FormatFloat(x, 'g', -1, 64)
	case 3:
		b := rng.IntN(2) == 0
		return strconv.FormatBool(b), strconv.FormatBool(b)
	}
	words := []string{"RUN", " ", "a,b", `"`, "x\ny", "Ü", "1", "true"}
	s := words[rng.IntN(len(words))]
	return s, strconv.Quote(s)
}

// FuzzTable feeds any bytes through both passes: no panic, no batch that its own columns contradict, and the same batches
// every time.
func FuzzTable(f *testing.F) {
	for _, name := range []string{"testdata/tep.csv", "testdata/hurco.csv"} {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(text, "", byte(0))
	}
	f.Add([]byte("time,k,a\n2024-01-01 00:00:00,x,1\n2024-01-01 00:00:00,y,?\n"), "k", byte(1))
	f.Add([]byte("ts;tag;value\n1;a;true\n"), "", byte(2))
	f.Fuzz(func(t *testing.T, text []byte, key string, variant byte) {
		m := Mapping{Missing: []string{"?"}}
		if key != "" {
			m.KeyColumns = []string{key}
		}
		if variant&1 != 0 {
			m.TimeZone = "Europe/Berlin"
		}
		if variant&2 != 0 {
			m.TimeFormat, m.Delimiter = "unix", ";"
		}
		path := write(t, "x.csv", string(text))
		p, err := Scan(context.Background(), path, m, nil)
		if err != nil {
			return
		}
		first := fuzzBatches(t, p)
		q, err := Scan(context.Background(), path, m, nil)
		require.NoError(t, err)
		require.True(t, slices.EqualFunc(first, fuzzBatches(t, q), func(a, b *varvev1.Batch) bool { return proto.Equal(a, b) }))
	})
}

func fuzzBatches(t *testing.T, p *Plan) (out []*varvev1.Batch) {
	ids := make([]model.TagID, len(p.Tags))
	for i := range ids {
		ids[i] = model.TagID(i + 1)
		if p.Tags[i].Type == 0 {
			p.Tags[i].refused = "nothing to store"
		}
	}
	samples := 0
	s, err := p.Batches(context.Background(), ids, varvev1.WriteMode_WRITE_MODE_APPEND, nil, func(b *varvev1.Batch) error {
		require.EqualValues(t, len(out)+1, b.Sequence)
		_, err := proto.Marshal(b)
		require.NoError(t, err)
		for _, r := range b.Runs {
			samples += len(samplesOf(r))
		}
		out = append(out, b)
		return nil
	}, nil)
	require.NoError(t, err)
	require.Equal(t, s.Samples, samples)
	return out
}
