package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/snappy"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// Messages of remote write, written field by field with the numbers of the specification.

func bytesField(b []byte, num protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), content)
}

func varintField(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// promSample is a sample as both versions write it: what is zero is left out.
func promSample(v float64, ms int64) (b []byte) {
	if bits := math.Float64bits(v); bits != 0 {
		b = protowire.AppendFixed64(protowire.AppendTag(b, 1, protowire.Fixed64Type), bits)
	}
	if ms != 0 {
		b = varintField(b, 2, uint64(ms))
	}
	return b
}

type promSeries struct {
	labels  []label
	samples [][]byte
	more    []byte // further fields, as encoded
}

func prom(labels string, samples ...[]byte) promSeries {
	var s promSeries
	for _, pair := range strings.Split(labels, ",") {
		key, value, _ := strings.Cut(pair, "=")
		s.labels = append(s.labels, label{key, value})
	}
	s.samples = samples
	return s
}

func promV1(series ...promSeries) (b []byte) {
	for _, s := range series {
		var one []byte
		for _, l := range s.labels {
			one = bytesField(one, 1, bytesField(bytesField(nil, 1, []byte(l.key)), 2, []byte(l.value)))
		}
		for _, x := range s.samples {
			one = bytesField(one, 2, x)
		}
		b = bytesField(b, 1, append(one, s.more...))
	}
	return bytesField(b, 3, bytesField(nil, 2, []byte("some_metric"))) // metadata
}

func promV2(series ...promSeries) []byte {
	symbols, at := []string{""}, map[string]uint64{"": 0}
	ref := func(s string) uint64 {
		if _, ok := at[s]; !ok {
			at[s] = uint64(len(symbols))
			symbols = append(symbols, s)
		}
		return at[s]
	}
	var list [][]byte
	for _, s := range series {
		var refs []byte
		for _, l := range s.labels {
			refs = protowire.AppendVarint(protowire.AppendVarint(refs, ref(l.key)), ref(l.value))
		}
		one := bytesField(nil, 1, refs)
		for _, x := range s.samples {
			one = bytesField(one, 2, x)
		}
		one = bytesField(one, 5, varintField(nil, 1, 2)) // metadata: a gauge
		list = append(list, append(varintField(one, 6, 1000), s.more...))
	}
	var b []byte
	for _, s := range symbols {
		b = bytesField(b, 4, []byte(s))
	}
	for _, one := range list {
		b = bytesField(b, 5, one)
	}
	return b
}

const typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

func (s *web) remoteWrite(t testing.TB, message []byte, header ...string) webAnswer {
	t.Helper()
	return s.ask(t, "POST", "/api/v1/write", string(snappy.Encode(nil, message)), append([]string{"Content-Type", "application/x-protobuf", "Content-Encoding", "snappy"}, header...)...)
}

var nanStale = math.Float64frombits(staleNaN)

func TestRemoteWrite(t *testing.T) {
	s := startAgents(t, Options{})
	up := prom("__name__=up,instance=localhost:9090,job=prometheus", promSample(1, noon*1000), promSample(0, noon*1000+15_000))
	odd := prom("job=a b,__name__=x:y,empty=,le=+Inf", promSample(math.NaN(), 1), promSample(math.Copysign(0, -1), 2), promSample(math.Inf(1), 3), promSample(5, 0), promSample(-7.25, -1))
	for i, a := range []webAnswer{
		s.remoteWrite(t, promV1(up, odd)), s.remoteWrite(t, promV1(up, odd)),
		s.remoteWrite(t, promV2(up, odd), "Content-Type", typeV2), s.remoteWrite(t, promV1(odd, up), "Content-Type", "application/x-protobuf; proto=prometheus.WriteRequest"),
	} {
		require.Equal(t, 204, a.code, a.body)
		if i == 2 {
			require.Equal(t, "7", a.header.Get("X-Prometheus-Remote-Write-Samples-Written"))
			require.Equal(t, "0", a.header.Get("X-Prometheus-Remote-Write-Histograms-Written"))
			require.Equal(t, "0", a.header.Get("X-Prometheus-Remote-Write-Exemplars-Written"))
		} else {
			require.Empty(t, a.header.Get("X-Prometheus-Remote-Write-Samples-Written"))
		}
	}
	require.Equal(t, []string{"up{instance=localhost:9090,job=prometheus}", "x:y{job=a b,le=+Inf}"}, s.tagNames())
	require.Equal(t, "2026-03-01T12:00:00Z 1\n2026-03-01T12:00:15Z 0", s.stored(t, "up{instance=localhost:9090,job=prometheus}"))
	require.Equal(t, "1969-12-31T23:59:59.999Z -7.25\n1970-01-01T00:00:00Z 5\n1970-01-01T00:00:00.001Z NaN\n1970-01-01T00:00:00.002Z -0\n1970-01-01T00:00:00.003Z +Inf", s.stored(t, "x:y{job=a b,le=+Inf}"))
	modified := s.get(t, "read=modified&format=csv&start=1970-01-01&end=2027-01-01&tag="+url.QueryEscape("up{instance=localhost:9090,job=prometheus}"))
	require.Equal(t, 1, strings.Count(modified.body, "\n"), modified.body)
	require.Equal(t, 204, s.remoteWrite(t, nil).code)
}

// The order of fields is the sender's to choose, packed or not, and what is not known is passed over.
func TestRemoteWriteInOtherEncodings(t *testing.T) {
	s := startAgents(t, Options{})
	l := func(k, v string) []byte { return bytesField(bytesField(nil, 2, []byte(v)), 1, []byte(k)) }
	one := bytesField(nil, 2, promSample(1, 1))
	one = bytesField(one, 1, l("__name__", "m"))
	one = bytesField(varintField(one, 99, 7), 2, promSample(2, 2))
	one = bytesField(bytesField(one, 1, l("z", "1")), 1, l("a", "2"))
	require.Equal(t, 204, s.remoteWrite(t, bytesField(varintField(nil, 50, 1), 1, one)).code)
	require.Equal(t, 204, s.remoteWrite(t, bytesField(nil, 1, one)).code)

	two := varintField(varintField(bytesField(nil, 2, promSample(3, 3)), 1, 1), 1, 2)
	two = bytesField(two, 1, protowire.AppendVarint(protowire.AppendVarint(protowire.AppendVarint(protowire.AppendVarint(nil, 3), 4), 5), 6))
	message := bytesField(nil, 5, two)
	for _, symbol := range []string{"", "__name__", "m", "z", "1", "a", "2"} {
		message = bytesField(message, 4, []byte(symbol))
	}
	a := s.remoteWrite(t, message, "Content-Type", typeV2)
	require.Equal(t, 204, a.code, a.body)
	require.Equal(t, []string{"m{a=2,z=1}"}, s.tagNames())
	require.Equal(t, "1970-01-01T00:00:00.001Z 1\n1970-01-01T00:00:00.002Z 2\n1970-01-01T00:00:00.003Z 3", s.stored(t, "m{a=2,z=1}"))
}

func TestRemoteWriteOfWhatIsNotStored(t *testing.T) {
	s := startAgents(t, Options{})
	good := prom("__name__=good", promSample(1, 1))
	late := prom("__name__=h")
	late.more = bothHistograms(promHistogram(1, 1, math.MaxInt64))
	series := []promSeries{
		prom("job=x", promSample(1, 1), promSample(2, 2)), prom("__name__=a,x=1,x=2", promSample(1, 1)), prom("__name__=b,=1", promSample(1, 1)),
		prom("__name__=c,x=\xff", promSample(1, 1)), prom("__name__=d", promSample(1, math.MaxInt64)), prom("__name__=far", promSample(1, 4_000_000_000_000)), late, good,
		prom("__name__="+strings.Repeat("n", 2000), promSample(1, 1)), prom("__name__=e,x="+strings.Repeat("n", maxSeriesBytes), promSample(1, 1)),
	}
	for _, a := range []webAnswer{s.remoteWrite(t, promV1(series...)), s.remoteWrite(t, promV2(series[:9]...), "Content-Type", typeV2)} {
		require.Equal(t, 400, a.code)
		require.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))
		require.True(t, strings.HasPrefix(a.body, "partial write: series 1: there is no label __name__; series 1: there is no label __name__; series 2: label \"x\" stands twice; "+
			"series 3: a label of value \"1\" without a name; series 4: label \"x\": name or value is not UTF-8; and "), a.body)
		if v2 := a.header.Get("X-Prometheus-Remote-Write-Samples-Written"); v2 != "" {
			require.Equal(t, "1", v2)
			require.Contains(t, a.body, "dropped=9")
		} else {
			require.Contains(t, a.body, "dropped=10")
		}
	}
	require.Equal(t, []string{"far", "good"}, s.tagNames())
}

