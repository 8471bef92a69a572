package collector

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"
)

// apart is a source whose work is done in a process of its own: what ends that, or takes all memory it can get, ends nothing else.
//
//	source → guest → messages on its standard output → apart → the Sink of the collector
//
// The process has a source of the kind, opened from the same settings. What it says is not trusted: it has read a device's bytes.
type apart struct {
	env   Env
	entry *SourceEntry
	grace time.Duration // how long it may take to end when it is told to
}

const (
	// apartMemory is how much memory such a process may have, besides what it has when it begins.
	apartMemory = 2 << 30
	// apartGrace is how long a process that checks or browses may take to end.
	apartGrace = 3 * time.Second
	// apartExit is how long a process may be there after its source ended.
	apartExit = 2 * time.Second
	// apartCalls is how many calls of a process may be under way; further ones wait.
	apartCalls = 8
	// apartItems is how many values a check may find, or a browse may offer.
	apartItems = 1_000_000
)

// open opens the source of an entry, which may need up to grace to end.
func (s *SourceEntry) open(e Env, grace time.Duration) (Source, error) {
	if !s.kind.Apart {
		return s.kind.open(e, s.settings)
	}
	return &apart{env: e, entry: s, grace: grace}, nil
}

// Run is part of Source.
func (a *apart) Run(ctx context.Context, out Sink) error {
	h := &host{out: out, ctx: ctx, cancels: map[uint32]context.CancelFunc{}, free: make(chan []Reading, apartCalls)}
	for range apartCalls {
		h.free <- nil
	}
	return a.work(ctx, order{task: taskRun}, h.take, &h.calls)
}

// Check is part of Checker.
func (a *apart) Check(ctx context.Context, report func(Reading)) error {
	var names interner
	n := 0
	return a.work(ctx, order{task: taskCheck}, func(_ *child, kind messageKind, body *cursor) error {
		if n++; kind != msgFound || n > apartItems {
			return fmt.Errorf("message %d of kind %d", n, kind)
		}
		var r Reading
		body.reading(&r, &names)
		if err := body.end(); err != nil {
			return err
		}
		report(r)
		return nil
	}, nil)
}

// Browse is part of Browser.
func (a *apart) Browse(ctx context.Context, at string, each func(Offer) error) error {
	n := 0
	var enough error
	err := a.work(ctx, order{task: taskBrowse, at: at}, func(_ *child, kind messageKind, body *cursor) error {
		if n++; kind != msgOffer || n > apartItems {
			return fmt.Errorf("message %d of kind %d", n, kind)
		}
		o := body.offer()
		if err := body.end(); err != nil {
			return err
		}
		enough = each(o)
		return enough
	}, nil)
	if enough != nil {
		return enough
	}
	return err
}

// order completes an order by what the source is given.
func (a *apart) order(o order) (order, error) {
	o.kind, o.name, o.dir, o.addresses, o.patterns = a.entry.kind.Name, a.env.Name, a.env.Dir, a.env.Addresses, a.env.Patterns
	o.level = int64(slog.LevelError) + 1
	for _, l := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
		if a.env.Logger.Enabled(context.Background(), l) {
			o.level = int64(l)
		}
	}
	if a.entry.Settings.Kind != 0 {
		text, err := yaml.Marshal(plainNode(&a.entry.Settings))
		if err != nil {
			return o, fmt.Errorf("write the settings for the process of the source: %w", err)
		}
		o.settings = string(text)
	}
	o.secrets = secretsOf(nil, reflect.ValueOf(a.entry.settings))
	return o, nil
}

// plainNode is a node without anchors: they may stand elsewhere in the configuration.
func plainNode(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	out := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value}
	for _, x := range n.Content {
		out.Content = append(out.Content, plainNode(x))
	}
	return out
}

// secretsOf appends what refers to the secrets of settings, each with the secret behind it.
func secretsOf(all []string, v reflect.Value) []string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return secretsOf(all, v.Elem())
	case reflect.Struct:
		if s, ok := reflect.TypeAssert[Secret](v); ok {
			if s.ref != "" {
				all = append(all, s.ref, s.value)
			}
			return all
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				all = secretsOf(all, v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			all = secretsOf(all, v.Index(i))
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			all = secretsOf(all, i.Value())
		}
	}
	return all
}

