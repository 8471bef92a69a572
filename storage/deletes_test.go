package storage

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// floatsOf is what stands of tag 1.
func floatsOf(t *testing.T, db *DB) (out []uint64) {
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	for _, x := range readAll(t, v, 1, model.All) {
		out = append(out, x.Bits)
	}
	return out
}

func (h *history) put(t *testing.T, mode model.WriteMode, from int64, bits ...uint64) {
	run := Run{Tag: 1, Mode: mode}
	run.Samples.Type = model.Float64
	for i, b := range bits {
		run.Samples.Append(model.Sample{Time: from + int64(i), Type: model.Float64, Bits: b})
	}
	if mode == model.Remove {
		run.All, run.Samples = true, model.Samples{Type: model.Float64, Times: run.Samples.Times}
	}
	p, err := h.db.Submit(context.Background(), &Batch{Runs: []Run{run}})
	require.NoError(t, err)
	_, err = p.Applied(context.Background())
	require.NoError(t, err)
}

// TestUndeleteWindow: a range delete can be undone until its window is over, sealed or not, and only once.
func TestUndeleteWindow(t *testing.T) {
	ctx := context.Background()
	for _, sealed := range []bool{false, true} {
		h := newHistory(t, 1, vfs.NewMem())
		h.put(t, model.Update, 10, 1, 2, 3, 4)
		offset, err := h.db.DeleteRange(ctx, []model.TagID{1, 1}, model.TimeRange{Start: 11, End: 13}, "ann", "test rig")
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 4}, floatsOf(t, h.db))
		h.put(t, model.Insert, 12, 7) // insert: nothing may stand there
		if sealed {
			seal(t, h.db)
			require.Equal(t, []uint64{1, 7, 4}, floatsOf(t, h.db))
		}
		h.clock.Add(int64(30 * 24 * time.Hour))
		_, err = h.db.Undelete(ctx, offset+100, "ann", "x")
		require.ErrorIs(t, err, ErrNotDeleted)
		undone, err := h.db.Undelete(ctx, offset, "bob", "wrong")
		require.NoError(t, err)
		require.Equal(t, []uint64{1, 2, 7, 4}, floatsOf(t, h.db))
		_, err = h.db.Undelete(ctx, offset, "bob", "wrong")
		require.ErrorIs(t, err, ErrNotDeleted)
		_, err = h.db.Undelete(ctx, undone, "bob", "wrong")
		require.ErrorIs(t, err, ErrNotDeleted)
		offset, err = h.db.DeleteRange(ctx, []model.TagID{1}, model.All, "ann", "all")
		require.NoError(t, err)
		require.Empty(t, floatsOf(t, h.db))
		h.clock.Add(int64(30*24*time.Hour) + 1)
		_, err = h.db.Undelete(ctx, offset, "bob", "late")
		require.ErrorIs(t, err, ErrUndeleteWindow)
		require.Len(t, h.db.Deletes(), 2)
		require.NoError(t, h.db.Close())
	}
}

// TestReadBehindDamagedHistory: a sample that was removed stays away where the history that says so cannot be read. An
// undone delete that is sealed makes the read ask the history.
func TestReadBehindDamagedHistory(t *testing.T) {
	ctx := context.Background()
	h := newHistory(t, 1, vfs.NewMem())
	h.put(t, model.Update, 10, 1, 2, 3)
	offset, err := h.db.DeleteRange(ctx, []model.TagID{1}, model.TimeRange{Start: 10, End: 11}, "ann", "test rig")
	require.NoError(t, err)
	seal(t, h.db)
	_, err = h.db.Undelete(ctx, offset, "bob", "wrong")
	require.NoError(t, err)
	h.put(t, model.Update, 20, 4)
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	h.put(t, model.Remove, 20, 0)
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2, 3}, floatsOf(t, h.db))

	damaged := 0
	b := h.db.engine.NewBatch()
	for _, space := range []keys.Space{keys.Data, keys.SealedData} {
		require.NoError(t, h.db.scan(space, func(k, v []byte) error {
			k = append([]byte{byte(space)}, k...)
			x, err := keys.DecodeChunk(k)
			if err != nil || x.Kind != keys.Version && x.Kind != keys.SealedVersion {
				return err
			}
			damaged++
			return b.Set(k, append(slices.Clone(v), 0), nil)
		}))
	}
	require.Positive(t, damaged)
	require.NoError(t, h.db.engine.Apply(b, pebble.NoSync))
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	have, err := readDamaged(v, 1)
	require.ErrorIs(t, err, ErrCorrupt)
	require.Empty(t, have)
	v.Close()
	require.NoError(t, h.db.Close())
}

