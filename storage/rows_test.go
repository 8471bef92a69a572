package storage

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/durable"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

const rowsPage = "../docs/format/rows.md"

// fenced is the text of a fenced block of the page, found by the words behind its fence.
func fenced(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(rowsPage)
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "```"+name+"\n")
	require.True(t, ok, "%s has no block %q", rowsPage, name)
	block, _, _ = strings.Cut(block, "```")
	return block
}

// goldenHex is the bytes of a block of hexadecimal digits. What follows a ; is a remark.
func goldenHex(t *testing.T, name string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(fenced(t, "hex "+name)) {
		line, _, _ = strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	require.NoError(t, err)
	return b
}

// The worked examples of the page.
const rowTime = 1_700_000_000_000_000_000 // 2023-11-14T22:13:20Z

var (
	exampleGeneration = generation{
		id: 40, first: rowTime, last: rowTime + 60e9, samples: 1000, bytes: 4500, versions: 33, ingest: rowTime + 60e9, packed: true, hasVersions: true,
	}
	exampleMoved = generation{
		id: 40, first: rowTime, last: rowTime + 60e9, samples: 1000, bytes: 4500, ingest: rowTime + 60e9, folded: 40, moved: 8192, packed: true, sealed: true,
	}
	exampleHeader   = headerValue{length: 60e9, count: 600, bytes: 2700}
	exampleSealed   = headerValue{length: 60e9, count: 600, bytes: 2700, before: 1e9}
	exampleReal     = model.Sample{Time: rowTime, Type: model.Float64, Bits: 0x4034800000000000, Quality: model.Uncertain}
	exampleText     = model.Sample{Time: rowTime, Type: model.String, Blob: []byte("open"), Seq: 1}
	exampleState    = record.State{Source: "plc-7", State: record.Missing, Gap: model.NotCollected, Tags: []model.TagID{1}, From: rowTime, To: rowTime + 60e9, Author: "mara", Reason: "cable"}
	exampleNote     = record.Note{ID: model.UUID{0x9a, 15: 1}, Tags: []model.TagID{1}, From: rowTime, To: rowTime + 1, Text: "stuck", Author: "mara"}
	exampleAccepted = OffsetRange{40, 43}

	exampleFiltered = filteredTag{40, []Filtered{{
		Filter: model.Filter{Deviation: 0.5, MaxTime: 3600e9}, First: rowTime, Last: rowTime + 60e9, Samples: 600, LeftOut: 550, MaxError: 0.25, ErrorAt: rowTime + 60e9,
	}}}

	exampleRangeDelete = record.DeleteRange{Tags: []model.TagID{1, 300}, From: rowTime, To: rowTime + 60e9, Author: "mara", Reason: "test rig"}
)

// latestOf is a table with one tag.
func latestOf(tag model.TagID, x model.Sample) *latestTable {
	l := &latestTable{}
	l.set(tag, x)
	return l
}

// exampleLatest is the newest samples of tags 17, 18 and 20; 20 had one once. Of 19 nothing is known.
func exampleLatest() *latestTable {
	l := latestOf(17, exampleReal)
	l.set(18, exampleText)
	l.row(18).flags |= newestMulti | newestDay
	l.set(20, exampleReal)
	l.clear(20)
	l.row(20).flags |= newestMulti
	return l
}

// exampleEffects is what records 31 to 40 did: 35 was late and removed both samples of a time, 38 was a batch that came again.
func exampleEffects() *effects {
	var n effectNotes
	n.add(10, 2, model.EffectUpdated)
	n.add(12, 1, model.EffectNone)
	n.addSeq(14, model.EffectRemoved, 0)
	n.addSeq(14, model.EffectRemoved, 1)
	n.add(15, 5, model.EffectNew)
	e := &effects{after: 30, through: 40}
	e.add(35, n.finish())
	n.reset()
	n.none()
	e.add(38, n.finish())
	return e
}

// exampleRows is every row of the page as this release writes it.
func exampleRows(t *testing.T) map[string][]byte {
	set, err := roaring.BitmapOf(partitionBit(keys.DayOf(-1).Number), partitionBit(keys.DayOf(rowTime).Number)).ToBytes()
	require.NoError(t, err)
	return map[string][]byte{
		"directory":       exampleGeneration.append(nil),
		"directory moved": exampleMoved.append(nil),
		"latest":          exampleLatest().appendPage(nil, 16),
		"header":          exampleHeader.append(nil, keys.Unsealed),
		"sealed header":   exampleSealed.append(nil, keys.Sealed),
		"applied":         appendApplied(nil, 40, rowTime+1e9),
		"gap":             noteRow(nil, rowTime+1e9, record.AppendState(nil, &exampleState)).value,
		"annotation":      noteRow(nil, rowTime+1e9, record.AppendNote(nil, &exampleNote)).value,
		"partitions":      set,
		"effects":         exampleEffects().row(40).value,
		"filtered":        exampleFiltered.append(nil),
		"range delete":    opRow(rowTime+1e9, record.Delete, record.AppendDelete(nil, &exampleRangeDelete)),
	}
}

func TestRowsAreAsDocumented(t *testing.T) {
	for name, row := range exampleRows(t) {
		require.Equal(t, fmt.Sprintf("% x", goldenHex(t, name)), fmt.Sprintf("% x", row), name)
	}
}

// storedRow is a row as version 1 wrote it. The files are never written anew.
func storedRow(t testing.TB, name string) []byte {
	b, err := os.ReadFile("testdata/v1/" + strings.ReplaceAll(name, " ", "-"))
	require.NoError(t, err)
	return b
}

func TestStoredRowsOfVersion1(t *testing.T) {
	g, err := decodeGeneration(40, storedRow(t, "directory"))
	require.NoError(t, err)
	require.Equal(t, exampleGeneration, g)

	g, err = decodeGeneration(40, storedRow(t, "directory moved"))
	require.NoError(t, err)
	require.Equal(t, exampleMoved, g)

	h, err := decodeHeaderValue(storedRow(t, "header"), keys.Unsealed)
	require.NoError(t, err)
	require.Equal(t, exampleHeader, h)

	h, err = decodeHeaderValue(storedRow(t, "sealed header"), keys.Sealed)
	require.NoError(t, err)
	require.Equal(t, exampleSealed, h)

	offset, ingest, err := decodeApplied(storedRow(t, "applied"))
	require.NoError(t, err)
	require.Equal(t, []int64{40, rowTime + 1e9}, []int64{int64(offset), ingest})

	var l latestTable
	require.NoError(t, l.load(16, 20, storedRow(t, "latest")))
	for tag, want := range map[model.TagID]model.Sample{17: exampleReal, 18: exampleText} {
		have, ok := l.sample(tag)
		require.True(t, ok)
		require.True(t, sameSample(want, have), "tag %d: %+v, want %+v", tag, have, want)
	}
	require.Equal(t, uint8(newestMulti), l.row(18).flags, "which day is known is not stored")
	require.Equal(t, uint8(newestMulti), l.row(20).flags)
	for _, tag := range []model.TagID{19, 20} {
		_, ok := l.sample(tag)
		require.False(t, ok)
	}

	set := roaring.New()
	_, err = set.FromBuffer(storedRow(t, "partitions"))
	require.NoError(t, err)
	require.Equal(t, []uint32{1<<31 - 1, 1<<31 + 19675}, set.ToArray())

	s, err := record.DecodeState(noteBody(t, storedRow(t, "gap"), rowTime+1e9))
	require.NoError(t, err)
	require.Equal(t, exampleState, s)
	n, err := record.DecodeNote(noteBody(t, storedRow(t, "annotation"), 0))
	require.NoError(t, err)
	require.Equal(t, exampleNote, n)

	e, err := decodeEffects(keys.AppendOffset(nil, keys.Effects, 40), storedRow(t, "effects"))
	require.NoError(t, err)
	require.Equal(t, exampleEffects(), e)

	tag, filtered, err := decodeFiltered([]byte{3: 17}, storedRow(t, "filtered"))
	require.NoError(t, err)
	require.Equal(t, model.TagID(17), tag)
	require.Equal(t, exampleFiltered, filtered)

	var db DB
	require.NoError(t, db.loadOp([]byte{7: 40}, storedRow(t, "range delete")))
	d := &exampleRangeDelete
	require.Equal(t, &rangeOp{offset: 40, ingest: rowTime + 1e9, tags: d.Tags, in: model.TimeRange{Start: d.From, End: d.To}, author: d.Author, reason: d.Reason}, db.ops.all[0])
}

// noteBody takes the body of a record out of a note row.
func noteBody(t *testing.T, b []byte, ingest int64) []byte {
	require.NoError(t, checkRow(b, noteVersion, 0))
	require.Equal(t, ingest, int64(binary.LittleEndian.Uint64(b[1:])))
	return b[9 : len(b)-4]
}

// rowReaders reads rows of each format that carries a checksum.
var rowReaders = map[string]func(b []byte) error{
	"directory": func(b []byte) error { _, err := decodeGeneration(40, b); return err },
	"latest":    func(b []byte) error { return new(latestTable).load(16, 31, b) },
	"applied":   func(b []byte) error { _, _, err := decodeApplied(b); return err },
	"effects": func(b []byte) error {
		_, err := decodeEffects(keys.AppendOffset(nil, keys.Effects, 40), b)
		return err
	},
	"filtered":   func(b []byte) error { _, _, err := decodeFiltered(make([]byte, 4), b); return err },
	"range":      func(b []byte) error { return new(DB).loadOp(make([]byte, 8), b) },
	"annotation": func(b []byte) error { return new(DB).loadNote(noteKey(exampleNote.ID, 7)[1:], b) },
	"gap":        func(b []byte) error { return new(DB).loadGap(gapKey(1, 7, 7)[1:], b) },
}

// TestEveryFlippedBitOfARowIsFound flips each bit of each row that carries a checksum, and cuts it everywhere. A flip in
// the version byte does not look like a newer release.
func TestEveryFlippedBitOfARowIsFound(t *testing.T) {
	for name, row := range exampleRows(t) {
		kind, _, _ := strings.Cut(name, " ")
		read := rowReaders[kind]
		if read == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			require.NoError(t, read(row))
			for bit := range 8 * len(row) {
				row[bit/8] ^= 1 << (bit % 8)
				err := read(row)
				require.ErrorIs(t, err, ErrCorrupt, "bit %d", bit)
				require.NotErrorIs(t, err, ErrVersion, "bit %d", bit)
				row[bit/8] ^= 1 << (bit % 8)
			}
			for n := range row {
				require.ErrorIs(t, read(row[:n]), ErrCorrupt, "%d bytes", n)
			}
		})
	}
}

