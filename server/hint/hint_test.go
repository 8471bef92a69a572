package hint

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExactBounds holds what Take says is exact to the rows themselves.
func TestExactBounds(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 3))
	t.Logf("seed %d", seed)
	qualities := []int64{0, 1, 1<<30 - 1, 1 << 30, 1<<30 + 5, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	names := []string{"Good", "Uncertain", "Bad"}
	type row struct{ ns, quality int64 }
	var rows []row
	for _, us := range []int64{-2, -1, 0, 1, 2} {
		for _, rest := range []int64{0, 1, 999} {
			rows = append(rows, row{us*1000 + rest, qualities[rng.IntN(len(qualities))]})
		}
	}
	exact := 0
	for range 20_000 {
		b := Bound{Role: []Role{Time, TimeNS, Quality, Severity}[rng.IntN(4)], Op: Equal + Op(rng.IntN(5))}
		var values []Value
		for range 1 + rng.IntN(2)*rng.IntN(2) {
			v := Value{Type: "BIGINT", Null: rng.IntN(10) == 0}
			switch b.Role {
			case Time:
				v.Type, v.Number = "TIMESTAMP WITH TIME ZONE", rng.Int64N(7)-3
			case TimeNS:
				v.Number = rng.Int64N(6000) - 3000
			case Quality:
				v.Number = qualities[rng.IntN(len(qualities))] + rng.Int64N(3) - 1
			case Severity:
				v.Type, v.Text = "VARCHAR", append(names, "x")[rng.IntN(4)]
			}
			values = append(values, v)
			if b.Op != Equal {
				break
			}
		}
		var h Hints
		isExact := h.Take(b, values)
		for _, r := range rows {
			severity := min(r.quality>>30, 2)
			left := !h.Nothing && (h.Start == nil || r.ns >= *h.Start) && (h.End == nil || r.ns < *h.End) && (h.Severities == 0 || h.Severities>>severity&1 == 1)
			meets := slices.ContainsFunc(values, func(v Value) bool {
				x := map[Role]int64{Time: Micros(r.ns), TimeNS: r.ns, Quality: r.quality}[b.Role]
				order := int(min(max(x-v.Number, -1), 1))
				if b.Role == Severity {
					order = strings.Compare(names[severity], v.Text)
				}
				return !v.Null && (b.Op == Equal && order == 0 || b.Op == Less && order < 0 || b.Op == LessOrEqual && order <= 0 ||
					b.Op == Greater && order > 0 || b.Op == GreaterOrEqual && order >= 0)
			})
			if isExact {
				require.Equal(t, meets, left, "%+v %+v: %+v", b, values, r)
			} else if meets {
				require.True(t, left, "%+v %+v: %+v", b, values, r)
			}
		}
		if isExact {
			exact++
		}
	}
	require.Greater(t, exact, 5_000)
}
