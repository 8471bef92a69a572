package mqtt

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
)

// The example of docs/reference/mqtt.md: its configuration, its messages, its table.
func TestPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference/mqtt.md")
	require.NoError(t, err)
	page := string(b)
	_, rest, _ := strings.Cut(page, "```yaml\n")
	text, rest, found := strings.Cut(rest, "```")
	require.True(t, found)
	broker, address := startBroker(t, "127.0.0.1:0", nil, nil)
	text = strings.ReplaceAll(text, "127.0.0.1:1883", address)
	text = strings.ReplaceAll(text, "/var/lib/varve-collect", t.TempDir())
	c, err := collector.ParseConfig("page", []byte(text), []collector.Kind{Kind()})
	require.NoError(t, err)

	table, _, _ := strings.Cut(rest, "## The connection")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+) \| (\S+) \| (2\S+) \| (.*?) \| (\S+) \|$`).FindAllStringSubmatch(table, -1) {
		want = append(want, strings.Join(m[1:], " "))
	}
	require.Len(t, want, 3)
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	messages := regexp.MustCompile(`(?m)^mosquitto_pub -q 1 -t (\S+) -m '(.*)'$`).FindAllStringSubmatch(rest, -1)
	require.Len(t, messages, 2)
	go func() {
		for broker.Info.Clone().Subscriptions < 2 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		for _, m := range messages {
			broker.Publish(m[1], []byte(m[2]), false, 1)
		}
	}()
	var got []string
	err = collector.CheckSource(ctx, c, &c.Sources[0], time.Now, func(f collector.Finding) {
		require.Empty(t, f.Problem)
		got = append(got, strings.Join([]string{f.Tag, f.Address, time.Unix(0, f.Time).UTC().Format(time.RFC3339Nano), f.Value.Type.String(), f.Value.String(), f.Quality.String()}, " "))
		if len(got) == len(want) {
			stop()
		}
	})
	require.NoError(t, err)
	require.ElementsMatch(t, want, got)
}

// Errors of the settings have the line they are about.
func TestErrorsHaveLines(t *testing.T) {
	_, err := collector.ParseConfig("x.yaml", []byte(`destinations: [{address: "127.0.0.1:7420"}]
queue: {dir: /x}
sources:
- name: plant
  type: mqtt
  settings:
    broker: mqtt://h
    topics:
    - filter: a
      readings:
      - value: /v
        qualitys: /q
- name: other
  type: mqtt
  settings:
    broker: mqtt://h
    topics:
    - filter: a
    - filter: b
      readings:
      - value: /v
      - value: /v
        time_format: stardate
`), []collector.Kind{Kind()})
	require.ErrorIs(t, err, collector.ErrConfig)
	require.ErrorContains(t, err, "x.yaml:12: ")
	require.ErrorContains(t, err, `x.yaml:23: "stardate": must be rfc3339`)
}

// The page names every setting.
func TestPageHasTheSettings(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference/mqtt.md")
	require.NoError(t, err)
	source, err := os.ReadFile("config.go")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("yaml:\"([a-z_]+)\"").FindAllStringSubmatch(string(source), -1) {
		require.True(t, strings.Contains(string(b), "`"+m[1]+"`"), "the setting %s", m[1])
	}
}
