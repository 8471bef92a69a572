// Package message is messages of gRPC as bytes: received as they came, in memory that is used again, and sent as they lie. What has millions of
// samples in it would be copied once more otherwise, into memory that is garbage afterwards.
package message

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Received is a message as it came.
type Received struct{ buffer mem.Buffer }

// Data is the bytes of the message, until Free.
func (r *Received) Data() []byte { return r.buffer.ReadOnlyData() }

// Free gives the memory back.
func (r *Received) Free() {
	if r.buffer != nil {
		r.buffer.Free()
		r.buffer = nil
	}
}

// Bytes is the value of field number n, of type bytes, of a message that has it once, first: nil where another field is first, or none.
func (r *Received) Bytes(n protowire.Number) ([]byte, error) {
	b := r.Data()
	if len(b) == 0 {
		return nil, nil
	}
	number, typ, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return nil, fmt.Errorf("decode message: %w", protowire.ParseError(tag))
	}
	if number != n || typ != protowire.BytesType {
		return nil, nil
	}
	value, length := protowire.ConsumeBytes(b[tag:])
	if length < 0 {
		return nil, fmt.Errorf("decode field %d of a message: %w", n, protowire.ParseError(length))
	}
	return value, nil
}

// Encoded is a message to send. gRPC frees its buffers once they are written.
type Encoded struct{ Buffers mem.BufferSlice }

// LengthBytes is the room for the length of a field that is not known yet. Lengths are written as varints of this many bytes, which protobuf
// allows, so that what follows needs no move.
const LengthBytes = 5

// PutLength writes a length into that room.
func PutLength(b []byte, n int) {
	for i := range LengthBytes {
		b[i] = byte(n>>(7*i)) & 0x7F
		if i < LengthBytes-1 {
			b[i] |= 0x80
		}
	}
}

// codec is protobuf as gRPC speaks it, and these two messages. What is received lies in memory of pool.
type codec struct {
	encoding.CodecV2
	pool mem.BufferPool
}

// NewCodec is protobuf, as gRPC speaks it, that takes *Encoded and *Received in place of any message.
func NewCodec(pool mem.BufferPool) encoding.CodecV2 {
	return codec{encoding.GetCodecV2(grpcproto.Name), pool}
}

// Marshal is part of encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*Encoded); ok {
		return m.Buffers, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal is part of encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*Received); ok {
		m.buffer = data.MaterializeToBuffer(c.pool)
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
