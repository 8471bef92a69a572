package rollup

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// sealed puts a checksum that is right behind b: few mutations would get past it.
func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
}

func FuzzDecodeRow(f *testing.F) {
	for _, ps := range examples() {
		b := AppendRow(nil, ps, AllGroups)
		f.Add(b[:len(b)-crcBytes])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = DecodeRow(b)
		b = sealed(b)
		r, openErr := OpenRow(b)
		if openErr == nil {
			var s Summary
			_, _ = r.Summary(&s, false)
			_, _ = r.Summary(&s, true)
		}
		ps, err := DecodeRow(b)
		if err != nil {
			return
		}
		require.NoError(t, openErr)
		// What was read can be used, and written and read again.
		for i := range ps {
			iv := Interval{Start: 0, End: 1e18, In: &ps[i], Hold: 1e18}
			_, _ = iv.Integral(Rule{})
			_, _ = iv.States()
			_, _ = ps[i].Stats(false)
		}
		again, err := DecodeRow(AppendRow(nil, ps, AllGroups))
		require.NoError(t, err)
		require.Len(t, again, len(ps))
	})
}

// Every flip is an error, and never one of version: the checksum is looked at first.
func TestFlipsAreFound(t *testing.T) {
	for name, ps := range examples() {
		b := AppendRow(nil, ps, AllGroups)
		for bit := range 8 * len(b) {
			c := bytes.Clone(b)
			c[bit/8] ^= 1 << (bit % 8)
			_, err := DecodeRow(c)
			require.ErrorIs(t, err, ErrCorrupt, "%s, bit %d", name, bit)
		}
		for n := range b {
			_, err := DecodeRow(b[:n])
			require.ErrorIs(t, err, ErrCorrupt)
		}
	}
}

func TestNewerRowsAreToldApart(t *testing.T) {
	b := AppendRow(nil, twoMinutes(), AllGroups)
	b = b[:len(b)-crcBytes]
	newer := bytes.Clone(b)
	newer[0]++
	_, err := DecodeRow(sealed(newer))
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, byte(colPresent), b[4])
	form := bytes.Clone(b)
	form[5] = 0x0E
	_, err = DecodeRow(sealed(form))
	require.ErrorIs(t, err, ErrVersion)
}

// A few bytes may claim a row of constants; what that allocates has the limit that MaxRow states.
func TestClaimsAreBounded(t *testing.T) {
	row := []byte{kindRow | version, byte(model.State), byte(HasTransitions | HasStates), 0x80, 0x02}
	row = append(row, colPresent, formConstant, 2)
	row = append(row, colStates, formConstant, 2*MaxStates)
	row = append(row, colStateFields, formDeltas, 0, 2, 0) // codes that ascend
	row = sealed(row)
	ps, err := DecodeRow(row)
	require.NoError(t, err)
	require.Len(t, ps, MaxRow)
	require.Len(t, ps[MaxRow-1].states, MaxStates)
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _ = DecodeRow(row)
		}
	}).AllocedBytesPerOp()
	require.Less(t, allocated, int64(2<<20))
}

// Rows of any partials come back, whichever groups are kept, and a summary says what they say.
func TestRowsComeBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		typ := anyType(rt)
		points := drawPoints(rt, typ, true)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "split seed"), 3))
		keep := Groups(rapid.IntRange(0, int(AllGroups)).Draw(rt, "keep"))
		var ps []Partial
		for at := 0; at < len(points) && len(ps) < MaxRow; {
			end := min(len(points), at+rng.IntN(1+len(points)/5))
			ps = append(ps, build(typ, points[at:end]))
			at = end
		}
		if len(ps) == 0 {
			ps = make([]Partial, 1)
		}
		b := AppendRow([]byte("before"), ps, keep)
		require.Equal(rt, "before", string(b[:6]))
		have, err := DecodeRow(b[6:])
		require.NoError(rt, err)
		require.Len(rt, have, len(ps))
		for i := range ps {
			want := ps[i]
			if !want.Empty() {
				want.groups &= keep
				want.states = append([]State(nil), want.states...)
				want.dropAbsent()
			}
			require.Equal(rt, exact(want), exact(have[i]), "partial %d", i)
		}
		require.Equal(rt, b[6:], AppendRow(nil, have, keep))
		requireSummary(rt, b[6:], have, keep)
	})
}

func requireSummary(rt *rapid.T, b []byte, ps []Partial, keep Groups) {
	r, err := OpenRow(b)
	require.NoError(rt, err)
	for _, uncertain := range []bool{false, true} {
		var s Summary
		ok, err := r.Summary(&s, uncertain)
		require.NoError(rt, err)
		require.Equal(rt, r.Type() == 0 || numeric(r.Type()) && keep&HasStats != 0, ok)
		if !ok {
			continue
		}
		for i := range ps {
			st := ps[i].stats[0]
			if uncertain {
				st = ps[i].stats[1]
			}
			require.Equal(rt, st.n, s.N[i])
			if st.n > 0 {
				requireSame(rt, st.Sum(), s.Sum[i])
				requireSame(rt, wideValue(st.typ, st.min.Bits).hi, s.Min[i])
				requireSame(rt, wideValue(st.typ, st.max.Bits).hi, s.Max[i])
			}
		}
	}
}

func requireSame(rt *rapid.T, want, have float64) {
	require.True(rt, want == have || want != want && have != have, "have %v, want %v", have, want)
}

// Integrals that differ by less than is stored are alike to whoever reads them, so a row that was read is written as it was.
func TestIntegralsThatAreStoredAlike(t *testing.T) {
	s := model.Samples{Type: model.Float64}
	for at := range int64(3) {
		s.Append(model.Sample{Time: noon + at*at, Type: model.Float64, Bits: math.Float64bits(1)})
	}
	var p Partial
	p.Add(&s, 0, s.Len())
	for i := range p.integrals {
		p.integrals[i] = wide{3, float64(i) * 0x1p-90}
	}
	b := AppendRow(nil, []Partial{p}, HasIntegrals)
	have, err := DecodeRow(b)
	require.NoError(t, err)
	require.Equal(t, b, AppendRow(nil, have, HasIntegrals))
}
