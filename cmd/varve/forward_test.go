package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// wire is a network between a client and a server whose address may change: it can be cut, and be away.
type wire struct {
	listener net.Listener
	mu       sync.Mutex
	target   string // empty: away
	open     map[net.Conn]bool
}

func newWire(t testing.TB) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); w.to("") })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

// to cuts every connection, and leads further ones to an address.
func (w *wire) to(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = address
	for c := range w.open {
		_ = c.Close()
	}
	clear(w.open)
}

func (w *wire) cut() {
	w.mu.Lock()
	target := w.target
	w.mu.Unlock()
	w.to(target)
}

func (w *wire) serve(in net.Conn) {
	w.mu.Lock()
	target := w.target
	w.mu.Unlock()
	if target == "" {
		_ = in.Close()
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil {
		_ = in.Close()
		return
	}
	w.mu.Lock()
	if w.target != target {
		w.mu.Unlock()
		_, _ = in.Close(), out.Close()
		return
	}
	w.open[in], w.open[out] = true, true
	w.mu.Unlock()
	go func() { _, _ = io.Copy(out, in); _, _ = out.Close(), in.Close() }()
	_, _ = io.Copy(in, out)
	_, _ = out.Close(), in.Close()
}

// served is a server in this process that is stopped and started, at one address.
type served struct {
	t     testing.TB
	dir   string
	flags []string
	wire  *wire
	stop  func()
	at    string // past the wire
	known *client
}

func newServed(t testing.TB, flags ...string) *served {
	s := &served{t: t, dir: t.TempDir(), flags: flags, wire: newWire(t)}
	s.start()
	return s
}

func (s *served) start() {
	s.at, s.stop = serveInProcess(s.t, s.dir, append([]string{"--drain-timeout", "1s"}, s.flags...)...)
	s.wire.to(s.at)
	s.known = nil
}

func (s *served) restart() {
	s.wire.to("")
	s.stop()
	s.start()
}

func (s *served) client() *client {
	if s.known == nil {
		c, err := dialTo(s.at, insecure.NewCredentials(), "")
		require.NoError(s.t, err)
		s.t.Cleanup(c.close)
		s.known = c
	}
	return s.known
}

// forwarding is varve forward in this process.
type forwarding struct {
	t      testing.TB
	config string
	says   lockedLines
	cancel func()
	code   chan int
}

func newForwarding(t testing.TB, config string) *forwarding {
	path := filepath.Join(t.TempDir(), "forward.yaml")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o644))
	f := &forwarding{t: t, config: path}
	t.Cleanup(f.stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.says.String())
		}
	})
	return f
}

func (f *forwarding) start() {
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	f.cancel, f.code = cancel, code
	go func() { code <- run(ctx, []string{"forward", "--config", f.config}, io.Discard, &f.says) }()
}

func (f *forwarding) stop() {
	if f.cancel != nil {
		f.cancel()
		require.Zero(f.t, <-f.code, f.says.String())
		f.cancel = nil
	}
}

func forwardConfig(t testing.TB, edge, site *served, more string) string {
	return fmt.Sprintf("source: edge1\ndir: %s\nfrom: {address: %s}\nto: {address: %s}\nlinger: 10ms\ngaps_every: 200ms\nhealth: {off: true}\n%s",
		t.TempDir(), edge.wire.address(), site.wire.address(), more)
}

