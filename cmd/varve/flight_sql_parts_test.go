package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestPartsAreTheWhole: the endpoints of a plain statement have its rows, each once, however many there are; and what is not plain, or has a
// limit, has one.
func TestPartsAreTheWhole(t *testing.T) {
	address, store := plainStore(t)
	c, _ := flightSQL(t, address)
	rows := func(info *flight.FlightInfo) (all []string) {
		for _, e := range info.Endpoint {
			part, err := rowsOf(t.Context(), c, &flight.FlightInfo{Schema: info.Schema, Endpoint: []*flight.FlightEndpoint{e}})
			require.NoError(t, err)
			for _, row := range part {
				all = append(all, strings.Join(row, "|"))
			}
		}
		slices.Sort(all)
		return all
	}
	const tags = 9 // of plainStore, of which one has no samples that anybody wrote
	for _, x := range []struct {
		sql   string
		args  []any
		parts int // with as many endpoints as one likes
	}{
		{"select * from samples", nil, tags},
		{"select time_ns, tag, value from good_samples where time_ns >= 0", nil, tags},
		{"select * from samples where tag in ('old', 'float', 'nobody', 'text')", nil, 3},
		{"select * from samples where tag = 'old'", nil, 1},
		{"select * from samples where tag = 'nobody'", nil, 1},
		{"select * from samples where tag_id in (select tag_id from tags where name like '%o%')", nil, 4},
		{"select * from samples where tag like ? and time >= '1980-01-01'", []any{"%t%"}, 4},
		{"select tag, time_ns from samples limit 100000", nil, 1},
		{"select * from samples where value > 1", nil, 1},
		{"select count(*) from samples", nil, 1},
		{"explain select * from samples", nil, 1},
		{"select name from tags", nil, 1},
	} {
		p, err := c.Prepare(t.Context(), x.sql)
		require.NoError(t, err)
		if x.args != nil {
			p.SetParameters(rowOf(x.args))
		}
		whole, err := p.Execute(t.Context())
		require.NoError(t, err)
		require.Len(t, whole.Endpoint, 1)
		want := rows(whole)
		for _, n := range []int{1, 2, 3, 64} {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-varve-endpoints", fmt.Sprint(n))
			info, err := p.Execute(ctx)
			require.NoError(t, err)
			require.Len(t, info.Endpoint, min(n, x.parts), x.sql)
			require.Equal(t, len(info.Endpoint) == 1, info.Ordered)
			if !strings.HasPrefix(x.sql, "explain") {
				require.Equal(t, want, rows(info), "%s in %d parts", x.sql, n)
			}
			if x.args == nil {
				info, err = c.Execute(ctx, x.sql)
				require.NoError(t, err)
				require.Len(t, info.Endpoint, min(n, x.parts), x.sql)
			}
		}
		require.NoError(t, p.Close(t.Context()))
	}

	// A tag that is made when the parts are given out is in one of them.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-varve-endpoints", "4")
	info, err := c.Execute(ctx, "select * from samples")
	require.NoError(t, err)
	varve(t, "import", "--server", address, writeFile(t, "samples.csv", fmt.Sprintf("time,tag,value\n2026-05-01T00:00:00Z,newest,%d\n", rand.IntN(100))))
	_, all, err := answerBits(store, &varvev1.SqlRequest{Sql: "select * from samples"})
	require.NoError(t, err)
	require.Len(t, rows(info), len(all))

	// They are ended together.
	_, err = c.CancelFlightInfo(t.Context(), &flight.CancelFlightInfoRequest{Info: info})
	require.NoError(t, err)
	for _, e := range info.Endpoint {
		_, err := rowsOf(t.Context(), c, &flight.FlightInfo{Schema: info.Schema, Endpoint: []*flight.FlightEndpoint{e}})
		require.Equal(t, codes.Canceled, status.Code(err), "%v", err)
	}
	for _, bad := range []string{"0", "65", "-1", "many", "2.5"} {
		_, err := c.Execute(metadata.AppendToOutgoingContext(t.Context(), "x-varve-endpoints", bad), "select * from samples")
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", bad, err)
	}
}
