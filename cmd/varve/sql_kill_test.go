package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// nextAnswer is how long the statement behind a kill may take, on any machine, with others at work on it.
const nextAnswer = 10 * time.Second

// TestSQLIsKilledAtRandom kills the SQL process with SIGKILL again and again while samples are written and statements asked at every door.
// The next statement of each door is answered, no answer is wrong, ingest does not notice, and nothing that was acknowledged is lost.
// VARVE_KILLS is the number of kills.
func TestSQLIsKilledAtRandom(t *testing.T) {
	kills, err := strconv.Atoi(os.Getenv("VARVE_KILLS"))
	if err != nil || kills < 1 {
		kills = 20
	}
	if testing.Short() {
		kills = min(kills, 8)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d kills, moments drawn with seed %d", kills, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--sql-memory", "64MiB")

	// One writer: batch n has one sample, of value n at second n.
	conn, err := grpc.NewClient(at.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	var sent, acked atomic.Int64
	stop := make(chan struct{})
	var writer, group sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		writer.Wait()
		group.Wait()
	})
	defer end()
	write := func() error {
		n := sent.Add(1)
		answer, err := varvev1.NewIngestServiceClient(conn).Write(context.Background(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{
			{Tag: "K", FirstTimeNs: n * 1e9, Count: 1, Float64: []float64{float64(n)}},
		}}})
		if err != nil || answer.Result.Rejected > 0 {
			return fmt.Errorf("batch %d: %v, %w", n, answer, err)
		}
		acked.Store(n)
		return nil
	}
	require.NoError(t, write())
	var failed error
	writer.Go(func() {
		for failed == nil {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				failed = write()
			}
		}
	})

	// Statements at every door, all the time. They may end with the process; what is answered is right.
	type answered struct {
		door string
		took time.Duration
	}
	generation, done := atomic.Int64{}, make(chan answered, 1000)
	doors := sqlDoors(t, at)
	wrong := make(chan string, 1000)
	for _, door := range doors {
		group.Go(func() {
			for seen := int64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				now, begun := generation.Load(), time.Now()
				for {
					before := acked.Load()
					// The text of the answer has it in a form that is the same at every door that shows one.
					got, err := door.ask(context.Background(), fmt.Sprintf("select 'count=' || case when n >= %d then 'right' else 'short: ' || n end as n from (select count(*) as n from samples where tag = 'K')", before))
					if err == nil {
						if door.name != "gRPC describe" && !strings.Contains(got, "count=right") {
							wrong <- door.name + ": " + got
							return
						}
						break
					}
					if time.Since(begun) > nextAnswer {
						wrong <- fmt.Sprintf("%s: nothing for %s: %v", door.name, nextAnswer, err)
						return
					}
				}
				if now > seen {
					seen = now
					done <- answered{door.name, time.Since(begun)}
				}
			}
		})
	}

	slowest := answered{}
	for range kills {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		for _, pid := range runningChildren(t, os.Getpid(), "varve-sql") {
			p, err := os.FindProcess(pid)
			require.NoError(t, err)
			_ = p.Kill() // it may have ended
		}
		generation.Add(1)
		for range doors {
			select {
			case a := <-done:
				if a.took > slowest.took {
					slowest = a
				}
			case says := <-wrong:
				require.Fail(t, "a statement", "seed %d: %s", seed, says)
			case <-time.After(4 * nextAnswer):
				require.Fail(t, "a door answers no more", "seed %d", seed)
			}
		}
	}
	end()
	require.NoError(t, failed, "seed %d", seed)
	require.Empty(t, wrong)
	t.Logf("slowest answer behind a kill: %s at %s; %d batches", slowest.took, slowest.door, acked.Load())
	require.Less(t, slowest.took, nextAnswer)
	require.Equal(t, sent.Load(), acked.Load(), "ingest went on")
	out := varve(t, "sql", "--server", at.grpc, "-o", "csv", "select count(*), sum(value), max(value) from samples where tag = 'K'")
	n := acked.Load()
	require.Equal(t, fmt.Sprintf("%d,%d,%d", n, n*(n+1)/2, n), strings.Split(out, "\n")[1])
}