// held is what a server holds of a tag: samples with seq as text, and its gaps. State sets are named as setName says.
func held(t testing.TB, c *client, tag string, setName func(string) string) (out []string, err error) {
	w, err := c.catalog.GetTag(t.Context(), &varvev1.GetTagRequest{Name: tag})
	if err != nil {
		return nil, err
	}
	for _, s := range w.Settings {
		if s.StateSet != "" {
			s.StateSet = setName(s.StateSet)
		}
		out = append(out, fmt.Sprintf("settings from %d: %s %s %v %s", s.FromNs, s.Type, s.Unit, s.Stepped, s.StateSet))
	}
	start, end := int64(-math.MaxInt64), int64(math.MaxInt64)
	stream, err := c.query.ReadRange(t.Context(), &varvev1.ReadRangeRequest{Tags: []string{tag}, StartNs: &start, EndNs: &end, WithSeq: true})
	if err != nil {
		return nil, err
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	rows := answer.NewRows(r, map[string]answer.Types{tag: answer.TypesOf(w)})
	for {
		row, err := rows.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("%d/%d %v %x %q %x", row.Time, row.Seq, row.Value.Null, row.Value.Bits, row.Value.Text, uint32(row.Quality)))
	}
	gaps, err := c.gaps.ListGaps(t.Context(), &varvev1.ListGapsRequest{Tags: []string{tag}})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, g := range gaps.Gaps {
		open := int64(math.MaxInt64)
		if g.EndNs != nil {
			open = *g.EndNs
		}
		lines = append(lines, fmt.Sprintf("gap %s [%d, %d) %s %s", g.Kind, g.StartNs, open, g.Source, g.Reason))
	}
	slices.Sort(lines)
	return append(out, lines...), nil
}

// requireForwarded waits until the site holds of every tag of the edge what the edge holds.
func requireForwarded(t testing.TB, edge, site *served, siteName func(string) string) {
	t.Helper()
	e, s := edge.client(), site.client()
	l, err := e.catalog.ListTags(t.Context(), &varvev1.ListTagsRequest{PageSize: 10_000})
	require.NoError(t, err)
	var want, got []string
	for _, tag := range l.Tags {
		want, err = held(t, e, tag.Name, siteName)
		require.NoError(t, err)
		if len(want) == len(tag.Settings) {
			continue // a tag of which nothing was stored need not be there
		}
		for until := time.Now().Add(60 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
			if got, err = held(t, s, siteName(tag.Name), func(set string) string { return set }); err == nil && slices.Equal(want, got) {
				break
			}
		}
		require.NoError(t, err, tag.Name)
		require.Equal(t, want, got, tag.Name)
	}
}

// forwardLoad writes, corrects and deletes at an edge, by seed, and keeps a plain model of what tags without several samples at one time hold.
type forwardLoad struct {
	t         testing.TB
	rng       *rand.Rand
	client    func() *client // of the edge
	outlasts  func()         // called before a call that failed is made again; nil: none may fail
	model     map[string]map[int64]float64
	tick      int64 // between new samples, in ns
	from, now int64 // the first tick, and the next
	live      bool  // nothing is written ahead of the clock
	gone      []uint64
	made      map[string]bool
	removed   map[[2]int64]bool // samples of MULTI, by time and seq
	kinds     []int             // of steps; nil: all
}

func newForwardLoad(t testing.TB, rng *rand.Rand, edge func() *client) *forwardLoad {
	return &forwardLoad{t: t, rng: rng, client: edge, model: map[string]map[int64]float64{}, tick: 1e9, from: 1_700_000_000, now: 1_700_000_000, made: map[string]bool{}, removed: map[[2]int64]bool{}}
}

// call makes a call that does no more when it is made twice, and returns how often it was.
func (l *forwardLoad) call(do func(c *client) error) (times int) {
	for {
		times++
		err := do(l.client())
		if status.Code(err) != codes.Unavailable || l.outlasts == nil {
			require.NoError(l.t, err)
			return times
		}
		l.outlasts()
	}
}

func (l *forwardLoad) write(runs ...*varvev1.Run) {
	l.call(func(c *client) error {
		w, err := c.ingest.Write(l.t.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: runs}})
		require.Zero(l.t, w.GetResult().GetRejected(), "%v", w.GetResult().GetRejections())
		return err
	})
}

// edit edits what stands at the edge. What is to be removed may be gone the second time.
func (l *forwardLoad) edit(run *varvev1.Run) {
	var r *varvev1.BatchResult
	times := l.call(func(c *client) error {
		w, err := c.ingest.Edit(l.t.Context(), &varvev1.EditRequest{Author: "mara", Reason: "lab value", Runs: []*varvev1.Run{run}})
		r = w.GetResult()
		return err
	})
	if times == 1 || run.Mode != varvev1.WriteMode_WRITE_MODE_REMOVE {
		require.Zero(l.t, r.Rejected, "%v", r.Rejections)
	}
}

