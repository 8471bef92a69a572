package modbus

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

// The check value of CRC-16/MODBUS, the example of the standard (Modbus over Serial Line 1.02, 6.2.2), and frames as manuals print them.
func TestChecksum(t *testing.T) {
	require.Equal(t, uint16(0x4B37), checksum([]byte("123456789")))
	require.Equal(t, uint16(0x1241), checksum([]byte{0x02, 0x07}))
	for _, frame := range [][]byte{
		{0x01, 0x04, 0x02, 0xFF, 0xFF, 0xB8, 0x80},
		{0x01, 0x03, 0x00, 0x00, 0x00, 0x0A, 0xC5, 0xCD},
		{0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87},
		{0x11, 0x01, 0x05, 0xCD, 0x6B, 0xB2, 0x0E, 0x1B, 0x45, 0xE6},
	} {
		n := len(frame) - 2
		require.Equal(t, binary.LittleEndian.Uint16(frame[n:]), checksum(frame[:n]), "%x", frame)
		require.Equal(t, checksum(frame[:n]), plainChecksum(frame[:n]))
	}
}

// plainChecksum divides by x^16 + x^15 + x^2 + 1, the bits of each byte from the least significant on.
func plainChecksum(b []byte) uint16 {
	rest := uint16(0xFFFF)
	for _, x := range b {
		rest ^= uint16(bits.Reverse8(x)) << 8
		for range 8 {
			high := rest>>15 == 1
			if rest <<= 1; high {
				rest ^= 0x8005
			}
		}
	}
	return bits.Reverse16(rest)
}

// bus is a line with the units of a device on it, and what happens to their answers.
type bus struct {
	d *device

	mu     sync.Mutex
	out    io.Writer                 // whoever listens: of a converter its newest connection
	answer func(n int, frame []byte) // sends the n-th one, by write
}

func (b *bus) write(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = b.out.Write(p) // the other side may be gone
}

// serve answers what comes over a connection.
func (b *bus) serve(c io.ReadWriter) {
	b.mu.Lock()
	b.out = c
	b.mu.Unlock()
	for {
		request := make([]byte, 8)
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if binary.LittleEndian.Uint16(request[6:]) != plainChecksum(request[:6]) {
			panic(fmt.Sprintf("a request with a wrong checksum: %x", request))
		}
		frame := b.d.frame(request)
		if frame == nil {
			continue // nobody has this unit
		}
		b.d.mu.Lock()
		n := b.d.requests
		b.d.mu.Unlock()
		if b.answer != nil {
			b.answer(n, frame)
		} else {
			b.write(frame)
		}
	}
}

// frame is the answer to a request.
func (d *device) frame(request []byte) []byte {
	unit, function := request[0], request[1]
	first, quantity := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []byte{unit, function}
	switch err := d.begin(unit, first, quantity); {
	case d.silent[unit]:
		return nil
	case err != nil:
		out = []byte{unit, function | 0x80, 2}
	case function <= 2:
		packed := make([]byte, (quantity+7)/8)
		for i, on := range d.bits[function-1][first:][:quantity] {
			if on {
				packed[i/8] |= 1 << (i % 8)
			}
		}
		out = append(append(out, byte(len(packed))), packed...)
	default:
		out = append(out, byte(2*quantity))
		for _, r := range d.registers[map[uint8]int{4: 0, 3: 1}[function]][first:][:quantity] {
			out = binary.BigEndian.AppendUint16(out, r)
		}
	}
	return binary.LittleEndian.AppendUint16(out, plainChecksum(out))
}

// converter puts a line behind a TCP port.
func (b *bus) converter(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() }) // the other side may have closed it
			all.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return "rtuovertcp://" + l.Addr().String()
}

