package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/metadata"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/export"
	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// exported is one sample, every bit of it.
type exported struct {
	Time    int64
	Seq     uint32
	Quality model.Quality
	Value   answer.Value
}

// exportedTag is what the metadata of a file says about a tag.
type exportedTag struct {
	Tag      string `json:"tag"`
	TagID    int64  `json:"tag_id"`
	Settings []struct {
		FromNs  int64  `json:"from_ns"`
		Type    string `json:"type"`
		Unit    string `json:"unit"`
		Stepped bool   `json:"stepped"`
	} `json:"settings"`
}

func (t *exportedTag) typeAt(at int64) string {
	typ := t.Settings[0].Type
	for _, s := range t.Settings[1:] {
		if s.FromNs <= at {
			typ = s.Type
		}
	}
	return typ
}

// exportFolder reads folders of exports for a test.
type exportFolder struct {
	t   testing.TB
	dir string
	got map[string][]exported // by tag
}

// readExport reads every file of a folder that is named as one, whatever the manifest says, and holds what each file promises: its group and
// day, the order of its rows, where Bad values stand, what its row groups say of tags and times.
func readExport(t testing.TB, dir string) map[string][]exported {
	f := &exportFolder{t: t, dir: dir, got: map[string][]exported{}}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasPrefix(e.Name(), "part-") {
			f.file(path)
		}
		return err
	}))
	return f.got
}

func (f *exportFolder) file(path string) {
	b, err := os.ReadFile(path)
	require.NoError(f.t, err)
	day := strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "day=")
	at, err := time.Parse(time.DateOnly, day)
	require.NoError(f.t, err)
	var last exportedRow
	rows := func(rec arrow.Record, tags string) {
		last = f.rows(rec, tags, last, at.UnixNano())
	}
	if strings.HasSuffix(path, ".arrow") {
		r, err := ipc.NewFileReader(bytes.NewReader(b))
		require.NoError(f.t, err, path)
		defer r.Close()
		for i := range r.NumRecords() {
			rec, err := r.Record(i)
			require.NoError(f.t, err)
			meta := r.Schema().Metadata()
			tags, ok := meta.GetValue("varve.tags")
			require.True(f.t, ok)
			rows(rec, tags)
		}
		return
	}
	p, err := file.NewParquetReader(bytes.NewReader(b))
	require.NoError(f.t, err, path)
	defer p.Close()
	r, err := pqarrow.NewFileReader(p, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(f.t, err)
	for g := range p.NumRowGroups() {
		table, err := r.RowGroup(g).ReadTable(context.Background(), columnsOf(p))
		require.NoError(f.t, err)
		tr := array.NewTableReader(table, table.NumRows())
		require.True(f.t, tr.Next())
		tags := p.MetaData().KeyValueMetadata().FindValue("varve.tags")
		require.NotNil(f.t, tags)
		rows(tr.Record(), *tags)
		f.pruning(p.MetaData().RowGroup(g), tr.Record())
		tr.Release()
		table.Release()
	}
}

func columnsOf(p *file.Reader) (all []int) {
	for i := range p.MetaData().Schema.NumColumns() {
		all = append(all, i)
	}
	return all
}

// pruning holds the least and greatest tag and time of a row group against its rows.
func (f *exportFolder) pruning(g *metadata.RowGroupMetaData, rec arrow.Record) {
	for i, name := range []string{"time", "tag"} {
		c, err := g.ColumnChunk(i)
		require.NoError(f.t, err)
		set, err := c.StatsSet()
		require.NoError(f.t, err)
		require.True(f.t, set, name)
		stats, err := c.Statistics()
		require.NoError(f.t, err)
		switch s := stats.(type) {
		case *metadata.Int64Statistics:
			times := rec.Column(0).(*array.Timestamp).TimestampValues()
			require.Equal(f.t, []int64{int64(slices.Min(times)), int64(slices.Max(times))}, []int64{s.Min(), s.Max()})
		case *metadata.ByteArrayStatistics:
			tags := rec.Column(1).(*array.String)
			require.Equal(f.t, []string{tags.Value(0), tags.Value(tags.Len() - 1)}, []string{string(s.Min()), string(s.Max())})
		}
	}
	for i, name := range []string{"value", "bad_value"} {
		c, err := g.ColumnChunk([]int{2, 12}[i])
		require.NoError(f.t, err)
		set, err := c.StatsSet()
		require.NoError(f.t, err)
		require.False(f.t, set, "%s: NaN is left out of least and greatest", name)
		require.Contains(f.t, c.Encodings(), parquet.Encodings.Plain)
	}
}

type exportedRow struct {
	tag string
	exported
}