func (l *forwardLoad) deleteRange(tag string, from, to int64, reason string) (offset uint64) {
	l.call(func(c *client) error {
		d, err := c.admin.DeleteRange(l.t.Context(), &varvev1.DeleteRangeRequest{Tags: []string{tag}, StartNs: from, EndNs: to, Author: "ann", Reason: reason})
		offset = d.GetOffset()
		return err
	})
	return offset
}

func (l *forwardLoad) plain() string { return "PLAIN." + strconv.Itoa(l.rng.IntN(3)) }

// at is a time of the load: mostly one that was used.
func (l *forwardLoad) at() int64 { return (l.from + l.rng.Int64N(l.now-l.from+1)) * l.tick }

// step does one thing.
func (l *forwardLoad) step() {
	c, ctx, tag := l.client(), l.t.Context(), l.plain()
	if l.model[tag] == nil {
		l.model[tag] = map[int64]float64{}
	}
	set := func(at int64, v float64) *varvev1.Run {
		l.model[tag][at] = v
		return &varvev1.Run{Tag: tag, TimesNs: []int64{at}, Float64: []float64{v}}
	}
	known := slices.Sorted(maps.Keys(l.model[tag]))
	kind := l.rng.IntN(14)
	if l.kinds != nil {
		kind = l.kinds[l.rng.IntN(len(l.kinds))]
	}
	switch kind {
	default: // new samples, of all tags
		n := 1 + l.rng.IntN(50)
		if l.live {
			if n = min(n, int(time.Now().UnixNano()/l.tick-l.now)); n < 1 {
				return
			}
		}
		for k := range 3 {
			tag = "PLAIN." + strconv.Itoa(k)
			if l.model[tag] == nil {
				l.model[tag] = map[int64]float64{}
			}
			run := &varvev1.Run{Tag: tag, FirstTimeNs: l.now * l.tick, StepNs: l.tick, Count: uint32(n)}
			for i := range n {
				v := l.rng.Float64()
				run.Float64 = append(run.Float64, v)
				l.model[tag][(l.now+int64(i))*l.tick] = v
			}
			l.write(run)
		}
		l.now += int64(n)
	case 1: // late, or over what stands
		l.write(set(l.at(), l.rng.Float64()), set(l.at()+l.tick/2, l.rng.Float64()))
	case 2:
		if len(known) > 0 {
			at := known[l.rng.IntN(len(known))]
			l.model[tag][at] = float64(l.rng.IntN(1000))
			l.edit(&varvev1.Run{Tag: tag, TimesNs: []int64{at}, Float64: []float64{l.model[tag][at]}})
		}
	case 3:
		if len(known) > 0 {
			at := known[l.rng.IntN(len(known))]
			delete(l.model[tag], at)
			l.edit(&varvev1.Run{Tag: tag, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE, TimesNs: []int64{at}})
		}
	case 4:
		if len(known) > 0 {
			from := l.at()
			to := from + l.rng.Int64N(20*l.tick) + 1
			l.deleteRange(tag, from, to, "test run")
			maps.DeleteFunc(l.model[tag], func(at int64, _ float64) bool { return at >= from && at < to })
		}
	case 5: // deleted and restored, with something written in between
		if len(known) > 0 {
			from := l.at()
			to := from + l.rng.Int64N(20*l.tick) + 1
			offset := l.deleteRange(tag, from, to, "oops")
			if l.rng.IntN(2) == 0 {
				l.write(set(from, l.rng.Float64()))
			}
			_, err := c.admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: offset, Author: "ann", Reason: "undone"})
			require.NoError(l.t, err)
		}
	case 6: // several at one time
		at := l.at()
		n := 1 + l.rng.IntN(3)
		run := &varvev1.Run{Tag: "MULTI", Mode: varvev1.WriteMode_WRITE_MODE_APPEND}
		for range n {
			run.TimesNs, run.Int64 = append(run.TimesNs, at), append(run.Int64, l.rng.Int64()-l.rng.Int64())
		}
		l.write(run)
		if seq := uint32(l.rng.IntN(n)); l.rng.IntN(3) == 0 && !l.removed[[2]int64{at, int64(seq)}] { // a seq is never given again
			l.removed[[2]int64{at, int64(seq)}] = true
			l.edit(&varvev1.Run{Tag: "MULTI", Mode: varvev1.WriteMode_WRITE_MODE_REMOVE, TimesNs: []int64{at}, Seq: []uint32{seq}})
		}
	case 7: // other types, nulls and qualities
		at := l.at()
		l.write(
			&varvev1.Run{Tag: "U64", TimesNs: []int64{at, at + 1}, Uint64: []uint64{l.rng.Uint64(), uint64(l.rng.IntN(9))}},
			&varvev1.Run{Tag: "F32", TimesNs: []int64{at, at + 1}, Float32: []float32{math.Float32frombits(0x7fa00001), l.rng.Float32()}},
			&varvev1.Run{Tag: "F64", TimesNs: []int64{at, at + 1}, Float64: []float64{math.Float64frombits(0x7ff4000000000123), math.Copysign(0, -1)}, QualityCount: []uint32{1, 1}, QualityCode: []uint32{0x80000000, 0}},
			&varvev1.Run{Tag: "BOOL", TimesNs: []int64{at, at + 1}, Bool: []bool{true, false}, NullAt: []uint32{1}, QualityCount: []uint32{1, 1}, QualityCode: []uint32{0, 0x80050000}},
			&varvev1.Run{Tag: "TEXT", TimesNs: []int64{at, at + 1}, Text: []string{"läuft", ""}},
			&varvev1.Run{Tag: "BYTES", TimesNs: []int64{at}, Blob: [][]byte{{0, 255, byte(l.rng.IntN(256))}}},
		)
	case 8: // gaps
		from := l.at()
		to := from + 1 + l.rng.Int64N(30e9)
		r := &varvev1.RecordGapsRequest{Tags: []string{tag}, Kind: varvev1.GapKind_GAP_KIND_DEVICE_DOWN, StartNs: from, Source: "plc", Author: "mara", Reason: "cable"}
		if l.rng.IntN(2) == 0 {
			r.EndNs = &to
		}
		g, err := c.gaps.RecordGaps(ctx, r)
		if err != nil { // the tag is not there yet
			return
		}
		if l.rng.IntN(2) == 0 {
			time.Sleep(time.Duration(l.rng.IntN(100)) * time.Millisecond)
		}
		switch l.rng.IntN(3) {
		case 0:
			_, err = c.gaps.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{Id: g.Id, Author: "ann", Reason: "wrong"})
		case 1:
			_, err = c.gaps.EndGaps(ctx, &varvev1.EndGapsRequest{Tags: []string{tag}, EndNs: to, Author: "ann", Reason: "back"})
		}
		if g.Recorded > 0 {
			require.NoError(l.t, err)
		}
	case 9: // settings that change, and types
		name := "CHANGES"
		if !l.made[name] {
			l.write(&varvev1.Run{Tag: name, TimesNs: []int64{l.now * l.tick}, Int64: []int64{1}})
			l.made[name] = true
			return
		}
		types := []varvev1.Type{varvev1.Type_TYPE_INT64, varvev1.Type_TYPE_FLOAT32, varvev1.Type_TYPE_FLOAT64, varvev1.Type_TYPE_BOOL, varvev1.Type_TYPE_UINT64}
		w, err := c.catalog.GetTag(ctx, &varvev1.GetTagRequest{Name: name})
		require.NoError(l.t, err)
		typ := types[l.rng.IntN(len(types))]
		l.now += 2
		if w.Settings[len(w.Settings)-1].Type != typ && len(w.Settings) < 20 {
			_, err = c.catalog.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: name, Settings: &varvev1.Settings{FromNs: l.now * l.tick, Type: typ, Unit: "bar"}})
			require.NoError(l.t, err)
		} else {
			typ = w.Settings[len(w.Settings)-1].Type
		}
		run := &varvev1.Run{Tag: name, TimesNs: []int64{l.now * l.tick}}
		switch typ {
		case varvev1.Type_TYPE_INT64:
			run.Int64 = []int64{7}
		case varvev1.Type_TYPE_FLOAT32:
			run.Float32 = []float32{0.1}
		case varvev1.Type_TYPE_FLOAT64:
			run.Float64 = []float64{0.1}
		case varvev1.Type_TYPE_BOOL:
			run.Bool = []bool{true}
		case varvev1.Type_TYPE_UINT64:
			run.Uint64 = []uint64{7}
		}
		l.write(run)
	case 10: // states, of a set that gets versions
		version := 2 + len(l.gone)
		l.gone = append(l.gone, 0)
		states := &varvev1.StateSet{Name: "pumps"}
		for i := range version {
			states.States = append(states.States, &varvev1.DigitalState{Code: int64(i), Text: "state " + strconv.Itoa(i)})
		}
		_, err := c.catalog.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: states})
		require.NoError(l.t, err)
		if !l.made["STATE"] {
			_, err = c.catalog.CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{{Name: "STATE", Settings: []*varvev1.Settings{{Type: varvev1.Type_TYPE_STATE, StateSet: "pumps"}}}}})
			require.NoError(l.t, err)
			l.made["STATE"] = true
		}
		at := time.Now().UnixNano()
		l.write(&varvev1.Run{Tag: "STATE", TimesNs: []int64{at}, State: []int64{int64(version - 1)}})
	}
}