// TestRangeDeletesThatMakeNoSense: the door refuses them, and a record of one does no harm.
func TestRangeDeletesThatMakeNoSense(t *testing.T) {
	ctx := context.Background()
	h := newHistory(t, 1, vfs.NewMem())
	h.put(t, model.Update, 10, 1, 2, 3, 4)
	for _, tags := range [][]model.TagID{nil, {0}, make([]model.TagID, MaxDeleteTags*2)} {
		_, err := h.db.DeleteRange(ctx, tags, model.All, "ann", "x")
		require.ErrorIs(t, err, ErrBadBatch)
	}
	_, err := h.db.DeleteRange(ctx, []model.TagID{1}, model.TimeRange{Start: 5, End: 5}, "ann", "x")
	require.ErrorIs(t, err, ErrBadBatch)
	for _, d := range []record.DeleteRange{
		{Tags: []model.TagID{1}, From: 12, To: 11},
		{Tags: []model.TagID{1 << 31, 77}, From: 0, To: 100},
		{Tags: []model.TagID{1, 1}, From: 13, To: 14},
		{From: 0, To: 100},
	} {
		_, err := h.db.submitOp(ctx, record.AppendDelete(record.AppendHeader(nil, record.Header{Kind: record.Delete}), &d))
		require.NoError(t, err)
	}
	_, err = h.db.submitOp(ctx, record.AppendUndelete(record.AppendHeader(nil, record.Header{Kind: record.Undelete}), &record.UndeleteRange{Offset: 1 << 40}))
	require.ErrorIs(t, err, ErrNotDeleted)
	require.Equal(t, []uint64{1, 2, 3}, floatsOf(t, h.db))
	seal(t, h.db)
	require.Equal(t, []uint64{1, 2, 3}, floatsOf(t, h.db))
	requireNoAlarms(t, h.db)
	require.NoError(t, h.db.Close())
	h.open(h.db.o.FS)
	require.Equal(t, []uint64{1, 2, 3}, floatsOf(t, h.db))
	require.NoError(t, h.db.Close())
}

// TestRangeDeleteWritesNoRowPerSample: what a range delete of many samples adds is a row.
func TestRangeDeleteWritesNoRowPerSample(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	bits := make([]uint64, 50_000)
	for i := range bits {
		bits[i] = h.rng.Uint64()
	}
	h.put(t, model.Update, 0, bits...)
	_, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	before := h.db.Status()
	_, err = h.db.DeleteRange(context.Background(), []model.TagID{1}, model.All, "ann", "x")
	require.NoError(t, err)
	_, err = h.db.Flush(context.Background())
	require.NoError(t, err)
	after := h.db.Status()
	require.Equal(t, before.Bytes.Samples, after.Bytes.Samples)
	require.Equal(t, before.Bytes.Versions, after.Bytes.Versions)
	require.Empty(t, floatsOf(t, h.db))
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	versions, err := v.Versions(context.Background(), 1, model.All)
	require.NoError(t, err)
	v.Close()
	require.Len(t, versions, 2*len(bits))
	h.put(t, model.Update, int64(len(bits)), 1)
	seal(t, h.db) // folds it: history of many values
	v, err = h.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	again, err := v.Versions(context.Background(), 1, model.All)
	require.NoError(t, err)
	v.Close()
	require.Len(t, again, len(versions)+1)
	rows := uint64(0)
	for _, p := range h.db.directory.parts {
		for _, g := range p.gens {
			rows += g.versions
		}
	}
	require.NotZero(t, rows)
	t.Logf("%.1f bytes of history a sample, before the LSM packs them", float64(rows)/float64(len(bits)))
	require.NoError(t, h.db.Close())
}