// rows reads one record batch into f.got; text is what the file says of its tags, last the row before it in its file.
func (f *exportFolder) rows(rec arrow.Record, text string, last exportedRow, day int64) exportedRow {
	t := f.t
	var tags []exportedTag
	require.NoError(t, json.Unmarshal([]byte(text), &tags))
	col := func(name string) arrow.Array {
		at := rec.Schema().FieldIndices(name)
		require.Len(t, at, 1, name)
		return rec.Column(at[0])
	}
	ints := func(name string) *array.Int64 { return col(name).(*array.Int64) }
	for i := range int(rec.NumRows()) {
		row := exportedRow{exported: exported{Time: ints("time_ns").Value(i), Seq: uint32(ints("seq").Value(i)), Quality: model.Quality(ints("quality").Value(i))}}
		row.tag = col("tag").ValueStr(i)
		if d, ok := col("tag").(*array.Dictionary); ok {
			row.tag = d.Dictionary().(*array.String).Value(d.GetValueIndex(i))
		}
		at := slices.IndexFunc(tags, func(x exportedTag) bool { return x.Tag == row.tag })
		require.GreaterOrEqual(t, at, 0, row.tag)
		require.Equal(t, tags[at].TagID, ints("tag_id").Value(i))
		require.Equal(t, row.Quality.String(), col("status").ValueStr(i))
		require.Equal(t, row.Quality.Severity(), col("severity").ValueStr(i))
		stamp := int64(col("time").(*array.Timestamp).Value(i))
		if rec.Schema().Field(0).Type.(*arrow.TimestampType).Unit == arrow.Microsecond {
			require.Equal(t, int64(math.Floor(float64(row.Time%1e9)/1000)), stamp-row.Time/1e9*1e6)
		} else {
			require.Equal(t, row.Time, stamp)
		}
		require.True(t, day <= row.Time && row.Time < day+86400e9, "%d is not of the day", row.Time)
		if last.tag != "" {
			after := strings.Compare(row.tag, last.tag)
			require.True(t, after > 0 || after == 0 && (row.Time > last.Time || row.Time == last.Time && row.Seq > last.Seq), "%v behind %v", row, last)
		}
		value, other := "", "bad_"
		if row.Quality.IsBad() {
			value, other = other, value
		}
		for _, name := range []string{"value", "value_int", "value_text", "value_bytes"} {
			require.True(t, col(other+name).IsNull(i), "%s%s of %v", other, name, row)
		}
		row.Value = valueIn(t, tags[at].typeAt(row.Time), i, col(value+"value").(*array.Float64), ints(value+"value_int"), col(value+"value_text").(*array.String), col(value+"value_bytes").(*array.Binary))
		f.got[row.tag] = append(f.got[row.tag], row.exported)
		last = row
	}
	return last
}

// valueIn puts a value together again from the columns of its type, as the page says it can be.
func valueIn(t testing.TB, typ string, i int, doubles *array.Float64, ints *array.Int64, texts *array.String, blobs *array.Binary) answer.Value {
	null := func(cols ...arrow.Array) bool {
		n := 0
		for _, c := range cols {
			if c.IsNull(i) {
				n++
			}
		}
		return n == len(cols)
	}
	if null(doubles, ints, texts, blobs) {
		return answer.Value{Null: true}
	}
	switch typ {
	case "float64":
		require.True(t, null(ints, texts, blobs))
		return answer.Value{Type: model.Float64, Bits: math.Float64bits(doubles.Value(i))}
	case "float32":
		require.True(t, null(ints, texts, blobs))
		return answer.Value{Type: model.Float32, Bits: uint64(model.NarrowFloat32(doubles.Value(i)))}
	case "int64":
		require.True(t, null(texts, blobs))
		require.Equal(t, float64(ints.Value(i)), doubles.Value(i))
		return answer.Value{Type: model.Int64, Bits: uint64(ints.Value(i))}
	case "uint64":
		u := uint64(ints.Value(i))
		if ints.IsNull(i) {
			var err error
			u, err = strconv.ParseUint(texts.Value(i), 10, 64)
			require.NoError(t, err)
			require.Greater(t, u, uint64(math.MaxInt64))
		} else {
			require.True(t, null(texts))
		}
		require.Equal(t, float64(u), doubles.Value(i))
		return answer.Value{Type: model.Uint64, Bits: u}
	case "bool":
		require.True(t, null(doubles, texts, blobs))
		return answer.Value{Type: model.Bool, Bits: uint64(ints.Value(i))}
	case "state":
		require.True(t, null(doubles, blobs))
		return answer.Value{Type: model.State, Bits: uint64(ints.Value(i)), Text: texts.Value(i)}
	case "string":
		require.True(t, null(doubles, ints, blobs))
		return answer.Value{Type: model.String, Text: texts.Value(i)}
	}
	require.Equal(t, "bytes", typ)
	require.True(t, null(doubles, ints, texts))
	return answer.Value{Type: model.Bytes, Text: string(blobs.Value(i))}
}