// requireModel holds a server to the plain model.
func (l *forwardLoad) requireModel(c *client, siteName func(string) string) {
	for tag := range l.model {
		if want := l.modelOf(tag); len(want) > 0 {
			got, err := samplesAt(l.t, c, siteName(tag))
			require.NoError(l.t, err)
			require.Equal(l.t, want, got, tag)
		}
	}
}

// samplesOf is what the plain model says of a tag.
func (l *forwardLoad) samplesOf(tag string) (out []model.Sample) {
	for _, at := range slices.Sorted(maps.Keys(l.model[tag])) {
		out = append(out, model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(l.model[tag][at])})
	}
	return out
}

// modelOf is the same as samplesAt has it.
func (l *forwardLoad) modelOf(tag string) map[int64]string {
	out := map[int64]string{}
	for _, x := range l.samplesOf(tag) {
		out[x.Time] = valueOf(x.Bits, x.Quality)
	}
	return out
}

func valueOf(bits uint64, q model.Quality) string { return fmt.Sprintf("%x %x", bits, uint32(q)) }

// samplesAt is the samples of a tag of numbers by time.
func samplesAt(t testing.TB, c *client, tag string) (map[int64]string, error) {
	out := map[int64]string{}
	start, end := int64(-math.MaxInt64), int64(math.MaxInt64)
	stream, err := c.query.ReadRange(t.Context(), &varvev1.ReadRangeRequest{Tags: []string{tag}, StartNs: &start, EndNs: &end})
	if err != nil {
		return nil, err
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out[row.Time] = valueOf(row.Value.Bits, row.Quality)
	}
}

