package server

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/query"
)

// Columns of any size are not copied into messages: the transport reads them where they were decoded, and gives their
// memory back. What is small is gathered in buffers that gRPC sends as they are and gives back as well.

// sendBuffers keeps message buffers for reuse. It is a mem.BufferPool, which is how gRPC gives them back.
type sendBuffers struct{ pool sync.Pool }

const (
	// leastBuffer is more than the size below which the transport does not give buffers back.
	leastBuffer = 4 << 10
	// maxKeptBuffer bounds what a rare huge message leaves behind.
	maxKeptBuffer = 8 << 20
)

func (p *sendBuffers) Get(n int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if cap(*b) < n || cap(*b) < leastBuffer {
		*b = make([]byte, 0, max(n, leastBuffer))
	}
	*b = (*b)[:0]
	return b
}

func (p *sendBuffers) Put(b *[]byte) {
	if cap(*b) <= maxKeptBuffer {
		p.pool.Put(b)
	}
}

// parcel is a message on its way: bytes in buffers of ours and, between those, columns as they lie.
type parcel struct {
	buffers *sendBuffers
	columns *query.Memory // lent, nil for none
	front   *[]byte       // the first buffer
	tail    *[]byte       // the last one, nil while it is not begun
	parts   mem.BufferSlice
	size    int // of parts
	last    int // of the copied bytes of the parcel before, as a guess for the next
	copied  int
}

// Lend is part of query.Lender.
func (p *parcel) Lend(m *query.Memory) { p.columns = m }

// lentBytes is how large a column must be to be sent from where it lies.
const lentBytes = 8 << 10

// Write takes b, which may be reused afterwards unless it is a column lent.
func (p *parcel) Write(b []byte) (int, error) {
	if len(b) >= lentBytes && p.columns != nil && p.columns.Holds(b) {
		p.endTail()
		p.columns.Keep()
		p.parts = append(p.parts, mem.NewBuffer(&b, lent{p.columns}))
		p.size += len(b)
		return len(b), nil
	}
	tail := p.open()
	*tail = append(*tail, b...)
	return len(b), nil
}

// open is the buffer to append bytes to.
func (p *parcel) open() *[]byte {
	if p.tail == nil {
		guess := 0
		if p.front == nil {
			guess = p.last
		}
		p.tail = p.buffers.Get(guess)
		if p.front == nil {
			p.front = p.tail
		}
	}
	return p.tail
}

func (p *parcel) endTail() {
	if p.tail != nil {
		p.parts = append(p.parts, mem.NewBuffer(p.tail, p.buffers))
		p.size += len(*p.tail)
		p.copied += len(*p.tail)
		p.tail = nil
	}
}

// len is the bytes so far.
func (p *parcel) len() int {
	if p.tail == nil {
		return p.size
	}
	return p.size + len(*p.tail)
}

// send sends what there is, and begins anew.
func (p *parcel) send(stream grpc.ServerStream) error {
	p.endTail()
	parts := p.parts
	p.parts, p.front, p.size, p.last, p.copied = nil, nil, 0, p.copied, 0
	return stream.SendMsg(&message.Encoded{Buffers: parts})
}

// lent gives a column back that the transport has sent. It is a mem.BufferPool.
type lent struct{ *query.Memory }

// Get is part of mem.BufferPool; the transport asks the home of a buffer for none.
func (lent) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put is called once for each column.
func (l lent) Put(*[]byte) { l.Release() }

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

// arrowSender sends an Arrow stream as ArrowData messages. Arrow messages are gathered until they are worth a message of
// the transport: an answer of an hour of one tag is one, and not one for the schema, the dictionary, the rows and the end.
type arrowSender struct {
	parcel
	stream grpc.ServerStream
}

func newArrowSender(stream grpc.ServerStream, buffers *sendBuffers) *arrowSender {
	return &arrowSender{stream: stream, parcel: parcel{buffers: buffers}}
}

// arrowDataBytes is how large an ArrowData must be to be sent when more follows.
const arrowDataBytes = 64 << 10

// lengthAt is where the length of an ArrowData's one field stands, behind its tag.
const lengthAt = 1

// Start is part of query.Sink.
func (s *arrowSender) Start() error { return nil }

// WritePayload sends one Arrow message, or keeps it for the next.
func (s *arrowSender) WritePayload(p ipc.Payload) error {
	if s.len() >= arrowDataBytes {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.begin()
	meta := p.Meta()
	defer meta.Release()
	tail := s.open()
	*tail = appendIPCHeader(*tail, meta.Bytes())
	return p.SerializeBody(s)
}

// begin begins an ArrowData unless one is begun.
func (s *arrowSender) begin() {
	if s.front == nil {
		tail := s.open()
		b := protowire.AppendTag(*tail, 1, protowire.BytesType)
		*tail = append(b, make([]byte, message.LengthBytes)...)
	}
}

func (s *arrowSender) flush() error {
	message.PutLength((*s.front)[lengthAt:], s.len()-lengthAt-message.LengthBytes)
	return s.send(s.stream)
}

// end is how an answer ends with err: what was read before a fault is right, and goes out before it.
func (s *arrowSender) end(err error) error {
	if err != nil && s.front != nil {
		return errors.Join(err, s.flush())
	}
	return err
}

// Close sends what is gathered and the end of the stream.
func (s *arrowSender) Close() error {
	s.begin()
	tail := s.open()
	*tail = append(*tail, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
	return s.flush()
}

// Numbers of the fields of Flight's FlightData.
const (
	flightHeader = 2
	flightBody   = 1000
)

// flightSender sends an Arrow stream as FlightData messages.
type flightSender struct {
	parcel
	stream grpc.ServerStream
}

func newFlightSender(stream grpc.ServerStream, buffers *sendBuffers) *flightSender {
	return &flightSender{stream: stream, parcel: parcel{buffers: buffers}}
}

// Start is part of query.Sink.
func (s *flightSender) Start() error { return nil }

// WritePayload sends one Arrow message.
func (s *flightSender) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	tail := s.open()
	b := protowire.AppendTag(*tail, flightHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, meta.Bytes())
	b = protowire.AppendTag(b, flightBody, protowire.BytesType)
	at := len(b)
	*tail = append(b, make([]byte, message.LengthBytes)...)
	if err := p.SerializeBody(s); err != nil {
		return err
	}
	message.PutLength((*s.front)[at:], s.len()-at-message.LengthBytes)
	return s.send(s.stream)
}

// forward sends one Arrow message as it came.
func (s *flightSender) forward(header, body []byte) error {
	tail := s.open()
	b := protowire.AppendTag(*tail, flightHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, header)
	b = protowire.AppendTag(b, flightBody, protowire.BytesType)
	*tail = protowire.AppendBytes(b, body)
	return s.send(s.stream)
}

// Close is part of query.Sink; the end of the call ends a Flight stream.
func (s *flightSender) Close() error { return nil }
