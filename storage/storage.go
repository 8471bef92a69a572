package storage

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/identity"
)

// Errors to test with errors.Is. Errors about one place carry the tag, range, file or offset in their text.
var (
	ErrCorrupt        = errors.New("stored data is damaged")
	ErrVersion        = errors.New("stored data was written by a newer release")
	ErrLowSpace       = errors.New("disk space is low: ingest is stopped until space returns")
	ErrApplyStopped   = errors.New("apply is stopped behind a damaged part of the log")
	ErrSequenceReused = errors.New("sequence was used before with other content; a queue restored from a copy must start a new epoch")
	ErrSequenceGap    = errors.New("sequence lies so far ahead that too many before it would be missing")
	ErrSourceQuota    = errors.New("too many sources")
	ErrTagQuota       = errors.New("too many tags")
	ErrBadBatch       = errors.New("batch does not fit together")
	ErrNotDeleted     = errors.New("no range delete holds under this offset")
	ErrUndeleteWindow = errors.New("range delete is too old to be undone")
	ErrErased         = errors.New("what was stored there was erased")
	ErrHeld           = errors.New("a hold keeps it from being erased")
	ErrNoHold         = errors.New("no hold is in force under this offset")
	ErrNoAnnotation   = errors.New("no annotation stands under this id")
	ErrAnnotated      = errors.New("there is an annotation of this id already")
	ErrNoteQuota      = errors.New("too much text in annotations")
	ErrNoGap          = errors.New("no gap stands under this id")
	ErrGapQuota       = errors.New("too many gaps")
	ErrNotLost        = errors.New("range of offsets is not reported as lost")
	ErrBadToken       = errors.New("not a token of a subscription")
	ErrForeignToken   = errors.New("token is of another log: of another store, or of this one before it was restored; read the samples anew, then subscribe from now")
	ErrClosed         = errors.New("store is closed")
	ErrExists         = errors.New("directory exists already")
	ErrInUse          = errors.New("somebody has the store open")
)

// Options tune a DB. The zero value of a field means its default.
type Options struct {
	// FS is where every file lives. The default is the operating system's.
	FS vfs.FS
	// Now is the clock, used for ingest times of new records only; nothing is decided by it when records are applied.
	Now func() time.Time
	// Rand makes UUIDs. The default is crypto/rand.
	Rand io.Reader
	// Logger gets what an operator should know. The default discards.
	Logger *slog.Logger
	// OnFatal is called when the process must not go on, such as after a failed fsync. The default panics.
	OnFatal func(error)

	// MemoryBytes is the budget from which head, memtables, caches and queries take their shares. The default is
	// 384 MiB, the least 32 MiB.
	MemoryBytes int64
	// GenerationSamples cuts the head after this many samples; GenerationBytes after this many bytes of them, 16 a sample and 16 a
	// run of them that came together; GenerationAge when the record time of its newest record is this much after its oldest. Larger
	// generations make longer chunks and a longer replay; while one is written the next one fills. The defaults are 4,000,000, a sixth
	// of MemoryBytes but at most 128 MiB, and 10 minutes.
	GenerationSamples int
	GenerationBytes   int64
	GenerationAge     time.Duration
	// UndeleteWindow is for how long after a range delete it can be undone. What it took away stays readable as versions all the
	// same. The default is 30 days.
	UndeleteWindow time.Duration
	// SealAfter seals a partition that nothing was written to for this long; SealGenerations and SealBytes one that as many
	// generations, or as many bytes of them, lie in. Negative SealAfter leaves sealing to Seal. The defaults are 15 minutes,
	// 64 and 1 GiB.
	SealAfter       time.Duration
	SealGenerations int
	SealBytes       int64
	// TierDir is a directory, as a rule on a larger and slower disk, that sealed days are moved to once they ended TierAfter
	// ago, by the ingest time of the newest record. The store makes a folder of its own in it. Reads find them there; while it
	// does not answer they fail with ErrUnreachable, and everything else goes on. Empty for no moves: what was moved before
	// is still read. TierAfter is 30 days by default, and negative for never.
	TierDir   string
	TierAfter time.Duration
	// SealedSamples is about how many samples a sealed chunk has; a tag with fewer than a 64th of it in a partition shares
	// blocks with others. Larger chunks take less room, and more time to read a little of. The default is 16,384.
	SealedSamples int
	// SegmentBytes is the size of a log segment. The default is 64 MiB.
	SegmentBytes int64
	// BlockBytes is the size of an LSM block: what one read of a chunk brings in, and what one damaged byte makes
	// unreadable. The default is 8 KiB.
	BlockBytes int
	// BacklogBytes bounds accepted records not yet applied; past it Submit waits. The default is 64 MiB.
	BacklogBytes int64
	// KeepLogBytes is how much of the log is kept, in whole segments, though samples in it are in generations: what readers of
	// changes that were away, or are slow, can catch up with. While space is low nothing is kept. It counts against DiskBudget,
	// and is read when the store opens. The default is none.
	KeepLogBytes int64
	// MinFreeBytes stops ingest when the file system has less; BallastBytes is set aside in a file that an operator may
	// delete in need. The defaults are 1 GiB and 64 MiB. Negative switches either off.
	MinFreeBytes int64
	BallastBytes int64
	// DiskBudget erases the oldest days of all tags, for good, while the store is larger than this many bytes. Holds keep what they
	// keep, and the newest two days stay. The default is none.
	DiskBudget int64
	// AnnotationBytes refuses new annotations and edits once all of the store take as much memory, their history included: they are
	// held whole, beside MemoryBytes. The default is 64 MiB, some 200,000 of a line each; the least is 1 MiB.
	AnnotationBytes int64
	// GapBytes refuses new gaps once all of the store take as much memory, with what became of them: they are held whole, beside
	// MemoryBytes. The default is 64 MiB, some 250,000 gaps of a tag; the least is 1 MiB.
	GapBytes int64
	// ScrubRate is how many bytes a second are read of stored tables to find damage that nobody has met yet. A pass over all of
	// them is begun every day. The default is 4 MiB, a terabyte in three days; negative for no scrub.
	ScrubRate int64
	// AcceptLoss lets apply go on behind damaged parts of the log that Open finds.
	AcceptLoss bool
	// MaxTags and MaxSources refuse to create more. The defaults are 10,000,000 and 100,000.
	MaxTags    int
	MaxSources int

	still bool // nothing is done but what is asked for: see OpenReadOnly
}

