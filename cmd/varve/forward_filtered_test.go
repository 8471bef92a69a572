package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// keptAt is the keys that a rule keeps of what a server holds of a tag.
func keptAt(t testing.TB, c *client, tag string, rule filteredRule) map[string]bool {
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
	types, samples := answer.TypesOf(w), []model.Sample(nil)
	start, end := int64(-math.MaxInt64), int64(math.MaxInt64)
	stream, err := c.query.ReadRange(t.Context(), &varvev1.ReadRangeRequest{Tags: []string{tag}, StartNs: &start, EndNs: &end, WithSeq: true})
	require.NoError(t, err)
	r, err := answer.NewReader(stream)
	require.NoError(t, err)
	defer r.Close()
	for rows := answer.NewRows(r, map[string]answer.Types{tag: types}); ; {
		row, err := rows.Next()
		if err == io.EOF {
			return keptOf(t, samples, cuts, rule)
		}
		require.NoError(t, err)
		x := model.Sample{Time: row.Time, Type: types.At(row.Time), Bits: row.Value.Bits, Quality: row.Quality, Null: row.Value.Null, Seq: row.Seq}
		if x.Type.Blob() {
			x.Bits, x.Blob = 0, []byte(row.Value.Text)
		}
		samples = append(samples, x)
	}
}

// keptOf is the keys that a rule keeps of samples in order of time, where it begins anew at cuts: each piece filtered as a whole.
func keptOf(t testing.TB, samples []model.Sample, cuts []int64, rule filteredRule) map[string]bool {
	pieces := map[piece][]model.Sample{}
	for _, x := range samples {
		at := piece{bucket: x.Time / rule.every}
		for _, c := range cuts {
			if c <= x.Time {
				at.cuts++
			}
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
			kept[keyOf(k.Time, k.Seq)] = true
		}
	}
	return kept
}

func keyOf(at int64, seq uint32) string { return fmt.Sprintf("%d/%d", at, seq) }

// requireFiltered waits until the site holds what a rule keeps of a tag, and its settings and gaps; then it holds what readers find at the site to what they find at the edge.
func requireFiltered(t testing.TB, edge, site *served, tag string, siteName func(string) string, rule filteredRule) {
	t.Helper()
	siteTag := siteName(tag)
	all, err := held(t, edge.client(), tag, siteName)
	if err != nil {
		return // it was never made
	}
	kept, left := keptAt(t, edge.client(), tag, rule), 0
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
		rules := "names: {prefix: '" + prefix + "'}\n" + filteredConfig(filteredRules)
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
		x.load.requireModel(x.edge.client(), func(name string) string { return name })
		require.NotContains(t, x.f.says.String(), "refuses", "nothing is refused")
	})
}

func filteredConfig(of []filteredRule) string {
	rules := "filtered:\n"
	for _, r := range of {
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

// TestForwardedBucketsThatWereNotOver: what stood in buckets that were not over when a forwarder began, of which nobody told it, is sent once they are,
// though it was started anew meanwhile.
func TestForwardedBucketsThatWereNotOver(t *testing.T) {
	edge, site := newServed(t), newServed(t)
	load := newForwardLoad(t, rand.New(rand.NewPCG(5, 5)), edge.client)
	now := time.Now().Unix()
	load.write(floatRun("A", (now-2)*1e9, 1, 2, 3, 4))
	f := newForwarding(t, forwardConfig(t, edge, site, "raw: false\nfiltered: [{exc_dev: 0.1, every: 1s, settle: 3s}]\naggregates: [{function: maximum, every: 1s, settle: 3s, suffix: .MAX}]\n"))
	f.start()
	time.Sleep(1500 * time.Millisecond) // for a pass, in which some of them are not over
	f.stop()
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
		c := x.spool("raw: false\n" + filteredConfig(filteredRules))
		carry := func() {
			x.pause()
			c.deliver(3)
		}
		x.run(60, 6, x.edge.restart, x.restart, carry, carry)
		defer c.keepDelivering()()
		requireAllFiltered(t, x, spoolName)
	})
}

