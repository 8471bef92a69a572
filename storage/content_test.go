package storage

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
)

const contentPage = "../docs/format/content.md"

// contentsOf is everything a store answers for.
func contentsOf(t testing.TB, db *DB) []Content {
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	var out []Content
	for c, err := range v.Contents(context.Background(), model.All) {
		require.NoError(t, err)
		out = append(out, c)
	}
	return out
}

// modelContents is the same worked out from the plain model, from the words of the page alone.
func modelContents(m plain.Store) []Content {
	type name struct {
		p   keys.Partition
		tag model.TagID
	}
	type part struct {
		samples, versions digest
		content           Content
	}
	parts := map[name]*part{}
	in := func(tag model.TagID, at int64) *part {
		n := name{keys.DayOf(at), tag}
		x := parts[n]
		if x == nil {
			x = &part{content: Content{Partition: n.p, Tag: tag, First: at, Last: at}}
			x.samples.reset()
			x.versions.reset()
			parts[n] = x
		}
		x.content.First, x.content.Last = min(x.content.First, at), max(x.content.Last, at)
		return x
	}
	for tag := range m {
		for _, x := range m.Current(tag, model.All) {
			in(tag, x.Time).samples.sample(&x)
		}
		versions := m.Versions(tag, model.All)
		for len(versions) > 0 {
			n := 1
			for n < len(versions) && versions[n].Time == versions[0].Time && versions[n].Seq == versions[0].Seq {
				n++
			}
			if v := versions[0]; n > 1 || v.Kind == model.Removed || v.Author != "" || v.Reason != "" {
				for _, v := range versions[:n] {
					e := event{VersionRow: chunk.VersionRow{Sample: v.Sample, Kind: v.Kind, Author: v.Author, Reason: v.Reason}}
					in(tag, v.Time).versions.version(&e)
				}
			}
			versions = versions[n:]
		}
	}
	var out []Content
	for _, n := range slices.SortedFunc(maps.Keys(parts), func(a, b name) int {
		if c := a.p.Compare(b.p); c != 0 {
			return c
		}
		return int(a.tag) - int(b.tag)
	}) {
		x := parts[n]
		x.content.Samples, x.content.Versions = x.samples.count, x.versions.count
		x.content.Hash = contentHash(&x.samples, &x.versions)
		out = append(out, x.content)
	}
	return out
}

// TestContentIsThatOfTheLog feeds one history to stores that cut, seal, restart and encode differently. All of them have the
// content that the plain model has.
func TestContentIsThatOfTheLog(t *testing.T) {
	for seed := range uint64(seeds("VARVE_MODEL_SEEDS", fewer(6))) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			h := newHistory(t, seed, fs)
			defer func() { require.NoError(t, h.db.Close()) }()
			var twins []*history
			for i, samples := range []int{20, 5000} {
				o := testOptions(vfs.NewMem())
				o.GenerationSamples, o.SealedSamples = samples, 128<<i
				db, err := Open("store", o)
				require.NoError(t, err)
				defer func() { require.NoError(t, db.Close()) }()
				twin := &history{t: t, db: db, model: plain.Store{}, tags: len(testTypes)}
				twin.createTags()
				twins = append(twins, twin)
			}
			rng := rand.New(rand.NewPCG(seed, 11))
			for i := range 100 {
				h.stepWith(twins)
				switch rng.IntN(20) {
				case 0:
					seal(t, h.db)
				case 1:
					seal(t, twins[rng.IntN(len(twins))].db)
				case 2:
					require.NoError(t, h.db.Close())
					db, err := Open("store", testOptions(fs))
					require.NoError(t, err)
					h.db = db
				}
				if i%33 == 0 || i == 99 {
					want := modelContents(h.model)
					require.Equal(t, want, contentsOf(t, h.db))
					for _, twin := range twins {
						require.Equal(t, want, contentsOf(t, twin.db))
					}
				}
			}
			seal(t, h.db)
			require.Equal(t, modelContents(h.model), contentsOf(t, h.db))
		})
	}
}

// stepWith is step, and the same batch for other stores.
func (h *history) stepWith(others []*history) {
	writes := []plain.Write{h.randomWrite()}
	b := h.batch(writes)
	for i := range writes {
		h.model.Apply(&writes[i])
	}
	for _, o := range append([]*history{h}, others...) {
		p, err := o.db.Submit(context.Background(), b)
		require.NoError(h.t, err)
		_, err = p.Applied(context.Background())
		require.NoError(h.t, err)
	}
}

