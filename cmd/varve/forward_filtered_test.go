package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// filteredRule is a rule of the tests, and what it promises of numbers that slope.
type filteredRule struct {
	text      string
	tags      []string
	filter    model.Filter
	door      bool
	every     int64
	deviation float64 // of what readers find
}

var filteredRules = []filteredRule{
	{"{tags: [PLAIN.0], exc_dev: 0.6, every: 10s, settle: 1ms}", []string{"PLAIN.0"}, model.Filter{Deviation: 0.6}, false, 10e9, 1.2},
	{"{tags: [PLAIN.1, CHANGES, 'F*'], comp_dev: 0.6, comp_max: 20s, every: 30s, settle: 1ms}", []string{"PLAIN.1", "CHANGES", "F32", "F64"}, model.Filter{Deviation: 0.6, MaxTime: 20 * time.Second}, true, 30e9, 0.6000001},
	{"{tags: [MULTI, U64, BOOL, TEXT, BYTES, STATE], exc_dev: 0, every: 1s, settle: 1ms}", []string{"MULTI", "U64", "BOOL", "TEXT", "BYTES", "STATE"}, model.Filter{Deviation: math.SmallestNonzeroFloat64}, false, 1e9, 0},
}

// piece is a stretch of a tag in which nothing begins anew.
type piece struct {
	bucket int64
	cuts   int
}

// keptOf is the keys that a rule keeps of what a server holds of a tag: each piece filtered as a whole.
func keptOf(t testing.TB, c *client, tag string, rule filteredRule) map[string]bool {
	w, err := c.catalog.GetTag(t.Context(), &varvev1.GetTagRequest{Name: tag})
	require.NoError(t, err)
	gaps, err := c.gaps.ListGaps(t.Context(), &varvev1.ListGapsRequest{Tags: []string{tag}})
	require.NoError(t, err)
	var cuts []int64
	for _, g := range gaps.Gaps {
		if cuts = append(cuts, g.StartNs); g.EndNs != nil {
			cuts = append(cuts, *g.EndNs)
		}
	}
	for _, s := range w.Settings {
		cuts = append(cuts, s.FromNs)
	}
	types, pieces := answer.TypesOf(w), map[piece][]model.Sample{}
	start, end := int64(-math.MaxInt64), int64(math.MaxInt64)
	stream, err := c.query.ReadRange(t.Context(), &varvev1.ReadRangeRequest{Tags: []string{tag}, StartNs: &start, EndNs: &end, WithSeq: true})
	require.NoError(t, err)
	r, err := answer.NewReader(stream)
	require.NoError(t, err)
	defer r.Close()
	for rows := answer.NewRows(r, map[string]answer.Types{tag: types}); ; {
		row, err := rows.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		at := piece{bucket: row.Time / rule.every}
		for _, c := range cuts {
			if c <= row.Time {
				at.cuts++
			}
		}
		x := model.Sample{Time: row.Time, Type: types.At(row.Time), Bits: row.Value.Bits, Quality: row.Quality, Null: row.Value.Null, Seq: row.Seq}
		if x.Type.Blob() {
			x.Bits, x.Blob = 0, []byte(row.Value.Text)
		}
		pieces[at] = append(pieces[at], x)
	}
	kept := map[string]bool{}
	for _, samples := range pieces {
		settings := filter.Settings{Filter: rule.filter, Stepped: samples[0].Type.AlwaysStepped()}
		var out []filter.Kept
		if rule.door {
			f, err := swingingdoor.New(settings, swingingdoor.Strict)
			require.NoError(t, err)
			for _, x := range samples {
				out = f.Add(out, x)
			}
			out = f.Flush(out)
		} else {
			f, err := exception.New(settings)
			require.NoError(t, err)
			for _, x := range samples {
				out = f.Add(out, x)
			}
			out = f.Flush(out)
		}
		for _, k := range out {
			kept[fmt.Sprintf("%d/%d", k.Time, k.Seq)] = true
		}
	}
	return kept
}

// requireFiltered waits until the site holds what a rule keeps of a tag, and its settings and gaps; then it holds what readers find at the site to what they find at the edge.
func requireFiltered(t testing.TB, edge, site *served, tag string, siteName func(string) string, rule filteredRule) {
	t.Helper()
	siteTag := siteName(tag)
	all, err := held(t, edge.client(), tag, siteName)
	if err != nil {
		return // it was never made
	}
	kept, left := keptOf(t, edge.client(), tag, rule), 0
	var want, got []string
	for _, line := range all {
		key, _, _ := strings.Cut(line, " ")
		if strings.Contains(key, "/") && !kept[key] {
			left++
			continue
		}
		want = append(want, line)
	}
	if !strings.Contains(strings.Join(want, "\n"), "/") {
		return // nothing of it stands
	}
	for until := time.Now().Add(60 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if got, err = held(t, site.client(), siteTag, func(set string) string { return set }); err == nil && slices.Equal(want, got) {
			break
		}
	}
	require.NoError(t, err, tag)
	require.Equal(t, want, got, tag)
	t.Logf("%s: %d left out, %d kept", tag, left, len(kept))
	if strings.HasPrefix(tag, "PLAIN") {
		requireWithin(t, edge, site, tag, siteTag, rule.deviation)
	}
}

