package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/urlquery"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage/catalog"
)

// maxQuestionBytes is the largest body of a question: 100,000 tags with names of 40 characters.
const maxQuestionBytes = 4 << 20

// maxObjects is how many objects a question may hold. An empty one takes three bytes of JSON and a hundred in memory, and no question
// has more than its comparisons.
const maxObjects = query.MaxComparisons + 8

// What answering over HTTP may hold beside the engine.
const (
	textBytes    = 4 << 20 // a record batch as it is read again
	textRows     = 8 << 10 // in one
	tagBytesHTTP = 128     // of a name, and the type beside
)

// httpAnswer is an answer as HTTP sends it.
type httpAnswer struct {
	format *format
	bytes  int64 // that it may hold
	// stream writes it as an Arrow stream.
	stream func(ctx context.Context, w io.Writer) error
	// rows writes what it reads as text, csv or json.
	rows      func(w io.Writer, r *answer.Reader, form string) (uint64, error)
	statement bool // its columns are any, and mean nothing by their names
}

// getQuery answers a question in the parameters of the URL.
func (s *Server) getQuery(ctx context.Context, out *reply, r *http.Request) error {
	values, f, err := parametersOf(r)
	if err != nil {
		return err
	}
	m := &varvev1.FlightQuestion{}
	if err := urlquery.Parse(values, m.ProtoReflect(), s.options.Now()); err != nil {
		return err
	}
	if err := s.expandNames(asked(m)); err != nil {
		return err
	}
	return s.answerWeb(ctx, out, r, m, f)
}

// postQuery answers a question in the body, the JSON of a FlightQuestion.
func (s *Server) postQuery(ctx context.Context, out *reply, r *http.Request) error {
	values, f, err := parametersOf(r)
	if err != nil {
		return err
	}
	if len(values) > 0 {
		return fmt.Errorf("a question in the body has no parameters but format: %w", query.ErrBadRequest)
	}
	body, release, err := s.bodyOf(out, r)
	if err != nil {
		return err
	}
	defer release()
	m, err := parseQuestion(body)
	if err != nil {
		return err
	}
	return s.answerWeb(ctx, out, r, m, f)
}

// bodyOf is the body of a question, in memory that is reserved until release.
func (s *Server) bodyOf(out *reply, r *http.Request) (body []byte, release func(), err error) {
	if typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || typ != "application/json" {
		// Nor may a form of a foreign page, which can send any other type, ask questions.
		return nil, nil, &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content type %.40q: must be application/json: %w", r.Header.Get("Content-Type"), errBadField)}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, nil, &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.40q: a question is not compressed: %w", encoding, errBadField)}
	}
	size := r.ContentLength
	if size > maxQuestionBytes {
		return nil, nil, tooLarge()
	}
	if size < 0 {
		size = maxQuestionBytes
	}
	reserved, err := s.engine.Reserve(size)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			reserved()
		}
	}()
	body, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, maxQuestionBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, nil, tooLarge()
	case isTimeout(err):
		return nil, nil, &httpError{http.StatusRequestTimeout, fmt.Errorf("the question did not come in %s: %w", s.options.StallTimeout, errStalled)}
	case err != nil:
		return nil, nil, fmt.Errorf("read the question: %v: %w", err, errWire)
	}
	out.hasBody()
	return body, reserved, nil
}

func tooLarge() error {
	return &httpError{http.StatusRequestEntityTooLarge, fmt.Errorf("the question has more than %d bytes; larger ones go over gRPC: %w", maxQuestionBytes, errTooMany)}
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// parseQuestion reads the JSON of a FlightQuestion.
func parseQuestion(body []byte) (*varvev1.FlightQuestion, error) {
	if n := countObjects(body); n > maxObjects {
		return nil, fmt.Errorf("question has %d objects, most is %d: %w", n, maxObjects, query.ErrBadRequest)
	}
	m := &varvev1.FlightQuestion{}
	if err := protojson.Unmarshal(body, m); err != nil {
		text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto:"), "\u00a0", " ")
		return nil, fmt.Errorf("question is not the JSON of a FlightQuestion: %s: %w", strings.TrimSpace(text), query.ErrBadRequest)
	}
	if asked(m) == nil {
		return nil, fmt.Errorf(`nothing is asked; ask such as {"latest": {"tags": ["FI-101"]}}: %w`, query.ErrBadRequest)
	}
	return m, nil
}

// countObjects counts the objects of a JSON text.
func countObjects(b []byte) (n int) {
	inText := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case c == '{' && !inText:
			n++
		}
	}
	return n
}

// asked is the message of what a FlightQuestion asks; nil if it asks nothing.
func asked(m *varvev1.FlightQuestion) protoreflect.Message {
	q := m.ProtoReflect()
	f := q.WhichOneof(q.Descriptor().Oneofs().ByName("question"))
	if f == nil {
		return nil
	}
	return q.Get(f).Message()
}

