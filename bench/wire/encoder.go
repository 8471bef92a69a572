// Package wire puts the samples of the load generator into the messages of proto/varve/v1 the way a fast collector does:
// straight from columns of times and values, without building message objects first.
//
//	columns → Encoder → bytes of an IngestRequest → Codec, which passes them through → gRPC
//
// The bytes are those proto.Marshal gives for the same batch; a test holds the two together. Buffers go round: the
// transport hands each back to its Buffers once it is written.
package wire

import (
	"encoding/binary"
	"math"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// headroom is where Finish puts what stands before the runs: two tags and lengths, sequence and origin time.
const headroom = 48

// Tags of the fields the encoder writes: field number and wire type.
const (
	requestBatch  = 3<<3 | byte(protowire.BytesType)
	batchSequence = 1<<3 | byte(protowire.VarintType)
	batchOrigin   = 2<<3 | byte(protowire.VarintType)
	batchRun      = 3<<3 | byte(protowire.BytesType)
	runTagID      = 1<<3 | byte(protowire.VarintType)
	runMode       = 3<<3 | byte(protowire.VarintType)
	runFirstTime  = 5<<3 | byte(protowire.VarintType)
	runTimeDeltas = 6<<3 | byte(protowire.BytesType)
	runTimeUnit   = 7<<3 | byte(protowire.VarintType)
	runStep       = 8<<3 | byte(protowire.VarintType)
	runCount      = 9<<3 | byte(protowire.VarintType)
	runFloat64    = 10<<3 | byte(protowire.BytesType)
)

// Encoder encodes one batch after another. Its zero value is ready but for Mode and TimeUnit.
type Encoder struct {
	// Mode is the write mode of every run; unspecified leaves it to the server.
	Mode varvev1.WriteMode
	// TimeUnit is the resolution of the sender's clock in nanoseconds; differences of times are sent in it. Times that do
	// not fit it are sent in nanoseconds.
	TimeUnit int64

	buf    []byte
	deltas []byte // packed time_deltas of the run at hand
}

// Begin starts a batch in the memory of buf.
func (e *Encoder) Begin(buf []byte) {
	if cap(buf) < headroom {
		buf = make([]byte, headroom, 64<<10)
	}
	e.buf = buf[:headroom]
}

// Run adds samples of one tag: at least one, as many times as values.
func (e *Encoder) Run(tag uint32, times []int64, values []float64) {
	step, regular := grid(times)
	var unit int64
	if !regular {
		unit = e.encodeDeltas(times)
	}

	first := protowire.EncodeZigZag(times[0])
	size := 1 + varint(uint64(tag))
	if first != 0 {
		size += 1 + varint(first)
	}
	if e.Mode != 0 {
		size += 1 + varint(uint64(e.Mode))
	}
	if regular {
		size += 1 + varint(uint64(len(times)))
		if step != 0 {
			size += 1 + varint(protowire.EncodeZigZag(step))
		}
	} else {
		size += 1 + varint(uint64(len(e.deltas))) + len(e.deltas) + 1 + varint(uint64(unit))
	}
	size += 1 + varint(uint64(8*len(values))) + 8*len(values)

	b := append(e.buf, batchRun)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendVarint(append(b, runTagID), uint64(tag))
	if e.Mode != 0 {
		b = protowire.AppendVarint(append(b, runMode), uint64(e.Mode))
	}
	if first != 0 {
		b = protowire.AppendVarint(append(b, runFirstTime), first)
	}
	if regular {
		if step != 0 {
			b = protowire.AppendVarint(append(b, runStep), protowire.EncodeZigZag(step))
		}
		b = protowire.AppendVarint(append(b, runCount), uint64(len(times)))
	} else {
		b = protowire.AppendVarint(append(b, runTimeDeltas), uint64(len(e.deltas)))
		b = append(b, e.deltas...)
		b = protowire.AppendVarint(append(b, runTimeUnit), uint64(unit))
	}
	b = protowire.AppendVarint(append(b, runFloat64), uint64(8*len(values)))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	e.buf = b
}

// Finish ends the batch. start is where in the whole buffer, which may have moved since Begin, the message begins.
func (e *Encoder) Finish(sequence uint64, origin int64) (buf []byte, start int) {
	var head [headroom]byte
	batch := append(head[:0], batchSequence)
	batch = protowire.AppendVarint(batch, sequence)
	batch = append(batch, batchOrigin)
	batch = protowire.AppendVarint(batch, protowire.EncodeZigZag(origin))

	var front [headroom]byte
	request := append(front[:0], requestBatch)
	request = protowire.AppendVarint(request, uint64(len(batch)+len(e.buf)-headroom))
	request = append(request, batch...)

	start = headroom - len(request)
	copy(e.buf[start:], request)
	return e.buf, start
}

// grid is the step between the times, and whether it is the same between all of them.
func grid(times []int64) (step int64, regular bool) {
	if len(times) == 1 {
		return 0, true
	}
	step = times[1] - times[0]
	for i := 2; i < len(times); i++ {
		if times[i]-times[i-1] != step {
			return 0, false
		}
	}
	return step, true
}

// encodeDeltas fills e.deltas and returns their unit.
func (e *Encoder) encodeDeltas(times []int64) int64 {
	unit := max(e.TimeUnit, 1)
	e.deltas = e.deltas[:0]
	for i := 1; i < len(times); i++ {
		difference := times[i] - times[i-1]
		delta := difference / unit
		if delta*unit != difference {
			e.deltas, unit, i = e.deltas[:0], 1, 0
			continue
		}
		e.deltas = protowire.AppendVarint(e.deltas, protowire.EncodeZigZag(delta))
	}
	return unit
}

// varint is the size of v as a varint.
func varint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
