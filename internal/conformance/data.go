package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
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
	at, err := instantOf(s)
	t.Time = at
	return err
}

// instantOf reads a time that an int64 counts nanoseconds of.
func instantOf(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, fmt.Errorf("time %q: must be RFC 3339", text)
	}
	if !time.Unix(0, at.UnixNano()).Equal(at) {
		return at, fmt.Errorf("time %q: must be from 1678 to 2261", text)
	}
	return at, nil
}

// typeOf is the type of a tag for values that a file calls by an OPC UA name. Of a file that does not name it, the values tell.
func typeOf(name string, values func(func(any) bool)) (varvev1.Type, error) {
	switch strings.ToLower(name) {
	case "":
		return typeOfValues(values), nil
	case "double":
		return varvev1.Type_TYPE_FLOAT64, nil
	case "float":
		return varvev1.Type_TYPE_FLOAT32, nil
	case "sbyte", "byte", "int16", "uint16", "int32", "uint32", "int64":
		return varvev1.Type_TYPE_INT64, nil
	case "uint64":
		return varvev1.Type_TYPE_UINT64, nil
	case "boolean":
		return varvev1.Type_TYPE_BOOL, nil
	case "string":
		return varvev1.Type_TYPE_STRING, nil
	}
	return 0, fmt.Errorf("value type %q: %w", name, ErrFormat)
}

// typeOfValues is bool or text if the first value is, else double.
func typeOfValues(values func(func(any) bool)) varvev1.Type {
	for v := range values {
		_, isNumber := numberOf(v)
		_, isText := v.(string)
		_, isBool := v.(bool)
		switch {
		case isBool:
			return varvev1.Type_TYPE_BOOL
		case isText && !isNumber:
			return varvev1.Type_TYPE_STRING
		case v != nil:
			return varvev1.Type_TYPE_FLOAT64
		}
	}
	return varvev1.Type_TYPE_FLOAT64
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
	fits := isNumber
	switch c.typ {
	case varvev1.Type_TYPE_FLOAT64:
		r.Float64 = append(r.Float64, number)
	case varvev1.Type_TYPE_FLOAT32:
		r.Float32 = append(r.Float32, float32(number))
	case varvev1.Type_TYPE_INT64:
		n, err := strconv.ParseInt(wholeText(v), 10, 64)
		r.Int64 = append(r.Int64, n)
		fits = err == nil
	case varvev1.Type_TYPE_UINT64:
		n, err := strconv.ParseUint(wholeText(v), 10, 64)
		r.Uint64 = append(r.Uint64, n)
		fits = err == nil
	case varvev1.Type_TYPE_BOOL:
		b, isBool := v.(bool)
		fits = isBool || isNumber && (number == 0 || number == 1)
		r.Bool = append(r.Bool, b || number == 1)
	case varvev1.Type_TYPE_STRING:
		text, isText := v.(string)
		r.Text = append(r.Text, text)
		fits = isText
	}
	if v != nil && !fits {
		return fmt.Errorf("value %v at %s is no %s: %w", v, model.FormatTime(at), strings.ToLower(strings.TrimPrefix(c.typ.String(), "TYPE_")), ErrFormat)
	}
	return nil
}

// numberOf is a number as JSON has it, or as text where JSON has no way to write it.
func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case string:
		switch strings.ToLower(strings.TrimPrefix(v, "+")) {
		case "nan":
			return math.NaN(), true
		case "inf", "infinity":
			return math.Inf(1), true
		case "-inf", "-infinity":
			return math.Inf(-1), true
		}
	}
	return 0, false
}

// wholeText is a number without a fraction, all its digits; something else of any other value.
func wholeText(v any) string {
	number, ok := numberOf(v)
	if text := fmt.Sprint(v); !ok || !strings.ContainsAny(text, ".eE") {
		return text
	}
	return strconv.FormatFloat(number, 'f', -1, 64)
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
		return fmt.Errorf("%d samples are rejected: %s: %w", n, answer.Result.Rejections[0].Reason, ErrFormat)
	}
	return nil
}

// annotate writes an annotation of an instant of a tag.
func (s *Server) annotate(ctx context.Context, tag string, a annotation) error {
	if a.T.IsZero() {
		return fmt.Errorf("an annotation %q has no t: %w", a.Message, ErrFormat)
	}
	at := a.T.UnixNano()
	_, err := s.annotations.Annotate(ctx, &varvev1.AnnotateRequest{
		Tag: tag, StartNs: &at, StopNs: &at, Text: cmp.Or(a.Message, "unknown"), Author: cmp.Or(a.User, "unknown"),
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
