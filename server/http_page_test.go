package server

import (
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

const (
	httpPage = "../docs/reference/http.md"
	pageHost = "http://127.0.0.1:7421"
)

var rewritePage = flag.Bool("rewrite-page", false, "write what is answered into "+httpPage+" in place of what stands there")

// TestHTTPPage runs the examples of the page: each is a line that begins with $ curl, with what it prints under it, up to an empty line or
// the end of the block.
func TestHTTPPage(t *testing.T) {
	s := startWeb(t, Options{})
	at := func(clock string) int64 {
		x, err := time.Parse(time.DateTime, "2026-03-01 "+clock)
		require.NoError(t, err)
		return x.UnixNano()
	}
	s.write(t,
		&varvev1.Run{Tag: "FI-101", TimesNs: []int64{at("05:00:00"), at("05:02:00"), at("05:03:00"), at("05:05:00"), at("05:06:00")}, Float64: []float64{10, 20, 30, 40, 50},
			QualityCount: []uint32{2, 1, 1, 1}, QualityCode: []uint32{0, 0x80000000, 0, 0x40000000}},
		&varvev1.Run{Tag: "TI-204", TimesNs: []int64{at("05:00:10"), at("05:01:40"), at("05:03:10"), at("05:04:40")}, Float64: []float64{80, 83, 86, 86.5}, QualityCount: []uint32{3, 1}, QualityCode: []uint32{0, 0x40000000}},
		&varvev1.Run{Tag: "P-101.RUN", TimesNs: []int64{at("05:00:30"), at("05:04:50")}, Bool: []bool{true, false}},
	)
	page, err := os.ReadFile(httpPage)
	require.NoError(t, err)
	lines := strings.Split(string(page), "\n")
	var out []string
	examples := 0
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		command, ok := strings.CutPrefix(lines[i], "$ curl ")
		if !ok {
			continue
		}
		examples++
		want := ""
		for i+1 < len(lines) && lines[i+1] != "" && lines[i+1] != "```" {
			i++
			want += lines[i] + "\n"
		}
		got := s.curl(t, command)
		out = append(out, strings.TrimSuffix(got, "\n"))
		if !*rewritePage {
			require.Equal(t, want, got, command)
		}
	}
	require.Equal(t, 10, examples)
	if *rewritePage {
		require.NoError(t, os.WriteFile(httpPage, []byte(strings.Join(out, "\n")), 0o644))
	}
}

// curl does what curl would do with arguments in single quotes, and returns the body.
func (s *web) curl(t *testing.T, command string) string {
	method, body, url := http.MethodGet, "", ""
	header := http.Header{}
	option := ""
	for rest := command; rest != ""; rest = strings.TrimLeft(rest, " ") {
		word := ""
		if quoted, ok := strings.CutPrefix(rest, "'"); ok {
			word, rest, ok = strings.Cut(quoted, "'")
			require.True(t, ok, command)
		} else {
			word, rest, _ = strings.Cut(rest, " ")
		}
		switch {
		case option == "-H":
			name, value, ok := strings.Cut(word, ": ")
			require.True(t, ok, command)
			header.Set(name, value)
		case option == "-d":
			method, body = http.MethodPost, word
		case word == "-H" || word == "-d":
			option = word
			continue
		case word != "-s":
			url = word
		}
		option = ""
	}
	path, ok := strings.CutPrefix(url, pageHost)
	require.True(t, ok, command)
	r, err := http.NewRequestWithContext(testContext(t), method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header = header
	resp, err := s.client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}
