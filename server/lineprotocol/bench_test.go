package lineprotocol

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// body is lines as agents send them: a measurement, so many tags, so many fields and a time.
func body(lines, tags, fields int) []byte {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "process%d", i%10)
		for k := range tags {
			fmt.Fprintf(&b, ",tag%d=unit-%04d", k, i%1000)
		}
		for k := range fields {
			fmt.Fprintf(&b, "%cvalue%d=%d.%03d", " ,"[min(k, 1)], k, 20+i%70, (i*7919+k)%1000)
		}
		fmt.Fprintf(&b, " %d\n", 1_700_000_000_000_000_000+int64(i)*1_000_000)
	}
	return b.Bytes()
}

// BenchmarkReader reads lines and nothing else. ns/op is of a line.
func BenchmarkReader(b *testing.B) {
	for _, c := range []struct{ tags, fields int }{{1, 1}, {3, 1}, {3, 10}} {
		b.Run(fmt.Sprintf("tags=%d/fields=%d", c.tags, c.fields), func(b *testing.B) {
			const lines = 10_000
			text := body(lines, c.tags, c.fields)
			b.SetBytes(int64(len(text) / lines))
			b.ReportAllocs()
			r := NewReader(nil, 1, 1<<20)
			for n := 0; n < b.N; n += lines {
				r.Reset(bytes.NewReader(text), 1, 1<<20)
				for {
					if err := r.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