// bySeeds runs a test by several seeds, by one with -short.
func bySeeds(t *testing.T, seeds int, test func(t *testing.T, seed uint64)) {
	if testing.Short() {
		seeds = 1
	}
	for k := range seeds {
		seed := uint64(time.Now().UnixNano()) + uint64(k)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { test(t, seed) })
	}
}

// trial is an edge that is written to, a site, and what forwards between them; all of it by one seed.
type trial struct {
	rng        *rand.Rand
	edge, site *served
	load       *forwardLoad
	f          *forwarding
}

func newTrial(t testing.TB, seed uint64, edgeFlags ...string) *trial {
	x := &trial{rng: rand.New(rand.NewPCG(seed, 0))}
	x.edge = newServed(t, append([]string{"--generation-samples", "200"}, edgeFlags...)...)
	x.site = newServed(t, "--generation-samples", "300")
	x.load = newForwardLoad(t, x.rng, x.edge.client)
	return x
}

// forward begins to forward.
func (x *trial) forward(config string) {
	x.f = newForwarding(x.load.t, config)
	x.f.start()
}

// run writes to the edge, and behind each step does one of some things, or, in idle cases, none.
func (x *trial) run(steps, idle int, things ...func()) {
	for range steps {
		x.load.step()
		if i := x.rng.IntN(len(things) + idle); i < len(things) {
			things[i]()
		}
	}
}

// restart stops the forwarder and starts it.
func (x *trial) restart() {
	x.f.stop()
	x.f.start()
}

func (x *trial) pause() { time.Sleep(time.Duration(x.rng.IntN(80)) * time.Millisecond) }

