package encoding

// floatCodecs are the codecs of a sealed float64 column by name, each past the choice between them. A codec that a column
// is not for answers false; runs and narrow choose for what stands inside them as the whole choice would.
var floatCodecs = []struct {
	name   string
	append func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool)
}{
	{"runs", func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		return e.appendSealedFloatRuns(dst, v, 0, floatRunsOf(v)), true
	}},
	{"decimal", func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		c := e.planDecimal(v, 0)
		if !c.ok {
			return dst, false
		}
		e.words, e.misses, e.missed = c.convert(e.words, e.misses[:0], e.missed[:0], v, 0)
		return e.appendDecimals(append(dst, sealedFloatDecimal), c, len(v), intPlan{}), true
	}},
	{"dictionary", func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		if !e.table.collect(v) {
			return dst, false
		}
		e.table.arrangeFloats(0)
		return e.appendFloatDictionary(append(dst, sealedFloatDictionary), v, 0, intPlan{}), true
	}},
	{"bits", func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		return e.appendBits(append(dst, sealedFloatBits), v, 0), true
	}},
	{"xor", func(_ *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		return appendXORBlocks(append(dst, sealedFloatXOR), v, 0), true
	}},
	{"narrow", func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		if !isNarrow(v) {
			return dst, false
		}
		return e.appendNarrow(append(dst, sealedFloatNarrow), v, true), true
	}},
	{"real", func(e *SealedEncoder, dst []byte, v []uint64) ([]byte, bool) {
		return e.appendReal(append(dst, sealedFloatReal), v, 0), true
	}},
}

// FloatCodecs are the names of the codecs of sealed float columns.
func FloatCodecs() []string {
	names := make([]string, len(floatCodecs))
	for i, c := range floatCodecs {
		names[i] = c.name
	}
	return names
}

// AppendFloat64sAs is AppendFloat64s with one codec, for whoever measures them; false if the column is not for it. One of
// equal values is constant under every name.
func (e *SealedEncoder) AppendFloat64sAs(codec string, dst []byte, v []uint64) ([]byte, bool) {
	if floatRunsOf(v) == 1 {
		return appendFloatConstant(append(dst, sealedFloatConstant), v[0], 0), true
	}
	for _, c := range floatCodecs {
		if c.name == codec {
			return c.append(e, dst, v)
		}
	}
	return dst, false
}

// FloatCodecOf is the name of the codec of a sealed float column.
func FloatCodecOf(b []byte) string {
	switch {
	case len(b) == 0:
		return ""
	case b[0] == sealedFloatConstant:
		return "constant"
	}
	for i, c := range floatCodecs {
		if int(b[0]) == sealedFloatRuns+i {
			return c.name
		}
	}
	return ""
}
