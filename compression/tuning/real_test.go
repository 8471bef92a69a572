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
