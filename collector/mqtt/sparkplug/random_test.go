package sparkplug

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var seedFlag = flag.Uint64("sparkplug.seed", 0, "run the random histories with this seed only")

// edge is an edge node that says what it is told to and answers requests for rebirths; its messages go through a network that loses, doubles and
// delays them.
type edge struct {
	rng      *rand.Rand
	now      int64 // milliseconds since base
	seq      uint8
	bdSeq    int64
	devices  []string // "" is the node
	online   map[string]bool
	aliases  map[string]uint64 // of this session; none: this session uses names
	value    float64
	messages []*sent
	network  []*arrival
	loss     float64
	delay    int64
}

// sent is one message and the samples in it.
type sent struct {
	kind    string
	at      int64
	samples map[string]float64 // by address; all have the time of the message
	lost    bool
	m       Message
	birth   bool
}

type arrival struct {
	at int64
	m  Message
}

func (e *edge) metrics(device string) []string {
	return []string{device + "-a", device + "-b", device + "-c"}[:1+len(device)%2+1]
}

func address(device, metric string) string { return "G/N/" + device + "/" + metric }

// say sends a message with some metrics of a device, all of them in a birth.
func (e *edge) say(kind, device string) {
	e.now += 1 + e.rng.Int64N(40)
	p := &Payload{Timestamp: uint64(base + e.now), HasTimestamp: true}
	s := &sent{kind: kind, at: e.now, samples: map[string]float64{}, birth: kind == "NBIRTH" || kind == "DBIRTH"}
	switch kind {
	case "NBIRTH":
		e.seq, e.aliases = 0, nil
		if e.rng.IntN(4) > 0 { // the same numbers stand for other metrics each time
			e.aliases = map[string]uint64{}
			var all []string
			for _, d := range e.devices {
				for _, m := range e.metrics(d) {
					all = append(all, address(d, m))
				}
			}
			e.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for i, a := range all {
				e.aliases[a] = uint64(i)
			}
		}
		fallthrough
	case "NDEATH":
		p.Metrics = append(p.Metrics, session64(e.bdSeq))
	}
	if kind != "NDEATH" {
		p.Seq, p.HasSeq = uint64(e.seq), true
		e.seq++
	}
	if s.birth || kind == "NDATA" || kind == "DDATA" {
		for _, name := range e.metrics(device) {
			if !s.birth && e.rng.IntN(2) == 0 {
				continue
			}
			e.value++
			m := named(name, DoubleType, double(e.value), uint64(base+e.now))
			if a, ok := e.aliases[address(device, name)]; ok {
				if m = m.alias(a); !s.birth {
					m = m.short()
				}
			}
			p.Metrics = append(p.Metrics, m)
			s.samples[address(device, name)] = e.value
		}
	}
	topic := Namespace + "/G/" + kind + "/N"
	if device != "" {
		topic += "/" + device
	}
	s.m = Message{Topic: topic, Payload: encode(p)}
	// Nothing tells a host that a birth of a node is missing when the numbers go on where they stood: those arrive.
	s.lost = kind != "NBIRTH" && e.rng.Float64() < e.loss
	e.messages = append(e.messages, s)
	if s.lost {
		return
	}
	for range 1 + e.rng.IntN(20)/19 {
		at := e.now
		if kind[0] == 'D' || kind == "NDATA" {
			at += e.rng.Int64N(e.delay + 1)
		}
		e.network = append(e.network, &arrival{at, s.m})
	}
}

func (e *edge) births() {
	e.say("NBIRTH", "")
	for _, d := range e.devices[1:] {
		if e.online[d] {
			e.say("DBIRTH", d)
		}
	}
}

// step is one thing that happens at the edge.
func (e *edge) step() {
	d := e.devices[1+e.rng.IntN(len(e.devices)-1)]
	switch x := e.rng.IntN(100); {
	case x < 1:
		if e.loss == 0 {
			e.now += 2 * e.delay // what is on its way arrives
		}
		e.say("NDEATH", "")
		e.now += 200
		e.bdSeq = (e.bdSeq + 1) % 256
		e.births()
	case x < 4 && e.online[d]:
		e.say("DDEATH", d)
		e.online[d] = false
	case x < 10 && !e.online[d]:
		e.online[d] = true
		e.say("DBIRTH", d)
	case x < 40:
		e.say("NDATA", "")
	case e.online[d]:
		e.say("DDATA", d)
	default:
		e.now += 10
	}
}