// promHistogram is a native histogram of schema 3 as Prometheus writes it: two spans of buckets, of which the first is of zero.
func promHistogram(count uint64, sum float64, ms int64) []byte {
	b := varintField(nil, 1, count)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 3, protowire.Fixed64Type), math.Float64bits(sum))
	b = varintField(b, 4, protowire.EncodeZigZag(3))
	b = protowire.AppendFixed64(protowire.AppendTag(b, 5, protowire.Fixed64Type), math.Float64bits(1e-128))
	b = varintField(b, 6, 0)
	b = bytesField(b, 11, varintField(varintField(nil, 1, protowire.EncodeZigZag(-2)), 2, 1))
	b = bytesField(b, 11, varintField(varintField(nil, 1, protowire.EncodeZigZag(4)), 2, 1))
	b = bytesField(b, 12, protowire.AppendVarint(protowire.AppendVarint(nil, protowire.EncodeZigZag(2)), protowire.EncodeZigZag(int64(count)-4)))
	return varintField(b, 15, uint64(ms))
}

// promFloatHistogram is one whose counts are no integers.
func promFloatHistogram(count, sum float64, ms int64) []byte {
	b := protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), math.Float64bits(count))
	b = protowire.AppendFixed64(protowire.AppendTag(b, 3, protowire.Fixed64Type), math.Float64bits(sum))
	return varintField(b, 15, uint64(ms))
}

