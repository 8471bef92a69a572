package identity

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill applies sequences [from, to] of source "s", epoch 1, each with itself as its hash.
func fill(t testing.TB, table *Table, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		require.Equal(t, Fresh, table.Apply("s", 1, seq, seq, false, int64(seq)))
	}
}

func requireVerdict(t *testing.T, want Verdict, table *Table, seq, hash uint64) {
	t.Helper()
	require.Equal(t, want, table.Check("s", 1, seq, hash), "sequence %d", seq)
	if want != Fresh {
		require.Equal(t, want, table.Apply("s", 1, seq, hash, false, 1), "sequence %d", seq)
	}
}

func TestHoles(t *testing.T) {
	table := New(Options{})
	requireVerdict(t, TooManyHoles, table, 1026, 0)
	require.Zero(t, table.Len(), "a refused batch leaves no row")
	require.Equal(t, Fresh, table.Apply("s", 1, 1025, 1025, false, 1))
	require.Equal(t, State{Known: true, Through: 0, Highest: 1025, Holes: 1024, Last: 1}, table.State("s", 1))
	requireVerdict(t, TooManyHoles, table, 1027, 0)
	requireVerdict(t, TooManyHoles, table, math.MaxUint64, 0)
	fill(t, table, 1026, 1026) // the next one needs no hole
	fill(t, table, 500, 500)
	fill(t, table, 1028, 1028) // one hole filled makes room for one
	requireVerdict(t, TooManyHoles, table, 1030, 0)
	require.Equal(t, uint64(0), table.State("s", 1).Through)
	fill(t, table, 1, 499)
	require.Equal(t, uint64(500), table.State("s", 1).Through)
	fill(t, table, 501, 1024)
	fill(t, table, 1027, 1027)
	require.Equal(t, State{Known: true, Through: 1028, Highest: 1028, Last: 1028}, table.State("s", 1))
}

func TestHashWindow(t *testing.T) {
	table := New(Options{})
	fill(t, table, 1, 1024)
	requireVerdict(t, Duplicate, table, 1, 1)
	requireVerdict(t, Conflict, table, 1, 2)
	fill(t, table, 1025, 1025)
	requireVerdict(t, Forgotten, table, 1, 1)
	requireVerdict(t, Forgotten, table, 1, 2)
	requireVerdict(t, Duplicate, table, 2, 2)
	requireVerdict(t, Conflict, table, 1025, 1)
	requireVerdict(t, Fresh, table, 1026, 1026)
	requireVerdict(t, Invalid, table, 0, 0)
}

// TestLateBatchBelowTheWindow fills a hole so old that its hash has no slot: it must not take that of a newer one.
func TestLateBatchBelowTheWindow(t *testing.T) {
	table := New(Options{})
	fill(t, table, 1, 4)
	fill(t, table, 6, 3000)
	require.Equal(t, Fresh, table.Apply("s", 1, 5, 77, false, 1))
	requireVerdict(t, Forgotten, table, 5, 77)
	slot := uint64(5 + 2*Window)
	requireVerdict(t, Duplicate, table, slot, slot)
	require.Equal(t, uint64(3000), table.State("s", 1).Through)
}

// TestStaleSlot leaves a hole whose slot holds the hash of the sequence a window before, then fills it.
func TestStaleSlot(t *testing.T) {
	table := New(Options{})
	fill(t, table, 1, 1024)
	fill(t, table, 1026, 1030)
	requireVerdict(t, Fresh, table, 1025, 1)
	require.Equal(t, Fresh, table.Apply("s", 1, 1025, 9, false, 1))
	requireVerdict(t, Duplicate, table, 1025, 9)
	requireVerdict(t, Conflict, table, 1025, 1)
}

func TestWhatIsNoIdentity(t *testing.T) {
	table := New(Options{})
	for range 2 {
		require.Equal(t, Fresh, table.Check("", 0, 0, 0))
		require.Equal(t, Fresh, table.Apply("", 1, 1, 1, false, 1))
	}
	for _, source := range []string{"a\n", " a", strings.Repeat("x", 1025), "\xff"} {
		require.Equal(t, Invalid, table.Check(source, 1, 1, 1))
		require.Equal(t, Invalid, table.Apply(source, 1, 1, 1, false, 1))
		require.Zero(t, table.SourceID(source))
	}
	require.Equal(t, Invalid, table.Apply("a", 0, 1, 1, false, 1))
	require.Equal(t, Invalid, table.Apply("a", 1, 0, 1, false, 1))
	require.Zero(t, table.Len())
	require.Nil(t, table.TakeChanged())
	require.Equal(t, State{}, table.State("a", 1))
}

