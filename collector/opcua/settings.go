package opcua

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/varvedb/varve/collector"
)

// Settings say which servers are read and how.
type Settings struct {
	// URLs are opc.tcp://HOST:PORT/PATH. Several are servers of the same variables, as a redundant pair: the one with the highest ServiceLevel is read.
	URLs []string `yaml:"urls"`
	// Security is the security policy: Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss, or none. The default, best, takes the
	// safest that the server offers, and never none.
	Security string `yaml:"security"`
	// Mode is sign_and_encrypt, the default, or sign. It says nothing where security is none.
	Mode string `yaml:"mode"`
	// Revocation says what becomes of a server whose certificate an authority signed, where that authority's list of revoked certificates is not there: it is
	// not trusted (required, the default), or it is (optional). What a list has is never trusted.
	Revocation string `yaml:"revocation"`
	// User is who reads. The default is anonymous.
	User *User `yaml:"user"`
	// Timeout is how long a server may take to answer. The default is 10s.
	Timeout time.Duration `yaml:"timeout"`
	// Publishing is how often the server sends what changed. The default is 1s, the least 10ms. The server may choose another.
	Publishing time.Duration `yaml:"publishing"`
	// KeepAlive is how often a server without news says that it is there, and how often its state is read. The default is 10s.
	KeepAlive time.Duration `yaml:"keepalive"`
	// Lifetime is how long a server keeps the session and the subscription for a client that is away: an outage that is shorter loses nothing as
	// long as the queues hold. The default is 10m.
	Lifetime time.Duration `yaml:"lifetime"`
	// History asks the server's history for what was missed. The default is true; servers that have none are found out by themselves.
	History *bool `yaml:"history"`
	// Browse is how often the server is looked through for variables that patterns of tags are for. The default is 10m, the least 10s.
	Browse time.Duration `yaml:"browse"`
	// Sampling is how variables are sampled that no group is for.
	Sampling `yaml:",inline"`
	// Groups sample some variables in another way; the first whose expression fits an address counts.
	Groups []Group `yaml:"groups"`
}

// Sampling is how the server samples variables.
type Sampling struct {
	// Every is the sampling interval. The default is the publishing interval; 0s in a group too. The server may choose another. What changes and
	// changes again within it the server never sees.
	Every time.Duration `yaml:"every"`
	// EachChange asks for every change instead of samples, which is a sampling interval of 0. Servers that sample the variable all the same take
	// the shortest interval that they have.
	EachChange bool `yaml:"each_change"`
	// Queue is how many values the server keeps of a variable between two publishings; when it overflows the oldest are lost. The default
	// is 10 times as many as are sampled in a publishing interval, at least 10, at most 10,000; of each change 1,000.
	Queue uint32 `yaml:"queue"`
	// Deadband leaves out values nearer to the one before, in units of the value; DeadbandPercent in percent of the variable's EURange.
	// Both leave out in the server what the archive then never has. The default is none.
	Deadband        float64 `yaml:"deadband"`
	DeadbandPercent float64 `yaml:"deadband_percent"`
}

// Group is a sampling of the addresses that an expression (RE2, of the whole address) fits.
type Group struct {
	Regexp   string `yaml:"regexp"`
	Sampling `yaml:",inline"`
}

// User is a name and a password, or a certificate and its key: files, PEM or DER.
type User struct {
	Name     string           `yaml:"name"`
	Password collector.Secret `yaml:"password"`
	Cert     string           `yaml:"cert"`
	Key      string           `yaml:"key"`
}

const (
	leastInterval = 10 * time.Millisecond
	leastBrowse   = 10 * time.Second
	longest       = 24 * time.Hour
	maxURLs       = 8
	mostQueue     = 10_000
	changesQueue  = 1000
)

const (
	none               = "none"
	revocationRequired = "required"
	revocationOptional = "optional"
)

// policies are those that may be asked for. Those with SHA-1 or keys of 1024 bits are broken and not among them.
var policies = map[string]string{
	"best": "", none: ua.SecurityPolicyURINone, "Basic256Sha256": ua.SecurityPolicyURIBasic256Sha256,
	"Aes128_Sha256_RsaOaep": ua.SecurityPolicyURIAes128Sha256RsaOaep, "Aes256_Sha256_RsaPss": ua.SecurityPolicyURIAes256Sha256RsaPss,
}

