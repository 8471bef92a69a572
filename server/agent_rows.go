package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/server/lineprotocol"
	"github.com/varvedb/varve/storage"
)

// agentRows gathers samples of one body, and stores them by the door's rules as a batch that came over gRPC. It is used again for others.
type agentRows struct {
	server *Server
	names  *agentNames
	judge  *judge
	most   int // samples of a piece

	last  *agentSeries // that came before
	rows  []agentRow
	text  []byte // of rows
	texts bool   // some row is a text, which may be empty
	bytes int    // of the body, for metrics
	sent  []sent
	stale []staleMark   // of metrics that ended
	tags  []model.TagID // that got samples
	// gapSource is whose gaps those of stale are; empty where metrics do not end.
	gapSource string
	agentFaults

	// Of a piece being stored.
	missing []model.Tag
	wanted  map[string]bool // names in missing
	refused map[string]*refusal
	slots   []agentSlot
	slotOf  []int32  // by row; negative where it was refused
	bySlot  []int32  // places in slots and one, 0 for none, by a hash of their ids or behind it; a power of two, at least twice the rows
	lineOf  []uint32 // by place in the columns

	lines *lineprotocol.Reader
	zip   *gzip.Reader
	raw   rawBody
}

// agentRow is one value on its way.
type agentRow struct {
	tag  *agentTag
	time int64
	bits uint64 // as lineprotocol.Field has them; of a text, where it is in agentRows.text and behind bit 32 how long
	line uint32
	kind lineprotocol.Kind
}

// agentSlot is rows that become one run.
type agentSlot struct {
	tag   *agentTag
	id    model.TagID
	typ   model.Type
	texts bool // states by their texts
	at, n int32
}

// slot is the place of the slot of a tag, made if there is none.
func (a *agentRows) slot(tag *agentTag, id model.TagID, typ model.Type, texts bool) int32 {
	const golden = 0x9E3779B9 // multiplied by it ids are apart in their upper bits, whatever steps they come in
	size := len(a.bySlot)
	for i := int(uint32(id) * golden >> (32 - bits.Len(uint(size-1)))); ; i = (i + 1) & (size - 1) {
		k := a.bySlot[i]
		if k == 0 {
			a.slots = append(a.slots, agentSlot{tag: tag, id: id, typ: typ, texts: texts})
			a.bySlot[i] = int32(len(a.slots))
			return int32(len(a.slots)) - 1
		}
		if s := &a.slots[k-1]; s.id == id && s.typ == typ && s.texts == texts {
			return k - 1
		}
	}
}

// reset forgets the rows gathered.
func (a *agentRows) reset() {
	clear(a.rows) // series that were forgotten are not kept
	a.rows, a.text, a.texts, a.bytes = a.rows[:0], a.text[:0], false, 0
}

// full reports whether what was gathered should be stored.
func (a *agentRows) full() bool { return len(a.rows) >= a.most || len(a.text) >= agentPieceText }

// add gathers one value.
func (a *agentRows) add(tag *agentTag, at int64, kind lineprotocol.Kind, bits uint64, text []byte, line int) {
	if kind == lineprotocol.Text {
		bits = uint64(len(a.text)) | uint64(len(text))<<32
		a.text, a.texts = append(a.text, text...), true
	}
	a.rows = append(a.rows, agentRow{tag: tag, time: at, bits: bits, line: uint32(line), kind: kind})
}

func (a *agentRows) textOf(bits uint64) []byte {
	from, n := bits&math.MaxUint32, bits>>32
	return a.text[from : from+n : from+n]
}

// store submits what was gathered and begins anew. An error means that nothing of it was stored.
func (a *agentRows) store(ctx context.Context) error {
	defer a.reset()
	if len(a.rows) == 0 {
		return nil
	}
	s, j := a.server, a.judge
	_ = j.begin(nil) // no bytes, which have no fault
	if err := a.resolve(ctx); err != nil {
		return unavailable(err)
	}
	a.judgeColumns(a.assign())
	if a.gapSource != "" {
		for _, slot := range a.slots {
			a.tags = append(a.tags, slot.id)
		}
	}
	s.metrics.took(j, a.bytes)
	if len(j.batch.Runs) == 0 {
		return nil
	}
	waiting, cancel := context.WithTimeoutCause(ctx, agentPatience, errBusy)
	defer cancel()
	pending, err := s.db.Submit(waiting, &j.batch)
	if err != nil {
		return unavailable(causeOf(waiting, fmt.Errorf("submit: %w", err)))
	}
	a.sent = append(a.sent, sent{pending: pending, taken: j.taken, origins: j.takeOrigins()})
	return nil
}