// stored is what the server has of the tags of a pattern, each asked for by itself, so that every value comes in a column of its type.
func (c *client) stored(t testing.TB, in model.TimeRange, patterns ...string) map[string][]exported {
	tags, err := c.findTags(context.Background(), patterns)
	require.NoError(t, err)
	out := map[string][]exported{}
	for _, tag := range tags {
		stream, err := c.query.ReadRange(context.Background(), &varvev1.ReadRangeRequest{
			TagIds: []uint32{tag.Id}, StartNs: proto.Int64(in.Start), EndNs: proto.Int64(in.End), WithSeq: true,
		})
		require.NoError(t, err)
		r, err := answer.NewReader(stream)
		require.NoError(t, err)
		types := answer.TypesOf(tag.Tag)
		rows := answer.NewRows(r, map[string]answer.Types{tag.Name: types})
		for {
			row, err := rows.Next()
			if err != nil {
				require.ErrorContains(t, err, "EOF")
				break
			}
			switch {
			case row.Value.Null:
				row.Value = answer.Value{Null: true}
			case row.Value.Type == model.Int64 && types.At(row.Time) == model.Uint64: // of a tag that was another type once, in value_int
				row.Value.Type = model.Uint64
			}
			out[tag.Name] = append(out[tag.Name], exported{row.Time, row.Seq, row.Quality, row.Value})
		}
		r.Close()
	}
	return out
}

// requireExported names the first sample that differs.
func requireExported(t testing.TB, want, got map[string][]exported, what string) {
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), what)
	for tag := range want {
		for i := range min(len(want[tag]), len(got[tag])) {
			require.Equal(t, want[tag][i], got[tag][i], "%s: sample %d of %s", what, i, tag)
		}
		require.Len(t, got[tag], len(want[tag]), "%s: samples of %s", what, tag)
	}
}

// exportHistory changes what a server holds at random, as the doors let it.
type exportHistory struct {
	t   testing.TB
	rng *rand.Rand
	c   *client

	names   []string
	types   []varvev1.Type
	deleted []uint64
	made    int
}

func newExportHistory(t testing.TB, seed uint64, c *client) *exportHistory {
	h := &exportHistory{t: t, rng: rand.New(rand.NewPCG(seed, 7)), c: c}
	_, err := c.catalog.PutStateSet(context.Background(), &varvev1.PutStateSetRequest{Set: &varvev1.StateSet{
		Name: "pump", FromNs: model.MinTime, States: []*varvev1.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}},
	}})
	require.NoError(t, err)
	for typ := varvev1.Type_TYPE_FLOAT64; typ <= varvev1.Type_TYPE_BYTES; typ++ {
		h.create(typ)
		h.create(typ)
	}
	return h
}

func (h *exportHistory) create(typ varvev1.Type) {
	s := &varvev1.Settings{Type: typ}
	if typ == varvev1.Type_TYPE_STATE && h.rng.IntN(2) == 0 {
		s.StateSet = "pump"
	}
	h.made++
	name := fmt.Sprintf("%s%d", []string{"A.x.", "B/y.", "B/", "alone"}[h.rng.IntN(4)], h.made)
	_, err := h.c.catalog.CreateTags(context.Background(), &varvev1.CreateTagsRequest{Tags: []*varvev1.Tag{{
		Name: name, Settings: []*varvev1.Settings{s}, Attributes: map[string]string{"area": []string{"", "north side", "a=b/c%"}[h.rng.IntN(3)]},
	}}})
	require.NoError(h.t, err)
	h.names, h.types = append(h.names, name), append(h.types, typ)
}

// at is an instant of six days about 1970, of few different ones in a day so that keys collide.
func (h *exportHistory) at() int64 {
	return int64(h.rng.IntN(6)-3)*86400e9 + int64(h.rng.IntN(20))*4320e9 + int64(h.rng.IntN(2))
}

func (h *exportHistory) run(tag int) *varvev1.Run {
	r := &varvev1.Run{Tag: h.names[tag], Mode: varvev1.WriteMode_WRITE_MODE_UPDATE}
	if h.rng.IntN(3) == 0 {
		r.Mode = varvev1.WriteMode_WRITE_MODE_APPEND
	}
	for i := range uint32(1 + h.rng.IntN(20)) {
		r.TimesNs = append(r.TimesNs, h.at())
		n := h.rng.Uint64N(4)
		switch h.types[tag] {
		case varvev1.Type_TYPE_FLOAT64:
			r.Float64 = append(r.Float64, math.Float64frombits([]uint64{math.Float64bits(1.5), 0x7FF0000000000001 | n, 1 << 63, 0xFFF8000000012345, math.Float64bits(math.Inf(-1))}[h.rng.IntN(5)]))
		case varvev1.Type_TYPE_FLOAT32:
			r.Float32 = append(r.Float32, math.Float32frombits([]uint32{0x3FC00001, 0x7F800001 | uint32(n), 1 << 31, 0xFFC12345}[h.rng.IntN(4)]))
		case varvev1.Type_TYPE_INT64:
			r.Int64 = append(r.Int64, []int64{math.MinInt64, math.MaxInt64 - int64(n), 1<<53 + 1, 0}[h.rng.IntN(4)])
		case varvev1.Type_TYPE_UINT64:
			r.Uint64 = append(r.Uint64, []uint64{math.MaxUint64 - n, math.MaxInt64, math.MaxInt64 + 1, n}[h.rng.IntN(4)])
		case varvev1.Type_TYPE_BOOL:
			r.Bool = append(r.Bool, n&1 == 1)
		case varvev1.Type_TYPE_STATE:
			r.State = append(r.State, int64(n&1))
		case varvev1.Type_TYPE_STRING:
			r.Text = append(r.Text, []string{"", "NULL", "größer, \"so\"", "x"}[n])
		default:
			r.Blob = append(r.Blob, []byte{0, 255, byte(n), 0}[:h.rng.IntN(5)])
		}
		r.QualityCount = append(r.QualityCount, 1)
		r.QualityCode = append(r.QualityCode, []uint32{0, 0, 0, 0x40000000, 0x80000000, 0x80340402, 0xC0000000, 0x00A50000}[h.rng.IntN(8)])
		if h.rng.IntN(8) == 0 {
			r.NullAt = append(r.NullAt, i)
		}
	}
	return r
}