// lines are the ways to a line: each way is tested alike.
func lines(t *testing.T, test func(t *testing.T, open func(t *testing.T, b *bus) string)) {
	for name, open := range lineKinds {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

var lineKinds = map[string]func(t *testing.T, b *bus) string{
	"converter": func(t *testing.T, b *bus) string { return b.converter(t) },
}

// right fails for a reading whose value is not that of the registers.
func (d *device) right(t *testing.T, x *source, readings []collector.Reading) {
	t.Helper()
	for _, r := range readings {
		for _, p := range x.points {
			if p.address == r.Address {
				require.Equal(t, d.plainValue(p), r.Value, p.address)
			}
		}
	}
}

func TestLineReadsWhatTheRegistersSay(t *testing.T) {
	lines(t, func(t *testing.T, open func(t *testing.T, b *bus) string) {
		d := plainDevice(11)
		var addresses []string
		for i := range 40 {
			addresses = append(addresses, fmt.Sprintf("holding:%d:float32:cdab", 7*i), fmt.Sprintf("2/input:%d:int16", 3*i), fmt.Sprintf("coil:%d", 70*i), fmt.Sprintf("2/discrete:%d", i))
		}
		x := openSource(t, Settings{URL: open(t, &bus{d: d}), Timeout: 100 * time.Millisecond, Speed: 115200, Parity: "none"}, addresses...)
		var got []collector.Reading
		require.NoError(t, x.Check(t.Context(), func(r collector.Reading) { got = append(got, r) }))
		require.Len(t, got, len(addresses))
		d.right(t, x, got)
	})
}

// Answers that come when nobody waits for them any more are not taken for those of later requests, which look the same.
func TestALateAnswerIsNobodysAnswer(t *testing.T) {
	lines(t, func(t *testing.T, open func(t *testing.T, b *bus) string) {
		const timeout = 200 * time.Millisecond
		b := &bus{d: plainDevice(12)}
		var late sync.WaitGroup
		b.answer = func(n int, frame []byte) {
			if n%4 != 1 {
				b.write(frame)
				return
			}
			late.Go(func() {
				time.Sleep(timeout * 5 / 4)
				b.write(frame)
			})
		}
		x := openSource(t, Settings{URL: open(t, b), Every: 10 * time.Millisecond, Timeout: timeout, Speed: 115200}, "holding:1", "holding:1000", "holding:2000", "2/holding:1")
		out := run(t, x)
		out.until(t, func() bool { return len(out.readings) >= 20 && len(out.down) >= 3 })
		out.mu.Lock()
		defer out.mu.Unlock()
		b.d.right(t, x, out.readings)
		late.Wait()
	})
}

// A line with noise has fewer values, and no wrong ones.
func TestNoiseIsNoValue(t *testing.T) {
	lines(t, func(t *testing.T, open func(t *testing.T, b *bus) string) {
		b := &bus{d: plainDevice(13)}
		r := rand.New(rand.NewPCG(13, 1))
		b.answer = func(_ int, frame []byte) {
			switch r.IntN(8) {
			case 0, 1:
				for range 1 + r.IntN(3) { // fewer bits than could make another frame
					frame[r.IntN(len(frame))] ^= 1 << r.IntN(8)
				}
			case 2:
				frame = frame[:r.IntN(len(frame))]
			case 3:
				frame = append([]byte{byte(r.Uint32()), byte(r.Uint32())}, frame...)
			case 4:
				frame = append(frame, byte(r.Uint32()))
			}
			b.write(frame)
		}
		x := openSource(t, Settings{URL: open(t, b), Every: 10 * time.Millisecond, Timeout: 20 * time.Millisecond, Speed: 115200}, "holding:1:float64", "input:1000", "2/coil:2000")
		out := run(t, x)
		out.until(t, func() bool { return len(out.readings) >= 50 && len(out.down) >= 5 })
		out.mu.Lock()
		defer out.mu.Unlock()
		b.d.right(t, x, out.readings)
	})
}

// A unit that is not there holds up the others for a moment, and has a gap by itself; what a device says that it does not have is Bad for itself.
func TestLineWithASilentUnit(t *testing.T) {
	lines(t, func(t *testing.T, open func(t *testing.T, b *bus) string) {
		b := &bus{d: plainDevice(14)}
		b.d.silent[2], b.d.missing[5] = true, true
		x := openSource(t, Settings{URL: open(t, b), Every: 10 * time.Millisecond, Timeout: 30 * time.Millisecond, Speed: 115200}, "holding:1", "holding:5", "2/holding:1")
		out := run(t, x)
		out.until(t, func() bool { return len(out.readings) >= 20 && len(out.down) >= 1 })
		out.mu.Lock()
		defer out.mu.Unlock()
		require.Equal(t, [][]string{{"2/holding:1"}}, out.down)
		for _, r := range out.readings {
			require.Equal(t, r.Address == "holding:5", r.Quality == model.BadConfigurationError, r.Address)
			require.Equal(t, r.Address == "holding:5", r.Value.IsNull())
			require.NotEqual(t, "2/holding:1", r.Address)
		}
	})
}

func TestNobodyAnswersForAllUnits(t *testing.T) {
	_, err := newSource(collector.Env{Addresses: []string{"0/holding:1"}}, &Settings{URL: "rtu:///dev/ttyS0"})
	require.ErrorContains(t, err, "unit 0")
	_, err = newSource(collector.Env{Addresses: []string{"0/holding:1"}, Logger: slog.New(slog.DiscardHandler)}, &Settings{URL: "tcp://plc:502"})
	require.NoError(t, err)
}

// memory is a port that has something to read, and then nothing.
type memory struct {
	rest  []byte
	until time.Time
}

func (m *memory) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p[:min(len(p), 1+int(m.rest[0])%7)], m.rest) // in pieces
	m.rest = m.rest[n:]
	return n, nil
}
func (m *memory) Write(p []byte) (int, error) { return len(p), nil }
func (m *memory) Close() error                { return nil }
func (m *memory) SetDeadline(t time.Time) error {
	m.until = t
	return nil
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x01, 0x04, 0x02, 0xFF, 0xFF, 0xB8, 0x80})
	f.Add([]byte{0x01, 0x84, 0x02, 0xC2, 0xC1})
	f.Add([]byte{0x01, 0x04, 0xFF, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &line{port: &memory{rest: b}}
		for {
			frame, err := l.frame()
			if err != nil {
				return
			}
			n := len(frame)
			require.LessOrEqual(t, n, frameMost)
			require.Equal(t, plainChecksum(frame[:n-2]), binary.LittleEndian.Uint16(frame[n-2:]))
			if frame[1] < 0x80 {
				require.Equal(t, int(frame[2])+5, n)
			}
		}
	})
}

