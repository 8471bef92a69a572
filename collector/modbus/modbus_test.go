package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

func TestAddresses(t *testing.T) {
	for s, want := range map[string]point{
		"holding:100":                  {unit: 1, table: holding, register: 100, bit: -1, form: "uint16", registers: 1, every: time.Second},
		"7/input:3:float32:cdab@250ms": {unit: 7, table: input, register: 3, bit: -1, form: "float32", registers: 2, swapWords: true, every: 250 * time.Millisecond},
		"coil:65535":                   {unit: 1, table: coil, register: 65535, bit: -1, form: "bool", registers: 1, every: time.Second},
		"holding:9.15":                 {unit: 1, table: holding, register: 9, bit: 15, form: "bool", registers: 1, every: time.Second},
		"0/holding:0:string5:badc@2m":  {unit: 0, table: holding, register: 0, bit: 5, form: "string", registers: 3, swapBytes: true, every: 2 * time.Minute},
		"255/discrete:1:bool":          {unit: 255, table: discrete, register: 1, bit: -1, form: "bool", registers: 1, every: time.Second},
		"holding:65532:uint64:dcba":    {unit: 1, table: holding, register: 65532, bit: -1, form: "uint64", registers: 4, swapWords: true, swapBytes: true, every: time.Second},
	} {
		p, err := parseAddress(s, 1, time.Second)
		require.NoError(t, err)
		want.address = s
		require.Equal(t, want, p)
	}
	for _, s := range []string{
		"", "holding", "holdings:1", "holding:", "holding:-1", "holding:65536", "256/coil:1", "x/coil:1", "coil:1:int16", "coil:1.1", "holding:1.16", "holding:1:bool",
		"holding:1:float33", "holding:1:float32:abdc", "holding:65535:float32", "holding:1:string0", "holding:1:string251", "holding:1@1ms", "holding:1@soon",
		"holding:1.2:bool:abcd", "a:b:c:d:e", "holding:1:uint16:abcd:",
	} {
		_, err := parseAddress(s, 1, time.Second)
		require.ErrorIs(t, err, errAddress, "%q", s)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("7/input:3:float32:cdab@250ms")
	f.Add("holding:9.15")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseAddress(s, 1, time.Second)
		if err != nil {
			return
		}
		require.LessOrEqual(t, int(p.register)+p.registers, 1<<16)
		require.LessOrEqual(t, p.registers, p.table.most())
		_, _ = p.value(make([]uint16, p.registers))
	})
}

// device is a Modbus server with contents of a seed, of which parts are missing.
type device struct {
	mu        sync.Mutex
	registers [2][1 << 16]uint16 // input, holding
	bits      [2][1 << 16]bool   // coil, discrete
	missing   map[uint16]bool    // registers that it does not have
	silent    map[uint8]bool     // units that do not answer
	requests  int
	wrote     bool
}

// plainDevice has contents, and nothing that asks for them.
func plainDevice(seed uint64) *device {
	d := &device{missing: map[uint16]bool{}, silent: map[uint8]bool{}}
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 1 << 16 {
		d.registers[0][i], d.registers[1][i] = uint16(r.Uint32()), uint16(r.Uint32())
		d.bits[0][i], d.bits[1][i] = r.IntN(2) == 0, r.IntN(2) == 0
	}
	return d
}

func newDevice(t *testing.T, seed uint64) (*device, string) {
	d := plainDevice(seed)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "tcp://" + l.Addr().String()
	require.NoError(t, l.Close())
	s, err := modbus.NewServer(&modbus.ServerConfiguration{URL: url, Timeout: time.Minute, MaxClients: 5, Logger: log.New(io.Discard, "", 0)}, d)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { _ = s.Stop() }) // connections that a test left may end it with an error
	return d, url
}

func (d *device) begin(unit uint8, first, quantity uint16) error {
	d.requests++
	if d.silent[unit] {
		return modbus.ErrGWTargetFailedToRespond
	}
	for i := range quantity {
		if d.missing[first+i] {
			return modbus.ErrIllegalDataAddress
		}
	}
	return nil
}