// step does one thing, and most often it is a write.
func (h *exportHistory) step() {
	ctx, t := context.Background(), h.t
	tag := h.rng.IntN(len(h.names))
	id := []string{h.names[tag]}
	from := h.at()
	to := from + []int64{1, 86400e9, 3 * 86400e9}[h.rng.IntN(3)]
	switch h.rng.IntN(16) {
	case 0:
		d, err := h.c.admin.DeleteRange(ctx, &varvev1.DeleteRangeRequest{Tags: id, StartNs: from, EndNs: to, Author: "mara", Reason: "rig"})
		require.NoError(t, err)
		h.deleted = append(h.deleted, d.Offset)
	case 1:
		if n := len(h.deleted); n > 0 {
			_, err := h.c.admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: h.deleted[n-1], Author: "mara", Reason: "no rig"})
			if err != nil {
				require.ErrorContains(t, err, "erased")
			}
			h.deleted = h.deleted[:n-1]
		}
	case 2:
		_, err := h.c.admin.Purge(ctx, &varvev1.PurgeRequest{Tags: id, StartNs: from, EndNs: to, Author: "mara", Reason: "never was", NoWait: true})
		require.NoError(t, err)
	case 3:
		_, err := h.c.ingest.Edit(ctx, &varvev1.EditRequest{Author: "mara", Reason: "wrong", Runs: []*varvev1.Run{{
			Tag: id[0], Mode: varvev1.WriteMode_WRITE_MODE_REMOVE, TimesNs: []int64{from, h.at()}, All: true,
		}}})
		require.NoError(t, err)
	case 4:
		h.made++
		name := fmt.Sprintf("%sr%d", []string{"A.", "C."}[h.rng.IntN(2)], h.made)
		_, err := h.c.catalog.RenameTag(ctx, &varvev1.RenameTagRequest{Name: id[0], NewName: name})
		require.NoError(t, err)
		h.names[tag] = name
	case 5:
		_, err := h.c.catalog.UpdateTag(ctx, &varvev1.UpdateTagRequest{
			Name: id[0], Description: proto.String(fmt.Sprint("tag ", h.rng.IntN(3))), SetAttributes: map[string]string{"area": []string{"", "south"}[h.rng.IntN(2)]},
		})
		require.NoError(t, err)
	case 6:
		_, err := h.c.catalog.PutStateSet(ctx, &varvev1.PutStateSetRequest{Set: &varvev1.StateSet{Name: "pump", FromNs: 2*86400e9 + int64(h.made), States: []*varvev1.DigitalState{
			{Code: 0, Text: fmt.Sprint("off ", h.made)}, {Code: 1, Text: "on"},
		}}})
		if h.made++; err != nil {
			require.ErrorContains(t, err, "version")
		}
	case 7:
		_, err := h.c.admin.Seal(ctx, &varvev1.SealRequest{})
		require.NoError(t, err)
	case 8:
		if len(h.names) < 24 {
			h.create(varvev1.Type(1 + h.rng.IntN(8)))
		}
	case 9: // another type behind all samples
		typ := varvev1.Type(1 + h.rng.IntN(8))
		if _, err := h.c.catalog.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: id[0], Settings: &varvev1.Settings{FromNs: 3*86400e9 + int64(h.made)*1e9, Type: typ}}); err == nil {
			w := h.types[tag]
			h.types[tag] = typ
			r := h.run(tag)
			for i := range r.TimesNs {
				r.TimesNs[i] = 3*86400e9 + int64(h.made)*1e9 + int64(i)
			}
			h.write(r)
			h.types[tag] = w
		}
	default:
		h.write(h.run(tag))
	}
}

func (h *exportHistory) write(r *varvev1.Run) {
	_, err := h.c.ingest.Write(context.Background(), &varvev1.WriteRequest{Batch: &varvev1.Batch{Runs: []*varvev1.Run{r}}})
	require.NoError(h.t, err)
}

