package chunk

import (
	"fmt"
	"math"
	"testing"

	"github.com/varvedb/varve/model"
)

// plantTag generates one tag as a plant sends it: 60 % noisy analogs rounded to what the transmitter resolves, 15 %
// setpoints, 15 % discretes, 10 % counters, once a second, every other twenty tags up to 40 ms late.
type plantTag struct {
	state              uint64
	kind               string
	at                 int64
	late               bool
	low, span, x       float64
	noise, drift, step float64
	decimals           float64
	variant            int
}

var plantKinds = []string{"analog", "setpoint", "discrete", "counter"}

func plantKind(tag int) string {
	switch m := tag % 20; {
	case m < 12:
		return "analog"
	case m < 15:
		return "setpoint"
	case m < 18:
		return "discrete"
	}
	return "counter"
}

func (p *plantTag) random() uint64 {
	p.state += 0x9E3779B97F4A7C15
	z := p.state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func (p *plantTag) uniform() float64 { return float64(p.random()>>11) / (1 << 53) }

// normal is the sum of eight bytes, of mean 0 and deviation 1.
func (p *plantTag) normal() float64 {
	sum := uint64(0)
	for z := p.random(); z > 0; z >>= 8 {
		sum += z & 0xFF
	}
	return (float64(sum) - 1020) / 209.02
}

func newPlantTag(tag int) *plantTag {
	p := &plantTag{state: uint64(tag)*0xD1342543DE82EF95 + 12345, kind: plantKind(tag), at: 1767225600000, late: tag/20%2 == 1, variant: tag / 40 % 4}
	p.low = math.Round(p.uniform()*50) - 10
	p.span = []float64{10, 50, 100, 500}[p.random()%4]
	switch p.kind {
	case "analog":
		p.x = 0.3 + 0.4*p.uniform()
		p.noise = []float64{0.0002, 0.001, 0.003, 0.00005}[p.variant]
		p.drift = 0.00003 + 0.0002*p.uniform()
		p.decimals = 100
		if p.variant >= 2 || p.span <= 10 {
			p.decimals = 1000
		}
		p.step = []float64{p.span / 4096, p.span / 65536, 0, 0}[p.variant] // of the converter
	case "setpoint":
		p.x = math.Round((p.low+p.span*p.uniform())*10) / 10
	case "discrete":
		p.x = float64(p.random() % 2)
	case "counter":
		p.x = math.Round(p.uniform() * 1e6)
		p.drift = 0.5 + 4*p.uniform()
	}
	return p
}

func (p *plantTag) next() float64 {
	switch p.kind {
	case "analog":
		p.x += p.drift*p.normal() + 0.0001*(0.5-p.x)
		v := p.low + p.span*(p.x+p.noise*p.normal())
		if p.step > 0 {
			v = p.low + math.Round((v-p.low)/p.step)*p.step
		}
		return math.Round(v*p.decimals) / p.decimals
	case "setpoint":
		if p.random()%1800 == 0 {
			p.x = math.Round((p.low+p.span*p.uniform())*10) / 10
		}
	case "discrete":
		if p.variant < 2 {
			if p.random()%300 == 0 {
				p.x = 1 - p.x
			}
		} else if p.random()%120 == 0 {
			p.x = float64(p.random() % 8)
		}
	case "counter":
		if p.variant < 2 {
			p.x += p.drift * (1 + 0.02*p.normal())
			return math.Round(p.x*1000) / 1000
		}
		p.x += float64(p.random() % 4)
	}
	return p.x
}

// plantChunks is a chunk of n samples of each of 160 tags, those of one kind or, for "mix", all.
func plantChunks(kind string, n int) (out []model.Samples) {
	for tag := range 160 {
		if kind != "mix" && plantKind(tag) != kind {
			continue
		}
		p := newPlantTag(tag)
		s := model.Samples{Type: model.Float64, Times: make([]int64, n), Bits: make([]uint64, n)}
		for i := range n {
			at := p.at
			if p.late {
				at += int64(p.random() % 41)
			}
			s.Times[i], s.Bits[i] = at*1e6, math.Float64bits(p.next())
			p.at += 1000
		}
		out = append(out, s)
	}
	return out
}

func origin(s *model.Samples) []Origin {
	return []Origin{{Samples: s.Len(), Source: 3, Ingest: s.Times[0]/1e9 + 1}}
}

func eachWorkload(b *testing.B, run func(b *testing.B, chunks []model.Samples)) {
	for _, kind := range append([]string{"mix"}, plantKinds...) {
		for _, n := range []int{400, 4096} {
			b.Run(fmt.Sprintf("kind=%s/samples=%d", kind, n), func(b *testing.B) {
				run(b, plantChunks(kind, n))
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	eachWorkload(b, func(b *testing.B, chunks []model.Samples) {
		var e Encoder
		var buf []byte
		samples, bytes := 0, 0
		for i := 0; b.Loop(); i++ {
			s := &chunks[i%len(chunks)]
			buf = e.Append(buf[:0], s, origin(s))
			samples, bytes = samples+s.Len(), bytes+len(buf)
		}
		b.ReportMetric(float64(samples)/1e6/b.Elapsed().Seconds(), "Msamples/s")
		b.ReportMetric(float64(bytes)/float64(samples), "B/sample")
	})
}

func BenchmarkDecode(b *testing.B) {
	eachWorkload(b, func(b *testing.B, chunks []model.Samples) {
		var e Encoder
		var encoded [][]byte
		for i := range chunks {
			encoded = append(encoded, e.Append(nil, &chunks[i], origin(&chunks[i])))
		}
		var d Data
		samples := 0
		for i := 0; b.Loop(); i++ {
			if err := Decode(encoded[i%len(encoded)], &d); err != nil {
				b.Fatal(err)
			}
			samples += d.Len()
		}
		b.ReportMetric(float64(samples)/1e6/b.Elapsed().Seconds(), "Msamples/s")
	})
}
