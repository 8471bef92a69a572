package tuning

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

// recorded is the number columns of the bundled sample, and of the folder that VARVE_SHARED_DATA names: gzipped CSV with
// the time in the first column, one tag a column behind it; or time, tag, value. Rows stay in the order of the file.
func recorded(t testing.TB) map[string]*model.Samples {
	roots := []string{"../../cmd/varve/sample"}
	if more := os.Getenv("VARVE_SHARED_DATA"); more != "" {
		roots = append(roots, more)
	}
	all := map[string]*model.Samples{}
	for _, root := range roots {
		require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".csv.gz") {
				return err
			}
			f, err := os.Open(name)
			require.NoError(t, err)
			defer f.Close()
			zipped, err := gzip.NewReader(f)
			require.NoError(t, err)
			readTable(t, filepath.Base(name), csv.NewReader(zipped), all)
			return nil
		}))
	}
	require.NotEmpty(t, all)
	return all
}

func readTable(t testing.TB, file string, rows *csv.Reader, all map[string]*model.Samples) {
	rows.ReuseRecord = true
	rows.FieldsPerRecord = -1
	first, err := rows.Read()
	require.NoError(t, err, file)
	header := slices.Clone(first)
	tagAt, valueAt := slices.Index(header, "tag"), slices.Index(header, "value")
	key := slices.IndexFunc(header, func(h string) bool { return slices.Contains([]string{"turbine", "run", "batch", "cycle"}, h) })
	add := func(tag string, at int64, text string) {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return // a state; its quality would change, which is tested elsewhere
		}
		s := all[file+" "+tag]
		if s == nil {
			s = &model.Samples{Type: model.Float64}
			all[file+" "+tag] = s
		}
		s.Append(model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(v)})
	}
	for row := int64(0); ; row++ {
		cells, err := rows.Read()
		if err == io.EOF {
			return
		}
		require.NoError(t, err, file)
		at, ok := instant(cells[0])
		if !ok && tagAt < 0 {
			at = row * int64(time.Second) // a bare column
		}
		if tagAt >= 0 {
			add(cells[tagAt], at, cells[valueAt])
			continue
		}
		of := ""
		if key > 0 {
			of = cells[key] + "."
		}
		for i, text := range cells {
			if i > 0 && i != key && i < len(header) && text != "" {
				add(of+header[i], at, text)
			}
		}
	}
}

func instant(text string) (int64, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UnixNano(), true
		}
	}
	return 0, false
}

// span is the greatest difference of two finite values of a series, and its smallest step that is not zero.
func span(s *model.Samples) (whole, step float64) {
	low, high := math.Inf(1), math.Inf(-1)
	step = math.Inf(1)
	last := math.NaN()
	for i := range s.Len() {
		v, _ := s.At(i).Float64()
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		low, high = min(low, v), max(high, v)
		if d := math.Abs(v - last); d > 0 {
			step = min(step, d)
		}
		last = v
	}
	return high - low, step
}

// inOrder is the samples as they would have come without the reordering of some files.
func inOrder(s *model.Samples) *model.Samples {
	var all []model.Sample
	for i := range s.Len() {
		all = append(all, s.At(i))
	}
	out := &model.Samples{Type: s.Type}
	for _, x := range ordered(all) {
		out.Append(x)
	}
	return out
}

// TestRecordedSeries holds the bounds of both filters on real data: deviations of a share of the range, and of the smallest
// step a series takes, where many values lie exactly a deviation off.
func TestRecordedSeries(t *testing.T) {
	tags, samples, kept := 0, 0, 0
	for name, series := range recorded(t) {
		whole, step := span(series)
		if !(whole > 0) || math.IsInf(whole, 0) {
			continue
		}
		late := !slices.IsSorted(series.Times)
		sorted := inOrder(series)
		tags++
		for _, d := range []float64{whole / 100, step} {
			door := filter.Settings{Filter: model.Filter{Deviation: d}}
			r, _, err := Replay(sorted, Settings{Compression: door})
			require.NoError(t, err)
			require.LessOrEqual(t, r.WorstError, d+4*ulp(magnitudeAt(sorted, &r)), "%s, deviation %g", name, d)
			require.Zero(t, r.Lost, name)
			samples, kept = samples+r.Samples, kept+r.Kept

			r, _, err = Replay(sorted, Settings{Exception: filter.Settings{Filter: model.Filter{Deviation: d / 4}}, Compression: door})
			require.NoError(t, err)
			require.LessOrEqual(t, r.WorstError, 1.5*d*(1+1e-9)+8*ulp(whole+d), "%s, deviation %g", name, d)
			require.Zero(t, r.Lost, name)
			require.LessOrEqual(t, r.Kept, r.Sent)

			if late {
				r, stays, err := Replay(series, Settings{Compression: door})
				require.NoError(t, err)
				require.LessOrEqual(t, r.WorstError, 2*whole, "%s", name)
				requireLateKept(t, series, &stays, name)
			}
		}
	}
	t.Logf("%d tags, %d samples, %.1f %% kept", tags, samples, 100*float64(kept)/float64(samples))
}

func ulp(x float64) float64 { return math.Nextafter(math.Abs(x), math.Inf(1)) - math.Abs(x) }

// magnitudeAt is the greater one of the value with the worst error and what a reader finds there.
func magnitudeAt(s *model.Samples, r *Report) float64 {
	i, _ := slices.BinarySearch(s.Times, r.WorstTime)
	v, _ := s.At(i).Float64()
	return max(math.Abs(v), r.WorstError-math.Abs(v))
}

// requireLateKept: of samples that came after a newer one none may be missing, unless a later one replaced it.
func requireLateKept(t *testing.T, s, kept *model.Samples, name string) {
	newest := int64(math.MinInt64)
	for i, at := range s.Times {
		if at < newest {
			_, ok := slices.BinarySearch(kept.Times, at)
			require.True(t, ok, "%s: sample %d, late, is not kept", name, i)
		}
		newest = max(newest, at)
	}
}
