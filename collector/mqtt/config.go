package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	"github.com/varvedb/varve/collector/mqtt/sparkplug"
	"github.com/varvedb/varve/model"
)

// Kind is the source type mqtt.
func Kind() collector.Kind { return collector.NewKind("mqtt", open) }

// Settings are those of a source of type mqtt, as docs/reference/mqtt.md has them.
type Settings struct {
	// Broker is mqtt://HOST[:1883] or mqtts://HOST[:8883], the latter with TLS.
	Broker string `yaml:"broker"`
	// Version is 5 (the default) or 3, which is 3.1.1.
	Version int `yaml:"version"`
	// ClientID names the connection to the broker, which ends an older one of the same name. The default is varve- and the source's name.
	ClientID string           `yaml:"client_id"`
	User     string           `yaml:"user"`
	Password collector.Secret `yaml:"password"`
	TLS      TLS              `yaml:"tls"`
	// KeepAlive is how long the connection may be silent. The default is 30s, from 1s to 18h.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// Session is how long the broker keeps messages of QoS 1 while the collector is away. The default is 0: it keeps none. Version 3 has no
	// time: the broker keeps them as long as it likes.
	Session time.Duration `yaml:"session"`
	// MaxPacket is the largest message taken. The default is 16MiB; a larger one ends the connection (version 5: the broker leaves it out).
	MaxPacket collector.Size `yaml:"max_packet"`
	// InFlight is how many messages a broker of version 5 sends before the first of them is acknowledged. The default is 1,000.
	InFlight int `yaml:"in_flight"`
	// Retained says which messages that a broker kept are taken: timed (those with a time of their own), all, none. The default is timed: the
	// time at which a kept message arrives says nothing of its value.
	Retained  string     `yaml:"retained"`
	Topics    []Topic    `yaml:"topics"`
	Sparkplug *Sparkplug `yaml:"sparkplug"`

	filters []*filter // of Topics
}

// TLS says how to know the broker, and to be known. The zero value trusts the system's authorities.
type TLS struct {
	CA         string `yaml:"ca"`
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"` // where the certificate has another name than the broker's address
}

// Topic is one subscription and what its messages mean.
type Topic struct {
	Filter string `yaml:"filter"`
	// Share is the group of a shared subscription, whose members get each message once between them.
	Share string `yaml:"share"`
	// QoS is 0 or 1. The default is 1.
	QoS *int `yaml:"qos"`
	// Format is json (the default) or text, where the whole payload is the value.
	Format string `yaml:"format"`
	// Readings say where values stand. Without any, every number, boolean and string in the message is a value, and its address the topic and
	// the path to it.
	Readings []Rule `yaml:"readings"`
}

// Rule makes readings of a message. Paths are JSON pointers: /a/b from the message, ./b from the element that Each goes through, . the element.
type Rule struct {
	// Each is the path to an array or object whose elements each make a reading.
	Each string `yaml:"each"`
	// Address has names of the filter, {topic}, {key} (an element's name or position) and {path} in it. The default is {topic}.
	Address string `yaml:"address"`
	// Value is the path of the value; the default is the whole message, or the element.
	Value string `yaml:"value"`
	// Type is what values become: float64, float32, int64, uint64, bool, string. The default is as JSON has it, numbers as float64; in text float64.
	Type string `yaml:"type"`
	Time string `yaml:"time"`
	// TimeFormat is rfc3339, unix, unix_ms, unix_us or unix_ns. The default is rfc3339 for texts; numbers need one.
	TimeFormat string `yaml:"time_format"`
	Quality    string `yaml:"quality"`
	// Qualities says which quality a text or number at Quality stands for. Others have to be names or numbers of OPC UA status codes.
	Qualities map[string]string `yaml:"qualities"`

	compiled rule
}

// Sparkplug makes the source a host application of Sparkplug B.
type Sparkplug struct {
	// HostID is the host's name in STATE messages; nodes whose primary host it is wait for it. Empty: none are sent.
	HostID string `yaml:"host_id"`
	// Groups are those collected from; the default is all.
	Groups []string `yaml:"groups"`
	// Rebirth: false leaves out the one message that is ever sent to a node, the request for its births.
	Rebirth *bool `yaml:"rebirth"`
	// RebirthEvery is the shortest time between two requests to one node. The default is 1m.
	RebirthEvery time.Duration `yaml:"rebirth_every"`
	// Reorder is how long a message waits for those before it. The default is 2s.
	Reorder time.Duration `yaml:"reorder"`
	// MaxMetrics and MaxElements bound addresses of all nodes (1,000,000) and elements of one array or data set (1,000).
	MaxMetrics  int `yaml:"max_metrics"`
	MaxElements int `yaml:"max_elements"`
}