// parametersOf is the parameters of a URL and the format they ask for, nil where they leave it to the header.
func parametersOf(r *http.Request) (url.Values, *format, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, fmt.Errorf("parameters: %v: %w", err, query.ErrBadRequest)
	}
	names, ok := values["format"]
	if !ok {
		f, err := negotiate(r.Header.Values("Accept"))
		return values, f, err
	}
	delete(values, "format")
	for i := range formats {
		if len(names) == 1 && formats[i].name == names[0] {
			return values, &formats[i], nil
		}
	}
	return nil, nil, fmt.Errorf("format=%.40q: must be one of %s: %w", strings.Join(names, ","), strings.Join(formatNames(), ", "), query.ErrBadRequest)
}

// expandNames puts in place of each pattern the tags that match, unless a tag has that very name.
func (s *Server) expandNames(m protoreflect.Message) error {
	f := m.Descriptor().Fields().ByName("tags")
	names := m.Get(f).List()
	var out []string
	for i := range names.Len() {
		name := names.Get(i).String()
		if _, ok := s.db.Catalog().ByName(name); ok || !strings.ContainsAny(name, "*?") {
			out = append(out, name)
			continue
		}
		tags, next, _ := s.db.Catalog().List(catalog.Filter{Glob: name}, "", query.MaxRangeTags-len(out))
		switch {
		case len(tags) == 0:
			return fmt.Errorf("no tag matches %.200q: %w", name, errNotFound)
		case next != "":
			return fmt.Errorf("more than %d tags match: %w", query.MaxRangeTags, query.ErrBadRequest)
		}
		for _, t := range tags {
			out = append(out, t.Name)
		}
	}
	names.Truncate(0)
	seen := map[string]bool{}
	for _, name := range out {
		if !seen[name] {
			seen[name] = true
			names.Append(protoreflect.ValueOfString(name))
		}
	}
	return nil
}

// answerWeb answers a question in a format.
func (s *Server) answerWeb(ctx context.Context, out *reply, r *http.Request, m *varvev1.FlightQuestion, f *format) error {
	a, err := s.httpAnswer(m, f)
	if err != nil {
		return err
	}
	return s.sendAnswer(ctx, out, r, a)
}

// sendAnswer sends an answer, zipped where the client takes that.
func (s *Server) sendAnswer(ctx context.Context, out *reply, r *http.Request, a httpAnswer) error {
	release, err := s.engine.Reserve(a.bytes)
	if err != nil {
		return err
	}
	defer release()
	f := a.format
	out.header.Set("Content-Type", f.media)
	out.header.Set("Vary", "Accept, Accept-Encoding")
	out.breakOff = f.breakOff
	if !f.text || !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		return s.writeAnswer(ctx, out, out.header, a)
	}
	out.header.Set("Content-Encoding", "gzip")
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if f.breakOff != nil {
		out.breakOff = func(code, message string) []byte { // goes the way of the rows, and the end never comes
			_, _ = zip.Write(f.breakOff(code, message))
			_ = zip.Flush()
			return nil
		}
	}
	if err := s.writeAnswer(ctx, zip, out.header, a); err != nil {
		return err
	}
	return zip.Close()
}

// httpAnswer is the answer to what a message asks, and what giving it in a format takes.
func (s *Server) httpAnswer(m *varvev1.FlightQuestion, f *format) (a httpAnswer, err error) {
	request := asked(m)
	fields := request.Descriptor().Fields()
	if rows := fields.ByName("batch_rows"); rows != nil && f.name != "arrow" {
		n := uint32(textRows)
		if fields.ByName("mode") != nil { // a wide row has any length, and batches a size of their own
			n = 0
		}
		request.Set(rows, protoreflect.ValueOfUint32(n))
	}
	if list := fields.ByName("aggregates"); f.series && list != nil && request.Get(list).List().Len() != 1 {
		return a, fmt.Errorf("%d aggregates: format %s takes one: %w", request.Get(list).List().Len(), f.name, query.ErrBadRequest)
	}
	ticket, err := proto.Marshal(m)
	if err != nil {
		return a, fmt.Errorf("encode the question: %v: %w", err, query.ErrBadRequest) // such as text that is not UTF-8
	}
	q, err := parseTicket(ticket)
	if err != nil {
		return a, err
	}
	tags := s.namesOf(tagsOf(request))
	a = httpAnswer{
		format: f, bytes: f.bytes + 3*int64(len(ticket)) + tagBytesHTTP*int64(len(tags)),
		stream: func(ctx context.Context, w io.Writer) error {
			b := bufio.NewWriterSize(w, 64<<10)
			err := s.answer(ctx, "http", q, &arrowBody{b})
			return errors.Join(err, b.Flush()) // what was read before a fault is right, and goes out before it
		},
		rows: func(w io.Writer, r *answer.Reader, form string) (uint64, error) {
			return writeRows(w, r, s.typesOf(r, tags), form)
		},
	}
	if f.name != "parquet" {
		return a, nil
	}
	schema, err := q.schema(s.engine)
	if err != nil {
		return a, err
	}
	a.bytes += answer.StreamBytes(schema.NumFields())
	return a, nil
}

