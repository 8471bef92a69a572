package collector

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/varvedb/varve/model"
)

// TestMain lets the test binary be started as the process of a source, the way a collector starts the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && [2]string(os.Args[1:3]) == ApartCommand {
		if err := ServeApart(wildKinds(true)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == collectorToKill {
		runCollectorToKill(os.Args[2])
	}
	os.Exit(m.Run())
}

// wild is sources that do what a test's settings say, here or in a process of their own.
type wildSettings struct {
	Do    string            `yaml:"do"`
	Seed  uint64            `yaml:"seed"`
	Pass  Secret            `yaml:"pass"`
	Users []wildUser        `yaml:"users"`
	By    map[string]Secret `yaml:"by"`
	Every time.Duration     `yaml:"every"`
	On    *bool             `yaml:"on"`
	Text  string            `yaml:"text"`

	checked bool
}

type wildUser struct {
	Name string  `yaml:"name"`
	Pass *Secret `yaml:"pass"`
}

func (s *wildSettings) Check() error {
	s.checked = true
	return nil
}

// wildKinds are wild, and plain, whose sources can be neither tried nor browsed.
func wildKinds(apart bool) []Kind {
	wild := NewKind("wild", func(e Env, s *wildSettings) (Source, error) {
		if !s.checked {
			return nil, errors.New("the settings were not checked")
		}
		return &wildSource{e, s}, nil
	})
	plain := NewKind("plain", func(e Env, s *wildSettings) (Source, error) { return struct{ Source }{&wildSource{e, s}}, nil })
	wild.Apart, plain.Apart = apart, apart
	return []Kind{wild, plain}
}

type wildSource struct {
	env Env
	s   *wildSettings
}

// wildDeeds are what a source can do, by name; those of one system only are added by its file.
var wildDeeds = map[string]func(s *wildSource, ctx context.Context, out Sink) error{
	"random": func(s *wildSource, ctx context.Context, out Sink) error { return s.random(ctx, out) },
	"panic": func(*wildSource, context.Context, Sink) error {
		go func() { panic("as the test wants it") }()
		select {}
	},
	"exit": func(*wildSource, context.Context, Sink) error {
		for i := range 1000 {
			fmt.Fprintf(os.Stderr, "line %d %s\n", i, strings.Repeat("x", 10*i))
		}
		os.Exit(7)
		return nil
	},
	"garbage": func(_ *wildSource, ctx context.Context, _ Sink) error {
		if _, err := os.NewFile(1, "the pipe").WriteString("connecting to the server ...\n"); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	},
	"print": func(_ *wildSource, _ context.Context, out Sink) error { // which is not what is read
		fmt.Println("connecting to the server ...")
		return out.Put(background, []Reading{nowReading("printed", Int64(1))})
	},
	"hang": func(*wildSource, context.Context, Sink) error { select {} },
	"error": func(s *wildSource, _ context.Context, _ Sink) error {
		s.env.Logger.With("a", 1).WithGroup("g").Warn("it is said", "b", "two words", slog.Group("h", "c", 2.5))
		s.env.Logger.Debug("it is not said")
		return errors.New("no route")
	},
	"end": func(*wildSource, context.Context, Sink) error { return nil },
	"flood": func(s *wildSource, ctx context.Context, out Sink) error {
		var wg sync.WaitGroup
		for i := range 3 * apartCalls {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_ = out.Put(ctx, slices.Repeat([]Reading{nowReading(fmt.Sprintf("flood%d", i), Int64(int64(n)))}, 1000))
					s.env.Logger.Error("flood", "n", n)
					fmt.Fprintln(os.Stderr, "flood", n)
				}
			})
		}
		wg.Wait()
		return nil
	},
	"raw flood": func(_ *wildSource, ctx context.Context, out Sink) error { // which does not wait for answers
		g := out.(*guest)
		for id := uint32(1 << 30); ctx.Err() == nil; id++ {
			g.mu.Lock()
			g.calls[id] = make(chan error, 1)
			g.mu.Unlock()
			_ = g.to.send(msgPut, func(b []byte) []byte { return appendPut(le.AppendUint32(b, id), []Reading{nowReading("x", Int64(1))}) })
		}
		return nil
	},
	"tell": func(s *wildSource, _ context.Context, out Sink) error { return s.tell(out) },
	"last words": func(_ *wildSource, ctx context.Context, out Sink) error {
		<-ctx.Done()
		return out.Put(ctx, []Reading{nowReading("last", Int64(1))})
	},
	"impatient": func(_ *wildSource, ctx context.Context, out Sink) error {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if err := out.Put(short, []Reading{nowReading("never", Int64(1))}); err == nil {
			return errors.New("it was stored")
		}
		<-ctx.Done()
		return nil
	},
	"large": func(_ *wildSource, ctx context.Context, out Sink) error {
		long := strings.Repeat("x", maxItem+1)
		err := out.Put(ctx, []Reading{nowReading("a", Int64(1)), nowReading(long, Int64(1)), nowReading("b", String(long)), nowReading("c", Int64(3))})
		return errors.Join(err, out.Down(ctx, []string{"a", long, "c"}, 1, long), out.Up(ctx, []string{long}, 2))
	},
}

