package query

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/keys"
)

func (s *plainStore) LogID() [16]byte { return [16]byte{1, 2} }
func (s *plainStore) Offset() uint64  { return 7 }

// Days has those in which tags have samples, changed by the records of the highest of the tags' ids.
func (s *plainStore) Days(_ context.Context, tags []model.TagID) (days []storage.Day, err error) {
	for _, tag := range tags {
		for _, t := range s.samples[tag].Times {
			i, found := slices.BinarySearchFunc(days, keys.DayOf(t), func(d storage.Day, p keys.Partition) int { return d.Partition.Compare(p) })
			if !found {
				days = slices.Insert(days, i, storage.Day{Partition: keys.DayOf(t)})
			}
			days[i].Changed = uint64(tag)
		}
	}
	return days, nil
}

// DayContents has the id of a tag for its hash.
func (s *plainStore) DayContents(_ context.Context, p keys.Partition, tags []model.TagID) iter.Seq2[storage.Content, error] {
	return func(yield func(storage.Content, error) bool) {
		for _, tag := range tags {
			if s.damage[tag] != nil {
				yield(storage.Content{}, s.damage[tag])
				return
			}
			c := storage.Content{Partition: p, Tag: tag, Versions: 1, Hash: uint64(tag)}
			for _, t := range s.samples[tag].Times {
				if keys.DayOf(t) == p {
					if c.Samples == 0 {
						c.First = t
					}
					c.Samples, c.Last = c.Samples+1, t
				}
			}
			if c.Samples > 0 && !yield(c, nil) {
				return
			}
		}
	}
}

// TestDaysAreOfTagsNotOfTheirTypes asks about a tag that changed its type, and others, in other orders than their ids.
func TestDaysAreOfTagsNotOfTheirTypes(t *testing.T) {
	const day = 86400 * int64(1e9)
	s := newPlainStore(model.Int64, model.Float64, model.Float64, model.Float64)
	changed := s.tags[1].Settings[0]
	changed.From, changed.Epoch = 10, 3
	s.tags[1].Settings = append(s.tags[1].Settings, changed)
	s.tags[2], _ = s.tags[1].In(3)
	for tag, times := range map[model.TagID][]int64{1: {-1}, 2: {5}, 3: {10, day - 1, day}, 4: {7, 2 * day}} {
		for _, at := range times {
			s.add(tag, 0, model.Sample{Time: at, Type: s.samples[tag].Type})
		}
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	days, err := e.ListDays(context.Background(), DaysRequest{Tags: Tags{IDs: []model.TagID{2}, Names: []string{s.tags[0].Name}}})
	require.NoError(t, err)
	require.Equal(t, &Days{Log: "01020000000000000000000000000000", Offset: 7, Days: []storage.Day{
		{Partition: keys.DayOf(-1), Changed: 1}, {Partition: keys.DayOf(0), Changed: 3}, {Partition: keys.DayOf(day), Changed: 3},
	}}, days)

	hashed := func(day int32, ids ...model.TagID) (out []storage.Content) {
		require.NoError(t, e.HashDay(context.Background(), DayRequest{IDs: ids, Day: day}, func(c storage.Content) error {
			out = append(out, c)
			return nil
		}))
		return out
	}
	both := xxhash.Sum64(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 2), 3))
	p := keys.DayOf(0)
	require.Equal(t, []storage.Content{
		{Partition: p, Tag: 4, Samples: 1, Versions: 1, First: 7, Last: 7, Hash: 4},
		{Partition: p, Tag: 2, Samples: 3, Versions: 2, First: 5, Last: day - 1, Hash: both},
	}, hashed(0, 4, 1, 2))
	require.Equal(t, []storage.Content{{Partition: keys.DayOf(day), Tag: 2, Samples: 1, Versions: 1, First: day, Last: day, Hash: 3}}, hashed(1, 1, 3))
	require.Empty(t, hashed(100, 1, 2))

	visit := func(storage.Content) error { return nil }
	for _, bad := range []DayRequest{{}, {IDs: []model.TagID{1}, Day: 1 << 30}, {IDs: []model.TagID{1}, Day: -1 << 30}} {
		require.ErrorIs(t, e.HashDay(context.Background(), bad, visit), ErrBadRequest)
	}
	require.ErrorIs(t, e.HashDay(context.Background(), DayRequest{IDs: []model.TagID{9}}, visit), model.ErrTagNotFound)
	for _, bad := range []DaysRequest{{}, {Tags: Tags{Expressions: []string{"A + 1"}}}} {
		_, err := e.ListDays(context.Background(), bad)
		require.ErrorIs(t, err, ErrBadRequest)
	}
	s.stored = map[string][]*model.Calculation{"x": {{Name: "x", From: model.MinTime, Expression: expression.Quote(s.tags[0].Name)}}}
	_, err = e.ListDays(context.Background(), DaysRequest{Tags: Tags{Names: []string{"x"}}})
	require.ErrorContains(t, err, "no samples that are stored")
	s.damage = map[model.TagID]error{4: errDamage}
	require.ErrorIs(t, e.HashDay(context.Background(), DayRequest{IDs: []model.TagID{4}}, visit), errDamage)
	s.lost = []storage.OffsetRange{{First: 3, End: 4}}
	_, err = e.ListDays(context.Background(), DaysRequest{Tags: Tags{IDs: []model.TagID{1}}})
	require.ErrorIs(t, err, storage.ErrApplyStopped, "days that lack samples must not look unchanged")
	require.ErrorIs(t, e.HashDay(context.Background(), DayRequest{IDs: []model.TagID{1}}, visit), storage.ErrApplyStopped)
	require.Zero(t, s.open.Load())
	require.Zero(t, e.MemoryTaken())
}
