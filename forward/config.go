package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/internal/glob"
)

// ErrConfig is returned for a configuration that makes no sense.
var ErrConfig = errors.New("the configuration makes no sense")

// Config is what a forwarder is told to do, as docs/reference/forward.md has it.
type Config struct {
	// Source names this forwarder to the site, and stands before its health tags. Required.
	Source string `yaml:"source"`
	// Dir is the folder of its place. One forwarder has it open.
	Dir  string  `yaml:"dir"`
	From *Server `yaml:"from"`
	// To is the site; or
	To *Server `yaml:"to"`
	// Spool is where files are written that somebody carries there. One of the two.
	Spool *Spool `yaml:"spool"`
	// Tags are names and patterns (* is any text, ? one character) of tags of the edge. The default is all.
	Tags []string `yaml:"tags"`
	// Begin is what a new forwarder sends: everything, or what comes from now on.
	Begin string `yaml:"begin"`
	Names Names  `yaml:"names"`
	// Raw is whether samples go as they are. The default is true.
	Raw *bool `yaml:"raw"`
	// Filtered are the tags whose samples go thinned by a filter, and by which.
	Filtered   []Filtered  `yaml:"filtered"`
	Aggregates []Aggregate `yaml:"aggregates"`
	// Linger is how long changes wait for more to share a parcel with. The default is 1s, the most 10s.
	Linger time.Duration `yaml:"linger"`
	// GapsEvery is how often the edge is asked for its gaps. The default is 10s.
	GapsEvery time.Duration `yaml:"gaps_every"`
	Health    Health        `yaml:"health"`
}

// Health says how a forwarder reports on itself, in tags of the edge.
type Health struct {
	Off   bool          `yaml:"off"`
	Every time.Duration `yaml:"every"` // the default is 10s
}

// Server is how to reach a server.
type Server struct {
	Address string           `yaml:"address"` // HOST:PORT, or collector.Self
	Token   collector.Secret `yaml:"token"`
	TLS     *collector.TLS   `yaml:"tls"` // absent: none
}

// Names makes names of the site from those of the edge.
type Names struct {
	Prefix  string   `yaml:"prefix"`
	Replace []Rename `yaml:"replace"` // each once, in their order, before the prefix
}

// Rename replaces what matches.
type Rename struct {
	Match string `yaml:"match"` // RE2
	With  string `yaml:"with"`  // $1 is what the first group matched

	re *regexp.Regexp
}

// of is the name that a tag, or a set of states, has at the site.
func (n *Names) of(name string) string {
	for i := range n.Replace {
		name = n.Replace[i].re.ReplaceAllString(name, n.Replace[i].With)
	}
	return n.Prefix + name
}

const maxConfigBytes = 1 << 20

