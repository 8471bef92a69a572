package server

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// everyType is the types of the tags of a test catalogue, tag 1 being float64; tag 9 is a second float64.
var everyType = []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes, model.Float64}

// judged is the outcome of one batch at the door.
func judged(t require.TestingT, j *judge, b *varvev1.Batch) *judge {
	encoded, err := proto.Marshal(b)
	require.NoError(t, err)
	require.NoError(t, j.begin(encoded))
	require.NoError(t, j.judge())
	requireBatch(t, j)
	return j
}

func TestDoorRejects(t *testing.T) {
	now := testNow.UnixNano()
	long := strings.Repeat("x", model.MaxNameBytes+1)
	one := func(r *varvev1.Run) *varvev1.Batch { return &varvev1.Batch{Runs: []*varvev1.Run{r}} }
	ok := func() *varvev1.Run {
		return &varvev1.Run{TagId: 1, TimesNs: []int64{now - 1, now}, Float64: []float64{1, 2}}
	}
	with := func(change func(*varvev1.Run)) *varvev1.Batch {
		r := ok()
		change(r)
		return one(r)
	}
	const (
		unknown   = varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG
		mismatch  = varvev1.RejectCode_REJECT_CODE_TYPE_MISMATCH
		window    = varvev1.RejectCode_REJECT_CODE_TIME_OUT_OF_WINDOW
		badName   = varvev1.RejectCode_REJECT_CODE_BAD_NAME
		malformed = varvev1.RejectCode_REJECT_CODE_MALFORMED
		refused   = varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED
		state     = varvev1.RejectCode_REJECT_CODE_UNKNOWN_STATE
	)
	for _, c := range []struct {
		name   string
		batch  *varvev1.Batch
		code   varvev1.RejectCode
		first  uint32
		count  uint32
		reason string
	}{
		{"unknown id", with(func(r *varvev1.Run) { r.TagId = 1000 }), unknown, 0, 2, "id 1000"},
		{"unknown name", with(func(r *varvev1.Run) { r.TagId, r.Tag = 0, "nobody" }), unknown, 0, 2, "create"},
		{"no tag", with(func(r *varvev1.Run) { r.TagId = 0 }), malformed, 0, 2, "no tag"},
		{"tag twice", with(func(r *varvev1.Run) { r.Tag = "float64-1" }), malformed, 0, 2, "by name"},
		{"long name", with(func(r *varvev1.Run) { r.TagId, r.Tag = 0, long }), badName, 0, 2, "most is 1024"},
		{"control character", with(func(r *varvev1.Run) { r.TagId, r.Tag = 0, "a\x07b" }), badName, 0, 2, "control"},
		{"wrong type", with(func(r *varvev1.Run) { r.Float64, r.Int64 = nil, []int64{1, 2} }), mismatch, 0, 2, "values are int64, the tag is float64"},
		{"two columns", with(func(r *varvev1.Run) { r.Int64 = []int64{1, 2} }), malformed, 0, 2, "more than one column"},
		{"value missing", with(func(r *varvev1.Run) { r.Float64 = []float64{1} }), malformed, 0, 2, "2 samples and 1 values"},
		{"no values", with(func(r *varvev1.Run) { r.Float64 = nil }), malformed, 0, 2, "2 samples and 0 values"},
		{"two ways of times", with(func(r *varvev1.Run) { r.Count = 2 }), malformed, 0, 2, "more than one way"},
		{"huge grid", with(func(r *varvev1.Run) { r.TimesNs, r.Count = nil, 1<<31 }), malformed, 0, 2, "most is 1000000"},
		{"grid over the edge", with(func(r *varvev1.Run) { r.TimesNs, r.Count, r.FirstTimeNs, r.StepNs = nil, 2, now, math.MaxInt64 }), malformed, 0, 2, "no time can be"},
		{"delta over the edge", with(func(r *varvev1.Run) { r.TimesNs, r.FirstTimeNs, r.TimeDeltas = nil, now, []int64{math.MaxInt64} }), malformed, 0, 2, "9223372036854775807 units of 1 ns, leads past all times"},
		{"delta times unit over the edge", with(func(r *varvev1.Run) { r.TimesNs, r.TimeUnitNs, r.TimeDeltas = nil, 1e9, []int64{1 << 60} }), malformed, 0, 2, "past all times"},
		{"unit too large", with(func(r *varvev1.Run) { r.TimesNs, r.TimeUnitNs, r.TimeDeltas = nil, 1<<63, []int64{1} }), malformed, 0, 2, "time unit"},
		{"mode", with(func(r *varvev1.Run) { r.Mode = 99 }), malformed, 0, 2, "write mode 99"},
		{"negative mode", with(func(r *varvev1.Run) { r.Mode = -255 }), malformed, 0, 2, "write mode"},
		{"quality short", with(func(r *varvev1.Run) { r.QualityCount, r.QualityCode = []uint32{1}, []uint32{0} }), malformed, 0, 2, "add up to 1 of 2"},
		{"quality long", with(func(r *varvev1.Run) { r.QualityCount, r.QualityCode = []uint32{math.MaxUint32}, []uint32{0} }), malformed, 0, 2, "more than 2"},
		{"quality codes missing", with(func(r *varvev1.Run) { r.QualityCount = []uint32{2} }), malformed, 0, 2, "0 quality codes"},
		{"null position twice", with(func(r *varvev1.Run) { r.NullAt = []uint32{1, 1} }), malformed, 0, 2, "null position 1"},
		{"null position outside", with(func(r *varvev1.Run) { r.NullAt = []uint32{2} }), malformed, 0, 2, "below 2, the number of samples"},
		{"seq count", with(func(r *varvev1.Run) { r.Seq = []uint32{1} }), malformed, 0, 2, "1 seqs"},
		{"seq of append", with(func(r *varvev1.Run) { r.Seq, r.Mode = []uint32{0, 1}, varvev1.WriteMode_WRITE_MODE_APPEND }), malformed, 0, 2, "append"},
		{"all without remove", with(func(r *varvev1.Run) { r.All = true }), malformed, 0, 2, "does not remove"},
		{"remove with values", with(func(r *varvev1.Run) { r.Mode = varvev1.WriteMode_WRITE_MODE_REMOVE }), malformed, 0, 2, "has values"},
		{"too far ahead", with(func(r *varvev1.Run) { r.TimesNs[1] = now + int64(16*time.Minute) }), window, 1, 1, "the window"},
		{"before all time", with(func(r *varvev1.Run) { r.TimesNs[0] = math.MinInt64 }), window, 0, 1, "the window"},
		{"unknown state", one(&varvev1.Run{TagId: 6, TimesNs: []int64{now, now - 1}, State: []int64{1, 2}}), state, 1, 1, "code 2"},
		{"blob too long", one(&varvev1.Run{TagId: 8, TimesNs: []int64{now, now - 1}, Blob: [][]byte{make([]byte, model.MaxBlobBytes+1), nil}}), refused, 0, 1, "most is 1048576"},
		{"frame without times", &varvev1.Batch{Frames: []*varvev1.Frame{{TagIds: []uint32{1}, Float64: []float64{1}}}}, malformed, 0, 1, "without times"},
		{"frame not a product", &varvev1.Batch{Frames: []*varvev1.Frame{{TimesNs: []int64{now}, TagIds: []uint32{1, 9}, Float64: []float64{1}}}}, malformed, 0, 1, "1 times, 2 tags and 1 values"},
		{"frame names a tag twice", &varvev1.Batch{Frames: []*varvev1.Frame{{TimesNs: []int64{now}, TagIds: []uint32{1, 1}, Float64: []float64{1, 2}}}}, malformed, 0, 2, "twice"},
		{"frame removes", &varvev1.Batch{Frames: []*varvev1.Frame{{TimesNs: []int64{now}, TagIds: []uint32{1}, Float64: []float64{1}, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE}}}, malformed, 0, 1, "use runs"},
		{"frame removes without values", &varvev1.Batch{Frames: []*varvev1.Frame{{TimesNs: []int64{now}, TagIds: []uint32{1}, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE}}}, malformed, 0, 0, "use runs"},
		{"frame of another type", &varvev1.Batch{Frames: []*varvev1.Frame{{TimesNs: []int64{now}, TagIds: []uint32{1, 3}, Float64: []float64{1, 2}}}}, mismatch, 1, 1, "the tag is int64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudge(testDoor(testCatalog(t, everyType...)), model.Update)
			good := ok()
			good.TimesNs[0] -= 5
			c.batch.Runs = append(c.batch.Runs, good)
			judged(t, j, c.batch)
			require.Len(t, j.rejections.list, 1)
			r := j.rejections.list[0]
			require.Equal(t, c.code, r.Code, r.Reason)
			require.Equal(t, c.first, r.First)
			require.Equal(t, c.count, r.Count)
			require.Equal(t, uint64(c.count), j.rejections.count)
			require.Contains(t, r.Reason, c.reason)
			require.True(t, slices.ContainsFunc(j.batch.Runs, func(r storage.Run) bool {
				return r.Tag == 1 && slices.Equal(r.Samples.Times, []int64{now - 6, now})
			}), "the good run is not affected")
		})
	}
}