// work has a process do what is ordered, and hands to take what it says. calls are those that take left under way; nil for none. It returns when
// the process is gone and they are done.
func (a *apart) work(ctx context.Context, o order, take func(*child, messageKind, *cursor) error, calls *sync.WaitGroup) error {
	o, err := a.order(o)
	if err != nil {
		return err
	}
	c, err := startChild(a.env)
	if err != nil {
		return fmt.Errorf("start a process for the source: %w", err)
	}
	var helpers sync.WaitGroup
	helpers.Go(func() { _ = c.to.send(msgStart, o.append) }) // where it cannot be said, the process is gone, and its end says why
	over := make(chan struct{})
	helpers.Go(func() {
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		kill := time.AfterFunc(a.grace, func() { c.kill(fmt.Sprintf("it did not end within %s", a.grace)) })
		defer kill.Stop()
		_ = c.to.send(msgStop, nil) // as above
		<-c.gone
	})
	how, err := c.serve(take)
	close(over)
	if err != nil {
		c.kill(err.Error())
	}
	c.end()
	helpers.Wait()
	if calls != nil {
		calls.Wait()
	}
	switch {
	case how == nil:
		return fmt.Errorf("the process of the source %s", c.fate())
	case how.text == "":
		return nil
	case how.canceled && ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.New(how.text)
}

// child is the process of a source.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	to     messageWriter
	from   messageReader
	log    *sparing
	read   chan struct{} // closed when its outputs are read to their ends
	said   chan struct{} // closed when its standard error is
	gone   chan struct{} // closed when it is no more
	words  lastWords

	mu  sync.Mutex
	why string // it was killed; empty where it was not
}

// apartEnv are the variables of the environment that the process gets: others may be secrets, of which it gets its own.
var apartEnv = []string{"GODEBUG", "GOMAXPROCS", "GOTRACEBACK", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "ZONEINFO"}

// startChild starts a process that waits for an order.
func startChild(env Env) (*child, error) {
	program, err := apartProgram()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(program), log: &sparing{log: env.Logger}}
	c.read, c.said, c.gone = make(chan struct{}), make(chan struct{}), make(chan struct{})
	c.cmd.Args = []string{os.Args[0], ApartCommand[0], ApartCommand[1], env.Name}
	c.cmd.Env = []string{} // not all of ours
	for _, name := range apartEnv {
		if v, ok := os.LookupEnv(name); ok {
			c.cmd.Env = append(c.cmd.Env, name+"="+v)
		}
	}
	c.cmd.SysProcAttr = apartAttributes()
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	c.stdin, c.stdout = stdin, stdout
	c.to = messageWriter{w: stdin, most: maxOrder}
	c.from = messageReader{r: bufio.NewReaderSize(stdout, 64<<10), most: maxMessage}
	started := make(chan error, 1)
	go c.wait(started)
	if err := <-started; err != nil {
		return nil, err
	}
	env.Logger.Info("the source has a process of its own", "pid", c.cmd.Process.Pid)
	go c.hear(stderr)
	return c, nil
}

// wait starts the process and waits for its end, on a thread that lasts as long: on Linux the process dies with the thread that made it.
func (c *child) wait(started chan<- error) {
	runtime.LockOSThread()
	err := c.cmd.Start()
	if started <- err; err != nil {
		return
	}
	<-c.read
	_ = c.cmd.Wait() // fate tells
	close(c.gone)
}

// kill ends the process, and says why.
func (c *child) kill(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == "" {
		c.why = why
	}
	_ = c.cmd.Process.Kill() // if it is gone already, so much the better
}

// end waits until the process is gone. One whose source ended goes by itself.
func (c *child) end() {
	kill := time.AfterFunc(apartExit, func() { c.kill(fmt.Sprintf("it was still there %s after its source ended", apartExit)) })
	defer kill.Stop()
	_ = c.stdin.Close()                  // which it notices, and what is being said to it ends
	_, _ = io.Copy(io.Discard, c.stdout) // an error is its end
	<-c.said
	close(c.read)
	<-c.gone
}

// fate says how the process ended.
func (c *child) fate() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != "" {
		return "was ended: " + c.why
	}
	text := "ended: " + c.cmd.ProcessState.String()
	if words := c.words.String(); words != "" {
		text += ": " + words
	}
	return text
}

// howEnded is what a process said of how its source ended.
type howEnded struct {
	canceled bool // it is that the context ended
	text     string
}

// serve takes what the process says until it says how its source ended. It returns nil for how where the process ended before; an error for
// what makes no sense.
func (c *child) serve(take func(*child, messageKind, *cursor) error) (how *howEnded, err error) {
	for {
		kind, body, err := c.from.next()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil, nil
		case err == nil && kind == msgEnded:
			how := &howEnded{body.uint8() != 0, body.string()}
			if err = body.end(); err == nil {
				return how, nil
			}
		case err == nil && kind == msgLog:
			err = c.takeLog(&body)
		case err == nil:
			err = take(c, kind, &body)
		}
		if err != nil {
			return nil, fmt.Errorf("what it said makes no sense: %w", err)
		}
	}
}

func (c *child) takeLog(body *cursor) error {
	level, message, pairs := slog.Level(body.int64()), body.string(), body.strings()
	if err := body.end(); err != nil {
		return err
	}
	args := make([]any, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		args = append(args, slog.String(pairs[i], pairs[i+1]))
	}
	c.log.write(level, message, args...)
	return nil
}

