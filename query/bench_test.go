package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/cputime"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// dropped is a Sink that sends nothing.
type dropped struct{}

func (dropped) Start() error                   { return nil }
func (dropped) WritePayload(ipc.Payload) error { return nil }
func (dropped) Close() error                   { return nil }

const benchStart = int64(20_000 * 86_400 * 1e9) // the start of a day

// sealedPlant is a sealed store of tags at 1 Hz, half of them with times that jitter, with decimal values.
func sealedPlant(b *testing.B, tags, samples int) *storage.DB {
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	var changes []catalog.Change
	for i := range tags {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("T%05d", i), UUID: model.UUID{byte(i), byte(i >> 8), 1}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64, Unit: "mbar"}},
		}}})
	}
	_, err = db.ChangeCatalog(context.Background(), changes)
	require.NoError(b, err)
	rnd := uint64(1)
	var last *storage.Pending
	for tag := range tags {
		s := model.Samples{Type: model.Float64}
		for i := range samples {
			rnd = rnd*6364136223846793005 + 1442695040888963407
			t := benchStart + int64(i)*1e9
			if tag%2 == 1 {
				t += int64(rnd>>33%41) * 1e6
			}
			s.Times = append(s.Times, t)
			s.Bits = append(s.Bits, math.Float64bits(math.Round(500+300*math.Sin(float64(i)/5000)+float64(rnd>>40%64))/10))
		}
		last, err = db.Submit(context.Background(), &storage.Batch{
			Source: "s", Epoch: 1, Sequence: uint64(tag + 1), ContentHash: uint64(tag + 1),
			Runs: []storage.Run{{Tag: model.TagID(tag + 1), Mode: model.Update, Samples: s}},
		})
		require.NoError(b, err)
	}
	_, err = last.Applied(context.Background())
	require.NoError(b, err)
	_, err = db.Seal(context.Background())
	require.NoError(b, err)
	return db
}

// BenchmarkAnswers is whole answers of sealed data but for sending them: minutes of 100 tags over three hours, and an hour and
// three hours of samples.
func BenchmarkAnswers(b *testing.B) {
	const tags = 100
	e, err := New(FromDB(sealedPlant(b, tags, 10_800)), Options{})
	require.NoError(b, err)
	var all Tags
	for i := range tags {
		all.IDs = append(all.IDs, model.TagID(i+1))
	}
	minutes := func(a Aggregate, unit string) func() error {
		return func() error {
			_, err := e.ReadAggregates(context.Background(), AggregatesRequest{
				Tags: all, Buckets: Buckets{Start: benchStart, End: benchStart + int64(3*time.Hour), Step: int64(time.Minute)}, Aggregates: []Aggregate{a}, Unit: unit,
			}, dropped{})
			return err
		}
	}
	samples := func(t Tags, d time.Duration, unit string) func() error {
		return func() error {
			_, err := e.ReadRange(context.Background(), RangeRequest{Tags: t, Start: benchStart, End: benchStart + int64(d), Unit: unit}, dropped{})
			return err
		}
	}
	for _, c := range []struct {
		name string
		ask  func() error
	}{
		{"minutes=event_weighted_average", minutes(EventWeightedAverage, "")},
		{"minutes=time_weighted_average", minutes(TimeWeightedAverage, "")},
		{"minutes=time_weighted_average/unit=bar", minutes(TimeWeightedAverage, "bar")},
		{"minutes=Average,Minimum,Maximum,TimeAverage2,PercentGood", func() error {
			_, err := e.ReadProcessed(context.Background(), ProcessedRequest{
				Tags: all, Buckets: Buckets{Start: benchStart, End: benchStart + int64(3*time.Hour), Step: int64(time.Minute)}, Configuration: part13.Defaults,
				Functions: functions(b, "Average", "Minimum", "Maximum", "TimeAverage2", "PercentGood"),
			}, dropped{})
			return err
		}},
		{"samples/tags=1", samples(Tags{IDs: all.IDs[:1]}, time.Hour, "")},
		{"samples/tags=100", samples(all, 3*time.Hour, "")},
		{"samples/tags=100/unit=bar", samples(all, 3*time.Hour, "bar")},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cputime.Used(b)
			for b.Loop() {
				require.NoError(b, c.ask())
			}
			b.ReportMetric((cputime.Used(b)-before).Seconds()/float64(b.N)*1e6, "cpu-µs/op")
		})
	}
}