func dialTest(t testing.TB, address string) *client {
	f := clientFlags{server: address}
	c, err := f.dial()
	require.NoError(t, err)
	t.Cleanup(c.close)
	return c
}

// TestExportsAreWhatTheServerHolds changes a server at random: writes of every type and bit pattern, edits, deletes, their undoing, erasures,
// other names, settings, states and types. Folders of both kinds are brought up to date among it, sometimes stopped in the middle, and then hold
// every bit that the server has, and nothing else; a second run changes nothing.
func TestExportsAreWhatTheServerHolds(t *testing.T) {
	seeds := 3
	if testing.Short() {
		seeds = 1
	}
	for seed := range uint64(seeds) {
		address, stop := serveInProcess(t, t.TempDir(), "--max-ahead", "-1s")
		c := dialTest(t, address)
		h := newExportHistory(t, seed, c)
		s := export.Server{Query: c.query, Catalog: c.catalog}
		type target struct {
			dir string
			in  model.TimeRange
			export.Settings
		}
		all := []string{"*"}
		targets := []target{
			{t.TempDir(), model.All, export.Settings{Tags: all, GroupBy: "segments:1", Format: "parquet", TimeUnit: "ns"}},
			{t.TempDir(), model.All, export.Settings{Tags: all, GroupBy: "attribute:area", Format: "parquet", TimeUnit: "us"}},
			{t.TempDir(), model.All, export.Settings{Tags: []string{"A.*", "B*"}, GroupBy: "segments:9", Format: "arrow", TimeUnit: "ns"}},
			{t.TempDir(), model.TimeRange{Start: -30 * 3600e9, End: 40 * 3600e9}, export.Settings{
				Tags: []string{"*1*"}, Start: "1969-12-30T18:00:00Z", Stop: "1970-01-02T16:00:00Z", GroupBy: "tag", Format: "parquet", TimeUnit: "ns",
			}},
		}
		for range 7 {
			for range 1 + h.rng.IntN(12) {
				h.step()
			}
			x := targets[h.rng.IntN(len(targets))]
			o := export.Options{Settings: x.Settings, GroupRows: []int{4, 50, 0}[h.rng.IntN(3)]}
			for h.rng.IntN(2) == 0 { // stopped after some steps
				ctx, cancel := context.WithCancel(context.Background())
				left := h.rng.IntN(40)
				o.OnProgress = func(export.Progress) {
					if left--; left < 0 {
						cancel()
					}
				}
				if _, err := export.Run(ctx, s, x.dir, o); err != nil {
					require.ErrorContains(t, err, "ancel")
				}
				cancel()
			}
			o.OnProgress = nil
			_, err := export.Run(context.Background(), s, x.dir, o)
			require.NoError(t, err)
			requireExported(t, c.stored(t, x.in, x.Tags...), readExport(t, x.dir), fmt.Sprintf("seed %d, %+v", seed, x.Settings))
			v, err := export.Verify(context.Background(), x.dir, nil)
			require.NoError(t, err)
			require.Empty(t, v.Problems)
			again, err := export.Run(context.Background(), s, x.dir, o)
			require.NoError(t, err)
			require.Zero(t, again.Written+again.Removed, "nothing changed")
			o.CompareAll = true
			again, err = export.Run(context.Background(), s, x.dir, o)
			require.NoError(t, err)
			require.Zero(t, again.Written+again.Removed, "nothing changed")
			require.Equal(t, again.Files, again.Unchanged)
		}
		stop()
	}
}

