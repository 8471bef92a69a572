package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watch runs varve watch and returns what it prints and the token it ends with.
func watch(t *testing.T, args ...string) (printed, token string) {
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.Zero(t, run(ctx, append([]string{"watch"}, args...), &stdout, &stderr), stderr.String())
	require.NoError(t, ctx.Err(), "it did not end: %s", stdout.String())
	_, token, _ = strings.Cut(strings.TrimSpace(stderr.String()), "--from ")
	return stdout.String(), token
}

// TestSubscriptionExamples runs the commands of the page about subscriptions.
func TestSubscriptionExamples(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "y.csv", "time,FI-202\n2026-03-01T05:00:00Z,10\n2026-03-01T05:02:00Z,20\n"))
	runExamples(t, address, "subscriptions.md")
}

// TestWatchGoesOn prints changes in every output, and goes on with the token over a restart of the server.
func TestWatchGoesOn(t *testing.T) {
	dir := t.TempDir()
	address, stop := serveInProcess(t, dir)
	server := []string{"--server", address}
	with := func(args ...string) []string { return append(args, server...) }
	varve(t, with("import", writeFile(t, "x.csv", "time,f,s,b\n2024-01-01T00:00:00Z,1,on,true\n2024-01-01T00:00:01Z,2,\"a,b\",false\n"))...)
	varve(t, with("delete", "--start", "2024-01-01", "--end", "2024-01-01T00:00:01Z", "--author", "ann", "--reason", "test rig", "f", "s")...)

	printed, _ := watch(t, with("--from", "oldest", "--count", "8", "-o", "csv", "*")...)
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	require.Len(t, lines, 9, printed)
	require.Equal(t, "time,tag,value,quality,seq,kind,ingest_time,author,reason,offset,end", lines[0])
	require.Contains(t, printed, "\n2024-01-01T00:00:01Z,s,\"a,b\",Good,0,new,20")
	require.Contains(t, printed, "\n2024-01-01T00:00:00Z,b,true,Good,0,new,20")
	require.Regexp(t, `^2024-01-01T00:00:00Z,s,,,,deleted,20.*,ann,test rig,\d+,2024-01-01T00:00:01Z$`, lines[8])

	printed, token := watch(t, with("--from", "oldest", "--count", "6", "-o", "json", "*")...)
	var last struct{ Token string }
	lines = strings.Split(strings.TrimSpace(printed), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	require.Equal(t, token, last.Token)
	stop()
	address, _ = serveInProcess(t, dir)
	server[1] = address
	printed, _ = watch(t, with("--from", token, "--count", "2", "*")...)
	require.Regexp(t, `^TIME +TAG +VALUE +QUALITY +KIND +AUTHOR +REASON\n2024-01-01T00:00:00Z +f +to 2024-01-01T00:00:01Z +deleted +ann +test rig\n.* s .*\n$`, printed)
	printed, _ = watch(t, with("--since", "-1h", "--count", "2", "-o", "json", "f")...)
	require.Contains(t, printed, `"tag":"f","value":1,"quality":"Good","seq":0,"kind":"new"`)

	varve(t, with("tags", "create", "p", "--type", "float64", "--unit", "mbar")...)
	varve(t, with("import", writeFile(t, "p.csv", "time,p\n2024-01-01T00:00:00Z,1500\n"))...)
	printed, _ = watch(t, with("--from", "oldest", "--count", "1", "--unit", "bar", "-o", "csv", "p")...)
	require.Contains(t, printed, "\n2024-01-01T00:00:00Z,p,1.5,Good,0,new,")

	code, says := fails(t, with("watch", "--from", "nonsense", "f")...)
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "not a token of a subscription")
	_, says = fails(t, with("watch", "nobody")...)
	require.Contains(t, says, `tag "nobody"`)
	code, says = fails(t, with("watch", "--since", "-1h", "--from", "oldest", "f")...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, says, "give one of them")

	// A signal ends it well, with the token of what was printed.
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, with("watch", "--from", "oldest", "-o", "csv", "f"), write, &stderr) }()
	_, err := io.ReadFull(read, make([]byte, 80))
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, read) }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	require.Zero(t, <-ended, stderr.String())
	require.Contains(t, stderr.String(), "varve: go on with --from ")
	_ = write.Close()
}