func TestTextThatIsNotUTF8IsRefusedByItself(t *testing.T) {
	j := newJudge(testDoor(testCatalog(t, everyType...)), model.Update)
	encoded, err := proto.Marshal(&varvev1.Batch{Runs: []*varvev1.Run{{TagId: 7, TimesNs: []int64{1, 2}, Text: []string{"good", "b@d"}}}})
	require.NoError(t, err)
	encoded[strings.IndexByte(string(encoded), '@')] = 0xFF
	require.NoError(t, j.begin(encoded))
	require.NoError(t, j.judge())
	require.Equal(t, 1, j.taken)
	require.Equal(t, varvev1.RejectCode_REJECT_CODE_VALUE_REFUSED, j.rejections.list[0].Code)
}

func TestNonFiniteIsAcceptedUnlessRefused(t *testing.T) {
	batch := &varvev1.Batch{Runs: []*varvev1.Run{
		{TagId: 1, TimesNs: []int64{1, 2, 3, 4}, Float64: []float64{math.NaN(), 1, math.Inf(1), math.NaN()}, NullAt: []uint32{3}},
		{TagId: 2, TimesNs: []int64{1, 2}, Float32: []float32{float32(math.Inf(-1)), 2}},
	}}
	d := testDoor(testCatalog(t, everyType...))
	require.Equal(t, 6, judged(t, newJudge(d, model.Update), batch).taken)
	d.refuseNonFinite = true
	j := judged(t, newJudge(d, model.Update), batch)
	require.Equal(t, 3, j.taken)
	require.Equal(t, uint64(3), j.rejections.count)
}

