package server

import (
	"errors"
	"strconv"
	"sync"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// maxRejections is how many rejections an answer lists; it stands in samples.proto.
const maxRejections = 1000

// rejections is what the door did not take of one batch. The counts are whole, the list is cut.
type rejections struct {
	list  []*varvev1.Rejection
	count uint64
}

// add notes consecutive samples of a run or frame. reason is asked for only where the rejection is listed.
func (r *rejections) add(run, first, count int, code varvev1.RejectCode, tag string, reason func() string) {
	r.count += uint64(count)
	if len(r.list) >= maxRejections {
		return
	}
	r.list = append(r.list, &varvev1.Rejection{
		Run: uint32(run), First: uint32(first), Count: uint32(count), Code: code, Tag: tag, Reason: reason(),
	})
}

// outcomeCodes is how the wire calls what apply did not do.
var outcomeCodes = map[model.Outcome]varvev1.RejectCode{
	model.Exists:    varvev1.RejectCode_REJECT_CODE_EXISTS,
	model.Absent:    varvev1.RejectCode_REJECT_CODE_ABSENT,
	model.Ambiguous: varvev1.RejectCode_REJECT_CODE_AMBIGUOUS,
	model.Closed:    varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW,
}

var outcomeReasons = map[model.Outcome]string{
	model.Exists:    "a sample stands at this time already; use another write mode to change it",
	model.Absent:    "no sample stands at this time, or none with the seq that was given",
	model.Ambiguous: "several samples stand at this time; say which by seq, or all of them to remove",
	model.Closed:    "samples of this time were erased and only their rollups are kept; nothing can be written there",
}

// runOrigin says where in a batch as sent a run that storage got came from.
type runOrigin struct {
	tag    model.TagID
	named  bool     // the batch gave the tag by name
	wire   uint32   // position in Batch.runs, then Batch.frames
	base   uint32   // position of sample 0
	stride uint32   // from one sample to the next: 1 in a run, the number of tags in a frame
	kept   []uint32 // which samples were kept; nil for all
}

// originLists is lists of origins for use again. A batch in flight keeps its own until it is applied; made anew for each
// batch they were the largest thing ingest allocated.
var originLists = sync.Pool{New: func() any { return new([]runOrigin) }}

// takeOrigins is the origins of the batch at hand, which now belong to the caller, to be given back by giveOrigins.
func (j *judge) takeOrigins() []runOrigin {
	taken := j.origins
	j.origins = (*originLists.Get().(*[]runOrigin))[:0]
	return taken
}

func giveOrigins(list []runOrigin) {
	clear(list) // what it points to is not kept
	originLists.Put(&list)
}

// position is where sample i stood in its run or frame.
func (o *runOrigin) position(i int) int {
	if o.kept != nil {
		i = int(o.kept[i])
	}
	return int(o.base) + i*int(o.stride)
}

// label is the tag in a rejection.
func (o *runOrigin) label(c *catalog.Catalog) string {
	if tag, ok := c.Tag(o.tag); ok && o.named {
		return tag.Name
	}
	return strconv.Itoa(int(o.tag))
}

// fromFailures says in the words of the wire what apply did not do. origins is parallel to the runs storage got.
func fromFailures(c *catalog.Catalog, origins []runOrigin, failures []storage.Failure) []*varvev1.Rejection {
	var out rejections
	for _, f := range failures {
		if f.Run >= len(origins) {
			continue
		}
		o := &origins[f.Run]
		add := func(first, count int) {
			out.add(int(o.wire), first, count, outcomeCodes[f.Outcome], o.label(c), func() string { return outcomeReasons[f.Outcome] })
		}
		if o.kept == nil && o.stride == 1 {
			add(int(o.base)+f.First, f.Count)
			continue
		}
		for i := f.First; i < f.First+f.Count; i++ {
			add(o.position(i), 1)
		}
	}
	return out.list
}

// createCodes is how the wire calls the reasons for not making a tag, walked with errors.Is.
var createCodes = []struct {
	err  error
	code varvev1.RejectCode
}{
	{catalog.ErrTagQuota, varvev1.RejectCode_REJECT_CODE_TAG_QUOTA},
	{storage.ErrTagQuota, varvev1.RejectCode_REJECT_CODE_TAG_QUOTA},
	{catalog.ErrTypeMismatch, varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH},
	{catalog.ErrBadName, varvev1.RejectCode_REJECT_CODE_BAD_NAME},
	{catalog.ErrNameTaken, varvev1.RejectCode_REJECT_CODE_BAD_NAME},
	{model.ErrTagNotFound, varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG},
}

func createCode(err error) varvev1.RejectCode {
	for _, c := range createCodes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return varvev1.RejectCode_REJECT_CODE_MALFORMED
}