// TestQuota: the door refuses one pair too many; apply, which must not depend on a setting, does not.
func TestQuota(t *testing.T) {
	table := New(Options{MaxSources: 2})
	table.Apply("a", 1, 1, 1, false, 1)
	table.Apply("a", 2, 1, 1, false, 1)
	require.Equal(t, QuotaExceeded, table.Check("a", 3, 1, 1))
	require.Equal(t, QuotaExceeded, table.Check("b", 1, 1, 1))
	require.Equal(t, Fresh, table.Check("a", 2, 2, 1))
	require.Equal(t, Duplicate, table.Check("a", 1, 1, 1))
	require.Equal(t, Fresh, table.Apply("b", 1, 1, 1, true, 1))
	require.Equal(t, 3, table.Len())
}

func TestSourceIDsAreDenseInOrderOfUse(t *testing.T) {
	table := New(Options{})
	require.EqualValues(t, 1, table.SourceID("Pumpe Süd"))
	table.Apply("b", 1, 1, 1, false, 1)
	require.EqualValues(t, 3, table.SourceID("c"))
	require.EqualValues(t, 2, table.SourceID("b"))
	require.Zero(t, table.SourceID(""))
	d := disk{}
	d.write(table.TakeChanged())
	again := New(Options{})
	require.NoError(t, again.Load(d.rows))
	for id, name := range []string{"", "Pumpe Süd", "b", "c", ""} {
		require.Equal(t, name, again.SourceName(uint32(id)))
	}
	require.Empty(t, again.SourceName(math.MaxUint32))
	require.EqualValues(t, 4, again.SourceID("d"))
	rows := again.TakeChanged()
	require.Len(t, rows, 2, "meta and the new name")
}

// TestOneBatchDirtiesLittle holds a batch in order to its identity row, one page of hashes and the meta row.
func TestOneBatchDirtiesLittle(t *testing.T) {
	table := New(Options{})
	fill(t, table, 1, 2000)
	require.Len(t, table.TakeChanged(), 1+1+1+16)
	fill(t, table, 2001, 2001)
	total := 0
	rows := table.TakeChanged()
	for _, r := range rows {
		total += len(r.Key) + len(r.Value)
	}
	require.Len(t, rows, 3)
	require.Less(t, total, 600)
	require.Nil(t, table.TakeChanged())
	requireVerdict(t, Duplicate, table, 2001, 2001)
	require.Nil(t, table.TakeChanged(), "a duplicate changes nothing")
}

// TestReadersBesideApply is for the race detector.
func TestReadersBesideApply(t *testing.T) {
	table := New(Options{})
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for seq := uint64(1); ; seq = seq%3000 + 1 {
				select {
				case <-done:
					return
				default:
				}
				if v := table.Check("s", 1, seq, seq); v != Fresh && v != Duplicate && v != Forgotten && v != TooManyHoles {
					panic(fmt.Sprintf("sequence %d is %s", seq, v))
				}
				table.State("s", 1)
				table.SourceName(1)
				table.Len()
			}
		})
	}
	fill(t, table, 1, 3000)
	table.TakeChanged()
	close(done)
	readers.Wait()
}

func BenchmarkApply(b *testing.B) {
	for _, sources := range []int{1, 1000} {
		b.Run(fmt.Sprintf("sources=%d", sources), func(b *testing.B) {
			table := New(Options{})
			names := make([]string, sources)
			for i := range names {
				names[i] = fmt.Sprintf("collector-%04d.plant.example", i)
			}
			i, seq := 0, uint64(1)
			for b.Loop() {
				if v := table.Apply(names[i], 7, seq, seq, false, 1); v != Fresh {
					b.Fatal(v)
				}
				if i++; i == sources {
					i = 0
					seq++
				}
			}
		})
	}
}

// BenchmarkApplyHoles applies every pair of batches the wrong way round, above 1,000 open holes.
func BenchmarkApplyHoles(b *testing.B) {
	table := New(Options{})
	table.Apply("s", 1, 1001, 1, false, 1)
	seq := uint64(1002)
	for b.Loop() {
		table.Apply("s", 1, seq+1, seq, false, 1)
		if v := table.Apply("s", 1, seq, seq, false, 1); v != Fresh {
			b.Fatal(v)
		}
		seq += 2
	}
}

func BenchmarkCheck(b *testing.B) {
	table := New(Options{})
	fill(b, table, 1, 2000)
	for b.Loop() {
		if v := table.Check("s", 1, 1999, 1999); v != Duplicate {
			b.Fatal(v)
		}
	}
}

func BenchmarkTakeChanged(b *testing.B) {
	table := New(Options{})
	seq := uint64(1)
	for b.Loop() {
		table.Apply("s", 1, seq, seq, false, 1)
		table.TakeChanged()
		seq++
	}
}