// history is what a host made of it all, as ranges.
type history struct {
	record
	gaps    map[string][][2]int64 // nanoseconds; the end of an open one is the largest there is
	defined map[string]int64      // when, by the host's clock
	now     int64
	losses  int
}

func (h *history) Down(addresses []string, at int64, _ string) {
	for _, a := range addresses {
		h.gaps[a] = append(h.gaps[a], [2]int64{at, 1<<63 - 1})
	}
}

func (h *history) Up(addresses []string, at int64) {
	for _, a := range addresses {
		h.gaps[a][len(h.gaps[a])-1][1] = at
		for i := len(h.gaps[a]) - 1; i >= 0; i-- {
			if h.gaps[a][i][1] == 1<<63-1 {
				h.gaps[a][i][1] = at
			}
		}
	}
}

func (h *history) Lost(addresses []string, from, to int64, _ string) {
	if from >= to {
		panic(fmt.Sprintf("lost from %d to %d", from, to))
	}
	h.losses++
	for _, a := range addresses {
		h.gaps[a] = slices.Insert(h.gaps[a], 0, [2]int64{from, to})
	}
}

func (h *history) Define(d Definition) {
	if _, ok := h.defined[d.Address]; !ok {
		h.defined[d.Address] = h.now
	}
}

// run plays a history of n steps. Requests for rebirths reach the edge 30 ms after they were sent.
func run(seed uint64, n int, loss float64) (*edge, *history) {
	e := &edge{rng: rand.New(rand.NewPCG(seed, 1)), devices: []string{"", "A", "BB"}, online: map[string]bool{"A": true, "BB": true}, loss: loss, delay: 300}
	out := &history{gaps: map[string][][2]int64{}, defined: map[string]int64{}}
	h := New(Options{Reorder: time.Second, RebirthEvery: 2 * time.Second, BirthWait: 5 * time.Second})
	requests := 0
	var answer int64
	deliver := func(until int64) {
		for {
			slices.SortStableFunc(e.network, func(a, b *arrival) int { return int(a.at - b.at) })
			at, ok := h.Next()
			switch {
			case ok && at.UnixMilli()-base <= until && (len(e.network) == 0 || at.UnixMilli()-base <= e.network[0].at):
				out.now = at.UnixMilli() - base
				h.Tick(at, out)
			case len(e.network) > 0 && e.network[0].at <= until:
				x := e.network[0]
				e.network = e.network[1:]
				out.now = x.at
				x.m.At = time.UnixMilli(base + x.at)
				h.Receive(x.m, out)
			default:
				return
			}
		}
	}
	e.births()
	for range n {
		deliver(e.now)
		if len(out.sent) > requests {
			requests, answer = len(out.sent), e.now+30
		}
		if answer != 0 && e.now >= answer {
			answer = 0
			e.births()
		}
		e.step()
	}
	e.loss = 0
	e.now += 3000
	deliver(e.now)
	e.online["A"], e.online["BB"] = true, true
	e.births()
	deliver(e.now + 10_000)
	return e, out
}

// Whatever is lost, doubled or late: no value goes to an address that did not have it, none comes twice, and each that does not come is under a
// gap of its address.
func TestRandomHistories(t *testing.T) {
	seeds, first := uint64(300), uint64(1)
	if testing.Short() {
		seeds = 40
	}
	if *seedFlag != 0 {
		seeds, first = 1, *seedFlag
	}
	missing, rebirths := 0, 0
	for seed := first; seed < first+seeds; seed++ {
		loss := []float64{0, 0.01, 0.05, 0.2}[seed%4]
		e, out := run(seed, 400, loss)
		check(t, seed, loss, e, out)
		missing += out.counts[Missing]
		rebirths += out.counts[Rebirths]
		if t.Failed() {
			t.Fatalf("seed %d: go test -run TestRandomHistories -sparkplug.seed=%d", seed, seed)
		}
	}
	if *seedFlag == 0 {
		require.Positive(t, missing)
		require.Positive(t, rebirths)
	}
}

