//go:build linux && !race

package collector

import (
	"context"
	"fmt"
)

// The race detector would write to memory beside every byte.
func init() {
	wildDeeds["slow bomb"] = func(*wildSource, context.Context, Sink) error {
		var all [][]byte
		for len(all) < 100<<10 {
			all = append(all, make([]byte, 1<<20)) // which nobody touches, so that the machine does not notice either
		}
		return fmt.Errorf("it got %d MiB", len(all))
	}
}