// manifestOf reads the manifest of a folder as anybody would.
func manifestOf(t testing.TB, dir string) (m export.Manifest) {
	b, err := os.ReadFile(filepath.Join(dir, "_manifest.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &m))
	return m
}

// hashesOf is the hash of each file.
func hashesOf(m export.Manifest) map[string]string {
	out := map[string]string{}
	for _, f := range m.Files {
		out[f.Path] = f.SHA256
	}
	return out
}

// differing is the files that two manifests do not have alike.
func differing(a, b map[string]string) (names []string) {
	for name := range a {
		if b[name] != a[name] {
			names = append(names, name)
		}
	}
	for name := range b {
		if a[name] == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestExportWritesWhatChanged makes one change after the other and holds which files each run writes and removes, and that a folder written at
// once has the same files, byte for byte.
func TestExportWritesWhatChanged(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir(), "--max-ahead", "-1s")
	c := dialTest(t, address)
	ctx := context.Background()
	const day = int64(86400e9)
	write := func(tag string, at int64, values ...float64) {
		_, err := c.ingest.Write(ctx, &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{{
			Tag: tag, FirstTimeNs: at, StepNs: 1e9, Count: uint32(len(values)), Float64: values,
		}}}})
		require.NoError(t, err)
	}
	flush := func() {
		_, err := c.admin.Flush(ctx, &varvev1.FlushRequest{})
		require.NoError(t, err)
	}
	for d := range int64(4) {
		write("A.1", d*day, 1, 2, 3)
		write("A.2", d*day, 4)
		write("B.1", d*day+5e9, 5)
	}
	flush()
	dir := t.TempDir()
	args := []string{"export", "--server", address, dir, "A.*", "B.*"}
	var last map[string]string
	step := func(what string, want ...string) {
		t.Helper()
		var r export.Report
		require.NoError(t, json.Unmarshal([]byte(varve(t, append(args, "-o", "json")...)), &r))
		args = args[:4] // later runs take tags and flags from the folder
		now := hashesOf(manifestOf(t, dir))
		for i := range want {
			want[i] = want[i] + "/part-0.parquet"
		}
		slices.Sort(want)
		require.Equal(t, want, differing(last, now), what)
		require.Len(t, want, r.Written+r.Removed, what)
		last = now
		fresh := filepath.Join(t.TempDir(), "fresh")
		varve(t, "export", "--server", address, fresh, "A.*", "B.*")
		require.Empty(t, differing(now, hashesOf(manifestOf(t, fresh))), what)
		require.Contains(t, varve(t, "export", "--verify", dir), " 0 problems")
	}
	var all []string
	for d := range int64(4) {
		all = append(all, "group=A/day=1970-01-0"+fmt.Sprint(d+1), "group=B/day=1970-01-0"+fmt.Sprint(d+1))
	}
	step("first", slices.Clone(all)...)
	step("nothing changed")
	write("A.2", day+7e9, 4.5)
	step("a late sample", "group=A/day=1970-01-02")
	write("A.2", day+7e9, 4.5)
	step("the same once more")
	varve(t, "edit", "--server", address, "--author", "mara", "--reason", "typo", "set", "B.1", "1970-01-03T00:00:05Z", "6")
	step("an edit", "group=B/day=1970-01-03")
	flush()
	step("a generation is written")
	d, err := c.admin.DeleteRange(ctx, &varvev1.DeleteRangeRequest{Tags: []string{"B.1"}, StartNs: 3 * day, EndNs: 4 * day, Author: "mara", Reason: "rig"})
	require.NoError(t, err)
	step("a delete of all of a file", "group=B/day=1970-01-04")
	require.NoDirExists(t, filepath.Join(dir, "group=B/day=1970-01-04"))
	_, err = c.admin.UndeleteRange(ctx, &varvev1.UndeleteRangeRequest{Offset: d.Offset, Author: "mara", Reason: "no rig"})
	require.NoError(t, err)
	step("its undoing", "group=B/day=1970-01-04")
	_, err = c.admin.Seal(ctx, &varvev1.SealRequest{})
	require.NoError(t, err)
	step("sealed")
	_, err = c.admin.Purge(ctx, &varvev1.PurgeRequest{Tags: []string{"A.1", "A.2", "B.1"}, StartNs: 0, EndNs: day, Author: "mara", Reason: "commissioning"})
	require.NoError(t, err)
	step("a day that is gone for good", "group=A/day=1970-01-01", "group=B/day=1970-01-01")
	_, err = c.catalog.UpdateTag(ctx, &varvev1.UpdateTagRequest{Name: "B.1", Settings: &varvev1.Settings{FromNs: 2 * day, Unit: "bar"}})
	require.NoError(t, err)
	step("a unit from a day on", "group=B/day=1970-01-03", "group=B/day=1970-01-04")
	_, err = c.catalog.RenameTag(ctx, &varvev1.RenameTagRequest{Name: "A.2", NewName: "B.2"})
	require.NoError(t, err)
	step("a tag that changes its group", all[2:]...)
	write("A.9", 2*day, 1)
	step("a new tag that matches", "group=A/day=1970-01-03")
	_, err = c.catalog.RenameTag(ctx, &varvev1.RenameTagRequest{Name: "A.9", NewName: "C.9"})
	require.NoError(t, err)
	step("it does not match any more", "group=A/day=1970-01-03")
	require.NoError(t, os.Remove(filepath.Join(dir, "group=A/day=1970-01-02/part-0.parquet")))
	last["group=A/day=1970-01-02/part-0.parquet"] = "removed by somebody"
	step("a file that somebody removed", "group=A/day=1970-01-02")

	_, says := fails(t, "export", "--server", address, "--group-by", "tag", dir)
	require.Contains(t, says, "holds an export of [A.* B.*]")
	_, says = fails(t, "export", "--server", address, dir, "A.*")
	require.Contains(t, says, "choose another folder")
	for want, bad := range map[string][]string{
		"no tags":               {filepath.Join(t.TempDir(), "x")},
		"no tag \"Z\"":          {filepath.Join(t.TempDir(), "x"), "Z"},
		"no tag matches":        {filepath.Join(t.TempDir(), "x"), "Z*"},
		"group by \"segments:0": {"--group-by", "segments:0", filepath.Join(t.TempDir(), "x"), "A.*"},
		"time unit \"ms\"":      {"--time-unit", "ms", filepath.Join(t.TempDir(), "x"), "A.*"},
		"format \"csv\"":        {"--format", "csv", filepath.Join(t.TempDir(), "x"), "A.*"},
		"is not before":         {"--start", "2026-01-02", "--stop", "2026-01-01", filepath.Join(t.TempDir(), "x"), "A.*"},
		"holds no export":       {filepath.Dir(writeFile(t, "mine.txt", "x")), "A.*"},
		"at least 1 arg":        {},
		"--verify":              {"--verify", dir, "A.*"},
		"folder holds no":       {"--verify", t.TempDir()},
	} {
		_, says := fails(t, append([]string{"export", "--server", address}, bad...)...)
		require.Contains(t, says, want)
	}
}

// TestExportKeepsToItsRange: a day that is cut holds the part asked for, and one that leaves the range is removed.
func TestExportKeepsToItsRange(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir(), "--max-ahead", "-1s")
	c := dialTest(t, address)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	r := &varvev1.Run{Tag: "A.1", FirstTimeNs: now.AddDate(0, 0, -5).UnixNano(), StepNs: int64(6 * time.Hour), Count: 40}
	for i := range r.Count {
		r.Float64 = append(r.Float64, float64(i))
	}
	_, err := c.ingest.Write(context.Background(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{r}}})
	require.NoError(t, err)
	dir := t.TempDir()
	o := export.Options{Settings: export.Defaults}
	o.Settings.Tags, o.Settings.Start, o.Settings.Stop = []string{"A.1"}, "-2d", "2026-03-12T00:00:00Z"
	for later := range 3 {
		at := now.Add(time.Duration(later) * 13 * time.Hour)
		o.Now = func() time.Time { return at }
		_, err := export.Run(context.Background(), export.Server{Query: c.query, Catalog: c.catalog}, dir, o)
		require.NoError(t, err)
		in := model.TimeRange{Start: at.AddDate(0, 0, -2).UnixNano(), End: time.Date(2026, 3, 12, 0, 0, 0, 0, time.UTC).UnixNano()}
		requireExported(t, c.stored(t, in, "A.1"), readExport(t, dir), fmt.Sprint(at))
	}
	require.NoDirExists(t, filepath.Join(dir, "group=A/day=2026-03-08"))
}

