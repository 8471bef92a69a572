package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// biVarve is the server of this tree, asked over Flight SQL; its door for PostgreSQL is asked by another biPeer.
type biVarve struct {
	binary string
	args   []string
	server *server
	conn   *grpc.ClientConn
	client *sqlClient
}

func (v *biVarve) name() string { return "varve, Flight SQL" }

func (v *biVarve) load(ctx context.Context, dir string, tags []*biTag) (err error) {
	port, err := freePort()
	if err != nil {
		return err
	}
	v.args = append(v.args, "--postgres=127.0.0.1:"+strconv.Itoa(port))
	if v.server, err = startServer(ctx, v.binary, dir, v.args); err != nil {
		return err
	}
	if v.conn, err = dial(v.server.address); err != nil {
		return err
	}
	if v.client, err = dialSQL(v.server.address); err != nil {
		return err
	}
	if err := v.create(ctx, tags); err != nil {
		return err
	}
	for _, t := range tags {
		if err := v.send(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	_, err = measureStored(ctx, v.server, v.conn, dir, uint64(biCount(tags)), seal)
	return err
}

// biTypes are the types of tags by the names of the plant.
var biTypes = map[string]varvev1.Type{
	"float64": varvev1.Type_TYPE_FLOAT64, "int64": varvev1.Type_TYPE_INT64, "bool": varvev1.Type_TYPE_BOOL, "state": varvev1.Type_TYPE_STATE, "string": varvev1.Type_TYPE_STRING,
}

// create makes the tags and keeps their ids.
func (v *biVarve) create(ctx context.Context, tags []*biTag) error {
	catalog := varvev1.NewCatalogServiceClient(v.conn)
	set := &varvev1.StateSet{Name: "pump"}
	for code, text := range biPump {
		set.States = append(set.States, &varvev1.DigitalState{Code: int64(code), Text: text})
	}
	if _, err := catalog.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: set}); err != nil {
		return fmt.Errorf("put the states: %w", err)
	}
	request := &varvev1.CreateTagsRequest{}
	for _, t := range tags {
		settings := &varvev1.Settings{Type: biTypes[t.kind], Stepped: t.stepped, Unit: t.unit}
		if t.kind == "state" {
			settings.StateSet = "pump"
		}
		tag := &varvev1.Tag{Name: t.name, Description: t.description, Settings: []*varvev1.Settings{settings}}
		if t.area != "" {
			tag.Attributes = map[string]string{"area": t.area}
		}
		request.Tags = append(request.Tags, tag)
	}
	answer, err := catalog.CreateTags(ctx, request)
	if err != nil {
		return fmt.Errorf("create the tags: %w", err)
	}
	for i, r := range answer.Tags {
		if !r.Created {
			return fmt.Errorf("create %s: %s %s", tags[i].name, r.Code, r.Reason)
		}
		tags[i].id = r.Tag.Id
	}
	return nil
}

// send writes the samples of a tag in their order.
func (v *biVarve) send(ctx context.Context, t *biTag) error {
	ingest := varvev1.NewIngestServiceClient(v.conn)
	const most = 100_000
	for first := 0; first < len(t.times); first += most {
		last := min(first+most, len(t.times))
		run := &varvev1.Run{TagId: t.id, TimesNs: t.times[first:last]}
		if t.name == "LAB.PH" { // several at one time
			run.Mode = varvev1.WriteMode_WRITE_MODE_APPEND
		}
		for i := first; i < last; i++ {
			if n := len(run.QualityCode); n > 0 && run.QualityCode[n-1] == t.quality[i] {
				run.QualityCount[n-1]++
			} else {
				run.QualityCode, run.QualityCount = append(run.QualityCode, t.quality[i]), append(run.QualityCount, 1)
			}
			if t.bad(i) {
				run.NullAt = append(run.NullAt, uint32(i-first))
			}
			switch t.kind {
			case "float64":
				run.Float64 = append(run.Float64, t.numbers[i])
			case "int64":
				run.Int64 = append(run.Int64, t.ints[i])
			case "bool":
				run.Bool = append(run.Bool, t.ints[i] == 1)
			case "state":
				run.State = append(run.State, t.ints[i])
			case "string":
				run.Text = append(run.Text, t.texts[i])
			}
		}
		answer, err := ingest.Write(ctx, &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{run}}})
		if err != nil {
			return err
		}
		if answer.Result.Rejected > 0 {
			return fmt.Errorf("%d samples were rejected: %v", answer.Result.Rejected, answer.Result.Rejections[0])
		}
	}
	return nil
}

func (v *biVarve) words(q *biQuestion) (string, float64, string) { return q.sql, q.tolerance(), "" }

func (v *biVarve) ask(ctx context.Context, sql string, keep *cells) (rows int, err error) {
	visit := cellsOf(keep)
	err = v.client.ask(ctx, sql, func(r arrow.Record) error {
		rows += int(r.NumRows())
		if keep == nil {
			return nil
		}
		return visit(r)
	})
	return rows, err
}

func (v *biVarve) stop() error {
	if v.server == nil {
		return nil
	}
	if v.client != nil {
		v.client.Close()
	}
	if v.conn != nil {
		v.conn.Close()
	}
	s := v.server
	v.server = nil
	_, err := s.stop()
	return err
}