// unavailable makes a client try again, whatever the reason is: what it sent is not at fault.
func unavailable(err error) error { return &httpError{http.StatusServiceUnavailable, err} }

// resolve looks up the tags of all rows, and makes those that are not there.
func (a *agentRows) resolve(ctx context.Context) error {
	c := a.server.db.Catalog()
	clear(a.wanted)
	clear(a.refused)
	a.missing = a.missing[:0]
	revision := c.Revision()
	for i := range a.rows {
		r := &a.rows[i]
		if t := r.tag.target.Load(); t != nil && t.revision == revision {
			continue
		}
		if a.wanted[string(r.tag.name)] {
			continue
		}
		name := string(r.tag.name)
		if tag, ok := c.ByName(name); ok {
			r.tag.aim(c.Retyped(tag.ID), tag, revision)
			continue
		}
		typ := agentTypes[r.kind]
		a.wanted[name] = true
		a.missing = append(a.missing, model.Tag{Name: name, Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped()}}})
	}
	if len(a.missing) == 0 {
		return nil
	}
	good := a.missing[:0]
	for _, tag := range a.missing {
		switch err := model.CheckName(tag.Name); {
		case err != nil:
			a.refused[tag.Name] = &refusal{varvev1.RejectCode_REJECT_CODE_BAD_NAME, err}
		case a.server.options.NoCreate:
			a.refused[tag.Name] = &refusal{varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, fmt.Errorf("%w; this server does not let sources create tags", model.ErrTagNotFound)}
		default:
			good = append(good, tag)
		}
	}
	results, err := a.server.createTags(ctx, good)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.Err != nil {
			a.refused[good[i].Name] = &refusal{createCode(r.Err), r.Err}
		}
	}
	// Others may make the same tags at the same time, so that where a tag leads is only ever replaced by something as new.
	revision = c.Revision()
	for i := range a.rows {
		t := a.rows[i].tag
		if now := t.target.Load(); !a.wanted[string(t.name)] || now != nil && now.revision >= revision {
			continue
		}
		if tag, ok := c.ByName(string(t.name)); ok {
			t.aim(c.Retyped(tag.ID), tag, revision)
		}
	}
	return nil
}

// aim says which tag it is. of is the tag that an epoch is of, nil for a tag whose type never changed.
func (t *agentTag) aim(of, tag *model.Tag, revision uint64) {
	target := &agentTarget{revision: revision, id: tag.ID, typ: tag.Current().Type}
	if of != nil {
		target.id, target.epochs = of.ID, of.Epochs()
	}
	t.target.Store(target)
}

// refusal is why a tag was not made.
type refusal struct {
	code varvev1.RejectCode
	error
}

// agentTypes is the types of tags that are made for values.
var agentTypes = [...]model.Type{
	lineprotocol.Float: model.Float64, lineprotocol.Int: model.Int64, lineprotocol.Uint: model.Uint64, lineprotocol.Bool: model.Bool, lineprotocol.Text: model.String,
}

// assign finds the run of each row, makes its value one of the tag's type, and says how many rows are good.
func (a *agentRows) assign() (good int) {
	a.slots, a.slotOf = a.slots[:0], slices.Grow(a.slotOf[:0], len(a.rows))[:len(a.rows)]
	size := 2 << bits.Len(uint(len(a.rows)))
	a.bySlot = slices.Grow(a.bySlot[:0], size)[:size]
	clear(a.bySlot)
	for i := range a.rows {
		r := &a.rows[i]
		a.slotOf[i] = -1
		if len(a.refused) > 0 {
			if why := a.refused[string(r.tag.name)]; why != nil {
				a.refuse(r, fault{why.code, why.Error})
				continue
			}
		}
		target := r.tag.target.Load()
		if target == nil { // renamed the moment it was made
			a.refuse(r, fault{varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, model.ErrTagNotFound.Error})
			continue
		}
		typ := target.typ
		if target.epochs != nil {
			e, _ := epochAt(target.epochs, r.time)
			typ = e.Type
		}
		texts := typ == model.State && r.kind == lineprotocol.Text
		if f := a.convert(r, typ); f.code != 0 {
			a.refuse(r, f)
			continue
		}
		slot := a.slot(r.tag, target.id, typ, texts)
		a.slots[slot].n++
		a.slotOf[i] = slot
		good++
	}
	return good
}

