package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector/simulator"
)

// TestCompletenessPage runs the sessions of docs/reference/completeness.md. How late the samples are depends on the day, and the name of an import on its file.
func TestCompletenessPage(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv",
		"time,FI-101\n2026-03-01T10:00:00Z,10\n2026-03-01T10:01:00Z,20\n2026-03-01T10:02:00Z,30\n2026-03-01T10:05:00Z,60\n2026-03-01T10:06:00Z,70\n"))
	commands, prints := sessionsOf(t, "../../docs/reference/completeness.md")
	require.Len(t, commands, 4)
	late := regexp.MustCompile(`\b\d{6,9}(\.\d+)?\b`)
	source := regexp.MustCompile(`import:[0-9a-f]{32}`)
	blank := func(text string) string {
		text = source.ReplaceAllString(text, "SOURCE")
		return strings.Join(strings.Fields(late.ReplaceAllString(text, "LATE")), " ")
	}
	for i, args := range commands {
		require.Equal(t, blank(prints[i]), blank(varve(t, append(args, "--server", address)...)), args)
	}
}

func TestCompletenessInEveryOutput(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,a,b\n2026-03-01T10:00:00Z,1,2\n2026-03-01T10:01:00Z,3,\n"))
	ask := func(flags ...string) string {
		return varve(t, append([]string{"completeness", "--server", address, "--start", "2026-03-01T09:59:00Z", "--end", "2026-03-01T10:02:00Z"}, flags...)...)
	}
	require.Contains(t, ask("a"), "33.33")
	var row struct {
		Tag, Bucket        string
		Collected, Unknown float64
		Samples            int
	}
	line, _, _ := strings.Cut(ask("--output", "json", "--every", "1m", "a", "b"), "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &row))
	require.Equal(t, []any{"a", "2026-03-01T09:59:00Z", 0.0, 100.0, 0}, []any{row.Tag, row.Bucket, row.Collected, row.Unknown, row.Samples})
	by := ask("--output", "csv", "--by-source", "*")
	require.Contains(t, by, "source,tags,bucket,bucket_end,complete,")
	require.Contains(t, by, ",2,2026-03-01T09:59:00Z,2026-03-01T10:02:00Z,")
	require.Contains(t, ask("--by-source", "*"), "SOURCE")
	file := filepath.Join(t.TempDir(), "x.parquet")
	ask("--output", "parquet", "--durations", "--file", file, "a")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "PAR1", string(b[:4]))
	require.Equal(t, "ARROW1", ask("--output", "arrow", "a")[:6])
	require.Contains(t, ask("--every", "1d", "--tz", "Europe/Berlin", "a"), "LABEL")
	for text, args := range map[string][]string{
		"must be one of":          {"--output", "xml", "a"},
		"must be later":           {"--start", "2026-03-02", "--end", "2026-03-01", "a"},
		"--calendar: needs":       {"--calendar", "plant", "a"},
		"do not go with":          {"--durations", "--by-source", "a"},
		"--durations: needs":      {"--durations", "a"},
		"must not be negative":    {"--interval", "-1s", "a"},
		"no tag to say":           {},
		"no tag \"nobody\"":       {"--server", address, "nobody"},
		"--every -1h: must be po": {"--every=-1h", "a"},
	} {
		_, why := fails(t, append([]string{"completeness"}, args...)...)
		require.Contains(t, why, text)
	}
}

// stepTimes is what completeness says of each step of a tag: nanoseconds by class, and how late.
type stepTimes map[int64]map[string]int64

