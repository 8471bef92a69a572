package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/internal/disk"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/identity"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/log"
	"github.com/varvedb/varve/storage/record"
)

// Damage is one place of a store that is not as it was written, or two that contradict each other.
type Damage struct {
	Part   string // store, log, table, catalogue, identities, applied offset, directory, partition set, newest sample, header, chunk, samples, note, forecast run
	File   string // within the store; empty where only the rows are known
	At     int64  // in the file
	Bytes  int64
	Tag    model.TagID     // 0 for none
	In     model.TimeRange // of the tag; empty for none
	Detail string
}

func (d *Damage) String() string {
	s := d.Part
	if d.File != "" {
		s += " in " + d.File
		if d.Bytes > 0 {
			s += fmt.Sprintf(" at %d, %d bytes", d.At, d.Bytes)
		}
	}
	if d.Tag != 0 {
		s += fmt.Sprintf(", tag %d", d.Tag)
	}
	if !d.In.Empty() {
		s += " in " + d.In.String()
	}
	return s + ": " + d.Detail
}

// Checked is how much a check has looked at.
type Checked struct {
	Tables   int
	Blocks   int64 // bytes of tables
	Records  uint64
	Chunks   int
	Content  ContentSummary
	Damaged  int // places
	Offset   uint64
	Store    model.UUID
	Unopened bool // the store does not open, so that only its files were looked at
}

// Verify reads everything that the store in dir holds, which nobody may have open, and calls report for every damaged place.
// It changes nothing. rows gets the content of every tag and partition that can be read; nil for nobody.
// The error says why it could not look, not what it found.
func Verify(ctx context.Context, dir string, o Options, report func(Damage), rows func(Content)) (Checked, error) {
	k := &checker{report: report, rows: rows}
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if err := k.run(ctx, dir, o); err != nil {
		return k.checked, fmt.Errorf("verify %s: %w", dir, err)
	}
	return k.checked, nil
}

// checker is one verification.
type checker struct {
	db      *DB
	report  func(Damage)
	rows    func(Content)
	checked Checked
	src     sources
	sets    map[model.TagID]*roaring.Bitmap
}

func (k *checker) damage(d Damage) {
	k.checked.Damaged++
	k.report(d)
}

// tableInError finds the file that an error of the LSM is about.
var tableInError = regexp.MustCompile(`\bfile (\d{6,})\b`)

// found reports an error that is damage, and returns one that is not.
func (k *checker) found(d Damage, err error) error {
	if err == nil {
		return nil
	}
	if !isDamage(err) && !errors.Is(err, log.ErrCorrupt) {
		return err
	}
	var at *RangeError
	if errors.As(err, &at) {
		d.Tag, d.In = at.Tag, at.In
	}
	var moved *ObjectError
	if errors.As(err, &moved) {
		d.File = path.Join(nearName, moved.Object)
	}
	if m := tableInError.FindStringSubmatch(err.Error()); m != nil && d.File == "" {
		d.File = "lsm/" + m[1] + ".sst"
	}
	d.Detail = err.Error()
	k.damage(d)
	return nil
}

func (k *checker) run(ctx context.Context, dir string, o Options) (err error) {
	if _, err := o.FS.Stat(path.Join(dir, formatName)); err != nil {
		return err
	}
	if err := k.log(o.FS, path.Join(dir, "log")); err != nil {
		return err
	}
	k.db, err = OpenReadOnly(dir, o)
	if err != nil {
		if errors.Is(err, ErrInUse) || isVersion(err) || ctx.Err() != nil {
			return err
		}
		k.checked.Unopened = true
		k.damage(Damage{Part: "store", Detail: err.Error()})
		return nil
	}
	defer func() { err = errors.Join(err, k.db.Close()) }()
	return k.store(ctx)
}

// log reads every record of the log.
func (k *checker) log(fs vfs.FS, dir string) error {
	r, err := log.Check(fs, dir)
	if err != nil {
		if isNotExist(err) {
			k.damage(Damage{Part: "log", File: "log", Detail: err.Error()})
			return nil
		}
		return k.found(Damage{Part: "log"}, err)
	}
	if r.Next > r.First {
		k.checked.Records = r.Next - r.First
	}
	for _, l := range r.Lost {
		d := Damage{Part: "log", At: l.At, Detail: fmt.Sprintf("records [%d, %d) are lost: %v", l.First, l.End, l.Cause)}
		if l.File != "" {
			d.File = "log/" + l.File
		}
		k.damage(d)
	}
	for _, x := range r.Damaged {
		k.damage(Damage{Part: "log", File: "log/" + x.File, Detail: x.Cause.Error()})
	}
	return nil
}