// Check finds what makes no sense, and prepares what is used again and again.
func (s *Settings) Check() error {
	if _, _, err := s.address(); err != nil {
		return collector.At(err, "broker")
	}
	switch s.Version {
	case 0:
		s.Version = 5
	case 3, 5:
	default:
		return collector.At(fmt.Errorf("version %d: must be 5, or 3 for 3.1.1", s.Version), "version")
	}
	if s.KeepAlive == 0 {
		s.KeepAlive = 30 * time.Second
	}
	if s.KeepAlive < time.Second || s.KeepAlive > math.MaxUint16*time.Second {
		return collector.At(fmt.Errorf("%s: must be from 1s to 18h", s.KeepAlive), "keep_alive")
	}
	if s.Session < 0 || s.Session > 0 && s.Session < time.Second || s.Session > math.MaxUint32*time.Second {
		return collector.At(fmt.Errorf("%s: must be 0, or from 1s to 136 years", s.Session), "session")
	}
	if s.MaxPacket == 0 {
		s.MaxPacket = 16 << 20
	}
	if s.MaxPacket < 1024 || s.MaxPacket > 256<<20 {
		return collector.At(fmt.Errorf("%d bytes: must be from 1KiB to 256MiB", s.MaxPacket), "max_packet")
	}
	if s.InFlight == 0 {
		s.InFlight = 1000
	}
	if s.InFlight < 1 || s.InFlight > math.MaxUint16 {
		return collector.At(fmt.Errorf("%d: must be from 1 to 65535", s.InFlight), "in_flight")
	}
	switch s.Retained {
	case "":
		s.Retained = "timed"
	case "timed", "all", "none":
	default:
		return collector.At(fmt.Errorf("%q: must be timed, all or none", s.Retained), "retained")
	}
	if s.Password.Value() != "" && s.User == "" && s.Version == 3 {
		return collector.At(errors.New("a password without a user is not part of version 3.1.1"), "password")
	}
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		return collector.At(errors.New("a certificate needs its key, and a key its certificate"), "tls")
	}
	if s.TLS != (TLS{}) && !s.secure() {
		return collector.At(errors.New("the broker is not an mqtts:// address"), "tls")
	}
	if s.Sparkplug != nil {
		return s.checkSparkplug()
	}
	if len(s.Topics) == 0 {
		return errors.New("nothing is subscribed to: give topics, or sparkplug")
	}
	return s.checkTopics()
}

func (s *Settings) checkSparkplug() error {
	switch p := s.Sparkplug; {
	case len(s.Topics) > 0:
		return collector.At(errors.New("a source is of topics or of sparkplug: make it two"), "topics")
	case s.Session != 0: // the specification wants it, and brokers keep no messages of QoS 0, which data are
		return collector.At(errors.New("a host of Sparkplug begins every session anew; nodes keep data while their primary host is away: set host_id, and theirs"), "session")
	case strings.ContainsAny(p.HostID, "/+#\x00"):
		return collector.At(fmt.Errorf("%q: must not have / + # in it", p.HostID), "sparkplug", "host_id")
	case p.Reorder < 0 || p.RebirthEvery < 0 || p.MaxMetrics < 0 || p.MaxElements < 0:
		return collector.At(errors.New("times and numbers must not be below 0"), "sparkplug")
	}
	seen := map[string]bool{}
	for i, g := range s.Sparkplug.Groups {
		if g == "" || g == "STATE" || strings.ContainsAny(g, "/+#\x00") || seen[g] {
			return collector.At(fmt.Errorf("group %q: must be named once, without / + #", g), "sparkplug", "groups", i)
		}
		seen[g] = true
	}
	return nil
}

func (s *Settings) checkTopics() error {
	s.filters = nil
	for i := range s.Topics {
		t := &s.Topics[i]
		f, err := parseFilter(t.Filter)
		if err != nil {
			return collector.At(err, "topics", i, "filter")
		}
		for k, other := range s.filters {
			if f.overlaps(other) {
				return collector.At(fmt.Errorf("filter %q: a message may be of %q, topic %d, too: a broker may deliver it twice", t.Filter, other.text, k+1), "topics", i, "filter")
			}
		}
		s.filters = append(s.filters, f)
		if strings.ContainsAny(t.Share, "/+#\x00") {
			return collector.At(fmt.Errorf("%q: must not have / + # in it", t.Share), "topics", i, "share")
		}
		if t.QoS != nil && *t.QoS != 0 && *t.QoS != 1 {
			return collector.At(fmt.Errorf("QoS %d: must be 0 or 1; samples that come twice change nothing, so 2 would add nothing", *t.QoS), "topics", i, "qos")
		}
		switch t.Format {
		case "":
			t.Format = "json"
		case "json", "text":
		default:
			return collector.At(fmt.Errorf("%q: must be json or text", t.Format), "topics", i, "format")
		}
		if s.Session > 0 && t.qos() == 0 {
			return collector.At(errors.New("a broker keeps no messages of QoS 0: take 1, or no session"), "topics", i, "qos")
		}
		for k := range t.Readings {
			if err := t.Readings[k].compile(t.Format, f); err != nil {
				return collector.At(err, "topics", i, "readings", k)
			}
			if s.Session > 0 && t.Readings[k].Time == "" {
				return collector.At(errors.New("the broker keeps messages for later, when the time of arrival is not that of the value: say where its time stands"),
					"topics", i, "readings", k)
			}
		}
		if s.Session > 0 && len(t.Readings) == 0 {
			return collector.At(errors.New("the broker keeps messages for later: readings have to say where their times stand"), "topics", i)
		}
	}
	return nil
}

