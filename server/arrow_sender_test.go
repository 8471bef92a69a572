package server

import (
	"bytes"
	"errors"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/message"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// recordedStream keeps the messages sent on it, decoded by generated code.
type recordedStream struct {
	grpc.ServerStream
	t    *testing.T
	sent [][]byte
}

func (s *recordedStream) SendMsg(m any) error {
	var data varvev1.ArrowData
	require.NoError(s.t, proto.Unmarshal(m.(*message.Encoded).Buffers.Materialize(), &data))
	s.sent = append(s.sent, data.Ipc)
	return nil
}

// A short answer is one message, a long one several, and what was read before a fault goes out before it.
func TestArrowSenderGathers(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)
	for _, c := range []struct {
		rows, batches, messages int
		fault                   error
	}{{10, 1, 1, nil}, {10, 3, 1, nil}, {20_000, 3, 3, nil}, {10, 2, 1, errors.New("damaged")}, {20_000, 2, 2, errors.New("damaged")}} {
		stream := &recordedStream{t: t}
		out := newArrowSender(stream, &sendBuffers{})
		w := ipc.NewWriterWithPayloadWriter(out, ipc.WithSchema(schema))
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for range c.batches {
			for i := range c.rows {
				b.Field(0).(*array.Int64Builder).Append(int64(i))
			}
			require.NoError(t, w.Write(b.NewRecord()))
		}
		if c.fault == nil {
			require.NoError(t, w.Close())
		}
		require.ErrorIs(t, out.end(c.fault), c.fault)
		require.Len(t, stream.sent, c.messages, "%d batches of %d rows", c.batches, c.rows)
		r, err := ipc.NewReader(bytes.NewReader(bytes.Join(stream.sent, nil)))
		require.NoError(t, err)
		rows := 0
		for r.Next() {
			rows += int(r.Record().NumRows())
		}
		require.Equal(t, c.rows*c.batches, rows)
	}
}