// appendPut is what a put has behind its number.
func appendPut(b []byte, readings []Reading) []byte {
	b = le.AppendUint32(b, uint32(len(readings)))
	for i := range readings {
		b = appendReading(b, &readings[i])
	}
	return b
}

// Run does what the settings say, or, where they say "WHAT first", does that once, and then reads.
func (s *wildSource) Run(ctx context.Context, out Sink) error {
	what, once := strings.CutSuffix(s.s.Do, " first")
	if !once {
		return wildDeeds[what](s, ctx, out)
	}
	mark := filepath.Join(s.env.Dir, "done")
	if _, err := os.Stat(mark); err == nil {
		err := out.Put(ctx, []Reading{nowReading("x", Int64(2))})
		<-ctx.Done()
		return err
	}
	if err := errors.Join(os.MkdirAll(s.env.Dir, 0o755), os.WriteFile(mark, nil, 0o644)); err != nil {
		return err
	}
	if err := out.Put(ctx, []Reading{nowReading("x", Int64(1)), nowReading("pid", Int64(int64(os.Getpid())))}); err != nil {
		return err
	}
	return wildDeeds[what](s, ctx, out)
}

// tell puts what the source was given, as texts.
func (s *wildSource) tell(out Sink) error {
	on := "not said"
	if s.s.On != nil {
		on = fmt.Sprint(*s.s.On)
	}
	text := fmt.Sprintf("%s %s %q %q %s %s %q", s.env.Name, s.env.Dir, s.env.Addresses, s.s.Pass.Value(), s.s.Every, on, s.s.Text)
	for _, u := range s.s.Users {
		text += fmt.Sprintf(" %q", u.Name)
		if u.Pass != nil {
			text += fmt.Sprintf("=%q", u.Pass.Value())
		}
	}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range s.s.By {
			if !yield(k) {
				return
			}
		}
	}) {
		text += fmt.Sprintf(" %s: %s %q", k, s.s.By[k], s.s.By[k].Value())
	}
	outside, _ := os.ReadFile("/proc/self/environ") // there is none elsewhere
	readings := []Reading{{Address: "given", Value: String(text)}, {Address: "seen", Value: String(fmt.Sprint(os.Args, os.Environ(), string(outside)))}}
	return out.Put(background, readings)
}

// random makes every call of a Sink with what a seed says.
func (s *wildSource) random(ctx context.Context, out Sink) error {
	rng := rand.New(rand.NewPCG(s.s.Seed, 0))
	words := func() (all []string) {
		for range rng.IntN(4) {
			all = append(all, fmt.Sprintf("a/%d\xff", rng.IntN(100)))
		}
		return all
	}
	for range 60 {
		var err error
		switch at := int64(rng.Uint64()); rng.IntN(8) {
		case 0:
			err = out.Flush(ctx)
		case 1:
			err = out.Down(ctx, words(), at, "it is away")
		case 2:
			err = out.Up(ctx, words(), at)
		case 3:
			err = out.Lost(ctx, words(), at, at+5, "it was late")
		case 4:
			out.Count(Counter(rng.IntN(int(counters))), rng.IntN(1000))
		case 5:
			out.(Describer).Describe([]Offer{randomOffer(rng), randomOffer(rng)})
		default:
			n := rng.IntN(100)
			if rng.IntN(10) == 0 {
				n = 2*maxPutReadings + 3
			}
			batch := make([]Reading, n)
			for i := range batch {
				batch[i] = randomReading(rng)
			}
			err = out.Put(ctx, batch)
		}
		if err != nil { // it is seen in the count
			out.Count(Rejected, len(err.Error()))
		}
	}
	return errors.New("it is over")
}