// BenchmarkAtTimes is values of ten sealed tags over three hours: at one instant, each second of some minutes, each minute, at
// instants far apart, and in no order.
func BenchmarkAtTimes(b *testing.B) {
	const tags = 10
	e, err := New(FromDB(sealedPlant(b, tags, 10_800)), Options{})
	require.NoError(b, err)
	var all Tags
	for i := range tags {
		all.IDs = append(all.IDs, model.TagID(i+1))
	}
	end := benchStart + int64(3*time.Hour)
	shuffled := rand.New(rand.NewPCG(1, 2)).Perm(10_000)
	times := make([]int64, len(shuffled))
	for i, k := range shuffled {
		times[i] = benchStart + int64(k)*1e9 + 5e8
	}
	for _, c := range []struct {
		name string
		ask  AtTimesRequest
	}{
		{"instants=1", AtTimesRequest{Times: []int64{benchStart + int64(time.Hour) + 7}}},
		{"instants=180/every=1m", AtTimesRequest{Start: benchStart, End: end, Every: int64(time.Minute)}},
		{"instants=10800/every=1s", AtTimesRequest{Start: benchStart + 1, End: end, Every: int64(time.Second)}},
		{"instants=10800/every=1s/bridge", AtTimesRequest{Start: benchStart + 1, End: end, Every: int64(time.Second), BridgeBad: true}},
		{"instants=10000/shuffled", AtTimesRequest{Times: times}},
	} {
		c.ask.Tags = all
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cputime.Used(b)
			for b.Loop() {
				_, err := e.ReadAtTimes(context.Background(), c.ask, dropped{})
				require.NoError(b, err)
			}
			b.ReportMetric((cputime.Used(b)-before).Seconds()/float64(b.N)*1e6, "cpu-µs/op")
		})
	}
}

// BenchmarkSparseInstants is values of a sealed tag of ten days at a sample a second, at instants each some time apart.
func BenchmarkSparseInstants(b *testing.B) {
	e, err := New(FromDB(sealedPlant(b, 1, 10*86_400)), Options{})
	require.NoError(b, err)
	for _, every := range []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour} {
		b.Run("every="+every.String(), func(b *testing.B) {
			for b.Loop() {
				_, err := e.ReadAtTimes(context.Background(), AtTimesRequest{
					Tags: Tags{IDs: []model.TagID{1}}, Start: benchStart + 7, End: benchStart + int64(10*24*time.Hour), Every: int64(every),
				}, dropped{})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkWide is wide answers about sealed tags over an hour, a row a second, but for sending them.
func BenchmarkWide(b *testing.B) {
	const tags = 1000
	e, err := New(FromDB(sealedPlant(b, tags, 3600)), Options{})
	require.NoError(b, err)
	seconds := WideRequest{Buckets: Buckets{Start: benchStart, End: benchStart + int64(time.Hour), Step: int64(time.Second)}}
	for i := range tags {
		seconds.IDs = append(seconds.IDs, model.TagID(i+1))
	}
	minutes := seconds
	minutes.Step = int64(time.Minute)
	for _, c := range []struct {
		name string
		ask  WideRequest
		mode WideMode
		of   Aggregate
	}{
		{"mode=asof/every=1s", seconds, WideAsOf, 0},
		{"mode=interpolated/every=1s", seconds, WideInterpolated, 0},
		{"mode=aggregate/every=1m", minutes, WideAggregate, TimeWeightedAverage},
	} {
		c.ask.Mode, c.ask.Aggregate = c.mode, c.of
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cputime.Used(b)
			rows := uint64(0)
			for b.Loop() {
				rows, err = e.ReadWide(context.Background(), c.ask, dropped{})
				require.NoError(b, err)
			}
			cells := float64(rows*tags*uint64(b.N)) / 1e6
			b.ReportMetric(cells/b.Elapsed().Seconds(), "Mcells/s")
			b.ReportMetric(cells/(cputime.Used(b)-before).Seconds(), "Mcells/cpu-s")
		})
	}
}

// BenchmarkMinutes is minutes of 100 sealed tags over a day at 1 Hz, five aggregates of OPC UA Part 13 at once, but for sending them.
func BenchmarkMinutes(b *testing.B) {
	const tags, samples = 100, 86_400
	e, err := New(FromDB(sealedPlant(b, tags, samples)), Options{})
	require.NoError(b, err)
	ask := ProcessedRequest{
		Buckets: Buckets{Start: benchStart, End: benchStart + int64(24*time.Hour), Step: int64(time.Minute)}, Configuration: part13.Defaults,
		Functions: functions(b, "Average", "Minimum", "Maximum", "TimeAverage2", "PercentGood"),
	}
	for i := range tags {
		ask.IDs = append(ask.IDs, model.TagID(i+1))
	}
	b.ReportAllocs()
	before := cputime.Used(b)
	for b.Loop() {
		rows, err := e.ReadProcessed(context.Background(), ask, dropped{})
		require.NoError(b, err)
		require.EqualValues(b, tags*1440*5, rows)
	}
	b.ReportMetric((cputime.Used(b)-before).Seconds()/float64(b.N)*1e3, "cpu-ms/op")
	b.ReportMetric((cputime.Used(b)-before).Seconds()/float64(b.N*tags*samples)*1e9, "cpu-ns/sample")
}