// bothHistograms are fields of a series with a histogram, beside an exemplar: of version 1 that has the number that the histogram has in version 2.
func bothHistograms(histogram []byte) []byte {
	return bytesField(bytesField(nil, 3, histogram), 4, histogram)
}

// Of a native histogram count and sum are stored, beside whatever else the metric has, and its end is that of both.
func TestNativeHistograms(t *testing.T) {
	s := startAgents(t, Options{})
	write := func(v2 bool, samples, histograms string, series ...promSeries) {
		t.Helper()
		if !v2 {
			a := s.remoteWrite(t, promV1(series...))
			require.Equal(t, 204, a.code, a.body)
			return
		}
		a := s.remoteWrite(t, promV2(series...), "Content-Type", typeV2)
		require.Equal(t, 204, a.code, a.body)
		require.Equal(t, samples, a.header.Get("X-Prometheus-Remote-Write-Samples-Written"))
		require.Equal(t, histograms, a.header.Get("X-Prometheus-Remote-Write-Histograms-Written"))
	}
	with := func(labels string, histogram []byte, samples ...[]byte) promSeries {
		x := prom(labels, samples...)
		x.more = bothHistograms(histogram)
		return x
	}
	const count, sum = "d{job=a}:count", "d{job=a}:sum"
	for _, v2 := range []bool{false, true} {
		write(v2, "1", "2", with("__name__=d,job=a", promHistogram(7, 2.5, 1000)), with("__name__=d", promHistogram(1, math.NaN(), 1000), promSample(9, 1000)))
		write(v2, "0", "1", with("__name__=d,job=a", promHistogram(9, 3, 2000)))
		write(v2, "0", "1", with("__name__=rate", promFloatHistogram(0.25, 1.5, 1000)))
	}
	require.Equal(t, []string{"d", "d{job=a}:count", "d{job=a}:sum", "d{}:count", "d{}:sum", "rate{}:count", "rate{}:sum"}, s.tagNames())
	require.Equal(t, "1970-01-01T00:00:01Z 7\n1970-01-01T00:00:02Z 9", s.stored(t, count))
	require.Equal(t, "1970-01-01T00:00:01Z 2.5\n1970-01-01T00:00:02Z 3", s.stored(t, sum))
	require.Equal(t, "1970-01-01T00:00:01Z 1", s.stored(t, "d{}:count"))
	require.Equal(t, "1970-01-01T00:00:01Z NaN", s.stored(t, "d{}:sum"))
	require.Equal(t, "1970-01-01T00:00:01Z 9", s.stored(t, "d"))
	require.Equal(t, "1970-01-01T00:00:01Z 0.25", s.stored(t, "rate{}:count"))
	for name, typ := range map[string]model.Type{count: model.Uint64, sum: model.Float64, "rate{}:count": model.Float64} {
		tag, ok := s.db.Catalog().ByName(name)
		require.True(t, ok)
		require.Equal(t, typ, tag.Current().Type, name)
	}
	// A metric can be called like a part, and is another tag.
	write(false, "", "", prom("__name__=d:count,job=a", promSample(1, 1)), prom("__name__=d{}:count", promSample(2, 1)))
	require.Equal(t, "1970-01-01T00:00:01Z 1", s.stored(t, "d{}:count"))
	require.Equal(t, "1970-01-01T00:00:00.001Z 1", s.stored(t, "d:count{job=a}"))
	require.Equal(t, "1970-01-01T00:00:00.001Z 2", s.stored(t, `d\{}:count`))

	write(true, "0", "1", with("__name__=d,job=a", promHistogram(0, nanStale, 3000)))
	write(true, "0", "1", with("__name__=d,job=a", promHistogram(10, 4, 5000)))
	for _, name := range []string{count, sum} {
		require.Equal(t, []string{"3000–5000"}, s.gapsOf(t, name))
		require.NotContains(t, s.stored(t, name), "00:00:03Z", "the mark is no sample")
	}
}