// TestRowsOfANewerReleaseAreNotDamage tells a row that this release cannot read from one that nobody can.
func TestRowsOfANewerReleaseAreNotDamage(t *testing.T) {
	rows := exampleRows(t)
	for _, name := range []string{"directory", "latest", "applied", "header"} {
		row := rows[name]
		row[0] = 3
		var err error
		if name == "header" {
			_, err = decodeHeaderValue(row, keys.Unsealed)
		} else {
			err = rowReaders[name](resum(row))
		}
		require.ErrorIs(t, err, ErrVersion, name)
		require.NotErrorIs(t, err, ErrCorrupt, name)
	}
}

// TestSoundRowsOfForeignInsides: a right checksum does not make a row.
func TestSoundRowsOfForeignInsides(t *testing.T) {
	for _, name := range []string{"directory", "latest", "applied"} {
		row := exampleRows(t)[name]
		for n := range len(row) - 4 {
			require.ErrorIs(t, rowReaders[name](resum(append(row[:n:n], 0, 0, 0, 0))), ErrCorrupt, "%s of %d bytes", name, n)
		}
		require.ErrorIs(t, rowReaders[name](resum(append(row, 0))), ErrCorrupt, "%s with a byte more", name)
		row[0] = 0
		require.ErrorIs(t, rowReaders[name](resum(row)), ErrCorrupt, "%s of version 0", name)
	}
	unsealed := generation{id: 40, moved: 5}
	require.ErrorIs(t, rowReaders["directory"](unsealed.append(nil)), ErrCorrupt)
	row := exampleRows(t)["latest"]
	require.ErrorIs(t, new(latestTable).load(16, 19, row), ErrCorrupt, "there is no tag 20")
	require.ErrorIs(t, new(latestTable).load(17, 31, row), ErrCorrupt, "no page begins with tag 17")
	require.ErrorIs(t, new(latestTable).load(0, 31, resum([]byte{latestVersion, 1, 0, 0, 0, 0, 0})), ErrCorrupt, "there is no tag 0")
	row[3] = 9
	require.ErrorIs(t, rowReaders["latest"](resum(row)), ErrCorrupt)
}

