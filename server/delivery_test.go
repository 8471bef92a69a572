package server

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// delivered is an answer row by row, as words: time, index of the tag, value, quality.
type delivered struct {
	times  []int64
	tags   []string
	values []uint64
	codes  []uint32
}

func (d *delivered) add(r arrow.Record) {
	tags := r.Column(1).(*array.Dictionary)
	names := tags.Dictionary().(*array.String)
	for i := range int(r.NumRows()) {
		d.tags = append(d.tags, names.Value(tags.GetValueIndex(i)))
	}
	for _, x := range r.Column(0).(*array.Timestamp).TimestampValues() {
		d.times = append(d.times, int64(x))
	}
	values := r.Column(2).(*array.Float64)
	for i, x := range values.Float64Values() {
		if values.IsNull(i) {
			x = 0
		}
		d.values = append(d.values, math.Float64bits(x))
	}
	d.codes = append(d.codes, r.Column(3).(*array.Uint32).Uint32Values()...)
}

// stored is what storage has of the tags, read one after the other with a cursor each.
func (s *running) stored(t *testing.T, r *varvev1.ReadRangeRequest) *delivered {
	d := &delivered{}
	view, err := s.db.View(testContext(t), storage.Accepted)
	require.NoError(t, err)
	defer view.Close()
	for _, name := range r.Tags {
		tag, ok := s.db.Catalog().ByName(name)
		require.True(t, ok)
		c := view.Samples(tag.ID, model.Between(r.GetStartNs(), r.GetEndNs()))
		for left := r.Limit; ; {
			b, err := c.Next(testContext(t))
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			n := b.Len()
			if r.Limit > 0 {
				n = int(min(uint64(n), left))
				left -= uint64(n)
			}
			for i := range n {
				d.tags = append(d.tags, name)
				d.times = append(d.times, b.Times[i])
				d.values = append(d.values, b.Bits[i])
				d.codes = append(d.codes, uint32(b.QualityAt(i)))
			}
		}
		c.Close()
	}
	return d
}

// slowly hands on what it reads in pieces, and sometimes waits.
type slowly struct {
	io.Reader
	rng *rand.Rand
}

func (s slowly) Read(p []byte) (int, error) {
	if s.rng.IntN(200) == 0 {
		time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Microsecond)
	}
	return s.Reader.Read(p[:min(len(p), 1+s.rng.IntN(200_000))])
}

// TestManyReadersGetTheirOwnRows: columns are sent from where they were decoded, and their memory goes from question to
// question. So many ask at once, both ways round and over both doors, some slowly, some leave in the middle, and whoever
// stays gets, bit for bit, what a cursor that lends nothing reads.
func TestManyReadersGetTheirOwnRows(t *testing.T) {
	s := start(t, Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	var names []string
	for i := range 6 {
		n := 3000 + rng.IntN(40_000)
		run := &varvev1.Run{Tag: string(rune('a' + i)), Float64: make([]float64, n)}
		if i%2 == 0 {
			run.FirstTimeNs, run.StepNs, run.Count = 1e9, 1e9, uint32(n)
		}
		for k := range n {
			run.Float64[k] = math.Round(1e3*math.Sin(float64(k)/50)) / 10 * float64(i+1)
			if i%2 == 1 {
				run.TimesNs = append(run.TimesNs, int64(k+1)*1e9+rng.Int64N(4e7))
			}
		}
		switch i {
		case 3: // a few nulls, and one that is not Good
			run.NullAt = []uint32{uint32(n / 3), uint32(n / 2)}
			run.QualityCount, run.QualityCode = []uint32{uint32(n / 3), 1, uint32(n - n/3 - 1)}, []uint32{0, 0x80000000, 0}
		case 4:
			run.QualityCount, run.QualityCode = []uint32{uint32(n)}, []uint32{0x40000000}
		}
		s.write(t, run)
		names = append(names, run.Tag)
	}
	_, err := s.db.Seal(testContext(t))
	require.NoError(t, err)
	s.write(t, floats("b", 500e9, 1, 2, 3), floats("d", 700e9, 4)) // late, into a generation and the head
	_, err = s.db.Flush(testContext(t))
	require.NoError(t, err)
	s.write(t, floats("c", 2000e9, 5, 6))

	var questions []*varvev1.ReadRangeRequest
	var want []*delivered
	for i := range 8 {
		r := &varvev1.ReadRangeRequest{EndNs: proto.Int64(math.MaxInt64), BatchRows: []uint32{0, 0, 5000, 1 << 17}[rng.IntN(4)], Limit: []uint64{0, 0, 0, 40_000}[rng.IntN(4)], StartNs: proto.Int64(0)}
		for _, name := range names {
			if rng.IntN(3) > 0 {
				r.Tags = append(r.Tags, name)
			}
		}
		r.Tags = append(r.Tags, names[i%len(names)])
		if rng.IntN(2) == 0 {
			r.StartNs, r.EndNs = proto.Int64(rng.Int64N(20_000e9)), proto.Int64(rng.Int64N(60_000e9)) // perhaps in reverse
		}
		questions, want = append(questions, r), append(want, s.stored(t, r))
	}
	var readers sync.WaitGroup
	for g := range 6 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(g)))
			for range 4 {
				i := rng.IntN(len(questions))
				got, err := s.deliver(questions[i], rng)
				if got == nil && err == nil {
					continue // left
				}
				if err != nil || !same(want[i], got) {
					t.Errorf("question %d, %v: %v, and the rows differ", i, questions[i], err)
				}
			}
		})
	}
	readers.Wait()
	require.Eventually(t, func() bool { return s.engine.MemoryTaken() == 0 }, 10*time.Second, time.Millisecond)
}

func same(a, b *delivered) bool {
	if len(a.times) != len(b.times) {
		return false
	}
	for i := range a.times {
		if a.times[i] != b.times[i] || a.tags[i] != b.tags[i] || a.values[i] != b.values[i] || a.codes[i] != b.codes[i] {
			return false
		}
	}
	return true
}

// deliver asks over one of the doors, and reads it at some pace. Who leaves before the end gets nothing.
func (s *running) deliver(r *varvev1.ReadRangeRequest, rng *rand.Rand) (*delivered, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	leaves := rng.IntN(4) == 0
	var reader array.RecordReader
	if rng.IntN(2) == 0 {
		stream, err := varvev1.NewQueryServiceClient(s.conn).ReadRange(ctx, r)
		if err != nil {
			return nil, err
		}
		if leaves {
			_, err := stream.Recv()
			return nil, err
		}
		if reader, err = ipc.NewReader(slowly{&arrowReader{stream: stream}, rng}); err != nil {
			return nil, err
		}
	} else {
		ticket, err := proto.Marshal(r)
		if err != nil {
			return nil, err
		}
		stream, err := flight.NewClientFromConn(s.conn, nil).DoGet(ctx, &flight.Ticket{Ticket: ticket})
		if err != nil {
			return nil, err
		}
		if leaves {
			_, err := stream.Recv()
			return nil, err
		}
		if reader, err = flight.NewRecordReader(stream); err != nil {
			return nil, err
		}
	}
	defer reader.Release()
	d := &delivered{}
	for reader.Next() {
		if rng.IntN(8) == 0 {
			time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
		}
		d.add(reader.Record())
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return d, nil
}