func completenessOf(t *testing.T, address, tag string, plant *simulator.Plant, first, last int64, every time.Duration) stepTimes {
	at := func(step int64) string { return time.Unix(0, plant.Time(step)).UTC().Format(time.RFC3339Nano) }
	text := varve(t, "completeness", "--server", address, "--start", at(first), "--end", at(last+1), "--every", every.String(), "--interval", every.String(), "--durations", "--output", "csv", tag)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(t, err)
	out := stepTimes{}
	for _, r := range rows[1:] {
		begin, err := time.Parse(time.RFC3339Nano, r[2])
		require.NoError(t, err)
		x, sum := map[string]int64{}, int64(0)
		for i, name := range rows[0] {
			if class, ok := strings.CutSuffix(name, "_ns"); ok {
				x[class], err = strconv.ParseInt(r[i], 10, 64)
				require.NoError(t, err)
				sum += x[class]
			}
			if name == "late_s" && r[i] != "" {
				seconds, err := strconv.ParseFloat(r[i], 64)
				require.NoError(t, err)
				x["late"] = int64(seconds * 1e9)
			}
		}
		require.EqualValues(t, every, sum)
		out[plant.StepAt(begin.UnixNano())] = x
	}
	require.Len(t, out, int(last-first+1))
	return out
}

// storedSteps is the steps of which samples of a tag are stored.
func storedSteps(t *testing.T, address, tag string, plant *simulator.Plant) (out []int64) {
	for _, line := range stored(t, address, tag) {
		at, err := time.Parse(time.RFC3339Nano, strings.Fields(line)[0])
		require.NoError(t, err)
		out = append(out, plant.StepAt(at.UnixNano()))
	}
	return out
}

// toldGaps is the gaps of a kind, as varve gaps list has them; an open one ends in ages.
func toldGaps(t *testing.T, address, tag, kind string) (out [][2]int64) {
	for line := range strings.Lines(varve(t, "gaps", "list", "--server", address, "--output", "json", tag)) {
		var g struct{ Kind, Start, End string }
		require.NoError(t, json.Unmarshal([]byte(line), &g), line)
		if g.Kind != kind {
			continue
		}
		start, err := time.Parse(time.RFC3339Nano, g.Start)
		require.NoError(t, err)
		x := [2]int64{start.UnixNano(), 1 << 62}
		if g.End != "" {
			end, err := time.Parse(time.RFC3339Nano, g.End)
			require.NoError(t, err)
			x[1] = end.UnixNano()
		}
		out = append(out, x)
	}
	return out
}