func check(t *testing.T, seed uint64, loss float64, e *edge, out *history) {
	type key struct {
		address string
		at      int64
	}
	truth, birthValues := map[key]float64{}, map[string]bool{}
	for _, s := range e.messages {
		for a, v := range s.samples {
			truth[key{a, (base + s.at) * 1_000_000}] = v
			if s.birth {
				birthValues[fmt.Sprint(a, v)] = true
			}
		}
	}
	came := map[key]int{}
	for _, r := range out.readings {
		f, _ := r.Sample.Float64()
		k := key{r.Address, r.Sample.Time}
		v, ok := truth[k]
		if !ok && birthValues[fmt.Sprint(r.Address, f)] { // what a birth says behind a gap
			continue
		}
		if !ok || v != f {
			t.Errorf("seed %d: %s got %v at %d, which it did not have", seed, r.Address, f, k.at)
		}
		if came[k]++; came[k] > 1 {
			t.Errorf("seed %d: %s at %d came twice", seed, r.Address, k.at)
		}
	}
	if loss == 0 {
		if out.counts[Missing]+out.counts[Rebirths]+out.counts[BeforeBirth]+out.counts[UnknownMetrics]+out.losses > 0 {
			t.Errorf("seed %d: without losses: %v", seed, out.counts)
		}
	}
	for i, s := range e.messages {
		// What is lost at the end of a session, nothing numbered behind it, nobody can know of.
		unseen := s.lost
		for _, x := range e.messages[i+1:] {
			if x.kind == "NBIRTH" {
				break
			}
			if x.kind != "NDEATH" && !x.lost {
				unseen = false
				break
			}
		}
		for a := range s.samples {
			at := (base + s.at) * 1_000_000
			if came[key{a, at}] > 0 || unseen {
				continue
			}
			covered := slices.ContainsFunc(out.gaps[a], func(g [2]int64) bool { return at >= g[0] && at < g[1] })
			since, defined := out.defined[a]
			if !covered && defined && since <= s.at {
				t.Errorf("seed %d: %s at %d (%s) did not come and no gap says so", seed, a, s.at, s.kind)
			}
		}
	}
	for a, gaps := range out.gaps {
		for _, g := range gaps {
			if g[1] == 1<<63-1 {
				t.Errorf("seed %d: the gap of %s at %d is open though all were born", seed, a, g[0]/1_000_000-base)
			}
		}
	}
	require.Zero(t, out.counts[Rejected], out.problems)
}

// FuzzHost feeds a host with whole sequences of messages: no input may break it, and what it counts stays within its limits.
func FuzzHost(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, uint64(1))
	f.Add([]byte{200, 3, 3, 3, 120, 90, 7, 7, 7, 255, 254, 253}, uint64(7))
	f.Fuzz(func(t *testing.T, ops []byte, seed uint64) {
		if len(ops) > 500 {
			ops = ops[:500]
		}
		rng := rand.New(rand.NewPCG(seed, 2))
		h, out := New(Options{MaxNodes: 3, MaxMetrics: 20, MaxHeld: 5, MaxHeldBytes: 4 << 10, HostID: "h"}), &record{}
		now := time.UnixMilli(base)
		kinds := []string{"NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"}
		for i, op := range ops {
			now = now.Add(time.Duration(rng.IntN(400)) * time.Millisecond)
			kind := kinds[int(op)%len(kinds)]
			topic := fmt.Sprintf("spBv1.0/G/%s/N%d", kind, op>>6)
			if kind[0] == 'D' {
				topic += fmt.Sprintf("/D%d", op>>4&1)
			}
			p := everything()
			p.Timestamp, p.Seq = uint64(base+rng.Int64N(100_000)), uint64(rng.IntN(8))
			p.Metrics = append(p.Metrics, session64(int64(rng.IntN(3))))
			for range rng.IntN(4) {
				p.Metrics = append(p.Metrics, named(fmt.Sprintf("m%d", rng.IntN(30)), Datatype(rng.IntN(int(datatypes))), intOf(int32(op)), uint64(base)).alias(uint64(rng.IntN(5))))
			}
			b := encode(p)
			for range rng.IntN(3) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			switch i % 17 {
			case 5:
				h.Disconnected(now, out)
			case 9:
				b = b[:rng.IntN(len(b))]
			}
			h.Receive(Message{Topic: topic, Payload: b, At: now}, out)
			held := 0
			for _, n := range h.nodes {
				if len(n.held) > 5 {
					t.Fatal("more messages wait than may")
				}
				for _, x := range n.held {
					held += len(x.m.Payload)
				}
			}
			if held != h.heldBytes || held > 4<<10 || h.points > 20 || len(h.nodes) > 3 {
				t.Fatalf("%d bytes wait (%d counted), %d points, %d nodes", held, h.heldBytes, h.points, len(h.nodes))
			}
		}
	})
}
