package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

// sink keeps what it is given.
type sink struct {
	readings []collector.Reading
	rejected int
	lost     []string
	fail     func() error // nil: never
}

func (s *sink) Put(_ context.Context, r []collector.Reading) error {
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	s.readings = append(s.readings, r...)
	return nil
}
func (s *sink) Flush(context.Context) error                         { return nil }
func (s *sink) Down(context.Context, []string, int64, string) error { return nil }
func (s *sink) Up(context.Context, []string, int64) error           { return nil }
func (s *sink) Lost(_ context.Context, _ []string, from, to int64, reason string) error {
	s.lost = append(s.lost, fmt.Sprintf("%d %s", from, reason))
	return nil
}
func (s *sink) Count(c collector.Counter, n int) {
	if c == collector.Rejected {
		s.rejected += n
	}
}

var quiet = slog.New(slog.DiscardHandler)

// logger is a program that writes a log, and has it rotated.
type logger struct {
	t       *testing.T
	rng     *rand.Rand
	path    string
	mod     time.Time
	rows    int
	columns int
	rest    string   // of a line that is not written whole yet
	want    []string // readings, as text
	json    bool
	day     int
}

func (w *logger) touch(path string) {
	w.mod = w.mod.Add(time.Millisecond)
	require.NoError(w.t, os.Chtimes(path, w.mod, w.mod))
}

func (w *logger) append(text string) {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(w.t, err)
	_, err = f.WriteString(text)
	require.NoError(w.t, errors.Join(err, f.Close()))
	w.touch(w.path)
}

func (w *logger) header() string {
	names := []string{"time"}
	for i := range w.columns {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return strings.Join(names, ",") + "\n"
}

// line writes a row, or the first part of one.
func (w *logger) line() {
	if w.rest != "" {
		w.append(w.rest)
		w.rest = ""
		return
	}
	at := int64(1_700_000_000+w.rows) * 1e9
	w.rows++
	var line string
	if w.json {
		line = fmt.Sprintf(`{"time":%d,"c0":%d,"in":{"c1":"x%d"}}`, at/1e9, w.rows, w.rows)
		w.want = append(w.want, fmt.Sprintf("c0 %d %d", at, w.rows), fmt.Sprintf("in.c1 %d %q", at, fmt.Sprintf("x%d", w.rows)))
	} else {
		line = fmt.Sprint(at / 1e9)
		for i := range w.columns {
			line += fmt.Sprintf(",%d.5", w.rows*10+i)
			w.want = append(w.want, fmt.Sprintf("c%d %d %d.5", i, at, w.rows*10+i))
		}
	}
	line += "\n"
	if cut := w.rng.IntN(2 * len(line)); cut > 0 && cut < len(line) {
		line, w.rest = line[:cut], line[cut:]
	}
	w.append(line)
}

func (w *logger) finish() {
	if w.rest != "" {
		w.line()
	}
}

func (w *logger) begin() {
	if w.rng.IntN(3) == 0 {
		w.columns = 1 + w.rng.IntN(4)
	}
	if !w.json {
		w.append(w.header())
	} else {
		w.append("")
	}
}

// shift makes room for a rotated file, as logrotate does.
func (w *logger) shift() {
	for n := 9; n >= 1; n-- {
		err := os.Rename(fmt.Sprintf("%s.%d", w.path, n), fmt.Sprintf("%s.%d", w.path, n+1))
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(w.t, err)
		}
	}
}

func (w *logger) rotateByRename() {
	w.finish()
	w.shift()
	require.NoError(w.t, os.Rename(w.path, w.path+".1"))
	w.begin()
}

func (w *logger) rotateByCopy() {
	w.finish()
	w.shift()
	b, err := os.ReadFile(w.path)
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(w.path+".1", b, 0o644))
	w.touch(w.path + ".1")
	if w.rng.IntN(2) == 0 { // something is written between copy and truncate, which the rotation loses: nobody wrote it here
		w.stepBetween()
	}
	require.NoError(w.t, os.Truncate(w.path, 0))
	w.begin()
}

func (w *logger) stepBetween() {}

// newHeader is a program that starts anew in the same file.
func (w *logger) newHeader() {
	if !w.json {
		w.finish()
		w.columns = 1 + w.rng.IntN(4)
		w.append(w.header())
	}
}

func (w *logger) nextDay() {
	w.finish()
	w.day++
	w.path = filepath.Join(filepath.Dir(w.path), fmt.Sprintf("day-%03d.log", w.day))
	w.begin()
}

func texts(readings []collector.Reading) (out []string) {
	for _, r := range readings {
		out = append(out, fmt.Sprintf("%s %d %s", r.Address, r.Time, r.Value))
	}
	return out
}