// gapsOf is the gaps of a tag as START–END, END empty while it is open.
func (s *web) gapsOf(t testing.TB, tag string) (out []string) {
	t.Helper()
	view, err := s.db.View(testContext(t), storage.Accepted)
	require.NoError(t, err)
	defer view.Close()
	x, ok := s.db.Catalog().ByName(tag)
	require.True(t, ok, tag)
	for _, g := range view.Gaps(storage.GapQuery{Tag: x.ID, In: model.All, Limit: 100}) {
		require.Equal(t, model.NotCollected, g.Kind)
		require.Equal(t, remoteWriteSource, g.Source)
		end := ""
		if to := g.Newest().To; to != model.OpenGap {
			end = fmt.Sprint(to / 1e6)
		}
		out = append(out, fmt.Sprintf("%d–%s", g.From/1e6, end))
	}
	return out
}

func TestStaleMetricsAreGaps(t *testing.T) {
	s := startAgents(t, Options{})
	write := func(samples ...[]byte) {
		t.Helper()
		message, header := promV1(prom("__name__=up,job=a", samples...)), []string(nil)
		if len(samples)%2 == 0 {
			message, header = promV2(prom("__name__=up,job=a", samples...)), []string{"Content-Type", typeV2}
		}
		a := s.remoteWrite(t, message, header...)
		require.Equal(t, 204, a.code, a.body)
	}
	const tag = "up{job=a}"
	write(promSample(nanStale, 500))
	require.Empty(t, s.tagNames(), "a series that never was has no end")
	write(promSample(1, 1000))
	write(promSample(1, 2000), promSample(nanStale, 3000))
	require.Equal(t, []string{"3000–"}, s.gapsOf(t, tag))
	write(promSample(nanStale, 3000))
	require.Equal(t, []string{"3000–"}, s.gapsOf(t, tag), "sent again")
	write(promSample(1, 1500))
	require.Equal(t, []string{"3000–"}, s.gapsOf(t, tag), "late, and before the gap")
	write(promSample(1, 9000), promSample(1, 8000))
	require.Equal(t, []string{"3000–8000"}, s.gapsOf(t, tag), "it came back")
	write(promSample(1, 2000), promSample(nanStale, 3000))
	require.Equal(t, []string{"3000–8000"}, s.gapsOf(t, tag), "sent again, after it came back")
	write(promSample(nanStale, 8500))
	require.Equal(t, []string{"3000–8000", "8500–9000"}, s.gapsOf(t, tag), "late")
	write(promSample(nanStale, 10_000), promSample(2, 12_000), promSample(nanStale, 11_000), promSample(math.NaN(), 12_500))
	require.Equal(t, []string{"3000–8000", "8500–9000", "10000–12000", "11000–12000"}, s.gapsOf(t, tag))
	require.NotContains(t, s.stored(t, tag), "00:00:03Z", "the mark is no sample")
	require.Contains(t, s.stored(t, tag), "00:00:12.5Z NaN")

	// In a gap the tag has no value; at its end it has one again.
	a := s.get(t, "read=at_times&format=csv&tags="+url.QueryEscape(tag)+"&times=1970-01-01T00:00:02.5Z,1970-01-01T00:00:05Z,1970-01-01T00:00:08Z")
	require.Equal(t, 200, a.code, a.body)
	require.Contains(t, a.body, "00:00:05Z,up{job=a},,BadNoCommunication")
	require.Equal(t, 2, strings.Count(a.body, ",1,"), a.body)
}

