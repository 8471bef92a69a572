package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/lineprotocol"
	"github.com/varvedb/varve/storage"
)

// Remote write of Prometheus, versions 1.0 and 2.0: a protobuf message in one block of Snappy. It is decoded from its bytes, which keeps hostile ones
// from making objects, and finds the tag of a series without taking its labels apart.

const (
	// maxSymbols is the most strings of one message of version 2.
	maxSymbols = 1 << 20
	// staleNaN is the NaN by which Prometheus says that a series ended.
	staleNaN = 0x7FF0_0000_0000_0002
	// nsPerMS is nanoseconds in the unit of times.
	nsPerMS = 1_000_000
	// remoteWriteSource is whose samples a gap misses that such a NaN makes.
	remoteWriteSource = "remote write"
)

// messagesV1 and messageV2 are the parameter proto of the content type.
var messagesV1 = []string{"", "prometheus.WriteRequest"}

const messageV2 = "io.prometheus.write.v2.Request"

// postRemoteWrite stores the samples of a message.
func (s *Server) postRemoteWrite(ctx context.Context, out *reply, r *http.Request) error {
	typ, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	message := params["proto"]
	if err != nil || typ != "application/x-protobuf" || message != messageV2 && !slices.Contains(messagesV1, message) {
		return &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content type %.100q: must be application/x-protobuf, with proto=%s or %s: %w", r.Header.Get("Content-Type"), messagesV1[1], messageV2, errBadField)}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "snappy" {
		return &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.40q: must be snappy: %w", encoding, errBadField)}
	}
	body, release, err := s.snappyBody(ctx, out, r)
	if err != nil {
		return err
	}
	defer release()
	histograms := uint64(0)
	stored, err := s.serveAgent(ctx, s.agents.namesOf(doorPrometheus, callerOf(ctx).name, ""), "series", func(a *agentRows) error {
		a.gapSource = remoteWriteSource
		m := remoteWrite{agentRows: a, ctx: ctx}
		defer func() { histograms = m.taken }()
		if message == messageV2 {
			return m.takeV2(body)
		}
		return m.takeV1(body)
	})
	if message == messageV2 {
		histograms = min(histograms, stored/histogramParts) // of what was refused it is not known whose it was
		out.always = http.Header{
			"X-Prometheus-Remote-Write-Samples-Written":    {strconv.FormatUint(stored-histogramParts*histograms, 10)},
			"X-Prometheus-Remote-Write-Histograms-Written": {strconv.FormatUint(histograms, 10)},
			"X-Prometheus-Remote-Write-Exemplars-Written":  {"0"},
		}
	}
	if err != nil {
		return err
	}
	out.code = http.StatusNoContent
	return nil
}

// wholeBody is a body as it came, whose memory is held until release.
func (s *Server) wholeBody(ctx context.Context, out *reply, r *http.Request) (body []byte, release func(), err error) {
	most := int64(s.options.MaxMessageBytes)
	size := r.ContentLength
	if size > most {
		return nil, nil, messageTooLarge(most)
	}
	if size < 0 {
		size = most
	}
	release, err = s.hold(ctx, size)
	if err != nil {
		return nil, nil, err
	}
	body, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	if err == nil {
		out.hasBody()
		return body, release, nil
	}
	release()
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, nil, messageTooLarge(most)
	}
	return nil, nil, unavailable(fmt.Errorf("%w: %w", errBody, err))
}

// snappyBody is a body unpacked, whose memory is held until release.
func (s *Server) snappyBody(ctx context.Context, out *reply, r *http.Request) ([]byte, func(), error) {
	packed, release, err := s.wholeBody(ctx, out, r)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	n, err := snappy.DecodedLen(packed)
	switch most := int64(s.options.MaxMessageBytes); {
	case err != nil:
		return nil, nil, fmt.Errorf("%w: snappy: %w", errBody, err)
	case int64(n) > most:
		return nil, nil, messageTooLarge(most)
	}
	held, err := s.hold(ctx, int64(n))
	if err != nil {
		return nil, nil, err
	}
	body, err := snappy.Decode(nil, packed)
	if err != nil {
		held()
		return nil, nil, fmt.Errorf("%w: snappy: %w", errBody, err)
	}
	return body, held, nil
}

