package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// measureQueries asks the questions of the workload over every door, each answer first compared with what was sent, then
// timed.
func measureQueries(ctx context.Context, s *server, o *options) ([]*queryReport, error) {
	conn, err := dial(s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// Flight's messages have a codec of their own, which the connection for ours would replace.
	flightConn, err := dialPlain(s.address)
	if err != nil {
		return nil, err
	}
	defer flightConn.Close()

	read, get := grpcDoor(conn, varvev1.QueryService_ReadRange_FullMethodName), flightDoor(flightConn)
	var reports []*queryReport
	for _, q := range []struct {
		name    string
		tags    int
		samples int
	}{
		{"Q1", 1, o.within(3600)},
		{"Q2", min(100, o.Tags), o.within(10_800)},
	} {
		q.name = fmt.Sprintf("%s raw, tags=%d, %s", q.name, q.tags, o.lasting(q.samples))
		question, tags := rangeOf(o, q.tags, q.samples)
		for _, d := range []struct {
			name string
			door door
		}{{"gRPC", read}, {"Flight", get}} {
			c := &comparer{o: o, tags: tags, last: q.samples}
			if err := d.door(ctx, question, c.visit); err != nil {
				return nil, fmt.Errorf("%s over %s: %w", q.name, d.name, err)
			}
			if err := c.done(); err != nil {
				return nil, fmt.Errorf("%s over %s: %w", q.name, d.name, err)
			}
			r, err := timeQuery(ctx, q.name+", "+d.name, o.Repeat, int64(q.tags*q.samples), s,
				func(ctx context.Context, visit visitor) error { return d.door(ctx, question, visit) })
			if err != nil {
				return nil, err
			}
			reports = append(reports, r)
		}
	}
	latest, err := measureLatest(ctx, s, conn, o)
	if err != nil {
		return nil, err
	}
	buckets, err := measureBuckets(ctx, s, conn, o)
	if err != nil {
		return nil, err
	}
	wide, err := measureWide(ctx, s, conn, o)
	return slices.Concat(reports, latest, buckets, wide), err
}

// measureLatest asks for the newest sample of every tag, by id and by name.
func measureLatest(ctx context.Context, s *server, conn *grpc.ClientConn, o *options) ([]*queryReport, error) {
	ask := grpcDoor(conn, varvev1.QueryService_Latest_FullMethodName)
	byName, tags := &varvev1.LatestRequest{}, make([]int, o.Tags)
	for tag := range o.Tags {
		byName.Tags = append(byName.Tags, plant.Name(tag))
		tags[tag] = tag
	}
	c := &comparer{o: o, tags: tags, first: o.samplesPerTag() - 1, last: o.samplesPerTag()}
	if o.Workload == "w1" { // making a year of every tag to compare its last second would take minutes
		if err := ask(ctx, byName, c.visit); err != nil {
			return nil, fmt.Errorf("Q5: %w", err)
		}
		if err := c.done(); err != nil {
			return nil, fmt.Errorf("Q5: %w", err)
		}
	}
	byID, err := idsOf(ctx, conn, o)
	if err != nil {
		return nil, err
	}
	var reports []*queryReport
	for _, q := range []struct {
		name     string
		question proto.Message
	}{{"ids", byID}, {"names", byName}} {
		r, err := timeQuery(ctx, fmt.Sprintf("Q5 latest, tags=%d, by %s, gRPC", o.Tags, q.name), o.Repeat, int64(o.Tags), s,
			func(ctx context.Context, visit visitor) error { return ask(ctx, q.question, visit) })
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// rangeOf asks for the first samples of tags spread evenly over the plant.
func rangeOf(o *options, count, samples int) (*varvev1.ReadRangeRequest, []int) {
	r := &varvev1.ReadRangeRequest{StartNs: proto.Int64(o.start() * millisecond), EndNs: proto.Int64(math.MaxInt64)}
	if samples < o.samplesPerTag() || o.Begin != 0 { // else nothing follows
		// A sample is at most 40 ms late, so that half a second before the next is behind every one asked for.
		r.EndNs = proto.Int64((o.start()+int64(samples)*o.step())*millisecond - second/2)
	}
	var tags []int
	for i := range count {
		tag := i * o.Tags / count
		tags = append(tags, tag)
		r.Tags = append(r.Tags, plant.Name(tag))
	}
	return r, tags
}

// idsOf asks for the ids of all tags.
func idsOf(ctx context.Context, conn *grpc.ClientConn, o *options) (*varvev1.LatestRequest, error) {
	catalog := varvev1.NewCatalogServiceClient(conn)
	ids := map[string]uint32{}
	for token := ""; ; {
		page, err := catalog.ListTags(ctx, &varvev1.ListTagsRequest{PageSize: 10_000, PageToken: token})
		if err != nil {
			return nil, fmt.Errorf("list tags: %w", err)
		}
		for _, t := range page.Tags {
			ids[t.Name] = t.Id
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	r := &varvev1.LatestRequest{}
	for tag := range o.Tags {
		id, ok := ids[plant.Name(tag)]
		if !ok {
			return nil, fmt.Errorf("tag %s is not in the list of %d", plant.Name(tag), len(ids))
		}
		r.TagIds = append(r.TagIds, id)
	}
	return r, nil
}
