package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
)

// seeds is how many seeds a crash or damage test runs: the number in the environment variable, or std.
func seeds(name string, std int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return std
}

// fewer is n, or a quarter of it in a short run: of seeds that the Makefile does not count, whose every one the race detector
// makes ten times as long.
func fewer(n int) int {
	if testing.Short() {
		return (n + 3) / 4
	}
	return n
}

// powerCut is a store on a file system that forgets what was not synced, and what was sent to it.
type powerCut struct {
	*history
	fs      *vfs.MemFS
	sent    []sentBatch
	acked   int // batches of sent known to be durable
	crashes int
}

type sentBatch struct {
	writes  []plain.Write
	op      *testOp
	pending *Pending
}

// TestPowerCut runs random histories of every kind of operation the store issues, cuts the power at a random moment,
// loses a random part of what was not synced, and opens what is left: it holds the batches of a prefix of what was sent,
// no shorter than what was acknowledged, and answers like the plain model of exactly that prefix.
func TestPowerCut(t *testing.T) {
	eachSeed(t, seeds("VARVE_CRASH_SEEDS", 1000), func(t *testing.T, seed uint64) { runPowerCuts(t, seed, vfs.NewCrashableMem(), nil) })
}

// eachSeed runs seeds below n, four side by side, until one fails.
func eachSeed(t *testing.T, n int, run func(*testing.T, uint64)) {
	for shard := range 4 {
		t.Run(fmt.Sprintf("shard=%d", shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < n; seed += 4 {
				if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { run(t, uint64(seed)) }) {
					return
				}
			}
		})
	}
}

