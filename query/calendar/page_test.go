package calendar

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// page is docs/reference/calendars.md: the JSON of its calendars by name, and its blocks of buckets.
type page struct {
	definitions map[string]string
	buckets     []string
}

func readPage(t testing.TB) page {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/calendars.md")
	require.NoError(t, err)
	p := page{definitions: map[string]string{}}
	blocks := regexp.MustCompile("(?ms)^```(\\w+) ?([a-z-]*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	for _, b := range blocks {
		switch b[1] {
		case "json":
			p.definitions[b[2]] = b[3]
		case "buckets":
			p.buckets = append(p.buckets, b[3])
		default:
			t.Fatalf("a block of %s, which nothing tests", b[1])
		}
	}
	return p
}

var blockQuestion = regexp.MustCompile(`^(.+), in (calendar )?(\S+), from (\S+) to (\S+)\n`)

// TestPage asks what each block of the page asks, forward and in reverse, and writes the answer as it stands there.
func TestPage(t *testing.T) {
	p := readPage(t)
	require.Len(t, p.definitions, 3)
	require.GreaterOrEqual(t, len(p.buckets), 13)
	for _, block := range p.buckets {
		ask := blockQuestion.FindStringSubmatch(block)
		require.NotNil(t, ask, block)
		c, err := In(ask[3])
		if ask[2] != "" {
			c, err = Parse([]byte(p.definitions[ask[3]]))
		}
		require.NoError(t, err, block)
		d, err := c.Every(ask[1])
		require.NoError(t, err, block)
		r := model.TimeRange{Start: instant(t, ask[4]), End: instant(t, ask[5])}

		answer := ask[0]
		for b := range d.Buckets(r) {
			answer += pageLine(d, b)
		}
		require.Equal(t, squeeze(block), squeeze(answer))
	}
}

func pageLine(d *Division, b Bucket) string {
	length := strings.TrimSuffix(time.Duration(b.End-b.Start).String(), "0s")
	length = strings.Replace(length, "h0m", "h", 1)
	off := ""
	if b.Off {
		off = " [off]"
	}
	return fmt.Sprintf("%s %s %s%s\n", time.Unix(0, b.Start).In(d.calendar.Zone()).Format(time.RFC3339), length, d.Label(b), off)
}

// squeeze makes one blank of several.
func squeeze(s string) string { return regexp.MustCompile(` +`).ReplaceAllString(s, " ") }

// instant reads RFC 3339, with seconds or without.
func instant(t testing.TB, s string) int64 {
	t.Helper()
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UnixNano()
		}
	}
	t.Fatalf("%q is no time", s)
	return 0
}
