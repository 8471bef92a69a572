package modbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/simonvetter/modbus"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

// Settings say where the devices are and how they are asked.
type Settings struct {
	// URL is tcp://HOST:PORT, tcp+tls://HOST:PORT, udp://HOST:PORT, rtu:///dev/ttyUSB0, or rtuovertcp://HOST:PORT.
	URL string `yaml:"url"`
	// Unit is asked where an address names none. The default is 1.
	Unit *uint8 `yaml:"unit"`
	// Every is how often an address is read that does not say. The default is 1s, the least 10ms.
	Every time.Duration `yaml:"every"`
	// Timeout is how long a device may take to answer. The default is 1s.
	Timeout time.Duration `yaml:"timeout"`
	// Gap is how many registers, or bits, of no use are read to save a request. The default is 8; negative: none.
	Gap int `yaml:"gap"`
	// Speed, Parity (none, even or odd) and StopBits are of a serial line. The defaults are 19200, even and 1; 2 without parity.
	Speed    uint   `yaml:"speed"`
	Parity   string `yaml:"parity"`
	StopBits uint   `yaml:"stop_bits"`
	// CA, Cert and Key are PEM files, for tcp+tls.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

const (
	leastEvery = 10 * time.Millisecond
	longestOff = time.Minute // a device that is down is asked no less often

	dialTimeout = 5 * time.Second
)

var schemes = []string{"tcp", "tcp+tls", "udp", "rtu", "rtuovertcp", "rtuoverudp"}

// serial reports whether devices share a line.
func (s *Settings) serial() bool { return strings.HasPrefix(s.URL, "rtu") }

// Check is how the configuration asks whether the settings make sense.
func (s *Settings) Check() error {
	scheme, rest, ok := strings.Cut(s.URL, "://")
	if !ok || rest == "" || !slices.Contains(schemes, scheme) {
		return collector.At(fmt.Errorf("url %q: must be one of %s, then :// and where", s.URL, strings.Join(schemes, ", ")), "url")
	}
	if !slices.Contains([]string{"", "none", "even", "odd"}, s.Parity) {
		return collector.At(fmt.Errorf("parity %q: must be none, even or odd", s.Parity), "parity")
	}
	if s.Speed != 0 && (s.Speed < 50 || s.Speed > 10_000_000) {
		return collector.At(fmt.Errorf("speed %d: must be 50 to 10000000 baud", s.Speed), "speed")
	}
	if s.StopBits > 2 {
		return collector.At(fmt.Errorf("stop_bits %d: must be 1 or 2", s.StopBits), "stop_bits")
	}
	if s.Every != 0 && s.Every < leastEvery {
		return collector.At(fmt.Errorf("every %s: least is %s", s.Every, leastEvery), "every")
	}
	if s.Timeout < 0 || s.Timeout > time.Minute {
		return collector.At(fmt.Errorf("timeout %s: must be at most 1m", s.Timeout), "timeout")
	}
	if (s.Cert == "") != (s.Key == "") {
		return collector.At(errors.New("cert and key go together"), "cert")
	}
	return nil
}

// Kind is sources of type modbus.
func Kind() collector.Kind {
	k := collector.NewKind("modbus", newSource)
	k.ByAddress, k.Polls = true, true
	return k
}

// source polls the devices behind one connection.
type source struct {
	env    collector.Env
	s      Settings
	points []point
}

func newSource(e collector.Env, s *Settings) (collector.Source, error) {
	x := &source{env: e, s: *s}
	unit := uint8(1)
	if s.Unit != nil {
		unit = *s.Unit
	}
	if x.s.Every == 0 {
		x.s.Every = time.Second
	}
	if x.s.Timeout == 0 {
		x.s.Timeout = time.Second
	}
	if x.s.Gap == 0 {
		x.s.Gap = 8
	}
	x.s.lineDefaults()
	var errs []error
	for _, a := range e.Addresses {
		p, err := parseAddress(a, unit, x.s.Every)
		if err == nil && p.unit == 0 && x.s.serial() {
			err = fmt.Errorf("address %q: unit 0 is all devices of a line, and none of them answers", a)
		}
		if err != nil {
			errs = append(errs, collector.AtAddress(err, a))
			continue
		}
		x.points = append(x.points, p)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(x.points) == 0 {
		return nil, errors.New("a source of type modbus reads the addresses that its tags name, and they name none; patterns name none")
	}
	return x, nil
}

// lineDefaults are those of the standard (Modbus over Serial Line 1.02, 2.5.1).
func (s *Settings) lineDefaults() {
	if s.Speed == 0 {
		s.Speed = 19200
	}
	if s.Parity == "" {
		s.Parity = "even"
	}
	if s.StopBits == 0 {
		s.StopBits = 1
		if s.Parity == "none" {
			s.StopBits = 2
		}
	}
}

// connection asks devices. An error that is no exception means that nobody answered, and that the connection is to be made anew.
type connection interface {
	// read is the registers of a group, or its bits as 0 and 1.
	read(g *group) ([]uint16, error)
	Close() error
}

// dial opens the connection. The caller closes it.
func (x *source) dial() (connection, error) {
	scheme, rest, _ := strings.Cut(x.s.URL, "://")
	switch scheme {
	case "rtu":
		p, err := openSerial(rest, x.s.Speed, x.s.Parity, x.s.StopBits)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", x.s.URL, err)
		}
		return newLine(p, x.s.Speed, x.s.Timeout), nil
	case "rtuovertcp", "rtuoverudp":
		c, err := net.DialTimeout(strings.TrimPrefix(scheme, "rtuover"), rest, dialTimeout)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", x.s.URL, err)
		}
		return newLine(c, x.s.Speed, x.s.Timeout), nil
	}
	return x.dialTCP()
}

