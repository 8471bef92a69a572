package export

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// answerOfDoubles is a batch as ReadRange sends it: 64 k rows of one tag, a value with two decimals each second.
func answerOfDoubles(rows int) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
		{Name: "tag", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "quality", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "seq", Type: arrow.PrimitiveTypes.Uint32},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	rng, v := rand.New(rand.NewPCG(1, 2)), 50.0
	for i := range rows {
		v += rng.NormFloat64() / 20
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(int64(i) * 1e9))
		_ = b.Field(1).(*array.BinaryDictionaryBuilder).AppendString("P.T01")
		b.Field(2).(*array.Float64Builder).Append(math.Round(v*100) / 100)
		b.Field(3).(*array.Uint32Builder).Append(0)
		b.Field(4).(*array.Uint32Builder).Append(0)
	}
	return b.NewRecord()
}

// BenchmarkFile is rows of an answer to a file, without network and disk.
func BenchmarkFile(b *testing.B) {
	const rows = 1 << 16
	rec := answerOfDoubles(rows)
	defer rec.Release()
	tags := []tag{{Tag: &varvev1.Tag{Id: 1, Name: "P.T01", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_FLOAT64}}}}}
	for _, format := range []string{"parquet", "arrow"} {
		b.Run(fmt.Sprintf("format=%s", format), func(b *testing.B) {
			o := Options{Settings: Defaults, GroupRows: 1 << 17}
			o.Settings.Format = format
			written := &hashing{hash: nopHash{}, w: io.Discard}
			for b.Loop() {
				r, err := newRows(&o, tags, model.All, &File{}, written)
				require.NoError(b, err)
				for range 4 {
					require.NoError(b, r.add(rec, 0, 1))
				}
				require.NoError(b, r.close())
				r.release()
			}
			total := float64(b.N * 4 * rows)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/row")
			b.ReportMetric(float64(written.bytes)/total, "bytes/row")
		})
	}
}

type nopHash struct{}

func (nopHash) Write(b []byte) (int, error) { return len(b), nil }
func (nopHash) Sum(b []byte) []byte         { return b }
func (nopHash) Reset()                      {}
func (nopHash) Size() int                   { return 0 }
func (nopHash) BlockSize() int              { return 1 }
