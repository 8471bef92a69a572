package model

import (
	"math"
	"testing"
)

func TestQualityNamesAreReadBack(t *testing.T) {
	for q, n := range qualityNames {
		have, err := ParseQuality(n)
		if err != nil || have != q {
			t.Errorf("ParseQuality(%q) = %08x, %v; want %08x", n, uint32(have), err, uint32(q))
		}
	}
	for s, want := range map[string]Quality{"good": Good, "BADNODATA": BadNoData, "0x80310000": BadNoCommunication, "1083179008": UncertainLastUsableValue} {
		if have, err := ParseQuality(s); err != nil || have != want {
			t.Errorf("ParseQuality(%q) = %08x, %v; want %08x", s, uint32(have), err, uint32(want))
		}
	}
	for _, s := range []string{"", "Godo", "0x80zz", "1x", "-1", "0x1FFFFFFFF"} {
		if have, err := ParseQuality(s); err == nil {
			t.Errorf("ParseQuality(%q) = %08x, want an error", s, uint32(have))
		}
	}
}

// A machine's own conversion would quiet a signalling NaN; every one of these patterns must come back.
func TestFloat32WidensWithoutLoss(t *testing.T) {
	for _, high := range []uint32{0, 0x7F80, 0xFF80, 0x7FA0, 0xFFA0, 0x7FC0, 0x8000, 0x3F80, 0x0001, 0x8001, 0x007F, 0x7F7F} {
		for low := range uint32(1 << 16) {
			bits := high<<16 | low
			if have := NarrowFloat32(WidenFloat32(bits)); have != bits {
				t.Fatalf("%08x widened and narrowed is %08x", bits, have)
			}
		}
	}
}

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		from, to int64
		want     TimeRange
	}{
		{10, 20, TimeRange{10, 20, false}},
		{20, 10, TimeRange{11, 21, true}}, // (10, 20]
		{10, 10, TimeRange{10, 11, false}},
		{math.MaxInt64, math.MaxInt64, TimeRange{math.MaxInt64, math.MaxInt64, false}},
		{math.MaxInt64, 5, TimeRange{6, math.MaxInt64, true}},
	} {
		if have := Between(c.from, c.to); have != c.want {
			t.Errorf("Between(%d, %d) = %+v, want %+v", c.from, c.to, have, c.want)
		}
	}
}

func TestSlicesOfReusedSamplesKeepTheirColumns(t *testing.T) {
	s := Samples{Type: Float64, Times: []int64{1}, Bits: []uint64{1}}
	s.Reset(String)
	for i := range 5 {
		s.Append(Sample{Time: int64(i), Type: String, Blob: []byte{byte(i)}, Quality: Quality(i), Null: i == 3, Seq: uint32(i)})
	}
	c := s.Slice(2, 5)
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	for i := range c.Len() {
		if a, b := c.At(i), s.At(i+2); !a.SameValue(b) || a.Time != b.Time || a.Seq != b.Seq {
			t.Errorf("sample %d is %+v, want %+v", i, a, b)
		}
	}
}

func TestNames(t *testing.T) {
	for _, n := range []string{"", " a", "a ", "a\nb", "a\x00b", "\xff", string(make([]byte, MaxNameBytes+1))} {
		if CheckName(n) == nil {
			t.Errorf("CheckName(%.20q) passes", n)
		}
	}
	for _, n := range []string{"a", "Kessel 4.Druck", "温度", "a b"} {
		if err := CheckName(n); err != nil {
			t.Errorf("CheckName(%q): %v", n, err)
		}
	}
}