// typesOf is how values of several types are read, by the tags of an answer.
func (s *Server) typesOf(r *answer.Reader, tags []string) map[string]answer.Types {
	types := map[string]answer.Types{}
	if answer.AsSamples(r.Schema()) && answer.Mixed(r.Schema()) {
		for _, name := range tags {
			if t, ok := s.db.Catalog().ByName(name); ok {
				types[name] = answer.TypesOf(tagToWire(t))
			}
		}
	}
	return types
}

// tagsOf is the names and ids that a request asks about.
func tagsOf(request protoreflect.Message) (names, ids protoreflect.List) {
	fields := request.Descriptor().Fields()
	if inner := fields.ByName("forecast"); inner != nil && inner.Message() != nil {
		return tagsOf(request.Get(inner).Message())
	}
	return request.Get(fields.ByName("tags")).List(), request.Get(fields.ByName("tag_ids")).List()
}

// namesOf is the names that answers call tags by: as asked, or of ids the current ones.
func (s *Server) namesOf(names, ids protoreflect.List) []string {
	out := make([]string, 0, names.Len()+ids.Len())
	for i := range names.Len() {
		out = append(out, names.Get(i).String())
	}
	for _, id := range tagIDs(idsOf(ids)) {
		if t, ok := s.db.Catalog().Tag(id); ok {
			out = append(out, t.Name)
		}
	}
	return out
}

func idsOf(list protoreflect.List) []uint32 {
	out := make([]uint32, list.Len())
	for i := range out {
		out[i] = uint32(list.Get(i).Uint())
	}
	return out
}

// writeAnswer writes an answer in its format.
func (s *Server) writeAnswer(ctx context.Context, w io.Writer, header http.Header, a httpAnswer) error {
	if a.format.write == nil { // the stream as it is
		return a.stream(ctx, w)
	}
	return s.throughPipe(ctx, a.stream, func(r *answer.Reader) error {
		if lost := r.Incomplete(); lost != "" {
			header.Set("Varve-Incomplete", lost)
		}
		return a.format.write(w, r, &a)
	})
}

// throughPipe lets stream write in a goroutine of its own and hands what comes to read, which turns it into something else. Nothing is
// collected between them.
func (s *Server) throughPipe(ctx context.Context, stream func(context.Context, io.Writer) error, read func(*answer.Reader) error) error {
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	defer in.Close() // and what is still written fails
	group.Go(func() {
		_ = out.CloseWithError(s.guard("query", func() error { return stream(ctx, out) }))
	})
	r, err := answer.NewReader(&pipeStream{from: in})
	if err != nil {
		return err
	}
	defer r.Close()
	return read(r)
}

// arrowBody writes an Arrow IPC stream as bytes.
type arrowBody struct{ out *bufio.Writer }

// Start is part of query.Sink.
func (a *arrowBody) Start() error { return nil }

// WritePayload writes one Arrow message.
func (a *arrowBody) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	if _, err := a.out.Write(appendIPCHeader(a.out.AvailableBuffer(), meta.Bytes())); err != nil {
		return err
	}
	return p.SerializeBody(a.out)
}

// Close writes the end of the stream.
func (a *arrowBody) Close() error {
	_, err := a.out.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0})
	return err
}

// pipeStream is bytes as the messages of an answer.
type pipeStream struct {
	from    io.Reader
	buffer  [64 << 10]byte
	message varvev1.ArrowData
}

// Recv is the next message, which holds until the one after.
func (p *pipeStream) Recv() (*varvev1.ArrowData, error) {
	n, err := p.from.Read(p.buffer[:])
	if n == 0 && err != nil {
		return nil, err
	}
	p.message.Ipc = p.buffer[:n]
	return &p.message, nil
}

// format is a format of answers.
type format struct {
	name     string // as the parameter format has it
	media    string
	byAccept bool  // the header can ask for it
	text     bool  // gzip makes it smaller
	series   bool  // lines of a chart
	bytes    int64 // that writing it may hold
	write    func(w io.Writer, r *answer.Reader, a *httpAnswer) error
	breakOff func(code, message string) []byte
}