var modes = map[string]ua.MessageSecurityMode{
	"": ua.MessageSecurityModeSignAndEncrypt, "sign_and_encrypt": ua.MessageSecurityModeSignAndEncrypt, "sign": ua.MessageSecurityModeSign,
}

// Check is how the configuration asks whether the settings make sense.
func (s *Settings) Check() error {
	if len(s.URLs) == 0 || len(s.URLs) > maxURLs {
		return collector.At(fmt.Errorf("urls: there must be 1 to %d, such as opc.tcp://plc1:4840", maxURLs), "urls")
	}
	for i, u := range s.URLs {
		p, err := url.Parse(u)
		if err != nil || p.Scheme != "opc.tcp" || p.Host == "" || p.User != nil {
			return collector.At(fmt.Errorf("url %.100q: must be opc.tcp://HOST:PORT/PATH; who reads stands under user", u), "urls", i)
		}
		if slices.Contains(s.URLs[:i], u) {
			return collector.At(fmt.Errorf("url %.100q stands there twice", u), "urls", i)
		}
	}
	if _, ok := policies[s.Security]; s.Security != "" && !ok {
		return collector.At(fmt.Errorf("security %.60q: must be best, Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss or none", s.Security), "security")
	}
	if _, ok := modes[s.Mode]; !ok {
		return collector.At(fmt.Errorf("mode %.60q: must be sign_and_encrypt or sign", s.Mode), "mode")
	}
	if s.Revocation != "" && s.Revocation != revocationRequired && s.Revocation != revocationOptional {
		return collector.At(fmt.Errorf("revocation %.60q: must be %s or %s", s.Revocation, revocationRequired, revocationOptional), "revocation")
	}
	if err := s.User.check(); err != nil {
		return collector.At(err, "user")
	}
	for key, d := range map[string]time.Duration{
		"timeout": s.Timeout, "publishing": s.Publishing, "keepalive": s.KeepAlive, "lifetime": s.Lifetime,
	} {
		if d != 0 && (d < leastInterval || d > longest) {
			return collector.At(fmt.Errorf("%s %s: must be %s to %s", key, d, leastInterval, longest), key)
		}
	}
	f := s.filled()
	if f.Lifetime < 3*f.KeepAlive || f.KeepAlive < f.Publishing {
		return collector.At(fmt.Errorf("lifetime %s, keepalive %s, publishing %s: a lifetime is at least three keepalives, and a keepalive a publishing interval",
			f.Lifetime, f.KeepAlive, f.Publishing), "lifetime")
	}
	if s.Browse != 0 && (s.Browse < leastBrowse || s.Browse > longest) {
		return collector.At(fmt.Errorf("browse %s: must be %s to %s", s.Browse, leastBrowse, longest), "browse")
	}
	if err := s.Sampling.check(); err != nil {
		return err
	}
	for i, g := range s.Groups {
		if _, err := regexp.Compile(g.Regexp); err != nil || g.Regexp == "" {
			return collector.At(fmt.Errorf("regexp %.60q: must be an expression for addresses, such as ns=2;s=Boiler.*", g.Regexp), "groups", i, "regexp")
		}
		if err := g.Sampling.check(); err != nil {
			return collector.At(err, "groups", i)
		}
	}
	return nil
}

func (u *User) check() error {
	switch {
	case u == nil:
		return nil
	case (u.Name == "") == (u.Cert == ""):
		return errors.New("user: give name and password, or cert and key")
	case u.Name != "" && u.Password.Value() == "":
		return errors.New("user: name needs password")
	case (u.Cert == "") != (u.Key == ""):
		return errors.New("user: cert and key go together")
	}
	return nil
}

func (s Sampling) check() error {
	switch {
	case s.Every < 0 || s.Every > longest:
		return collector.At(fmt.Errorf("every %s: must be at most %s", s.Every, longest), "every")
	case s.EachChange && s.Every != 0:
		return collector.At(errors.New("give one of every and each_change"), "each_change")
	case s.Queue > mostQueue:
		return collector.At(fmt.Errorf("queue %d: most is %d", s.Queue, mostQueue), "queue")
	case !(s.Deadband >= 0) || !(s.DeadbandPercent >= 0 && s.DeadbandPercent <= 100):
		return collector.At(errors.New("deadband must be from 0, and deadband_percent 0 to 100"), "deadband")
	case s.Deadband > 0 && s.DeadbandPercent > 0:
		return collector.At(errors.New("give one of deadband and deadband_percent"), "deadband")
	}
	return nil
}

