package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/bench/plant"
)

func TestGrownStagesFollowOneAnother(t *testing.T) {
	g := grown{Tags: 20, Total: 3 * 4000, Stage: 4000}
	require.NoError(t, g.validate())
	stages := g.stages()
	require.Len(t, stages, 3)
	for i, o := range stages {
		require.Equal(t, 200, o.samplesPerTag())
		require.Equal(t, plant.Start+int64(i)*200_000, o.start())
		require.Equal(t, uint64(i+1), o.Seed, "stages do not repeat each other")
	}
	require.Equal(t, 600, g.steps())
	for _, broken := range []grown{{1, 100, 100}, {20, 4000, 0}, {20, 4100, 4100}, {20, 6000, 4000}, {20, 4000, 8000}} {
		require.Error(t, broken.validate(), "%+v", broken)
	}
}

// Every second has one sample of each tag, across stages too.
func TestSentIsWhatTheStagesSend(t *testing.T) {
	g := grown{Tags: 20, Total: 3 * 4000, Stage: 4000}
	whole := g.sent(7, g.at(0), g.at(g.steps()))
	var want series
	for _, o := range g.stages() {
		times, values := makeTag(&o, 7, o.samplesPerTag())
		for i := range times {
			want.add(times[i]/millisecond, values[i])
		}
	}
	require.Equal(t, want, whole)
	for _, x := range randomRanges(g, rand.New(rand.NewPCG(1, 1)), time.Minute, 50) {
		got := g.sent(x.tag, x.from, x.to)
		require.Len(t, got.times, 60)
		require.GreaterOrEqual(t, got.times[0]*millisecond, x.from)
		require.Less(t, got.times[59]*millisecond, x.to)
	}
}

func TestGrownKnowsItsStore(t *testing.T) {
	g, dir := grown{Tags: 20, Total: 4000, Stage: 4000}, t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, grownFile), []byte(`{"tags":20,"samples":4000,"stage":4000}`), 0o600))
	ingest, err := g.load(context.Background(), "none", dir, nil)
	require.NoError(t, err)
	require.Nil(t, ingest)
	g.Tags = 10
	_, err = g.load(context.Background(), "none", dir, nil)
	require.ErrorContains(t, err, "holds other samples")
	require.NoError(t, os.Remove(filepath.Join(dir, grownFile)))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "store"), 0o700))
	_, err = g.load(context.Background(), "none", dir, nil)
	require.ErrorContains(t, err, "not loaded to its end")
}

func TestSQLOptionsSayWhatIsWrong(t *testing.T) {
	good := sqlOptions{grown: grown{20, 4000, 4000}, Range: time.Minute, Ranges: 1, ScanRows: 20, Repeat: 1, ScanRepeat: 1, Output: "table"}
	require.NoError(t, good.validate())
	for flag, change := range map[string]func(*sqlOptions){
		"--output":    func(o *sqlOptions) { o.Output = "xml" },
		"--range":     func(o *sqlOptions) { o.Range = 200 * time.Second },
		"--ranges":    func(o *sqlOptions) { o.Ranges = 0 },
		"--scan-rows": func(o *sqlOptions) { o.ScanRows = 19 },
		"--keep":      func(o *sqlOptions) { o.Keep = true },
		"--samples":   func(o *sqlOptions) { o.Total = 4001 },
	} {
		bad := good
		change(&bad)
		require.ErrorContains(t, bad.validate(), flag)
	}
}

// Answers of SQL and of the other doors are compared as one kind.
func TestSeriesOfTakesAnswersOfEveryDoor(t *testing.T) {
	at := &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	record := func(quality arrow.DataType, codes func(array.Builder)) arrow.Record {
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
			{Name: "time", Type: at}, {Name: "value", Type: arrow.PrimitiveTypes.Float64}, {Name: "quality", Type: quality},
		}, nil))
		b.Field(0).(*array.TimestampBuilder).Append(5 * millisecond)
		b.Field(1).(*array.Float64Builder).Append(1.5)
		codes(b.Field(2))
		return b.NewRecord()
	}
	want := series{[]int64{5}, []float64{1.5}}
	for _, r := range []arrow.Record{
		record(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(0) }),
		record(arrow.PrimitiveTypes.Uint32, func(b array.Builder) { b.(*array.Uint32Builder).Append(0) }),
	} {
		var got series
		require.NoError(t, seriesOf(&got)(r))
		require.Equal(t, want, got)
	}
	var got series
	bad := record(arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(0x80000000) })
	require.ErrorContains(t, seriesOf(&got)(bad), "another quality")
	text := record(arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append("Good") })
	require.ErrorContains(t, seriesOf(&got)(text), "column quality")
}

func TestBarsAreHeldOrMissed(t *testing.T) {
	require.True(t, atMost("a", 1.9, 2, "ms").Held)
	require.False(t, atMost("a", 2, 2, "ms").Held)
	require.True(t, atLeast("a", 20, 20, "M rows/s").Held)
	require.False(t, atLeast("a", 19.9, 20, "M rows/s").Held)
}

func TestWatchSeesAProcessAndItsDeath(t *testing.T) {
	if _, err := cpuSeconds("self"); err != nil {
		t.Skip(err)
	}
	require.Zero(t, sqlProcess(os.Getpid()))
	p := exec.Command("sleep", "100")
	require.NoError(t, p.Start())
	require.Eventually(t, func() bool { return sqlProcess(os.Getpid()) == p.Process.Pid }, time.Minute, time.Millisecond)
	temp := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(temp, "spilled"), make([]byte, 1000), 0o600))
	w := watch(os.Getpid(), temp)
	require.Eventually(t, func() bool { return w.so().Child > 0 }, time.Minute, time.Millisecond)
	require.NoError(t, p.Process.Kill())
	require.Error(t, p.Wait())
	require.Eventually(t, func() bool { return w.so().Deaths == 1 }, time.Minute, time.Millisecond)
	require.Zero(t, sqlProcess(os.Getpid()))
	seen := w.stop()
	require.Equal(t, 1, seen.Deaths)
	require.EqualValues(t, 1000, seen.Temp)
	require.NotZero(t, seen.Server)
}

func TestLiteralIsWholeMicroseconds(t *testing.T) {
	require.Equal(t, "timestamptz '2026-01-01 00:00:00.040000+00'", literal((plant.Start+40)*millisecond))
	require.Equal(t, fmt.Sprint(plant.Start), fmt.Sprint((&grown{}).at(0)/millisecond))
}