func TestRejectionsAreCutAndCountsAreWhole(t *testing.T) {
	batch := &varvev1.Batch{}
	for range maxRejections + 5 {
		batch.Runs = append(batch.Runs, &varvev1.Run{Tag: "nobody", TimesNs: []int64{1, 2}, Float64: []float64{1, 2}})
	}
	j := judged(t, newJudge(testDoor(testCatalog(t, everyType...)), model.Update), batch)
	require.Len(t, j.rejections.list, maxRejections)
	require.Equal(t, uint64(2*(maxRejections+5)), j.rejections.count)
}

// TestFramesAndRunsSayTheSame: a frame must give storage the samples that runs of the same values give, and rejections
// and later failures must point at the right value of it.
func TestFramesAndRunsSayTheSame(t *testing.T) {
	c := testCatalog(t, everyType...)
	now := testNow.UnixNano()
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.SampledFrom([]uint32{1, 9, 3, 1000}), 1, 4, rapid.ID).Draw(t, "tags")
		times := rapid.SliceOfN(rapid.SampledFrom([]int64{now - 5, now - 4, now, now + int64(time.Hour)}), 1, 5).Draw(t, "times")
		n := len(ids) * len(times)
		f := &varvev1.Frame{TimesNs: times, TagIds: ids}
		want := map[uint32][]model.Sample{}
		rejected := 0
		var codes []uint32
		for i := range n {
			value, null, code := float64(i), rapid.Bool().Draw(t, "null"), rapid.SampledFrom([]uint32{0, 0x80000000}).Draw(t, "code")
			f.Float64 = append(f.Float64, value)
			codes = append(codes, code)
			s := model.Sample{Time: times[i/len(ids)], Type: model.Float64, Quality: model.Quality(code), Null: null}
			if null {
				f.NullAt = append(f.NullAt, uint32(i))
			} else {
				s.Bits = math.Float64bits(value)
			}
			id := ids[i%len(ids)]
			switch {
			case null && code == 0: // no sample
			case id == 3 || id == 1000 || s.Time > now:
				rejected++
			default:
				want[id] = append(want[id], s)
			}
		}
		for _, code := range codes {
			f.QualityCount, f.QualityCode = append(f.QualityCount, 1), append(f.QualityCode, code)
		}
		j := judged(t, newJudge(testDoor(c), model.Update), &varvev1.Batch{Frames: []*varvev1.Frame{f}})
		require.Equal(t, uint64(rejected), j.rejections.count)
		got := map[uint32][]model.Sample{}
		for r := range j.batch.Runs {
			run := &j.batch.Runs[r]
			for k := range run.Samples.Len() {
				s := run.Samples.At(k)
				got[uint32(run.Tag)] = append(got[uint32(run.Tag)], s)
				at := j.origins[r].position(k)
				require.Equal(t, uint32(run.Tag), ids[at%len(ids)])
				require.Equal(t, s.Time, times[at/len(ids)])
				if !s.Null {
					require.Equal(t, float64(at), math.Float64frombits(s.Bits))
				}
			}
		}
		require.Equal(t, want, got)
		for _, r := range j.rejections.list {
			id := ids[int(r.First)%len(ids)]
			require.True(t, id == 3 || id == 1000 || times[int(r.First)/len(ids)] > now)
		}
	})
}