// TestExportOfAnotherLog: offsets of a server that is not the one before, or was restored, mean nothing, and all days are compared.
func TestExportOfAnotherLog(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		address, stop := serveInProcess(t, t.TempDir(), "--max-ahead", "-1s")
		c := dialTest(t, address)
		for n := range 3 - i { // the second has fewer records
			_, err := c.ingest.Write(context.Background(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{{
				Tag: "A.1", FirstTimeNs: int64(n) * 1e9, Count: 1, Float64: []float64{float64(i)},
			}}}})
			require.NoError(t, err)
		}
		varve(t, "export", "--server", address, dir, "A.*")
		requireExported(t, c.stored(t, model.All, "A.*"), readExport(t, dir), "")
		stop()
	}
}

// TestVerifyFindsWhatIsNotAsItWas damages a folder in every way and repairs it.
func TestVerifyFindsWhatIsNotAsItWas(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,A.1,B.1\n2026-03-01T00:00:00Z,1,2\n2026-03-02T00:00:00Z,3,\n"))
	dir := t.TempDir()
	varve(t, "export", "--server", address, dir, "*")
	require.Contains(t, varve(t, "export", "--verify", dir), "3 files, 3 rows")
	part := filepath.Join(dir, "group=A/day=2026-03-01/part-0.parquet")
	whole, err := os.ReadFile(part)
	require.NoError(t, err)
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for says, b := range map[string][]byte{"has the hash": flipped, "has " + fmt.Sprint(len(whole)-1) + " bytes, was written with": whole[:len(whole)-1], "is not there": nil} {
		require.NoError(t, os.Remove(part))
		if b != nil {
			require.NoError(t, os.WriteFile(part, b, 0o644))
		}
		_, found := fails(t, "export", "--verify", dir)
		require.Contains(t, found, "group=A/day=2026-03-01/part-0.parquet: "+says)
		_ = os.Remove(part) // as the message says
		varve(t, "export", "--server", address, dir)
		require.Contains(t, varve(t, "export", "--verify", dir), " 0 problems")
	}
	stray := filepath.Join(dir, "group=A/day=2026-03-01/mine.parquet")
	require.NoError(t, os.WriteFile(stray, whole, 0o644))
	_, found := fails(t, "export", "--verify", dir)
	require.Contains(t, found, "group=A/day=2026-03-01/mine.parquet: is not in the manifest")
	require.NoError(t, os.Remove(stray))
	manifest := filepath.Join(dir, "_manifest.json")
	b, err := os.ReadFile(manifest)
	require.NoError(t, err)
	for says, text := range map[string]string{
		"damaged": string(b[:len(b)/2]), "newer release": strings.Replace(string(b), `"format": 1`, `"format": 2`, 1),
		"not named as files": strings.Replace(string(b), "group=A/day", "../group=A/day", 1), "ids must ascend": strings.Replace(string(b), `"tag_ids": "1"`, `"tag_ids": "2-1"`, 1),
		"it says": strings.Replace(string(b), `"rows": 3`, `"rows": 4`, 1),
	} {
		require.NoError(t, os.WriteFile(manifest, []byte(text), 0o644))
		_, found := fails(t, "export", "--verify", dir)
		require.Contains(t, found, says)
	}
}