// Whatever happens to the files, and however often the collector starts anew, each row is read once; after crashes, which lose the newest places, at
// least once and never otherwise than it was written.
func TestEveryLineOnce(t *testing.T) {
	runs := 3
	if n, err := strconv.Atoi(os.Getenv("VARVE_OUTAGE_SEEDS")); err == nil && n > runs {
		runs = n
	}
	if testing.Short() {
		runs = 1
	}
	for _, format := range []string{csvFormat, jsonLines} {
		for _, rotation := range []string{"rename", "copy", "days", "both"} {
			for _, crashes := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/crashes=%v", format, rotation, crashes), func(t *testing.T) {
					for range runs {
						everyLineOnce(t, format, rotation, crashes, rand.Uint64())
					}
				})
			}
		}
	}
}

func everyLineOnce(t *testing.T, format, rotation string, crashes bool, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	w := &logger{t: t, rng: rng, path: filepath.Join(dir, "plant.log"), mod: time.Unix(1_700_000_000, 0), columns: 2, json: format == jsonLines}
	s := Settings{Path: w.path, Format: format, JSON: JSON{TimeFormat: "unix"}, CSV: CSV{TimeFormat: "unix"}}
	if rotation == "days" {
		s.Path = filepath.Join(dir, "day-*.log")
		w.nextDay()
	} else {
		w.begin()
	}
	require.NoError(t, s.Check())
	out := &sink{}
	ctx := context.Background()
	state := t.TempDir()
	start := func() *tail {
		places, known, err := readPlaces(state)
		require.NoError(t, err)
		return newTail(s.withDefaults(), places, known, quiet)
	}
	x := start()
	unread := 0 // rotations since the last step
	step := func() {
		_, err := x.step(ctx, out)
		require.NoError(t, err, "seed %d", seed)
		unread = 0
	}
	for range 400 {
		switch n := rng.IntN(100); {
		case n < 60:
			w.line()
		case n < 80:
			step()
			if crashes && rng.IntN(4) == 0 {
				require.NoError(t, x.store(ctx, out, state))
			}
		case n < 84:
			w.newHeader()
		case n < 92:
			if unread++; unread > 3 {
				continue
			}
			switch {
			case rotation == "days":
				w.nextDay()
			case rotation == "rename" || rotation == "both" && rng.IntN(2) == 0:
				w.rotateByRename()
			default:
				w.rotateByCopy()
			}
		case n < 96:
			if !crashes {
				require.NoError(t, x.store(ctx, out, state))
			}
			x.close()
			x = start()
		}
	}
	w.finish()
	for range 20 {
		step()
	}
	x.close()
	require.Zero(t, out.rejected, "seed %d", seed)
	if !crashes { // after a crash it is not known how far a file was read that is gone
		require.Empty(t, out.lost, "seed %d", seed)
	}
	got := map[string]int{}
	for _, r := range texts(out.readings) {
		got[r]++
	}
	for _, r := range w.want {
		if crashes {
			require.GreaterOrEqual(t, got[r], 1, "seed %d: %s", seed, r)
		} else {
			require.Equal(t, 1, got[r], "seed %d: %s", seed, r)
		}
		delete(got, r)
	}
	require.Empty(t, got, "seed %d: rows that nobody wrote", seed)
}

// at is a place in a test: files in a folder, and the collector that reads them.
type rig struct {
	t     *testing.T
	dir   string
	s     Settings
	out   *sink
	tail  *tail
	state string
}

func newRig(t *testing.T, s Settings) *rig {
	r := &rig{t: t, dir: t.TempDir(), out: &sink{}, state: t.TempDir()}
	s.Path = filepath.Join(r.dir, "a.csv")
	require.NoError(t, s.Check())
	r.s = s.withDefaults()
	r.restart()
	return r
}

func (r *rig) restart() {
	if r.tail != nil {
		require.NoError(r.t, r.tail.store(context.Background(), r.out, r.state))
		r.tail.close()
	}
	places, known, err := readPlaces(r.state)
	require.NoError(r.t, err)
	r.tail = newTail(r.s, places, known, quiet)
}