func randomReading(rng *rand.Rand) Reading {
	text := strings.Repeat("ü\x00\xff", rng.IntN(20))
	values := []Value{{}, Float64(math.Float64frombits(rng.Uint64())), Float64(math.Copysign(0, -1)), Float32(math.Float32frombits(rng.Uint32())), Float32(1.5),
		Int64(int64(rng.Uint64())), Int64(math.MinInt64), Uint64(rng.Uint64()), Uint64(math.MaxUint64), Bool(false), Bool(true), String(text), String(""), Bytes(text)}
	r := Reading{Address: fmt.Sprintf("address/%d", rng.IntN(1000)), Value: values[rng.IntN(len(values))], Historical: rng.IntN(2) == 0}
	if rng.IntN(3) > 0 {
		r.Time, r.HasTime = int64(rng.Uint64()), true
	}
	if rng.IntN(3) > 0 {
		r.Quality = model.Quality(rng.Uint32())
	}
	if rng.IntN(50) == 0 {
		r.Address = ""
	}
	return r
}

func randomOffer(rng *rand.Rand) Offer {
	o := Offer{Address: fmt.Sprintf("address/%d", rng.IntN(1000)), Name: "näme\xff", Type: model.Type(rng.IntN(9)), Unit: "Cel"}
	if rng.IntN(2) == 0 {
		o.Description = strings.Repeat("d", rng.IntN(5000))
		o.States = map[int64]string{0: "off", int64(rng.Uint64()): "on"}
	}
	return o
}

func (s *wildSource) Check(ctx context.Context, report func(Reading)) error {
	switch s.s.Do {
	case "random":
		rng := rand.New(rand.NewPCG(s.s.Seed, 1))
		for range 100 {
			report(randomReading(rng))
		}
		return nil
	case "wait":
		report(Reading{Address: "x", Value: Int64(1)})
		<-ctx.Done()
		return ctx.Err()
	}
	return wildDeeds[s.s.Do](s, ctx, nil)
}

func (s *wildSource) Browse(ctx context.Context, at string, each func(Offer) error) error {
	if s.s.Do != "random" {
		return wildDeeds[s.s.Do](s, ctx, nil)
	}
	rng := rand.New(rand.NewPCG(s.s.Seed, 2))
	for range 100 {
		o := randomOffer(rng)
		o.Name += at
		if err := each(o); err != nil {
			return err
		}
	}
	return nil
}

// wildConfig is a configuration of one wild source.
func wildConfig(t testing.TB, apart bool, dir, source string) *Config {
	c, err := ParseConfig("c.yaml", []byte("collector: plant\ndestinations: [{address: '127.0.0.1:7420'}]\nqueue: {dir: "+dir+"}\nhealth: {off: true}\nsources:\n  - "+source+"\n"), wildKinds(apart))
	require.NoError(t, err)
	return c
}

// runWild runs the source of a configuration until it ends.
func runWild(ctx context.Context, t testing.TB, c *Config, out Sink, l *slog.Logger) error {
	s, err := c.Sources[0].open(c.env(&c.Sources[0], l, time.Now), 10*time.Second)
	require.NoError(t, err)
	return s.Run(ctx, out)
}

var discard = slog.New(slog.DiscardHandler)

// hearingSink notes every call.
type hearingSink struct {
	mu       sync.Mutex
	heard    []any
	flushes  int
	underWay int
	most     int
	block    chan struct{} // not nil: Put waits for it
	blocked  chan struct{} // gets something when Put waits
}

func (h *hearingSink) add(x ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, x...)
}

