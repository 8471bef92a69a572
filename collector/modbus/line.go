package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/simonvetter/modbus"
)

// line asks devices by frames of bytes that a checksum ends (Modbus over Serial Line 1.02): on a serial line, or through a converter that passes them on.
//
// A frame has no number that an answer could be known by. One that comes too late looks like that of the next request, and its values would look right. So a
// line is listened to, and what comes is thrown away, for as long as an answer may take before it is asked for the first time; and whoever got no answer
// opens it anew.
type line struct {
	port    port
	timeout time.Duration
	char    time.Duration // that a byte takes, with its start, parity and stop bits
	pause   time.Duration // the least silence between frames
	quiet   time.Time     // until then an answer to somebody else's request may come
	in      []byte        // came and was not looked at
}

// port is what bytes go over. A Read that waited until the deadline fails with os.ErrDeadlineExceeded.
type port interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// errNoise is of frames that are none: a checksum that is wrong, a frame that is cut off, a line that is never silent.
var errNoise = errors.New("what came is no frame")

const (
	frameMost = 256 // bytes of a frame (2.3)
	noiseMost = 4 << 10
)

func newLine(p port, speed uint, timeout time.Duration) *line {
	char := 11 * time.Second / time.Duration(speed)
	pause := char * 7 / 2
	if speed > 19200 {
		pause = 1750 * time.Microsecond // (2.5.1.1)
	}
	return &line{port: p, timeout: timeout, char: char, pause: pause, quiet: time.Now().Add(timeout)}
}

// Close is part of connection.
func (l *line) Close() error { return l.port.Close() }

// read is part of connection.
func (l *line) read(g *group) ([]uint16, error) {
	function := [...]uint8{coil: 1, discrete: 2, input: 4, holding: 3}[g.table]
	size := 2 * g.quantity
	if g.table.bits() {
		size = (g.quantity + 7) / 8
	}
	data, err := l.ask(g.unit, function, g.first, uint16(g.quantity), size)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, g.quantity)
	for i := range out {
		if g.table.bits() {
			out[i] = uint16(data[i/8]>>(i%8)) & 1
		} else {
			out[i] = binary.BigEndian.Uint16(data[2*i:])
		}
	}
	return out, nil
}

// ask sends a request and returns the size bytes of data of its answer. The timeout holds for the device: what the bytes take on the line comes on top.
func (l *line) ask(unit, function uint8, first, quantity uint16, size int) ([]byte, error) {
	if err := l.settle(); err != nil {
		return nil, err
	}
	request := []byte{unit, function}
	request = binary.BigEndian.AppendUint16(request, first)
	request = binary.BigEndian.AppendUint16(request, quantity)
	request = binary.LittleEndian.AppendUint16(request, checksum(request))
	deadline := time.Now().Add(time.Duration(len(request)+size+5)*l.char + l.timeout)
	if err := l.port.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := l.port.Write(request); err != nil {
		return nil, fmt.Errorf("send a request: %w", err)
	}
	for {
		answer, err := l.frame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, modbus.ErrRequestTimedOut
		case err != nil:
			return nil, err
		case answer[0] != unit:
			continue // another's, who is late: this one's may still come (2.4.1)
		case answer[1] == function|0x80:
			return nil, exceptionOf(answer[2])
		case answer[1] != function || int(answer[2]) != size:
			return nil, fmt.Errorf("function %d with %d bytes came, function %d with %d was asked for: %w", answer[1], answer[2], function, size, errNoise)
		}
		return answer[3 : 3+size], nil
	}
}

// settle waits until the line was silent for as long as it is between frames, and throws away what comes meanwhile.
func (l *line) settle() error {
	l.in = l.in[:0]
	var b [frameMost]byte
	free := later(l.quiet, time.Now().Add(l.pause))
	for thrown := 0; time.Now().Before(free); {
		if err := l.port.SetDeadline(free); err != nil {
			return err
		}
		n, err := l.port.Read(b[:])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if n > 0 {
			free = later(free, time.Now().Add(l.pause))
		}
		if thrown += n; thrown > noiseMost {
			return fmt.Errorf("%d bytes came unasked: %w", thrown, errNoise)
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// frame reads one answer: unit, function, and how many bytes of data follow, or what exception it is. The checksum holds.
func (l *line) frame() ([]byte, error) {
	if err := l.fill(3); err != nil {
		return nil, err
	}
	n := 5
	switch function := l.in[1]; {
	case function >= 1 && function <= 4:
		n += int(l.in[2])
	case function < 0x81 || function > 0x84:
		return nil, fmt.Errorf("function %d came: %w", function, errNoise)
	}
	if n > frameMost {
		return nil, fmt.Errorf("a frame of %d bytes came, most is %d: %w", n, frameMost, errNoise)
	}
	if err := l.fill(n); err != nil {
		return nil, err
	}
	f := l.in[:n:n]
	l.in = l.in[n:]
	if checksum(f[:n-2]) != binary.LittleEndian.Uint16(f[n-2:]) {
		return nil, fmt.Errorf("the checksum of %d bytes is wrong: %w", n, errNoise)
	}
	return f, nil
}

// fill reads until n bytes are there.
func (l *line) fill(n int) error {
	for len(l.in) < n {
		b := make([]byte, frameMost) // what a frame leaves of it is kept: a datagram has all of it
		m, err := l.port.Read(b)
		l.in = append(l.in, b[:m]...)
		if err != nil && len(l.in) < n {
			return err
		}
	}
	return nil
}

// checksum is the CRC-16 of Modbus (6.2.2).
func checksum(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low == 1 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

// exceptions by their codes (Modbus Application Protocol 1.1b3, 7).
var exceptions = map[uint8]error{
	1: modbus.ErrIllegalFunction, 2: modbus.ErrIllegalDataAddress, 3: modbus.ErrIllegalDataValue, 4: modbus.ErrServerDeviceFailure, 5: modbus.ErrAcknowledge,
	6: modbus.ErrServerDeviceBusy, 8: modbus.ErrMemoryParityError, 10: modbus.ErrGWPathUnavailable, 11: modbus.ErrGWTargetFailedToRespond,
}

func exceptionOf(code uint8) error {
	if err := exceptions[code]; err != nil {
		return err
	}
	return fmt.Errorf("exception %d: %w", code, modbus.ErrProtocolError)
}