func messageTooLarge(most int64) error {
	return &httpError{http.StatusRequestEntityTooLarge, fmt.Errorf("body has more than %d bytes, unpacked: %w", most, errTooMany)}
}

// refusePlain is an error as text.
func refusePlain(h http.Header, _ int, message string) []byte {
	h.Set("Content-Type", "text/plain; charset=utf-8")
	return []byte(message + "\n")
}

// remoteWrite is a message being taken.
type remoteWrite struct {
	*agentRows
	ctx     context.Context
	symbols [][]byte
	series  int    // that is being taken, from 1
	key     []byte // of it, where the message does not have it as it is
	long    bool   // key would be too long, and is not whole
	parts   []byte // key of the parts of its histograms
	taken   uint64 // histograms
}

// Fields of a TimeSeries that both versions have under one number or another.
type seriesFields struct{ samples, histograms, exemplars protowire.Number }

func (m *remoteWrite) takeV1(body []byte) error {
	for f := (field{rest: body}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return wireError("WriteRequest", err)
		}
		if f.num != 1 || f.typ != protowire.BytesType {
			continue // metadata
		}
		m.series++
		key, err := m.labelsV1(f.data)
		if err != nil {
			return err
		}
		if err := m.takeSeries(f.data, key, seriesFields{samples: 2, exemplars: 3, histograms: 4}); err != nil {
			return err
		}
	}
	return m.store(m.ctx)
}

// labelsV1 is the labels of a series as they stand on the wire.
func (m *remoteWrite) labelsV1(b []byte) ([]byte, error) {
	m.key = m.key[:0]
	from, to, together := 0, 0, true
	for f := (field{rest: b}); len(f.rest) > 0; {
		at := len(b) - len(f.rest)
		if err := f.next(f.rest); err != nil {
			return nil, wireError("TimeSeries", err)
		}
		if f.num != 1 || f.typ != protowire.BytesType {
			continue
		}
		end := len(b) - len(f.rest)
		if to == 0 {
			from = at
		} else if together = together && at == to; !together && len(m.key) == 0 {
			m.key = append(m.key, b[from:to]...)
		}
		if to = end; !together {
			m.key = append(m.key, b[at:end]...)
		}
	}
	if together {
		return b[from:to], nil
	}
	return m.key, nil
}

func (m *remoteWrite) takeV2(body []byte) error {
	for f := (field{rest: body}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return wireError("Request", err)
		}
		if f.num != 4 || f.typ != protowire.BytesType {
			continue
		}
		if len(m.symbols) == maxSymbols {
			return &httpError{http.StatusRequestEntityTooLarge, fmt.Errorf("more than %d symbols: %w", maxSymbols, errTooMany)}
		}
		m.symbols = append(m.symbols, f.data)
	}
	for f := (field{rest: body}); len(f.rest) > 0; {
		_ = f.next(f.rest) // it went well before
		if f.num != 5 || f.typ != protowire.BytesType {
			continue
		}
		m.series++
		if err := m.labelsV2(f.data); err != nil {
			return err
		}
		if err := m.takeSeries(f.data, m.key, seriesFields{samples: 2, histograms: 3, exemplars: 4}); err != nil {
			return err
		}
	}
	return m.store(m.ctx)
}

