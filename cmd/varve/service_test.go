package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A command line that its command would refuse makes no service.
func TestServicesAreCommandLinesThatMakeSense(t *testing.T) {
	for want, args := range map[string][]string{
		"must be serve or collect": {"query", "FI-101"},
		"--data is required":       {"serve"},
		"--config is required":     {"collect", "--log-format", "json"},
		"unknown flag":             {"serve", "--data", "/d", "--sample-rate", "5"},
		"invalid argument":         {"serve", "--data", "/d", "--memory", "much"},
		"flags alone":              {"serve", "--data", "/d", "more"},
		"flags alone, not":         {"collect", "browse", "--config", "c.yaml"},
		"ends by itself":           {"collect", "--config", "c.yaml", "--check"},
		"--help":                   {"serve", "--help"},
		"line break":               {"serve", "--data", "/d\nUser=root"},
	} {
		_, err := (&serviceFlags{}).service(args)
		require.ErrorContains(t, err, want)
	}
	for _, f := range []serviceFlags{{name: "a b"}, {name: "../x"}, {user: "a\nb"}} {
		_, err := f.service([]string{"serve", "--data", "/d"})
		require.Error(t, err)
	}
	s, err := (&serviceFlags{}).service([]string{"collect", "--config=c.yaml"})
	require.NoError(t, err)
	require.Equal(t, "varve-collect", s.name)
}
