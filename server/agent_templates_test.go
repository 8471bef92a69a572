package server

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// templatesOf are the templates of a file.
func templatesOf(t testing.TB, text string) []AgentTemplate {
	t.Helper()
	all, err := parseAgentTemplates("names.yaml", text)
	require.NoError(t, err)
	return all
}

func TestTemplatesOfAgents(t *testing.T) {
	file, token := tokens(t, Write, Read|Write)
	s := startAgents(t, Options{Security: Security{TokenFile: file}, AgentTemplates: templatesOf(t, `
templates:
  - {door: lines, user: write, database: plain, tag: "{measurement}/{field}", leave_out: [host, cpu]}
  - {door: lines, user: write, tag: "{host}.{measurement}.{field}", leave_out: [dc]}
  - {door: prometheus, tag: "P/{instance}/{metric}"}
  - {door: opentelemetry, tag: "{metric} of {service.name}"}
`)})
	write := []string{"Authorization", "Token " + token[Write]}
	const line = "cpu,host=web1.example,cpu=cpu0,dc=fra usage.idle=97 1"
	for _, x := range []struct{ path, body string }{{"/write?db=telegraf", line}, {"/api/v2/write?bucket=plain", line}, {"/write", "up,dc=fra v=1 1"}, {"/write?db=x", line}} {
		require.Equal(t, 204, s.ask(t, "POST", x.path, x.body, write...).code, x.path)
	}
	require.Equal(t, 204, s.ask(t, "POST", "/write?db=plain", line, "Authorization", "Token "+token[Read|Write]).code)
	histogram := prom("__name__=lat,instance=a/b:9,job=x", promSample(2, 1))
	histogram.more = bothHistograms(promHistogram(3, 1.5, 1))
	require.Equal(t, 204, s.remoteWrite(t, promV1(histogram, prom("__name__=lat,instance=c", promSample(1, 1)), prom("__name__=no.instance", promSample(1, 1))), write...).code)
	point := bytesField(fixedField(fixedField(fixedField(nil, 3, 1), 4, 5), 3, 1), 9, keyValue("z", text("1")))
	require.Equal(t, 200, s.otlp(t, export(metric("lag: net", otlpHistogram, point)), write...).code)
	require.Equal(t, []string{
		"P/a\\/b:9/lat{job=x}", "P/a\\/b:9/lat{job=x}:count", "P/a\\/b:9/lat{job=x}:sum", "P/c/lat",
		"cpu.usage.idle{cpu=cpu0,dc=fra,host=web1.example}", "cpu/usage.idle{dc=fra}",
		`lag\:\ net:count of pumps{otel.scope.name=meter,z=1}`,
		"no.instance", "up.v{dc=fra}", `web1\.example.cpu.usage.idle{cpu=cpu0}`,
	}, s.tagNames())
}

// The templates of the page make of its lines the tags that it says.
func TestTemplatesOfThePage(t *testing.T) {
	page, err := os.ReadFile(agentsPage)
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## Templates\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	_, file, _ := strings.Cut(section, "```yaml\n")
	file, _, _ = strings.Cut(file, "```")
	s := startAgents(t, Options{AgentTemplates: templatesOf(t, file)})
	rows := regexp.MustCompile("(?m)^\\| `([^`]*)` \\| `([^`]*)` \\|$").FindAllStringSubmatch(section, -1)
	require.Len(t, rows, 4)
	for _, row := range rows {
		require.Equal(t, 204, s.ask(t, "POST", "/write?db=telegraf", row[1]).code)
		_, there := s.db.Catalog().ByName(row[2])
		require.True(t, there, "%s: %s of %v", row[1], row[2], s.tagNames())
	}
}