// labelsV2 writes the labels of a series as version 1 has them, so that one series has one key.
func (m *remoteWrite) labelsV2(b []byte) error {
	m.key, m.long = m.key[:0], false
	var name []byte
	odd := false
	add := func(ref uint64) error {
		if ref >= uint64(len(m.symbols)) {
			return fmt.Errorf("series %d: reference %d of a label, and there are %d symbols: %w", m.series, ref, len(m.symbols), errWire)
		}
		if odd = !odd; odd {
			name = m.symbols[ref]
			return nil
		}
		value := m.symbols[ref]
		if m.long = m.long || len(m.key)+len(name)+len(value) > maxSeriesBytes; m.long {
			return nil // a reference of a byte may stand for megabytes
		}
		size := protowire.SizeTag(1) + protowire.SizeBytes(len(name)) + protowire.SizeTag(2) + protowire.SizeBytes(len(value))
		m.key = protowire.AppendVarint(protowire.AppendTag(m.key, 1, protowire.BytesType), uint64(size))
		m.key = protowire.AppendBytes(protowire.AppendTag(m.key, 1, protowire.BytesType), name)
		m.key = protowire.AppendBytes(protowire.AppendTag(m.key, 2, protowire.BytesType), value)
		return nil
	}
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return wireError("TimeSeries", err)
		}
		switch {
		case f.num == 1 && f.typ == protowire.VarintType:
			if err := add(f.number); err != nil {
				return err
			}
		case f.num == 1 && f.typ == protowire.BytesType: // packed
			for refs := f.data; len(refs) > 0; {
				ref, n := uvarint(refs)
				if n <= 0 {
					return wireError("labels_refs", errWire)
				}
				if err := add(ref); err != nil {
					return err
				}
				refs = refs[n:]
			}
		}
	}
	if odd {
		return fmt.Errorf("series %d: a label without a value: labels_refs must be pairs: %w", m.series, errWire)
	}
	return nil
}

// takeSeries gathers the samples of a series.
func (m *remoteWrite) takeSeries(b, key []byte, has seriesFields) error {
	var tag *agentTag
	var bad error
	series := m.names.find(key, m.last)
	if series != nil && !m.long {
		tag = series.tag(nil, nil)
	}
	switch {
	case tag != nil:
	case m.long || len(key) > maxSeriesBytes:
		bad = fmt.Errorf("labels of more than %d bytes", maxSeriesBytes)
	default:
		if series, bad = m.newSeries(key); bad == nil {
			tag = series.addTag(nil, "")
		}
	}
	if bad == nil {
		m.last = series
	}
	for f := (field{rest: b}); len(f.rest) > 0; {
		_ = f.next(f.rest) // it went well before
		if f.typ != protowire.BytesType || f.num != has.samples && f.num != has.histograms {
			continue
		}
		if bad != nil {
			m.drop(bad.Error(), varvev1.RejectCode_REJECT_CODE_BAD_NAME)
			continue
		}
		var err error
		if f.num == has.samples {
			err = m.takeSample(f.data, tag)
		} else {
			err = m.takeHistogram(f.data, series, key)
		}
		if err != nil {
			return err
		}
	}
	m.bytes += len(b)
	if m.full() {
		return m.store(m.ctx)
	}
	return nil
}

// drop notes a value that is not stored.
func (m *remoteWrite) drop(reason string, code varvev1.RejectCode) {
	m.dropped++
	m.server.metrics.rejected.WithLabelValues(code.String()).Inc()
	m.note(m.series, reason)
}

func (m *remoteWrite) takeSample(b []byte, tag *agentTag) error {
	var bits, ms uint64
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return wireError("Sample", err)
		}
		switch {
		case f.num == 1 && f.typ == protowire.Fixed64Type:
			bits = f.number
		case f.num == 2 && f.typ == protowire.VarintType:
			ms = f.number
		}
	}
	at, ok := m.time(ms)
	switch {
	case !ok:
	case bits == staleNaN:
		m.stale = append(m.stale, staleMark{tag, at, m.series})
	default:
		m.add(tag, at, lineprotocol.Float, bits, nil, m.series)
	}
	return nil
}