// runPowerCuts is one seed. wrap puts a file system around the crashable one; nil for none.
func runPowerCuts(t testing.TB, seed uint64, mem *vfs.MemFS, wrap func(vfs.FS) vfs.FS) {
	if wrap == nil {
		wrap = func(fs vfs.FS) vfs.FS { return fs }
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	c := &powerCut{history: &history{t: t, rng: rng, model: plain.Store{}, noteRNG: rand.New(rand.NewPCG(seed, 3)), gapRNG: rand.New(rand.NewPCG(seed, 4)), runRNG: rand.New(rand.NewPCG(seed, 6)), tags: len(testTypes), clock: newClock()}, fs: mem}
	db, err := Open("store", c.options(wrap(c.fs)))
	require.NoError(t, err)
	c.db = db
	c.createTags()
	for range 1 + rng.IntN(3) {
		c.live()
		clone := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		require.NoError(t, c.db.Close())
		c.fs = clone
		c.recover(wrap(clone))
	}
	require.NoError(t, c.db.Close())
}

func (c *powerCut) options(fs vfs.FS) Options {
	o := clocked(testOptions(fs), c.clock)
	o.TierDir, o.TierAfter = c.tierDir, -1
	o.GenerationSamples = 20 + c.rng.IntN(400)
	o.SegmentBytes = 4 << 10
	return o
}

// live sends batches without waiting for all of them, flushes, checkpoints and closes now and then.
func (c *powerCut) live() {
	for range 3 + c.rng.IntN(25) {
		c.send()
		if c.drawsNote(3) {
			c.sendBeside(c.randomNote())
		}
		if c.gapRNG != nil && c.gapRNG.IntN(3) == 0 {
			c.sendBeside(c.randomGap())
		}
		if c.drawsRun(3) {
			c.sendBeside(c.randomRun())
		}
		switch c.rng.IntN(20) {
		case 0:
			_, err := c.db.Flush(context.Background())
			require.NoError(c.t, err)
		case 1:
			c.crashes++
			_, err := c.db.Checkpoint(context.Background(), fmt.Sprintf("copy%d", c.crashes))
			require.NoError(c.t, err)
		case 2, 3:
			seal(c.t, c.db)
		}
	}
	c.countAcked()
}

// send sends a batch or, now and then, a range delete, behind which a generation ends.
func (c *powerCut) send() {
	if c.rng.IntN(10) == 0 {
		c.sendOp()
		return
	}
	c.sendWrites()
}

func (c *powerCut) sendOp() {
	c.tick()
	op := c.randomOp()
	p, err := c.submitOp(op)
	require.NoError(c.t, err)
	c.sent = append(c.sent, sentBatch{op: op, pending: &Pending{p}})
}

// sendBeside sends an annotation, a gap or a forecast run.
func (c *powerCut) sendBeside(op *testOp) {
	p, err := c.submitOp(op)
	require.NoError(c.t, err)
	c.sent = append(c.sent, sentBatch{op: op, pending: &Pending{p}})
}

func (c *powerCut) sendWrites() {
	c.tick()
	writes := []plain.Write{c.randomWrite()}
	for c.rng.IntN(2) == 0 {
		w := c.randomWrite()
		w.Author, w.Reason = writes[0].Author, writes[0].Reason
		writes = append(writes, w)
	}
	p, err := c.db.Submit(context.Background(), c.batch(writes))
	require.NoError(c.t, err)
	c.stamp(writes)
	if c.rng.IntN(3) == 0 {
		require.NoError(c.t, p.Accepted(context.Background()))
		c.acked = len(c.sent) + 1
	}
	c.sent = append(c.sent, sentBatch{writes: writes, pending: p})
}

// countAcked moves acked to the last batch that is durable now.
func (c *powerCut) countAcked() int {
	high := c.db.log.HighWatermark()
	for c.acked < len(c.sent) && c.sent[c.acked].pending.Offset() <= high {
		c.acked++
	}
	return c.acked
}

// modelOf is the plain model after some batches.
func modelOf(sent []sentBatch) plain.Store {
	m := plain.Store{}
	for i := range sent {
		if sent[i].op != nil {
			sent[i].op.apply(m)
		}
		for n := range sent[i].writes {
			m.Apply(&sent[i].writes[n])
		}
	}
	return m
}

// notesOf is the annotations after some batches.
func notesOf(sent []sentBatch) plain.Notes {
	m := plain.Notes{}
	for i := range sent {
		if sent[i].op != nil {
			sent[i].op.applyNote(m)
		}
	}
	return m
}

// gapsOf is the gaps after some batches.
func gapsOf(sent []sentBatch) plain.Gaps {
	m := plain.Gaps{}
	for i := range sent {
		if sent[i].op != nil {
			sent[i].op.applyGap(m)
		}
	}
	return m
}

// runsOf is the forecast runs after some batches.
func runsOf(sent []sentBatch) (m plain.Runs) {
	for i := range sent {
		if sent[i].op != nil {
			sent[i].op.applyRun(&m)
		}
	}
	return m
}

// recover opens what the power cut left and holds it against the model of the prefix it says it has.
func (c *powerCut) recover(fs vfs.FS) {
	acked := c.acked
	db, err := Open("store", c.options(fs))
	require.NoError(c.t, err)
	c.db = db
	requireNoAlarms(c.t, db)
	require.Empty(c.t, db.Status().Lost)
	applied := db.applied.value()
	k := 0
	for k < len(c.sent) && c.sent[k].pending.Offset() <= applied {
		k++
	}
	require.GreaterOrEqual(c.t, k, acked, "acknowledged batches came back")
	c.model = modelOf(c.sent[:k])
	requireSame(c.t, db, c.model, c.rng)
	requireSameNotes(c.t, db, notesOf(c.sent[:k]))
	requireSameGaps(c.t, db, gapsOf(c.sent[:k]))
	requireSameRuns(c.t, db, runsOf(c.sent[:k]))
	c.undone = nil
	for _, b := range c.sent[:k] {
		if b.op != nil && b.op.undo != 0 {
			c.undone = append(c.undone, b.op.undo)
		}
	}
	// The lost tail is sent again by whoever sent it, under the same identities; here it is simply forgotten.
	c.sent = c.sent[:k]
	c.acked = k
	c.seq = uint64(k)
}
