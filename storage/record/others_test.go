package record

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func drawTags(t *rapid.T) []model.TagID {
	var tags []model.TagID
	for range rapid.IntRange(0, 5).Draw(t, "tags") {
		tags = append(tags, model.TagID(rapid.Uint32().Draw(t, "tag")))
	}
	return tags
}

// requireExact holds that a body decodes to what it was written from, and that no part of it and nothing longer does.
func requireExact[T any](t *rapid.T, want T, body []byte, decode func([]byte) (T, error)) {
	have, err := decode(body)
	require.NoError(t, err)
	require.Equal(t, want, have)
	for n := range body {
		_, err := decode(body[:n])
		require.ErrorIs(t, err, ErrCorrupt, "%d of %d bytes", n, len(body))
	}
	_, err = decode(append(body, 0))
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestOtherKindsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.Int64().Draw(t, "from"), rapid.Int64().Draw(t, "to")
		author, reason := rapid.String().Draw(t, "author"), rapid.String().Draw(t, "reason")

		d := DeleteRange{Tags: drawTags(t), From: from, To: to, Author: author, Reason: reason}
		requireExact(t, d, AppendDelete(nil, &d), DecodeDelete)

		tags := append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "bitmap")...)
		e := Erasure{
			What: What(rapid.IntRange(1, 3).Draw(t, "what")), Cause: Cause(rapid.IntRange(1, 3).Draw(t, "cause")), Class: reason,
			Tags: tags, From: from, To: to, Author: author, Reason: reason,
		}
		requireExact(t, e, AppendErasure(nil, &e), DecodeErasure)

		h := Hold{Release: rapid.Uint64().Draw(t, "release"), Tags: tags, From: from, To: to, Author: author, Reason: reason}
		requireExact(t, h, AppendHold(nil, &h), DecodeHold)

		kept := rapid.Int64Range(0, math.MaxInt64)
		u := Rule{Class: author, Versions: kept.Draw(t, "versions"), Samples: kept.Draw(t, "samples"), Rollups: kept.Draw(t, "rollups"), Author: author, Reason: reason}
		requireExact(t, u, AppendRule(nil, &u), DecodeRule)

		s := State{
			Source: author, State: Collector(rapid.IntRange(1, 4).Draw(t, "state")),
			Gap: model.GapKind(rapid.IntRange(1, 4).Draw(t, "gap")), Tags: drawTags(t), From: from, To: to,
			Of: rapid.Uint64().Draw(t, "of"), Author: author, Reason: reason,
		}
		requireExact(t, s, AppendState(nil, &s), DecodeState)

		n := Note{Tags: drawTags(t), From: from, To: to, Text: reason, Author: author}
		copy(n.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		requireExact(t, n, AppendNote(nil, &n), DecodeNote)

		f := Forecast{Tag: model.TagID(rapid.Uint32().Draw(t, "tag")), Issued: from, Model: author, Author: reason, Samples: rapid.SliceOf(rapid.Byte()).Draw(t, "samples")}
		requireExact(t, f, AppendForecast(nil, &f), DecodeForecast)

		l := Loss{First: rapid.Uint64().Draw(t, "first"), End: rapid.Uint64().Draw(t, "end"), Author: author, Reason: reason}
		requireExact(t, l, AppendLoss(nil, &l), DecodeLoss)
	})
}

func TestHeaderComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Header{
			Kind:     Kind(rapid.IntRange(int(Samples), int(Undelete)).Draw(t, "kind")),
			Revision: rapid.Uint64().Draw(t, "revision"), Ingest: rapid.Int64().Draw(t, "ingest"),
		}
		payload := append(AppendHeader(nil, want), 1, 2, 3)
		have, body, err := DecodeHeader(payload)
		require.NoError(t, err)
		require.Equal(t, want, have)
		require.Equal(t, []byte{1, 2, 3}, body)
		for n := range headerSize {
			_, _, err := DecodeHeader(payload[:n])
			require.ErrorIs(t, err, ErrCorrupt)
		}
	})
}

// TestNewerReleaseIsNotDamage tells a version or kind of a newer release, which stops apply, from bytes that are wrong.
func TestNewerReleaseIsNotDamage(t *testing.T) {
	payload := AppendHeader(nil, Header{Kind: Samples})
	for b := range 256 {
		for at := range 2 {
			p := append([]byte{}, payload...)
			p[at] = byte(b)
			_, _, err := DecodeHeader(p)
			switch {
			case b == 0:
				require.ErrorIs(t, err, ErrCorrupt)
				require.NotErrorIs(t, err, ErrVersion)
			case at == 0 && b > version, at == 1 && b > int(RetentionRule):
				require.ErrorIs(t, err, ErrVersion)
				require.NotErrorIs(t, err, ErrCorrupt)
			default:
				require.NoError(t, err)
			}
		}
	}
	// A newer release may write shorter headers.
	_, _, err := DecodeHeader([]byte{version + 1})
	require.ErrorIs(t, err, ErrVersion)
}

func TestStatesAndGapsThatDoNotExist(t *testing.T) {
	for _, s := range []State{
		{State: 0}, {State: 5}, {State: Missing, Gap: 0}, {State: Missing, Gap: model.Thinned + 1},
	} {
		_, err := DecodeState(AppendState(nil, &s))
		require.ErrorIs(t, err, ErrCorrupt, "%+v", s)
	}
}

func TestHostileTags(t *testing.T) {
	_, err := DecodeDelete([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 1})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "1099511627776 tags in 2 bytes")
	big := append([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x10}, make([]byte, 18)...)
	_, err = DecodeDelete(big)
	require.ErrorIs(t, err, ErrCorrupt)
}
