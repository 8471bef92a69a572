package modbus

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openSerial opens a serial line of 8 data bits, as it came: nothing edits what goes over it. Its reads wait for the poller of the runtime, like those of
// connections, so that deadlines hold.
func openSerial(path string, speed uint, parity string, stopBits uint) (port, error) {
	f, err := os.OpenFile(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	t := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.BOTHER, Ispeed: uint32(speed), Ospeed: uint32(speed)}
	t.Cc[unix.VMIN] = 1
	switch parity {
	case "none":
	case "odd":
		t.Cflag |= unix.PARODD
		fallthrough
	default:
		t.Cflag |= unix.PARENB
		t.Iflag |= unix.INPCK // a byte whose parity is wrong is read as 0, and the checksum sees it
	}
	if stopBits == 2 {
		t.Cflag |= unix.CSTOPB
	}
	raw, err := f.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = unix.IoctlSetTermios(int(fd), unix.TCSETS2, &t) })
		if err == nil {
			err = failed
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written to it
		return nil, fmt.Errorf("set %s to %d baud, parity %s, %d stop bits: %w", path, speed, parity, stopBits, err)
	}
	return f, nil
}
