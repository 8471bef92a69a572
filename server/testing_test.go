package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// testNow is the clock of tests that do not need a running one.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testCatalog is a catalogue with tags of the given types, named for their type and number: float64-1.
func testCatalog(t testing.TB, types ...model.Type) *catalog.Catalog {
	t.Helper()
	c := catalog.New(catalog.Options{})
	set := model.StateSet{Name: "pump", States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}
	changes := []catalog.Change{{PutStateSet: &catalog.PutStateSet{Set: set}}}
	for i, typ := range types {
		settings := model.Settings{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped()}
		if typ == model.State {
			settings.StateSet = "pump"
		}
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: tagName(typ, i+1), UUID: model.UUID{1, byte(i), byte(i >> 8)}, Settings: []model.Settings{settings},
		}}})
	}
	for _, r := range c.Apply(changes, testNow.UnixNano()) {
		require.NoError(t, r.Err)
	}
	return c
}

func testDoor(c *catalog.Catalog) door {
	return door{catalog: c, now: func() time.Time { return testNow }, maxAhead: 15 * time.Minute, minTime: model.MinTime, maxSamples: 1 << 20, maxRuns: 1 << 16}
}

// forceCodec lets a client send and receive bytes as they are.
func forceCodec() grpc.CallOption { return grpc.ForceCodecV2(message.NewCodec(&message.Pool{})) }
