package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// tagsWithFilter is what these tests look at of varve tags get.
type tagsWithFilter struct {
	Exception, Compression *filterJSON
	Filtered               []filteredJSON
}

// sendLive sends numbers of a tag a minute apart as a collector does.
func sendLive(t *testing.T, conn grpc.ClientConnInterface, tag string, start int64, values ...float64) {
	answer, err := varvev1.NewIngestServiceClient(conn).Write(t.Context(), &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{{
		Tag: tag, FirstTimeNs: start, StepNs: 60e9, Count: uint32(len(values)), Float64: values,
	}}}})
	require.NoError(t, err)
	require.EqualValues(t, len(values), answer.Result.Samples)
}

// dial is a connection to a server of this process.
func dial(t *testing.T, address string) *grpc.ClientConn {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestFiltersPage runs the session of docs/reference/filters.md. Between its first command and the others a collector sends what
// docs/reference/tune.md replays, and a generation is written.
func TestFiltersPage(t *testing.T) {
	text, err := os.ReadFile(tunePage)
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "```csv\n")
	table, _, _ = strings.Cut(table, "```")
	var values []float64
	for line := range strings.Lines(table) {
		if _, value, _ := strings.Cut(line, ",TI-7,"); value != "" {
			var v float64
			require.NoError(t, json.Unmarshal([]byte(value), &v))
			values = append(values, v)
		}
	}
	require.Len(t, values, 13)
	address, _ := serveInProcess(t, t.TempDir())
	conn := dial(t, address)
	commands, prints := commandsOf(t, "../../docs/reference/filters.md")
	require.NotEmpty(t, commands)
	for i, args := range commands {
		says := varve(t, append(args, "--server", address)...)
		blank := func(text string) string {
			return someTime.ReplaceAllStringFunc(someID.ReplaceAllString(text, "ID"), func(at string) string {
				if strings.HasPrefix(at, "2026-03") {
					return at
				}
				return "AT"
			})
		}
		require.Equal(t, blank(prints[i]), blank(says), args)
		if i == 0 {
			sendLive(t, conn, "TI-7", 1_772_341_200_000_000_000, values...)
			_, err := varvev1.NewAdminServiceClient(conn).Flush(t.Context(), &varvev1.FlushRequest{})
			require.NoError(t, err)
		}
	}
}

// Filters are set, changed in part and switched off by flags; what an import brings is not filtered; what was left out stays told.
func TestTagsFilters(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	conn := dial(t, address)
	get := func() (out tagsWithFilter) {
		require.NoError(t, json.Unmarshal([]byte(varve(t, "tags", "get", "--server", address, "f")), &out))
		return out
	}
	flush := func() {
		_, err := varvev1.NewAdminServiceClient(conn).Flush(t.Context(), &varvev1.FlushRequest{})
		require.NoError(t, err)
	}
	count := func() int {
		return strings.Count(varve(t, "query", "--server", address, "--start", "1970-01-01", "--end", "2030-01-01", "-o", "csv", "f"), "\n") - 1
	}
	varve(t, "tags", "create", "--server", address, "f", "--exception-deviation", "0.1", "--exception-min-time", "1s")
	require.Equal(t, tagsWithFilter{Exception: &filterJSON{Deviation: 0.1, MinTime: "1s"}}, get())
	sendLive(t, conn, "f", 0, 1, 1, 1, 1)
	flush()
	require.Equal(t, 4, count(), "off unless a tag asks")

	varve(t, "tags", "update", "--server", address, "f", "--compression-deviation", "1", "--compression-max-time", "1h")
	varve(t, "tags", "update", "--server", address, "f", "--compression-deviation", "2", "--exception-deviation", "0")
	require.Equal(t, tagsWithFilter{Compression: &filterJSON{Deviation: 2, MaxTime: "1h0m0s"}}, get())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z,1\n2024-01-01T00:00:02Z,1\n"))
	flush()
	require.Equal(t, 7, count(), "what a file has is kept")
	require.Empty(t, get().Filtered)

	sendLive(t, conn, "f", 1_710_000_000_000_000_000, 0, 1.5, 0, 0)
	require.Equal(t, 11, count(), "all are there until the generation is written")
	flush()
	require.Equal(t, 9, count())
	sendLive(t, conn, "f", 1_710_100_000_000_000_000, 0, 0.5, 0, 0)
	varve(t, "tags", "update", "--server", address, "f", "--compression-deviation", "0")
	flush()
	require.Equal(t, 13, count(), "the setting changed behind them")
	require.Equal(t, tagsWithFilter{Filtered: []filteredJSON{{
		filterJSON: filterJSON{Deviation: 2, MaxTime: "1h0m0s"}, First: "2024-03-09T16:00:00Z", Last: "2024-03-09T16:03:00Z",
		Samples: 4, LeftOut: 2, MaxError: 1.5, ErrorAt: "2024-03-09T16:03:00Z",
	}}}, get())

	_, says := fails(t, "tags", "update", "--server", address, "f", "--compression-deviation", "-1")
	require.Contains(t, says, "compression filter (-1")
}