func (d *device) HandleCoils(r *modbus.CoilsRequest) ([]bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrote = d.wrote || r.IsWrite
	return d.bits[0][r.Addr:][:r.Quantity], d.begin(r.UnitId, r.Addr, r.Quantity)
}

func (d *device) HandleDiscreteInputs(r *modbus.DiscreteInputsRequest) ([]bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bits[1][r.Addr:][:r.Quantity], d.begin(r.UnitId, r.Addr, r.Quantity)
}

func (d *device) HandleInputRegisters(r *modbus.InputRegistersRequest) ([]uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.registers[0][r.Addr:][:r.Quantity], d.begin(r.UnitId, r.Addr, r.Quantity)
}

func (d *device) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrote = d.wrote || r.IsWrite
	return d.registers[1][r.Addr:][:r.Quantity], d.begin(r.UnitId, r.Addr, r.Quantity)
}

// taken is a sink that keeps everything.
type taken struct {
	mu       sync.Mutex
	readings []collector.Reading
	down     [][]string
	counts   map[collector.Counter]int
	came     chan struct{}
}

func newTaken() *taken {
	return &taken{counts: map[collector.Counter]int{}, came: make(chan struct{}, 1)}
}

func (s *taken) Put(_ context.Context, r []collector.Reading) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readings = append(s.readings, r...)
	s.signal()
	return nil
}

func (s *taken) Flush(context.Context) error { return nil }

func (s *taken) Down(_ context.Context, addresses []string, _ int64, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = append(s.down, addresses)
	s.signal()
	return nil
}

func (s *taken) Up(context.Context, []string, int64) error                  { return nil }
func (s *taken) Lost(context.Context, []string, int64, int64, string) error { return nil }
func (s *taken) Count(c collector.Counter, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[c] += n
	s.signal()
}

// signal wakes until.
func (s *taken) signal() {
	select {
	case s.came <- struct{}{}:
	default:
	}
}

// until waits until ok, which is asked with the sink's lock held.
func (s *taken) until(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		done := ok()
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.came:
		case <-deadline:
			t.Fatalf("30 s later it is not so: %d readings, down %v", len(s.readings), s.down)
		}
	}
}

func openSource(t *testing.T, s Settings, addresses ...string) *source {
	t.Helper()
	require.NoError(t, s.Check())
	x, err := newSource(collector.Env{Name: "plc", Addresses: addresses, Logger: slog.New(slog.DiscardHandler), Now: time.Now}, &s)
	require.NoError(t, err)
	return x.(*source)
}

func run(t *testing.T, x *source) *taken {
	out := newTaken()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.Run(ctx, out) }()
	t.Cleanup(func() { cancel(); <-done })
	return out
}

// plainValue is what an address says, worked out from the bytes by other ways than the source has.
func (d *device) plainValue(p point) collector.Value {
	switch p.table {
	case coil:
		return collector.Bool(d.bits[0][p.register])
	case discrete:
		return collector.Bool(d.bits[1][p.register])
	}
	regs := slices.Clone(d.registers[p.table-input][p.register:][:p.registers])
	if p.form == "bool" {
		return collector.Bool(regs[0]&(1<<p.bit) != 0)
	}
	if p.swapWords {
		slices.Reverse(regs)
	}
	var b []byte
	for _, r := range regs {
		if p.swapBytes {
			b = binary.LittleEndian.AppendUint16(b, r)
		} else {
			b = binary.BigEndian.AppendUint16(b, r)
		}
	}
	n := uint64(0)
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	switch p.form {
	case "int16":
		return collector.Int64(int64(n<<48) >> 48)
	case "int32":
		return collector.Int64(int64(n<<32) >> 32)
	case "uint16", "uint32", "int64":
		return collector.Int64(int64(n))
	case "uint64":
		return collector.Uint64(n)
	case "float32":
		return collector.Float32(math.Float32frombits(uint32(n)))
	}
	return collector.Float64(math.Float64frombits(n))
}