// TestCompletenessFindsWhatWasPlanted has plants whose device is down at times, whose clock is off at times, and whose readings are held up at times, through a
// collector that is stopped for a while. Every step is found to be what it was, and none to be anything else.
func TestCompletenessFindsWhatWasPlanted(t *testing.T) {
	const every = 20 * time.Millisecond
	address, _ := serveInProcess(t, t.TempDir())
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`collector: c
destinations: [{address: '%s'}]
queue: {dir: %s/q}
sources:
  - name: p
    type: simulator
    settings: {seed: 3, every: 20ms, sensors: 1, pumps: 1, faults: {down: {every: 2s, for: 400ms}, clock_off: {every: 3s, for: 500ms, by: 1h}}}
    tags: [{address: pump/1, tag: p.pump, exc_dev: 0}, {address: sensor/1, tag: p.sensor}]
  - {name: l, type: simulator, settings: {seed: 4, every: 20ms, sensors: 1, faults: {late: 0.2, late_by: 100}}}
`, address, dir)), 0o644))
	plant := simulator.NewPlant(simulator.Settings{Seed: 3, Every: every, Sensors: 1, Pumps: 1, Faults: simulator.Faults{
		Down:     simulator.Window{Every: 2 * time.Second, For: 400 * time.Millisecond},
		ClockOff: simulator.ClockOff{Window: simulator.Window{Every: 3 * time.Second, For: 500 * time.Millisecond}, By: time.Hour},
	}})
	late := simulator.NewPlant(simulator.Settings{Seed: 4, Every: every, Sensors: 1, Faults: simulator.Faults{Late: 0.2, LateBy: 100}})
	stop := collectInProcess(t, config)
	eventually(t, "some seconds of samples", func() bool { return len(storedSteps(t, address, "p.sensor", plant)) > 200 })
	stop()
	time.Sleep(200 * time.Millisecond) // steps that nobody reads
	again := time.Now().UnixNano()
	before := len(storedSteps(t, address, "p.sensor", plant))
	collectInProcess(t, config)
	eventually(t, "samples behind the restart", func() bool { return len(storedSteps(t, address, "p.sensor", plant)) > before+150 })
	eventually(t, "the word of the collector", func() bool {
		return strings.Contains(varve(t, "completeness", "--server", address, "--start", "-5s", "--output", "csv", "p.pump"), "p.pump,c.p,")
	})
	now := varve(t, "completeness", "--server", address, "--start", "-5s", "--end", "now+1s", "--interval", "20ms", "p.pump", "l.sensor/1")
	require.Contains(t, now, "buffered")
	require.Contains(t, now, "c.l")
	newest := time.Now().UnixNano()
	hasArrived(t, address, "p.sensor", newest)
	hasArrived(t, address, "l.sensor/1", newest)

	first, last := storedSteps(t, address, "p.sensor", plant)[0], plant.StepAt(newest)
	off := toldGaps(t, address, "p.sensor", "not_collected")
	require.Len(t, off, 1, "while it was off")
	resumed := plant.StepAt(off[0][1])
	lastRead := first // before it was off: on a machine that was too slow, behind what it said of how far it had read
	for _, k := range storedSteps(t, address, "p.sensor", plant) {
		if plant.Time(k) <= again {
			lastRead = max(lastRead, k)
		}
	}
	tooLate := map[int64]bool{} // steps where a gap begins that should have begun before, on a machine that was too slow
	setAside := toldGaps(t, address, "p.sensor", "quarantined")
	for _, g := range setAside {
		if k := plant.StepAt(g[0]); plant.ClockOff(k) == 0 {
			tooLate[k], tooLate[k+1] = true, true
		}
	}
	found := map[string]int{}
	sensor, pump := completenessOf(t, address, "p.sensor", plant, first, last, every), completenessOf(t, address, "p.pump", plant, first, last, every)
	for k := first; k < last; k++ {
		x := sensor[k]
		require.Zero(t, x["lost"]+x["unknown"]+x["buffered"], "step %d: %v", k, x)
		isOff := k > lastRead && plant.Time(k) >= off[0][0] && plant.Time(k+1) <= again
		switch {
		case isOff:
			require.EqualValues(t, every, x["not_collected"], "step %d: %v", k, x)
			found["off"]++
		case plant.Time(k+1) > off[0][0] && k < resumed, tooLate[k]: // just when it began or ended
			continue
		case plant.Down(k):
			require.EqualValues(t, every, x["device_down"], "step %d: %v", k, x)
			found["down"]++
		case plant.ClockOff(k) != 0:
			require.Zero(t, x["collected"], "step %d: %v", k, x)
			for _, g := range setAside { // it begins with the receipt of a reading, behind the time that the step had
				if g[0] <= plant.Time(k) && plant.Time(k+1) <= g[1] {
					require.EqualValues(t, every, x["quarantined"], "step %d: %v", k, x)
					found["clock"]++
				}
			}
			found["quarantined"] += int(x["quarantined"])
		default:
			require.EqualValues(t, every, x["collected"], "step %d: %v", k, x)
			found["collected"]++
		}
		for _, class := range []string{"device_down", "not_collected", "quarantined"} {
			require.InDelta(t, x[class], pump[k][class], 1, "a pump that does not change lacks what the sensor lacks: step %d %s", k, class)
		}
		found["unchanged"] += int(pump[k]["unchanged"])
	}
	for _, what := range []string{"off", "down", "clock", "quarantined", "collected", "unchanged"} {
		require.Positive(t, found[what], what)
	}

	heldUp := 0
	for k, x := range completenessOf(t, address, "l.sensor/1", late, storedSteps(t, address, "l.sensor/1", late)[0], late.StepAt(newest)-1, every) {
		if len(late.At(k)) == 0 { // its reading is held up, and none comes in its place
			continue
		}
		saysItself := false
		for _, r := range late.At(k) {
			saysItself = saysItself || r.Time == late.Time(k)
		}
		if !saysItself && x["collected"] > 0 {
			heldUp++
			require.Greater(t, x["late"], int64(99*every-time.Second), "step %d: %v", k, x)
		}
	}
	require.Greater(t, heldUp, 5)
}

