package server

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// maxResolve is the most tags of one Resolve; it stands in ingest.proto.
const maxResolve = 100_000

// ingestMessage is one IngestRequest: exactly one of its fields is set.
type ingestMessage struct {
	hello   *varvev1.Hello
	resolve *varvev1.Resolve
	batch   []byte // encoded, aliasing the message where it came in one piece
	isBatch bool
}

// parseIngest tells which message b is and decodes all but batches.
func parseIngest(b []byte) (m ingestMessage, err error) {
	num, data, err := onlyMember(b)
	if err != nil {
		return m, wireError("ingest message", err)
	}
	switch num {
	case 1:
		m.hello = &varvev1.Hello{}
		err = proto.Unmarshal(data, m.hello)
	case 2:
		// An empty tag takes two bytes here and a hundred decoded, so they are counted first.
		if n := countField(data, 1); n > maxResolve {
			return m, fmt.Errorf("resolve of %d tags, most is %d: %w", n, maxResolve, errTooMany)
		}
		m.resolve = &varvev1.Resolve{}
		err = proto.Unmarshal(data, m.resolve)
	case 3:
		m.batch, m.isBatch = data, true
	default:
		return m, fmt.Errorf("ingest message is none of hello, resolve, batch: %w", errWire)
	}
	if err != nil {
		return m, fmt.Errorf("decode ingest message: %w: %w", err, errWire)
	}
	return m, nil
}

// onlyMember is the oneof member of an IngestRequest and its encoding. Pieces of one member are joined, which is what
// merging them means; different members in one message are refused, though protobuf lets the last one win.
func onlyMember(b []byte) (num protowire.Number, data []byte, err error) {
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return 0, nil, err
		}
		if f.num > 3 || f.typ != protowire.BytesType {
			continue
		}
		switch num {
		case 0:
			num, data = f.num, f.data[:len(f.data):len(f.data)]
		case f.num:
			data = append(data, f.data...)
		default:
			return 0, nil, fmt.Errorf("members %d and %d in one message: %w", num, f.num, errWire)
		}
	}
	return num, data, nil
}

// countField is how often a length-delimited field stands in a message, up to the first byte that makes no sense.
func countField(b []byte, num protowire.Number) int {
	n := 0
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return n
		}
		if f.num == num && f.typ == protowire.BytesType {
			n++
		}
	}
	return n
}

// splitField takes the occurrences of a length-delimited field out of a message: whole is their encoding with tags and
// lengths, data that without, rest everything else.
func splitField(b []byte, num protowire.Number) (whole, data, rest []byte, err error) {
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return nil, nil, nil, err
		}
		encoded := b[:len(b)-len(f.rest)]
		b = f.rest
		if f.num != num || f.typ != protowire.BytesType {
			rest = append(rest, encoded...)
			continue
		}
		whole, data = append(whole, encoded...), append(data, f.data...)
	}
	return whole, data, rest, nil
}

// wireBatch is a Batch taken apart, its runs and frames still encoded.
type wireBatch struct {
	sequence uint64
	origin   int64
	runs     [][]byte
	frames   [][]byte
	hash     uint64 // of the encoded runs and frames fields, in the order they came
}

// parse takes b apart. most bounds runs and frames together: each takes as little as two bytes here and hundreds
// decoded.
func (w *wireBatch) parse(b []byte, most int) error {
	*w = wireBatch{runs: w.runs[:0], frames: w.frames[:0]}
	var digest xxhash.Digest
	digest.Reset()
	content := b[:0] // the stretch of content fields not yet hashed
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return wireError("batch", err)
		}
		isContent := f.typ == protowire.BytesType && (f.num == 3 || f.num == 4)
		if isContent {
			content = content[:len(content)+len(b)-len(f.rest)]
		} else {
			digest.Write(content)
			content = f.rest[:0]
		}
		b = f.rest
		switch {
		case isContent && f.num == 3:
			w.runs = append(w.runs, f.data)
		case isContent:
			w.frames = append(w.frames, f.data)
		case f.typ != protowire.VarintType:
		case f.num == 1:
			w.sequence = f.number
		case f.num == 2:
			w.origin = zigzag(f.number)
		}
		if len(w.runs)+len(w.frames) > most {
			return fmt.Errorf("batch of more than %d runs and frames: %w", most, errTooMany)
		}
	}
	digest.Write(content)
	w.hash = digest.Sum64()
	return nil
}