// Consistency says what a View must hold.
type Consistency uint8

const (
	// Accepted is every batch accepted on this server before the view was asked for; the view waits for apply.
	Accepted Consistency = iota
	// Eventual is whatever is applied now.
	Eventual
)

// Batch is what one log record of samples or edits holds. Tags are resolved and every sample that the door refuses is
// already taken out.
type Batch struct {
	Source      string // empty: no identity, never deduplicated
	Epoch       uint64
	Sequence    uint64 // dense from 1 within (Source, Epoch)
	Import      bool   // Source is an import: its identities never expire
	Origin      int64  // when the source made the batch, nanoseconds UTC; 0 for unknown
	ContentHash uint64 // of the content as sent; a resend has the same

	Author, Reason string // of an edit; both empty for a batch of samples

	Runs []Run
}

// Run is samples of one tag under one write mode. A Remove run has times (and Seq) but no values.
type Run struct {
	Tag     model.TagID
	Mode    model.WriteMode
	All     bool // Remove every sample at each time
	Samples model.Samples
}

// Pending is a batch on its way. Its methods may be called from any goroutine, more than once.
type Pending struct{ p *pending }

// Offset is the number of the batch's log record.
func (p *Pending) Offset() uint64 { return p.p.offset }

// Accepted waits until the batch is durable in the log.
func (p *Pending) Accepted(ctx context.Context) error { return p.p.waitAccepted(ctx) }

// Applied waits until the batch is visible to reads and returns what became of it.
func (p *Pending) Applied(ctx context.Context) (*Result, error) { return p.p.waitApplied(ctx) }

// Result is what became of an applied batch. Conflict is ErrSequenceReused where the identity was used before with
// other content; nothing was changed then.
type Result struct {
	Duplicate bool // this identity was applied before; nothing was changed
	Conflict  error
	Applied   int // samples stored, or equal to what was stored
	Ignored   int
	Rejected  int
	Failures  []Failure // at most MaxFailures; Rejected counts all
}

// MaxFailures is how many samples of a batch a Result names.
const MaxFailures = 1000

// Failure names consecutive samples of a run that were not applied.
type Failure struct {
	Run, First, Count int
	Outcome           model.Outcome // Exists, Absent or Ambiguous
}

// OffsetRange is [First, End) in log offsets.
type OffsetRange struct{ First, End uint64 }

// Alarm is a condition an operator should look at.
type Alarm struct {
	// Name is stable: apply_stopped, disk_budget_exceeded, disk_slow, log_damaged, low_disk_space, reads_failing, record_refused,
	// retention_failing, seal_failing, scrub_found_damage, sequence_reused, source_fenced, store_damaged, tier_failing,
	// tier_unreachable, writes_failing or writes_stalled.
	Name   string
	Detail string
	Since  time.Time
	Count  uint64
}

// BytesOnDisk is the size of the store by part.
type BytesOnDisk struct {
	Log, Samples, Versions, Catalog, Other, Total uint64
	Sealed                                        uint64 // of Samples, without headers
	Moved                                         uint64 // of objects in the tier; not in Total, unless they lie in the store's directory
}

// Status is the state of a DB at one moment.
type Status struct {
	UUID          model.UUID
	Tags          int
	Samples       uint64
	Bytes         BytesOnDisk
	Accepted      uint64
	Applied       uint64
	Archived      uint64
	Revision      uint64
	Sources       int
	Generations   int // not sealed
	Seals         int
	Moved         int // of these, in the tier
	Partitions    int
	HeadSamples   uint64
	First, Last   int64 // earliest and latest time in generations; both 0 for none
	IngestStopped bool
	Scrub         Scrub
	Alarms        []Alarm
	Lost          []OffsetRange
}

// Catalog is the tags and state sets as applied so far. It is safe for concurrent reads.
func (db *DB) Catalog() *catalog.Catalog { return db.catalog }

// Identity is what is known of one source's epoch as applied so far.
func (db *DB) Identity(source string, epoch uint64) identity.State {
	return db.identities.State(source, epoch)
}