func (h *hearingSink) Put(ctx context.Context, readings []Reading) error {
	h.mu.Lock()
	h.underWay++
	h.most = max(h.most, h.underWay)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.underWay--
	}()
	if h.block != nil {
		select {
		case h.blocked <- struct{}{}:
		default:
		}
		select {
		case <-h.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, r := range readings {
		h.add(r)
	}
	return nil
}

func (h *hearingSink) Flush(context.Context) error {
	h.add("flush")
	if h.flushes++; h.flushes%3 == 0 {
		return errors.New("the disk is full")
	}
	return nil
}

func (h *hearingSink) Down(_ context.Context, addresses []string, at int64, reason string) error {
	h.add(fmt.Sprintf("down %q %d %.100q", addresses, at, reason))
	return nil
}

func (h *hearingSink) Up(_ context.Context, addresses []string, at int64) error {
	h.add(fmt.Sprintf("up %q %d", addresses, at))
	return nil
}

func (h *hearingSink) Lost(_ context.Context, addresses []string, from, to int64, reason string) error {
	h.add(fmt.Sprintf("lost %q %d %d %q", addresses, from, to, reason))
	return nil
}

func (h *hearingSink) Count(c Counter, n int) { h.add(fmt.Sprintf("count %d %d", c, n)) }

func (h *hearingSink) Describe(offers []Offer) {
	for _, o := range offers {
		h.add(o)
	}
}

func noneLeft(t *testing.T) {
	none := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, none) })
}

// The same source hands on the same, in the same order, in a process of its own.
func TestApartIsTheSame(t *testing.T) {
	noneLeft(t)
	seed := rand.Uint64()
	for i := range uint64(10) {
		var heard [2][]any
		for k, apart := range []bool{false, true} {
			var out hearingSink
			c := wildConfig(t, apart, t.TempDir(), fmt.Sprintf("{name: w, type: wild, settings: {do: random, seed: %d}}", seed+i))
			require.EqualError(t, runWild(background, t, c, &out, discard), "it is over")
			heard[k] = out.heard
			var found []Finding
			require.NoError(t, CheckSource(background, c, &c.Sources[0], func() time.Time { return time.Unix(0, 0) }, func(f Finding) { found = append(found, f) }))
			var offers []Offer
			require.NoError(t, BrowseSource(background, c, &c.Sources[0], "below", func(o Offer) error { offers = append(offers, o); return nil }))
			heard[k] = append(heard[k], found, offers)
		}
		require.Equal(t, len(heard[0]), len(heard[1]), "seed %d", seed+i)
		for n := range heard[0] {
			require.Equal(t, heard[0][n], heard[1][n], "call %d, seed %d", n, seed+i)
		}
	}
}

// The process is given settings and secrets, and nobody sees them.
func TestApartIsGivenItsSettings(t *testing.T) {
	noneLeft(t)
	dir := t.TempDir()
	t.Setenv("VARVE_TEST_PASS", "secret one")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pass"), []byte("secret two\n"), 0o600))
	text := `collector: plant
destinations: [{address: '127.0.0.1:7420'}]
queue: {dir: DIR}
sources:
  - name: first
    type: wild
    settings: &all
      do: end
      every: 90s # as always
      text: "5"
      by: &by {a: '${VARVE_TEST_PASS}', b: 'file:DIR/pass'}
      users:
        - {name: '${VARVE_TEST_PASS}', pass: 'file:DIR/pass'}
        - &user {name: "on"}
  - name: second
    type: wild
    settings:
      <<: *all
      do: tell
      "on": false
      pass: ${VARVE_TEST_PASS}
      by: *by
      users: [*user, {<<: *user, pass: '${VARVE_TEST_PASS}'}]
      text: |
        a: "text" of
          lines
    tags: [{address: "x/\xff"}, {address: y}]
`
	var told [2][]any
	for k, apart := range []bool{false, true} {
		c, err := ParseConfig("c.yaml", []byte(strings.ReplaceAll(text, "DIR", dir)), wildKinds(apart))
		require.NoError(t, err)
		c.Sources[0] = c.Sources[1]
		var out hearingSink
		require.NoError(t, runWild(background, t, c, &out, discard))
		told[k] = out.heard
	}
	given := told[0][0].(Reading).Value.Text
	for _, want := range []string{`second ` + dir, `"y"`, ` "secret one" 1m30s false`, `"on" "on"="secret one" a: ${VARVE_TEST_PASS} "secret one" b: file:` + dir + `/pass "secret two"`} {
		require.Contains(t, given, want)
	}
	require.Equal(t, given, told[1][0].(Reading).Value.Text)
	seen := told[1][1].(Reading).Value.Text
	require.Contains(t, seen, "collect source second")
	require.NotContains(t, seen, "secret")
	require.NotContains(t, seen, "VARVE_TEST_PASS")
}

