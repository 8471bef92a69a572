package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/varvedb/varve/model"
)

// Kinds of row, the first byte of a key. They reach disk and are never renumbered; zero is never written.
const (
	metaRow = 1 // revision and counts
	tagRow  = 2
	setRow  = 3 // one version of a digital-state set

	calendarRow    = 4 // one version of a calendar
	calculationRow = 5 // one version of a calculation
)

const (
	rowVersion  = 1
	rowVersion2 = 2 // of a calendar or calculation, of the meta row where there are any, and of an epoch

	rowEnds    = 1 + 4 // version in front, CRC-32C behind
	metaBytes  = 8 + 4 + 4
	epochBytes = 4 + 8 // of the row of an epoch; that of a tag has more
	countBytes = 4     // behind it the number of versions of calendars, and of calculations, up to the last that is not 0
)

// Row is one key and value for the store to keep. Keys are relative to a prefix of the store's choice.
type Row struct{ Key, Value []byte }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal frames a body as a row. The checksum covers the key too, so that a row under a wrong key is damage.
func seal(key, body []byte) Row {
	v := make([]byte, 0, len(body)+rowEnds)
	v = append(v, versionOf(key, body))
	v = append(v, body...)
	return Row{Key: key, Value: binary.LittleEndian.AppendUint32(v, checksum(key, v))}
}

// versionOf is the version that a row has. Older releases know version 1 alone, and read whatever is of it.
func versionOf(key, body []byte) byte {
	if len(key) > 0 && (key[0] == calendarRow || key[0] == calculationRow || key[0] == metaRow && len(body) > metaBytes || key[0] == tagRow && len(body) == epochBytes) {
		return rowVersion2
	}
	return rowVersion
}

func checksum(key, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v)
}

// open is the body of a row. The checksum is looked at before the version, so that a flipped version byte is damage
// and not a newer release; every version ends with it.
func open(key, value []byte) ([]byte, error) {
	if len(value) < rowEnds {
		return nil, fmt.Errorf("read catalogue row %x: %d bytes, least is %d: %w", key, len(value), rowEnds, ErrCorrupt)
	}
	end := len(value) - 4
	if got, want := checksum(key, value[:end]), binary.LittleEndian.Uint32(value[end:]); got != want {
		return nil, fmt.Errorf("read catalogue row %x: checksum is %08x, row says %08x: %w", key, got, want, ErrCorrupt)
	}
	if value[0] == 0 || value[0] > rowVersion2 {
		return nil, fmt.Errorf("read catalogue row %x: version %d, newest known is %d: %w", key, value[0], rowVersion2, ErrVersion)
	}
	if want := versionOf(key, value[1:end]); value[0] != want {
		return nil, fmt.Errorf("read catalogue row %x: version %d of a row that has version %d: %w", key, value[0], want, ErrCorrupt)
	}
	return value[1:end], nil
}

func tagKey(id model.TagID) []byte {
	return binary.BigEndian.AppendUint32([]byte{tagRow}, uint32(id))
}

// TakeChanged is the rows changed since the last call, ascending by key. It is for the applying goroutine; the rows
// are the caller's.
func (c *Catalog) TakeChanged() []Row {
	c.mu.Lock()
	ids, sets, calendars, meta := c.mu.dirtyTags, c.mu.dirtySets, c.mu.dirtyCalendars, c.mu.dirtyMeta
	calculations := c.mu.dirtyCalculations
	c.mu.dirtyCalculations = nil
	c.mu.dirtyTags, c.mu.dirtySets, c.mu.dirtyCalendars, c.mu.dirtyMeta = nil, nil, nil, false
	if !meta {
		c.mu.Unlock()
		return nil
	}
	first := c.metaRowLocked()
	c.mu.Unlock()

	rows := make([]Row, 0, 1+len(ids)+len(sets)+len(calendars)+len(calculations))
	rows = append(rows, first)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		t, _ := c.Tag(id)
		rows = append(rows, rowOf(t))
	}
	return append(append(append(rows, setRows(sets)...), calendarRows(calendars)...), calculationRows(calculations)...)
}

// setRows is the rows of versions of sets, ascending by key.
func setRows(sets []*model.StateSet) []Row {
	rows := make([]Row, 0, len(sets))
	for _, s := range sets {
		rows = append(rows, seal(namedKey(setRow, s.Name, s.Version), appendStates(appendTime(nil, s.From), s.States)))
	}
	slices.SortFunc(rows, func(a, b Row) int { return slices.Compare(a.Key, b.Key) })
	return rows
}

