//go:build cgo

package engine

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkResult is rows of the engine on their way out: a text, a number, an instant, a whole number.
func BenchmarkResult(b *testing.B) {
	d := openTest(b)
	const rows = 1_000_000
	for _, x := range []struct{ name, sql string }{
		{"columns=4", "select 'plant/area-3/FI-101' as tag, i * 0.5::double as value, to_timestamp(i) as time, i as quality from range(1000000) t(i)"},
		{"columns=text", "select 'plant/area-3/FI-101' as tag from range(1000000) t(i)"},
		{"columns=instant", "select to_timestamp(i) as time from range(1000000) t(i)"},
		{"columns=number", "select i from range(1000000) t(i)"},
	} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, d.Execute(context.Background(), &testScanner{}, x.sql, nil, NewWriter(io.Discard, func() error { return nil })))
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