func (r *rig) write(name, text string) {
	f, err := os.OpenFile(filepath.Join(r.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(r.t, err)
	_, err = f.WriteString(text)
	require.NoError(r.t, errors.Join(err, f.Close()))
}

func (r *rig) steps(n int) {
	for range n {
		_, err := r.tail.step(context.Background(), r.out)
		require.NoError(r.t, err)
	}
}

func TestFieldsOfTables(t *testing.T) {
	r := newRig(t, Settings{Prefix: "{file}/", CSV: CSV{
		Delimiter: ";", Decimal: ",", TimeColumn: "date+time", TimeFormat: "02.01.2006 15:04:05", TimeZone: "Europe/Berlin",
		Missing: []string{"-"}, Bad: map[string]string{"ERR": "BadSensorFailure"}, KeyColumns: []string{"unit"},
		Columns: map[string]Column{"batch": {Type: "string"}, "skip*": {Skip: true}, "code": {Type: "int64"}},
	}})
	r.write("a.csv", "date;time;unit;temp;on;batch;code;skip1\r\n")
	r.write("a.csv", "26.11.2026;10:00:00;b1;20,5;true;007;12;x\r\n26.11.2026;10:00:01;b1;-;;A;ERR;x\r\n26.11.2026;10:00:02;b1;9007199254740993;2;;1,5;x\r\n")
	r.write("a.csv", "26.11.2026;never;b1;1;1;1;1;1\r\ntoo;short\r\n")
	r.steps(2)
	base := time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC).UnixNano()
	at := func(name string, sec int64, v collector.Value) collector.Reading {
		return collector.Reading{Address: "a/b1." + name, Time: base + sec*1e9, HasTime: true, Value: v}
	}
	bad := at("code", 1, collector.Value{})
	bad.Quality = model.BadSensorFailure
	require.Equal(t, []collector.Reading{
		at("temp", 0, collector.Float64(20.5)), at("on", 0, collector.Bool(true)), at("batch", 0, collector.String("007")), at("code", 0, collector.Int64(12)),
		at("batch", 1, collector.String("A")), bad,
		at("temp", 2, collector.Int64(9007199254740993)), at("on", 2, collector.Float64(2)),
	}, r.out.readings)
	require.Equal(t, 3, r.out.rejected, "1,5 is no int64, a time, and a row")
}

func TestLongTables(t *testing.T) {
	r := newRig(t, Settings{CSV: CSV{Qualities: map[string]string{"192": "Good", "0": "Bad"}}})
	r.write("a.csv", "timestamp,tag,value,quality\n2026-11-26T10:00:00Z,FI-101,3.5,192\n2026-11-26T10:00:01Z,FI-101,3.6,0\n2026-11-26T10:00:02Z,FI-102,,192\n2026-11-26T10:00:02Z,,1,192\n")
	r.steps(1)
	require.Len(t, r.out.readings, 3)
	require.Equal(t, model.Bad, r.out.readings[1].Quality)
	require.True(t, r.out.readings[2].Value.IsNull())
	require.Equal(t, 1, r.out.rejected)
}

func TestJSONLines(t *testing.T) {
	r := newRig(t, Settings{Format: jsonLines, JSON: JSON{KeyFields: []string{"dev.id"}, Quality: "q"}})
	for _, line := range []string{
		`{"ts":"2026-11-26T10:00:00Z","dev":{"id":"b1","t":20.5,"on":true,"n":[1,null]},"q":"Uncertain"}`,
		`{"dev":{"id":"b1","big":18446744073709551615}}`, `{"ts":"2026-11-26T10:00:00Z","x":1}`, `nonsense`, `{"a":1} {"b":2}`, `{"dev":{"id":"b1","x":1e999}}`, ``, "\xff",
		`{"ts":"26.11.2026","dev":{"id":"b1","t":1}}`,
	} {
		r.write("a.csv", line+"\n")
	}
	r.steps(1)
	require.Equal(t, []string{
		"b1.dev.n.0 1", "b1.dev.n.1 null", "b1.dev.on true", "b1.dev.t 20.5", "b1.dev.big 18446744073709551615",
	}, func() (out []string) {
		for _, x := range r.out.readings {
			out = append(out, x.Address+" "+x.Value.String())
		}
		return out
	}())
	require.Equal(t, model.Uncertain, r.out.readings[0].Quality)
	require.False(t, r.out.readings[4].HasTime)
	require.Equal(t, 6, r.out.rejected)
	named := newRig(t, Settings{Format: jsonLines, JSON: JSON{Name: "tag", Value: "v"}})
	named.write("a.csv", `{"time":"2026-11-26T10:00:00Z","tag":"FI-101","v":3,"by":"x"}`+"\n"+`{"tag":"FI-101"}`+"\n")
	named.steps(1)
	require.Len(t, named.out.readings, 1)
	require.Equal(t, "FI-101", named.out.readings[0].Address)
	require.Equal(t, 1, named.out.rejected)
}

func TestLineProtocol(t *testing.T) {
	r := newRig(t, Settings{Format: lineProto, Line: Line{Unit: "s"}, Prefix: "agent."})
	r.write("a.csv", "# a comment\ncpu,host=b,cpu=0 idle=9.5,n=3i,up=true 1700000000\n\nwea\\ ther.x text=\"a, b\",u=7u 1700000001\nbroken\ncpu idle=1\n")
	r.steps(1)
	var got []string
	for _, x := range r.out.readings {
		got = append(got, fmt.Sprint(x.Address, " ", x.Time/1e9, " ", x.Value.Type, " ", x.Value))
	}
	require.Equal(t, []string{
		"agent.cpu.idle{cpu=0,host=b} 1700000000 float64 9.5", "agent.cpu.n{cpu=0,host=b} 1700000000 int64 3", "agent.cpu.up{cpu=0,host=b} 1700000000 bool true",
		`agent.wea ther\.x.text 1700000001 string "a, b"`, `agent.wea ther\.x.u 1700000001 uint64 7`, "agent.cpu.idle 0 float64 1",
	}, got)
	require.False(t, r.out.readings[5].HasTime)
	require.Equal(t, 1, r.out.rejected)
}

// A number that is cut off is another number.
func TestPartialLinesAreNotRead(t *testing.T) {
	r := newRig(t, Settings{})
	r.write("a.csv", "time,x\n2026-11-26T10:00:00Z,20.5")
	r.steps(3)
	require.Empty(t, r.out.readings)
	r.restart()
	r.write("a.csv", "1\n")
	r.steps(1)
	require.Equal(t, "20.51", r.out.readings[0].Value.String())
}

func TestFromTheEnd(t *testing.T) {
	r := newRig(t, Settings{From: fromEnd})
	r.write("a.csv", "time,x\n2026-11-26T10:00:00Z,1\n2026-11-26T10:00:01Z,2")
	r.write("a.csv.1", "time,x\n2026-11-26T09:00:00Z,1\n")
	r.steps(1)
	require.Empty(t, r.out.readings)
	r.restart()
	r.write("a.csv", "2\n")
	require.NoError(t, os.Rename(filepath.Join(r.dir, "a.csv"), filepath.Join(r.dir, "a.csv.2")))
	r.write("a.csv", "time,x\n2026-11-26T10:00:02Z,3\n")
	r.steps(2)
	require.Equal(t, []string{"22", "3"}, []string{r.out.readings[0].Value.String(), r.out.readings[1].Value.String()})
}

func TestLongLines(t *testing.T) {
	r := newRig(t, Settings{MaxLine: 1000})
	r.write("a.csv", "time,x\n2026-11-26T10:00:00Z,1\n2026-11-26T10:00:01Z,"+strings.Repeat("9", 1500))
	r.steps(2)
	r.restart()
	r.write("a.csv", strings.Repeat("9", 5000)+"\n2026-11-26T10:00:02Z,3\n2026-11-26T10:00:01Z,"+strings.Repeat("9", 1500)+"\n2026-11-26T10:00:03Z,4\n")
	r.steps(3)
	require.Equal(t, []string{"1", "3", "4"}, []string{r.out.readings[0].Value.String(), r.out.readings[1].Value.String(), r.out.readings[2].Value.String()})
	require.Equal(t, 2, r.out.rejected)
}

// A file that went before it was read is told as lost; nothing else is.
func TestAFileThatWentAway(t *testing.T) {
	r := newRig(t, Settings{})
	r.write("a.csv", "time,x\n2026-11-26T10:00:00Z,1\n")
	r.steps(1)
	r.restart()
	require.NoError(t, os.Remove(filepath.Join(r.dir, "a.csv")))
	r.steps(10)
	require.Len(t, r.out.lost, 1)
	require.Contains(t, r.out.lost[0], fmt.Sprint(time.Date(2026, 11, 26, 10, 0, 0, 1, time.UTC).UnixNano()))
	r.write("a.csv", "time,x\n2026-11-26T10:00:05Z,1\n")
	r.steps(2)
	require.NoError(t, os.Remove(filepath.Join(r.dir, "a.csv"))) // it is open, so nothing is lost
	r.steps(10)
	require.Len(t, r.out.lost, 1)
	require.Len(t, r.out.readings, 2)
	require.Empty(t, r.tail.files)
}

// What two lines of local time mean is told apart by the row before them, also after a restart between.
func TestLocalTimesOverARestart(t *testing.T) {
	r := newRig(t, Settings{CSV: CSV{TimeZone: "Europe/Berlin"}})
	r.write("a.csv", "time,x\n2026-10-25 02:59:00,1\n2026-10-25 02:00:00,2\n")
	r.steps(1)
	r.restart()
	r.write("a.csv", "2026-10-25 02:30:00,3\n")
	r.steps(1)
	var got []string
	for _, x := range r.out.readings {
		got = append(got, time.Unix(0, x.Time).UTC().Format("15:04"))
	}
	require.Equal(t, []string{"00:59", "01:00", "01:30"}, got)
}

// A copy that somebody makes is not read a second time, and what is written behind a header without rows is.
func TestCopiesAreLeftAlone(t *testing.T) {
	r := newRig(t, Settings{})
	r.write("a.csv", "time,x\n")
	r.steps(1)
	r.write("a.csv.5", "time,x\n2026-11-26T09:00:00Z,0\n")
	r.steps(1)
	require.Len(t, r.out.readings, 1)
	r.write("a.csv", "2026-11-26T10:00:00Z,1\n2026-11-26T10:00:01Z,2\n")
	r.steps(1)
	b, err := os.ReadFile(filepath.Join(r.dir, "a.csv"))
	require.NoError(t, err)
	r.write("a.csv.6", string(b))
	r.steps(3)
	require.Len(t, r.out.readings, 3)
}

func TestHeadersThatMakeNoSense(t *testing.T) {
	r := newRig(t, Settings{})
	r.write("a.csv", "2026-11-26T10:00:00Z,1\n")
	_, err := r.tail.step(context.Background(), r.out)
	require.ErrorContains(t, err, "column 1 of the first line is the time")
	named := newRig(t, Settings{CSV: CSV{Header: "time,x"}})
	named.write("a.csv", "2026-11-26T10:00:00Z,1\n")
	named.steps(1)
	require.Len(t, named.out.readings, 1)
}

// What the sink did not take is read again.
func TestFailuresAreReadAgain(t *testing.T) {
	r := newRig(t, Settings{})
	r.write("a.csv", "time,x\n2026-11-26T10:00:00Z,1\n")
	full := errors.New("full")
	r.out.fail = func() error { return full }
	_, err := r.tail.step(context.Background(), r.out)
	require.ErrorIs(t, err, full)
	r.out.fail = nil
	r.restart()
	r.steps(1)
	require.Len(t, r.out.readings, 1)
}

func TestCheckAndBrowse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	s := &source{collector.Env{Logger: quiet}, Settings{Path: path}.withDefaults()}
	require.ErrorContains(t, s.Check(context.Background(), nil), "no file is named")
	var b strings.Builder
	b.WriteString("time,x,name\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "2026-11-26T10:%02d:%02dZ,%d,n%d\n", i/60%60, i%60, i, i)
	}
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	seen := map[string]string{}
	require.NoError(t, s.Check(context.Background(), func(r collector.Reading) { seen[r.Address] = r.Value.String() }))
	require.Equal(t, map[string]string{"x": "4999", "name": `"n4999"`}, seen)
	var offers []collector.Offer
	require.NoError(t, s.Browse(context.Background(), "", func(o collector.Offer) error { offers = append(offers, o); return nil }))
	require.Equal(t, []collector.Offer{{Address: "name", Type: model.String}, {Address: "x", Type: model.Float64}}, offers)
}

