package imports

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that points up fails here with the reason; move the code down, or hand the lower package an interface.
func TestImportsPointDown(t *testing.T) {
	edges, err := read("../..")
	require.NoError(t, err)
	require.Contains(t, edges, edge{"internal/imports/imports_test.go", "testing"}, "the walk did not reach this file")
	for _, v := range violations(edges) {
		t.Error(v)
	}
}

func TestImportsThatPointUpAreFound(t *testing.T) {
	for _, up := range []edge{
		{"model/tag.go", "github.com/stretchr/testify/require"},
		{"model/tag.go", Module + "/storage"},
		{"compression/encoding/float.go", Module + "/storage/chunk"},
		{"storage/db.go", Module + "/server"},
		{"storage/db.go", Module + "/proto/varve/v1"},
		{"storage/log/log.go", "google.golang.org/grpc/codes"},
		{"query/range.go", Module + "/server"},
		{"server/ingest.go", Module + "/cmd/varve"},
		{"collector/session/session.go", Module + "/storage"},
		{"collector/session/session.go", Module + "/storage/log"},
		{"collector/queue/queue.go", Module + "/storage"},
		{"collector/queue/queue.go", Module + "/storage/chunk"},
		{"forward/site.go", Module + "/storage"},
		{"forward/site.go", Module + "/server"},
		{"cmd/varve/main.go", Module + "/bench/plant"},
		{"proto/varve/v1/x.go", Module + "/model"},
		{"storage/rollup/row.go", Module + "/compression/encoding"},
		{"storage/rollup/row.go", Module + "/storage/keys"},
		{"storage/rollup/row.go", "github.com/cockroachdb/pebble"},
		{"query/calendar/shifts.go", Module + "/storage"},
		{"query/calendar/shifts.go", Module + "/query"},
		{"server/pgwire/session.go", Module + "/storage"},
		{"elsewhere/x.go", "fmt"},
	} {
		require.Len(t, violations([]edge{up}), 1, "%s importing %s", up.file, up.path)
	}
}

func TestImportsThatPointDownAreAllowed(t *testing.T) {
	require.Empty(t, violations([]edge{
		{"model/tag.go", "fmt"},
		{"compression/encoding/float.go", Module + "/model"},
		{"storage/db.go", Module + "/storage/log"},
		{"storage/db.go", Module + "/model"},
		{"storage/rollup/row.go", Module + "/model"},
		{"query/range.go", Module + "/storage"},
		{"query/range.go", Module + "/query/calendar"},
		{"query/calendar/shifts.go", Module + "/model"},
		{"server/ingest.go", Module + "/proto/varve/v1"},
		{"collector/session/session.go", Module + "/proto/varve/v1"},
		{"collector/queue/queue.go", Module + "/storage/log"},
		{"forward/place.go", Module + "/storage/durable"},
		{"forward/site.go", Module + "/collector/session"},
		{"cmd/varve/main.go", Module + "/server"},
		{"bench/main.go", Module + "/bench/plant"},
		// A folder whose name begins like a forbidden one is not it.
		{"storage/db.go", Module + "/querylog"},
	}))
}
