package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/stretchr/testify/require"
)

// TestStatementsOverHTTP asks in parameters and in a body, and reads every format.
func TestStatementsOverHTTP(t *testing.T) {
	address, web, _ := serveOverHTTP(t, t.TempDir(), "--http-listen", "127.0.0.1:0", "--sql-binary", sqlBinary(t))
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,a,b\n2024-01-01T00:00:00Z,1,x\n2024-01-01T00:01:00Z,3,\"y, z\"\n"))
	get := func(code int, parameters url.Values) string {
		t.Helper()
		r, err := http.Get("http://" + web + "/api/v1/sql?" + parameters.Encode())
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, code, r.StatusCode, "%s", b)
		return string(b)
	}
	post := func(code int, body string) string {
		t.Helper()
		r, err := http.Post("http://"+web+"/api/v1/sql?format=ndjson", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, code, r.StatusCode, "%s", b)
		return string(b)
	}

	statement := "select time, tag, value, value_text, quality from samples order by tag, time"
	require.Equal(t, varve(t, "sql", "--server", address, "-o", "csv", statement), get(200, url.Values{"sql": {statement}, "format": {"csv"}}))
	require.Equal(t, varve(t, "sql", "--server", address, "-o", "json", statement), get(200, url.Values{"sql": {statement}, "format": {"ndjson"}}))
	require.Equal(t, `{"columns":[{"name":"n","type":"int64"},{"name":"value_int","type":"int64"},{"name":"time","type":"time"}],"incomplete":null,"rows":[
{"n":9007199254740993,"value_int":null,"time":"2024-01-01T00:00:00Z"}
]}
`, get(200, url.Values{"sql": {"select 9007199254740993 as n, value_int, time from samples where tag = $1 and time < $2"}, "parameter": {"a", "2024-01-01 00:01:00+00"}}))
	stream, err := ipc.NewReader(strings.NewReader(get(200, url.Values{"sql": {statement}, "format": {"arrow"}})))
	require.NoError(t, err)
	defer stream.Release()
	require.True(t, stream.Next())
	require.EqualValues(t, 4, stream.Record().NumRows())
	parquet, err := file.NewParquetReader(bytes.NewReader([]byte(get(200, url.Values{"sql": {statement}, "format": {"parquet"}}))))
	require.NoError(t, err)
	require.EqualValues(t, 4, parquet.NumRows())
	require.NoError(t, parquet.Close())

	require.Equal(t, "{\"m\":3,\"i\":7}\n", post(200, `{"sql": "select max(value) as m, ? as i from samples where tag = ?", "parameters": [{"integer": "7"}, {"text": "a"}]}`))
	for says, parameters := range map[string]url.Values{
		"is there 0 times":     {},
		"is there 2 times":     {"sql": {"select 1", "select 2"}},
		`parameter \"tags\"`:   {"sql": {"select 1"}, "tags": {"a"}},
		"format prometheus":    {"sql": {"select 1"}, "format": {"prometheus"}},
		"valeu":                {"sql": {"select valeu from samples"}},
		"INVALID_ARGUMENT":     {"sql": {"drop table samples"}},
		"\"INVALID_ARGUMENT\"": {"sql": {"select 1; select 2"}},
		"conversion error":     {"sql": {"select value from samples where time > $1"}, "parameter": {"soon"}},
	} {
		require.Contains(t, strings.ToLower(get(400, parameters)), strings.ToLower(says), parameters)
	}
	require.Contains(t, post(400, `{"sql": 1}`), "SqlRequest")
	require.Contains(t, post(413, `{"sql": "`+strings.Repeat(" ", 5<<20)+`"}`), "4194304 bytes")
}
