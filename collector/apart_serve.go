package collector

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// ApartCommand is how a program is called that a collector starts for a source of a kind with Apart, before the name of the source. The program calls
// [ServeApart] then, and does nothing else.
var ApartCommand = [2]string{"collect", "source"}

// ServeApart does the work of one source, as the collector that started this process says over its standard input. It returns when the source has
// ended, or the collector is gone; the process is to end then, whatever still runs in it.
func ServeApart(kinds []Kind) error {
	in, out := os.Stdin, os.Stdout
	os.Stdout = os.Stderr                                          // what a library prints must not get between messages
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // they are for the collector, which ends its sources in order
	if err := confine(); err != nil {
		fmt.Fprintln(os.Stderr, "the memory of the source is not bounded:", err)
	}
	from := messageReader{r: bufio.NewReader(in), most: maxOrder}
	kind, body, err := from.next()
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	o := body.order()
	if err := body.end(); err != nil || kind != msgStart {
		return errors.Join(fmt.Errorf("a message of kind %d in place of an order", kind), err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	g := &guest{to: messageWriter{w: out, most: maxMessage}, calls: map[uint32]chan error{}}
	gone := make(chan error, 1)
	go func() { gone <- g.listen(&from, stop) }()
	ended := make(chan error, 1)
	go func() { ended <- g.do(ctx, &o, kinds) }()
	select {
	case err = <-gone:
		return fmt.Errorf("the collector is gone: %w", err)
	case err = <-ended:
	}
	return g.to.send(msgEnded, func(b []byte) []byte {
		var flag byte
		if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			flag = 1
		}
		return appendText(append(b, flag), errorText(err))
	})
}

// errorText is the text of an error, cut so that a message has it; empty for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if s == "" {
		s = "an error without a text"
	}
	return s[:min(len(s), fullMessage)]
}

// guest is the collector as the process of a source has it.
type guest struct {
	to messageWriter

	mu    sync.Mutex
	calls map[uint32]chan error // under way
	last  uint32
}

// do does what the collector ordered.
func (g *guest) do(ctx context.Context, o *order, kinds []Kind) error {
	s, err := open(o, kinds, slog.New(&guestLog{to: &g.to, level: slog.Level(o.level)}))
	if err != nil {
		return err
	}
	switch o.task {
	case taskRun:
		return s.Run(ctx, g)
	case taskCheck:
		c, ok := s.(Checker)
		if !ok {
			return errNotChecked(o.kind)
		}
		return c.Check(ctx, func(r Reading) {
			if err := g.to.send(msgFound, func(b []byte) []byte { return appendReading(b, &r) }); err != nil {
				fmt.Fprintln(os.Stderr, "a value cannot be told:", err)
			}
		})
	case taskBrowse:
		b, ok := s.(Browser)
		if !ok {
			return errNotBrowsed(o.kind)
		}
		return b.Browse(ctx, o.at, func(x Offer) error {
			return g.to.send(msgOffer, func(b []byte) []byte { return appendOffer(b, &x) })
		})
	}
	return fmt.Errorf("task %d: there is none", o.task)
}