// TestExportSurvivesKills kills the program with SIGKILL while it exports, again and again, also while what it exports changes. At every moment files
// are whole; in the end the folder holds what the server does.
func TestExportSurvivesKills(t *testing.T) {
	kills := 4
	if testing.Short() {
		kills = 2
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	address, _ := serveInProcess(t, t.TempDir(), "--max-ahead", "-1s")
	c := dialTest(t, address)
	write := func(tag string, day int64, n int) {
		r := &varvev1.Run{Tag: tag, FirstTimeNs: day * 86400e9, StepNs: 40e9, Count: uint32(n)}
		for range n {
			r.Float64 = append(r.Float64, rng.Float64())
		}
		_, err := c.ingest.Write(context.Background(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{r}}})
		require.NoError(t, err)
	}
	for day := range int64(8) {
		for tag := range 6 {
			write(fmt.Sprintf("%c.%d", 'A'+tag%3, tag), day, 1000)
		}
	}
	binary := varveBinary(t)
	dir := t.TempDir()
	args := []string{"export", "--server", address, dir, "A.*", "B.*", "C.*"}
	killed := 0
	for range kills {
		p := exec.Command(binary, args...)
		require.NoError(t, p.Start())
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond)
		_ = p.Process.Kill()
		if p.Wait() != nil {
			killed++
			if _, err := os.Stat(filepath.Join(dir, "_journal.json")); err == nil {
				_, says := fails(t, "export", "--verify", dir)
				require.Contains(t, says, "not finished")
			}
		}
		readExport(t, dir) // every file is whole
		write("B.1", rng.Int64N(8), 1+rng.IntN(2000))
	}
	t.Logf("%d of %d runs were killed", killed, kills)
	varve(t, args...)
	requireExported(t, c.stored(t, model.All, "*"), readExport(t, dir), "")
	require.Contains(t, varve(t, "export", "--verify", dir), " 0 problems")
	require.NoFileExists(t, filepath.Join(dir, "_journal.json"))
}

// TestTwoExportsIntoOneFolder: the second says that the first is at work.
func TestTwoExportsIntoOneFolder(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,A.1\n2026-03-01T00:00:00Z,1\n"))
	c := dialTest(t, address)
	dir, second := t.TempDir(), error(nil)
	o := export.Options{Settings: export.Defaults}
	o.Settings.Tags = []string{"A.*"}
	s := export.Server{Query: c.query, Catalog: c.catalog}
	inner := o
	o.OnProgress = func(export.Progress) {
		_, second = export.Run(context.Background(), s, dir, inner)
	}
	_, err := export.Run(context.Background(), s, dir, o)
	require.NoError(t, err)
	require.ErrorIs(t, second, export.ErrInUse)
}

const exportPage = "../../docs/reference/export.md"

var someBytes = regexp.MustCompile(`[0-9,]+ bytes`)

// TestExportPage runs the session of docs/reference/export.md in a folder of its own, and holds the rows of its first export against the page's.
func TestExportPage(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	commands, prints := commandsOf(t, exportPage)
	want := golden.Table(t, exportPage, "rows")
	text, err := os.ReadFile(exportPage)
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(text), "```csv plant.csv\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "```")
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("plant.csv", []byte(table), 0o644))
	for i, args := range commands {
		got := varve(t, append(args, "--server", address)...)
		require.Equal(t, someBytes.ReplaceAllString(prints[i], "N bytes"), someBytes.ReplaceAllString(got, "N bytes"), "%v", args)
		if args[0] != "export" || want == nil {
			continue
		}
		rows := [][]string{{"tag", "time", "value", "value_text", "bad_value", "severity"}}
		exported := readExport(t, "lake")
		for _, tag := range slices.Sorted(maps.Keys(exported)) {
			for _, x := range exported[tag] {
				row := []string{tag, time.Unix(0, x.Time).UTC().Format(time.TimeOnly), "-", "-", "-", x.Quality.Severity()}
				switch text := strings.ReplaceAll(x.Value.String(), " ", "_"); {
				case x.Quality.IsBad():
					row[4] = text
				case x.Value.Type == model.String:
					row[3] = text
				default:
					row[2] = text
				}
				rows = append(rows, row)
			}
		}
		require.Equal(t, want, rows)
		want = nil
	}
	require.Nil(t, want)
}