// killedRules are of load whose samples are 10 ms apart.
var killedRules = []filteredRule{
	{"{tags: [PLAIN.0], exc_dev: 0.6, every: 1s, settle: 1ms}", []string{"PLAIN.0"}, model.Filter{Deviation: 0.6}, false, 1e9, 1.2},
	{"{tags: [PLAIN.1], comp_dev: 0.6, every: 2s, settle: 100ms}", []string{"PLAIN.1"}, model.Filter{Deviation: 0.6}, true, 2e9, 0.6},
}

// TestForwardFilteredKill9 kills edge, site and forwarder, each a process of its own, one or several at any moment, while the edge is written to, corrected and deleted from.
// By seed the samples are of a time long over, or of now. In the end the site holds of each tag what its rule makes of a plain model of the edge.
func TestForwardFilteredKill9(t *testing.T) {
	seeds, kills := 2, 8
	switch {
	case os.Getenv("VARVE_STRESS") != "":
		seeds, kills = 20, 60
	case testing.Short():
		kills = 3
	}
	bySeeds(t, seeds, func(t *testing.T, seed uint64) { filteredKilledBySeed(t, seed, kills) })
}

func filteredKilledBySeed(t *testing.T, seed uint64, kills int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	edge, site := newKilledServer(t), newKilledServer(t)
	edge.flags = []string{"--generation-samples", "1000", "--keep-log", "0"}
	site.flags = []string{"--generation-samples", "1000"}
	edge.start()
	site.start()
	f := newForwardProcess(t, edge, site, filteredConfig(killedRules))
	c := killedClient(t, edge.address)
	load := newForwardLoad(t, rng, func() *client { return c })
	load.kinds = []int{0, 0, 0, 0, 1, 2, 3, 4}
	load.tick, load.from, load.live = 1e7, 170_000_000_000, rng.IntN(2) == 0
	if load.live {
		load.from = time.Now().UnixNano()/load.tick - 500
	}
	load.now = load.from
	var edgeKilled atomic.Bool
	edgeAgain := func() {
		if edgeKilled.CompareAndSwap(true, false) {
			edge.kill()
			edge.start()
		}
	}
	load.outlasts = func() {
		edgeAgain()
		time.Sleep(10 * time.Millisecond)
	}
	for range kills {
		var dying sync.WaitGroup
		kill := func(p *os.Process, told func()) {
			dying.Add(1)
			time.AfterFunc(time.Duration(rng.IntN(300_000))*time.Microsecond, func() {
				told()
				_ = p.Kill() // it may have ended already
				dying.Done()
			})
		}
		which := 1 + rng.IntN(7) // a bit each
		if which&1 != 0 {
			kill(edge.process.Process, func() { edgeKilled.Store(true) })
		}
		if which&2 != 0 {
			kill(site.process.Process, func() {})
		}
		if which&4 != 0 {
			kill(f.process.Process, func() {})
		}
		for end := time.Now().Add(time.Duration(rng.IntN(300)) * time.Millisecond); time.Now().Before(end); {
			load.step()
		}
		dying.Wait()
		edgeAgain()
		if which&2 != 0 {
			site.kill()
			site.start()
		}
		if which&4 != 0 {
			f.kill()
			f.start()
		}
	}
	names := func(name string) string { return "E." + name }
	load.requireModel(c, func(name string) string { return name })
	for tag := range load.model {
		requireFilteredModel(t, load, tag, killedClient(t, site.address), names(tag))
	}
	f.kill()
	edge.stop()
	site.stop()
}

// requireFilteredModel waits until a site holds what the rule of a tag makes of the plain model.
func requireFilteredModel(t *testing.T, load *forwardLoad, tag string, site *client, siteTag string) {
	want := load.modelOf(tag)
	all := len(want)
	for _, rule := range killedRules {
		if slices.Contains(rule.tags, tag) {
			kept := keptOf(t, load.samplesOf(tag), nil, rule)
			maps.DeleteFunc(want, func(at int64, _ string) bool { return !kept[keyOf(at, 0)] })
		}
	}
	var got map[int64]string
	var err error
	for until := time.Now().Add(60 * time.Second); time.Now().Before(until) && !maps.Equal(want, got); time.Sleep(20 * time.Millisecond) {
		got, err = samplesAt(t, site, siteTag)
	}
	require.NoError(t, err, tag)
	require.Equal(t, want, got, tag)
	t.Logf("%s: %d of %d kept", tag, len(want), all)
}
