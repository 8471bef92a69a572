package collector

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Config is what a collector is told to do, as docs/reference/collect.md has it.
type Config struct {
	// Collector names this collector: it stands before its health tags, and servers know its batches by it. The default is the host's name.
	Collector    string        `yaml:"collector"`
	Destinations []Destination `yaml:"destinations"`
	Queue        Queue         `yaml:"queue"`
	Health       Health        `yaml:"health"`
	Sources      []SourceEntry `yaml:"sources"`

	file  string
	stamp stamp // of the file when it was read
}

// Self is the address of the server that runs the collector, where one does.
const Self = "self"

// Destination is a server that gets everything.
type Destination struct {
	Name    string `yaml:"name"`    // the default is main
	Address string `yaml:"address"` // HOST:PORT, or Self
	Token   Secret `yaml:"token"`
	TLS     *TLS   `yaml:"tls"` // absent: none
	// Ack is when a batch may leave the queue: applied (in the server's log, and in every read) or archived (in a generation). The default is applied, which
	// accepted is another word for.
	Ack string `yaml:"ack"`
}

// TLS says how to know the server, and to be known. The zero value trusts the system's authorities.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Queue is where samples wait for their destinations.
type Queue struct {
	Dir string `yaml:"dir"`
	// MaxBytes bounds it on disk. The default is 1GiB, the least 1MiB.
	MaxBytes Size `yaml:"max_bytes"`
	// Full is what happens then: block (sources wait), drop-oldest or thin. The default is block.
	Full string `yaml:"full"`
}

// Health says how the collector reports on itself.
type Health struct {
	Off   bool          `yaml:"off"`
	Every time.Duration `yaml:"every"` // the default is 10s
}

// SourceEntry is one source and its tags.
type SourceEntry struct {
	Name     string    `yaml:"name"`
	Type     string    `yaml:"type"`
	Settings yaml.Node `yaml:"settings"`
	// Tags maps addresses to tags. The default maps every address to {source}.{address}.
	Tags []TagRule `yaml:"tags"`
	// MaxTags bounds how many tags the source may make. The default is 100,000.
	MaxTags int `yaml:"max_tags"`
	// Exceptions is whose exception filters hold for tags whose rule has none: those of the server, the default, or none, file.
	Exceptions string `yaml:"exceptions"`
	// Clock is how far the source's clock may be off.
	Clock ClockWindow `yaml:"clock"`

	kind     Kind
	settings any
	mapping  *mapping
}

// Whose exception filters hold.
const (
	exceptionsOfServer = "server"
	exceptionsOfFile   = "file"
)

// ClockWindow says which times of readings are believed. What lies outside goes to the quarantine.
type ClockWindow struct {
	Ahead  time.Duration `yaml:"ahead"`  // of the collector's clock. The default is 5m
	Behind time.Duration `yaml:"behind"` // the default is no bound; readings that are late on purpose have none
	Keep   Size          `yaml:"keep"`   // bytes of the quarantine, from which on readings are lost. The default is 64MiB
}

func (w ClockWindow) keep() Size {
	if w.Keep == 0 {
		return 64 << 20
	}
	return w.Keep
}

// Size is a number of bytes, as 64MiB or 1GB.
type Size int64

var sizeUnits = map[string]int64{
	"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var sizeForm = regexp.MustCompile(`^(\d{1,15})\s*([A-Za-z]*)$`)

func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	m := sizeForm.FindStringSubmatch(n.Value)
	if m != nil {
		if unit, ok := sizeUnits[m[2]]; ok {
			v, _ := strconv.ParseInt(m[1], 10, 64) // at most 15 digits
			if v <= 1<<62/unit {
				*s = Size(v * unit)
				return nil
			}
		}
	}
	return atLine(n, fmt.Sprintf("%.40q is no size such as 64MiB or 1GB", n.Value))
}

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 64 << 20

// ReadConfig reads a configuration and checks all of it, settings of sources included; nothing is connected. kinds are the sources there are.
func ReadConfig(file string, kinds []Kind) (*Config, error) {
	before := stampOf(file)
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(text) > maxConfigBytes {
		return nil, fmt.Errorf("read %s: more than %d bytes: %w", file, maxConfigBytes, ErrConfig)
	}
	c, err := ParseConfig(file, text, kinds)
	if err == nil {
		c.stamp = before
	}
	return c, err
}

// ParseConfig is ReadConfig of a text; file is its name in errors.
func ParseConfig(file string, text []byte, kinds []Kind) (*Config, error) {
	c := &Config{file: file}
	f := &faults{file: file}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		f.yaml(err)
		return nil, f.result()
	}
	if len(document.Content) == 0 {
		f.at(nil, "the file is empty; docs/reference/collect.md has an example")
		return nil, f.result()
	}
	f.root = document.Content[0]
	f.unknownKeys(f.root, reflect.TypeFor[Config]())
	if err := f.root.Decode(c); err != nil {
		f.yaml(err)
		return nil, f.result()
	}
	c.check(f, kinds)
	if err := f.result(); err != nil {
		return nil, err
	}
	return c, nil
}

