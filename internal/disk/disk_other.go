//go:build !windows

package disk

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var system = vfs.Default

func open(name string) (*os.File, error) { return os.Open(name) }