// A secret that the collector did not read is not looked for in the process.
func TestApartFindsNoSecrets(t *testing.T) {
	t.Setenv("VARVE_TEST_PASS", "secret")
	t.Cleanup(func() { givenSecrets.Store(nil) })
	givenSecrets.Store(&map[string]string{"${OTHER}": "one"})
	_, err := NewSecret("${VARVE_TEST_PASS}")
	require.Error(t, err)
	s, err := NewSecret("${OTHER}")
	require.NoError(t, err)
	require.Equal(t, "one", s.Value())
}

func TestApartSaysHowItEnded(t *testing.T) {
	noneLeft(t)
	for do, want := range map[string][]string{
		"panic":   {"the process of the source ended: exit status 2: panic: as the test wants it; goroutine "},
		"exit":    {"the process of the source ended: exit status 7: line 994 xxx", "; line 999 xxx"},
		"garbage": {"the process of the source was ended: what it said makes no sense: a message of 1852731235 bytes, which must be 1 to 4194304"},
		"error":   {"no route"},
		"end":     nil,
		"print":   nil,
	} {
		t.Run(do, func(t *testing.T) {
			c := wildConfig(t, true, t.TempDir(), "{name: w, type: wild, settings: {do: "+do+"}}")
			log := &lockedBuffer{}
			var out hearingSink
			err := runWild(background, t, c, &out, slog.New(slog.NewTextHandler(log, nil)))
			if want == nil {
				require.NoError(t, err)
			}
			for _, w := range want {
				require.ErrorContains(t, err, w)
			}
			lines := strings.Count(log.String(), "\n")
			require.LessOrEqual(t, lines, sparingLines+1)
			switch do {
			case "error":
				require.Contains(t, log.String(), `level=WARN msg="it is said" a=1 g.b="two words" g.h.c=2.5`)
				require.NotContains(t, log.String(), "not said")
			case "exit":
				require.Greater(t, lines, sparingLines/2)
				require.Less(t, len(err.Error()), (wordsOfEnd+1)*maxLine)
			case "print":
				require.Len(t, out.heard, 1)
				require.Contains(t, log.String(), "connecting to the server")
			}
		})
	}
}

// Nothing is too large for the pipe: what no tag has is counted here as it is there.
func TestApartLargeReadings(t *testing.T) {
	var out hearingSink
	c := wildConfig(t, true, t.TempDir(), "{name: w, type: wild, settings: {do: large}}")
	require.NoError(t, runWild(background, t, c, &out, discard))
	require.Len(t, out.heard, 5)
	require.Equal(t, "a", out.heard[0].(Reading).Address)
	require.Equal(t, "c", out.heard[1].(Reading).Address)
	why := strings.Repeat("x", 100)
	require.Equal(t, []any{"count 1 2", fmt.Sprintf(`down ["a"] 1 %q`, why), fmt.Sprintf(`down ["c"] 1 %q`, why)}, out.heard[2:])
}

// A source that does not wait for answers is made to wait.
func TestApartFloodWaits(t *testing.T) {
	noneLeft(t)
	for _, do := range []string{"flood", "raw flood"} {
		t.Run(do, func(t *testing.T) {
			out := hearingSink{block: make(chan struct{}), blocked: make(chan struct{}, 1)}
			c := wildConfig(t, true, t.TempDir(), "{name: w, type: wild, settings: {do: "+do+"}}")
			ctx, cancel := context.WithCancel(background)
			ended := make(chan error)
			go func() { ended <- runWild(ctx, t, c, &out, discard) }()
			require.Eventually(t, func() bool {
				out.mu.Lock()
				defer out.mu.Unlock()
				return out.underWay == apartCalls
			}, time.Minute, time.Millisecond)
			close(out.block)
			require.Eventually(t, func() bool {
				out.mu.Lock()
				defer out.mu.Unlock()
				return len(out.heard) > 20_000
			}, time.Minute, time.Millisecond)
			cancel()
			<-ended
			require.Equal(t, apartCalls, out.most)
		})
	}
}

