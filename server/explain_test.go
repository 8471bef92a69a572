package server

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/part13"
)

// TestExplainOverGRPC explains every aggregate, by either naming, of tags of all types: what cannot be asked is refused as such, and what comes
// is whole.
func TestExplainOverGRPC(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	client := varvev1.NewQueryServiceClient(s.conn)
	for _, run := range everyKind() {
		for _, name := range append(part13.Names(), query.AggregateNames()...) {
			x, err := client.Explain(ctx, &varvev1.ExplainRequest{Tag: run.Tag, StartNs: 0, EndNs: 4e9, Aggregate: name})
			f, processed := part13.Parse(name)
			if status.Code(err) == codes.InvalidArgument {
				tag, ok := s.db.Catalog().ByName(run.Tag)
				require.True(t, ok)
				require.True(t, tag.Current().Type > model.Uint64 && (!processed || !f.Of(tag.Current().Type)), "%s of %s: %v", name, run.Tag, err)
				continue
			}
			require.NoError(t, err, "%s of %s", name, run.Tag)
			require.Equal(t, run.Tag, x.Tag)
			require.Equal(t, name, x.Aggregate)
			require.NotEmpty(t, x.Formula)
			require.Equal(t, model.Quality(x.Quality).Text(), x.QualityText)
			require.Equal(t, processed, x.Configuration.PercentDataGood != nil)
			require.Nil(t, x.Configuration.SettingsFromNs)
			require.NotNil(t, x.Value)
		}
	}
	tag := everyKind()[0].Tag
	byName, err := client.Explain(ctx, &varvev1.ExplainRequest{Tag: tag, StartNs: 4e9, EndNs: 0, Aggregate: "TimeAverage2"})
	require.NoError(t, err)
	byID, err := client.Explain(ctx, &varvev1.ExplainRequest{TagId: byName.TagId, StartNs: 4e9, EndNs: 0, Aggregate: "TimeAverage2"})
	require.NoError(t, err)
	require.True(t, proto.Equal(byName, byID))
	for _, bad := range []*varvev1.ExplainRequest{
		{EndNs: 4e9, Aggregate: "Count"},
		{Tag: tag, TagId: byName.TagId, EndNs: 4e9, Aggregate: "Count"},
		{Tag: tag, EndNs: 4e9},
		{Tag: tag, EndNs: 4e9, Aggregate: "average"},
		{Tag: tag, Aggregate: "Count"},
		{Tag: tag, StartNs: math.MinInt64, EndNs: 4e9, Aggregate: "Count"},
		{Tag: tag, EndNs: 4e9, Aggregate: "Count", PercentDataGood: proto.Uint32(300)},
		{Tag: tag, EndNs: 4e9, Aggregate: "Count", TimeResolutionNs: -1},
		{Tag: tag, EndNs: 4e9, Aggregate: "Count", Consistency: 9},
	} {
		_, err := client.Explain(ctx, bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%v: %v", bad, err)
	}
	_, err = client.Explain(ctx, &varvev1.ExplainRequest{Tag: "nowhere", EndNs: 4e9, Aggregate: "Count"})
	require.Equal(t, codes.NotFound, status.Code(err))
}