// time is milliseconds as they stand on the wire in nanoseconds; not ok, and noted, where those do not fit.
func (m *remoteWrite) time(ms uint64) (at int64, ok bool) {
	at = int64(ms)
	if at > math.MaxInt64/nsPerMS || at < math.MinInt64/nsPerMS {
		m.drop(fmt.Sprintf("time %d ms is none that 64 bits of nanoseconds have", at), varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW)
		return 0, false
	}
	return at * nsPerMS, true
}

// histogramParts is how many tags a native histogram becomes.
const histogramParts = 2

// takeHistogram gathers count and sum of a native histogram. Its buckets move as it is filled, so that no tag could be one of them.
func (m *remoteWrite) takeHistogram(b []byte, of *agentSeries, key []byte) error {
	kind, count, sum, ms := lineprotocol.Uint, uint64(0), uint64(0), uint64(0)
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return wireError("Histogram", err)
		}
		switch {
		case f.num == 1 && f.typ == protowire.VarintType:
			kind, count = lineprotocol.Uint, f.number
		case f.num == 2 && f.typ == protowire.Fixed64Type:
			kind, count = lineprotocol.Float, f.number
		case f.num == 3 && f.typ == protowire.Fixed64Type:
			sum = f.number
		case f.num == 15 && f.typ == protowire.VarintType:
			ms = f.number
		}
	}
	at, ok := m.time(ms)
	if !ok {
		return nil
	}
	m.taken++
	countTag, sumTag := m.histogramTags(of, key)
	if sum == staleNaN { // which says of the whole histogram that it ended
		m.stale = append(m.stale, staleMark{countTag, at, m.series}, staleMark{sumTag, at, m.series})
		return nil
	}
	m.add(countTag, at, kind, count, nil, m.series)
	m.add(sumTag, at, lineprotocol.Float, sum, nil, m.series)
	return nil
}

// histogramTags are the tags of count and sum of a series of histograms: metric{…}:count and metric{…}:sum, also where there are no labels. A colon
// stands in names of metrics too, and behind the brace in none.
func (m *remoteWrite) histogramTags(of *agentSeries, key []byte) (count, sum *agentTag) {
	m.parts = append(append(m.parts[:0], key...), 0) // no field of a message begins so
	series := m.names.find(m.parts, of)
	if series == nil {
		name := seriesName{template: of.template, before: of.before + of.after}
		if of.bare {
			name.before += "{}"
		}
		series = m.names.add(m.parts, of, name)
	}
	m.last = series
	part := func(name string, last *agentTag) *agentTag {
		if tag := series.tag([]byte(name), last); tag != nil {
			return tag
		}
		return series.addTag([]byte(name), name)
	}
	count = part(":count", nil)
	return count, part(":sum", count)
}

// newSeries finds the name of a series that is new.
func (m *remoteWrite) newSeries(key []byte) (*agentSeries, error) {
	var labels []label
	metric := ""
	for f := (field{rest: key}); len(f.rest) > 0; {
		_ = f.next(f.rest) // it went well before
		var l [2][]byte
		for p := (field{rest: f.data}); len(p.rest) > 0; {
			if err := p.next(p.rest); err != nil {
				return nil, wireError("Label", err)
			}
			if p.num <= 2 && p.typ == protowire.BytesType {
				l[p.num-1] = p.data
			}
		}
		switch name, value := string(l[0]), string(l[1]); {
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			return nil, fmt.Errorf("label %.40q: name or value is not UTF-8", name)
		case name == "__name__":
			if metric != "" {
				return nil, errors.New("label __name__ stands twice")
			}
			metric = value
		case name == "":
			return nil, fmt.Errorf("a label of value %.40q without a name", value)
		case value != "": // one that is empty is as none
			labels = append(labels, label{name, value})
		}
	}
	if metric == "" {
		return nil, errors.New("there is no label __name__")
	}
	slices.SortFunc(labels, func(a, b label) int { return cmp.Compare(a.key, b.key) })
	for i := 1; i < len(labels); i++ {
		if labels[i].key == labels[i-1].key {
			return nil, fmt.Errorf("label %.40q stands twice", labels[i].key)
		}
	}
	return m.names.add(key, m.last, m.names.name(metric, "", labels)), nil
}