// Whatever addresses are read together, each has the value that its registers say.
func TestValuesAreThoseOfTheRegisters(t *testing.T) {
	d, url := newDevice(t, 1)
	rapid.Check(t, func(rt *rapid.T) {
		var addresses []string
		seen := map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(rt, "points") {
			a := fmt.Sprintf("%d/", rapid.IntRange(1, 2).Draw(rt, "unit"))
			kind := rapid.SampledFrom([]string{"coil", "discrete", "input", "holding"}).Draw(rt, "table")
			a += fmt.Sprintf("%s:%d", kind, rapid.IntRange(0, 400).Draw(rt, "register"))
			if kind == "input" || kind == "holding" {
				switch form := rapid.SampledFrom([]string{"", "bit", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"}).Draw(rt, "form"); form {
				case "":
				case "bit":
					a += fmt.Sprintf(".%d", rapid.IntRange(0, 15).Draw(rt, "bit"))
				default:
					a += ":" + form + rapid.SampledFrom([]string{"", ":abcd", ":cdab", ":badc", ":dcba"}).Draw(rt, "order")
				}
			}
			if !seen[a] {
				seen[a] = true
				addresses = append(addresses, a)
			}
		}
		x := openSource(t, Settings{URL: url, Gap: rapid.SampledFrom([]int{-1, 0, 30}).Draw(rt, "gap")}, addresses...)
		got := map[string]collector.Value{}
		require.NoError(t, x.Check(t.Context(), func(r collector.Reading) {
			require.Equal(t, model.Good, r.Quality)
			require.NotContains(t, got, r.Address)
			got[r.Address] = r.Value
		}))
		for _, p := range x.points {
			require.Equal(t, d.plainValue(p), got[p.address], p.address)
		}
		require.Len(t, got, len(x.points))
	})
	require.False(t, d.wrote)
}

func TestTextsAndDecimals(t *testing.T) {
	d, url := newDevice(t, 2)
	copy(d.registers[1][:], []uint16{'P'<<8 | '-', '1'<<8 | '0', '1' << 8, 0x1234, 0x5678, 0x12a4})
	x := openSource(t, Settings{URL: url}, "holding:0:string6", "holding:3:bcd16", "holding:3:bcd32", "holding:5:bcd16")
	got := map[string]collector.Reading{}
	require.NoError(t, x.Check(t.Context(), func(r collector.Reading) { got[r.Address] = r }))
	require.Equal(t, collector.String("P-101"), got["holding:0:string6"].Value)
	require.Equal(t, collector.Int64(1234), got["holding:3:bcd16"].Value)
	require.Equal(t, collector.Int64(12345678), got["holding:3:bcd32"].Value)
	require.True(t, got["holding:5:bcd16"].Value.IsNull())
	require.Equal(t, model.BadConfigurationError, got["holding:5:bcd16"].Quality)
}

// A hundred registers side by side are one request, and each is read at its pace.
func TestNeighboursAreReadTogether(t *testing.T) {
	d, url := newDevice(t, 3)
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("holding:%d@20ms", i))
	}
	out := run(t, openSource(t, Settings{URL: url}, addresses...))
	out.until(t, func() bool { return len(out.readings) >= 500 })
	out.mu.Lock()
	defer out.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.LessOrEqual(t, d.requests, len(out.readings)/100+1)
	for i := range 400 {
		require.Equal(t, out.readings[i].Address, out.readings[i+100].Address)
		require.Less(t, out.readings[i].Time, out.readings[i+100].Time)
	}
}