// TestHostilePartitionSets: a set is used only where it holds together. The second one was read and panicked when used.
func TestHostilePartitionSets(t *testing.T) {
	good := exampleRows(t)["partitions"]
	for n := range good {
		require.Error(t, decodePartitions(roaring.New(), good[:n]))
	}
	require.NoError(t, decodePartitions(roaring.New(), good))
	require.Error(t, decodePartitions(roaring.New(), append(good, 0)))
	require.Error(t, decodePartitions(roaring.New(), []byte(";0\x00\x0010\x8700\x00\x000")))
}

func FuzzPartitions(f *testing.F) {
	f.Add(storedRow(f, "partitions"))
	f.Add([]byte(";0\x00\x0010\x8700\x00\x000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		set := roaring.New()
		if decodePartitions(set, b) != nil {
			return
		}
		it := set.Iterator()
		it.AdvanceIfNeeded(partitionBit(0))
		for n := 0; it.HasNext() && n < 1000; n++ {
			it.Next()
		}
		set.Add(partitionBit(19675))
		_, err := set.ToBytes()
		require.NoError(t, err)
	})
}

// TestHeaderValuesKeepRoom holds what a header leaves open: bytes behind the known fields are a later release's.
func TestHeaderValuesKeepRoom(t *testing.T) {
	b := exampleHeader.append(nil, keys.Unsealed)
	for n := range b {
		_, err := decodeHeaderValue(b[:n], keys.Unsealed)
		require.ErrorIs(t, err, ErrCorrupt, "%d bytes", n)
	}
	h, err := decodeHeaderValue(append(b, 1, 2, 3), keys.Unsealed)
	require.NoError(t, err)
	require.Equal(t, exampleHeader, h)
}