func TestStaleMetricsBeyondTheQuotaOfGaps(t *testing.T) {
	s := &web{running: startOn(t, storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, MemoryBytes: 64 << 20, GapBytes: 1 << 20}, Options{})}
	s.open(t)
	var series []promSeries
	for i := range 9000 {
		series = append(series, prom(fmt.Sprintf("__name__=m,i=%d", i), promSample(1, 1)))
	}
	require.Equal(t, 204, s.remoteWrite(t, promV1(series...)).code)
	for i := range series {
		series[i].samples = [][]byte{promSample(2, 2), promSample(nanStale, 3)}
	}
	a := s.remoteWrite(t, promV1(series...))
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "the end of 9000 metrics is not kept: gaps take")
	require.Contains(t, a.body, "dropped=9000")
	require.Equal(t, "1970-01-01T00:00:00.001Z 1\n1970-01-01T00:00:00.002Z 2", s.stored(t, "m{i=7}"))
}

func TestRemoteWriteOfHostileBodies(t *testing.T) {
	s := startAgents(t, Options{MaxMessageBytes: 64 << 10})
	for _, typ := range []string{"application/json", "", "application/x-protobuf;proto=x", "text/plain"} {
		a := s.remoteWrite(t, promV1(prom("__name__=m", promSample(1, 1))), "Content-Type", typ)
		require.Equal(t, 415, a.code, typ)
	}
	require.Equal(t, 415, s.remoteWrite(t, promV1(), "Content-Encoding", "gzip").code)
	raw := func(body string, header ...string) webAnswer {
		return s.ask(t, "POST", "/api/v1/write", body, append([]string{"Content-Type", "application/x-protobuf", "Content-Encoding", "snappy"}, header...)...)
	}
	require.Equal(t, 400, raw("not snappy").code)
	require.Equal(t, 413, raw("\xff\xff\xff\xff\x0f").code, "says that it unpacks to 4 GiB")
	require.Equal(t, 413, raw(string(snappy.Encode(nil, make([]byte, 70_000)))).code)
	require.Equal(t, 413, raw(strings.Repeat("x", 70_000)).code)
	good := promV1(prom("__name__=m", promSample(1, 1)))
	for cut := range good {
		if a := s.remoteWrite(t, good[:cut]); a.code != 204 {
			require.Equal(t, 400, a.code, "%d: %s", cut, a.body)
		}
	}
	v2 := func(message []byte) webAnswer { return s.remoteWrite(t, message, "Content-Type", typeV2) }
	a := v2(bytesField(nil, 5, varintField(varintField(nil, 1, 0), 1, 1<<40)))
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "series 1: reference 0 of a label, and there are 0 symbols")
	a = v2(bytesField(bytesField(nil, 4, nil), 5, varintField(nil, 1, 0)))
	require.Equal(t, 400, a.code)
	require.Contains(t, a.body, "labels_refs must be pairs")
	// References of a byte each to one long string.
	message := bytesField(bytesField(nil, 4, []byte("__name__")), 4, []byte(strings.Repeat("y", 2000)))
	a = v2(bytesField(message, 5, bytesField(bytesField(nil, 1, []byte(strings.Repeat("\x00\x01", 5000))), 2, promSample(1, 1))))
	require.Equal(t, 400, a.code, a.body)
	require.Contains(t, a.body, "series 1: labels of more than 4096 bytes dropped=1")
	require.Equal(t, 204, s.remoteWrite(t, good).code)
}