// TestRunsKeepEverySample holds all three ways of times, qualities and nulls to a plain reading of the message.
func TestRunsKeepEverySample(t *testing.T) {
	c := testCatalog(t, everyType...)
	now := testNow.UnixNano()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "samples")
		r := &varvev1.Run{TagId: 3}
		var want model.Samples
		want.Reset(model.Int64)
		first := now - int64(time.Hour)
		way := rapid.IntRange(1, 3).Draw(t, "way")
		unit := rapid.SampledFrom([]int64{0, 1, 1000, 1e6}).Draw(t, "unit")
		step := rapid.Int64Range(-1000, 1000).Draw(t, "step")
		at := first
		for i := range n {
			switch {
			case way == 1:
				at = rapid.Int64Range(-now, now).Draw(t, "time")
				r.TimesNs = append(r.TimesNs, at)
			case way == 2 && i > 0:
				d := rapid.Int64Range(-100, 100).Draw(t, "delta")
				r.TimeDeltas = append(r.TimeDeltas, d)
				at += d * max(unit, 1)
			case way == 3:
				at = first + int64(i)*step
			}
			x := model.Sample{Time: at, Type: model.Int64, Quality: model.Quality(rapid.SampledFrom([]uint32{0, 0, 0x40000000, 0x800A1234}).Draw(t, "quality"))}
			value := rapid.Int64().Draw(t, "value")
			r.Int64 = append(r.Int64, value)
			if x.Null = rapid.Bool().Draw(t, "null"); x.Null {
				r.NullAt = append(r.NullAt, uint32(i))
			} else {
				x.Bits = uint64(value)
			}
			if k := len(r.QualityCode); k > 0 && r.QualityCode[k-1] == uint32(x.Quality) {
				r.QualityCount[k-1]++
			} else {
				r.QualityCount, r.QualityCode = append(r.QualityCount, 1), append(r.QualityCode, uint32(x.Quality))
			}
			want.Append(x)
		}
		switch way {
		case 2:
			r.FirstTimeNs, r.TimeUnitNs = first, uint64(unit)
		case 3:
			r.FirstTimeNs, r.StepNs, r.Count = first, step, uint32(n)
		}
		j := judged(t, newJudge(testDoor(c), model.Update), &varvev1.Batch{Runs: []*varvev1.Run{r}})
		require.Empty(t, j.rejections.list)
		got := &j.batch.Runs[0].Samples
		require.Equal(t, want.Len(), got.Len())
		for i := range n {
			require.Equal(t, want.At(i), got.At(i))
		}
	})
}

// TestAJudgeForgetsTheBatchBefore: columns are reused, so anything left over would end up in the next batch.
func TestAJudgeForgetsTheBatchBefore(t *testing.T) {
	j := newJudge(testDoor(testCatalog(t, everyType...)), model.Update)
	first := &varvev1.Batch{Runs: []*varvev1.Run{{TagId: 1, TimesNs: []int64{1, 2}, Float64: []float64{1, 2}, NullAt: []uint32{0, 1}, QualityCount: []uint32{2}, QualityCode: []uint32{0x80000000}, Seq: []uint32{4, 5}}, {TagId: 77, TimesNs: []int64{1}, Float64: []float64{1}}}}
	second := &varvev1.Batch{Runs: []*varvev1.Run{{TagId: 1, TimesNs: []int64{3, 4}, Float64: []float64{3, 4}, NullAt: []uint32{1}}}}
	judged(t, j, first)
	judged(t, j, second)
	require.Len(t, j.batch.Runs, 1)
	require.Empty(t, j.rejections.list)
	s := j.batch.Runs[0].Samples
	require.Equal(t, []bool{false, true}, s.Null)
	require.Nil(t, s.Quality)
	require.Nil(t, s.Seq)
}
