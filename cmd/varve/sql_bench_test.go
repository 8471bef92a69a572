package main

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// BenchmarkAggregates asks for aggregates of 100 tags over 90 days of a sample a minute, sealed: from=rollups as they are answered, from=samples
// as they are where a selection is one that rollups do not answer.
func BenchmarkAggregates(b *testing.B) {
	const tags, days = 100, 90
	dir := b.TempDir()
	db, err := storage.Open(dir, storage.Options{MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(b, err)
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range tags {
		made, err := db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
			Name: string(rune('a'+i%26)) + "/" + string(rune('a'+i/26)), UUID: model.UUID{3, byte(i)}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}}})
		require.NoError(b, err)
		require.NoError(b, made[0].Err)
		for d := range days {
			s := model.Samples{Type: model.Float64}
			for m := range 1440 {
				s.Times = append(s.Times, partialsStart+(int64(d)*1440+int64(m))*int64(time.Minute))
				s.Bits = append(s.Bits, math.Float64bits(math.Round(1000*(20+rng.NormFloat64()))/1000))
			}
			batch := storage.Batch{Runs: []storage.Run{{Tag: made[0].Tag.ID, Mode: model.Update, Samples: s}}}
			p, err := db.Submit(ctx, &batch)
			require.NoError(b, err)
			_, err = p.Applied(ctx)
			require.NoError(b, err)
		}
	}
	_, err = db.Seal(ctx)
	require.NoError(b, err)
	require.NoError(b, db.Close())
	address, _ := serveInProcess(b, dir, "--sql-binary", sqlBinary(b))
	c := dialSQL(b, address)
	for _, x := range []struct{ name, sql string }{
		{"of=days", "select tag, date_trunc('day', time) as t, avg(value) from {samples} group by all"},
		{"of=days,last", "select tag, date_trunc('day', time) as t, count(*), min(value), max(value), arg_max(value, time) from {samples} group by all"},
		{"of=hours,tags=1", "select date_trunc('hour', time) as t, avg(value) from {samples} where tag = 'a/a' group by all"},
		{"of=all", "select tag, count(*), avg(value) from {samples} group by tag"},
		{"of=month,tags=1", "select avg(value) from {samples} where tag = 'a/a' and time >= '2026-04-01' and time < '2026-05-01'"},
	} {
		with, without := forms(x.sql)
		for _, from := range []struct{ name, sql string }{{"from=rollups", with}, {"from=samples", without}} {
			b.Run(x.name+"/"+from.name, func(b *testing.B) {
				for range b.N {
					_, err := askSQL(b, c, from.sql)
					require.NoError(b, err)
				}
			})
		}
	}
}
