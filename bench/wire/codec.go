package wire

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Message is an encoded message on its way: Finish's bytes, in a buffer that goes back to Buffers once they are written.
type Message struct {
	Buf   []byte // the whole buffer
	Start int    // where in it the message begins
	Pool  *Buffers
}

// Raw takes a received message as it is, in the buffers it arrived in. Whoever receives it closes it.
type Raw struct{ *mem.Reader }

// Codec is the proto codec of gRPC, but passes a Message and a Raw through.
type Codec struct{}

// Name says that what travels is protobuf.
func (Codec) Name() string { return "proto" }

// Marshal is what the transport sends for v.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Message:
		b := m.Buf[m.Start:]
		return mem.BufferSlice{mem.NewBuffer(&b, &home{m.Pool, m.Buf})}, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", v, err)
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("encode %T: neither an encoded nor a protobuf message", v)
}

// Unmarshal reads a received message into v.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *Raw:
		m.Reader = data.Reader()
		return nil
	case proto.Message:
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		if err := proto.Unmarshal(b.ReadOnlyData(), m); err != nil {
			return fmt.Errorf("decode %T: %w", v, err)
		}
		return nil
	}
	return fmt.Errorf("decode %T: neither raw nor a protobuf message", v)
}

// Buffers is a bounded number of buffers that go round. Get waits for one, so it also bounds what the transport holds.
type Buffers struct{ free chan []byte }

// NewBuffers makes count buffers of size bytes, which grow as needed. The least size is 64 KiB: the transport copies small
// buffers and never frees them.
func NewBuffers(count, size int) *Buffers {
	size = max(size, 64<<10)
	p := &Buffers{free: make(chan []byte, count)}
	for range count {
		p.free <- make([]byte, 0, size)
	}
	return p
}

// Get takes a buffer, waiting until one is free.
func (p *Buffers) Get() []byte { return <-p.free }

// Put gives a buffer back.
func (p *Buffers) Put(b []byte) { p.free <- b[:0] }

// home puts the whole buffer back where the transport frees the part of it that it sent.
type home struct {
	pool *Buffers
	buf  []byte
}

// Get is part of mem.BufferPool; the transport asks a buffer's own pool for none.
func (h *home) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put is called once, when the last reference to the message is gone.
func (h *home) Put(*[]byte) { h.pool.Put(h.buf) }
