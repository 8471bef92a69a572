package server

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is protobuf as gRPC speaks it, with two messages of its own: bytes received as they came, which ingest decodes
// by hand, and bytes sent as they are, which answers are made of.
type codec struct{ encoding.CodecV2 }

func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

// received is a message as it came. free gives its memory back.
type received struct{ buffer mem.Buffer }

func (r *received) data() []byte { return r.buffer.ReadOnlyData() }

func (r *received) free() {
	if r.buffer != nil {
		r.buffer.Free()
		r.buffer = nil
	}
}

// encoded is a message to send. gRPC frees its buffers once they are written.
type encoded struct{ buffers mem.BufferSlice }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*encoded); ok {
		return m.buffers, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*received); ok {
		m.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
