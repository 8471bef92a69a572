package main

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func benchValue(i int) float64 { return math.Round(1000*math.Sin(float64(i)/100)) / 10 }

// benchStore is a server with samples of a few tags, and a client of Flight SQL.
func benchStore(b testing.TB, tags, samples int, flags ...string) *flightsql.Client {
	b.Helper()
	address, _ := serveInProcess(b, b.TempDir(), append([]string{"--sql-binary", sqlBinary(b)}, flags...)...)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	defer conn.Close()
	for i := range tags {
		r := &varvev1.Run{Tag: fmt.Sprintf("area%d/unit%02d.PV", i/10, i), FirstTimeNs: 1767225600e9, StepNs: 1e9, Count: uint32(samples)}
		for k := range samples {
			r.Float64 = append(r.Float64, benchValue(k+i))
		}
		w, err := varvev1.NewIngestServiceClient(conn).Write(b.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{r}}})
		require.NoError(b, err)
		require.Zero(b, w.Result.Rejected)
	}
	_, err = varvev1.NewAdminServiceClient(conn).Flush(b.Context(), &varvev1.FlushRequest{})
	require.NoError(b, err)
	c, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// BenchmarkStatementRows is rows over Flight SQL to a client in this process: those that the server reads, and those that pass the engine.
func BenchmarkStatementRows(b *testing.B) {
	const tags, samples = 20, 50_000
	c := benchStore(b, tags, samples)
	for name, sql := range map[string]string{
		"by=server": "select time, tag, value, quality from samples",
		"by=engine": unused + "select time, tag, value, quality from samples",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				info, err := c.Execute(b.Context(), sql)
				require.NoError(b, err)
				r, err := c.DoGet(b.Context(), info.Endpoint[0].Ticket)
				require.NoError(b, err)
				rows := int64(0)
				for r.Next() {
					rows += r.Record().NumRows()
				}
				require.NoError(b, r.Err())
				require.EqualValues(b, tags*samples, rows)
				r.Release()
			}
			b.ReportMetric(float64(b.N)*tags*samples/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

// BenchmarkStatementAgain is a statement of one row over Flight SQL, again and again: prepared once and bound anew each time, and by its text.
func BenchmarkStatementAgain(b *testing.B) {
	c := benchStore(b, 20, 10_000)
	const latest = "select time, value from samples where tag = $1 and time >= $2 and time < $3 order by time desc limit 1"
	one := func(b *testing.B, info *flight.FlightInfo, err error) {
		require.NoError(b, err)
		r, err := c.DoGet(b.Context(), info.Endpoint[0].Ticket)
		require.NoError(b, err)
		require.True(b, r.Next())
		require.EqualValues(b, 1, r.Record().NumRows())
		require.False(b, r.Next())
		r.Release()
	}
	b.Run("by=prepared", func(b *testing.B) {
		p, err := c.Prepare(b.Context(), latest)
		require.NoError(b, err)
		defer func() { _ = p.Close(b.Context()) }()
		for i := 0; b.Loop(); i++ {
			p.SetParameters(rowOf([]any{"area0/unit03.PV", time.Unix(1767225600+int64(i%5000), 0).UTC(), time.Unix(1767226200+int64(i%5000), 0).UTC()}))
			info, err := p.Execute(b.Context())
			one(b, info, err)
		}
	})
	b.Run("by=text", func(b *testing.B) {
		for b.Loop() {
			info, err := c.Execute(b.Context(), "select time, value from samples where tag = 'area0/unit03.PV' and time < '2026-01-01 00:10:00' order by time desc limit 1")
			one(b, info, err)
		}
	})
	b.Run("by=none", func(b *testing.B) { // calls that do nothing
		p, err := c.Prepare(b.Context(), "select 1")
		require.NoError(b, err)
		for b.Loop() {
			info, err := p.Execute(b.Context())
			one(b, info, err)
		}
	})
}