// filled is the settings with defaults where nothing was said.
func (s Settings) filled() Settings {
	for _, x := range []struct {
		at *time.Duration
		is time.Duration
	}{{&s.Timeout, 10 * time.Second}, {&s.Publishing, time.Second}, {&s.KeepAlive, 10 * time.Second}, {&s.Lifetime, 10 * time.Minute}, {&s.Browse, 10 * time.Minute}} {
		if *x.at == 0 {
			*x.at = x.is
		}
	}
	s.KeepAlive = max(s.KeepAlive, s.Publishing)
	if s.Security == "" {
		s.Security = "best"
	}
	s.Sampling = s.Sampling.filled(s.Publishing)
	s.Groups = slices.Clone(s.Groups)
	for i := range s.Groups {
		s.Groups[i].Sampling = s.Groups[i].Sampling.filled(s.Publishing)
	}
	return s
}

func (s Sampling) filled(publishing time.Duration) Sampling {
	if s.Every == 0 {
		s.Every = publishing
	}
	if s.Queue == 0 && s.EachChange {
		s.Queue = changesQueue
	}
	if s.Queue == 0 {
		s.Queue = uint32(min(max(10*(publishing/s.Every), 10), mostQueue))
	}
	return s
}

// interval is what the server is asked to sample at, in milliseconds.
func (s Sampling) interval() float64 {
	if s.EachChange {
		return 0
	}
	return float64(s.Every) / float64(time.Millisecond)
}

// filter is the server's deadband; nil for none.
func (s Sampling) filter() *ua.ExtensionObject {
	f := &ua.DataChangeFilter{Trigger: ua.DataChangeTriggerStatusValue}
	switch {
	case s.Deadband > 0:
		f.DeadbandType, f.DeadbandValue = uint32(ua.DeadbandTypeAbsolute), s.Deadband
	case s.DeadbandPercent > 0:
		f.DeadbandType, f.DeadbandValue = uint32(ua.DeadbandTypePercent), s.DeadbandPercent
	default:
		return nil
	}
	return ua.NewExtensionObject(f)
}

// samplings finds how an address is sampled.
type samplings struct {
	groups []*regexp.Regexp
	of     []Sampling // of each group, and behind them the default
}

func newSamplings(s Settings) (x samplings) {
	for _, g := range s.Groups {
		x.groups = append(x.groups, regexp.MustCompile(`^(?:`+g.Regexp+`)$`)) // Check has tried it
		x.of = append(x.of, g.Sampling)
	}
	x.of = append(x.of, s.Sampling)
	return x
}

func (x samplings) sampling(address string) Sampling {
	i := slices.IndexFunc(x.groups, func(r *regexp.Regexp) bool { return r.MatchString(address) })
	if i < 0 {
		i = len(x.groups)
	}
	return x.of[i]
}

// Type is the kind's name, as a configuration has it.
const Type = "opcua"

// Kind is sources of type opcua.
func Kind() collector.Kind {
	k := collector.NewKind(Type, newSource)
	k.ByAddress, k.ByPattern = true, true
	k.Apart = true // the library decodes what a server sends in a goroutine of its own, and believes its lengths
	return k
}

// source reads one server, or one of a redundant set.
type source struct {
	env    collector.Env
	s      Settings
	points []*point // named, and found before or by this run
	named  int      // of points: those that tags name
	pki    pki

	samplings samplings
	patterns  collector.Patterns
}

func newSource(e collector.Env, s *Settings) (collector.Source, error) {
	x := &source{env: e, s: s.filled(), pki: pki{dir: e.Dir, name: e.Name, optional: s.Revocation == revocationOptional}}
	x.samplings = newSamplings(x.s)
	var errs []error
	for _, a := range e.Addresses {
		p, err := parseAddress(a)
		if err != nil {
			errs = append(errs, collector.AtAddress(err, a))
			continue
		}
		p.sampling = x.samplings.sampling(a)
		x.points = append(x.points, &p)
	}
	x.named = len(x.points)
	var err error
	if x.patterns, err = collector.NewPatterns(e.Patterns); err != nil {
		errs = append(errs, err)
	}
	return x, errors.Join(errs...)
}
