package server

import (
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// BenchmarkIngestRows makes a batch of rows as a client that writes a table sends them: tag after tag, doubles.
func BenchmarkIngestRows(b *testing.B) {
	for _, tags := range []int{1, 1000} {
		b.Run(fmt.Sprintf("tags=%d", tags), func(b *testing.B) {
			const rows = 100_000
			types := make([]model.Type, tags)
			for i := range types {
				types[i] = model.Float64
			}
			d := testDoor(testCatalog(b, types...))
			schema := arrow.NewSchema([]arrow.Field{{Name: "tag", Type: textType}, {Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "value", Type: doubleType}}, nil)
			builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			for i := range rows {
				builder.Field(0).(*array.StringBuilder).Append(tagName(model.Float64, i/(rows/tags)%tags+1))
				builder.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
				builder.Field(2).(*array.Float64Builder).Append(float64(i))
			}
			record := builder.NewRecord()
			batch, err := newRowBatch(d, model.NoReplace, schema)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				batch.reset()
				var list ingestRejected
				require.NoError(b, batch.add(record, &list))
				batch.judgeAll(&list)
				require.Zero(b, list.count)
				require.Equal(b, rows, batch.judge.taken)
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