// store checks an open store, part by part.
func (k *checker) store(ctx context.Context) error {
	db := k.db
	s := db.Status()
	k.checked.Store, k.checked.Offset = s.UUID, s.Accepted
	for _, l := range s.Lost {
		k.damage(Damage{Part: "log", Detail: fmt.Sprintf("records [%d, %d) are missing, and what they held", l.First, l.End)})
	}
	k.src = db.sourcesAt(db.applied.value())
	defer k.src.close()
	k.sets = map[model.TagID]*roaring.Bitmap{}
	for _, step := range []func(context.Context) error{k.tables, k.copies, k.smallRows, k.headers, k.partitions, k.contents, k.newest} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tables holds every block against its checksum.
func (k *checker) tables(ctx context.Context) error {
	all, err := k.db.allTables()
	if err != nil {
		return err
	}
	for i := range all {
		t := &all[i]
		bad, err := k.db.checkTable(ctx, t, nil)
		if isNotExist(err) {
			k.damage(Damage{Part: "table", File: t.name(), Detail: "it is missing; it held " + t.holds()})
			continue
		}
		if err != nil {
			return err
		}
		k.checked.Tables++
		k.checked.Blocks += t.size
		for _, b := range bad {
			k.damage(Damage{Part: "table", File: t.name(), At: b.at, Bytes: b.bytes, Detail: fmt.Sprintf("%v; the table holds %s", b.err, t.holds())})
		}
	}
	return nil
}

// copies checks the rows that are kept twice, and that both copies say the same.
func (k *checker) copies(context.Context) error {
	for _, c := range []struct {
		part          string
		first, second keys.Space
		check         func(key, value []byte) error
	}{
		{"applied offset", keys.Meta, keys.MetaMirror, func(_, v []byte) error {
			_, _, err := decodeApplied(v)
			return err
		}},
		{"catalogue", keys.Catalog, keys.CatalogMirror, catalog.CheckRow},
		{"identities", keys.Identity, keys.IdentityMirror, identity.CheckRow},
		{"range deletes", keys.Deletes, keys.DeletesMirror, func(_, v []byte) error { return checkRow(v, opVersion, 0) }},
		{"annotations", keys.Notes, keys.NotesMirror, func(key, v []byte) error {
			_, _, _, err := decodeNote(key, v)
			return err
		}},
		{"gaps", keys.Gaps, keys.GapsMirror, func(key, v []byte) error {
			_, err := decodeGap(key, v)
			return err
		}},
		{"directory", keys.Directory, keys.DirectoryMirror, func(key, v []byte) error {
			_, id, err := keys.DecodeDirectory(append([]byte{byte(keys.Directory)}, key...))
			if err == nil {
				_, err = decodeGeneration(id, v)
			}
			return err
		}},
	} {
		var sums [2]uint64
		whole := true
		for i, space := range []keys.Space{c.first, c.second} {
			ok, sum, err := k.space(c.part+[]string{", first copy", ", second copy"}[i], space, c.check)
			if err != nil {
				return err
			}
			whole, sums[i] = whole && ok, sum
		}
		if whole && sums[0] != sums[1] {
			k.damage(Damage{Part: c.part, Detail: "the two copies differ"})
		}
	}
	return nil
}

// space checks every row of a space, and reports whether all are sound and a hash over them.
func (k *checker) space(part string, s keys.Space, check func(key, value []byte) error) (whole bool, sum uint64, err error) {
	before, h := k.checked.Damaged, xxhash.New()
	err = scanRows(k.src.engine, s, func(key, value []byte) error {
		_, _ = h.Write(key)
		_, _ = h.Write(value)
		return k.found(Damage{Part: part}, check(key, value))
	})
	err = k.found(Damage{Part: part}, err)
	return k.checked.Damaged == before, h.Sum64(), err
}

// smallRows checks the rows that are kept once.
func (k *checker) smallRows(context.Context) error {
	for _, c := range []struct {
		part  string
		space keys.Space
		check func(key, value []byte) error
	}{
		{"newest sample", keys.Latest, func(key, v []byte) error {
			var l latestTable
			return l.load(latestPage, 2*latestPage-1, v) // any page: a table has room for all tags below
		}},
		{"partition set", keys.Partitions, func(key, v []byte) error {
			tag, err := keys.DecodeTag(append([]byte{byte(keys.Partitions)}, key...))
			if err != nil {
				return err
			}
			set := roaring.New()
			if err := decodePartitions(set, v); err != nil {
				return fmt.Errorf("tag %d: %w", tag, err)
			}
			k.sets[tag] = set
			return nil
		}},
		{"effects of records", keys.Effects, func(key, v []byte) error {
			_, err := decodeEffects(append([]byte{byte(keys.Effects)}, key...), v)
			return err
		}},
		{"figures of filters", keys.Filtered, func(key, v []byte) error {
			_, _, err := decodeFiltered(key, v)
			return err
		}},
		{"forecast run", keys.Forecasts, checkRun},
	} {
		if _, _, err := k.space(c.part, c.space, c.check); err != nil {
			return err
		}
	}
	return nil
}

// counts reports whether reads look at a chunk of the generation. One that replay writes meanwhile is not among them.
func (k *checker) counts(p keys.Partition, kind keys.Kind, generation uint64) bool {
	all := k.src.directory.of(p)
	if kind.Sealed() {
		return isSealed(all, generation)
	}
	return generation > sealedThrough(all) && generation <= k.src.newest
}

// headers holds every header against the chunk it promises.
func (k *checker) headers(ctx context.Context) error {
	return k.found(Damage{Part: "header"}, scanRows(k.src.engine, keys.Headers, func(key, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := keys.DecodeHeader(append([]byte{byte(keys.Headers)}, key...))
		if err != nil || h.Level != 0 {
			return k.found(Damage{Part: "header"}, err)
		}
		p := keys.DayOf(h.Start)
		if !k.counts(p, h.Kind, h.Generation) {
			return nil
		}
		d := Damage{Part: "header", Tag: h.Tag, In: model.TimeRange{Start: h.Start, End: h.Start + 1}}
		v, err := decodeHeaderValue(value, h.Kind)
		if err != nil {
			return k.found(d, err)
		}
		last := h.Start + int64(v.length)
		d.In.End = last + 1
		if v.count == 0 && h.Kind == keys.Sealed {
			return nil
		}
		c := keys.Chunk{Partition: p, Kind: h.Kind, Generation: h.Generation, Tag: h.Tag, Start: h.Start, End: last, Seq: h.Seq}
		b, closer, err := k.src.get(&c)
		if errors.Is(err, pebble.ErrNotFound) {
			d.Detail = fmt.Sprintf("its chunk of generation %d is missing", h.Generation)
			k.damage(d)
			return nil
		}
		if err != nil {
			return k.found(d, engineError("read the chunk of a header", err))
		}
		defer closer.Close()
		d.Part = "chunk"
		k.checked.Chunks++
		info, err := chunk.Inspect(b)
		if err != nil {
			return k.found(d, err)
		}
		if first, end := h.Start+int64(v.before), last-int64(v.after); uint64(info.Count) != v.count || uint64(len(b)) != v.bytes || info.First != first || info.Last != end {
			d.Detail = fmt.Sprintf("header: %d samples from %d to %d in %d bytes; chunk: %d from %d to %d in %d",
				v.count, first, end, v.bytes, info.Count, info.First, info.Last, len(b))
			k.damage(d)
		}
		return nil
	}))
}

// partitions holds the directory against what there is of every partition.
func (k *checker) partitions(ctx context.Context) error {
	for _, p := range k.src.directory.parts {
		for i := range p.gens {
			if err := ctx.Err(); err != nil {
				return err
			}
			if g := &p.gens[i]; g.id <= k.src.newest {
				if err := k.generation(p.name, g); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// generation sums up what one generation or seal has of a partition.
func (k *checker) generation(p keys.Partition, g *generation) error {
	own, pack, version := keys.Unsealed, keys.Packed, keys.Version
	if g.sealed {
		own, pack, version = keys.Sealed, keys.SealedPacked, keys.SealedVersion
	}
	var have generation
	has := map[keys.Kind]bool{}
	before := k.checked.Damaged
	for _, kind := range []keys.Kind{own, pack, version, keys.Deletion} {
		if g.sealed && kind == keys.Deletion {
			continue
		}
		err := k.values(p, kind, g.id, func(c keys.Chunk, b []byte) error {
			has[kind] = true
			return k.value(p, c, b, g, &have)
		})
		if err != nil {
			return err
		}
	}
	if k.checked.Damaged > before {
		return nil // the sums are short, and it is said why
	}
	wrong := ""
	switch {
	case !g.sealed && (have.samples != g.samples || have.bytes != g.bytes || have.versions != g.versions):
		wrong = fmt.Sprintf("directory: %d samples in %d bytes, %d bytes of versions; found: %d in %d, %d", g.samples, g.bytes, g.versions, have.samples, have.bytes, have.versions)
	case g.sealed && (have.samples < g.samples || have.bytes < g.bytes): // what later seals took over may still be there
		wrong = fmt.Sprintf("directory: %d samples in %d bytes; found: %d in %d", g.samples, g.bytes, have.samples, have.bytes)
	case has[pack] && !g.packed || has[version] && !g.hasVersions || has[keys.Deletion] && !g.deletions:
		wrong = "there are packed chunks, versions or removals that the directory does not know"
	}
	if wrong != "" {
		k.damage(Damage{Part: "directory", Detail: fmt.Sprintf("generation %d of %s: %s", g.id, p, wrong)})
	}
	return nil
}

// values reads the values of a kind that a generation has.
func (k *checker) values(p keys.Partition, kind keys.Kind, generation uint64, yield func(c keys.Chunk, b []byte) error) error {
	prefix := keys.AppendGeneration(nil, p, kind, generation)
	it, err := k.src.rows(p, kind, generation, prefix, keys.Next(prefix))
	if err != nil {
		return k.found(Damage{Part: "chunk"}, engineError("read a generation", err))
	}
	defer it.Close() // says again what Error said
	for ok := it.First(); ok; ok = it.Next() {
		c, err := keys.DecodeChunk(it.Key())
		if err == nil {
			err = yield(c, it.Value())
		}
		if err := k.found(Damage{Part: "chunk"}, err); err != nil {
			return err
		}
	}
	return k.found(Damage{Part: "chunk"}, engineError("read a generation", it.Error()))
}

// value looks at one value of a generation.
func (k *checker) value(p keys.Partition, c keys.Chunk, b []byte, g, have *generation) error {
	d := Damage{Part: "chunk", Tag: c.Tag, In: model.TimeRange{Start: c.Start, End: c.End + 1}}
	switch c.Kind {
	case keys.Version, keys.SealedVersion:
		d.Part, d.In = "versions", p.Range()
		have.versions += uint64(len(b))
		_, err := chunk.DecodeVersions(b)
		return k.found(d, err)
	case keys.Deletion:
		d.Part, d.In = "removals", p.Range()
		have.versions += uint64(len(b))
		_, err := chunk.DecodeDeletions(b)
		return k.found(d, err)
	case keys.Packed, keys.SealedPacked:
		return k.found(d, chunk.Each(b, func(tag model.TagID, one []byte) error {
			if len(one) == 0 {
				return nil
			}
			k.checked.Chunks++
			return k.one(p, tag, one, Damage{Part: "chunk", Tag: tag, In: d.In}, have)
		}))
	}
	return k.one(p, c.Tag, b, d, have)
}

// one looks at a chunk.
func (k *checker) one(p keys.Partition, tag model.TagID, b []byte, d Damage, have *generation) error {
	info, err := chunk.Inspect(b)
	if err != nil {
		return k.found(d, err)
	}
	have.samples += uint64(info.Count)
	have.bytes += uint64(len(b))
	if in := p.Range(); !in.Contains(info.First) || !in.Contains(info.Last) {
		d.Detail = fmt.Sprintf("its samples from %d to %d lie outside of %s", info.First, info.Last, p)
		k.damage(d)
	}
	if set := k.sets[tag]; set == nil || !set.Contains(partitionBit(p.Number)) {
		k.damage(Damage{Part: "partition set", Tag: tag, In: p.Range(), Detail: "there are samples that the set does not know of"})
	}
	return nil
}

// contents reads every sample and version as a query does.
func (k *checker) contents(ctx context.Context) error {
	c := &k.checked.Content
	c.Revision, c.Tags, c.CatalogHash = k.db.catalog.Digest()
	var failed error
	err := k.src.contents(ctx, model.All, func(x Content, err error) bool {
		if err != nil {
			failed = k.found(Damage{Part: "samples", Tag: x.Tag, In: x.Partition.Range()}, err)
			return failed == nil
		}
		c.add(&x)
		if k.rows != nil {
			k.rows(x)
		}
		return true
	})
	return errors.Join(failed, err)
}

// newest holds the newest sample of every tag against the stored ones.
func (k *checker) newest(ctx context.Context) error {
	db := k.db
	for tag := model.TagID(1); int(tag) <= db.catalog.Len(); tag++ {
		in := model.All
		in.Reverse = true
		c := k.src.cursor(tag, in)
		b, err := c.Next(ctx)
		var want model.Sample
		has := err == nil
		if has {
			want = b.At(0)
			want.Blob = slices.Clone(want.Blob)
		}
		c.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			if !isDamage(err) {
				return err
			}
			continue // contents told of it
		}
		db.mu.RLock()
		have, ok := db.latest.sample(tag)
		db.mu.RUnlock()
		if ok != has || ok && (have.Time != want.Time || have.Seq != want.Seq || !have.SameValue(want)) {
			k.damage(Damage{Part: "newest sample", Tag: tag, Detail: fmt.Sprintf("the row has %+v (%t), stored is %+v (%t)", have, ok, want, has)})
		}
	}
	return nil
}

// isVersion reports whether err says that a newer release wrote what was read.
func isVersion(err error) bool {
	for _, v := range []error{ErrVersion, chunk.ErrVersion, catalog.ErrVersion, identity.ErrVersion, log.ErrVersion, record.ErrVersion} {
		if errors.Is(err, v) {
			return true
		}
	}
	return false
}