// staleMark says that a metric ended.
type staleMark struct {
	tag    *agentTag
	time   int64
	series int
}

// keepGaps makes gaps of metrics that ended, and ends those of metrics that came back, once the samples of a body can be read: a gap lasts from the
// mark to the next sample there is. Sent again, a mark makes no second gap.
func (a *agentRows) keepGaps(ctx context.Context, stored *uint64) error {
	if len(a.stale) == 0 && len(a.tags) == 0 {
		return nil
	}
	db := a.server.db
	open := db.OpenGaps(a.tags, a.gapSource)
	if len(a.stale) == 0 && len(open) == 0 {
		return nil
	}
	view, err := db.View(ctx, storage.Accepted)
	if err != nil {
		return unavailable(err)
	}
	defer view.Close()
	author := cmp.Or(callerOf(ctx).name, a.gapSource)
	ends := map[int64][]model.TagID{}
	for tag, from := range open {
		next, err := nextSample(ctx, view, tag, from)
		if err != nil {
			return unavailable(err)
		}
		if next != model.OpenGap {
			ends[next] = append(ends[next], tag)
		}
	}
	for at, tags := range ends {
		if _, err := db.EndGaps(ctx, tags, at, a.gapSource, author, ""); err != nil {
			return unavailable(err)
		}
	}
	gaps := map[model.TimeRange][]model.TagID{}
	for _, mark := range a.stale {
		tag, ok := db.Catalog().ByName(string(mark.tag.name))
		if !ok {
			*stored++ // of which nothing was ever stored
			continue
		}
		at := storage.GapQuery{Tag: tag.ID, In: model.TimeRange{Start: mark.time, End: mark.time + 1}, Withdrawn: true, Limit: math.MaxInt}
		if slices.ContainsFunc(view.Gaps(at), func(g storage.Gap) bool { return g.From == mark.time && g.Source == a.gapSource }) {
			*stored++ // before
			continue
		}
		next, err := nextSample(ctx, view, tag.ID, mark.time)
		if err != nil {
			return unavailable(err)
		}
		in := model.TimeRange{Start: mark.time, End: next}
		gaps[in] = append(gaps[in], tag.ID)
	}
	for in, tags := range gaps {
		for part := range slices.Chunk(tags, storage.MaxGapTags) {
			g := model.Gap{Kind: model.NotCollected, From: in.Start, To: in.End, Source: a.gapSource}
			_, err := db.RecordGap(ctx, part, g, author, "")
			switch {
			case errors.Is(err, storage.ErrGapQuota):
				a.dropped += uint64(len(part))
				a.note(math.MaxInt, fmt.Sprintf("the end of %d metrics is not kept: %v", len(part), err))
			case err != nil:
				return unavailable(err)
			default:
				*stored += uint64(len(part))
			}
		}
	}
	return nil
}

// nextSample is the time of the first sample of a tag behind an instant, model.OpenGap where there is none.
func nextSample(ctx context.Context, view *storage.View, tag model.TagID, at int64) (int64, error) {
	latest, ok := view.Latest(tag)
	if !ok || latest.Time <= at {
		return model.OpenGap, nil
	}
	cursor := view.Samples(tag, model.TimeRange{Start: at + 1, End: model.All.End})
	defer cursor.Close()
	block, err := cursor.Next(ctx)
	switch {
	case err == nil:
		return block.Times[0], nil
	case errors.Is(err, io.EOF), errors.Is(err, storage.ErrCorrupt):
		return latest.Time, nil // of another type, or behind damage: known to be there
	}
	return 0, fmt.Errorf("find the end of a gap: %w", err)
}
