//go:build !linux

package modbus

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/goburrow/serial"
)

// openSerial opens a serial line of 8 data bits.
func openSerial(path string, speed uint, parity string, stopBits uint) (port, error) {
	request := time.Duration(8*11) * time.Second / time.Duration(speed) // a write is cut off at the timeout too
	p, err := serial.Open(&serial.Config{
		Address: path, BaudRate: int(speed), DataBits: 8, StopBits: int(stopBits), Timeout: 10*time.Millisecond + 2*request,
		Parity: map[string]string{"none": "N", "odd": "O", "even": "E"}[parity],
	})
	if err != nil {
		return nil, err
	}
	return &serialPort{Port: p}, nil
}

// serialPort gives a port, whose reads wait a few milliseconds, a deadline.
type serialPort struct {
	serial.Port
	deadline time.Time
}

// SetDeadline is part of port. It holds for reads.
func (p *serialPort) SetDeadline(t time.Time) error {
	p.deadline = t
	return nil
}

// Read is part of port.
func (p *serialPort) Read(b []byte) (int, error) {
	for {
		n, err := p.Port.Read(b)
		if n > 0 || err != nil && !errors.Is(err, serial.ErrTimeout) {
			return n, err
		}
		if !time.Now().Before(p.deadline) {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// Write is part of port.
func (p *serialPort) Write(b []byte) (int, error) {
	n, err := p.Port.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}
