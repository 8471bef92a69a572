package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/message"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// decodeRequest decodes a request. gRPC would end a call whose request does not decode with INTERNAL, before any handler
// could say otherwise; so requests are received as bytes and decoded here.
func decodeRequest(receive func(any) error, into proto.Message) error {
	in := &message.Received{}
	if err := receive(in); err != nil {
		return err
	}
	defer in.Free()
	if err := checkCounts(in.Data(), into); err != nil {
		return err
	}
	if err := proto.Unmarshal(in.Data(), into); err != nil {
		return fmt.Errorf("decode %s: %w: %w", into.ProtoReflect().Descriptor().Name(), err, errWire)
	}
	return nil
}

// checkCounts counts the elements of a request before they are decoded: an empty one takes two bytes on the wire and
// hundreds in memory.
func checkCounts(b []byte, request proto.Message) error {
	element, most := protowire.Number(1), 0
	switch request.(type) {
	case *varvev1.CreateTagsRequest:
		most = maxCreateTags
	case *varvev1.ReadRangeRequest:
		if err := checkComparisons(b); err != nil {
			return err
		}
		most = query.MaxRangeTags
	case *varvev1.ReadAggregatesRequest, *varvev1.ReadProcessedRequest, *varvev1.ReadAtTimesRequest, *varvev1.ReadModifiedRequest, *varvev1.TuneRequest, *varvev1.ReadPlotRequest, *varvev1.ReadTimeInStateRequest, *varvev1.ReadCompletenessRequest, *varvev1.ListDaysRequest, *varvev1.ReadWideRequest:
		most = query.MaxRangeTags
	case *varvev1.SubscribeRequest:
		if n := countField(b, subscribeGlobs); n > query.MaxGlobs {
			return fmt.Errorf("%d patterns are asked for, most is %d: %w", n, query.MaxGlobs, query.ErrBadRequest)
		}
		most = query.MaxRangeTags
	case *varvev1.LatestRequest:
		most = query.MaxLatestTags
	case *varvev1.ListAnnotationsRequest, *varvev1.RecordGapsRequest, *varvev1.EndGapsRequest, *varvev1.ListGapsRequest:
		most = storage.MaxDeleteTags
	case *varvev1.ReportCollectingRequest:
		element, most = 4, storage.MaxGapTags
	case *varvev1.WithdrawGapsRequest:
		element, most = 2, storage.MaxDeleteTags
	case *varvev1.PutStateSetRequest:
		_, set, _, err := splitField(b, 1)
		if err != nil {
			return wireError("state set", err)
		}
		b, element, most = set, 4, catalog.MaxStates
	case *varvev1.SqlRequest:
		element, most = 2, maxStatementValues
	case *varvev1.FlightQuestion:
	default:
		return nil
	}
	n := countField(b, element)
	if _, ok := request.(*varvev1.FlightQuestion); ok {
		n, most = 0, query.MaxRangeTags
		for f := (field{rest: b}); len(f.rest) > 0 && f.next(f.rest) == nil; {
			if f.typ != protowire.BytesType {
				continue
			}
			n += countField(f.data, 1) // whatever is asked, tags are field 1
			switch f.num {
			case flightLatest:
				most = query.MaxLatestTags
			case flightRange:
				if err := checkComparisons(f.data); err != nil {
					return err
				}
			}
		}
	}
	if n > most {
		switch request.(type) {
		case *varvev1.ReadRangeRequest, *varvev1.ReadAggregatesRequest, *varvev1.ReadProcessedRequest, *varvev1.ReadAtTimesRequest, *varvev1.ReadModifiedRequest, *varvev1.LatestRequest, *varvev1.SubscribeRequest, *varvev1.ReadWideRequest, *varvev1.TuneRequest, *varvev1.ReadPlotRequest, *varvev1.ReadTimeInStateRequest, *varvev1.ReadCompletenessRequest, *varvev1.ListDaysRequest, *varvev1.FlightQuestion:
			return fmt.Errorf("%d tags are asked for, most is %d: %w", n, most, query.ErrBadRequest) // as for ids
		}
		return fmt.Errorf("%s has %d elements, most is %d: %w", request.ProtoReflect().Descriptor().Name(), n, most, errTooMany)
	}
	return nil
}

// The numbers of fields that are looked at before they are decoded.
const (
	flightRange  = 101 // FlightQuestion.range
	flightLatest = 121 // FlightQuestion.latest

	subscribeGlobs = 3  // SubscribeRequest.globs
	rangeWhere     = 15 // ReadRangeRequest.where
)

// checkComparisons counts the comparisons of a ReadRangeRequest.
func checkComparisons(b []byte) error {
	if n := countField(b, rangeWhere); n > query.MaxComparisons {
		return fmt.Errorf("%d comparisons, most is %d: %w", n, query.MaxComparisons, query.ErrBadRequest)
	}
	return nil
}

// decoding is a service whose unary requests go through decodeRequest. Those of streams do in authorizedStream.
func decoding(d grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(d.Methods))
	for i, m := range d.Methods {
		methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: func(srv any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return m.Handler(srv, ctx, func(v any) error { return toStatus(decodeRequest(receive, v.(proto.Message))) }, interceptor)
		}}
	}
	d.Methods = methods
	return &d
}