// outage is one in which the edge's log is trimmed, where it keeps nothing.
func (x *trial) outage() {
	x.f.stop()
	for range 10 {
		x.load.step()
	}
	x.edge.restart()
	_, err := x.edge.client().admin.Flush(x.load.t.Context(), &varvev1.FlushRequest{})
	require.NoError(x.load.t, err)
	x.f.start()
}

// prefixed is a prefix of names at the site, by seed none, and the names.
func (x *trial) prefixed() (prefix string, names func(string) string) {
	prefix = []string{"", "EDGE1."}[x.rng.IntN(2)]
	return prefix, func(name string) string { return prefix + name }
}

// TestForward writes, corrects, deletes and renames at an edge while it, the site, the forwarder and the networks between them stop and start. At the end the
// site holds what the edge holds, and what a plain model does.
func TestForward(t *testing.T) {
	bySeeds(t, 4, func(t *testing.T, seed uint64) {
		x := newTrial(t, seed, "--keep-log", "0")
		prefix, names := x.prefixed()
		x.run(x.rng.IntN(30), 1) // the archive has something already
		x.forward(forwardConfig(t, x.edge, x.site, "names: {prefix: '"+prefix+"'}\n"))
		x.run(120, 9, x.site.restart, x.edge.restart, x.restart, x.site.wire.cut, x.edge.wire.cut, x.pause, x.outage)
		requireForwarded(t, x.edge, x.site, names)
		x.load.requireModel(x.edge.client(), func(name string) string { return name })
		x.load.requireModel(x.site.client(), names)
		require.NotContains(t, x.f.says.String(), "refuses", "nothing is refused")
	})
}

func floatRun(tag string, at int64, values ...float64) *varvev1.Run {
	r := &varvev1.Run{Tag: tag, Float64: values}
	for i := range values {
		r.TimesNs = append(r.TimesNs, at+int64(i)*1e9)
	}
	return r
}

// TestForwardReference runs what the page shows: its configuration, its commands.
func TestForwardReference(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/reference/forward.md")))
	_, rest, ok := strings.Cut(page, "\n```yaml\n")
	require.True(t, ok)
	config, _, _ := strings.Cut(rest, "```")
	edge, _ := serveInProcess(t, t.TempDir())
	site, _ := serveInProcess(t, t.TempDir())
	here := func(s string) string {
		return strings.NewReplacer("127.0.0.1:7420", edge, "127.0.0.1:7520", site).Replace(s)
	}
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("edge1.yaml", []byte(here(config)), 0o644))
	varve(t, "tags", "create", "--server", edge, "--unit", "m3/h", "--description", "cooling water", "PUMP-101.FLOW", "float64")
	require.NoError(t, os.WriteFile("first.csv", []byte("time,tag,value\n2026-03-01T05:00:00Z,PUMP-101.FLOW,10\n2026-03-01T05:01:00Z,PUMP-101.FLOW,20\n2026-03-01T05:01:00Z,OTHER,1\n"), 0o644))
	varve(t, "import", "--server", edge, "first.csv")
	varve(t, "edit", "--server", edge, "--author", "mara", "--reason", "lab value", "set", "PUMP-101.FLOW", "2026-03-01T05:01:00Z", "21")
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	var says lockedLines
	go func() { code <- run(ctx, []string{"forward", "--config", "edge1.yaml"}, &says, &says) }()
	eventually(t, "both samples", func() bool { return len(stored(t, site, "EDGE1.PUMP-101.FLOW")) == 2 })
	cancel()
	require.Zero(t, <-code, says.String())
	examples := strings.Split(page, "\n$ varve ")[1:]
	require.Len(t, examples, 3)
	for _, x := range examples {
		command, rest, _ := strings.Cut(x, "\n")
		want, _, _ := strings.Cut(rest, "```")
		args := words(here(command))
		if !strings.Contains(command, "--server") {
			args = append(args, "--server", edge)
		}
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(varve(t, args...)), command)
	}
	_, nothing := fails(t, "query", "--server", site, "--start", "2026-03-01", "--end", "2026-03-02", "OTHER")
	require.Contains(t, nothing, `no tag "OTHER"`, "only what tags name goes")
}