// dialTCP opens a connection whose frames have numbers.
func (x *source) dialTCP() (connection, error) {
	c := &modbus.ClientConfiguration{URL: x.s.URL, Timeout: x.s.Timeout, Logger: slog.NewLogLogger(x.env.Logger.Handler(), slog.LevelDebug)}
	if strings.HasPrefix(x.s.URL, "tcp+tls:") {
		if err := x.secure(c); err != nil {
			return nil, err
		}
	}
	m, err := modbus.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("modbus %s: %w", x.s.URL, err)
	}
	if err := m.Open(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", x.s.URL, err)
	}
	return numbered{m}, nil
}

// numbered is a connection whose frames have numbers: TCP, TLS or UDP.
type numbered struct{ *modbus.ModbusClient }

// read is part of connection.
func (c numbered) read(g *group) ([]uint16, error) {
	if err := c.SetUnitId(g.unit); err != nil {
		return nil, err
	}
	n := uint16(g.quantity)
	switch g.table {
	case coil:
		return ones(c.ReadCoils(g.first, n))
	case discrete:
		return ones(c.ReadDiscreteInputs(g.first, n))
	case input:
		return c.ReadRegisters(g.first, n, modbus.INPUT_REGISTER)
	}
	return c.ReadRegisters(g.first, n, modbus.HOLDING_REGISTER)
}

func ones(bits []bool, err error) ([]uint16, error) {
	out := make([]uint16, len(bits))
	for i, b := range bits {
		if b {
			out[i] = 1
		}
	}
	return out, err
}

func (x *source) secure(c *modbus.ClientConfiguration) (err error) {
	if x.s.CA == "" || x.s.Cert == "" {
		return errors.New("tcp+tls needs ca, cert and key")
	}
	if c.TLSRootCAs, err = modbus.LoadCertPool(x.s.CA); err != nil {
		return fmt.Errorf("read %s: %w", x.s.CA, err)
	}
	pair, err := tls.LoadX509KeyPair(x.s.Cert, x.s.Key)
	if err != nil {
		return fmt.Errorf("read %s and %s: %w", x.s.Cert, x.s.Key, err)
	}
	c.TLSClientCert = &pair
	return nil
}

// Run is part of collector.Source.
func (x *source) Run(ctx context.Context, out collector.Sink) error {
	p := &poll{source: x, out: out, groups: plan(x.points, x.s.Gap), off: map[uint8]*outage{}}
	m, err := x.dial()
	if err != nil {
		if down := out.Down(ctx, nil, x.env.Now().UnixNano(), err.Error()); down != nil {
			return down
		}
		return err
	}
	p.client = m
	defer func() { _ = p.client.Close() }() // nothing is written to it
	return p.run(ctx)
}

// Check is part of collector.Checker.
func (x *source) Check(ctx context.Context, report func(collector.Reading)) error {
	m, err := x.dial()
	if err != nil {
		return err
	}
	p := &poll{source: x, client: m, groups: plan(x.points, x.s.Gap), off: map[uint8]*outage{}}
	defer func() { _ = p.client.Close() }() // nothing is written to it
	for i := 0; i < len(p.groups) && ctx.Err() == nil; i++ {
		readings, err := p.read(p.groups[i])
		if errors.Is(err, modbus.ErrIllegalDataAddress) && len(p.groups[i].points) > 1 {
			p.groups = append(p.groups, p.groups[i].apart()...)
			continue
		}
		if err != nil {
			readings = p.groups[i].bad(x.env.Now(), quality(err))
		}
		for _, r := range readings {
			report(r)
		}
		if err != nil && !exception(err) {
			if err := p.redial(); err != nil {
				return err
			}
		}
	}
	return nil
}

// poll is one run of a source: it asks group after group as each is due.
type poll struct {
	*source
	client connection
	out    collector.Sink
	groups []*group
	off    map[uint8]*outage // units that do not answer
}

// outage is how a unit is left alone for longer and longer that does not answer: on a serial line each try holds up the others.
type outage struct {
	pause time.Duration
	until time.Time
}

func (p *poll) run(ctx context.Context) error {
	now := p.env.Now()
	for _, g := range p.groups {
		g.due = now
	}
	for ctx.Err() == nil {
		g := slices.MinFunc(p.groups, func(a, b *group) int { return a.due.Compare(b.due) })
		if !wait(ctx, g.due.Sub(p.env.Now())) {
			return nil
		}
		if err := p.ask(ctx, g); err != nil {
			return err
		}
		g.next(p.env.Now())
	}
	return nil
}