// TestContentOfARange holds that a range leaves out other partitions and nothing of those it meets.
func TestContentOfARange(t *testing.T) {
	h := newHistory(t, 3, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	for range 60 {
		h.step()
	}
	all := contentsOf(t, h.db)
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	var have []Content
	for c, err := range v.Contents(context.Background(), model.TimeRange{Start: 5e9, End: 6e9}) {
		require.NoError(t, err)
		have = append(have, c)
	}
	want := slices.DeleteFunc(slices.Clone(all), func(c Content) bool { return c.Partition != keys.DayOf(0) })
	require.NotEmpty(t, want)
	require.Equal(t, want, have)
}

// The page's example: two samples of a state at one time, one of them corrected once and given a reason.
func TestContentIsAsDocumented(t *testing.T) {
	const at = 1_767_268_800_000_000_000 // 2026-01-01T12:00:00Z
	m := plain.Store{}
	write := func(mode model.WriteMode, bits uint64, author, reason string) {
		w := plain.Write{Tag: 1, Mode: mode, Author: author, Reason: reason}
		w.Samples.Reset(model.State)
		w.Samples.Append(model.Sample{Time: at, Type: model.State, Bits: bits})
		if mode == model.Replace {
			w.Samples.Seq = []uint32{0}
		}
		m.Apply(&w)
	}
	write(model.Update, 1, "", "")
	write(model.Append, 5, "", "")
	write(model.Replace, 2, "mara", "typo")
	have := modelContents(m)
	require.Len(t, have, 1)

	blocks := map[string][]byte{}
	for _, name := range []string{"samples", "versions", "content"} {
		blocks[name] = golden.Block(t, contentPage, name)
	}
	c := have[0]
	require.Equal(t, uint64(2), c.Samples)
	require.Equal(t, uint64(2), c.Versions)
	var b []byte
	for _, x := range m.Current(1, model.All) {
		b = appendContentSample(b, &x)
	}
	require.Equal(t, fmt.Sprintf("% x", blocks["samples"]), fmt.Sprintf("% x", b))
	var d digest
	for _, v := range m.Versions(1, model.All)[:2] {
		d.version(&event{VersionRow: chunk.VersionRow{Sample: v.Sample, Kind: v.Kind, Author: v.Author, Reason: v.Reason}})
	}
	require.Equal(t, fmt.Sprintf("% x", blocks["versions"]), fmt.Sprintf("% x", d.buf))
	// The page alone leads to the hash.
	require.Equal(t, xxhash.Sum64(blocks["content"]), c.Hash)
	text := contentText(t)
	require.Contains(t, text, fmt.Sprintf("%016x", c.Hash))
	require.Contains(t, strings.Join(strings.Fields(hex.EncodeToString(blocks["content"])), ""), hex.EncodeToString(le64(xxhash.Sum64(blocks["samples"]))))
	require.Contains(t, hex.EncodeToString(blocks["content"]), hex.EncodeToString(le64(xxhash.Sum64(blocks["versions"]))))
}

func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func contentText(t testing.TB) string {
	b, err := os.ReadFile(contentPage)
	require.NoError(t, err)
	return string(b)
}

// TestContentListsAreReadAsWritten writes lists of two stores of one log and reads them again.
func TestContentListsAreReadAsWritten(t *testing.T) {
	h := newHistory(t, 5, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	for range 60 {
		h.step()
	}
	list := func() string {
		v, err := h.db.View(context.Background(), Accepted)
		require.NoError(t, err)
		defer v.Close()
		var b strings.Builder
		s, err := v.WriteContents(context.Background(), &b)
		require.NoError(t, err)
		var read ContentSummary
		var rows []Content
		for c, err := range ReadContents(strings.NewReader(b.String()), &read) {
			require.NoError(t, err)
			rows = append(rows, c)
		}
		require.Equal(t, s, read)
		require.Equal(t, contentsOf(t, h.db), rows)
		return b.String()
	}
	before := list()
	seal(t, h.db)
	require.Equal(t, before, list())
	for _, bad := range []string{
		"", "varve content\n", strings.Replace(before, "format 1", "format 2", 1), strings.Replace(before, " 1 ", " 01 ", 1),
		before[:len(before)-1], before + "more\n", before[:len(before)-3] + "\n",
	} {
		var s ContentSummary
		var last error
		for _, err := range ReadContents(strings.NewReader(bad), &s) {
			last = err
		}
		require.Error(t, last, "%.80q", bad)
	}
	for _, edge := range []int64{model.MinTime, model.MaxTime, -1, 0} {
		c := Content{Partition: keys.DayOf(edge), Tag: 1, Samples: 1, First: edge, Last: edge, Hash: 5}
		have, err := parseContent(c.Line())
		require.NoError(t, err)
		require.Equal(t, c, have)
	}
}
