package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestUnit(t *testing.T) {
	s := &service{name: "varve-line1", program: "/usr/local/bin/varve", args: []string{"collect", "--config", "/etc/varve/line 1.yaml"}, dir: "/etc/varve", user: "varve"}
	require.Equal(t, `[Unit]
Description=Varve: collect
Wants=network-online.target
After=network-online.target

[Service]
ExecStart="/usr/local/bin/varve" "collect" "--config" "/etc/varve/line 1.yaml"
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory=/etc/varve
User=varve
Restart=always
RestartSec=2
RestartPreventExitStatus=2
TimeoutStopSec=120
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`, unit(s))
	s.args = []string{"serve", "--data", "/d"}
	require.NotContains(t, unit(s), "ExecReload", "SIGHUP ends a server that collects nothing")
	s.args = append(s.args, "--collect=c.yaml")
	require.Contains(t, unit(s), "ExecReload")
}

// unquoteUnit reads one quoted word as systemd does: escapes, then specifiers, then variables (systemd.service(5), "Command lines").
func unquoteUnit(t *rapid.T, w string) string {
	require.True(t, len(w) >= 2 && w[0] == '"' && w[len(w)-1] == '"')
	var b strings.Builder
	for in := w[1 : len(w)-1]; in != ""; {
		c := in[0]
		switch c {
		case '"':
			t.Fatalf("%q ends early", w)
		case '\\', '%', '$':
			require.Greater(t, len(in), 1)
			require.True(t, in[1] == c || c == '\\' && in[1] == '"', "%q: %q", w, in)
			c, in = in[1], in[1:]
		}
		b.WriteByte(c)
		in = in[1:]
	}
	return b.String()
}

func TestQuotedWordsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.StringOf(rapid.SampledFrom([]rune(`ab "'\%$;{} /-=é`))).Draw(t, "word")
		require.Equal(t, w, unquoteUnit(t, quoteUnit(w)))
	})
}

func TestSystemd(t *testing.T) {
	var told []string
	var fail error
	answer := ""
	d := &systemd{units: t.TempDir(), ctl: func(args ...string) (string, error) {
		told = append(told, strings.Join(args, " "))
		return answer, fail
	}}
	s := &service{name: "varve-serve", program: "/bin/varve", args: []string{"serve", "--data", "/d"}, dir: "/"}
	require.NoError(t, d.install(s))
	text, err := os.ReadFile(d.path("varve-serve"))
	require.NoError(t, err)
	require.Equal(t, unit(s), string(text))
	require.ErrorContains(t, d.install(s), "there already")
	require.NoError(t, d.uninstall("varve-serve"))
	require.NoFileExists(t, d.path("varve-serve"))
	require.Equal(t, []string{"daemon-reload", "enable --now varve-serve", "disable --now varve-serve", "daemon-reload"}, told)
	require.ErrorContains(t, d.uninstall("varve-serve"), "there is no")

	require.NoError(t, os.WriteFile(d.path("sshd"), []byte("[Unit]\nDescription=OpenSSH\n"), 0o600))
	require.ErrorContains(t, d.uninstall("sshd"), "not of varve")
	fail = errors.New("no bus")
	require.ErrorIs(t, d.install(s), fail)
	require.NoFileExists(t, filepath.Join(d.units, "varve-serve.service"), "what systemd was not told of is not left")

	fail = nil
	for said, want := range map[string]string{
		"LoadState=loaded\nActiveState=active": "running", "LoadState=loaded\nActiveState=inactive": "stopped", "LoadState=not-found\nActiveState=inactive": "absent",
		"LoadState=loaded\nActiveState=failed": "failed", "LoadState=loaded\nActiveState=activating": "starting",
	} {
		answer = said
		got, err := d.state("x")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	answer = "ActiveState=odd"
	_, err = d.state("x")
	require.Error(t, err)
}