func (c *Catalog) metaRowLocked() Row {
	body := binary.LittleEndian.AppendUint64(nil, c.mu.revision)
	body = binary.LittleEndian.AppendUint32(body, uint32(c.Len()))
	body = binary.LittleEndian.AppendUint32(body, uint32(c.countSetVersionsLocked()))
	if c.mu.calendarVersions > 0 || c.mu.calculationVersions > 0 {
		body = binary.LittleEndian.AppendUint32(body, uint32(c.mu.calendarVersions))
	}
	if n := c.mu.calculationVersions; n > 0 {
		body = binary.LittleEndian.AppendUint32(body, uint32(n))
	}
	return seal([]byte{metaRow}, body)
}

// Digest is the revision, the number of tags and the hash of all rows at one moment: XXH64 over, for each row ascending by
// key, the length of the key, the key, the length of the value and the value, lengths as u32 in little-endian. Catalogues
// of one log have the same.
func (c *Catalog) Digest() (revision uint64, tags int, hash uint64) {
	for {
		c.mu.Lock()
		revision, tags = c.mu.revision, c.Len()
		meta := c.metaRowLocked()
		var sets []*model.StateSet
		for _, versions := range c.mu.sets {
			sets = append(sets, versions...)
		}
		calendars, calculations := c.calendarVersionsLocked(), c.calculationVersionsLocked()
		c.mu.Unlock()
		h := xxhash.New()
		add := func(r Row) {
			for _, b := range [][]byte{r.Key, r.Value} {
				_, _ = h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(b))))
				_, _ = h.Write(b)
			}
		}
		add(meta)
		for id := model.TagID(1); int(id) <= tags; id++ {
			t, _ := c.Tag(id)
			add(rowOf(t))
		}
		for _, r := range append(append(setRows(sets), calendarRows(calendars)...), calculationRows(calculations)...) {
			add(r)
		}
		if c.Revision() == revision { // nothing changed meanwhile
			return revision, tags, h.Sum64()
		}
	}
}

func (c *Catalog) countSetVersionsLocked() (n int) {
	for _, versions := range c.mu.sets {
		n += len(versions)
	}
	return n
}

// rowOf is the row of a tag. That of an epoch behind the first says which tag it is of, and from when on; all else stands in the row of
// that tag.
func rowOf(t *model.Tag) Row {
	if t.Of == 0 {
		return seal(tagKey(t.ID), tagBody(t))
	}
	return seal(tagKey(t.ID), appendTime(binary.LittleEndian.AppendUint32(nil, uint32(t.Of)), t.Settings[0].From))
}

func tagBody(t *model.Tag) []byte {
	b := appendTag(make([]byte, 0, 160), t)
	b = appendTime(b, t.Created)
	b = binary.AppendUvarint(b, uint64(len(t.Aliases)))
	for _, a := range t.Aliases {
		b = appendTime(appendTime(appendText(b, a.Name), a.From), a.To)
	}
	return b
}

// fields is one row taken apart; which of them mean something depends on kind.
type fields struct {
	kind         byte
	revision     uint64
	tags         uint32
	setVersions  uint32
	tag          *model.Tag
	set          *model.StateSet
	calendars    uint32 // versions
	calendar     *model.Calendar
	calculations uint32 // versions
	calculation  *model.Calculation
	epoch        epochRow // of a tag row that is of one
}

// epochRow is what the row of an epoch says.
type epochRow struct {
	id, of model.TagID
	from   int64
}

// parse takes a row apart and judges everything that can be judged of it by itself.
func parse(key, value []byte, in *interner) (fields, error) {
	body, err := open(key, value)
	if err != nil {
		return fields{}, err
	}
	f, err := parseBody(key, body, in)
	if err != nil {
		return fields{}, fmt.Errorf("read catalogue row %x: %w: %w", key, err, ErrCorrupt)
	}
	return f, nil
}

func parseBody(key, body []byte, in *interner) (f fields, err error) {
	if len(key) == 0 {
		return f, errors.New("key is empty")
	}
	f.kind = key[0]
	switch {
	case f.kind == metaRow && len(key) == 1:
		if f.calendars, f.calculations, err = parseCounts(body); err != nil {
			return f, err
		}
		f.revision = binary.LittleEndian.Uint64(body)
		f.tags, f.setVersions = binary.LittleEndian.Uint32(body[8:]), binary.LittleEndian.Uint32(body[12:])
	case f.kind == tagRow && len(key) == 5 && len(body) == epochBytes:
		r := &reader{b: body}
		f.epoch = epochRow{id: model.TagID(binary.BigEndian.Uint32(key[1:])), of: r.id(), from: r.time()}
		if err = r.end(); err == nil && (f.epoch.of == 0 || f.epoch.of >= f.epoch.id || f.epoch.from <= model.MinTime) {
			err = fmt.Errorf("epoch %d of tag %d from %d", f.epoch.id, f.epoch.of, f.epoch.from)
		}
	case f.kind == tagRow && len(key) == 5:
		f.tag, err = parseTag(model.TagID(binary.BigEndian.Uint32(key[1:])), body, in)
	case f.kind == setRow && len(key) > 6 && key[len(key)-5] == 0:
		f.set, err = parseSet(string(key[1:len(key)-5]), binary.BigEndian.Uint32(key[len(key)-4:]), body)
	case f.kind == calendarRow && len(key) > 6 && key[len(key)-5] == 0:
		f.calendar, err = parseCalendar(string(key[1:len(key)-5]), binary.BigEndian.Uint32(key[len(key)-4:]), body)
	case f.kind == calculationRow && len(key) > 6 && key[len(key)-5] == 0:
		f.calculation, err = parseCalculation(string(key[1:len(key)-5]), binary.BigEndian.Uint32(key[len(key)-4:]), body)
	default:
		err = fmt.Errorf("key of kind %d has %d bytes", f.kind, len(key))
	}
	return f, err
}

