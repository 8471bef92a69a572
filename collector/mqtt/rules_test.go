package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
)

// settings reads the settings of a test.
func settings(t testing.TB, text string) *Settings {
	var s Settings
	require.NoError(t, yaml.Unmarshal([]byte("broker: mqtt://localhost\n"+text), &s))
	require.NoError(t, s.Check())
	return &s
}

func line(r collector.Reading) string {
	s := fmt.Sprintf("%s = %s %s", r.Address, r.Value.Type, r.Value)
	if r.Value.IsNull() {
		s = r.Address + " = null"
	}
	s += " " + r.Quality.String()
	if r.HasTime {
		s += " " + time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
	}
	if r.Historical {
		s += " historical"
	}
	return s
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          string // names, or no
	}{
		{"a/b", "a/b", ""}, {"a/b", "a/b/c", "no"}, {"a/b", "a", "no"}, {"a/+", "a/b", ""}, {"a/+", "a/", ""}, {"a/+", "a", "no"},
		{"a/#", "a", ""}, {"a/#", "a/b/c", ""}, {"a/#", "b", "no"}, {"#", "x/y", ""}, {"#", "$SYS/y", "no"}, {"+/y", "$SYS/y", "no"}, {"$SYS/#", "$SYS/y", ""},
		{"plant/{area}/+/{unit}/pv", "plant/a1/x/u2/pv", "area=a1 unit=u2"}, {"{a}/{rest#}", "x/y/z", "a=x rest=y/z"}, {"{a}/{rest#}", "x", "a=x rest="},
		{"/{a}", "/x", "a=x"}, {"/{a}", "x", "no"},
	} {
		f, err := parseFilter(c.filter)
		require.NoError(t, err)
		names, ok := f.match(c.topic)
		got := "no"
		if ok {
			var parts []string
			for _, l := range f.levels {
				if l.name != "" {
					parts = append(parts, l.name+"="+names[l.name])
				}
			}
			got = strings.Join(parts, " ")
		}
		require.Equal(t, c.want, got, "%s of %s", c.topic, c.filter)
	}
	f, err := parseFilter("plant/{area}/+/{rest#}")
	require.NoError(t, err)
	require.Equal(t, "plant/+/+/#", f.String())
	for _, bad := range []string{"", "a/#/b", "a/b+", "{a}/{a}", "{a b}", "{topic}", "{rest#}/x", "$share/g/x", "a}"} {
		_, err := parseFilter(bad)
		require.Error(t, err, bad)
	}
}