// maxLine is how much of a line that a process says is kept.
const maxLine = 1 << 10

// hear logs what the process says on its standard error, and keeps the last of it.
func (c *child) hear(stderr io.Reader) {
	defer close(c.said)
	lines := bufio.NewReaderSize(stderr, maxLine)
	within := false // the line before is not at its end
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if first := !within; first && len(line) > 0 {
			text := strings.ToValidUTF8(string(line), "\uFFFD")
			c.words.add(text)
			c.log.write(slog.LevelWarn, "the process of the source says", slog.String("line", text))
		}
		within = more
	}
}

// lastWords are what a process said last; of a panic, how it begins.
type lastWords struct {
	lines []string
	panic bool
}

// wordsOfEnd is how many lines are kept.
const wordsOfEnd = 6

func (w *lastWords) add(line string) {
	switch {
	case w.panic && len(w.lines) >= wordsOfEnd:
		return
	case !w.panic && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")):
		w.panic, w.lines = true, nil
	case !w.panic && len(w.lines) == wordsOfEnd:
		w.lines = w.lines[1:]
	}
	w.lines = append(w.lines, strings.TrimSpace(line))
}

func (w *lastWords) String() string { return strings.Join(w.lines, "; ") }

// sparing logs at most so many lines a minute.
type sparing struct {
	log *slog.Logger

	mu    sync.Mutex
	since time.Time
	lines int
}

// sparingLines is how many.
const sparingLines = 100

func (s *sparing) write(level slog.Level, message string, args ...any) {
	s.mu.Lock()
	if now := time.Now(); now.Sub(s.since) >= time.Minute {
		s.since, s.lines = now, 0
	}
	s.lines++
	n := s.lines
	s.mu.Unlock()
	switch {
	case n < sparingLines:
		s.log.Log(context.Background(), level, message, args...)
	case n == sparingLines:
		s.log.Warn("the process of the source says more than is logged", "most_a_minute", sparingLines)
	}
}

// host does for the process of a source what the collector does for a source.
type host struct {
	out   Sink
	ctx   context.Context // of Run
	names interner
	free  chan []Reading // memory for the readings of calls, as many as may be under way
	calls sync.WaitGroup

	mu      sync.Mutex
	cancels map[uint32]context.CancelFunc // of calls under way
}

// take does what a message asks for. Calls go on while the next message is read: one that waits for a full queue must not keep others waiting.
func (h *host) take(c *child, kind messageKind, body *cursor) error {
	switch kind {
	case msgCount:
		counter, n := Counter(body.uint8()), int(body.int64())
		if err := body.end(); err != nil {
			return err
		}
		h.out.Count(counter, n)
		return nil
	case msgDescribe:
		o := body.offer()
		if err := body.end(); err != nil {
			return err
		}
		if d, ok := h.out.(Describer); ok {
			d.Describe([]Offer{o})
		}
		return nil
	case msgCancel:
		id := body.uint32()
		h.mu.Lock()
		defer h.mu.Unlock()
		if cancel := h.cancels[id]; cancel != nil { // else it is answered by now
			cancel()
		}
		return body.end()
	}
	id := body.uint32()
	readings := <-h.free
	var do func(context.Context) error
	switch kind {
	case msgPut:
		readings = body.readings(readings[:0], &h.names)
		do = func(ctx context.Context) error { return h.out.Put(ctx, readings) }
	case msgFlush:
		do = h.out.Flush
	case msgDown, msgUp, msgLost:
		from, to, reason, addresses := body.int64(), body.int64(), body.string(), body.strings()
		do = func(ctx context.Context) error {
			switch kind {
			case msgDown:
				return h.out.Down(ctx, addresses, from, reason)
			case msgUp:
				return h.out.Up(ctx, addresses, from)
			}
			return h.out.Lost(ctx, addresses, from, to, reason)
		}
	default:
		return fmt.Errorf("a message of kind %d", kind)
	}
	if err := body.end(); err != nil {
		return err
	}
	return h.call(c, id, readings, do)
}

// call does what a call asks for, and answers it.
func (h *host) call(c *child, id uint32, readings []Reading, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(h.ctx)
	h.mu.Lock()
	twice := h.cancels[id] != nil
	if !twice {
		h.cancels[id] = cancel
	}
	h.mu.Unlock()
	if twice {
		cancel()
		return fmt.Errorf("call %d, which is under way", id)
	}
	h.calls.Go(func() {
		err := contained(func() error { return do(ctx) })
		h.mu.Lock()
		delete(h.cancels, id)
		h.mu.Unlock()
		cancel()
		h.free <- readings
		_ = c.to.send(msgAnswer, func(b []byte) []byte { return appendText(le.AppendUint32(b, id), errorText(err)) }) // its end says why it cannot be
	})
	return nil
}