// hasArrived waits until nothing of a tag is buffered that was read before an instant.
func hasArrived(t *testing.T, address, tag string, before int64) {
	eventually(t, "what waits", func() bool {
		text := varve(t, "completeness", "--server", address, "--start", "-1h", "--end", time.Unix(0, before).UTC().Format(time.RFC3339Nano), "--output", "csv", tag)
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		require.NoError(t, err)
		require.Equal(t, "buffered", rows[0][11])
		return strings.HasPrefix(rows[1][1], "c.") && rows[1][11] == "0"
	})
}

// TestCompletenessFindsWhatWasDropped has a queue that is too small for an outage of the server: the steps that it dropped are lost, and no other.
func TestCompletenessFindsWhatWasDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a queue")
	}
	const every = 10 * time.Millisecond
	data, dir := t.TempDir(), t.TempDir()
	address, stopServer := serveInProcess(t, data)
	config := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`collector: c
destinations: [{address: '%s'}]
queue: {dir: %s/q, max_bytes: 1MiB, full: drop-oldest}
sources: [{name: p, type: simulator, settings: {seed: 3, every: 10ms, sensors: 300}}]
`, address, dir)), 0o644))
	plant := simulator.NewPlant(simulator.Settings{Seed: 3, Every: every, Sensors: 300})
	const tag = "p.sensor/7"
	stop := collectInProcess(t, config)
	eventually(t, "samples", func() bool { return len(stored(t, address, tag)) > 50 })
	stopServer()
	dropped := func() bool { // its oldest segment is gone
		names, err := filepath.Glob(filepath.Join(dir, "q", "queue", "samples", "*"))
		require.NoError(t, err)
		size := int64(0)
		for _, n := range names {
			if info, err := os.Stat(n); err == nil {
				size += info.Size()
			}
		}
		return size > 900<<10
	}
	eventually(t, "a full queue", dropped)
	time.Sleep(2 * time.Second) // more than it holds
	address, _ = serveInProcess(t, data, "--listen", address)
	eventually(t, "gaps", func() bool { return len(toldGaps(t, address, tag, "lost")) > 0 })
	newest := plant.StepAt(time.Now().UnixNano())
	hasArrived(t, address, tag, plant.Time(newest))
	gaps := toldGaps(t, address, tag, "lost")
	stop()

	there := map[int64]bool{}
	steps := storedSteps(t, address, tag, plant)
	for _, k := range steps {
		there[k] = true
	}
	lost := 0
	for k, x := range completenessOf(t, address, tag, plant, steps[0], newest-1, every) {
		switch {
		case !there[k]:
			require.EqualValues(t, every, x["lost"], "step %d: %v", k, x)
			lost++
		case slices.ContainsFunc(gaps, func(g [2]int64) bool { return g[0] <= plant.Time(k) && plant.Time(k) < g[1] }):
			// It had been sent when its record was dropped, and nobody knew that it had come.
		default:
			require.EqualValues(t, every, x["collected"], "step %d: %v", k, x)
		}
	}
	require.Positive(t, lost)
}