// A call whose context ends is given up, in the collector too.
func TestApartCallsEnd(t *testing.T) {
	noneLeft(t)
	out := hearingSink{block: make(chan struct{}), blocked: make(chan struct{}, 1)}
	c := wildConfig(t, true, t.TempDir(), "{name: w, type: wild, settings: {do: impatient}}")
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error)
	go func() { ended <- runWild(ctx, t, c, &out, discard) }()
	<-out.blocked
	require.Eventually(t, func() bool {
		out.mu.Lock()
		defer out.mu.Unlock()
		return out.underWay == 0
	}, time.Minute, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.Empty(t, out.heard)
}

func TestApartChecksAndBrowses(t *testing.T) {
	noneLeft(t)
	open := func(source string) (*Config, *SourceEntry) {
		c := wildConfig(t, true, t.TempDir(), source)
		return c, &c.Sources[0]
	}
	none := func(Finding) { t.Error("there is none") }
	c, s := open("{name: w, type: wild, settings: {do: panic}}")
	require.ErrorContains(t, CheckSource(background, c, s, time.Now, none), "panic: as the test wants it")
	require.ErrorContains(t, BrowseSource(background, c, s, "", nil), "panic: as the test wants it")
	c, s = open("{name: w, type: wild, settings: {do: garbage}}")
	require.ErrorContains(t, CheckSource(background, c, s, time.Now, none), "makes no sense")
	c, s = open("{name: p, type: plain}")
	require.EqualError(t, CheckSource(background, c, s, time.Now, none), errNotChecked("plain").Error())
	require.EqualError(t, BrowseSource(background, c, s, "", nil), errNotBrowsed("plain").Error())

	c, s = open("{name: w, type: wild, settings: {do: random}}")
	enough := errors.New("enough")
	require.ErrorIs(t, BrowseSource(background, c, s, "", func(Offer) error { return enough }), enough)

	c, s = open("{name: w, type: wild, settings: {do: wait}}") // until the time is up, which is no fault
	ctx, cancel := context.WithCancel(background)
	var found []string
	require.NoError(t, CheckSource(ctx, c, s, time.Now, func(f Finding) {
		found = append(found, f.Tag)
		cancel()
	}))
	require.Equal(t, []string{"w.x"}, found)
}

// apartRig is a collector with a wild source, apart, and a scripted one that is not.
func apartRig(t *testing.T, do string, out *plainOutlet, stop time.Duration) (c *Collector, other scriptedRun, log *lockedBuffer, end func() error) {
	noneLeft(t)
	dir := t.TempDir()
	script := &script{runs: make(chan scriptedRun)}
	text := strings.ReplaceAll(twoSources, "DIR", dir)
	text = strings.Replace(text, "type: scripted\n    settings: {device: d1}", "type: wild\n    settings: {do: "+do+"}", 1)
	config, err := ParseConfig("c.yaml", []byte(text), append(wildKinds(true), script.kind()))
	require.NoError(t, err)
	log = &lockedBuffer{}
	c, err = New(config, Options{Outlet: out, Logger: slog.New(slog.NewTextHandler(log, nil)), Tick: 5 * time.Millisecond, BackoffMin: time.Millisecond, StopTimeout: stop})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	end = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		_ = end()
		if t.Failed() {
			t.Log(log)
		}
	})
	return c, <-script.runs, log, end
}

// comes waits until a tag has so many samples.
func comes(t *testing.T, out *plainOutlet, tag string, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(out.of(tag)) >= n }, time.Minute, time.Millisecond, "%d samples of %s", n, tag)
}