// formats in the order of preference where the client has none.
var formats = []format{
	{
		name: "json", media: "application/json", byAccept: true, text: true, bytes: textBytes,
		write: func(w io.Writer, r *answer.Reader, a *httpAnswer) error {
			_, err := answer.WriteDocument(w, r, !a.statement && answer.AsSamples(r.Schema()), func(w io.Writer) (uint64, error) { return a.rows(w, r, "json") })
			return err
		},
		breakOff: func(code, message string) []byte { // whoever reads the text sees it; a parser fails, since the end is missing
			reason := errorJSON(code, message)
			return append(append([]byte("\n],"), reason[1:len(reason)-1]...), '\n')
		},
	},
	{
		name: "ndjson", media: "application/x-ndjson", byAccept: true, text: true, bytes: textBytes,
		write: func(w io.Writer, r *answer.Reader, a *httpAnswer) error {
			_, err := a.rows(w, r, "json")
			return err
		},
		breakOff: func(code, message string) []byte { return append(errorJSON(code, message), '\n') },
	},
	{
		name: "csv", media: "text/csv; charset=utf-8", byAccept: true, text: true, bytes: textBytes,
		write: func(w io.Writer, r *answer.Reader, a *httpAnswer) error {
			_, err := a.rows(w, r, "csv")
			return err
		},
	},
	{name: "arrow", media: "application/vnd.apache.arrow.stream", byAccept: true},
	{
		name: "parquet", media: "application/vnd.apache.parquet", byAccept: true, bytes: textBytes,
		write: func(w io.Writer, r *answer.Reader, _ *httpAnswer) error {
			_, err := answer.WriteParquet(w, r, answer.ForStreams)
			return err
		},
	},
	{
		name: "prometheus", media: "application/json", text: true, series: true, bytes: textBytes,
		write: func(w io.Writer, r *answer.Reader, _ *httpAnswer) error {
			_, err := answer.WriteMatrix(w, r)
			return err
		},
	},
	{
		name: "grafana", media: "application/json", text: true, series: true, bytes: textBytes,
		write: func(w io.Writer, r *answer.Reader, _ *httpAnswer) error {
			_, err := answer.WriteDatapoints(w, r)
			return err
		},
	},
}

func formatNames() (names []string) {
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}

// writeRows writes rows as varve query does.
func writeRows(w io.Writer, r *answer.Reader, types map[string]answer.Types, form string) (uint64, error) {
	switch {
	case !answer.AsSamples(r.Schema()):
		return answer.WriteBuckets(w, r, form, time.UTC)
	case form == "csv":
		return answer.WriteCSV(w, answer.NewRows(r, types), answer.ExtraOf(r.Schema()))
	}
	return answer.WriteJSON(w, answer.NewRows(r, types), answer.ExtraOf(r.Schema()))
}

// maxRanges is how many media ranges of a header are looked at.
const maxRanges = 32

// negotiate is the format that a client prefers: of the media ranges of its Accept header the one with the highest q, the first of several.
func negotiate(accept []string) (*format, error) {
	if strings.TrimSpace(strings.Join(accept, "")) == "" {
		return &formats[0], nil
	}
	type mediaRange struct {
		media string
		q     float64
	}
	var ranges []mediaRange
	parts := strings.Split(strings.Join(accept, ","), ",")
	for _, part := range parts[:min(len(parts), maxRanges)] {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		m := mediaRange{media: media, q: 1}
		if q, ok := params["q"]; ok {
			if m.q, err = strconv.ParseFloat(q, 64); err != nil || !(m.q >= 0 && m.q <= 1) {
				continue
			}
		}
		ranges = append(ranges, m)
	}
	refused := func(f *format) bool {
		return slices.ContainsFunc(ranges, func(m mediaRange) bool { return m.q == 0 && m.media == f.mediaType() })
	}
	slices.SortStableFunc(ranges, func(a, b mediaRange) int { return int(1000*b.q) - int(1000*a.q) })
	for _, m := range ranges {
		if m.q == 0 {
			continue
		}
		for i := range formats {
			f := &formats[i]
			class, isClass := strings.CutSuffix(m.media, "/*")
			matches := m.media == f.mediaType() || m.media == "*/*" || isClass && strings.HasPrefix(f.media, class+"/")
			if f.byAccept && matches && !refused(f) {
				return f, nil
			}
		}
	}
	var offered []string
	for _, f := range formats {
		if f.byAccept {
			offered = append(offered, f.mediaType())
		}
	}
	return nil, &httpError{http.StatusNotAcceptable, fmt.Errorf("accept %.80q: must be one of %s: %w", strings.Join(accept, ","), strings.Join(offered, ", "), errBadField)}
}

func (f *format) mediaType() string {
	media, _, _ := strings.Cut(f.media, ";")
	return media
}

// acceptsGzip reports whether a client takes gzip.
func acceptsGzip(accept []string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if name = strings.TrimSpace(name); name != "gzip" {
			continue
		}
		q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		x, err := strconv.ParseFloat(q, 64)
		return !ok || err == nil && x > 0
	}
	return false
}