func (t *Topic) qos() byte {
	if t.QoS == nil {
		return 1
	}
	return byte(*t.QoS)
}

// subscription is the filter as the broker takes it.
func (t *Topic) subscription(f *filter) packet.Filter {
	text := f.String()
	if t.Share != "" {
		text = "$share/" + t.Share + "/" + text
	}
	return packet.Filter{Topic: text, QoS: t.qos()}
}

func (s *Settings) secure() bool { return strings.HasPrefix(s.Broker, "mqtts://") }

// address is the broker's host and port, and its host.
func (s *Settings) address() (address, host string, err error) {
	u, err := url.Parse(s.Broker)
	if err != nil || u.Host == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		return "", "", fmt.Errorf("%.80q: must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]; a user has its own setting", s.Broker)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"mqtt": "1883", "mqtts": "8883"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port), u.Hostname(), nil
}

// tlsConfig reads the certificates, anew for every connection: they may have been renewed.
func (s *Settings) tlsConfig() (*tls.Config, error) {
	_, host, err := s.address()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if s.TLS.ServerName != "" {
		c.ServerName = s.TLS.ServerName
	}
	if s.TLS.CA != "" {
		pem, err := os.ReadFile(s.TLS.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in PEM", s.TLS.CA)
		}
	}
	if s.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.TLS.Cert, s.TLS.Key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s *Settings) version() packet.Version {
	if s.Version == 3 {
		return packet.V3
	}
	return packet.V5
}

func (p *Sparkplug) options() sparkplug.Options {
	return sparkplug.Options{HostID: p.HostID, Reorder: p.Reorder, NoRebirth: p.Rebirth != nil && !*p.Rebirth, RebirthEvery: p.RebirthEvery,
		MaxMetrics: p.MaxMetrics, MaxElements: p.MaxElements}
}

// compile prepares a rule; f has the names that its address may use.
func (r *Rule) compile(format string, f *filter) (err error) {
	c := &r.compiled
	if format == "text" && (r.Each != "" || r.Value != "" || r.Time != "" || r.Quality != "") {
		return errors.New("a text is one value: each, value, time and quality are of json")
	}
	if r.Type != "" {
		if c.typ, err = model.ParseType(r.Type); err != nil || c.typ == model.State || c.typ == model.Bytes {
			return collector.At(fmt.Errorf("type %q: must be float64, float32, int64, uint64, bool or string", r.Type), "type")
		}
	} else if format == "text" {
		c.typ = model.Float64
	}
	paths := []struct {
		key, text string
		to        *path
	}{{"each", r.Each, &c.each}, {"value", r.Value, &c.value}, {"time", r.Time, &c.time}, {"quality", r.Quality, &c.quality}}
	for _, p := range paths {
		if *p.to, err = parsePath(p.text); err != nil {
			return collector.At(err, p.key)
		}
		if p.to.relative && p.to.set && (r.Each == "" || p.key == "each") {
			return collector.At(fmt.Errorf("path %q: . is an element of each", p.text), p.key)
		}
	}
	if c.each.set && !c.value.set {
		c.value = path{set: true, relative: true}
	}
	c.text = format == "text"
	if c.unit, err = timeUnit(r.TimeFormat); err != nil {
		return collector.At(err, "time_format")
	}
	if r.Qualities != nil && !c.quality.set {
		return collector.At(errors.New("say where the quality stands, with quality"), "qualities")
	}
	c.qualities = map[string]model.Quality{}
	for text, name := range r.Qualities {
		if c.qualities[text], err = model.ParseQuality(name); err != nil {
			return collector.At(err, "qualities", text)
		}
	}
	address := r.Address
	if address == "" {
		address = "{topic}"
		if c.each.set {
			address = "{topic}/{key}"
		}
	}
	if c.address, err = parseAddress(address, f, c.each.set, format == "text"); err != nil {
		return collector.At(err, "address")
	}
	return nil
}
