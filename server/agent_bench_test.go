package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/cputime"
	"github.com/varvedb/varve/storage"
)

// agentLines is a body of lines with one field, of so many series one after the other. time steps with each round.
func agentLines(b *bytes.Buffer, lines, series, first int) {
	b.Reset()
	at := testNow.UnixNano() - 1e15
	for i := first; i < first+lines; i++ {
		fmt.Fprintf(b, "process,area=a%d,unit=unit-%05d value=%d.%03d %d\n", i%series%7, i%series, 20+i%70, (i*7919)%1000, at+int64(i/series)*1_000_000_000)
	}
}

// BenchmarkAgentLines writes lines over HTTP to a store on disk, and waits for the answer of each body: samples are fsynced and applied then.
// Lines are sent again behind the first four million: -benchtime 4000000x has none of those.
func BenchmarkAgentLines(b *testing.B) {
	for _, c := range []struct{ lines, series, clients int }{{10_000, 1_000, 16}, {10_000, 10_000, 16}, {5_000, 100_000, 16}, {1_000, 1_000, 16}} {
		b.Run(fmt.Sprintf("lines=%d/series=%d/clients=%d", c.lines, c.series, c.clients), func(b *testing.B) {
			db, err := storage.Open(b.TempDir(), storage.Options{MinFreeBytes: -1, BallastBytes: -1, MemoryBytes: 512 << 20})
			require.NoError(b, err)
			defer db.Close()
			s, err := New(db, Options{Now: func() time.Time { return testNow }})
			require.NoError(b, err)
			web := &web{running: &running{Server: s, stop: s.grpc.Stop}}
			web.open(b)
			web.client.Transport.(*http.Transport).MaxIdleConnsPerHost = c.clients
			// Bodies are made first: to make one takes longer than to store it.
			rounds := max(b.N/c.lines, 1)
			bodies := make([][]byte, min(rounds, 40_000_000/c.lines/10))
			var buf bytes.Buffer
			for i := range bodies {
				agentLines(&buf, c.lines, c.series, i*c.lines)
				bodies[i] = bytes.Clone(buf.Bytes())
			}
			agentLines(&buf, c.series, c.series, 0) // and tags
			post(b, web, buf.Bytes())
			before := cputime.Used(b)
			b.ResetTimer()
			next := make(chan []byte, rounds)
			for i := range rounds {
				next <- bodies[i%len(bodies)]
			}
			close(next)
			var group sync.WaitGroup
			for range c.clients {
				group.Go(func() {
					for body := range next {
						post(b, web, body)
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(rounds*c.lines)/b.Elapsed().Seconds()/1e6, "Mlines/s")
			b.ReportMetric(float64(cputime.Used(b)-before)/float64(rounds*c.lines), "cpu-ns/line")
			b.StopTimer()
		})
	}
}

func post(b *testing.B, web *web, body []byte) {
	resp, err := web.client.Post(web.url+"/api/v2/write?precision=ns", "text/plain", bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		b.Error(strconv.Itoa(resp.StatusCode))
	}
}
