package storage

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/keys"
)

// TestChunkWalkers holds walkers to what the LSM says: every tag that any generation has a chunk of, in order, and the bytes
// of every chunk, whether asked for in the order of keys, again, or from the last to the first.
func TestChunkWalkers(t *testing.T) {
	db, err := Open("store", testOptions(vfs.NewMem()))
	require.NoError(t, err)
	defer db.Close()
	const tags = 12
	changes := make([]catalog.Change, tags)
	for i := range changes {
		changes[i].Create = &catalog.Create{Tag: model.Tag{
			Name: string(rune('A' + i)), UUID: model.UUID{byte(i + 1)}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}
	}
	_, err = db.ChangeCatalog(context.Background(), changes)
	require.NoError(t, err)
	// The first generation has the even tags, the second those that three divides, the third all but the last; so the last is of the first two alone.
	has := []func(tag int) bool{
		func(tag int) bool { return tag%2 == 0 },
		func(tag int) bool { return tag%3 == 0 },
		func(tag int) bool { return tag < tags },
	}
	for g, has := range has {
		b := Batch{Source: "s", Epoch: 1, Sequence: uint64(g + 1), ContentHash: uint64(g + 1)}
		for tag := 1; tag <= tags; tag++ {
			if !has(tag) {
				continue
			}
			s := model.Samples{Type: model.Float64}
			for i := range ownChunk + tag {
				s.Append(model.Sample{Time: int64(g*1000+i) * 1e9, Type: model.Float64, Bits: uint64(tag*i) << 50})
			}
			b.Runs = append(b.Runs, Run{Tag: model.TagID(tag), Mode: model.Update, Samples: s})
		}
		_, err := db.Submit(context.Background(), &b)
		require.NoError(t, err)
		_, err = db.Flush(context.Background())
		require.NoError(t, err)
	}
	src := db.storedOnly()
	defer src.close()
	p := keys.DayOf(0)
	gens := src.directory.of(p)
	require.Len(t, gens, len(has))
	w, err := newChunkWalkers(&src, p, gens)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.close()) }()

	var chunks []keys.Chunk
	requireChunk := func(c keys.Chunk) {
		key := c.Append(nil)
		want, closer, err := src.engine.Get(key)
		require.NoError(t, err)
		defer closer.Close()
		got, err := w.find(c.Generation, key)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	last := model.TagID(0)
	for want := 1; want < tags+1; want++ {
		last, err = w.next(last)
		require.NoError(t, err)
		require.EqualValues(t, want, last)
		for g, has := range has {
			c := keys.Chunk{Partition: p, Kind: keys.Unsealed, Generation: gens[g].id, Tag: last, Start: int64(g) * 1000e9}
			c.End = c.Start + int64(ownChunk+want-1)*1e9
			if has(want) {
				requireChunk(c)
				requireChunk(c)
				chunks = append(chunks, c)
				continue
			}
			_, err := w.find(c.Generation, c.Append(nil))
			require.ErrorIs(t, err, pebble.ErrNotFound)
		}
	}
	last, err = w.next(last)
	require.NoError(t, err)
	require.Zero(t, last)
	for i := len(chunks) - 1; i >= 0; i-- {
		requireChunk(chunks[i])
	}
	_, err = w.find(gens[0].id+1<<40, chunks[0].Append(nil))
	require.ErrorIs(t, err, pebble.ErrNotFound)
}
