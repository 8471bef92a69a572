package export

import (
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func TestGroups(t *testing.T) {
	for _, x := range []struct{ by, name, want string }{
		{"segments:1", "TEP.06.XMEAS_01", "TEP"}, {"segments:2", "TEP.06.XMEAS_01", "TEP.06"}, {"segments:3", "TEP.06.XMEAS_01", "TEP.06"},
		{"segments:1", "site/area/pump.flow", "site"}, {"segments:2", "site/area/pump.flow", "site/area"}, {"segments:3", "site/area/pump.flow", "site/area/pump"},
		{"segments:1", "FI-101", ""}, {"segments:5", "FI-101", ""}, {"segments:1", ".x", ""}, {"segments:1", "a.", "a"}, {"segments:2", "a..b", "a."},
		{"none", "TEP.06.XMEAS_01", "all"}, {"tag", "TEP.06.XMEAS_01", "TEP.06.XMEAS_01"},
		{"attribute:area", "x.y", "north"}, {"attribute:unit", "x.y", ""},
	} {
		s := Settings{GroupBy: x.by}
		group, err := s.grouping()
		require.NoError(t, err)
		require.Equal(t, x.want, group(&varvev1.Tag{Name: x.name, Attributes: map[string]string{"area": "north"}}), "%v", x)
	}
	for _, bad := range []string{"", "segments", "segments:", "segments:0", "segments:-1", "segments:x", "attribute", "attribute:", "tags", "none:1", "tag:x"} {
		s := Settings{GroupBy: bad}
		_, err := s.grouping()
		require.Error(t, err, bad)
	}
}

// TestGroupFolders holds that a group is one folder inside of the export's, that any reader which undoes %XX finds it, and that no two
// groups share one.
func TestGroupFolders(t *testing.T) {
	seen := map[string]string{}
	groups := []string{"TEP", "a/b", "a%2Fb", "a:b=c d", ".", "..", "größer", "%", noGroup + "x", "\x7f\x01\n", `\"'*?<>|`, "a.b", "a..b", "..."}
	for c := range rune(256) {
		groups = append(groups, "x"+string(c)+"y")
	}
	for _, g := range groups {
		name, err := groupFolder(g)
		require.NoError(t, err)
		value, ok := strings.CutPrefix(name, "group=")
		require.True(t, ok)
		require.NotContains(t, value, "/")
		require.NotContains(t, value, "=")
		back, err := url.PathUnescape(value)
		require.NoError(t, err)
		require.Equal(t, g, back)
		if other, taken := seen[name]; taken {
			require.Equal(t, other, g)
		}
		seen[name] = g
		x := File{Path: name + "/day=2026-03-01/part-0.parquet", TagIDs: "1"}
		require.NoError(t, x.check(), "%q", g)
	}
	name, err := groupFolder("")
	require.NoError(t, err)
	require.Equal(t, "group=__HIVE_DEFAULT_PARTITION__", name)
	_, err = groupFolder(strings.Repeat("x", 250))
	require.ErrorContains(t, err, "most is 255")
}

func TestIDsAreReadAsWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		ids := map[uint32]bool{}
		for range 1 + rng.IntN(40) {
			ids[1+rng.Uint32N([]uint32{20, 1000, math.MaxUint32 - 1}[rng.IntN(3)])] = true
		}
		var list []uint32
		for id := range ids {
			list = append(list, id)
		}
		text := formatIDs(list)
		ranges, err := parseIDs(text)
		require.NoError(t, err)
		n := uint64(0)
		for _, r := range ranges {
			n += uint64(r.last-r.first) + 1
		}
		require.Equal(t, uint64(len(list)), n)
		for range 20 {
			id := 1 + rng.Uint32N(1000)
			require.Equal(t, ids[id], idSet{id}.anyOf(text), "%d in %s", id, text)
		}
		set := idSet{1, 7, 500}
		require.Equal(t, ids[1] || ids[7] || ids[500], set.anyOf(text))
	}
	require.Equal(t, "1-3,7", formatIDs([]uint32{7, 3, 1, 2}))
	for _, bad := range []string{"", "0", "2-1", "1,1", "3,2", "1-", "x", "1--2", "4294967296"} {
		_, err := parseIDs(bad)
		require.Error(t, err, bad)
	}
}

func TestDays(t *testing.T) {
	first, last := floorDay(model.MinTime), floorDay(model.MaxTime)
	require.Equal(t, model.TimeRange{Start: model.MinTime, End: (int64(first) + 1) * dayNanos}, dayRange(first))
	require.Equal(t, model.TimeRange{Start: int64(last) * dayNanos, End: model.All.End}, dayRange(last))
	for _, day := range []int32{first, first + 1, -1, 0, 1, 20_000, last - 1, last} {
		in := dayRange(day)
		require.Less(t, in.Start, in.End)
		for _, at := range []int64{in.Start, in.End - 1} {
			require.Equal(t, day, floorDay(at))
		}
		back, err := parseDay(dayText(day))
		require.NoError(t, err)
		require.Equal(t, day, back)
		x := File{Path: "group=a/day=" + dayText(day) + "/part-0.arrow", TagIDs: "1"}
		require.NoError(t, x.check())
		back, err = x.day()
		require.NoError(t, err)
		require.Equal(t, day, back)
	}
	for ns, us := range map[int64]int64{0: 0, 999: 0, 1000: 1, -1: -1, -1000: -1, -1001: -2, math.MinInt64 + 1: math.MinInt64/1000 - 1} {
		require.Equal(t, us, floorMicros(ns))
	}
}