// open opens the source of an order, as the configuration's reader does.
func open(o *order, kinds []Kind, log *slog.Logger) (Source, error) {
	for _, k := range kinds {
		if k.Name != o.kind {
			continue
		}
		secrets := map[string]string{}
		for i := 0; i+1 < len(o.secrets); i += 2 {
			secrets[o.secrets[i]] = o.secrets[i+1]
		}
		givenSecrets.Store(&secrets)
		settings := k.settings()
		if err := yaml.Unmarshal([]byte(o.settings), settings); err != nil {
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		if checked, ok := settings.(interface{ Check() error }); ok {
			if err := checked.Check(); err != nil {
				return nil, err
			}
		}
		return k.open(Env{Name: o.name, Dir: o.dir, Addresses: o.addresses, Patterns: o.patterns, Logger: log, Now: time.Now}, settings)
	}
	return nil, fmt.Errorf("source type %.40q: this program has none", o.kind)
}

// listen takes what the collector says, until it says no more.
func (g *guest) listen(from *messageReader, stop func()) error {
	for {
		kind, body, err := from.next()
		if err != nil {
			return err
		}
		switch kind {
		case msgStop:
			stop()
		case msgAnswer:
			id, text := body.uint32(), body.string()
			if err := body.end(); err != nil {
				return err
			}
			g.mu.Lock()
			answer := g.calls[id]
			delete(g.calls, id)
			g.mu.Unlock()
			if answer == nil {
				return fmt.Errorf("an answer to call %d, which is not under way", id)
			}
			if err = nil; text != "" {
				err = errors.New(text)
			}
			answer <- err
		default:
			return fmt.Errorf("a message of kind %d", kind)
		}
	}
}

// call says something and waits for the answer. The end of ctx is said too; it is the collector's to answer then.
func (g *guest) call(ctx context.Context, kind messageKind, body func([]byte) []byte) error {
	answer := make(chan error, 1)
	g.mu.Lock()
	for g.last++; g.calls[g.last] != nil; g.last++ {
	}
	id := g.last
	g.calls[id] = answer
	g.mu.Unlock()
	number := func(b []byte) []byte { return le.AppendUint32(b, id) }
	err := g.to.send(kind, func(b []byte) []byte {
		if b = number(b); body != nil {
			b = body(b)
		}
		return b
	})
	if err != nil {
		g.mu.Lock()
		delete(g.calls, id)
		g.mu.Unlock()
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	if err := g.to.send(msgCancel, number); err != nil {
		return err
	}
	return <-answer
}

func (g *guest) Put(ctx context.Context, readings []Reading) error {
	for len(readings) > 0 {
		n, large := 0, 0
		err := g.call(ctx, msgPut, func(b []byte) []byte {
			at := len(b)
			b = le.AppendUint32(b, 0)
			for ; n < len(readings) && n < maxPutReadings && len(b) < fullMessage; n++ {
				if r := &readings[n]; len(r.Address)+len(r.Value.Text) > maxItem {
					large++
				} else {
					b = appendReading(b, r)
				}
			}
			le.PutUint32(b[at:], uint32(n-large))
			return b
		})
		if large > 0 { // no tag would have them
			g.Count(Rejected, large)
		}
		if err != nil {
			return err
		}
		readings = readings[n:]
	}
	return nil
}

func (g *guest) Flush(ctx context.Context) error { return g.call(ctx, msgFlush, nil) }

func (g *guest) Down(ctx context.Context, addresses []string, at int64, reason string) error {
	return g.tell(ctx, msgDown, addresses, at, 0, reason)
}

func (g *guest) Up(ctx context.Context, addresses []string, at int64) error {
	return g.tell(ctx, msgUp, addresses, at, 0, "")
}

func (g *guest) Lost(ctx context.Context, addresses []string, from, to int64, reason string) error {
	return g.tell(ctx, msgLost, addresses, from, to, reason)
}

// tell says something of addresses, or of all where there are none.
func (g *guest) tell(ctx context.Context, kind messageKind, addresses []string, from, to int64, reason string) error {
	all := len(addresses) == 0
	for all || len(addresses) > 0 {
		n, bytes := 0, 0
		for ; n < len(addresses) && bytes < fullMessage; n++ {
			bytes += len(addresses[n])
		}
		part := addresses[:n]
		if bytes > maxItem { // the last is one that no tag has
			part = part[:n-1]
		}
		if all || len(part) > 0 {
			err := g.call(ctx, kind, func(b []byte) []byte {
				b = le.AppendUint64(le.AppendUint64(b, uint64(from)), uint64(to))
				return appendTexts(appendText(b, reason[:min(len(reason), fullMessage)]), part)
			})
			if err != nil {
				return err
			}
		}
		all, addresses = false, addresses[n:]
	}
	return nil
}

func (g *guest) Count(c Counter, n int) {
	err := g.to.send(msgCount, func(b []byte) []byte { return le.AppendUint64(append(b, byte(c)), uint64(n)) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "a count cannot be told:", err)
	}
}

// Describe makes it a Describer.
func (g *guest) Describe(offers []Offer) {
	for i := range offers {
		if err := g.to.send(msgDescribe, func(b []byte) []byte { return appendOffer(b, &offers[i]) }); err != nil {
			fmt.Fprintln(os.Stderr, "what an address is cannot be told:", err)
		}
	}
}

// guestLog hands what is logged to the collector.
type guestLog struct {
	to     *messageWriter
	level  slog.Level
	prefix string   // of keys: the groups, each with a dot behind it
	pairs  []string // key and value in turn
}

func (l *guestLog) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l *guestLog) Handle(_ context.Context, r slog.Record) error {
	pairs := l.pairs[:len(l.pairs):len(l.pairs)]
	r.Attrs(func(a slog.Attr) bool {
		pairs = appendAttr(pairs, l.prefix, a)
		return true
	})
	return l.to.send(msgLog, func(b []byte) []byte {
		b = le.AppendUint64(b, uint64(r.Level))
		return appendTexts(appendText(b, r.Message), pairs)
	})
}

func appendAttr(pairs []string, prefix string, a slog.Attr) []string {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		return append(pairs, prefix+a.Key, v.String())
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, x := range v.Group() {
		pairs = appendAttr(pairs, prefix, x)
	}
	return pairs
}

func (l *guestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *l
	out.pairs = out.pairs[:len(out.pairs):len(out.pairs)]
	for _, a := range attrs {
		out.pairs = appendAttr(out.pairs, l.prefix, a)
	}
	return &out
}

func (l *guestLog) WithGroup(name string) slog.Handler {
	out := *l
	if name != "" {
		out.prefix += name + "."
	}
	return &out
}
