package encoding

import (
	"fmt"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
)

// SealedBlock is how many values of a sealed column can be decoded without those before and behind them. Only the last
// block of a column is shorter.
const SealedBlock = 1024

// sealedMost is the most values a sealed column holds.
const sealedMost = 65536

// SealedEncoder encodes the columns of sealed chunks: written once, kept for years, read often. Each Append takes 1 to
// 65,536 values, finds the codec on at most 1,024 of them, and writes a column behind dst whose length the caller keeps.
// The memory it works in is kept between calls; it serves one goroutine, and its zero value is ready.
type SealedEncoder struct {
	words   []uint64 // what a column is as integers: decimals, units of time, ranks, ordered bits
	rest    []uint64 // what a predictor leaves of them
	misses  []uint64 // places of values that are not as the others
	missed  []uint64 // what stands there
	packed  []uint64 // exceptions and bases on their way into a packed stream
	starts  []uint64 // predictor's state at the start of every block
	slopes  []uint64
	low     []uint64 // float32 bits without their high half
	symbols []byte
	table   distinctTable
	sample  [sampleMost]uint64
	trial   [sampleMost]uint64
	order   [sampleMost]uint64
	bins    binCounts
	counts  []uint32 // of a zone's numbers; then their symbols
	huff    huff0.Scratch
	zstd    *zstd.Encoder
	bytes   []byte
	inner   *SealedEncoder // encodes the columns inside a column: runs, dictionaries
}

// SealedDecoder decodes the columns of sealed chunks, any blocks of them, the last of those as far as there is memory for.
// The memory it works in is kept between calls; it
// serves one goroutine, and its zero value is ready.
type SealedDecoder struct {
	ints    intColumn
	block   [SealedBlock]uint64
	values  []uint64 // of runs
	lengths []uint64
	table   []uint64 // of a dictionary
	blobs   [][]byte
	huff    huff0.Scratch
	symbols []byte
	zstd    *zstd.Decoder
	inner   *SealedDecoder
}

// nested is the encoder of columns inside this column.
func (e *SealedEncoder) nested() *SealedEncoder {
	if e.inner == nil {
		e.inner = new(SealedEncoder)
	}
	return e.inner
}

// nested is the decoder of columns inside this column.
func (d *SealedDecoder) nested() *SealedDecoder {
	if d.inner == nil {
		d.inner = new(SealedDecoder)
	}
	return d.inner
}

// blocksOf is how many blocks n values take.
func blocksOf(n int) int { return (n + SealedBlock - 1) / SealedBlock }

// checkBlocks is what every decoder asks before it looks at b. Memory may end inside the last block, and decoding with it.
func checkBlocks(what string, dst, n int, b []byte, from, to int) error {
	if n < 1 || n > sealedMost || len(b) == 0 {
		return fmt.Errorf("decode sealed %s: %d of them in %d bytes: %w", what, n, len(b), ErrCorrupt)
	}
	if from < 0 || from >= to || to > blocksOf(n) {
		return fmt.Errorf("decode sealed %s: blocks %d to %d of %d", what, from, to, blocksOf(n))
	}
	if most := min(to*SealedBlock, n) - from*SealedBlock; dst >= 0 && (dst > most || dst <= (to-from-1)*SealedBlock) {
		return fmt.Errorf("decode sealed %s: memory for %d of the %d values in blocks %d to %d", what, dst, most, from, to)
	}
	return nil
}

func sealedCorrupt(what string, n int, b []byte) error {
	return fmt.Errorf("decode sealed %s: codec %d: %d values do not fit in %d bytes: %w", what, b[0], n, len(b), ErrCorrupt)
}

func sealedVersion(what string, codec byte) error {
	return fmt.Errorf("decode sealed %s: codec %d is of a newer release: %w", what, codec, ErrVersion)
}
