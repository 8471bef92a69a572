package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a number of bytes as a flag: 1048576, 64MiB, 1.5GiB.
type size int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1}}

// Set is part of pflag.Value.
func (s *size) Set(text string) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if bytes := n * u.bytes; err == nil && bytes >= 0 && bytes < math.MaxInt64 {
			*s = size(bytes)
			return nil
		}
		break
	}
	return fmt.Errorf("size %q: must be a number of bytes with or without a unit, such as 64MiB", text)
}

func (s *size) String() string {
	for _, u := range sizeUnits[:4] {
		if unit := size(u.bytes); *s != 0 && *s%unit == 0 {
			return strconv.FormatInt(int64(*s/unit), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type is part of pflag.Value.
func (s *size) Type() string { return "size" }