// TestForwardInside: a server forwards by itself, with its health tags.
func TestForwardInside(t *testing.T) {
	site, _ := serveInProcess(t, t.TempDir())
	config := writeFile(t, "forward.yaml", fmt.Sprintf("source: edge1\ndir: %s\nfrom: {address: self}\nto: {address: %s}\nlinger: 10ms\nhealth: {every: 1s}\nfiltered: [{tags: [FILTERED], exc_dev: 1, every: 24h, settle: 24h}, {tags: [LATE], exc_dev: 1}]\n", t.TempDir(), site))
	edge, _ := serveInProcess(t, t.TempDir(), "--forward", config)
	at := time.Now().Add(-time.Minute).UnixNano()
	c, err := dialTo(edge, insecure.NewCredentials(), "")
	require.NoError(t, err)
	defer c.close()
	_, err = c.ingest.Write(t.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{floatRun("A", at, 1, 2, 3)}}})
	require.NoError(t, err)
	eventually(t, "samples", func() bool { return len(stored(t, site, "A")) == 3 })
	eventually(t, "health tags, which are forwarded too", func() bool { return len(stored(t, site, "edge1.lag_s")) > 1 })
	require.Contains(t, strings.Join(stored(t, edge, "edge1.connected"), "\n"), "true")
	_, err = c.ingest.Write(t.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{floatRun("FILTERED", at, 1), floatRun("LATE", at-86400e9, 1)}}})
	require.NoError(t, err)
	figure := func(name string) string {
		all := stored(t, edge, "edge1."+name)
		if len(all) == 0 {
			return ""
		}
		return strings.Fields(all[len(all)-1])[1]
	}
	eventually(t, "a filtered sample waits for the end of its stretch", func() bool { f := figure("filtered.1.lag_s"); return f != "" && f != "0" })
	eventually(t, "a late one is there", func() bool { return len(stored(t, site, "LATE")) == 1 })
	eventually(t, "nothing is overdue", func() bool { return figure("filtered.2.lag_s") == "0" && figure("filtered.1.overdue_s") == "0" })

	require.NoError(t, os.WriteFile(config, []byte("source: edge1\n"), 0o644))
	code, says := fails(t, "serve", "--data", t.TempDir(), "--forward", config)
	require.Equal(t, exitUsage, code)
	require.Contains(t, says, "dir is required")
	code, says = fails(t, "forward", "--config", config)
	require.Equal(t, exitUsage, code)
	require.Contains(t, says, "from is required")
}

// TestNothingIsWrittenTwice: an edge that is sent again, since the place was lost, leaves the site's history as it is.
func TestNothingIsWrittenTwice(t *testing.T) {
	edge, site := newServed(t), newServed(t)
	load := newForwardLoad(t, rand.New(rand.NewPCG(3, 3)), edge.client)
	load.write(floatRun("A", 1e9, 1, 2, 3, 4))
	f := newForwarding(t, forwardConfig(t, edge, site, ""))
	f.start()
	requireForwarded(t, edge, site, func(s string) string { return s })
	_, err := edge.client().ingest.Edit(t.Context(), &varvev1.EditRequest{Author: "mara", Reason: "lab value", Runs: []*varvev1.Run{floatRun("A", 2e9, 7)}})
	require.NoError(t, err)
	_, err = edge.client().ingest.Edit(t.Context(), &varvev1.EditRequest{Author: "ann", Reason: "test", Runs: []*varvev1.Run{{Tag: "A", TimesNs: []int64{3e9}, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE}}})
	require.NoError(t, err)
	history := func() string {
		return varve(t, "query", "--server", site.at, "--modified", "--start", "1970-01-01", "--end", "1970-01-02", "--output", "csv", "A")
	}
	eventually(t, "both edits", func() bool { return strings.Count(history(), "\n") == 3 })
	before := history()
	require.Contains(t, before, "mara,lab value", "who and why come along")
	require.Contains(t, before, "ann,test")
	f.stop()
	config := string(must(os.ReadFile(f.config)))
	dir, _, _ := strings.Cut(strings.Split(config, "dir: ")[1], "\n")
	require.NoError(t, os.Remove(filepath.Join(dir, "place")))
	f.start()
	load.write(floatRun("A", 9e9, 9))
	requireForwarded(t, edge, site, func(s string) string { return s })
	eventually(t, "the archive is read again", func() bool { return strings.Count(f.says.String(), "the archive is read") == 2 })
	require.Equal(t, before, history())
}

