package rollup

import (
	"fmt"
	"math"
	"testing"

	"github.com/varvedb/varve/model"
)

func plantSamples(n int, jitter bool) model.Samples {
	s := model.Samples{Type: model.Float64}
	v := 217
	x := uint64(1)
	for i := range n {
		x = x*6364136223846793005 + 1442695040888963407
		v += int(x>>62) - int(x>>60&3)
		t := int64(i) * 1e9
		if jitter {
			t += int64(x>>40&7) * 1e6
		}
		s.Times = append(s.Times, noon+t)
		s.Bits = append(s.Bits, math.Float64bits(float64(v)/10))
	}
	return s
}

// BenchmarkAdd is what sealing pays for the partials of a column: one per chunk or hour.
func BenchmarkAdd(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(n int) model.Samples
	}{
		{"type=float64/times=regular/quality=good", func(n int) model.Samples { return plantSamples(n, false) }},
		{"type=float64/times=jitter/quality=good", func(n int) model.Samples { return plantSamples(n, true) }},
		{"type=int64/times=regular/quality=good", func(n int) model.Samples {
			s := plantSamples(n, false)
			s.Type = model.Int64
			for i, u := range s.Bits {
				s.Bits[i] = uint64(int64(math.Round(math.Float64frombits(u) * 10)))
			}
			return s
		}},
		{"type=float64/times=regular/quality=mixed", func(n int) model.Samples {
			s := plantSamples(n, false)
			s.Quality = make([]model.Quality, n)
			for i := range n / 3 {
				s.Quality[3*i] = model.BadNoData
			}
			return s
		}},
		{"type=state/times=regular/quality=good", func(n int) model.Samples {
			s := plantSamples(n, false)
			s.Type = model.State
			for i := range s.Bits {
				s.Bits[i] = uint64(i / 50 % 7)
			}
			return s
		}},
	} {
		for _, n := range []int{3600, 65536} {
			b.Run(fmt.Sprintf("%s/samples=%d", c.name, n), func(b *testing.B) {
				s := c.make(n)
				b.SetBytes(0)
				for b.Loop() {
					var p Partial
					p.Add(&s, 0, n)
				}
				b.ReportMetric(float64(n)*float64(b.N)/1e6/b.Elapsed().Seconds(), "Msamples/s")
			})
		}
	}
}

// noon is 2026-01-01 12:00:00 UTC.
const noon = 1767268800e9

// yearOfHours is rows of a day of hourly partials, of samples a second.
func yearOfHours(days int, jitter bool) (rows [][]byte, partials int) {
	const hour = 3600
	s := plantSamples(24*hour, jitter)
	for day := range days {
		ps := make([]Partial, 24)
		for h := range ps {
			ps[h].Add(&s, h*hour, (h+1)*hour)
		}
		rows = append(rows, AppendRow(nil, ps, AllGroups))
		partials += len(ps)
		for i := range s.Times {
			s.Times[i] += 86400e9
			s.Bits[i] = math.Float64bits(math.Round(math.Float64frombits(s.Bits[i])*10+float64(day%3)) / 10)
		}
	}
	return rows, partials
}

// BenchmarkSummary reads n, sum, least and greatest of a year of hourly partials.
func BenchmarkSummary(b *testing.B) {
	for _, jitter := range []bool{false, true} {
		b.Run(fmt.Sprintf("partials=8760/jitter=%v", jitter), func(b *testing.B) {
			rows, n := yearOfHours(365, jitter)
			size := 0
			for _, row := range rows {
				size += len(row)
			}
			var into Summary
			var r Row
			for b.Loop() {
				into = Summary{into.N[:0], into.Sum[:0], into.Min[:0], into.Max[:0]}
				for _, row := range rows {
					if err := r.Reset(row); err != nil {
						b.Fatal(err)
					}
					if _, err := r.Summary(&into, false); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(size)/float64(n), "bytes/partial")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/partial")
		})
	}
}

// BenchmarkDecodeRow reads everything of a day of hourly partials.
func BenchmarkDecodeRow(b *testing.B) {
	rows, n := yearOfHours(1, false)
	for b.Loop() {
		if _, err := DecodeRow(rows[0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/partial")
}

// BenchmarkMerge adds the partials of a day up.
func BenchmarkMerge(b *testing.B) {
	rows, n := yearOfHours(1, false)
	ps, err := DecodeRow(rows[0])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var p Partial
		for i := range ps {
			p.Merge(&ps[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/partial")
}
