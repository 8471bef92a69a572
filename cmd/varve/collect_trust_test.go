package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector/opcua"
)

const boilerPLC = "332b5a25dbdce1e04d2037fa90903215c125ee3bcada4ad2a924fccffef1b935"

// metServers makes a configuration whose source boiler has met servers: the files of certificates in testdata/opcua.
func metServers(t *testing.T, names ...string) (config, pki string) {
	dir := t.TempDir()
	config = filepath.Join(dir, "plant.yaml")
	require.NoError(t, os.WriteFile(config, []byte("destinations: [{address: '127.0.0.1:1'}]\nqueue: {dir: "+dir+"/spool}\nsources:\n"+
		"  - name: boiler\n    type: opcua\n    settings: {urls: ['opc.tcp://10.0.4.20:4840']}\n    tags: [{address: 'i=2258', tag: T}]\n"+
		"  - {name: sim, type: simulator}\n"), 0o644))
	pki = filepath.Join(dir, "spool", "sources", "boiler", "pki")
	require.NoError(t, os.MkdirAll(filepath.Join(pki, "rejected"), 0o755))
	for _, name := range names {
		der := must(os.ReadFile(filepath.Join("testdata", "opcua", name+".der")))
		require.NoError(t, os.WriteFile(filepath.Join(pki, "rejected", opcua.Fingerprint(der)+".der"), der, 0o644))
	}
	return config, pki
}

// TestTrustReference runs what the page shows.
func TestTrustReference(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/reference/opcua.md")))
	config, _ := metServers(t, "boiler-plc", "old-plc")
	shown := 0
	for _, x := range strings.Split(page, "\n$ varve collect trust ")[1:] {
		command, rest, _ := strings.Cut(x, "\n")
		want, _, _ := strings.Cut(rest, "```")
		want, _, _ = strings.Cut(want, "\n$ ")
		args := strings.Fields(strings.ReplaceAll("collect trust "+command, "plant.yaml", config))
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(varve(t, args...)), command)
		shown++
	}
	require.Equal(t, 3, shown)
}

func TestTrust(t *testing.T) {
	config, pki := metServers(t, "boiler-plc", "old-plc")
	list := func() map[string]string {
		states := map[string]string{}
		for line := range strings.Lines(varve(t, "collect", "trust", "list", "--config", config, "boiler", "-o", "json")) {
			var c struct {
				State, Name, SHA1, SHA256, File string
				Applications                    []string
			}
			require.NoError(t, json.Unmarshal([]byte(line), &c))
			require.FileExists(t, c.File)
			require.Len(t, c.SHA1, 40)
			require.Equal(t, []string{"urn:" + strings.ReplaceAll(c.Name, " ", ":")}, c.Applications)
			states[c.Name] = c.State
		}
		return states
	}
	require.Equal(t, map[string]string{"boiler plc": "rejected", "old plc": "rejected, expired"}, list())

	varve(t, "collect", "trust", "accept", "--config", config, "boiler", strings.ToUpper(boilerPLC[:2])+":"+boilerPLC[2:])
	require.Equal(t, map[string]string{"boiler plc": "trusted", "old plc": "rejected, expired"}, list())
	require.FileExists(t, filepath.Join(pki, "trusted", boilerPLC+".der"))
	require.NoFileExists(t, filepath.Join(pki, "rejected", boilerPLC+".der"))

	require.NoError(t, os.Rename(filepath.Join(pki, "trusted", boilerPLC+".der"), filepath.Join(pki, "trusted", "boiler.cer"))) // by whatever name it was put there
	varve(t, "collect", "trust", "reject", "--config", config, "boiler", boilerPLC)
	require.Equal(t, map[string]string{"boiler plc": "rejected", "old plc": "rejected, expired"}, list())
	require.NoFileExists(t, filepath.Join(pki, "trusted", "boiler.cer"))

	code, says := fails(t, "collect", "trust", "accept", "--config", config, "boiler", opcua.Fingerprint(must(os.ReadFile("testdata/opcua/old-plc.der"))))
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, `the certificate of "old plc" expired at 2021-03-01T00:00:00Z`)
	require.Contains(t, says, "have it renewed")
	require.Equal(t, "rejected, expired", list()["old plc"])

	code, says = fails(t, "collect", "trust", "reject", "--config", config, "boiler", boilerPLC)
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "there is no such certificate")
	for want, args := range map[string][]string{
		"64 hexadecimal digits":      {"accept", "--config", config, "boiler", "../../../etc/passwd"},
		"is of type simulator":       {"list", "--config", config, "sim"},
		`has no source "plc"`:        {"list", "--config", config, "plc"},
		"output":                     {"list", "--config", config, "boiler", "-o", "xml"},
		"requires at least 2 arg(s)": {"accept", "--config", config, "boiler"},
	} {
		code, says = fails(t, append([]string{"collect", "trust"}, args...)...)
		require.Equal(t, exitUsage, code)
		require.Contains(t, says, want)
	}
}