// resum puts the right checksum behind a row.
func resum(b []byte) []byte {
	n := len(b) - 4
	return binary.LittleEndian.AppendUint32(b[:n:n], crc32.Checksum(b[:n], castagnoli))
}

// FuzzRows reads foreign bytes, as they are and under a right checksum, as each kind of row.
func FuzzRows(f *testing.F) {
	for _, name := range []string{"directory", "latest", "header", "applied"} {
		f.Add(storedRow(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rows := [][]byte{b}
		if len(b) >= 4 {
			rows = append(rows, resum(b))
		}
		for _, row := range rows {
			requireSentinel(t, func() error { _, err := decodeGeneration(1, row); return err }())
			requireSentinel(t, func() error { _, _, err := decodeApplied(row); return err }())
			requireSentinel(t, func() error { _, err := decodeHeaderValue(row, keys.Unsealed); return err }())
			var l latestTable
			err := l.load(16, 31, row)
			requireSentinel(t, err)
			for tag := model.TagID(16); tag < 32 && err == nil; tag++ {
				if x, ok := l.sample(tag); ok {
					require.True(t, x.Type.Valid())
				}
			}
		}
	})
}

func requireSentinel(t *testing.T, err error) {
	if err != nil {
		require.True(t, errors.Is(err, ErrCorrupt) != errors.Is(err, ErrVersion), "%v", err)
	}
}

// The files FORMAT and ACCEPTED-LOSS.

var exampleUUID = [16]byte{0x9a, 0xa0, 6: 0x47, 8: 0x80, 15: 1}

func TestFilesAreAsDocumented(t *testing.T) {
	fs := vfs.NewMem()
	db := &DB{o: Options{FS: fs}, dir: "store", uuid: exampleUUID}
	require.NoError(t, fs.MkdirAll("store", 0o755))
	require.NoError(t, db.writeFormat("store"))
	b, err := readFile(fs, "store/FORMAT")
	require.NoError(t, err)
	require.Equal(t, fenced(t, "text FORMAT"), string(b))
	require.Equal(t, storedRow(t, "FORMAT"), b)

	require.NoError(t, db.losses.accept(db, exampleAccepted, "mara", "disk 2 \"sdb\"\nreplaced"))
	b, err = readFile(fs, "store/ACCEPTED-LOSS")
	require.NoError(t, err)
	require.Equal(t, fenced(t, "text ACCEPTED-LOSS"), string(b))
	require.Equal(t, storedRow(t, "ACCEPTED-LOSS"), b)
}

func TestStoredFilesOfVersion1(t *testing.T) {
	db := &DB{}
	require.NoError(t, db.parseFormat(storedRow(t, "FORMAT")))
	require.Equal(t, exampleUUID, db.uuid)

	fs := vfs.NewMem()
	require.NoError(t, durable.WriteFile(fs, "", acceptedName, storedRow(t, "ACCEPTED-LOSS")))
	var l losses
	require.NoError(t, l.load(fs, ""))
	require.Equal(t, []OffsetRange{exampleAccepted}, l.accepted)
	require.True(t, l.isAccepted(OffsetRange{41, 42}))
	require.False(t, l.isAccepted(OffsetRange{41, 44}))
}

func TestHostileFormatFiles(t *testing.T) {
	good := string(storedRow(t, "FORMAT"))
	db := &DB{}
	require.ErrorIs(t, db.parseFormat([]byte(strings.Replace(good, "format 1", "format 2", 1))), ErrVersion)
	for _, text := range []string{
		"", "\x00", good[:len(good)-1], good + "\n", good + good, strings.ToUpper(good), strings.ReplaceAll(good, "\n", "\r\n"),
		strings.Replace(good, "format 1", "format 0", 1), strings.Replace(good, "format 1", "format -1", 1),
		strings.Replace(good, "format 1", "format +1", 1), strings.Replace(good, "format 1", "format 99999999999999999999", 1),
		strings.Replace(good, "9a", "9", 1), strings.Replace(good, "9a", "9g", 1), strings.Replace(good, "9a", "9A", 1),
	} {
		err := db.parseFormat([]byte(text))
		require.ErrorIs(t, err, ErrCorrupt, "%q", text)
		require.NotErrorIs(t, err, ErrVersion)
	}
}

func TestHostileAcceptedLossFiles(t *testing.T) {
	for _, text := range []string{"\n", "1\n", "1 2\n", "1 2 mara \"x\"\n", "-1 2 \"a\" \"b\"\n", "1 2 \"a\" \"b\n", "1 99999999999999999999 \"a\" \"b\"\n"} {
		fs := vfs.NewMem()
		require.NoError(t, durable.WriteFile(fs, "", acceptedName, []byte(text)))
		var l losses
		require.ErrorIs(t, l.load(fs, ""), ErrCorrupt, "%q", text)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add(storedRow(f, "FORMAT"))
	f.Add([]byte("varve store\nformat 2\nuuid 9aa0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		db := &DB{}
		if err := db.parseFormat(b); err != nil {
			requireSentinel(t, err)
			return
		}
		require.Equal(t, string(b), fmt.Sprintf(formatText, formatVersion, db.uuid[:]))
	})
}

// The first copy of the applied offset is damaged: the second is used, with an alarm that says so.
func TestSecondCopyOfTheAppliedOffset(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	h.step()
	offset, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	bad := appendApplied(nil, offset+1, 0)
	bad[len(bad)-1] ^= 1
	require.NoError(t, h.db.engine.Set(appliedKey, bad, pebble.NoSync))
	require.NoError(t, h.db.engine.Flush())
	require.NoError(t, h.db.Close())
	db, err := Open("store", testOptions(fs))
	require.NoError(t, err)
	require.Equal(t, offset, db.Status().Archived)
	require.Len(t, db.Status().Alarms, 1)
	require.Equal(t, "store_damaged", db.Status().Alarms[0].Name)
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}

// The row of a newest sample under the number of a tag that there is not must not make room for all tags below it.
func TestNewestSampleOfNoTag(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	h.step()
	_, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	v := resum(append([]byte{latestVersion, 1, 0, byte(model.Float64), 0}, make([]byte, 18+4)...))
	require.NoError(t, h.db.engine.Set(keys.AppendTag(nil, keys.Latest, 1<<32-16), v, pebble.NoSync))
	require.NoError(t, h.db.engine.Flush())
	require.NoError(t, h.db.Close())
	db, err := Open("store", testOptions(fs))
	require.NoError(t, err)
	require.Less(t, len(db.latest.rows), 1<<20)
	require.Equal(t, "store_damaged", db.Status().Alarms[0].Name)
	requireSame(t, db, h.model, h.rng)
	require.NoError(t, db.Close())
}