var (
	plainName       = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	collectorName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	defaultMaxTags  = 100_000
	defaultAhead    = 5 * time.Minute
	defaultHealth   = 10 * time.Second
	mostDestination = 16
)

func (c *Config) check(f *faults, kinds []Kind) {
	if c.Collector == "" {
		c.Collector, _ = os.Hostname() // empty is told below
	}
	if !collectorName.MatchString(c.Collector) {
		f.at([]any{"collector"}, "collector %.40q: must be 1 to 100 letters, digits, '.', '-' and '_'", c.Collector)
	}
	c.checkDestinations(f)
	c.checkQueue(f)
	switch {
	case c.Health.Every == 0:
		c.Health.Every = defaultHealth
	case c.Health.Every < time.Second:
		f.at([]any{"health", "every"}, "every %s: must be at least 1s", c.Health.Every)
	}
	if len(c.Sources) == 0 {
		f.at([]any{"sources"}, "there is no source; give at least one, with name and type")
	}
	names := map[string]int{}
	tags := map[string]string{}
	for i := range c.Sources {
		s := &c.Sources[i]
		path := []any{"sources", i}
		if !plainName.MatchString(s.Name) {
			f.at(append(path, "name"), "source name %.40q: must be 1 to 64 letters, digits, '-' and '_'", s.Name)
		} else if s.Name == "to" {
			f.at(append(path, "name"), "source name \"to\" is where health tags of destinations stand; take another")
		} else if first, twice := names[s.Name]; twice {
			f.at(append(path, "name"), "source %s stands on line %d already", s.Name, first)
		}
		names[s.Name] = lineOf(f.root, append(path, "name"))
		c.checkSource(f, s, path, kinds)
		if s.mapping == nil {
			continue
		}
		for address, r := range s.mapping.exact {
			if r.Skip {
				continue
			}
			name := r.name(s.Name, address, nil)
			at := fmt.Sprintf("%s of source %s", address, s.Name)
			if other, twice := tags[name]; twice {
				f.at(append(append([]any(nil), path...), "tags", r.index), "tag %s is that of address %s, and of %s too", name, at, other)
			}
			tags[name] = at
		}
	}
}

func (c *Config) checkDestinations(f *faults) {
	if len(c.Destinations) == 0 {
		f.at([]any{"destinations"}, "there is no destination; give at least the address of a server")
	}
	if len(c.Destinations) > mostDestination {
		f.at([]any{"destinations"}, "%d destinations, most are %d", len(c.Destinations), mostDestination)
	}
	names := map[string]bool{}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		path := []any{"destinations", i}
		if d.Name == "" && len(c.Destinations) == 1 {
			d.Name = "main"
		}
		if !plainName.MatchString(d.Name) || names[d.Name] {
			f.at(append(path, "name"), "destination name %.40q: must be 1 to 64 letters, digits, '-' and '_', each once", d.Name)
		}
		names[d.Name] = true
		host, _, err := net.SplitHostPort(d.Address)
		if d.Address == Self {
			host, err = "localhost", nil
		}
		if err != nil {
			f.at(append(path, "address"), "address %.60q: must be HOST:PORT", d.Address)
		}
		if d.Token.Value() != "" && d.TLS == nil && !loopback(host) {
			f.at(append(path, "token"), "the token would cross the network to %s in the clear; add tls", d.Address)
		}
		if d.Ack == "" || d.Ack == "accepted" { // what is accepted may still be refused
			d.Ack = "applied"
		}
		if d.Ack != "applied" && d.Ack != "archived" {
			f.at(append(path, "ack"), "ack %.40q: must be applied or archived", d.Ack)
		}
		if t := d.TLS; t != nil && (t.Cert == "") != (t.Key == "") {
			f.at(append(path, "tls"), "cert and key go together")
		}
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Config) checkQueue(f *faults) {
	q := &c.Queue
	if q.Dir == "" {
		f.at([]any{"queue"}, "queue: give dir, the folder where samples wait for their servers")
	}
	if q.MaxBytes == 0 {
		q.MaxBytes = 1 << 30
	}
	if q.MaxBytes < 1<<20 {
		f.at([]any{"queue", "max_bytes"}, "max_bytes %d: must be at least 1MiB", q.MaxBytes)
	}
	if q.Full == "" {
		q.Full = "block"
	}
	if q.Full != "block" && q.Full != "drop-oldest" && q.Full != "thin" {
		f.at([]any{"queue", "full"}, "full %.40q: must be block, drop-oldest or thin", q.Full)
	}
}