// framed is a frame with its checksum.
func framed(b ...byte) []byte { return binary.LittleEndian.AppendUint16(b, plainChecksum(b)) }

func TestFramesOfOthersArePassedOver(t *testing.T) {
	l := newLine(&late{of: append(framed(7, 3, 2, 0xAA, 0xAA), framed(9, 3, 2, 0x12, 0x34)...)}, 1_000_000, 0)
	data, err := l.ask(9, 3, 0, 1, 2)
	require.NoError(t, err)
	require.Equal(t, []byte{0x12, 0x34}, data)
	l = newLine(&late{of: framed(9, 3, 4, 0, 0, 0, 0)}, 1_000_000, 0)
	_, err = l.ask(9, 3, 0, 1, 2)
	require.ErrorIs(t, err, errNoise, "it is the answer to another request")
}

// At 1,200 baud 125 registers take more than two seconds to come.
func TestLineIsGivenTheTimeItsBytesTake(t *testing.T) {
	p := &late{}
	l := newLine(p, 1200, 300*time.Millisecond)
	l.quiet = time.Time{}
	began := time.Now()
	_, err := l.ask(1, 3, 0, 125, 250)
	require.ErrorIs(t, err, modbus.ErrRequestTimedOut)
	bytes := 8 + 255
	require.True(t, p.until.After(began.Add(300*time.Millisecond+time.Duration(bytes)*(11*time.Second/1200))))
}

func TestExceptionsOfFrames(t *testing.T) {
	l := newLine(&late{of: framed(9, 0x83, 11)}, 1_000_000, 0)
	_, err := l.ask(9, 3, 0, 1, 2)
	require.ErrorIs(t, err, modbus.ErrGWTargetFailedToRespond)
	require.True(t, exception(err))
	require.ErrorIs(t, exceptionOf(77), modbus.ErrProtocolError)
	require.False(t, exception(exceptionOf(77)))
}

// late is a port that has something to read once something was written.
type late struct {
	memory
	of []byte
}

func (l *late) Write(p []byte) (int, error) {
	l.rest = l.of
	return len(p), nil
}