// Whatever a source does, what it put before is there, the time that nobody read it is a gap, it is started again, and another does not notice.
func TestApartSourceFails(t *testing.T) {
	for do, why := range map[string]string{
		"panic": "panic: as the test wants it", "exit": "exit status 7", "garbage": "what it said makes no sense", "bomb": "out of memory", "slow bomb": "out of memory",
	} {
		if wildDeeds[do] == nil {
			continue // of another system
		}
		t.Run(do, func(t *testing.T) {
			out := newPlainOutlet()
			c, other, log, end := apartRig(t, do+" first", out, 0)
			comes(t, out, "one.x", 2) // it was started again
			require.NoError(t, other.out.Put(other.ctx, []Reading{nowReading("y", Int64(1))}))
			require.NoError(t, other.ctx.Err())
			require.EqualValues(t, 1, c.mu.running["one"].feed.counts.restarts.Load())
			require.Equal(t, []uint64{1, 2}, []uint64{out.of("one.x")[0].Bits, out.of("one.x")[1].Bits})
			gaps := out.gapsOf("one.x")
			require.Len(t, gaps, 2)
			require.Contains(t, gaps[0], "not_collected from ")
			require.Contains(t, gaps[1], "ends ")
			require.Empty(t, out.gapsOf("two.y"))
			var failure string
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "a source failed") {
					failure = line
				}
			}
			require.Contains(t, failure, why)
			require.NoError(t, end())
		})
	}
}

// What a source reads while it ends is taken, and what does not end is ended.
func TestApartSourceEnds(t *testing.T) {
	t.Run("last words", func(t *testing.T) {
		out := newPlainOutlet()
		_, _, _, end := apartRig(t, "last words first", out, 0)
		comes(t, out, "one.x", 1)
		require.NoError(t, end())
		require.Len(t, out.of("one.last"), 1)
	})
	t.Run("hang", func(t *testing.T) {
		out := newPlainOutlet()
		_, _, log, end := apartRig(t, "hang first", out, 2*time.Second)
		comes(t, out, "one.x", 1)
		require.NoError(t, end())
		require.Contains(t, log.String(), "the process of the source was ended: it did not end within 1.5s")
		require.NotContains(t, log.String(), "left behind")
	})
	t.Run("flood", func(t *testing.T) {
		out := newPlainOutlet()
		_, other, _, end := apartRig(t, "flood first", out, 0)
		comes(t, out, "one.flood3", 10_000)
		require.NoError(t, other.out.Put(other.ctx, []Reading{nowReading("y", Int64(1))}))
		comes(t, out, "two.y", 1)
		require.NoError(t, end())
	})
}

const collectorToKill = "collector-to-kill"

func TestMessagesAreWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	var b bytes.Buffer
	w := messageWriter{w: &b, most: maxMessage}
	var sent []Reading
	for range 20 {
		r := randomReading(rng)
		sent = append(sent, r)
		require.NoError(t, w.send(msgFound, func(b []byte) []byte { return appendReading(b, &r) }))
	}
	read := func(b []byte) (got []Reading, err error) {
		m := messageReader{r: bufio.NewReader(bytes.NewReader(b)), most: maxMessage}
		for {
			kind, c, err := m.next()
			if err != nil {
				return got, err
			}
			var r Reading
			c.reading(&r, &interner{})
			require.NoError(t, c.end())
			require.Equal(t, msgFound, kind)
			got = append(got, r)
		}
	}
	whole := b.Bytes()
	got, err := read(whole)
	require.ErrorContains(t, err, "EOF")
	require.Equal(t, sent, got)
	for range 2000 { // a bit that is another, bytes in between, an end: what came before is as it was, and nothing else comes
		broken := slices.Clone(whole)
		at := rng.IntN(len(broken))
		switch rng.IntN(3) {
		case 0:
			broken[at] ^= 1 << rng.IntN(8)
		case 1:
			broken = slices.Insert(broken, at, []byte("a word\n")...)
		default:
			broken = broken[:at]
		}
		got, err := read(broken)
		require.Error(t, err)
		require.True(t, slices.Equal(sent[:len(got)], got))
		require.Less(t, len(got), len(sent))
	}
}

