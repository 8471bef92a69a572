package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConformanceToPublicVectors runs the command on the bundled vectors. What differs from them stands with its reason in
// query/part13/testdata/differences.txt.
func TestConformanceToPublicVectors(t *testing.T) {
	var out, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"conformance", "--output", "json", "--failures", "../../query/testdata/conformance/opcua_aggregates.json"}, &out, &stderr), stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.JSONEq(t, `{"file":"opcua_aggregates.json","cases":193,"rows":1260,"value":{"pass":1049,"of":1065},"severity":{"pass":1041,"of":1042},
		"code":{"pass":975,"of":979},"bits":{"pass":1014,"of":1039},"contested":{"pass":191,"of":195}}`, lines[len(lines)-1])
	failures := 0
	for _, line := range lines {
		var d struct{ Case, Row, In, Want, Got string }
		require.NoError(t, json.Unmarshal([]byte(line), &d))
		if d.In != "" {
			failures++
			require.NotEmpty(t, d.Case+d.Row)
		}
	}
	require.NotZero(t, failures)
}

func TestConformanceRefusesOtherFiles(t *testing.T) {
	var out, stderr bytes.Buffer
	require.Equal(t, exitFailure, run(t.Context(), []string{"conformance", "../../go.mod"}, &out, &stderr))
	require.Contains(t, stderr.String(), "not a file of test vectors")
	require.Equal(t, exitUsage, run(t.Context(), []string{"conformance"}, &out, &stderr))
}