// convert makes the value of a row one of a type, if it is one exactly. A float32 is the nearest one, as at every door that has doubles alone.
func (a *agentRows) convert(r *agentRow, typ model.Type) fault {
	if agentTypes[r.kind] == typ {
		return fault{}
	}
	bits, ok := uint64(0), false
	switch typ {
	case model.Float64:
		f, exact := r.float()
		bits, ok = math.Float64bits(f), exact
	case model.Float32:
		f, exact := r.float()
		narrow := model.NarrowFloat32(f)
		wide := float64(math.Float32frombits(narrow))
		bits, ok = uint64(narrow), exact && (math.IsInf(f, 0) || !math.IsInf(wide, 0)) && (r.kind == lineprotocol.Float || wide == f)
	case model.Int64:
		bits, ok = r.integer()
	case model.State:
		if bits, ok = r.integer(); r.kind == lineprotocol.Text {
			return fault{} // whose code the judge finds
		}
	case model.Uint64:
		bits, ok = r.unsigned()
	case model.Bool:
		bits, ok = r.unsigned()
		ok = ok && bits <= 1
	}
	if !ok {
		value := a.describe(r)
		return fault{varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, func() string {
			return fmt.Sprintf("the tag is %s, and %s is none exactly", typ, value)
		}}
	}
	r.bits = bits
	return fault{}
}

// describe is a value in a message.
func (a *agentRows) describe(r *agentRow) string {
	switch r.kind {
	case lineprotocol.Float:
		return fmt.Sprint("the float ", math.Float64frombits(r.bits))
	case lineprotocol.Int:
		return fmt.Sprint("the integer ", int64(r.bits))
	case lineprotocol.Uint:
		return fmt.Sprint("the unsigned integer ", r.bits)
	case lineprotocol.Bool:
		return fmt.Sprint("the boolean ", r.bits == 1)
	}
	return fmt.Sprintf("the text %.40q", a.textOf(r.bits))
}

// float is a number as a double, if one is it exactly.
func (r *agentRow) float() (float64, bool) {
	switch r.kind {
	case lineprotocol.Float:
		return math.Float64frombits(r.bits), true
	case lineprotocol.Int:
		f := float64(int64(r.bits))
		return f, f < 1<<63 && int64(f) == int64(r.bits)
	case lineprotocol.Uint:
		f := float64(r.bits)
		return f, f < 1<<64 && uint64(f) == r.bits
	}
	return 0, false
}

// integer is a number as two's complement, if an int64 is it exactly.
func (r *agentRow) integer() (uint64, bool) {
	switch r.kind {
	case lineprotocol.Int:
		return r.bits, true
	case lineprotocol.Uint:
		return r.bits, r.bits <= math.MaxInt64
	case lineprotocol.Float:
		f := math.Float64frombits(r.bits)
		if f >= -1<<63 && f < 1<<63 && f == math.Trunc(f) && !(f == 0 && math.Signbit(f)) {
			return uint64(int64(f)), true
		}
	}
	return 0, false
}

// unsigned is a number as a uint64, if one is it exactly.
func (r *agentRow) unsigned() (uint64, bool) {
	if r.kind == lineprotocol.Float {
		f := math.Float64frombits(r.bits)
		if f >= 1<<63 && f < 1<<64 {
			return uint64(f), true // beyond 2^53 every double is an integer
		}
	}
	if r.kind == lineprotocol.Uint {
		return r.bits, true
	}
	bits, ok := r.integer()
	return bits, ok && int64(bits) >= 0
}