// TestCompletenessFindsWhatWasDamaged zeroes some KiB in the middle of a queue whose server is away: of both tags that are read all the time each step that is missing is
// lost, and no other one is.
func TestCompletenessFindsWhatWasDamaged(t *testing.T) {
	const every = 20 * time.Millisecond
	data, dir := t.TempDir(), t.TempDir()
	address, stopServer := serveInProcess(t, data)
	config := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`collector: c
destinations: [{address: '%s'}]
queue: {dir: %s/q}
sources: [{name: p, type: simulator, settings: {seed: 3, every: 20ms, sensors: 2}}]
`, address, dir)), 0o644))
	plant := simulator.NewPlant(simulator.Settings{Seed: 3, Every: every, Sensors: 2})
	tags := []string{"p.sensor/1", "p.sensor/2"}
	stop := collectInProcess(t, config)
	eventually(t, "samples", func() bool { return len(stored(t, address, tags[0])) > 20 })
	stopServer()
	time.Sleep(6 * time.Second) // of steps that the server does not have; when it ends is known to the second
	stopped := plant.StepAt(time.Now().UnixNano())
	stop()
	files, err := filepath.Glob(filepath.Join(dir, "q", "queue", "samples", "*.log"))
	require.NoError(t, err)
	newest := files[len(files)-1]
	b, err := os.ReadFile(newest)
	require.NoError(t, err)
	clear(b[len(b)/2:][:4<<10])
	require.NoError(t, os.WriteFile(newest, b, 0o644))

	address, _ = serveInProcess(t, data, "--listen", address)
	stop = collectInProcess(t, config)
	again := time.Now().UnixNano()
	for _, tag := range tags {
		hasArrived(t, address, tag, again)
		require.NotEmpty(t, toldGaps(t, address, tag, "lost"))
	}
	stop()
	for _, tag := range tags {
		there, lost := map[int64]bool{}, 0
		steps := storedSteps(t, address, tag, plant)
		for _, k := range steps {
			there[k] = true
		}
		for k, x := range completenessOf(t, address, tag, plant, steps[0], stopped-100, every) {
			switch {
			case !there[k]:
				require.EqualValues(t, every, x["lost"], "%s, step %d: %v", tag, k, x)
				lost++
			case !there[k+1]: // another sample may have come right behind it
				require.EqualValues(t, every, x["lost"]+x["collected"], "%s, step %d: %v", tag, k, x)
			default:
				require.EqualValues(t, every, x["collected"], "%s, step %d: %v", tag, k, x)
			}
		}
		require.Positive(t, lost)
	}
}

// TestCompletenessFindsWhatWasRefused has a tag that the server keeps as integers, and a source of other numbers: what is refused is lost, from the first on, while the
// tag beside it is collected.
func TestCompletenessFindsWhatWasRefused(t *testing.T) {
	const every = 20 * time.Millisecond
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "tags", "create", "--server", address, "p.sensor/1", "--type", "int64")
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`collector: c
destinations: [{address: '%s'}]
queue: {dir: %s/q}
sources: [{name: p, type: simulator, settings: {seed: 3, every: 20ms, sensors: 2}}]
`, address, dir)), 0o644))
	plant := simulator.NewPlant(simulator.Settings{Seed: 3, Every: every, Sensors: 2})
	collectInProcess(t, config)
	eventually(t, "samples, and a gap", func() bool {
		return len(storedSteps(t, address, "p.sensor/2", plant)) > 50 && len(toldGaps(t, address, "p.sensor/1", "lost")) > 0
	})
	newest := time.Now().UnixNano()
	hasArrived(t, address, "p.sensor/2", newest)
	hasArrived(t, address, "p.sensor/1", newest)
	gaps := toldGaps(t, address, "p.sensor/1", "lost")
	require.Len(t, gaps, 1, "it goes on")
	first, last := storedSteps(t, address, "p.sensor/2", plant)[0], plant.StepAt(newest)-1
	require.Equal(t, plant.Time(first), gaps[0][0])
	require.Contains(t, varve(t, "gaps", "list", "--server", address, "--output", "json", "p.sensor/1"), "another type")
	refused, taken := completenessOf(t, address, "p.sensor/1", plant, first, last, every), completenessOf(t, address, "p.sensor/2", plant, first, last, every)
	for k := first; k <= last; k++ {
		require.EqualValues(t, every, refused[k]["lost"], "step %d: %v", k, refused[k])
		require.EqualValues(t, every, taken[k]["collected"], "step %d: %v", k, taken[k])
	}
}
