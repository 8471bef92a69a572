package urlquery

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func parse(t testing.TB, text string) (*varvev1.FlightQuestion, error) {
	values, err := url.ParseQuery(text)
	require.NoError(t, err)
	q := &varvev1.FlightQuestion{}
	return q, Parse(values, q.ProtoReflect(), now)
}

func TestQuestionsByParameters(t *testing.T) {
	for text, want := range map[string]string{
		"tags=FI-101,TI-204&start=2026-03-01T06:00:00Z&stop=now": `{"range":{"tags":["FI-101","TI-204"],"startNs":"1772344800000000000","endNs":"1772366400000000000"}}`,
		"tag=a,b&tag=c&tags=d&start=min&limit=10":                `{"range":{"tags":["d","a,b","c"],"startNs":"-9223372036854775807","limit":"10"}}`,
		"tag=a&start=08:00&zone=Europe/Berlin":                   `error`,
		"tag=a&start=2026-03-01T08:00&end=today&zone=Europe/Berlin&bounds=outside&severities=good,bad": `{"range":{"tags":["a"],"startNs":"1772348400000000000","endNs":"1772319600000000000",
			"bounds":"BOUNDS_OUTSIDE","severities":["SEVERITY_GOOD","SEVERITY_BAD"]}}`,
		"tag_ids=1,2&start=now&end=now&with_seq=true&unit=bar&after_time=now&after_seq=3&as_of=now": `{"range":{"tagIds":[1,2],"startNs":"1772366400000000000","endNs":"1772366400000000000",
			"withSeq":true,"unit":"bar","afterTimeNs":"1772366400000000000","afterSeq":3,"asOfNs":"1772366400000000000"}}`,
		"read=latest&tag=a&consistency=eventual":          `{"latest":{"tags":["a"],"consistency":"CONSISTENCY_EVENTUAL"}}`,
		"read=at_times&tag=a&times=now,now-1h":            `{"atTimes":{"tags":["a"],"timesNs":["1772366400000000000","1772362800000000000"]}}`,
		"read=at_times&tag=a&start=-1h&end=now&every=90s": `{"atTimes":{"tags":["a"],"startNs":"1772362800000000000","endNs":"1772366400000000000","everyNs":"90000000000"}}`,
		"read=at_times&tag=a&time=now&stepped=false":      `{"atTimes":{"tags":["a"],"timesNs":["1772366400000000000"],"stepped":false}}`,
		"read=aggregates&expression=max(a,b)&start=-1h&end=now&every=1m&aggregates=minimum,maximum": `{"aggregates":{"expressions":["max(a,b)"],"startNs":"1772362800000000000","endNs":"1772366400000000000",
			"stepNs":"60000000000","aggregates":["minimum","maximum"]}}`,
		"read=processed&tag=a&start=-1h&end=now&every=1h+of+day&zone=Asia/Kolkata&aggregate=Average&percent_data_good=50": `{"processed":{"tags":["a"],"startNs":"1772362800000000000","endNs":"1772366400000000000",
			"every":"1h of day","zone":"Asia/Kolkata","aggregates":["Average"],"percentDataGood":50}}`,
		"read=time_in_state&tag=a&edges=-1h,now&calendar=plant": `{"timeInState":{"tags":["a"],"edgesNs":["1772362800000000000","1772366400000000000"],"calendar":"plant"}}`,
		"read=wide&tag=a&start=-1h&end=now&every=1h&calendar=plant&zone=Asia/Kolkata&max_age=2m&mode=interpolated": `{"wide":{"tags":["a"],"startNs":"1772362800000000000","endNs":"1772366400000000000",
			"every":"1h","calendar":"plant","maxAgeNs":"120000000000","mode":"MODE_INTERPOLATED"}}`,
		"read=plot&tag=a&start=-1h&end=now&width=800&max_gap=0s":      `{"plot":{"tags":["a"],"startNs":"1772362800000000000","endNs":"1772366400000000000","width":800,"maxGapNs":"0"}}`,
		"read=tune&tag=a&start=-1h&end=now&deviations=0.5,1&limit=80": `{"tune":{"tags":["a"],"startNs":"1772362800000000000","endNs":"1772366400000000000","deviations":[0.5,1],"limits":[80]}}`,
		"read=forecast&tag=a&pick=curve&lead=24h":                     `{"forecast":{"tags":["a"],"pick":"FORECAST_PICK_CURVE","leadNs":"86400000000000"}}`,
	} {
		q, err := parse(t, text)
		if want == "error" {
			require.ErrorIs(t, err, ErrBadParameter, text)
			continue
		}
		require.NoError(t, err, text)
		w := &varvev1.FlightQuestion{}
		require.NoError(t, protojson.Unmarshal([]byte(want), w))
		require.True(t, proto.Equal(w, q), "%s\n%s", text, protojson.Format(q))
	}
}

