package log

import "github.com/cockroachdb/pebble/v2/vfs"

// Check reads the log in dir, which nobody may have open, and reports what Open would find. It changes nothing, and knows
// of no applied offset: damage to records that no store needs any more is among what is lost.
func Check(fs vfs.FS, dir string) (Recovery, error) {
	r, err := recoverLog(fs, dir, 0)
	if err != nil {
		return Recovery{}, err
	}
	return r.result, nil
}
