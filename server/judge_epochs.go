package server

import (
	"fmt"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// epochs is the epochs of a tag, nil where its type never changed.
func (j *judge) epochs(id model.TagID) []model.Epoch {
	if tag := j.catalog.Retyped(id); tag != nil {
		return tag.Epochs()
	}
	return nil
}

// epochAt is the epoch an instant lies in, and where it ends; the end of time for the last.
func epochAt(epochs []model.Epoch, t int64) (e model.Epoch, end int64) {
	i := len(epochs) - 1
	for i > 0 && epochs[i].From > t {
		i--
	}
	if i+1 < len(epochs) {
		return epochs[i], epochs[i+1].From
	}
	return epochs[i], model.All.End
}

// judgeEpochs refuses samples of another type than the tag has at their times. A removal has no type.
func (j *judge) judgeEpochs(epochs []model.Epoch, s *model.Samples, mode model.WriteMode) {
	if epochs == nil || mode == model.Remove {
		return
	}
	for i, t := range s.Times {
		e, end := epochAt(epochs, t)
		if e.Type == s.Type {
			continue
		}
		j.blame(s, i, fault{varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH, func() string {
			switch {
			case e.From == model.MinTime:
				return fmt.Sprintf("values are %s, the tag is %s before %s", s.Type, e.Type, model.FormatTime(end))
			case end == model.All.End:
				return fmt.Sprintf("values are %s, the tag is %s from %s on", s.Type, e.Type, model.FormatTime(e.From))
			}
			return fmt.Sprintf("values are %s, the tag is %s from %s to %s", s.Type, e.Type, model.FormatTime(e.From), model.FormatTime(end))
		}})
	}
}

// sortByEpoch appends a run of a tag whose type changed to the batch, as a run of each epoch that it has samples of. The samples of an
// epoch keep their order.
func (j *judge) sortByEpoch(tag *model.Tag, run *storage.Run, origin runOrigin) {
	epochs := tag.Epochs()
	for k := range epochs {
		part, kept := storage.Run{Tag: epochs[k].ID, Mode: run.Mode, All: run.All}, []uint32(nil)
		part.Samples.Type = epochs[k].Type
		for i, t := range run.Samples.Times {
			if e, _ := epochAt(epochs, t); e.ID != part.Tag {
				continue
			}
			pick(&part.Samples, &run.Samples, i)
			at := uint32(i)
			if origin.kept != nil {
				at = origin.kept[i]
			}
			kept = append(kept, at)
		}
		if len(kept) == 0 {
			continue
		}
		o := origin
		o.kept = kept
		j.batch.Runs = append(j.batch.Runs, part)
		j.origins = append(j.origins, o)
	}
}

// pick appends sample i of src to dst, of the columns that src has.
func pick(dst, src *model.Samples, i int) {
	dst.Times = append(dst.Times, src.Times[i])
	if src.Bits != nil {
		dst.Bits = append(dst.Bits, src.Bits[i])
	}
	if src.Blobs != nil {
		dst.Blobs = append(dst.Blobs, src.Blobs[i])
	}
	if src.Quality != nil {
		dst.Quality = append(dst.Quality, src.Quality[i])
	}
	if src.Null != nil {
		dst.Null = append(dst.Null, src.Null[i])
	}
	if src.Seq != nil {
		dst.Seq = append(dst.Seq, src.Seq[i])
	}
}