// parseCounts is how many versions of calendars and of calculations the body of the meta row counts.
func parseCounts(body []byte) (calendars, calculations uint32, err error) {
	switch len(body) - metaBytes {
	case 0:
		return 0, 0, nil
	case countBytes:
		if calendars = binary.LittleEndian.Uint32(body[metaBytes:]); calendars == 0 {
			return 0, 0, errors.New("no calendar is counted")
		}
		return calendars, 0, nil
	case 2 * countBytes:
		calendars, calculations = binary.LittleEndian.Uint32(body[metaBytes:]), binary.LittleEndian.Uint32(body[metaBytes+countBytes:])
		if calculations == 0 {
			return 0, 0, errors.New("no calculation is counted")
		}
		return calendars, calculations, nil
	}
	return 0, 0, fmt.Errorf("body has %d bytes, want %d, and up to 2 counts of %d", len(body), metaBytes, countBytes)
}

func parseTag(id model.TagID, body []byte, in *interner) (*model.Tag, error) {
	var d model.Tag
	r := &reader{b: body, in: in}
	r.tag(&d)
	d.Created = r.time()
	n := r.count(1+8+8, MaxAliases)
	t := newTagWithName(d.Name, 0)
	first := t.Aliases
	*t = d
	t.ID = id
	t.Aliases = first
	if n != 1 {
		t.Aliases = make([]model.Alias, n)
	}
	for i := range t.Aliases {
		t.Aliases[i] = model.Alias{Name: r.aliasName(d.Name), From: r.time(), To: r.time()}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return t, checkLoadedTag(t)
}

// aliasName is a text, without a copy where it is the tag's present name.
func (r *reader) aliasName(present string) string {
	b := r.textBytes()
	if string(b) == present {
		return present
	}
	return string(b)
}

func checkLoadedTag(t *model.Tag) error {
	if t.ID == 0 || t.UUID == (model.UUID{}) {
		return fmt.Errorf("tag %d has the UUID %s", t.ID, t.UUID)
	}
	if err := checkTag(t); err != nil {
		return err
	}
	if t.Settings[0].From != model.MinTime {
		return fmt.Errorf("first settings hold from %d", t.Settings[0].From)
	}
	if len(t.Aliases) == 0 || current(t).Name != t.Name || current(t).To != always {
		return fmt.Errorf("the last of %d names is not the present one, %.80q", len(t.Aliases), t.Name)
	}
	for i, a := range t.Aliases {
		if err := model.CheckName(a.Name); err != nil {
			return err
		}
		if a.From >= a.To || i > 0 && a.From < t.Aliases[i-1].To {
			return fmt.Errorf("name %.80q holds for [%d, %d)", a.Name, a.From, a.To)
		}
	}
	return nil
}

func parseSet(name string, version uint32, body []byte) (*model.StateSet, error) {
	r := &reader{b: body}
	s := &model.StateSet{Name: name, Version: version, From: r.time(), States: r.states()}
	if err := r.end(); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, errors.New("version is 0")
	}
	return s, checkStateSet(s)
}

// CheckRow reports why a row cannot be right by itself: ErrCorrupt or ErrVersion. It lets the store choose the good
// one of two copies.
func CheckRow(key, value []byte) error {
	_, err := parse(key, value, nil)
	return err
}

