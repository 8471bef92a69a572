package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// door is what the server judges before a batch reaches the log: everything that does not depend on stored samples.
type door struct {
	catalog         *catalog.Catalog
	now             func() time.Time
	maxAhead        time.Duration           // from the clock to the last instant taken; negative for no limit
	minTime         int64                   // first instant taken
	kept            func(model.TagID) int64 // first instant taken of a tag; nil: there is none
	refuseNonFinite bool
	maxSamples      int // of one batch
	maxRuns         int // runs and frames of one batch, and runs that frames become
}

// judge turns encoded batches into what storage takes. It is for one goroutine; the batch it makes, and every column of
// it, is its own and holds until the next call.
//
// A faulty sample is taken out and the rest goes on; a run whose columns do not fit together is taken out whole.
type judge struct {
	door
	defaultMode model.WriteMode
	batch       storage.Batch
	next        storage.Run // being decoded
	taken       int         // samples in batch
	rejections
	origins []runOrigin // parallel to batch.Runs

	latest  int64            // last instant taken by this batch
	refused map[string]error // why tags of this batch could not be made

	names    map[string]model.TagID // names looked up at revision
	revision uint64

	wire  wireBatch
	run   wireRun
	frame wireFrame

	times   arena[int64]
	bits    arena[uint64]
	blobs   arena[[]byte]
	quality arena[model.Quality]
	null    arena[bool]
	seq     arena[uint32]
	faults  []fault
}

// fault is what is wrong with one sample, zero for nothing.
type fault struct {
	code   varvev1.RejectCode
	reason func() string
}

// maxNames bounds the names a judge remembers.
const maxNames = 1 << 20

func newJudge(d door, mode model.WriteMode) *judge {
	return &judge{door: d, defaultMode: mode, names: map[string]model.TagID{}}
}

// begin takes apart an encoded batch and forgets the one before.
func (j *judge) begin(encoded []byte) error {
	if err := j.wire.parse(encoded, j.maxRuns); err != nil {
		return err
	}
	j.batch = storage.Batch{Origin: j.wire.origin, Sequence: j.wire.sequence, ContentHash: j.wire.hash, Runs: j.batch.Runs[:0]}
	j.rejections, j.taken, j.refused = rejections{}, 0, nil
	j.origins = j.origins[:0]
	j.times.reset()
	j.bits.reset()
	j.blobs.reset()
	j.quality.reset()
	j.null.reset()
	j.seq.reset()
	j.latest = model.MaxTime
	if ahead := j.now().UnixNano(); j.maxAhead >= 0 && ahead <= model.MaxTime-int64(j.maxAhead) {
		j.latest = ahead + int64(j.maxAhead)
	}
	if revision := j.catalog.Revision(); revision != j.revision || len(j.names) > maxNames {
		clear(j.names)
		j.revision = revision
	}
	return nil
}

// judge judges every run and frame of the batch begun. An error means that the batch is no batch at all.
func (j *judge) judge() error {
	for i, b := range j.wire.runs {
		if err := j.run.parse(b); err != nil {
			return wireError(fmt.Sprintf("run %d", i), err)
		}
		if err := j.takeRun(i, &j.run); err != nil {
			return err
		}
	}
	for i, b := range j.wire.frames {
		at := len(j.wire.runs) + i
		if err := j.frame.parse(b); err != nil {
			return wireError(fmt.Sprintf("frame %d", i), err)
		}
		if err := j.takeFrame(at, &j.frame); err != nil {
			return err
		}
	}
	return nil
}

// claim counts samples about to be decoded, before memory is taken for them.
func (j *judge) claim(n int) error {
	if n > j.maxSamples-j.taken-int(min(j.count, uint64(j.maxSamples))) {
		return fmt.Errorf("batch of more than %d samples: %w", j.maxSamples, errTooMany)
	}
	return nil
}

// tagRef is how a run or frame names a tag.
type tagRef struct {
	id   uint32
	name []byte
}

// label is the tag in a rejection. Names come as any bytes, and an answer with text that is not UTF-8 cannot be sent.
func (t tagRef) label() string {
	if len(t.name) > 0 {
		return fmt.Sprintf("%.200s", strings.ToValidUTF8(string(t.name), "\uFFFD"))
	}
	return strconv.Itoa(int(t.id))
}

// find resolves a tag. The fault says why there is none.
func (j *judge) find(t tagRef) (model.TagID, model.Type, fault) {
	id := model.TagID(t.id)
	switch {
	case t.id != 0 && len(t.name) > 0:
		return 0, 0, malformed("tag is given by id %d and by name", t.id)
	case len(t.name) > 0:
		var f fault
		if id, f = j.findName(t.name); f.code != 0 {
			return 0, 0, f
		}
	case t.id == 0:
		return 0, 0, malformed("no tag is given")
	}
	if tag := j.catalog.Retyped(id); tag != nil {
		id = tag.ID // as people know it
	}
	typ, ok := j.catalog.Type(id)
	if !ok {
		return 0, 0, fault{varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, func() string {
			return fmt.Sprintf("no tag has the id %d; ids come from a Resolve on this server", id)
		}}
	}
	return id, typ, fault{}
}

func (j *judge) findName(name []byte) (model.TagID, fault) {
	if id, ok := j.names[string(name)]; ok {
		return id, fault{}
	}
	if tag, ok := j.catalog.ByName(string(name)); ok {
		j.names[string(name)] = tag.ID
		return tag.ID, fault{}
	}
	if err := model.CheckName(string(name)); err != nil {
		return 0, fault{varvev1.RejectCode_REJECT_CODE_BAD_NAME, err.Error}
	}
	if err := j.refused[string(name)]; err != nil {
		return 0, fault{createCode(err), err.Error}
	}
	return 0, fault{varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, func() string {
		return "no tag has this name; create it, or let the source create tags"
	}}
}

// mode is the write mode a number on the wire means here.
func (j *judge) mode(wire int32) (model.WriteMode, fault) {
	if wire == 0 {
		return j.defaultMode, fault{}
	}
	if m := model.WriteMode(wire); wire > 0 && wire < 256 && m.Valid() {
		return m, fault{}
	}
	return 0, malformed("write mode %d is unknown", wire)
}

func malformed(format string, args ...any) fault {
	return fault{varvev1.RejectCode_REJECT_CODE_MALFORMED, func() string { return fmt.Sprintf(format, args...) }}
}