func TestSettings(t *testing.T) {
	for want, s := range map[string]Settings{
		"give path":          {},
		"from \"middle\"":    {Path: "a", From: "middle"},
		"format \"xml\"":     {Path: "a", Format: "xml"},
		"poll 1ns":           {Path: "a", Poll: 1},
		"max_line 1":         {Path: "a", MaxLine: 1},
		"path \"[\"":         {Path: "["},
		"delimiter \"ab\"":   {Path: "a", CSV: CSV{Delimiter: "ab"}},
		"time zone \"Mars\"": {Path: "a", Format: jsonLines, JSON: JSON{TimeZone: "Mars"}},
		"unit \"h\"":         {Path: "a", Format: lineProto, Line: Line{Unit: "h"}},
		"name and value":     {Path: "a", Format: jsonLines, JSON: JSON{Name: "x"}},
	} {
		require.ErrorContains(t, s.Check(), want)
	}
}

// Lines are hostile: none takes the process down, and each is a row, or counted.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-26T10:00:00Z","a":{"b":[1,2.5,null,true,"x"]}}`))
	f.Add([]byte(`{"time":1e99,"":0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s := Settings{Path: "a", Format: jsonLines}.withDefaults()
		r, err := newJSONRows(&s, "a", 0)
		require.NoError(t, err)
		_, err = r.read(line, func(x collector.Reading) { require.True(t, x.Value.IsNull() || x.Value.Type.Valid()) }, func(error) {})
		if err != nil {
			require.ErrorAs(t, err, new(*lineError))
		}
	})
}