func (c *Config) checkSource(f *faults, s *SourceEntry, path []any, kinds []Kind) {
	known, before := false, len(f.list)
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
		if k.Name == s.Type {
			s.kind, known = k, true
		}
	}
	if s.MaxTags == 0 {
		s.MaxTags = defaultMaxTags
	}
	if s.MaxTags < 0 {
		f.at(append(path, "max_tags"), "max_tags %d: must not be negative", s.MaxTags)
	}
	if s.Exceptions != "" && s.Exceptions != exceptionsOfServer && s.Exceptions != exceptionsOfFile {
		f.at(append(path, "exceptions"), "exceptions %.40q: must be %s or %s", s.Exceptions, exceptionsOfServer, exceptionsOfFile)
	}
	if s.Clock.Ahead == 0 {
		s.Clock.Ahead = defaultAhead
	}
	if s.Clock.Ahead < 0 || s.Clock.Behind < 0 {
		f.at(append(path, "clock"), "ahead %s and behind %s: must not be negative", s.Clock.Ahead, s.Clock.Behind)
	}
	s.mapping = compileMapping(f, append(append([]any(nil), path...), "tags"), c.Collector, s)
	if !known {
		f.at(append(path, "type"), "source type %.40q: must be one of %s", s.Type, strings.Join(names, ", "))
		return
	}
	s.settings = s.kind.settings()
	where := append(append([]any(nil), path...), "settings")
	if s.Settings.Kind != 0 {
		f.unknownKeys(&s.Settings, reflect.TypeOf(s.settings))
		if err := s.Settings.Decode(s.settings); err != nil {
			f.yaml(err)
			return
		}
	}
	if checked, ok := s.settings.(interface{ Check() error }); ok {
		if err := checked.Check(); err != nil {
			f.err(where, err)
			return
		}
	}
	if len(f.list) > before { // opening may stumble over what is told already
		return
	}
	if _, err := s.kind.open(c.env(s, slog.New(slog.DiscardHandler), time.Now), s.settings); err != nil {
		f.opened(path, err, s.mapping)
	}
}

// opened adds why a source cannot be opened: what is wrong with addresses where their rules stand, and all else where its settings do.
func (f *faults) opened(source []any, err error, m *mapping) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range several.Unwrap() {
			f.opened(source, err, m)
		}
		return
	}
	var of *addressError
	if errors.As(err, &of) && m.exact[of.address] != nil {
		f.at(append(slices.Clone(source), "tags", m.exact[of.address].index, "address"), "%s", err)
		return
	}
	f.err(append(slices.Clone(source), "settings"), err)
}

// env is what a source of the configuration is given.
func (c *Config) env(s *SourceEntry, l *slog.Logger, now func() time.Time) Env {
	return Env{Name: s.Name, Dir: c.sourceDir(s.Name), Addresses: s.mapping.addresses, Patterns: s.wanted(), Logger: l, Now: now}
}

// wanted is the patterns of its rules for a source that finds by itself what there is; none where there are no rules, which would be all of a server.
func (s *SourceEntry) wanted() (out []Pattern) {
	if !s.kind.ByPattern || len(s.Tags) == 0 {
		return nil
	}
	for _, r := range s.mapping.patterns {
		out = append(out, Pattern{Regexp: r.pattern.String(), Skip: r.Skip})
	}
	return out
}

// sourceDir is the folder of a source, of which its own is a part.
func (c *Config) sourceDir(source string) string {
	return filepath.Join(c.Queue.Dir, "sources", source)
}

// SourceDir is the folder of a source's own: its place, its certificates.
func (c *Config) SourceDir(s *SourceEntry) string { return c.sourceDir(s.Name) }

// Source is the entry of a source by its name.
func (c *Config) Source(name string) (*SourceEntry, error) {
	var names []string
	for i := range c.Sources {
		if c.Sources[i].Name == name {
			return &c.Sources[i], nil
		}
		names = append(names, c.Sources[i].Name)
	}
	return nil, fmt.Errorf("%s has no source %q; it has %s", c.file, name, strings.Join(names, ", "))
}

// sameSource reports that a running source need not be started anew to be as b has it.
func sameSource(a, b *SourceEntry) bool {
	return a.Type == b.Type && reflect.DeepEqual(a.settings, b.settings) &&
		(!a.kind.ByAddress || reflect.DeepEqual(a.mapping.addresses, b.mapping.addresses)) && slices.Equal(a.wanted(), b.wanted())
}

// sameFrame is why b cannot take the place of a without a restart; nil if it can.
func sameFrame(a, b *Config) error {
	switch {
	case a.Collector != b.Collector:
		return errors.New("the collector's name changed, by which servers know its batches: restart it")
	case !reflect.DeepEqual(a.Destinations, b.Destinations):
		return errors.New("the destinations changed: restart the collector")
	case a.Queue != b.Queue:
		return errors.New("the queue's settings changed: restart the collector")
	}
	return nil
}
