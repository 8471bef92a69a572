package identity

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plain is the table as one would say it: all hashes for ever, by pair and sequence.
type plain struct {
	batches map[pair]map[uint64]uint64
	imports map[pair]bool
}

func newPlain() *plain {
	return &plain{batches: map[pair]map[uint64]uint64{}, imports: map[pair]bool{}}
}

func (p *plain) highest(at pair) (h uint64) {
	for s := range p.batches[at] {
		h = max(h, s)
	}
	return h
}

func (p *plain) apply(source string, epoch, seq, hash uint64, imp bool) Verdict {
	if source == "" {
		return Fresh
	}
	if epoch == 0 || seq == 0 {
		return Invalid
	}
	at := pair{source, epoch}
	high := p.highest(at)
	if old, ok := p.batches[at][seq]; ok {
		switch {
		case seq+Window <= high:
			return Forgotten
		case old != hash:
			return Conflict
		}
		return Duplicate
	}
	if seq > high && seq-1-uint64(len(p.batches[at])) > MaxHoles {
		return TooManyHoles
	}
	if p.batches[at] == nil {
		p.batches[at] = map[uint64]uint64{}
	}
	p.batches[at][seq] = hash
	p.imports[at] = p.imports[at] || imp
	return Fresh
}

func (p *plain) state(source string, epoch uint64) State {
	at := pair{source, epoch}
	b, ok := p.batches[at]
	if !ok {
		return State{}
	}
	s := State{Known: true, Highest: p.highest(at), Import: p.imports[at]}
	for b[s.Through+1] != 0 {
		s.Through++
	}
	s.Holes = int(s.Highest) - len(b)
	return s
}

// disk is what a store holds: the newest value of each key.
type disk map[string][]byte

func (d disk) write(rows []Row) {
	for _, r := range rows {
		d[string(r.Key)] = r.Value
	}
}

func (d disk) rows(yield func(k, v []byte) bool) {
	keys := make([]string, 0, len(d))
	for k := range d {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !yield([]byte(k), d[k]) {
			return
		}
	}
}

// TestAgainstPlainModel drives a table, with restarts from its rows in between, and a model that forgets nothing.
func TestAgainstPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, model, d := New(Options{}), newPlain(), disk{}
		twin := New(Options{}) // never restarted
		twinDisk := disk{}
		sources := []string{"a", "b", "Straße 7", ""}
		var now int64
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			source := rapid.SampledFrom(sources).Draw(t, "source")
			epoch := rapid.Uint64Range(0, 2).Draw(t, "epoch")
			high := model.highest(pair{source, epoch})
			now++
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				d.write(table.TakeChanged())
				table = New(Options{})
				require.NoError(t, table.Load(d.rows))
			case 1: // a run in order
				for range rapid.IntRange(1, 400).Draw(t, "run") {
					high++
					require.Equal(t, model.apply(source, epoch, high, high*7, false), table.Apply(source, epoch, high, high*7, false, now))
					twin.Apply(source, epoch, high, high*7, false, now)
				}
			default:
				seq := rapid.OneOf(
					rapid.Uint64Range(0, high+3),
					rapid.SampledFrom([]uint64{high + 1, high + 1024, high + 1025, high + 1026, high + 5000, high - min(high, 1023), high - min(high, 1024), high - min(high, 1025)}),
				).Draw(t, "seq")
				hash := seq * 7
				if rapid.IntRange(0, 4).Draw(t, "other content") == 0 {
					hash++
				}
				imp := rapid.Bool().Draw(t, "import")
				want := model.apply(source, epoch, seq, hash, imp)
				require.Equal(t, want, table.Check(source, epoch, seq, hash))
				require.Equal(t, want, table.Apply(source, epoch, seq, hash, imp, now))
				require.Equal(t, want, twin.Apply(source, epoch, seq, hash, imp, now))
			}
			got := table.State(source, epoch)
			require.Equal(t, twin.State(source, epoch), got)
			got.Last = 0
			require.Equal(t, model.state(source, epoch), got)
			require.Equal(t, len(model.batches), table.Len())
		}
		d.write(table.TakeChanged())
		twinDisk.write(twin.TakeChanged())
		require.Equal(t, twinDisk, d, "the same history makes the same rows however often it was taken")
	})
}