// requireWithin compares what readers find at instants: at the samples of the edge, and between them.
func requireWithin(t testing.TB, edge, site *served, tag, siteTag string, deviation float64) {
	var times []int64
	for at := int64(1_700_000_000e9) - 1e9; at < 1_700_005_000e9; at += 5e8 {
		times = append(times, at, at+1e8)
	}
	for part := range slices.Chunk(times, 1000) {
		want, got := atTimes(t, edge, tag, part), atTimes(t, site, siteTag, part)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i].Quality>>30, got[i].Quality>>30, "%s at %d", tag, want[i].Time)
			require.Equal(t, want[i].Value.Null, got[i].Value.Null, "%s at %d", tag, want[i].Time)
			w, g := math.Float64frombits(want[i].Value.Bits), math.Float64frombits(got[i].Value.Bits)
			if !want[i].Value.Null {
				require.LessOrEqual(t, math.Abs(w-g), deviation, "%s at %d", tag, want[i].Time)
			}
		}
	}
}

func atTimes(t testing.TB, s *served, tag string, times []int64) (out []answer.Row) {
	stream, err := s.client().query.ReadAtTimes(t.Context(), &varvev1.ReadAtTimesRequest{Tags: []string{tag}, TimesNs: times})
	require.NoError(t, err)
	r, err := answer.NewReader(stream)
	require.NoError(t, err)
	defer r.Close()
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out = append(out, row)
	}
}

// TestForwardFiltered writes, corrects, deletes, restores and reports gaps at an edge while it, the site, the forwarder and the networks between them stop and start. At the
// end the site holds of each tag what the filter of its rule keeps of what the edge holds, and no more; readers find at both what is within the deviation.
func TestForwardFiltered(t *testing.T) {
	bySeeds(t, 3, func(t *testing.T, seed uint64) {
		x := newTrial(t, seed, "--keep-log", "0")
		x.run(x.rng.IntN(30), 1) // the archive has something already
		prefix, names := x.prefixed()
		rules := "names: {prefix: '" + prefix + "'}\n" + filteredConfig()
		raw := x.rng.IntN(2) == 0
		if !raw {
			rules = "raw: false\n" + rules
		}
		x.forward(forwardConfig(t, x.edge, x.site, rules))
		x.run(100, 7, x.site.restart, x.edge.restart, x.restart, x.site.wire.cut, x.edge.wire.cut, x.outage, x.pause, x.pause, x.pause)
		requireAllFiltered(t, x, names)
		if raw {
			requireFiltered(t, x.edge, x.site, "PLAIN.2", names, filteredRule{every: 1e9}) // as it is
		} else {
			_, err := held(t, x.site.client(), names("PLAIN.2"), nil)
			require.ErrorContains(t, err, "tag not found")
		}
		x.load.requireModel(x.edge, func(name string) string { return name })
		require.NotContains(t, x.f.says.String(), "refuses", "nothing is refused")
	})
}

func filteredConfig() string {
	rules := "filtered:\n"
	for _, r := range filteredRules {
		rules += "  - " + r.text + "\n"
	}
	return rules
}

// requireAllFiltered is requireFiltered of the tags of all rules.
func requireAllFiltered(t testing.TB, x *trial, names func(string) string) {
	for _, r := range filteredRules {
		for _, tag := range r.tags {
			requireFiltered(t, x.edge, x.site, tag, names, r)
		}
	}
}

// TestForwardedBucketsThatWereNotOver: what stood in buckets that were not over when a forwarder began, of which nobody told it, is sent once they are.
func TestForwardedBucketsThatWereNotOver(t *testing.T) {
	edge, site := newServed(t), newServed(t)
	load := newForwardLoad(t, rand.New(rand.NewPCG(5, 5)), edge)
	now := time.Now().Unix()
	load.write(floatRun("A", (now-2)*1e9, 1, 2, 3, 4))
	f := newForwarding(t, forwardConfig(t, edge, site, "raw: false\nfiltered: [{exc_dev: 0.1, every: 1s, settle: 3s}]\naggregates: [{function: maximum, every: 1s, settle: 3s, suffix: .MAX}]\n"))
	f.start()
	for _, tag := range []string{"A", "A.MAX"} {
		eventually(t, tag, func() bool {
			load.write(floatRun("B", time.Now().UnixNano(), 1)) // so that the subscription says something at once
			got, err := held(t, site.client(), tag, nil)
			return err == nil && len(got) == 1+4
		})
	}
}

// TestSpoolFiltered is TestForwardFiltered over files that are carried in any order.
func TestSpoolFiltered(t *testing.T) {
	bySeeds(t, 1, func(t *testing.T, seed uint64) {
		x := newTrial(t, seed)
		c := x.spool("raw: false\n" + filteredConfig())
		carry := func() {
			x.pause()
			c.deliver(3)
		}
		x.run(60, 6, x.edge.restart, x.restart, carry, carry)
		defer c.keepDelivering()()
		requireAllFiltered(t, x, spoolName)
	})
}
