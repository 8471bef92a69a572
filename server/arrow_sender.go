package server

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Arrow messages are copied once, from the columns into a message buffer that gRPC sends as it is and gives back.

// sendBuffers keeps message buffers for reuse. It is a mem.BufferPool, which is how gRPC gives them back.
type sendBuffers struct{ pool sync.Pool }

// maxKeptBuffer bounds what a rare huge message leaves behind.
const maxKeptBuffer = 8 << 20

func (p *sendBuffers) Get(n int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if cap(*b) < n {
		*b = make([]byte, 0, n)
	}
	*b = (*b)[:0]
	return b
}

func (p *sendBuffers) Put(b *[]byte) {
	if cap(*b) <= maxKeptBuffer {
		p.pool.Put(b)
	}
}

// appender is a byte slice as an io.Writer.
type appender struct{ to *[]byte }

func (a appender) Write(p []byte) (int, error) {
	*a.to = append(*a.to, p...)
	return len(p), nil
}

// send sends the message in buffer and gives the buffer up.
func (p *sendBuffers) send(stream grpc.ServerStream, buffer *[]byte) error {
	return stream.SendMsg(&encoded{mem.BufferSlice{mem.NewBuffer(buffer, p)}})
}

// ipcAlign is what the header of an encapsulated message is padded to.
const ipcAlign = 8

// appendIPCHeader writes the header of an encapsulated message: continuation mark, length, flatbuffer, padding.
func appendIPCHeader(dst, meta []byte) []byte {
	padded := (len(meta) + ipcAlign - 1) / ipcAlign * ipcAlign
	dst = binary.LittleEndian.AppendUint32(dst, 0xFFFFFFFF)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(padded))
	dst = append(dst, meta...)
	for range padded - len(meta) {
		dst = append(dst, 0)
	}
	return dst
}

// lengthBytes is the room for a field's length. Lengths are written as varints of this many bytes, which protobuf
// allows, so that what follows needs no move.
const lengthBytes = 5

func putLength(b []byte, n int) {
	for i := range lengthBytes {
		b[i] = byte(n>>(7*i)) & 0x7F
		if i < lengthBytes-1 {
			b[i] |= 0x80
		}
	}
}

// arrowSender sends an Arrow stream as ArrowData messages. Arrow messages are gathered until they are worth a message of
// the transport: an answer of an hour of one tag is one, and not one for the schema, the dictionary, the rows and the end.
type arrowSender struct {
	stream  grpc.ServerStream
	buffers *sendBuffers
	buffer  *[]byte // the ArrowData being gathered, nil for none
	last    int     // bytes of the message before, as a guess for the next
}

// arrowDataBytes is how large an ArrowData must be to be sent when more follows.
const arrowDataBytes = 64 << 10

// lengthAt is where the length of an ArrowData's one field stands, behind its tag.
const lengthAt = 1

// Start is part of query.Sink.
func (s *arrowSender) Start() error { return nil }

// WritePayload sends one Arrow message, or keeps it for the next.
func (s *arrowSender) WritePayload(p ipc.Payload) error {
	if s.buffer != nil && len(*s.buffer) >= arrowDataBytes {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.open()
	meta := p.Meta()
	defer meta.Release()
	*s.buffer = appendIPCHeader(*s.buffer, meta.Bytes())
	return p.SerializeBody(appender{s.buffer})
}

// open begins an ArrowData unless one is begun.
func (s *arrowSender) open() {
	if s.buffer == nil {
		s.buffer = s.buffers.Get(s.last)
		b := protowire.AppendTag(*s.buffer, 1, protowire.BytesType)
		*s.buffer = append(b, make([]byte, lengthBytes)...)
	}
}

func (s *arrowSender) flush() error {
	buffer := s.buffer
	s.buffer = nil
	putLength((*buffer)[lengthAt:], len(*buffer)-lengthAt-lengthBytes)
	s.last = len(*buffer)
	return s.buffers.send(s.stream, buffer)
}

// end is how an answer ends with err: what was read before a fault is right, and goes out before it.
func (s *arrowSender) end(err error) error {
	if err != nil && s.buffer != nil {
		return errors.Join(err, s.flush())
	}
	return err
}

// Close sends what is gathered and the end of the stream.
func (s *arrowSender) Close() error {
	s.open()
	*s.buffer = append(*s.buffer, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
	return s.flush()
}

// Numbers of the fields of Flight's FlightData.
const (
	flightHeader = 2
	flightBody   = 1000
)

// flightSender sends an Arrow stream as FlightData messages.
type flightSender struct {
	stream  grpc.ServerStream
	buffers *sendBuffers
	last    int
}

// Start is part of query.Sink.
func (s *flightSender) Start() error { return nil }

// WritePayload sends one Arrow message.
func (s *flightSender) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	buffer := s.buffers.Get(s.last)
	b := protowire.AppendTag(*buffer, flightHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, meta.Bytes())
	b = protowire.AppendTag(b, flightBody, protowire.BytesType)
	at := len(b)
	*buffer = append(b, make([]byte, lengthBytes)...)
	if err := p.SerializeBody(appender{buffer}); err != nil {
		return err
	}
	putLength((*buffer)[at:], len(*buffer)-at-lengthBytes)
	s.last = len(*buffer)
	return s.buffers.send(s.stream, buffer)
}

// Close is part of query.Sink; the end of the call ends a Flight stream.
func (s *flightSender) Close() error { return nil }
