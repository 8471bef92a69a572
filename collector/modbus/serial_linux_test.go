package modbus

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	lineKinds["terminal"] = func(t *testing.T, b *bus) string {
		master, name := terminal(t)
		go b.serve(master)
		return "rtu://" + name
	}
}

// terminal is a pair of pseudo terminals: what is written to the one is read from the other.
func terminal(t *testing.T) (*os.File, string) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %s", err)
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	name := fmt.Sprintf("/dev/pts/%d", n)
	kept, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0) // while nobody has it open the device would read errors
	require.NoError(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	return master, name
}

func TestSerialSettings(t *testing.T) {
	_, name := terminal(t)
	p, err := openSerial(name, 31250, "none", 2) // no speed that the system has a name for
	require.NoError(t, err)
	defer p.Close()
	raw, err := p.(*os.File).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		got, err := unix.IoctlGetTermios(int(fd), unix.TCGETS2)
		require.NoError(t, err)
		require.Equal(t, [2]uint32{31250, 31250}, [2]uint32{got.Ispeed, got.Ospeed})
		require.Equal(t, uint32(unix.CSTOPB|unix.CS8|unix.CREAD|unix.CLOCAL), got.Cflag&(unix.CSTOPB|unix.CSIZE|unix.CREAD|unix.CLOCAL|unix.PARENB))
		require.Equal(t, [3]uint32{}, [3]uint32{got.Iflag, got.Oflag, got.Lflag})
	}))
	plain := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	_, err = openSerial(plain, 9600, "even", 1)
	require.ErrorContains(t, err, "9600 baud")
}