// next is when the group is due again: at its pace, without making up for what was missed.
func (g *group) next(now time.Time) {
	pace := g.every
	if g.gone {
		pace = max(pace, longestOff)
	}
	g.due = g.due.Add(pace)
	if behind := now.Sub(g.due); behind > 0 {
		g.due = g.due.Add((behind/pace + 1) * pace)
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// ask reads one group and hands on what it said.
func (p *poll) ask(ctx context.Context, g *group) error {
	off := p.off[g.unit]
	if off != nil && p.env.Now().Before(off.until) {
		return nil
	}
	began := p.env.Now()
	readings, err := p.read(g)
	switch {
	case err == nil:
		delete(p.off, g.unit)
		g.gone = false
		return p.out.Put(ctx, readings)
	case errors.Is(err, modbus.ErrIllegalDataAddress) && len(g.points) > 1:
		i := slices.Index(p.groups, g)
		p.groups = slices.Replace(p.groups, i, i+1, g.apart()...)
		return nil
	case exception(err) && !errors.Is(err, modbus.ErrGWTargetFailedToRespond) && !errors.Is(err, modbus.ErrGWPathUnavailable):
		delete(p.off, g.unit) // it answers
		g.gone = errors.Is(err, modbus.ErrIllegalDataAddress) || errors.Is(err, modbus.ErrIllegalFunction)
		p.out.Count(collector.Rejected, len(g.points))
		return p.out.Put(ctx, g.bad(began, quality(err)))
	}
	if err := p.down(ctx, g.unit, began, err); err != nil {
		return err
	}
	if exception(err) {
		return nil // the gateway is there
	}
	p.out.Count(collector.Reconnects, 1)
	return p.redial()
}

// down notes that a unit does not answer.
func (p *poll) down(ctx context.Context, unit uint8, at time.Time, why error) error {
	off := p.off[unit]
	if off == nil {
		var addresses []string
		for _, g := range p.groups {
			if g.unit == unit {
				addresses = append(addresses, g.addresses()...)
			}
		}
		if err := p.out.Down(ctx, addresses, at.UnixNano(), fmt.Sprintf("unit %d of %s: %s", unit, p.s.URL, why)); err != nil {
			return err
		}
		off = &outage{}
		p.off[unit] = off
	}
	off.pause = min(max(2*off.pause, p.s.Every), longestOff)
	off.until = p.env.Now().Add(off.pause)
	return nil
}

// redial connects anew: an answer that comes too late must not be taken for that of the next request.
func (p *poll) redial() error {
	_ = p.client.Close() // nothing was written to it
	m, err := p.dial()
	if err != nil {
		return err
	}
	p.client = m
	return nil
}

// read reads one group. All its readings have the time when the answer came: devices tell none.
func (p *poll) read(g *group) ([]collector.Reading, error) {
	registers, err := p.client.read(g)
	if err != nil {
		return nil, err
	}
	if len(registers) != g.quantity {
		return nil, fmt.Errorf("%d registers came, %d were asked for: %w", len(registers), g.quantity, modbus.ErrProtocolError)
	}
	at := p.env.Now().UnixNano()
	readings := make([]collector.Reading, len(g.points))
	for i := range g.points {
		x := &g.points[i]
		from := int(x.register - g.first)
		r := collector.Reading{Address: x.address, Time: at, HasTime: true}
		if r.Value, err = x.value(registers[from : from+x.registers]); err != nil {
			r.Quality = model.BadConfigurationError // the address has not the type that the configuration says
		}
		readings[i] = r
	}
	return readings, nil
}

// bad is readings without values.
func (g *group) bad(at time.Time, q model.Quality) []collector.Reading {
	out := make([]collector.Reading, len(g.points))
	for i := range g.points {
		out[i] = collector.Reading{Address: g.points[i].address, Time: at.UnixNano(), HasTime: true, Quality: q}
	}
	return out
}

// exception reports whether a device, or a gateway, answered with an exception: the connection is sound.
func exception(err error) bool {
	for _, e := range []error{
		modbus.ErrIllegalFunction, modbus.ErrIllegalDataAddress, modbus.ErrIllegalDataValue, modbus.ErrServerDeviceFailure, modbus.ErrAcknowledge,
		modbus.ErrServerDeviceBusy, modbus.ErrMemoryParityError, modbus.ErrGWPathUnavailable, modbus.ErrGWTargetFailedToRespond,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// quality is what an error makes of a reading.
func quality(err error) model.Quality {
	switch {
	case errors.Is(err, modbus.ErrIllegalDataAddress), errors.Is(err, modbus.ErrIllegalFunction), errors.Is(err, modbus.ErrIllegalDataValue):
		return model.BadConfigurationError
	case errors.Is(err, modbus.ErrServerDeviceFailure), errors.Is(err, modbus.ErrMemoryParityError):
		return model.BadDeviceFailure
	}
	return model.BadNoCommunication
}
