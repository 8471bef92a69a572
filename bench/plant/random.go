package plant

const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio

// random is the SplitMix64 generator.
type random struct{ state uint64 }

func (r *random) next() uint64 {
	r.state += golden
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform is a number in [0, 1) with 53 random bits.
func (r *random) uniform() float64 { return float64(r.next()>>11) / (1 << 53) }

// normal has mean 0 and standard deviation 1: the sum of the eight bytes of one draw, which is close to normal and needs
// no logarithm, so that every machine gives the same bits.
func (r *random) normal() float64 {
	z, sum := r.next(), uint64(0)
	for range 8 {
		sum += z & 0xff
		z >>= 8
	}
	return (float64(sum) - 1020) / 209.02
}