func TestTemplatesThatMakeNoSense(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "names.yaml: 0 templates",
		"templates:\n- {door: mqtt, tag: x}": `names.yaml:2: door "mqtt": must be lines, prometheus or opentelemetry`,
		"templates:\n- {door: lines, tag: '{measurement}.{field}'}\n- {door: lines}":    `names.yaml:3: tag "": it must have {measurement} and {field}, or several series would have one name`,
		"templates:\n- {door: lines, tag: '{host}.{field}'}":                            "it must have {measurement} and {field}",
		"templates:\n- {door: prometheus, tag: '{measurement}.{field}'}":                "it must have {metric}",
		"templates:\n- {door: prometheus, database: x, tag: '{metric}'}":                `database "x": only lines come with one`,
		"templates:\n- {door: lines, tag: '{measurement}{field}'}":                      "between two places there must be text",
		"templates:\n- {door: lines, tag: '{measurement}.{field'}":                      "a place is {key}",
		"templates:\n- {door: lines, tag: '{measurement}.{}.{field}'}":                  "a place is {key}",
		"templates:\n- {door: lines, tag: '{measurement}.{a{b}.{field}'}":               "a place is {key}",
		"templates:\n- {door: lines, tag: 'a}.{measurement}.{field}'}":                  `its text may not have } or \`,
		`templates: [{door: lines, tag: 'a\.{measurement}.{field}'}]`:                   `its text may not have } or \`,
		"templates:\n- {door: lines, tag: '{a}.{a}.{measurement}.{field}'}":             "{a} stands twice",
		"templates:\n- {door: lines, tag: '{a}.{measurement}.{field}', leave_out: [a]}": "or under leave_out",
		"templates:\n- {door: lines, tags: '{measurement}.{field}'}":                    `line 2: unknown key "tags": must be one of door, user, database, tag, leave_out`,
		"template: []":                     "field template not found",
		"templates: 7":                     "cannot unmarshal",
		"templates: [7]":                   "cannot unmarshal",
		"templates: []\n---\ntemplates: 1": "more than one document",
		"templates:\n" + strings.Repeat("- {door: prometheus, tag: '{metric}'}\n", 101): "101 templates, must be from 1 to 100",
	} {
		_, err := parseAgentTemplates("names.yaml", text)
		require.ErrorContains(t, err, want, text)
		require.True(t, strings.HasPrefix(err.Error(), "names.yaml"), err)
	}
	_, err := ReadAgentTemplates(t.TempDir() + "/none.yaml")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// By one template no two series have one name, whatever stands in them.
func TestTemplatesGiveEachSeriesANameOfItsOwn(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	word := func() string {
		b := make([]byte, 1+rng.IntN(3))
		for i := range b {
			b[i] = `ab.{}=,\:/`[rng.IntN(10)]
		}
		return string(b)
	}
	for _, c := range []struct {
		tag      string
		leaveOut []string
	}{
		{"{measurement}.{field}", nil}, {"{a}.{measurement}.{field}", nil}, {"{b}/{measurement}:{a}.{field}", nil}, {"x{field}/{measurement}", nil}, {"{measurement} {field}.x", []string{"c"}}, {"{a}.{field}..{measurement}", []string{"b", "c"}},
	} {
		x := AgentTemplate{Door: doorLines, Tag: c.tag, LeaveOut: c.leaveOut}
		require.NoError(t, x.compile())
		of, names := map[string]string{}, 0
		for range 20_000 {
			var labels []label
			for _, key := range []string{"a", "b", "c"} {
				if rng.IntN(3) > 0 {
					labels = append(labels, label{key, word()})
				}
			}
			measurement, field := word(), word()
			n, ok := x.name(measurement, "", labels)
			need := slices.ContainsFunc([]string{"a", "b"}, func(key string) bool {
				return strings.Contains(c.tag, "{"+key+"}") && !slices.ContainsFunc(labels, func(l label) bool { return l.key == key })
			})
			require.Equal(t, !need, ok)
			if !ok {
				continue
			}
			kept := slices.DeleteFunc(labels, func(l label) bool { return slices.Contains(c.leaveOut, l.key) })
			name, series := n.before+x.field(field)+n.after, fmt.Sprintf("%q %q %q", measurement, field, kept)
			if before, twice := of[name]; twice {
				require.Equal(t, before, series, name)
			}
			of[name] = series
			names++
		}
		require.Greater(t, names, 1000)
	}
}
