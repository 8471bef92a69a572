package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// instant is a time as the files write it.
type instant struct{ time.Time }

func (t *instant) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("time %q: must be RFC 3339", s)
	}
	t.Time = at
	return nil
}

// typeOf is the type of a tag for values that a file calls by an OPC UA name.
func typeOf(name string) (varvev1.Type, error) {
	switch name {
	case "", "Double":
		return varvev1.Type_TYPE_FLOAT64, nil
	case "Float":
		return varvev1.Type_TYPE_FLOAT32, nil
	case "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64":
		return varvev1.Type_TYPE_INT64, nil
	case "UInt64":
		return varvev1.Type_TYPE_UINT64, nil
	case "Boolean":
		return varvev1.Type_TYPE_BOOL, nil
	case "String":
		return varvev1.Type_TYPE_STRING, nil
	}
	return 0, fmt.Errorf("value type %q: %w", name, ErrFormat)
}

// column is the samples of one tag on their way to the server.
type column struct {
	typ varvev1.Type
	run varvev1.Run
}

func newColumn(tag string, typ varvev1.Type) *column {
	return &column{typ: typ, run: varvev1.Run{Tag: tag, Mode: varvev1.WriteMode_WRITE_MODE_APPEND}}
}

// add adds a sample; nil is no value.
func (c *column) add(at int64, v any, q model.Quality) error {
	r := &c.run
	if v == nil {
		r.NullAt = append(r.NullAt, uint32(len(r.TimesNs)))
	}
	r.TimesNs = append(r.TimesNs, at)
	r.QualityCode, r.QualityCount = append(r.QualityCode, uint32(q)), append(r.QualityCount, 1)
	number, isNumber := numberOf(v)
	b, isBool := v.(bool)
	text, isText := v.(string)
	switch c.typ {
	case varvev1.Type_TYPE_FLOAT64:
		r.Float64 = append(r.Float64, number)
	case varvev1.Type_TYPE_FLOAT32:
		r.Float32 = append(r.Float32, float32(number))
	case varvev1.Type_TYPE_INT64:
		r.Int64 = append(r.Int64, int64(number))
	case varvev1.Type_TYPE_UINT64:
		r.Uint64 = append(r.Uint64, uint64(number))
	case varvev1.Type_TYPE_BOOL:
		r.Bool = append(r.Bool, b)
		isNumber = isBool
	case varvev1.Type_TYPE_STRING:
		r.Text = append(r.Text, text)
		isNumber = isText
	}
	if v != nil && !isNumber {
		return fmt.Errorf("value %v of tag %s is no %s: %w", v, r.Tag, c.typ, ErrFormat)
	}
	return nil
}

// numberOf is a number as JSON has it, or as text where JSON has no way to write it.
func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		switch v {
		case "NaN":
			return math.NaN(), true
		case "Inf", "+Inf":
			return math.Inf(1), true
		case "-Inf":
			return math.Inf(-1), true
		}
	}
	return 0, false
}

// write makes a tag and writes its samples.
func (s *Server) write(ctx context.Context, c *column, stepped bool) error {
	made, err := s.catalog.CreateTags(ctx, &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{{
		Name: c.run.Tag, Settings: []*varvev1.Settings{{Type: c.typ, Stepped: stepped}},
	}}})
	if err != nil {
		return err
	}
	if r := made.Tags[0]; r.Tag == nil {
		return fmt.Errorf("create tag %s: %s", c.run.Tag, r.Reason)
	}
	if len(c.run.TimesNs) == 0 {
		return nil
	}
	answer, err := s.ingest.Write(ctx, &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{&c.run}}})
	if err != nil {
		return err
	}
	if n := answer.Result.Rejected; n > 0 {
		return fmt.Errorf("write tag %s: %d samples are rejected: %s", c.run.Tag, n, answer.Result.Rejections[0].Reason)
	}
	return nil
}

// annotate writes an annotation of an instant of a tag.
func (s *Server) annotate(ctx context.Context, tag string, a annotation) error {
	at := a.T.UnixNano()
	_, err := s.annotations.Annotate(ctx, &varvev1.AnnotateRequest{
		Tag: tag, StartNs: &at, StopNs: &at, Text: a.Message, Author: cmp.Or(a.User, "unknown"),
	})
	return err
}

// eachRecord visits the record batches of an answer, of which the call returned a stream or an error.
func eachRecord(stream answer.Stream, err error, visit func(arrow.Record) error) error {
	if err != nil {
		return err
	}
	a, err := answer.NewReader(stream)
	if err != nil {
		return err
	}
	defer a.Close()
	for {
		rec, err := a.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = visit(rec)
		}
		if err != nil {
			return err
		}
	}
}