// Load fills an empty catalogue from all its rows, ascending by key. After an error the catalogue is of no use.
func (c *Catalog) Load(rows iter.Seq2[[]byte, []byte]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Len() != 0 || len(c.mu.sets) != 0 || len(c.mu.calendars) != 0 || len(c.mu.calculations) != 0 {
		return errors.New("load catalogue: it is not empty")
	}
	var meta fields
	var before []byte
	var retyped []model.TagID
	for key, value := range rows {
		f, err := parse(key, value, &c.intern)
		if err != nil {
			return err
		}
		if before != nil && slices.Compare(before, key) >= 0 {
			return fmt.Errorf("load catalogue: row %x follows %x: %w", key, before, ErrCorrupt)
		}
		before = append(before[:0], key...)
		switch f.kind {
		case metaRow:
			meta = f
		case tagRow:
			if f.tag == nil {
				err = c.loadEpochLocked(f.epoch)
				break
			}
			err = c.loadTagLocked(f.tag)
			if s := f.tag.Settings; slices.ContainsFunc(s, func(x model.Settings) bool { return x.Type != s[0].Type }) {
				retyped = append(retyped, f.tag.ID)
			}
		case setRow:
			err = c.loadSetLocked(f.set)
		case calendarRow:
			err = c.loadCalendarLocked(f.calendar)
		case calculationRow:
			err = c.loadCalculationLocked(f.calculation)
		}
		if err != nil {
			return fmt.Errorf("load catalogue row %x: %w: %w", key, err, ErrCorrupt)
		}
	}
	if c.Len() != int(meta.tags) || c.countSetVersionsLocked() != int(meta.setVersions) {
		return fmt.Errorf("load catalogue: %d tags and %d versions of sets, meta row says %d and %d: %w",
			c.Len(), c.countSetVersionsLocked(), meta.tags, meta.setVersions, ErrCorrupt)
	}
	if c.mu.calendarVersions != int(meta.calendars) {
		return fmt.Errorf("load catalogue: %d versions of calendars, meta row says %d: %w", c.mu.calendarVersions, meta.calendars, ErrCorrupt)
	}
	if c.mu.calculationVersions != int(meta.calculations) {
		return fmt.Errorf("load catalogue: %d versions of calculations, meta row says %d: %w", c.mu.calculationVersions, meta.calculations, ErrCorrupt)
	}
	for _, id := range retyped {
		if err := c.checkEpochs(id); err != nil {
			return fmt.Errorf("load catalogue: %w: %w", err, ErrCorrupt)
		}
	}
	c.mu.revision = meta.revision
	return nil
}

// loadEpochLocked takes the row of an epoch. That of the tag was loaded before, and so were those of epochs before.
func (c *Catalog) loadEpochLocked(e epochRow) error {
	old, ok := c.Tag(e.of)
	if !ok || old.Of != 0 || int(e.id) != c.Len()+1 {
		return fmt.Errorf("epoch %d of tag %d stands where %d belongs", e.id, e.of, c.Len()+1)
	}
	t, last := *old, old.Settings[0]
	for _, s := range old.Settings {
		if s.Epoch != 0 && s.Epoch != last.Epoch {
			last = s
		}
	}
	now := t.At(e.from)
	if now.From != e.from || e.from <= last.From || now.Type == last.Type {
		return fmt.Errorf("epoch %d of tag %d begins at %d with type %s, the one before at %d with type %s", e.id, e.of, e.from, now.Type, last.From, last.Type)
	}
	t.Settings = slices.Clone(t.Settings)
	for i := range t.Settings {
		if s := &t.Settings[i]; s.From >= e.from {
			s.Epoch = e.id
		}
	}
	view, _ := t.In(e.id)
	c.placeLocked(view)
	c.replaceLocked(&t)
	return nil
}

// checkEpochs holds the epochs of a tag against its settings: each is of one type, and two next to each other are of two.
func (c *Catalog) checkEpochs(id model.TagID) error {
	t, _ := c.Tag(id)
	for i := 1; i < len(t.Settings); i++ {
		if s, before := &t.Settings[i], &t.Settings[i-1]; (s.Type == before.Type) != (s.Epoch == before.Epoch) {
			return fmt.Errorf("tag %d is of type %s from %d on, and its epochs say otherwise", id, s.Type, s.From)
		}
	}
	return nil
}

func (c *Catalog) loadTagLocked(t *model.Tag) error {
	if int(t.ID) != c.Len()+1 {
		return fmt.Errorf("tag %d stands where %d belongs", t.ID, c.Len()+1)
	}
	if other := c.mu.byName[t.Name]; other != 0 {
		return fmt.Errorf("tags %d and %d are both %.80q", other, t.ID, t.Name)
	}
	if other := c.mu.byUUID[t.UUID]; other != 0 {
		return fmt.Errorf("tags %d and %d both have the UUID %s", other, t.ID, t.UUID)
	}
	c.addLocked(t)
	return nil
}

func (c *Catalog) loadSetLocked(s *model.StateSet) error {
	versions := c.mu.sets[s.Name]
	if int(s.Version) != len(versions)+1 {
		return fmt.Errorf("version %d stands where %d belongs", s.Version, len(versions)+1)
	}
	c.mu.sets[s.Name] = append(versions, s)
	return nil
}