func TestOrdersAreWhole(t *testing.T) {
	want := order{
		task: taskBrowse, at: "x", kind: "wild", name: "w", dir: "/d", level: -4, settings: "do: it\n", addresses: []string{"a\xff", ""},
		patterns: []Pattern{{Regexp: "^a-$"}, {Regexp: "+b", Skip: true}, {}}, secrets: []string{"${A}", "b"},
	}
	c := cursor{b: want.append(nil)}
	require.Equal(t, want, c.order())
	require.NoError(t, c.end())
	b := want.append(nil)
	b[0]++
	c = cursor{b: b}
	c.order()
	require.ErrorContains(t, c.end(), "restart it")
}

func TestLastWords(t *testing.T) {
	var w lastWords
	for i := range 10 {
		w.add(fmt.Sprint(i))
	}
	require.Equal(t, "4; 5; 6; 7; 8; 9", w.String())
	for _, line := range []string{"panic: a", "\tpanic: b", "goroutine 1 [running]:", "main.f(...)", "\tf.go:1", "main.g(...)", "more"} {
		w.add(line)
	}
	require.Equal(t, "panic: a; panic: b; goroutine 1 [running]:; main.f(...); f.go:1; main.g(...)", w.String())
}

// FuzzApart has a process say anything: a collector takes readings that make sense, or ends it.
func FuzzApart(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	say := func(kind messageKind, body func([]byte) []byte) {
		var b bytes.Buffer
		w := messageWriter{w: &b, most: maxMessage}
		require.NoError(f, w.send(kind, body))
		f.Add(byte(kind), b.Bytes()[messageHead+1:])
	}
	batch := []Reading{randomReading(rng), randomReading(rng), randomReading(rng)}
	o := randomOffer(rng)
	say(msgPut, func(b []byte) []byte { return appendPut(le.AppendUint32(b, 1), batch) })
	say(msgFlush, func(b []byte) []byte { return le.AppendUint32(b, 2) })
	say(msgDown, func(b []byte) []byte {
		return appendTexts(appendText(le.AppendUint64(le.AppendUint64(le.AppendUint32(b, 3), 4), 5), "why"), []string{"a", "b"})
	})
	say(msgCount, func(b []byte) []byte { return le.AppendUint64(append(b, 1), 1) })
	say(msgDescribe, func(b []byte) []byte { return appendOffer(b, &o) })
	say(msgLog, func(b []byte) []byte { return appendTexts(appendText(le.AppendUint64(b, 4), "m"), []string{"k", "v"}) })
	say(msgEnded, func(b []byte) []byte { return appendText(append(b, 0), "w") })
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		var stream, answers bytes.Buffer
		w := messageWriter{w: &stream, most: maxMessage}
		if w.send(messageKind(kind), func(b []byte) []byte { return append(b, body...) }) != nil {
			return
		}
		var out hearingSink
		h := &host{out: &out, ctx: background, cancels: map[uint32]context.CancelFunc{}, free: make(chan []Reading, 1)}
		h.free <- nil
		c := &child{log: &sparing{log: discard}, to: messageWriter{w: &answers, most: maxOrder}, from: messageReader{r: bufio.NewReader(&stream), most: maxMessage}}
		_, err := c.serve(h.take)
		h.calls.Wait()
		if err != nil {
			require.Empty(t, out.heard)
			require.Zero(t, answers.Len())
			return
		}
		if messageKind(kind) != msgPut {
			return
		}
		b := le.AppendUint32(nil, le.Uint32(body)) // what was taken is what was said, to the byte but for lengths that take more bytes than they need
		var readings []Reading
		for _, x := range out.heard {
			readings = append(readings, x.(Reading))
		}
		b = appendPut(b, readings)
		require.LessOrEqual(t, len(b), len(body))
		again := cursor{b: b[4:]}
		require.Equal(t, readings, again.readings(nil, &interner{}))
		require.NoError(t, again.end())
	})
}

func TestAddressesAreKeptOnce(t *testing.T) {
	var names interner
	require.Equal(t, "a", names.of([]byte("a")))
	allocs := testing.AllocsPerRun(100, func() { names.of([]byte("a")) })
	require.Zero(t, allocs)
	long := make([]byte, 1<<20)
	for i := range 3 * maxInterned >> 20 {
		le.PutUint32(long, uint32(i))
		names.of(long)
		require.LessOrEqual(t, names.bytes, maxInterned)
	}
	require.LessOrEqual(t, len(names.known), maxInterned>>20)
}
