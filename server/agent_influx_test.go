package server

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// lines writes a body as version 2 does; header are pairs.
func (s *web) lines(t testing.TB, body string, header ...string) webAnswer {
	t.Helper()
	return s.ask(t, "POST", "/api/v2/write?bucket=b&org=o", body, append([]string{"Content-Type", "text/plain; charset=utf-8"}, header...)...)
}

// stored is every sample of a tag, as lines of CSV without the header.
func (s *web) stored(t testing.TB, tag string) string {
	t.Helper()
	a := s.get(t, "format=csv&start=1678-01-01&end=2261-12-31&zone=UTC&tag="+url.QueryEscape(tag))
	if a.code != 200 {
		return a.body
	}
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	require.NoError(t, err)
	var out []string
	for _, r := range rows[1:] {
		line := r[0] + " " + r[2]
		if r[3] != "Good" {
			line += " " + r[3]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// tagNames is every tag there is.
func (s *web) tagNames() (names []string) {
	for id := 1; id <= s.db.Catalog().Len(); id++ {
		if tag, ok := s.db.Catalog().Tag(model.TagID(id)); ok {
			names = append(names, tag.Name)
		}
	}
	sort.Strings(names)
	return names
}

const noon = 1772366400 // 2026-03-01T12:00:00Z, testNow, in seconds

func startAgents(t testing.TB, o Options) *web {
	if o.Now == nil {
		o.Now = func() time.Time { return testNow }
	}
	return startWeb(t, o)
}

func TestLinesBecomeTags(t *testing.T) {
	s := startAgents(t, Options{})
	body := "pump,unit=P-101,area=north flow=12.5,starts=7i,serial=18446744073709551615u,running=true,state=\"auto \\\"1\\\"\" 1772366400000000000\n" +
		"# a comment\n\n" +
		"plain v=-0 1772366400000000001\n"
	a := s.lines(t, body)
	require.Equal(t, 204, a.code, a.body)
	require.Empty(t, a.body)
	require.Empty(t, a.header.Get("Content-Length"))
	require.Equal(t, []string{
		"plain.v", "pump.flow{area=north,unit=P-101}", "pump.running{area=north,unit=P-101}", "pump.serial{area=north,unit=P-101}", "pump.starts{area=north,unit=P-101}", "pump.state{area=north,unit=P-101}",
	}, s.tagNames())
	for field, want := range map[string]struct {
		typ   model.Type
		value string
	}{
		"flow": {model.Float64, "12.5"}, "starts": {model.Int64, "7"}, "serial": {model.Uint64, "18446744073709551615"}, "running": {model.Bool, "true"}, "state": {model.String, `auto "1"`},
	} {
		name := "pump." + field + "{area=north,unit=P-101}"
		tag, ok := s.db.Catalog().ByName(name)
		require.True(t, ok, name)
		require.Equal(t, want.typ, tag.Current().Type, name)
		require.Equal(t, want.typ.AlwaysStepped(), tag.Current().Stepped, name)
		require.Equal(t, "2026-03-01T12:00:00Z "+want.value, s.stored(t, name))
	}
	require.Equal(t, "2026-03-01T12:00:00.000000001Z -0", s.stored(t, "plain.v"))

	// Version 1, other units, tags in another order: the same tag.
	for precision, factor := range map[string]int{"s": 1, "ms": 1e3, "u": 1e6, "µ": 1e6, "us": 1e6, "n": 1e9, "ns": 1e9, "": 1e9} {
		a := s.ask(t, "POST", "/write?db=d&precision="+url.QueryEscape(precision), fmt.Sprintf("pump,area=north,unit=P-101 flow=%d %d", factor, (noon+1)*factor))
		require.Equal(t, 204, a.code, a.body)
		require.Equal(t, fmt.Sprintf("2026-03-01T12:00:00Z 12.5\n2026-03-01T12:00:01Z %d", factor), s.stored(t, "pump.flow{area=north,unit=P-101}"), precision)
	}
	require.Equal(t, 204, s.ask(t, "POST", "/write?precision=m", fmt.Sprintf("old v=1 %d", noon/60)).code)
	require.Equal(t, 204, s.ask(t, "POST", "/write?precision=h", fmt.Sprintf("old v=2 %d", noon/3600-1)).code)
	require.Equal(t, "2026-03-01T11:00:00Z 2\n2026-03-01T12:00:00Z 1", s.stored(t, "old.v"))
	require.Equal(t, 400, s.ask(t, "POST", "/api/v2/write?precision=h", "old v=1 1").code)
}

// A body may have no text but empty ones: such were answered with 500, for ever.
func TestEmptyTexts(t *testing.T) {
	s := startAgents(t, Options{})
	require.Equal(t, 204, s.lines(t, "m s=\"\" 1\nm s=\"\" 2\n").code)
	require.Equal(t, 204, s.lines(t, "m s=\"\",v=1 3\n").code)
	require.Equal(t, "1970-01-01T00:00:00.000000001Z \n1970-01-01T00:00:00.000000002Z \n1970-01-01T00:00:00.000000003Z ", s.stored(t, "m.s"))
	require.Equal(t, 400, s.lines(t, "m v=\"\" 4\n").code, "a text is no number")
}

// A body that made a panic gives its place back, or as many as there are would close the doors of all agents.
func TestPlacesOfBodiesThatPanic(t *testing.T) {
	s := startAgents(t, Options{})
	for range 100 {
		require.Panics(t, func() {
			_, _ = s.serveAgent(testContext(t), s.agents.namesOf(doorLines, "", ""), "line", func(*agentRows) error { panic("as by a mistake of ours") })
		})
	}
	require.Equal(t, 204, s.lines(t, "m v=1 1").code)
}

func TestGoodLinesAreStoredWhateverOthersAre(t *testing.T) {
	s := startAgents(t, Options{})
	s.write(t, &varvev1.Run{Tag: "m.n", TimesNs: []int64{1e9}, Int64: []int64{5}})
	body := "m v=1 1\n" +
		"m v=bad 2\n" +
		"m v=3,n=1.5 3\n" + // n is an integer
		"m v=4 4000000000000000000\n" + // in 2096
		"m\n" +
		"m v=6,n=6 6\n"
	for _, c := range []struct{ path, member string }{{"/write?db=d", "error"}, {"/api/v2/write?bucket=b", "message"}} {
		a := s.ask(t, "POST", c.path, body)
		require.Equal(t, 400, a.code, a.body)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		var e map[string]string
		require.NoError(t, json.Unmarshal([]byte(a.body), &e), a.body)
		message := e[c.member]
		require.Equal(t, "partial write: "+
			`line 2: column 5: value "bad" of field "v" is no value: numbers are 1, 1.5, 1i or 1u, text stands in quotes; `+
			"line 3: tag m.n: the tag is int64, and the float 1.5 is none exactly; "+
			"line 4: tag m.v: time 2096-10-02T07:06:40Z (4000000000000000000) is not from 1677-09-21T00:12:43.145224193Z to 2026-03-01T12:15:00Z, the window of this server now; "+
			"line 5: column 2: there are no fields dropped=4", message)
		if c.member == "error" {
			require.Contains(t, a.header.Get("X-Influxdb-Error"), "partial write: line 2")
		} else {
			require.Equal(t, "invalid", e["code"])
			require.Equal(t, "invalid", a.header.Get("X-Platform-Error-Code"))
		}
		require.Equal(t, "1970-01-01T00:00:00.000000001Z 1\n1970-01-01T00:00:00.000000003Z 3\n1970-01-01T00:00:00.000000006Z 6", s.stored(t, "m.v"))
		require.Equal(t, "1970-01-01T00:00:00.000000006Z 6\n1970-01-01T00:00:01Z 5", s.stored(t, "m.n"))
	}
	a := s.lines(t, strings.Repeat("x\n", 100_000))
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "line 1: column 2: there are no fields; line 2:")
	require.Contains(t, a.body, "; and 99995 more dropped=100000")
	require.Less(t, len(a.body), 1000)
}

// Sent twice, a body changes nothing: not a sample, not a version.
func TestLinesSentTwice(t *testing.T) {
	s := startAgents(t, Options{})
	body := "m,a=1 v=1,w=2i,t=\"x\" 1000\nm,a=1 v=2,w=3i,t=\"y\" 2000\nm,a=1 v=3 1500\n"
	require.Equal(t, 204, s.lines(t, body).code)
	tags := s.tagNames()
	before := map[string]string{}
	for _, tag := range tags {
		before[tag] = s.stored(t, tag)
	}
	for range 3 {
		require.Equal(t, 204, s.lines(t, body).code)
	}
	require.Equal(t, tags, s.tagNames())
	for _, tag := range tags {
		require.Equal(t, before[tag], s.stored(t, tag))
		a := s.get(t, "read=modified&format=csv&start=1970-01-01&end=1970-01-02&tag="+url.QueryEscape(tag))
		require.Equal(t, 200, a.code, a.body)
		require.Equal(t, 1, strings.Count(a.body, "\n"), "%s: %s", tag, a.body)
	}
}

func TestValuesAreTakenIfExact(t *testing.T) {
	s := startAgents(t, Options{})
	set := varvev1.NewCatalogServiceClient(s.conn)
	_, err := set.PutStateSet(testContext(t), &varvev1.PutStateSetRequest{Set: &varvev1.StateSet{Name: "onoff", States: []*varvev1.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}})
	require.NoError(t, err)
	for typ, name := range map[varvev1.Type]string{
		varvev1.Type_TYPE_FLOAT64: "f64", varvev1.Type_TYPE_FLOAT32: "f32", varvev1.Type_TYPE_INT64: "i64", varvev1.Type_TYPE_UINT64: "u64",
		varvev1.Type_TYPE_BOOL: "bool", varvev1.Type_TYPE_STATE: "state", varvev1.Type_TYPE_STRING: "text", varvev1.Type_TYPE_BYTES: "bytes",
	} {
		settings := &varvev1.Settings{Type: typ, Stepped: typ > varvev1.Type_TYPE_UINT64}
		if name == "state" {
			settings.StateSet = "onoff"
		}
		r, err := set.CreateTags(testContext(t), &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{{Name: "m." + name, Settings: []*varvev1.Settings{settings}}}})
		require.NoError(t, err)
		require.Zero(t, r.Tags[0].Code, "%v", r)
	}
	for i, c := range []struct{ field, value, stored string }{ // stored empty: refused
		{"f64", "7i", "7"}, {"f64", "9007199254740992i", "9007199254740992"}, {"f64", "9007199254740993i", ""}, {"f64", "-9223372036854775808i", "-9223372036854776000"},
		{"f64", "9223372036854775807i", ""}, {"f64", "18446744073709549568u", "18446744073709550000"}, {"f64", "18446744073709551615u", ""}, {"f64", "true", ""}, {"f64", `"1"`, ""},
		{"f32", "0.1", "0.1"}, {"f32", "1e39", ""}, {"f32", "16777216i", "16777216"}, {"f32", "16777217i", ""}, {"f32", "-0", "-0"},
		{"i64", "5", "5"}, {"i64", "5.5", ""}, {"i64", "-0", ""}, {"i64", "9223372036854775807u", "9223372036854775807"}, {"i64", "9223372036854775808u", ""}, {"i64", "9223372036854775807", ""},
		{"i64", "-9223372036854775808", "-9223372036854775808"}, {"i64", "true", ""},
		{"u64", "5i", "5"}, {"u64", "-5i", ""}, {"u64", "18446744073709549568", "18446744073709549568"}, {"u64", "1e20", ""}, {"u64", "0.5", ""},
		{"bool", "1i", "true"}, {"bool", "0", "false"}, {"bool", "2i", ""}, {"bool", "0.5", ""}, {"bool", `"true"`, ""}, {"bool", "f", "false"},
		{"state", `"on"`, "on"}, {"state", "0i", "off"}, {"state", "1", "on"}, {"state", `"broken"`, ""}, {"state", "7i", ""}, {"state", "true", ""},
		{"text", `"x"`, "x"}, {"text", "1i", ""}, {"text", "true", ""}, {"bytes", `"x"`, ""},
	} {
		before := s.stored(t, "m."+c.field)
		a := s.lines(t, fmt.Sprintf("m %s=%s %d", c.field, c.value, 1e9*int64(i)))
		after := s.stored(t, "m."+c.field)
		if c.stored == "" {
			require.Equal(t, 400, a.code, "%s=%s", c.field, c.value)
			require.Contains(t, a.body, "dropped=1", "%s=%s", c.field, c.value)
			require.Equal(t, before, after, "%s=%s", c.field, c.value)
			continue
		}
		require.Equal(t, 204, a.code, "%s=%s: %s", c.field, c.value, a.body)
		want := strings.TrimPrefix(before+"\n"+time.Unix(int64(i), 0).UTC().Format(time.RFC3339)+" "+c.stored, "\n")
		require.Equal(t, want, after, "%s=%s", c.field, c.value)
	}
}

func TestLinesWithoutTimeGetThatOfTheirArrival(t *testing.T) {
	s := startAgents(t, Options{Now: func() time.Time { return testNow.Add(1234567891) }})
	require.Equal(t, 204, s.lines(t, "m a=1\nm b=2,c=3 \nm d=4 1772366400000000000").code)
	require.Equal(t, "2026-03-01T12:00:01.234567891Z 1", s.stored(t, "m.a"))
	require.Equal(t, "2026-03-01T12:00:01.234567891Z 3", s.stored(t, "m.c"))
	require.Equal(t, 204, s.ask(t, "POST", "/write?precision=s", "m e=1").code)
	require.Equal(t, "2026-03-01T12:00:01Z 1", s.stored(t, "m.e"))
	require.InDelta(t, 4, metricValue(t, s, "varve_agent_samples_without_time_total"), 0)
}

// metricValue is a counter without labels.
func metricValue(t testing.TB, s *web, name string) float64 {
	families, err := s.metrics.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// A body of many pieces is stored as one of few is, and the last value of a time counts, in whatever order it comes.
func TestLinesAgreeWithAModel(t *testing.T) {
	for seed := range uint64(6) {
		s := startAgents(t, Options{MaxBatchSamples: []int{1, 7, 1_000_000}[seed%3]})
		rng := rand.New(rand.NewPCG(seed, 7))
		want := map[string]map[int64]float64{}
		for range 5 {
			var b strings.Builder
			for range rng.IntN(200) {
				m, k, f := rng.IntN(3), rng.IntN(3), rng.IntN(2)
				at, v := int64(rng.IntN(50)), float64(rng.IntN(1000))/8
				tags := fmt.Sprintf(",k=%d,z=1", k)
				if rng.IntN(2) == 0 {
					tags = fmt.Sprintf(",z=1,k=%d", k)
				}
				fmt.Fprintf(&b, "m%d%s f%d=%v %d\n", m, tags, f, v, at)
				name := fmt.Sprintf("m%d.f%d{k=%d,z=1}", m, f, k)
				if want[name] == nil {
					want[name] = map[int64]float64{}
				}
				want[name][at] = v
			}
			require.Equal(t, 204, s.lines(t, b.String()).code)
		}
		require.Len(t, s.tagNames(), len(want))
		for name, samples := range want {
			var lines []string
			for at := range int64(50) {
				if v, ok := samples[at]; ok {
					lines = append(lines, fmt.Sprintf("%s %v", time.Unix(0, at).UTC().Format(time.RFC3339Nano), v))
				}
			}
			require.Equal(t, strings.Join(lines, "\n"), s.stored(t, name), "seed %d", seed)
		}
		s.stop()
	}
}

func TestNamesOfAgentsAreNeverShared(t *testing.T) {
	s := startAgents(t, Options{})
	require.Equal(t, 204, s.lines(t, "a.b,k=1 c=1 1\na,k=1 b.c=2 1\na\\,b\\ c,x\\=y=p\\,q}\\z f{=3 1\n").code)
	require.Equal(t, []string{`a,b c.f\{{x\=y=p\,q\}\\z}`, `a.b.c{k=1}`, `a\.b.c{k=1}`}, s.tagNames())

	// From a name its parts can be read again, whatever they are made of; so no two have one name.
	names := namesOfLines(t)
	parts := []string{"a", ".", "{", "}", ",", "=", `\`, "é"}
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		word := func() (w string) {
			for range 1 + rng.IntN(4) {
				w += parts[rng.IntN(len(parts))]
			}
			return w
		}
		measurement, field := word(), word()
		var labels []label
		for range rng.IntN(3) {
			labels = append(labels, label{word(), word()})
		}
		made := names.name(measurement, "", labels)
		name := made.before + made.template.field(field) + made.after
		rest := name
		cut := func(ends string) (word string, end byte) {
			for i := 0; i < len(rest); i++ {
				switch {
				case rest[i] == '\\':
					i++
					word += rest[i : i+1]
				case strings.IndexByte(ends, rest[i]) >= 0:
					end = rest[i]
					rest = rest[i+1:]
					return word, end
				default:
					word += rest[i : i+1]
				}
			}
			rest = ""
			return word, 0
		}
		m, _ := cut(".")
		require.Equal(t, measurement, m, name)
		f, end := cut("{")
		require.Equal(t, field, f, name)
		var got []label
		for end != 0 && end != '}' {
			var l label
			l.key, _ = cut("=")
			l.value, end = cut(",}")
			got = append(got, l)
		}
		require.Equal(t, labels, got, name)
	}
}

func TestAgentsSayWhoTheyAre(t *testing.T) {
	file, token := tokens(t, Read, Write)
	var logged safeBuffer
	s := startAgents(t, Options{Security: Security{TokenFile: file}, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	w := token[Write]
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, header := range []string{"Token " + w, "Bearer " + w, "token " + w, "Token write:" + w, "Token :" + w, basic("write", w), basic("anybody", w), basic("", w)} {
		require.Equal(t, 204, s.lines(t, "m v=1 1", "Authorization", header).code, header)
	}
	require.Equal(t, 204, s.ask(t, "POST", "/write?u=write&p="+w, "m v=1 1").code)
	require.Equal(t, 204, s.ask(t, "POST", "/write?p="+w, "m v=1 1").code)
	for _, header := range []string{"Token x", "Token", "Digest " + w, basic("write", "x"), w, "Basic !"} {
		a := s.lines(t, "m v=2 2", "Authorization", header)
		require.Equal(t, 401, a.code, header)
		require.Contains(t, a.body, `"code":"unauthorized"`)
	}
	require.Equal(t, 401, s.lines(t, "m v=2 2").code)
	require.Equal(t, 401, s.ask(t, "POST", "/write?u="+w, "m v=1 1").code)
	require.Equal(t, 401, s.ask(t, "POST", "/write?u=write&p="+w, "m v=1 1", "Authorization", "Token x").code, "the header goes first")
	require.Equal(t, 403, s.lines(t, "m v=2 2", "Authorization", "Token "+token[Read]).code)
	require.Equal(t, 204, s.ask(t, "GET", "/ping", "").code, "that needs no token")
	require.Equal(t, "time,tag,value,quality\n1970-01-01T00:00:00.000000001Z,m.v,1,Good\n", s.get(t, "format=csv&tags=m.v"+all1970, "Authorization", "Bearer "+token[Read]).body)
	require.NotContains(t, logged.String(), w)
}

// A page in a browser of this machine must not write where nobody has to say who they are.
func TestPagesOfOthersDoNotWrite(t *testing.T) {
	s := startAgents(t, Options{})
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Host", "evil.example"}} {
		require.Equal(t, 403, s.lines(t, "m v=1 1", header...).code, header)
	}
	require.Empty(t, s.tagNames())
	require.Equal(t, 204, s.lines(t, "m v=1 1", "Sec-Fetch-Site", "none").code)
}

func zipped(b []byte) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.String()
}

func TestBodiesOfLines(t *testing.T) {
	s := startAgents(t, Options{})
	require.Equal(t, 204, s.lines(t, zipped([]byte("m v=1 1")), "Content-Encoding", "gzip").code)
	require.Equal(t, 204, s.lines(t, "").code)
	require.Equal(t, 204, s.lines(t, "m v=2 2", "Content-Encoding", "identity").code)
	require.Equal(t, "1970-01-01T00:00:00.000000001Z 1\n1970-01-01T00:00:00.000000002Z 2", s.stored(t, "m.v"))

	require.Equal(t, 415, s.lines(t, "m v=1 1", "Content-Encoding", "br").code)
	a := s.lines(t, "m v=3 3", "Content-Encoding", "gzip")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "the body cannot be read: gzip")
	whole := zipped([]byte("m v=4 4\nm v=5 5"))
	a = s.lines(t, whole[:len(whole)-6], "Content-Encoding", "gzip")
	require.Equal(t, 400, a.code, "broken off")
	require.NotContains(t, s.stored(t, "m.v"), " 5")

	// A small body that unpacks to a large one ends at the bound, and one that says so at once is not read.
	bomb := zipped(bytes.Repeat([]byte("#"+strings.Repeat("a", 998)+"\n"), maxAgentBody/1000+1))
	require.Less(t, len(bomb), 1<<20)
	a = s.lines(t, bomb, "Content-Encoding", "gzip")
	require.Equal(t, 413, a.code, a.body)
	require.Contains(t, a.body, `"code":"request too large"`)
	a = s.lines(t, strings.Repeat(" ", maxAgentBody+1))
	require.Equal(t, 413, a.code)

	a = s.lines(t, "m s=\""+strings.Repeat("x", maxLineBytes)+"\"\nm v=7 7")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "line 1: it has more than 1048576 bytes dropped=1")
	require.Contains(t, s.stored(t, "m.v"), " 7")
	a = s.lines(t, "m v=1 1,\xff\xfe\nm \xff=1\nm,\xff=1 v=2")
	require.Equal(t, 400, a.code)
	require.True(t, json.Valid([]byte(a.body)), "%q", a.body)
	for _, c := range []struct{ method, path, body, says string }{
		{"GET", "/write", "", "must be POST"}, {"POST", "/write?precision=d", "m v=1", "precision"}, {"POST", "/write?%", "m v=1", "parameters"},
	} {
		a := s.ask(t, c.method, c.path, c.body)
		require.Contains(t, []int{400, 405}, a.code)
		require.Contains(t, a.body, c.says)
	}
}

func TestWhatInfluxClientsAskFirst(t *testing.T) {
	s := startAgents(t, Options{Version: "1.2.3"})
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/ping", "/api/v2/ping"} {
			a := s.ask(t, method, path, "")
			require.Equal(t, 204, a.code)
			require.Equal(t, "varve-1.2.3", a.header.Get("X-Influxdb-Version"))
		}
	}
	var health map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.ask(t, "GET", "/health", "").body), &health))
	require.Equal(t, "pass", health["status"])
	require.Equal(t, "1.2.3", health["version"])
	for _, a := range []webAnswer{
		s.ask(t, "POST", "/query", "q="+url.QueryEscape(`CREATE DATABASE "telegraf"`), "Content-Type", "application/x-www-form-urlencoded"),
		s.ask(t, "GET", "/query?q="+url.QueryEscape(`create database telegraf with duration 1d`), ""),
	} {
		require.Equal(t, 200, a.code, a.body)
		require.JSONEq(t, `{"results":[{"statement_id":0}]}`, a.body)
	}
	a := s.ask(t, "GET", "/query?q=SELECT+1", "")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "InfluxQL is not spoken here")
}

func TestTagsOfAgentsAreBounded(t *testing.T) {
	s := startAgents(t, Options{NoCreate: true})
	a := s.lines(t, "m v=1 1")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "line 1: tag m.v: tag not found; this server does not let sources create tags dropped=1")

	q := &web{running: startOn(t, storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, MemoryBytes: 64 << 20, MaxTags: 3}, Options{})}
	q.open(t)
	a = q.lines(t, "m a=1,b=2,c=3,d=4,e=5 1")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "dropped=2")
	require.Len(t, q.tagNames(), 3)
	require.Equal(t, 204, q.lines(t, "m a=2,b=3,c=4 2").code, "tags that are there go on")
	a = q.lines(t, "m "+strings.Repeat("x", model.MaxNameBytes)+"=1,a=3 3\nm a\\ =1 4")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "dropped=2")
	require.Contains(t, q.stored(t, "m.a"), " 3")
}

// smallDisk has as little space as it is told.
type smallDisk struct {
	vfs.FS
	free uint64
}

func (d smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free, TotalBytes: 1 << 40}, nil
}

func TestAgentsTryAgainWhenNothingCanBeStored(t *testing.T) {
	low := &web{running: startOn(t, storage.Options{FS: smallDisk{vfs.NewMem(), 1 << 10}, MinFreeBytes: 1 << 20, BallastBytes: -1, MemoryBytes: 64 << 20}, Options{})}
	low.open(t)
	a := low.lines(t, "m v=1 1")
	require.Equal(t, 503, a.code, a.body)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Contains(t, a.body, "disk space is low")
	a = low.ask(t, "POST", "/write", "m v=1 1")
	require.Equal(t, 503, a.code)
	require.Contains(t, a.body, `{"error":`)

	// A store that is closed under the server.
	s := startAgents(t, Options{})
	require.Equal(t, 204, s.lines(t, "m v=1 1").code)
	require.NoError(t, s.db.Close())
	a = s.lines(t, "m v=2 2")
	require.Equal(t, 503, a.code, a.body)
	require.Equal(t, "1", a.header.Get("Retry-After"))
}

// What was answered is on disk: a power cut at that moment takes nothing of it.
func TestLinesAreDurableWhenAnswered(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 5))
		disk := vfs.NewCrashableMem()
		s := &web{running: startOn(t, storage.Options{FS: disk, MinFreeBytes: -1, BallastBytes: -1, MemoryBytes: 64 << 20}, Options{})}
		s.open(t)
		n := 1 + rng.IntN(5)
		for i := range n {
			require.Equal(t, 204, s.lines(t, fmt.Sprintf("m,i=%d v=%d %d", i%2, i, i+1)).code)
		}
		after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		s.stop()
		again := &web{running: startOn(t, storage.Options{FS: after, MinFreeBytes: -1, BallastBytes: -1, MemoryBytes: 64 << 20}, Options{})}
		again.open(t)
		var all string
		for _, name := range again.tagNames() {
			all += again.stored(t, name) + "\n"
		}
		for i := range n {
			require.Contains(t, all, fmt.Sprintf("%02dZ %d\n", i+1, i), "seed %d", seed)
		}
		again.stop()
	}
}

// namesOfLines are those of lines that no template is for.
func namesOfLines(t *testing.T) *agentNames {
	a, err := newAgents(nil)
	require.NoError(t, err)
	return a.namesOf(doorLines, "", "")
}

func TestSeriesOfAgentsAreForgottenWhenThereAreMany(t *testing.T) {
	n := namesOfLines(t)
	var all []*agentSeries
	var last *agentSeries
	for i := range 200_000 {
		key := fmt.Appendf(nil, "measurement,tag=%d%s", i, strings.Repeat("x", 200))
		s := n.add(key, last, n.name("measurement", "", nil))
		s.addTag([]byte("v"), "v")
		require.Same(t, s, n.find(key, nil))
		all, last = append(all, s), s
	}
	for i := range n.shards {
		require.LessOrEqual(t, n.shards[i].bytes.Load(), int64(agentShardBytes+2000))
	}
	// One that is forgotten keeps no others, and is not found through one that is not.
	kept := 0
	for _, s := range all {
		next := s.next.Load()
		if !s.forgotten.Load() {
			kept++
			continue
		}
		require.Nil(t, next)
		require.NotSame(t, s, n.find([]byte(s.key), nil))
		s.follow(all[0])
		require.Nil(t, s.next.Load())
	}
	require.Positive(t, kept)
	require.Less(t, kept, len(all))
}

func TestFieldsOfAgentsAreFoundInAnyOrder(t *testing.T) {
	n := namesOfLines(t)
	s := n.add([]byte("many"), nil, n.name("m", "", nil))
	var last *agentTag
	for i := range 1000 {
		key := fmt.Appendf(nil, "f%d", i)
		require.Nil(t, s.tag(key, last))
		tag := s.addTag(key, string(key))
		for _, before := range []*agentTag{last, nil, tag} {
			require.Same(t, tag, s.tag(key, before))
		}
		require.Same(t, tag, s.addTag(key, string(key)))
		require.Equal(t, "m."+string(key), string(tag.name))
		last = tag
	}
}

// Whatever order series come in, each is found as itself.
func TestSeriesOfAgentsAreFoundInAnyOrder(t *testing.T) {
	n, rng := namesOfLines(t), rand.New(rand.NewPCG(1, 2))
	want := map[string]*agentSeries{}
	var last *agentSeries
	for range 20_000 {
		key := fmt.Appendf(nil, "m,i=%d", rng.IntN(50))
		s := n.find(key, last)
		require.Equal(t, want[string(key)] == nil, s == nil)
		if s == nil {
			s = n.add(key, last, n.name(string(key), "", nil))
			want[string(key)] = s
		}
		require.Same(t, want[string(key)], s)
		require.Equal(t, string(key), s.key)
		if last = s; rng.IntN(10) == 0 {
			last = nil
		}
	}
}

func TestRenamedTagsOfAgents(t *testing.T) {
	s := startAgents(t, Options{})
	require.Equal(t, 204, s.lines(t, "m v=1 1").code)
	_, err := varvev1.NewCatalogServiceClient(s.conn).RenameTag(testContext(t), &varvev1.RenameTagRequest{Name: "m.v", NewName: "FI-101"})
	require.NoError(t, err)
	require.Equal(t, 204, s.lines(t, "m v=2 2").code)
	require.Equal(t, "1970-01-01T00:00:00.000000001Z 1\n1970-01-01T00:00:00.000000002Z 2", s.stored(t, "FI-101"), "the old name goes on")
	require.Equal(t, []string{"FI-101"}, s.tagNames())
}

// Agents that begin at once, with the same series, make each tag once and lose nothing.
func TestAgentsMakeTagsAtOnce(t *testing.T) {
	s := startAgents(t, Options{})
	const writers, rounds = 8, 20
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for r := range rounds {
				var b strings.Builder
				for i := range 20 {
					tags := "a=1,b=2"
					if (w+i)%2 == 0 {
						tags = "b=2,a=1"
					}
					fmt.Fprintf(&b, "m%d,%s f%d=%d %d\n", r, tags, i, w, w+1)
				}
				a, err := s.try(t, "POST", "/write", b.String())
				if err != nil || a.code != 204 {
					t.Errorf("%v %d %s", err, a.code, a.body)
				}
			}
		})
	}
	group.Wait()
	require.Len(t, s.tagNames(), rounds*20)
	for _, name := range s.tagNames() {
		require.Equal(t, writers, strings.Count(s.stored(t, name), "Z "), name)
	}
}

func TestLinesOfATagWhoseTypeChanged(t *testing.T) {
	s := startAgents(t, Options{})
	require.Equal(t, 204, s.lines(t, "m v=0.5 1000000000").code)
	_, err := varvev1.NewCatalogServiceClient(s.conn).UpdateTag(testContext(t), &varvev1.UpdateTagRequest{Name: "m.v", Settings: &varvev1.Settings{FromNs: 100e9, Type: varvev1.Type_TYPE_INT64}})
	require.NoError(t, err)
	a := s.lines(t, "m v=7i 150000000000\nm v=8 160000000000\nm v=1i 2000000000\nm v=1.5 170000000000\nm v=2.5 3000000000")
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "line 4: tag m.v: the tag is int64, and the float 1.5 is none exactly dropped=1")
	rows := s.storedRows(t, "m.v")
	require.Len(t, rows, 5, "%v", rows)
}