// ReadConfig reads a configuration and checks it.
func ReadConfig(file string) (*Config, error) {
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
	c, err := ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// ParseConfig is ReadConfig of a text.
func ParseConfig(text []byte) (*Config, error) {
	c := &Config{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty; docs/reference/forward.md has an example")
		}
		return nil, fmt.Errorf("%w: %s", ErrConfig, plain(err))
	}
	if err := d.Decode(&Config{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is a second document", ErrConfig)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

var inGo = regexp.MustCompile(` (not found in|into) (type )?[a-zA-Z.\[\]]*\.[a-zA-Z]+`)

// plain leaves out of an error how Go calls things.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "yaml: unmarshal errors:\n  ", "")
	return inGo.ReplaceAllString(strings.ReplaceAll(text, "field ", "unknown key "), "")
}

var sourceName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

const (
	beginEverything = "everything"
	beginNow        = "now"
)

func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !sourceName.MatchString(c.Source) {
		wrong("source %.40q: must be 1 to 100 letters, digits, '.', '-' and '_'", c.Source)
	}
	if c.Dir == "" {
		wrong("dir is required: the folder where the forwarder keeps its place")
	} else if dir, err := filepath.Abs(c.Dir); err != nil {
		wrong("dir: %w", err)
	} else {
		c.Dir = dir
	}
	c.checkServer("from", c.From, wrong)
	switch {
	case (c.To == nil) == (c.Spool == nil):
		wrong("give one of to, the server that things are brought to, and spool, a folder for files")
	case c.To != nil:
		c.checkServer("to", c.To, wrong)
	default:
		c.checkSpool(wrong)
	}
	if len(c.Tags) == 0 {
		c.Tags = []string{"*"}
	}
	if len(c.Tags) > 1000 {
		wrong("%d names and patterns in tags, most are 1000", len(c.Tags))
	}
	for _, t := range c.Tags {
		if t == "" || len(t) > 1024 {
			wrong("tags: %.40q: must be 1 to 1024 bytes", t)
		}
	}
	if c.Begin == "" {
		c.Begin = beginEverything
	}
	if c.Begin != beginEverything && c.Begin != beginNow {
		wrong("begin %.40q: must be everything or now", c.Begin)
	}
	for i := range c.Names.Replace {
		r := &c.Names.Replace[i]
		re, err := regexp.Compile(r.Match)
		if err != nil || r.Match == "" {
			wrong("names: match %.60q: must be a regular expression (RE2)", r.Match)
			continue
		}
		r.re = re
	}
	c.checkFiltered(wrong)
	c.checkAggregates(wrong)
	between(&c.Linger, time.Second, 0, 10*time.Second, "linger", wrong)
	between(&c.GapsEvery, 10*time.Second, 100*time.Millisecond, time.Hour, "gaps_every", wrong)
	between(&c.Health.Every, 10*time.Second, time.Second, time.Hour, "health: every", wrong)
	return errors.Join(errs...)
}

// between sets a duration to its default, and holds it to its bounds.
func between(d *time.Duration, standard, least, most time.Duration, what string, wrong func(string, ...any)) {
	if *d == 0 {
		*d = standard
	}
	if *d < least || *d > most {
		wrong("%s %s: must be from %s to %s", what, *d, least, most)
	}
}

func (c *Config) checkServer(what string, s *Server, wrong func(string, ...any)) {
	if s == nil {
		wrong("%s is required: the server's address", what)
		return
	}
	host, _, err := net.SplitHostPort(s.Address)
	if s.Address == collector.Self {
		host, err = "localhost", nil
	}
	if err != nil {
		wrong("%s: address %.60q: must be HOST:PORT", what, s.Address)
	}
	if s.Token.Value() != "" && s.TLS == nil && !loopback(host) {
		wrong("%s: the token would cross the network to %s in the clear; add tls", what, s.Address)
	}
	if t := s.TLS; t != nil && (t.Cert == "") != (t.Key == "") {
		wrong("%s: tls: cert and key go together", what)
	}
}

// raw reports whether samples go as they are.
func (c *Config) raw() bool { return c.Raw == nil || *c.Raw }

func (c *Config) checkAggregates(wrong func(string, ...any)) {
	if !c.raw() && len(c.Aggregates)+len(c.Filtered) == 0 {
		wrong("raw is false, nothing is filtered and there are no aggregates: nothing would go")
	}
	if len(c.Aggregates) > 16 {
		wrong("%d aggregates, most are 16", len(c.Aggregates))
	}
	suffixes := map[string]bool{}
	for i := range c.Aggregates {
		a := &c.Aggregates[i]
		if _, known := functionUnit[a.Function]; !known {
			wrong("aggregates: function %.40q: must be one of %s", a.Function, strings.Join(slices.Sorted(maps.Keys(functionUnit)), ", "))
		}
		checkEvery(a.Every, "aggregates", wrong)
		if a.Suffix == "" || len(a.Suffix) > 100 || suffixes[a.Suffix] {
			wrong("aggregates: suffix %.40q: must be 1 to 100 bytes, each once", a.Suffix)
		}
		suffixes[a.Suffix] = true
		between(&a.Settle, 10*time.Second, 0, 24*time.Hour, "aggregates: settle", wrong)
		a.Tags = c.tagsOf(a.Tags, "aggregates", wrong)
	}
}

func (c *Config) checkFiltered(wrong func(string, ...any)) {
	if len(c.Filtered) > 16 {
		wrong("%d rules of filtered, most are 16", len(c.Filtered))
	}
	for i := range c.Filtered {
		r := &c.Filtered[i]
		if err := r.check(); err != nil {
			wrong("filtered: %w", err)
		}
		if r.Every == 0 {
			r.Every = time.Minute
		}
		checkEvery(r.Every, "filtered", wrong)
		between(&r.Settle, 10*time.Second, 0, 24*time.Hour, "filtered: settle", wrong)
		r.Tags = c.tagsOf(r.Tags, "filtered", wrong)
	}
}

func checkEvery(every time.Duration, what string, wrong func(string, ...any)) {
	if every < time.Second || every > 24*time.Hour || 24*time.Hour%every != 0 {
		wrong("%s: every %s: must be 1s to 24h and a divisor of 24h", what, every)
	}
}

// tagsOf is the tags of a rule: those of the file where it names none.
func (c *Config) tagsOf(tags []string, what string, wrong func(string, ...any)) []string {
	if len(tags) == 0 {
		return c.Tags
	}
	if len(tags) > 1000 {
		wrong("%s: %d names and patterns in tags, most are 1000", what, len(tags))
	}
	return tags
}

// filterOf is which rule a tag goes filtered by, that had this name first; -1 for none.
func (c *Config) filterOf(first string) int {
	return slices.IndexFunc(c.Filtered, func(r Filtered) bool {
		return slices.ContainsFunc(r.Tags, func(pattern string) bool { return glob.Match(pattern, first) })
	})
}

// goesRaw reports whether the samples of a tag go as they are.
func (c *Config) goesRaw(first string) bool { return c.raw() && c.filterOf(first) < 0 }

func (c *Config) checkSpool(wrong func(string, ...any)) {
	s := c.Spool
	if s.Dir == "" {
		wrong("spool: dir is required: the folder that files are written into")
	} else if dir, err := filepath.Abs(s.Dir); err != nil {
		wrong("spool: dir: %w", err)
	} else if s.Dir = dir; dir == c.Dir {
		wrong("spool: dir is that of the forwarder's place: give another one")
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = defaultSpoolBytes
	}
	if s.MaxBytes < 1<<20 {
		wrong("spool: max_bytes %d: must be at least 1MiB", s.MaxBytes)
	}
	if s.MaxAge < 0 {
		wrong("spool: max_age %s: must not be negative", s.MaxAge)
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// what is which tags go where, as a place has it.
func (c *Config) what() string {
	var filtered [][]string
	for _, r := range c.Filtered {
		filtered = append(filtered, r.Tags)
	}
	b, _ := yaml.Marshal(struct { // of strings
		Tags    []string
		Prefix  string
		Replace []Rename
		Not     [][]string `yaml:",omitempty"` // tags that go filtered
	}{c.Tags, c.Names.Prefix, c.Names.Replace, filtered})
	return string(b)
}

// Destination is the server as a collector has it.
func (s *Server) Destination(name string) collector.Destination {
	return collector.Destination{Name: name, Address: s.Address, Token: s.Token, TLS: s.TLS}
}
