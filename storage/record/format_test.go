package record

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

const page = "../../docs/format/record.md"

// The worked examples of the page.
const (
	exampleTime   = 1_700_000_000_000_000_000 // 2023-11-14T22:13:20Z
	exampleIngest = exampleTime + 1e9
)

var (
	exampleIdentity = Identity{
		Source: "plc-7", Epoch: 0x1122334455667788, Sequence: 4, Origin: exampleTime, ContentHash: 0xa4,
	}
	exampleRuns = []Run{
		{Tag: 1, Mode: model.Update, Samples: model.Samples{
			Type: model.Float64, Times: []int64{exampleTime, exampleTime + 1e9, exampleTime + 2e9},
			Bits:    []uint64{0x4034800000000000, 0x4034800000000000, 0x4035000000000000},
			Quality: []model.Quality{model.Good, model.Good, model.Uncertain},
		}},
		{Tag: 2, Mode: model.NoReplace, Samples: model.Samples{
			Type: model.String, Times: []int64{exampleTime + 5e6, exampleTime + 1505e6, exampleTime + 2e9},
			Blobs: [][]byte{[]byte("on"), {}, []byte("off")}, Null: []bool{false, true, false},
		}},
		{Tag: 300, Mode: model.Update, Samples: model.Samples{
			Type: model.Bool, Times: []int64{exampleTime, exampleTime + 60e9}, Bits: []uint64{1, 1},
		}},
	}
	exampleEdit     = Identity{Author: "mara", Reason: "typo"}
	exampleEditRuns = []Run{
		{Tag: 1, Mode: model.Replace, Samples: model.Samples{
			Type: model.Float32, Times: []int64{exampleTime}, Bits: []uint64{0x3f800000}, Seq: []uint32{1},
		}},
		{Tag: 2, Mode: model.Remove, All: true, Samples: model.Samples{Type: model.String, Times: []int64{exampleTime + 5e6}}},
	}
	exampleDelete    = DeleteRange{Tags: []model.TagID{1, 300}, From: exampleTime, To: exampleTime + 60e9, Author: "mara", Reason: "test rig"}
	exampleBitmap    = []byte{0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0x10, 0, 0, 0, 1, 0, 0x2c, 1} // tags 1 and 300
	exampleErasure   = Erasure{What: OldSamples, Cause: ByRetention, Class: "fast", Tags: exampleBitmap, From: model.MinTime, To: exampleTime, Reason: "30 days"}
	exampleHold      = Hold{Tags: []byte{}, From: exampleTime, To: exampleTime + 60e9, Author: "mara", Reason: "audit"}
	exampleRule      = Rule{Class: "fast", Versions: 7 * 86400e9, Samples: 30 * 86400e9, Author: "mara", Reason: "policy 12"}
	exampleState     = State{Source: "plc-7", State: Missing, Gap: model.NotCollected, Tags: []model.TagID{1}, From: exampleTime, To: exampleTime + 60e9, Author: "mara", Reason: "cable"}
	exampleNote      = Note{ID: model.UUID{0x9a, 15: 0x01}, Tags: []model.TagID{1}, From: exampleTime, To: exampleTime + 1, Text: "valve stuck", Author: "mara"}
	exampleForecast  = Forecast{Tag: 1, Issued: exampleTime, Model: "day ahead", Author: "mara", Samples: []byte{0x01, 0x02}} // not looked at; see docs/format/chunk.md
	exampleLoss      = Loss{First: 40, End: 43, Author: "mara", Reason: "disk 2"}
	exampleUndelete  = UndeleteRange{Offset: 40, Author: "mara", Reason: "wrong tags"}
	exampleCatalogue = []byte{1, 0} // package catalog's; see docs/format/catalog.md
)

// examples is the payload of each kind as this release writes it.
func examples() map[string][]byte {
	header := func(k Kind) []byte { return AppendHeader(nil, Header{Kind: k, Revision: 7, Ingest: exampleIngest}) }
	return map[string][]byte{
		"samples":        append(header(Samples), appendBatch(Samples, &exampleIdentity, exampleRuns)...),
		"catalog change": append(header(CatalogChange), exampleCatalogue...),
		"edit":           append(header(Edit), appendBatch(Edit, &exampleEdit, exampleEditRuns)...),
		"delete":         AppendDelete(header(Delete), &exampleDelete),
		"erase":          AppendErasure(header(Erase), &exampleErasure),
		"hold":           AppendHold(header(HoldErase), &exampleHold),
		"retention rule": AppendRule(header(RetentionRule), &exampleRule),
		"collector":      AppendState(header(CollectorState), &exampleState),
		"annotation":     AppendNote(header(Annotation), &exampleNote),
		"forecast run":   AppendForecast(header(ForecastRun), &exampleForecast),
		"cut":            header(Cut),
		"accept loss":    AppendLoss(header(AcceptLoss), &exampleLoss),
		"undelete":       AppendUndelete(header(Undelete), &exampleUndelete),
	}
}

func TestPayloadsAreAsDocumented(t *testing.T) {
	for name, payload := range examples() {
		require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, name)), fmt.Sprintf("% x", payload), name)
	}
}

// stored is a payload as version 1 wrote it. The files are never written anew.
func stored(t *testing.T, name string, kind Kind) []byte {
	b, err := os.ReadFile("testdata/v1/" + strings.ReplaceAll(name, " ", "-"))
	require.NoError(t, err)
	h, body, err := DecodeHeader(b)
	require.NoError(t, err)
	require.Equal(t, Header{Kind: kind, Revision: 7, Ingest: exampleIngest}, h)
	return body
}

func TestStoredVersion1(t *testing.T) {
	requireBatch(t, stored(t, "samples", Samples), Samples, exampleIdentity, exampleRuns)
	requireBatch(t, stored(t, "edit", Edit), Edit, exampleEdit, exampleEditRuns)
	require.Equal(t, exampleCatalogue, stored(t, "catalog change", CatalogChange))
	require.Empty(t, stored(t, "cut", Cut))
	requireStored(t, "delete", Delete, exampleDelete, DecodeDelete)
	requireStored(t, "erase", Erase, exampleErasure, DecodeErasure)
	requireStored(t, "hold", HoldErase, exampleHold, DecodeHold)
	requireStored(t, "retention rule", RetentionRule, exampleRule, DecodeRule)
	requireStored(t, "collector", CollectorState, exampleState, DecodeState)
	requireStored(t, "annotation", Annotation, exampleNote, DecodeNote)
	requireStored(t, "forecast run", ForecastRun, exampleForecast, DecodeForecast)
	requireStored(t, "accept loss", AcceptLoss, exampleLoss, DecodeLoss)
	requireStored(t, "undelete", Undelete, exampleUndelete, DecodeUndelete)
}

func requireStored[T any](t *testing.T, name string, kind Kind, want T, decode func([]byte) (T, error)) {
	have, err := decode(stored(t, name, kind))
	require.NoError(t, err, name)
	require.Equal(t, want, have)
}

func requireBatch(t *testing.T, body []byte, kind Kind, id Identity, runs []Run) {
	var b Batch
	var run Run
	require.NoError(t, b.Open(kind, body))
	require.Equal(t, id, b.Identity)
	for _, want := range runs {
		ok, err := b.Next(&run)
		require.NoError(t, err)
		require.True(t, ok)
		requireRun(t, want, run)
	}
	ok, err := b.Next(&run)
	require.NoError(t, err)
	require.False(t, ok)
}
