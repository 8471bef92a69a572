//go:build !unix

package sqlchild

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
)

func socketPairs(int) ([]net.Conn, []*os.File, error) {
	return nil, nil, fmt.Errorf("%w for %s", ErrNotBuilt, runtime.GOOS)
}

func attributes() *syscall.SysProcAttr { return nil }

func (p *process) watch(int64, func() uint64) {}

func (p *process) wait(_ Options, _ io.ReadCloser, started chan<- error) { started <- ErrNotBuilt }
