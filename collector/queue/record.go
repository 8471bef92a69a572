package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// encodeRecord is a record of the queue: when it was put, ns UTC as varint; the batch. In one that is for a destination alone the time stands
// as its complement, below 0, and the destination's name behind it with its length before.
func encodeRecord(at int64, destination string, runs []*varvev1.Run) ([]byte, error) {
	var b []byte
	if destination == "" {
		b = binary.AppendVarint(nil, at)
	} else {
		b = binary.AppendVarint(nil, ^at)
		b = binary.AppendUvarint(b, uint64(len(destination)))
		b = append(b, destination...)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, &varvev1.Batch{OriginTimeNs: at, Runs: runs})
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	return b, nil
}

// recordTime is when a record was put, and what stands behind that.
func recordTime(record []byte) (at int64, alone bool, rest []byte, err error) {
	at, n := binary.Varint(record)
	if n <= 0 {
		return 0, false, nil, errors.New("record of the queue has no time")
	}
	if at < 0 {
		return ^at, true, record[n:], nil
	}
	return at, false, record[n:], nil
}

// openRecord takes a record apart: when it was put, and its batch, encoded, as a destination gets it. A record for another destination has none here: it goes
// under its sequence all the same, since those are dense.
func openRecord(record []byte, destination string) (at int64, message []byte, err error) {
	at, alone, message, err := recordTime(record)
	if err != nil || !alone {
		return at, message, err
	}
	size, n := binary.Uvarint(message)
	if n <= 0 || size > uint64(len(message)-n) {
		return 0, nil, errors.New("record of the queue has no destination")
	}
	if string(message[n:n+int(size)]) != destination {
		return at, nil, nil
	}
	return at, message[n+int(size):], nil
}

// batchOf is when a record was put, and its batch as it goes to a destination, which shares no memory with the record. All of it stays encoded: nobody looks at it
// on its way, and a run of one sample takes ten times as much memory as a message.
func batchOf(record []byte, destination string) (at int64, b *varvev1.Batch, err error) {
	at, message, err := openRecord(record, destination)
	if err != nil {
		return 0, nil, err
	}
	b = &varvev1.Batch{}
	b.ProtoReflect().SetUnknown(bytes.Clone(message)) // which is written as it is
	return at, b, nil
}

// encoded is the message of a batch that batchOf made.
func encoded(b *varvev1.Batch) []byte { return b.ProtoReflect().GetUnknown() }

// decoded is what is in a batch that batchOf made.
func decoded(b *varvev1.Batch) (*varvev1.Batch, error) {
	out := &varvev1.Batch{}
	if err := proto.Unmarshal(encoded(b), out); err != nil {
		return nil, fmt.Errorf("record of the queue: %w", err)
	}
	return out, nil
}

// The numbers of fields that are looked at while a batch is encoded.
const (
	batchRuns = 3 // Batch.runs
	runTag    = 2 // Run.tag
)

// eachRun calls f with each run, encoded, of an encoded batch.
func eachRun(message []byte, f func(run []byte) error) error {
	for rest := message; len(rest) > 0; {
		run, behind, err := nextField(rest, batchRuns)
		if err != nil {
			return err
		}
		if rest = behind; run == nil {
			continue
		}
		if err := f(run); err != nil {
			return err
		}
	}
	return nil
}

// decodeRuns calls f with each run of an encoded batch. f keeps none of them: all are one message.
func decodeRuns(message []byte, f func(*varvev1.Run) error) error {
	var run varvev1.Run
	return eachRun(message, func(encoded []byte) error {
		if err := proto.Unmarshal(encoded, &run); err != nil {
			return fmt.Errorf("record of the queue: %w", err)
		}
		return f(&run)
	})
}

// tagOf is the name of the tag of an encoded run; empty where it has none.
func tagOf(run []byte) ([]byte, error) {
	for rest := run; len(rest) > 0; {
		tag, behind, err := nextField(rest, runTag)
		if tag != nil || err != nil {
			return tag, err
		}
		rest = behind
	}
	return nil, nil
}

// nextField passes over the first field of an encoded message. data is what it holds where it has the number asked for, not nil then.
func nextField(message []byte, number protowire.Number) (data, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(message)
	if n < 0 {
		return nil, nil, protowire.ParseError(n)
	}
	m := protowire.ConsumeFieldValue(num, typ, message[n:])
	if m < 0 {
		return nil, nil, protowire.ParseError(m)
	}
	if num == number && typ == protowire.BytesType {
		data, _ = protowire.ConsumeBytes(message[n:])
		data = data[:len(data):len(data)]
	}
	return data, message[n+m:], nil
}