// TestForwardRenames: a tag that is renamed at the edge is renamed at the site.
func TestForwardRenames(t *testing.T) {
	const base = int64(1_772_344_800e9)
	edge, site := newServed(t), newServed(t)
	load := newForwardLoad(t, rand.New(rand.NewPCG(4, 4)), edge.client)
	load.write(floatRun("A", base, 1, 2))
	f := newForwarding(t, forwardConfig(t, edge, site, "names: {prefix: E.}\n"))
	f.start()
	eventually(t, "samples", func() bool { return len(stored(t, site.at, "E.A")) == 2 })
	_, err := edge.client().catalog.RenameTag(t.Context(), &varvev1.RenameTagRequest{Name: "A", NewName: "B", FromNs: base + 1e9})
	require.NoError(t, err)
	load.write(floatRun("B", base+4e9, 3))
	eventually(t, "samples under the new name", func() bool { return len(stored(t, site.at, "E.B")) == 3 })
	old, err := site.client().catalog.GetTag(t.Context(), &varvev1.GetTagRequest{Name: "E.A"})
	require.NoError(t, err)
	require.Equal(t, "E.B", old.Name)
	require.EqualValues(t, base+1e9, old.Aliases[1].FromNs)
}

// forwardProcess is varve forward in a process of its own.
type forwardProcess struct {
	t       *testing.T
	binary  string
	config  string
	process *exec.Cmd
}

// newForwardProcess forwards between servers.
func newForwardProcess(t *testing.T, edge, site *killedServer, more string) *forwardProcess {
	f := &forwardProcess{t: t, binary: edge.binary, config: writeFile(t, "forward.yaml", fmt.Sprintf(
		"source: edge1\ndir: %s\nfrom: {address: %s}\nto: {address: %s}\nlinger: 10ms\nhealth: {off: true}\nnames: {prefix: E.}\n%s", t.TempDir(), edge.address, site.address, more))}
	t.Cleanup(f.kill)
	f.start()
	return f
}

func (p *forwardProcess) start() {
	p.process = exec.Command(p.binary, "forward", "--config", p.config, "--log-level", "error")
	require.NoError(p.t, p.process.Start())
}

func (p *forwardProcess) kill() {
	if p.process != nil {
		require.NoError(p.t, p.process.Process.Kill())
		_ = p.process.Wait() // it was killed
		p.process = nil
	}
}

// TestForwardKill9 kills edge, site and forwarder, each a process of its own, at any moment while the edge is written to.
func TestForwardKill9(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 6
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	edge, site := newKilledServer(t), newKilledServer(t)
	edge.flags = append(edge.flags, "--keep-log", "0")
	edge.start()
	site.start()
	f := newForwardProcess(t, edge, site, "")
	load := startKilledLoad(t, edge.address)
	for range kills {
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond)
		switch rng.IntN(3) {
		case 0:
			f.kill()
			f.start()
		case 1:
			edge.kill()
			edge.start()
		case 2:
			site.kill()
			site.start()
		}
	}
	sent := load.stop()
	e, s := killedClient(t, edge.address), killedClient(t, site.address)
	for tag := range killTags {
		want, err := held(t, e, killTag(tag), nil)
		require.NoError(t, err)
		require.Greater(t, len(want), int(sent)*killRun/2)
		var got []string
		for until := time.Now().Add(60 * time.Second); time.Now().Before(until) && !slices.Equal(want, got); time.Sleep(20 * time.Millisecond) {
			got, err = held(t, s, "E."+killTag(tag), nil)
		}
		require.NoError(t, err)
		require.Equal(t, len(want), len(got), "tag %d", tag)
		require.Equal(t, want, got, "tag %d", tag)
	}
	f.kill()
	edge.stop()
	site.stop()
}

// killedClient is a client that is quick to find a server that is there again.
func killedClient(t *testing.T, address string) *client {
	c, err := dialTo(address, insecure.NewCredentials(), "", quickly)
	require.NoError(t, err)
	t.Cleanup(c.close)
	return c
}
