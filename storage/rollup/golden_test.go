package rollup

import (
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

var write = flag.Bool("write", false, "write the fixture of this version where there is none yet")

// twoMinutes is two minutes of a temperature each second: on a regular grid, all Good.
func twoMinutes() []Partial {
	s := floats()
	for i := range 120 {
		s.Append(floatSample(noon+int64(i)*1e9, float64(215+i%4)/10, model.Good))
	}
	ps := make([]Partial, 2)
	ps[0].Add(s, 0, 60)
	ps[1].Add(s, 60, 120)
	return ps
}

// troubled is three minutes of a flow: one with an uncertain, a bad and a missing value, one empty, one with a gap.
func troubled() []Partial {
	s := floats()
	s.Append(floatSample(noon, 4, model.Bad))
	s.Append(floatSample(noon+10e9, 5.5, model.Good))
	s.Append(floatSample(noon+20e9, 6, model.UncertainSensorNotAccurate))
	s.Append(model.Sample{Time: noon + 30e9, Type: model.Float64, Null: true})
	s.Append(floatSample(noon+125e9, 7, model.Good))
	ps := make([]Partial, 3)
	ps[0].Add(s, 0, 4)
	ps[2].Add(s, 4, 5)
	ps[2].AddGap(model.Float64, noon+150e9, model.BadNoCommunication)
	return ps
}

// pump is a minute of a state.
func pump() []Partial {
	s := &model.Samples{Type: model.State}
	for i, code := range []uint64{0, 1, 1, 7, 0} {
		s.Append(model.Sample{Time: noon + int64(i)*10e9, Type: model.State, Bits: code})
	}
	return []Partial{*partialOf(s)}
}

func text() []Partial {
	s := &model.Samples{Type: model.String}
	for i, v := range []string{"batch 7", "batch 8"} {
		s.Append(model.Sample{Time: noon + int64(i)*10e9, Type: model.String, Blob: []byte(v)})
	}
	return []Partial{*partialOf(s)}
}

func floatSample(t int64, v float64, q model.Quality) model.Sample {
	x := floats(v).At(0)
	x.Time, x.Quality = t, q
	return x
}

// examples are the rows that docs/format/rollup.md spells out.
func examples() map[string][]Partial {
	return map[string][]Partial{"row-two-minutes": twoMinutes(), "row-troubled": troubled(), "row-pump": pump(), "row-text": text()}
}

// TestPageAndCodeAgree holds docs/format/rollup.md against what is written and read.
func TestPageAndCodeAgree(t *testing.T) {
	page := golden.Blocks(t, "../../docs/format/rollup.md")
	for name, ps := range examples() {
		require.Equal(t, hex.EncodeToString(AppendRow(nil, ps, AllGroups)), hex.EncodeToString(page[name]), name)
		requireRow(t, ps, page[name])
	}
	require.Len(t, page, len(examples()), "an example on the page that no test writes")
}

// TestOldRowsAreRead reads the rows that each version wrote when it was released.
func TestOldRowsAreRead(t *testing.T) {
	for name, ps := range examples() {
		file := "testdata/v1." + name
		if _, err := os.Stat(file); err != nil && *write {
			require.NoError(t, os.WriteFile(file, AppendRow(nil, ps, AllGroups), 0o644))
		}
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		requireRow(t, ps, b)
	}
}

// requireRow reads a row back: what was exact is, and writing it again gives the same bytes.
func requireRow(t *testing.T, ps []Partial, b []byte) {
	t.Helper()
	have, err := DecodeRow(b)
	require.NoError(t, err)
	require.Len(t, have, len(ps))
	for i := range ps {
		require.Equal(t, exact(ps[i]), exact(have[i]), "partial %d", i)
	}
	require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(AppendRow(nil, have, AllGroups)))
}