// TestMetadataIsOfTheDay: a file says what holds in its range, and nothing that came before or comes after.
func TestMetadataIsOfTheDay(t *testing.T) {
	tag := &varvev1.Tag{Name: "a", Id: 3, Settings: []*varvev1.Settings{
		{FromNs: 5, Type: varvev1.Type_TYPE_FLOAT64, Unit: "bar"}, {FromNs: 10, Type: varvev1.Type_TYPE_FLOAT64, Unit: "kPa", Stepped: true}, {FromNs: 20, Type: varvev1.Type_TYPE_BOOL},
	}}
	for _, x := range []struct {
		from, to int64
		units    string
	}{{0, 10, "bar"}, {0, 11, "bar kPa"}, {9, 10, "bar"}, {10, 20, "kPa"}, {10, 21, "kPa "}, {20, 30, ""}, {0, 30, "bar kPa "}} {
		var units []string
		for _, s := range metadataOf(tag, model.TimeRange{Start: x.from, End: x.to}).Settings {
			units = append(units, s.Unit)
		}
		require.Equal(t, x.units, strings.Join(units, " "), "%v", x)
	}
	m := metadataOf(tag, model.All)
	require.Nil(t, m.Settings[0].FromNs, "the first holds from the beginning")
	require.True(t, m.Settings[2].Stepped, "a bool always is")
}

// TestJournalsAreCutAtTheirEnd cuts a journal at every byte: what whole lines tell of counts, and a run goes on behind them.
func TestJournalsAreCutAtTheirEnd(t *testing.T) {
	dir := t.TempDir()
	s := Defaults
	s.Tags = []string{"A.*"}
	w, err := begin(dir, &s)
	require.NoError(t, err)
	name := func(day string) string { return "group=A/day=" + day + "/part-0.parquet" }
	for _, x := range []journalLine{
		{File: &File{Path: name("2026-03-01"), TagIDs: "1"}}, {File: &File{Path: name("2026-03-02"), TagIDs: "1"}}, {Removed: name("2026-03-01")},
	} {
		require.NoError(t, w.note(x))
	}
	w.close()
	b, err := os.ReadFile(filepath.Join(dir, journalName))
	require.NoError(t, err)
	want := [][]string{nil, nil, {name("2026-03-01")}, {name("2026-03-01"), name("2026-03-02")}, {name("2026-03-02")}}
	for cut := range len(b) + 1 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, journalName), b[:cut], 0o644))
		f, err := openFolder(dir)
		require.NoError(t, err)
		var names []string
		for n := range f.files {
			names = append(names, n)
		}
		slices.Sort(names)
		lines := strings.Count(string(b[:cut]), "\n")
		require.Equal(t, want[lines], names, "cut at %d", cut)
		require.Equal(t, lines > 0, f.settings != nil)
		w, err := begin(dir, &s)
		require.NoError(t, err)
		require.NoError(t, w.note(journalLine{Removed: "x"}))
		w.close()
		after, err := os.ReadFile(filepath.Join(dir, journalName))
		require.NoError(t, err)
		require.Equal(t, max(lines, 1)+1, strings.Count(string(after), "\n"))
		_, err = openFolder(dir)
		require.NoError(t, err, "cut at %d", cut)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, journalName), append([]byte("{\n"), b...), 0o644))
	_, err = openFolder(dir)
	require.ErrorIs(t, err, ErrDamaged)
}

// FuzzFolder reads manifests and journals of any bytes: an error or a folder whose files lie in it.
func FuzzFolder(f *testing.F) {
	f.Add([]byte(`{"format":1,"settings":{"tags":["A"]},"files":[{"path":"group=A/day=2026-03-01/part-0.parquet","tag_ids":"1-3,7"}]}`), []byte("{\"format\":1}\n"))
	f.Add([]byte(`{"format":2}`), []byte("{\"file\":{\"path\":\"group=A/day=1677-09-21/part-0.arrow\",\"tag_ids\":\"1\"}}\n{\"removed\":\"x\"}\n{"))
	f.Add([]byte(`{"format":1,"files":[{"path":"group=../day=2026-03-01/part-0.parquet","tag_ids":"1"}]}`), []byte{})
	f.Fuzz(func(t *testing.T, manifest, journal []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, manifestName), manifest, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, journalName), journal, 0o644))
		folder, err := openFolder(dir)
		if err != nil {
			return
		}
		for name, x := range folder.files {
			require.True(t, filepath.IsLocal(name) && strings.HasPrefix(name, "group="), "%q", name)
			require.False(t, folder.intact(&x))
			_, _ = x.day()
			idSet{1, 2}.anyOf(x.TagIDs)
		}
	})
}

func TestSettingsAreChecked(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	s := Defaults
	require.ErrorContains(t, s.Check(now), "no tags")
	s.Tags = []string{"A"}
	require.NoError(t, s.Check(now))
	s.Start, s.Stop = "-2d", "-1d"
	in, err := s.interval(now)
	require.NoError(t, err)
	require.Equal(t, model.TimeRange{Start: now.AddDate(0, 0, -2).UnixNano(), End: now.AddDate(0, 0, -1).UnixNano()}, in)
	s.Stop = "-3d"
	require.ErrorContains(t, s.Check(now), "is not before")
	s.Stop = "soon"
	require.ErrorContains(t, s.Check(now), "stop")
}
