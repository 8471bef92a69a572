//go:build unix

package file

import (
	"fmt"
	"io/fs"
	"syscall"
)

// idOf names a file whatever it is called; a file that is gone may leave its id to another.
func idOf(path string, st fs.FileInfo) string {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
	}
	return "path:" + path
}

// renamesOpen says that a file that is open here can be renamed by whoever writes it.
const renamesOpen = true