// Two filters overlap if and only if some topic is of both: checked against all topics of few levels and letters.
func TestOverlaps(t *testing.T) {
	levels := []string{"a", "b", "+", "#"}
	var filters []*filter
	var all func(prefix []string)
	all = func(prefix []string) {
		if len(prefix) > 0 {
			if f, err := parseFilter(strings.Join(prefix, "/")); err == nil {
				filters = append(filters, f)
			}
		}
		if len(prefix) < 3 {
			for _, l := range levels {
				all(append(prefix[:len(prefix):len(prefix)], l))
			}
		}
	}
	all(nil)
	var topics []string
	for _, a := range []string{"a", "b", "c"} {
		topics = append(topics, a)
		for _, b := range []string{"a", "b", "c"} {
			topics = append(topics, a+"/"+b)
			for _, c := range []string{"a", "b", "c"} {
				topics = append(topics, a+"/"+b+"/"+c, a+"/"+b+"/"+c+"/d")
			}
		}
	}
	for _, f := range filters {
		for _, g := range filters {
			both := false
			for _, topic := range topics {
				_, x := f.match(topic)
				_, y := g.match(topic)
				both = both || x && y
			}
			require.Equal(t, both, f.overlaps(g), "%s and %s", f.text, g.text)
		}
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct{ name, topics, topic, payload, want, bad string }{
		{"everything", `[{filter: "zigbee/#"}]`, "zigbee/door", `{"t":21.5,"open":true,"who":"me","list":[1,{"x":null}]}`,
			"zigbee/door/list/0 = float64 1 Good; zigbee/door/list/1/x = null BadNoData; zigbee/door/open = bool true Good; zigbee/door/t = float64 21.5 Good; zigbee/door/who = string \"me\" Good", ""},
		{"one value", `[{filter: "{area}/{unit}/pv", readings: [{address: "{area}.{unit}", value: /v, time: /ts, time_format: unix_ms, quality: /q}]}]`, "A1/U2/pv",
			`{"v":-3,"ts":1700000000123,"q":"UncertainLastUsableValue"}`, "A1.U2 = float64 -3 UncertainLastUsableValue 2023-11-14T22:13:20.123Z", ""},
		{"types", `[{filter: t, readings: [{address: i, value: /i, type: int64}, {address: u, value: /u, type: uint64}, {address: f, value: /f, type: float32},
			{address: b, value: /b, type: bool}, {address: s, value: /s, type: string}, {address: o, value: /o, type: string}]}]`, "t",
			`{"i":9223372036854775807,"u":"18446744073709551615","f":0.1,"b":"on","s":1.50,"o":{"a":[1]}}`,
			`i = int64 9223372036854775807 Good; u = uint64 18446744073709551615 Good; f = float32 0.1 Good; b = bool true Good; s = string "1.50" Good; o = string "{\"a\":[1]}" Good`, ""},
		{"elements of an array", `[{filter: "g/{gw}", readings: [{each: /values, address: "{gw}.{./n}.{key}", value: ./v, time: /t}]}]`, "g/7",
			`{"t":"2026-11-26T09:00:00.5+01:00","values":[{"n":"a","v":1},{"n":"b"},{"n":3,"v":null},{"n":[],"v":1}]}`,
			"7.a.0 = float64 1 Good 2026-11-26T08:00:00.5Z; 7.3.2 = null BadNoData 2026-11-26T08:00:00.5Z", "address: n: no text"},
		{"members of an object", `[{filter: x, readings: [{each: /, time: /ts, time_format: unix}]}]`, "x", `{"a":1,"ts":1.5}`,
			"x/a = float64 1 Good 1970-01-01T00:00:01.5Z; x/ts = float64 1.5 Good 1970-01-01T00:00:01.5Z", ""},
		{"own words for quality", `[{filter: x, readings: [{value: /v, quality: /q, qualities: {"192": Good, "64": Uncertain, "0": Bad, "true": BadDeviceFailure}}]}]`, "x", `{"v":5,"q":64}`,
			"x = float64 5 Uncertain", ""},
		{"quality not known", `[{filter: x, readings: [{value: /v, quality: /q, qualities: {"192": Good}}]}]`, "x", `{"v":5,"q":7}`, "", `x: quality "7" is not among`},
		{"no quality", `[{filter: x, readings: [{value: /v, quality: /q}]}]`, "x", `{"v":5}`, "x = float64 5 Good", ""},
		{"null with quality", `[{filter: x, readings: [{value: /v, quality: /q}]}]`, "x", `{"v":null,"q":"BadSensorFailure"}`, "x = null BadSensorFailure", ""},
		{"no value there", `[{filter: x, readings: [{value: /v}]}]`, "x", `{"w":5}`, "", ""},
		{"no time there", `[{filter: x, readings: [{value: /v, time: /t}]}]`, "x", `{"v":5}`, "", "time: nothing stands"},
		{"number without format", `[{filter: x, readings: [{value: /v, time: /t}]}]`, "x", `{"v":5,"t":5}`, "", "needs a time_format"},
		{"not exact", `[{filter: x, readings: [{value: /v}]}]`, "x", `{"v":9007199254740993}`, "", "give int64 as its type"},
		{"not exact either", `[{filter: x, readings: [{value: /v}]}]`, "x", `{"v":18446744073709551615}`, "", "give uint64 as its type"},
		{"not an integer", `[{filter: x, readings: [{value: /v, type: int64}]}]`, "x", `{"v":5.5}`, "", `"5.5" is no int64`},
		{"a whole one", `[{filter: x, readings: [{value: /v, type: int64}]}]`, "x", `{"v":5.0}`, "x = int64 5 Good", ""},
		{"too large", `[{filter: x, readings: [{value: /v}]}]`, "x", `{"v":1e999}`, "", "is no float64"},
		{"not a boolean", `[{filter: x, readings: [{value: /v, type: bool}]}]`, "x", `{"v":2}`, "", "is no bool"},
		{"an object", `[{filter: x, readings: [{value: /v}]}]`, "x", `{"v":{}}`, "", "an object is no"},
		{"no json", `[{filter: x}]`, "x", `{"v":`, "", "json: unexpected EOF"},
		{"two values", `[{filter: x}]`, "x", `1 2`, "", "something stands behind"},
		{"a lone number", `[{filter: x}]`, "x", ` 12 `, "x = float64 12 Good", ""},
		{"escaped path", `[{filter: x, readings: [{value: /a~1b/~0/1}]}]`, "x", `{"a/b":{"~":[0,9]}}`, "x = float64 9 Good", ""},
		{"position beyond", `[{filter: x, readings: [{value: /1}, {value: /-1}, {value: /0/a}]}]`, "x", `[0]`, "", ""},
		{"text", `[{filter: "t/{n}", format: text}]`, "t/a", " 21.50\n", "t/a = float64 21.5 Good", ""},
		{"text of a type", `[{filter: "t/{n}", format: text, readings: [{address: "{n}", type: string}]}]`, "t/a", "open", `a = string "open" Good`, ""},
		{"text that is no number", `[{filter: "t/{n}", format: text}]`, "t/a", "open", "", `"open" is no float64`},
		{"text that is none", `[{filter: "t/{n}", format: text}]`, "t/a", "\xff", "", "not UTF-8"},
		{"hexadecimal", `[{filter: t, format: text}]`, "t", "0x10", "", "is no float64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settings(t, "topics: "+strings.ReplaceAll(c.topics, "\n\t\t\t", " "))
			names, ok := s.filters[0].match(c.topic)
			require.True(t, ok)
			var bad []string
			readings := s.Topics[0].readings(&packet.Publish{Topic: c.topic, Payload: []byte(c.payload)}, names, nil, func(err error) { bad = append(bad, err.Error()) })
			var got []string
			for _, r := range readings {
				got = append(got, line(r))
			}
			require.Equal(t, c.want, strings.Join(got, "; "))
			if c.bad == "" {
				require.Empty(t, bad)
			} else {
				require.Len(t, bad, 1)
				require.Contains(t, bad[0], c.bad)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		text string
		unit time.Duration
		want int64
		ok   bool
	}{
		{"1700000000", time.Second, 1700000000e9, true}, {"1700000000.123456789", time.Second, 1700000000123456789, true},
		{"1700000000.1234567899", time.Second, 1700000000123456789, true}, {"1700000000123.5", time.Millisecond, 1700000000123500000, true},
		{"1700000000123456", time.Microsecond, 1700000000123456000, true}, {"-1.5", time.Second, -1500000000, true}, {"9223372036854775807", time.Nanosecond, 1<<63 - 1, true},
		{"9223372036.854775807", time.Second, 1<<63 - 1, true}, {"9223372036.854775808", time.Second, 0, false}, {"9223372037", time.Second, 0, false},
		{"", time.Second, 0, false}, {"1e9", time.Second, 0, false}, {".5", time.Second, 0, false}, {"1.2.3", time.Second, 0, false}, {"99999999999999999999", time.Nanosecond, 0, false},
	} {
		got, err := sinceEpoch(c.text, c.unit)
		require.Equal(t, c.ok, err == nil, c.text)
		if c.ok {
			require.Equal(t, c.want, got, c.text)
		}
	}
	for _, bad := range []string{"2026-11-26", "9999-01-01T00:00:00Z", "yesterday"} {
		_, err := instant(bad, 0)
		require.Error(t, err, bad)
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "nothing is subscribed to"},
		{"broker: http://x\ntopics: [{filter: a}]", "must be mqtt://HOST"},
		{"broker: mqtt://u:p@x\ntopics: [{filter: a}]", "a user has its own setting"},
		{"version: 4\ntopics: [{filter: a}]", "must be 5, or 3"},
		{"keep_alive: 1ms\ntopics: [{filter: a}]", "from 1s to 18h"},
		{"session: 10ms\ntopics: [{filter: a}]", "from 1s to 136 years"},
		{"max_packet: 5\ntopics: [{filter: a}]", "from 1KiB"},
		{"in_flight: 70000\ntopics: [{filter: a}]", "from 1 to 65535"},
		{"retained: some\ntopics: [{filter: a}]", "timed, all or none"},
		{"tls: {ca: x}\ntopics: [{filter: a}]", "not an mqtts:// address"},
		{"broker: mqtts://x\ntls: {cert: x}\ntopics: [{filter: a}]", "needs its key"},
		{"topics: [{filter: a}]\nsparkplug: {}", "make it two"},
		{"session: 1h\nsparkplug: {}", "begins every session anew"},
		{"sparkplug: {host_id: a/b}", "must not have"},
		{"sparkplug: {groups: [a, a]}", "must be named once"},
		{"sparkplug: {groups: [STATE]}", "must be named once"},
		{"sparkplug: {reorder: -1s}", "not be below 0"},
		{"topics: [{filter: a/#}, {filter: +/b}]", "may be of \"a/#\", topic 1, too"},
		{"topics: [{filter: a, qos: 2}]", "must be 0 or 1"},
		{"topics: [{filter: a, share: x/y}]", "must not have"},
		{"topics: [{filter: a, format: xml}]", "json or text"},
		{"session: 1h\ntopics: [{filter: a, qos: 0}]", "keeps no messages of QoS 0"},
		{"session: 1h\ntopics: [{filter: a}]", "where their times stand"},
		{"session: 1h\ntopics: [{filter: a, readings: [{value: /v}]}]", "say where its time stands"},
		{"topics: [{filter: a, readings: [{value: v}]}]", "must begin with /"},
		{"topics: [{filter: a, readings: [{value: /a~2}]}]", "behind ~"},
		{"topics: [{filter: a, readings: [{value: ./v}]}]", ". is an element of each"},
		{"topics: [{filter: a, readings: [{each: ./v}]}]", ". is an element of each"},
		{"topics: [{filter: a, readings: [{type: state}]}]", "must be float64"},
		{"topics: [{filter: a, readings: [{time: /t, time_format: iso}]}]", "must be rfc3339"},
		{"topics: [{filter: a, readings: [{qualities: {x: Good}}]}]", "with quality"},
		{"topics: [{filter: a, readings: [{quality: /q, qualities: {x: Nice}}]}]", "must be a status name"},
		{"topics: [{filter: a, readings: [{address: '{b}'}]}]", "no name in the filter"},
		{"topics: [{filter: a, readings: [{address: '{key}'}]}]", "no name in the filter"},
		{"topics: [{filter: a, readings: [{address: '{./x}'}]}]", "nothing for path"},
		{"topics: [{filter: a, readings: [{address: '{x'}]}]", "has no }"},
		{"topics: [{filter: a, format: text, readings: [{value: /v}]}]", "a text is one value"},
	} {
		var s Settings
		text := c.text
		if !strings.Contains(text, "broker:") {
			text = "broker: mqtt://localhost\n" + text
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &s), c.text)
		err := s.Check()
		require.ErrorContains(t, err, c.want, c.text)
	}
	s := settings(t, "topics: [{filter: 'a/{b}', share: g}, {filter: c, qos: 0}]")
	require.Equal(t, packet.Filter{Topic: "$share/g/a/+", QoS: 1}, s.Topics[0].subscription(s.filters[0]))
	require.Equal(t, packet.Filter{Topic: "c", QoS: 0}, s.Topics[1].subscription(s.filters[1]))
	address, host, err := s.address()
	require.NoError(t, err)
	require.Equal(t, "localhost:1883 localhost", address+" "+host)
}

func FuzzReadings(f *testing.F) {
	f.Add([]byte(`{"t":"2026-11-26T09:00:00Z","values":[{"n":"a","v":1}]}`))
	f.Add([]byte(`{"v":9007199254740993,"q":[1],"t":1.5}`))
	s := settings(f, `topics: [{filter: a}, {filter: b, format: text}, {filter: c, readings: [{each: /values, address: "{./n}.{key}", value: ./v, time: /t},
 {value: /v, type: int64, time: /t, time_format: unix_ms, quality: /q}]}]`)
	f.Fuzz(func(t *testing.T, b []byte) {
		for i := range s.Topics {
			for _, r := range s.Topics[i].readings(&packet.Publish{Topic: "a", Payload: b}, nil, nil, func(err error) {
				if err == nil {
					t.Fatal("nothing is wrong")
				}
			}) {
				_ = line(r)
			}
		}
	})
}