// A register that the device does not have is Bad for itself; its neighbours have their values.
func TestAMissingRegisterIsBadForItself(t *testing.T) {
	d, url := newDevice(t, 4)
	d.missing[5] = true
	out := run(t, openSource(t, Settings{URL: url}, "holding:3@20ms", "holding:4@20ms", "holding:5@20ms", "holding:6@20ms"))
	out.until(t, func() bool { return len(out.readings) >= 30 })
	out.mu.Lock()
	defer out.mu.Unlock()
	seen := map[string]int{}
	for _, r := range out.readings {
		seen[r.Address]++
		require.Equal(t, r.Address == "holding:5@20ms", r.Quality == model.BadConfigurationError)
		require.Equal(t, r.Address == "holding:5@20ms", r.Value.IsNull())
	}
	require.Equal(t, 1, seen["holding:5@20ms"], "it is asked for again after a minute")
	require.Greater(t, seen["holding:3@20ms"], 5)
	require.Empty(t, out.down)
}

// A unit behind a gateway that does not answer is down by itself, once, and comes back.
func TestASilentUnitIsDownAndComesBack(t *testing.T) {
	d, url := newDevice(t, 5)
	d.silent[2] = true
	out := run(t, openSource(t, Settings{URL: url, Every: 20 * time.Millisecond}, "1/holding:1", "2/holding:1", "2/coil:1"))
	of := func(a string) (n int) {
		for _, r := range out.readings {
			if r.Address == a {
				n++
			}
		}
		return n
	}
	out.until(t, func() bool { return of("1/holding:1") > 10 && len(out.down) > 0 })
	out.mu.Lock()
	require.Len(t, out.down, 1)
	require.ElementsMatch(t, []string{"2/coil:1", "2/holding:1"}, out.down[0])
	require.Zero(t, of("2/holding:1"))
	out.mu.Unlock()
	d.mu.Lock()
	d.silent[2] = false
	d.mu.Unlock()
	out.until(t, func() bool { return of("2/holding:1") > 3 && of("2/coil:1") > 3 })
}

// Without a connection the source ends with an error, and all of it is down.
func TestNoConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "tcp://" + l.Addr().String()
	require.NoError(t, l.Close())
	out := newTaken()
	require.ErrorContains(t, openSource(t, Settings{URL: url}, "coil:1").Run(t.Context(), out), "connect")
	require.Equal(t, [][]string{nil}, out.down)
}

// A device that takes requests and answers nothing, or nonsense, is down; the next try has a connection of its own.
func TestADeviceThatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections sync.WaitGroup
	var mu sync.Mutex
	n := 0
	connections.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			nonsense := n%2 == 0
			mu.Unlock()
			connections.Go(func() {
				defer c.Close()
				b := make([]byte, 64)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					if nonsense {
						_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) // the other side may be gone
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); connections.Wait() })
	x := openSource(t, Settings{URL: "tcp://" + l.Addr().String(), Every: 20 * time.Millisecond, Timeout: 50 * time.Millisecond}, "coil:1", "holding:1")
	out := run(t, x)
	out.until(t, func() bool { return out.counts[collector.Reconnects] >= 4 })
	out.mu.Lock()
	defer out.mu.Unlock()
	require.Empty(t, out.readings)
	require.Len(t, out.down, 1)
}

func TestSettingsAreLookedAt(t *testing.T) {
	for want, s := range map[string]Settings{
		"url":     {URL: "plc:502"},
		"parity":  {URL: "rtu:///dev/ttyS0", Parity: "mark"},
		"speed":   {URL: "rtu:///dev/ttyS0", Speed: 1},
		"stop":    {URL: "rtu:///dev/ttyS0", StopBits: 3},
		"every":   {URL: "tcp://plc:502", Every: time.Millisecond},
		"timeout": {URL: "tcp://plc:502", Timeout: time.Hour},
		"cert":    {URL: "tcp+tls://plc:802", Cert: "a"},
	} {
		require.ErrorContains(t, s.Check(), want)
	}
	_, err := newSource(collector.Env{Logger: slog.New(slog.DiscardHandler)}, &Settings{URL: "tcp://plc:502"})
	require.ErrorContains(t, err, "name none")
	_, err = newSource(collector.Env{Addresses: []string{"holding:x"}}, &Settings{URL: "tcp://plc:502"})
	require.ErrorIs(t, err, errAddress)
}