// TestRemoteWriteAgreesWithAModel writes random series by both versions, and reads back what a map says.
func TestRemoteWriteAgreesWithAModel(t *testing.T) {
	s := startAgents(t, Options{MaxBatchSamples: 11})
	want := map[string]map[int64]float64{}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		var series []promSeries
		for range 1 + rng.IntN(10) {
			m, k := rng.IntN(3), rng.IntN(3)
			labels := []label{{"__name__", fmt.Sprintf("m%d", m)}, {"k", fmt.Sprint(k)}, {"a", "x"}}
			rng.Shuffle(3, func(i, j int) { labels[i], labels[j] = labels[j], labels[i] })
			name := fmt.Sprintf("m%d{a=x,k=%d}", m, k)
			if want[name] == nil {
				want[name] = map[int64]float64{}
			}
			one := promSeries{labels: labels}
			for range rng.IntN(6) {
				at, v := int64(rng.IntN(50)), float64(rng.IntN(100))
				one.samples = append(one.samples, promSample(v, at))
				want[name][at] = v
			}
			series = append(series, one)
		}
		if seed%2 == 0 {
			require.Equal(t, 204, s.remoteWrite(t, promV1(series...)).code)
		} else {
			require.Equal(t, 204, s.remoteWrite(t, promV2(series...), "Content-Type", typeV2).code)
		}
	}
	for name, samples := range want {
		var lines []string
		for at := range int64(50) {
			if v, ok := samples[at]; ok {
				lines = append(lines, fmt.Sprintf("%s %v", time.UnixMilli(at).UTC().Format(time.RFC3339Nano), v))
			}
		}
		require.Equal(t, strings.Join(lines, "\n"), s.stored(t, name))
	}
}

// FuzzRemoteWrite needs an answer to any message, of either version, and a server that goes on.
func FuzzRemoteWrite(f *testing.F) {
	f.Add(promV1(prom("__name__=m,a=b", promSample(1, 1), promSample(nanStale, 2))), false)
	f.Add(promV2(prom("__name__=m,a=b", promSample(1, 1))), true)
	histogram := prom("__name__=h,a=b")
	histogram.more = bothHistograms(promHistogram(3, 1.5, 2))
	f.Add(promV2(histogram), true)
	s := startAgents(f, Options{})
	f.Fuzz(func(t *testing.T, message []byte, v2 bool) {
		var header []string
		if v2 {
			header = []string{"Content-Type", typeV2}
		}
		a := s.remoteWrite(t, message, header...)
		require.Contains(t, []int{204, 400, 413}, a.code, a.body)
	})
}
