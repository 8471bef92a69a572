package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// plainServer keeps tags and samples in maps. It applies each sequence once and ignores NO_REPLACE samples whose time is
// taken, which is all that an import relies on.
type plainServer struct {
	varvev1.UnimplementedIngestServiceServer
	varvev1.UnimplementedCatalogServiceServer

	mu       sync.Mutex
	tags     map[string]*varvev1.Tag
	byID     []*varvev1.Tag
	sets     map[string]*varvev1.StateSet
	refuse   map[string]bool
	applied  map[string]uint64 // by source and epoch
	contents map[string]string
	samples  map[string][]string // by tag: "time value quality", in the order applied
	taken    map[tagTime]bool
	hangUpAt uint64 // stop taking batches of this session from here on
}

type tagTime struct {
	tag  uint32
	time int64
}

func newPlainServer(t testing.TB) (*plainServer, Server) {
	p := &plainServer{
		tags: map[string]*varvev1.Tag{}, sets: map[string]*varvev1.StateSet{}, refuse: map[string]bool{}, applied: map[string]uint64{},
		contents: map[string]string{}, samples: map[string][]string{}, taken: map[tagTime]bool{},
	}
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(4 << 20))
	varvev1.RegisterIngestServiceServer(srv, p)
	varvev1.RegisterCatalogServiceServer(srv, p)
	go func() { _ = srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///plain", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); srv.Stop() })
	return p, Server{Ingest: varvev1.NewIngestServiceClient(conn), Catalog: varvev1.NewCatalogServiceClient(conn)}
}

func (p *plainServer) CreateTags(_ context.Context, ask *varvev1.CreateTagsRequest) (*varvev1.CreateTagsResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &varvev1.CreateTagsResponse{}
	for _, t := range ask.Tags {
		if p.refuse[t.Name] {
			out.Tags = append(out.Tags, &varvev1.CreateTagResult{Code: varvev1.RejectCode_REJECT_CODE_TAG_QUOTA, Reason: "too many tags"})
			continue
		}
		has, ok := p.tags[t.Name]
		if !ok {
			has = proto.CloneOf(t)
			has.Id = uint32(len(p.byID) + 1)
			p.tags[t.Name] = has
			p.byID = append(p.byID, has)
		}
		out.Tags = append(out.Tags, &varvev1.CreateTagResult{Tag: has, Created: !ok})
	}
	return out, nil
}

func (p *plainServer) GetStateSet(_ context.Context, ask *varvev1.GetStateSetRequest) (*varvev1.StateSet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.sets[ask.Name]; ok {
		return s, nil
	}
	return nil, status.Error(codes.NotFound, "no such set")
}

func (p *plainServer) PutStateSet(_ context.Context, ask *varvev1.PutStateSetRequest) (*varvev1.StateSet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets[ask.Set.Name] = ask.Set
	return ask.Set, nil
}

func (p *plainServer) Ingest(stream varvev1.IngestService_IngestServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	source := fmt.Sprint(first.GetHello().Source, first.GetHello().Epoch)
	p.mu.Lock()
	w := &varvev1.Welcome{AppliedThrough: p.applied[source], MaxMessageBytes: 4 << 20}
	p.mu.Unlock()
	if err := stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Welcome{Welcome: w}}); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.hangUpAt > 0 && m.GetBatch().Sequence >= p.hangUpAt {
			return status.Error(codes.PermissionDenied, "enough")
		}
		r, err := p.apply(source, m.GetBatch())
		if err != nil {
			return err
		}
		for _, mark := range []varvev1.Mark{varvev1.Mark_MARK_ACCEPTED, varvev1.Mark_MARK_APPLIED} {
			ack := &varvev1.Ack{Mark: mark, Batches: []*varvev1.BatchResult{r}}
			if mark == varvev1.Mark_MARK_ACCEPTED {
				ack.Batches = []*varvev1.BatchResult{{Sequence: r.Sequence}}
			}
			if err := stream.Send(&varvev1.IngestResponse{Message: &varvev1.IngestResponse_Ack{Ack: ack}}); err != nil {
				return err
			}
		}
	}
}

func (p *plainServer) apply(source string, b *varvev1.Batch) (*varvev1.BatchResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(&varvev1.Batch{Runs: b.Runs})
	if err != nil {
		return nil, err
	}
	key := fmt.Sprint(source, " ", b.Sequence)
	r := &varvev1.BatchResult{Sequence: b.Sequence}
	if had, ok := p.contents[key]; ok {
		if had != string(content) {
			return nil, status.Error(codes.FailedPrecondition, "other content")
		}
		r.Duplicate = true
		return r, nil
	}
	if b.Sequence != p.applied[source]+1 {
		return nil, status.Errorf(codes.InvalidArgument, "sequence %d behind %d", b.Sequence, p.applied[source])
	}
	p.applied[source], p.contents[key] = b.Sequence, string(content)
	for _, run := range b.Runs {
		name := p.byID[run.TagId-1].Name
		for _, s := range samplesOf(run) {
			at := tagTime{run.TagId, s.time}
			if run.Mode == varvev1.WriteMode_WRITE_MODE_NO_REPLACE && p.taken[at] {
				r.Ignored++
				continue
			}
			p.taken[at] = true
			p.samples[name] = append(p.samples[name], s.String())
			r.Samples++
		}
	}
	return r, nil
}

type plainSample struct {
	time    int64
	value   string
	quality model.Quality
}

func (s plainSample) String() string {
	return model.FormatTime(s.time) + " " + s.value + " " + s.quality.Text()
}

// samplesOf reads a run field by field.
func samplesOf(r *varvev1.Run) []plainSample {
	out := make([]plainSample, session.RunLen(r))
	t := r.FirstTimeNs
	for i := range out {
		switch {
		case len(r.TimesNs) > 0:
			t = r.TimesNs[i]
		case r.Count > 0:
			t = r.FirstTimeNs + int64(i)*r.StepNs
		case i > 0:
			t += r.TimeDeltas[i-1] * int64(r.TimeUnitNs)
		}
		out[i].time = t
		switch {
		case r.Float64 != nil:
			out[i].value = strconv.FormatFloat(r.Float64[i], 'g', -1, 64)
		case r.Float32 != nil:
			out[i].value = strconv.FormatFloat(float64(r.Float32[i]), 'g', -1, 32)
		case r.Int64 != nil:
			out[i].value = strconv.FormatInt(r.Int64[i], 10)
		case r.Uint64 != nil:
			out[i].value = strconv.FormatUint(r.Uint64[i], 10)
		case r.Bool != nil:
			out[i].value = strconv.FormatBool(r.Bool[i])
		case r.State != nil:
			out[i].value = "state " + strconv.FormatInt(r.State[i], 10)
		default:
			out[i].value = strconv.Quote(r.Text[i])
		}
	}
	for _, i := range r.NullAt {
		out[i].value = "null"
	}
	i := 0
	for k, n := range r.QualityCount {
		for ; n > 0; n-- {
			out[i].quality = model.Quality(r.QualityCode[k])
			i++
		}
	}
	return out
}