func TestParametersThatMakeNoSense(t *testing.T) {
	for text, says := range map[string]string{
		"read=everything":                             "must be one of range, aggregates",
		"read=comparison":                             "must be one of",
		"read=range&read=latest":                      "read stands 2 times",
		"limit=1&limit=2":                             "limit stands 2 times",
		"start=now&end=now&stop=now":                  "they mean the same",
		"tag=a&width=5":                               `"width": read=range has none of that name; it has tags, tag_ids, start`,
		"read=latest&tag=a&start=now":                 `"start": read=latest`,
		"where=%3E1":                                  `"where"`,
		"step_ns=1":                                   `"step_ns"`,
		"limit=-1":                                    "from 0 to 18446744073709551615",
		"tag_id=4294967296":                           "from 0 to 4294967295",
		"with_seq=1":                                  "must be true or false",
		"bounds=BOUNDS_OUTSIDE":                       "must be one of none, inside, outside, interpolated",
		"start=yesterdayish":                          "start: time",
		"zone=Mars":                                   "zone=\"Mars\"",
		"zone=Local":                                  "zone=\"Local\"",
		"read=plot&tag=a":                             "read=plot needs start",
		"read=aggregates&tag=a&start=now":             "read=aggregates needs end",
		"read=at_times&tag=a&every=1s":                "needs start",
		"read=at_times&start=now&end=now&every=x":     "must be a duration",
		"read=aggregates&start=now&end=now&every=-1s": "must be positive",
		"read=tune&start=now&end=now&deviation=x":     "must be a number",
	} {
		_, err := parse(t, text)
		require.ErrorIs(t, err, ErrBadParameter, text)
		require.ErrorContains(t, err, says, text)
	}
}

// TestEveryFieldHasAParameter finds fields of a kind that nobody thought of.
func TestEveryFieldHasAParameter(t *testing.T) {
	question := (&varvev1.FlightQuestion{}).ProtoReflect().Descriptor()
	reads := map[string]bool{}
	for _, f := range Reads(question) {
		reads[string(f.Name())] = true
		seen := map[string]bool{"read": true, "format": true, "stop": true}
		for _, p := range Parameters(f.Message()) {
			for _, name := range []string{p.Name, p.One} {
				require.False(t, name != "" && seen[name], "%s of read=%s means two things", name, f.Name())
				seen[name] = true
			}
			if p.Field == nil || p.Kind == Every || p.Kind == Zone {
				continue
			}
			text := map[Kind]string{Instant: "now", Duration: "1s"}[p.Kind]
			if text == "" {
				text = "1"
				switch p.Field.Kind().String() {
				case "bool":
					text = "true"
				case "enum":
					text = Constants(p.Field.Enum())[0]
				}
			}
			_, err := parse(t, url.Values{"read": {string(f.Name())}, p.Name: {text}, "start": {"now"}, "end": {"now"}}.Encode())
			if p.Name == "start" || p.Name == "end" {
				continue
			}
			if err != nil {
				require.NotContains(t, err.Error(), p.Name+":", "%s of read=%s", p.Name, f.Name())
				require.NotContains(t, err.Error(), p.Name+"=", "%s of read=%s", p.Name, f.Name())
			}
		}
	}
	require.Len(t, reads, question.Fields().Len()-1, "all but comparison, whose tags are in a message of it")
}

func FuzzParse(f *testing.F) {
	f.Add("read=aggregates&tags=a,b&start=-1h&end=now&every=1d&zone=Europe/Berlin&aggregate=sum")
	f.Add("tag=%00&limit=18446744073709551616&read=range")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q := &varvev1.FlightQuestion{}
		if err := Parse(values, q.ProtoReflect(), now); err != nil {
			require.ErrorIs(t, err, ErrBadParameter)
			return
		}
		require.NotNil(t, q.Question)
	})
}
