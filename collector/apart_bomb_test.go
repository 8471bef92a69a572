//go:build linux && !race

package collector

import (
	"context"
	"fmt"
	"math"
)

// A process can ask for no more than it has here. With the race detector other things are said then, and memory beside every byte is written to.
func init() {
	wildDeeds["bomb"] = func(*wildSource, context.Context, Sink) error {
		bomb := make([]byte, min(100<<30, math.MaxInt)) // the second where an int has 32 bits
		return fmt.Errorf("it got %d bytes", len(bomb))
	}
	wildDeeds["slow bomb"] = func(*wildSource, context.Context, Sink) error {
		var all [][]byte
		for len(all) < 100<<10 {
			all = append(all, make([]byte, 1<<20)) // which nobody touches, so that the machine does not notice either
		}
		return fmt.Errorf("it got %d MiB", len(all))
	}
}