// judgeColumns makes runs of the rows that assign found good, n of them, and lets the judge take what it does. Rows of a tag keep their order.
func (a *agentRows) judgeColumns(n int) {
	j := a.judge
	j.batch.Runs, j.origins = slices.Grow(j.batch.Runs, len(a.slots)), slices.Grow(j.origins, len(a.slots))
	times, bits := j.times.take(n), j.bits.take(n)
	a.lineOf = slices.Grow(a.lineOf[:0], n)[:n]
	var blobs [][]byte
	if a.texts {
		blobs = j.blobs.take(n)
	}
	at := int32(0)
	for k := range a.slots {
		s := &a.slots[k]
		s.at = at
		at += s.n
		s.n = 0
	}
	for i := range a.rows {
		if a.slotOf[i] < 0 {
			continue
		}
		r, s := &a.rows[i], &a.slots[a.slotOf[i]]
		p := s.at + s.n
		s.n++
		times[p], a.lineOf[p] = r.time, r.line
		if r.kind == lineprotocol.Text {
			bits[p], blobs[p] = 0, a.textOf(r.bits)
		} else {
			bits[p] = r.bits
		}
	}
	for k := range a.slots {
		s := &a.slots[k]
		end := s.at + s.n
		run := &j.next // one of our own would be on the heap, each time
		*run = storage.Run{Tag: s.id, Mode: model.Update, Samples: model.Samples{Type: s.typ, Times: times[s.at:end:end]}}
		var texts [][]byte
		switch {
		case s.typ.Blob():
			run.Samples.Blobs = blobs[s.at:end:end]
		case s.texts:
			texts = blobs[s.at:end]
			fallthrough
		default:
			run.Samples.Bits = bits[s.at:end:end]
		}
		j.judgeSamples(s.id, &run.Samples, model.Update, texts)
		j.judgeEpochs(j.epochs(s.id), &run.Samples, model.Update)
		j.keep(run, runOrigin{wire: uint32(k), stride: 1}, tagRef{name: s.tag.name})
	}
	for _, r := range j.rejections.list {
		s := &a.slots[r.GetRun()]
		for k := r.GetFirst(); k < r.GetFirst()+r.GetCount(); k++ {
			a.note(int(a.lineOf[s.at+int32(k)]), fmt.Sprintf("tag %.200s: %s", r.GetTag(), r.GetReason()))
		}
	}
	a.dropped += j.rejections.count
}

// refuse notes a row that has no place.
func (a *agentRows) refuse(r *agentRow, f fault) {
	a.dropped++
	a.server.metrics.rejected.WithLabelValues(f.code.String()).Inc()
	if a.listens(int(r.line)) {
		a.note(int(r.line), fmt.Sprintf("tag %.200s: %s", strings.ToValidUTF8(string(r.tag.name), "\uFFFD"), f.reason()))
	}
}

// wait waits until everything submitted is applied, and notes what could not be.
func (a *agentRows) wait(ctx context.Context) (stored uint64, err error) {
	for _, b := range a.sent {
		r, err := b.pending.Applied(ctx)
		if err != nil {
			return stored, unavailable(fmt.Errorf("wait for apply: %w", err))
		}
		a.server.metrics.applied(r)
		stored += uint64(r.Applied + r.Ignored)
		for _, f := range fromFailures(a.server.db.Catalog(), b.origins, r.Failures) {
			a.note(math.MaxInt, fmt.Sprintf("tag %.200s: %s", f.GetTag(), f.GetReason()))
		}
		a.dropped += uint64(r.Rejected)
		giveOrigins(b.origins)
	}
	a.sent = nil
	return stored, nil
}

// maxAgentFaults is how many faults an answer lists.
const maxAgentFaults = 5

// agentFaults is what of a body was not stored, and the first reasons by line.
type agentFaults struct {
	dropped uint64 // values, and lines that could not be read
	list    []agentFault
}

type agentFault struct {
	line   int // math.MaxInt where that is not known any more
	reason string
}

// listens reports whether the fault of a line would be listed.
func (f *agentFaults) listens(line int) bool {
	return len(f.list) < maxAgentFaults || line < f.list[len(f.list)-1].line
}

// note lists a fault.
func (f *agentFaults) note(line int, reason string) {
	if !f.listens(line) {
		return
	}
	at, _ := slices.BinarySearchFunc(f.list, line, func(x agentFault, line int) int { return cmp.Or(cmp.Compare(x.line, line), -1) })
	f.list = slices.Insert(f.list, at, agentFault{line, reason})
	f.list = f.list[:min(len(f.list), maxAgentFaults)]
}

// String is the faults for a person. what is what the numbers of lines count.
func (f *agentFaults) String(what string) string {
	var b strings.Builder
	for i, x := range f.list {
		if i > 0 {
			b.WriteString("; ")
		}
		if x.line != math.MaxInt && what != "" {
			fmt.Fprintf(&b, "%s %d: ", what, x.line)
		}
		b.WriteString(x.reason)
	}
	if more := f.dropped - min(f.dropped, uint64(len(f.list))); more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

// errPartial is the answer to a body of which something was not stored, and never will be.
var errPartial = errors.New("partial write")

// err is the answer to the body as a whole, once everything is stored that could be.
func (f *agentFaults) err(what string) error {
	if f.dropped == 0 {
		return nil
	}
	return &partialWrite{f.String(what), f.dropped}
}

// partialWrite is an errPartial with what it tells.
type partialWrite struct {
	text    string
	dropped uint64
}

func (p *partialWrite) Error() string {
	return fmt.Sprintf("%v: %s dropped=%d", errPartial, p.text, p.dropped)
}
func (p *partialWrite) Unwrap() error { return errPartial }
