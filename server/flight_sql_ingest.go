package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/arrowin"
)

// errRowsRejected ends an ingest of rows of which some were not taken.
var errRowsRejected = errors.New("rows were rejected")

const (
	// maxIngests is how many streams of rows are taken at once; another waits.
	maxIngests = 4
	// maxIngestBytes bounds the texts of rows that are kept until their stream ends.
	maxIngestBytes = 32 << 20
)

// What a client wants where a table is there, or is not, by the numbers of Flight SQL.
const (
	existsFail    = 1
	existsReplace = 3
)

// statementIngest is CommandStatementIngest, which the generated code is too old for.
type statementIngest struct {
	table, schema, catalog string
	exists                 uint64 // what to do since the table is there
	temporary, transaction bool
	options                map[string]string
}

func parseStatementIngest(b []byte) (*statementIngest, error) {
	c := &statementIngest{options: map[string]string{}}
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return nil, wireError("CommandStatementIngest", err)
		}
		bytes := f.typ == protowire.BytesType
		switch {
		case f.num == 1 && bytes:
			for o := (field{rest: f.data}); len(o.rest) > 0; {
				if err := o.next(o.rest); err != nil {
					return nil, wireError("TableDefinitionOptions", err)
				}
				if o.num == 2 && o.typ == protowire.VarintType {
					c.exists = o.number
				}
			}
		case f.num == 2 && bytes:
			c.table = string(f.data)
		case f.num == 3 && bytes:
			c.schema = string(f.data)
		case f.num == 4 && bytes:
			c.catalog = string(f.data)
		case f.num == 5 && f.typ == protowire.VarintType:
			c.temporary = f.number != 0
		case f.num == 6 && bytes:
			c.transaction = len(f.data) > 0
		case f.num == 1000 && bytes:
			var pair [2]string
			for o := (field{rest: f.data}); len(o.rest) > 0; {
				if err := o.next(o.rest); err != nil {
					return nil, wireError("options of CommandStatementIngest", err)
				}
				if o.num <= 2 && o.typ == protowire.BytesType {
					pair[o.num-1] = string(o.data)
				}
			}
			c.options[pair[0]] = pair[1]
		}
	}
	return c, nil
}

// ingestSettings is how rows are taken.
type ingestSettings struct {
	atomic bool
	mode   model.WriteMode
}

// settings checks a command. Options may come as headers too, x-varve-ingest-atomic and x-varve-ingest-mode, because clients have no
// way to give a command options.
func (c *statementIngest) settings(ctx context.Context) (ingestSettings, error) {
	set := ingestSettings{atomic: true, mode: model.NoReplace}
	switch {
	case c.table != "samples":
		return set, fmt.Errorf("table %.80q: rows are taken into the table samples alone: %w", c.table, errBadField)
	case c.schema != "" && c.schema != table.Schema || c.catalog != "" && c.catalog != table.Catalog:
		return set, fmt.Errorf("table samples of schema %.80q and catalog %.80q: they are %s and %s: %w", c.schema, c.catalog, table.Schema, table.Catalog, errBadField)
	case c.exists == existsFail || c.exists == existsReplace:
		return set, fmt.Errorf("the table samples is there, and is neither made nor replaced: ingest in append mode: %w", errBadField)
	case c.temporary:
		return set, fmt.Errorf("there are no temporary tables: %w", errBadField)
	case c.transaction:
		return set, fmt.Errorf("there are no transactions; an ingest is all or nothing by itself: %w", errBadField)
	}
	for _, name := range []string{"atomic", "mode"} {
		if v := header(ctx, "x-varve-ingest-"+name); v != "" {
			c.options[name] = v
		}
	}
	for name, v := range c.options {
		switch {
		case name == "atomic" && (v == "true" || v == "false"):
			set.atomic = v == "true"
		case name == "mode" && (v == model.NoReplace.String() || v == model.Update.String()):
			if v == model.Update.String() {
				set.mode = model.Update
			}
		default:
			return set, fmt.Errorf("option %.40q of ingest is %.40q: there are atomic, true or false, and mode, no_replace or update: %w", name, v, errBadField)
		}
	}
	return set, nil
}

// ingestRows takes rows into samples and returns how many there were that are stored now. Atomic is all or nothing: one record of the log
// holds every row, and a row that is rejected keeps all others out. Otherwise a batch of the stream is stored as it comes, without the
// rows that are rejected. Either way the list of those is kept, see ingestRejects.
func (s *flightSQL) ingestRows(c *statementIngest, in *putStream) (int64, error) {
	ctx := in.Context()
	set, err := c.settings(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.ingests.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("wait for other ingests: %w", err)
	}
	defer s.ingests.Release(1)
	r, err := arrowin.NewReader(in.next, arrowin.Limits{Rows: int64(s.options.MaxBatchSamples), Bytes: 4 * int64(s.options.MaxMessageBytes)})
	if err != nil {
		return 0, fmt.Errorf("rows: %w", err)
	}
	defer r.Release()
	rows, err := newRowBatch(s.door(), set.mode, r.Schema())
	if err != nil {
		return 0, err
	}
	list := &ingestRejected{owner: callerOf(ctx).name, at: s.options.Now().UnixNano()}
	var name [8]byte
	if _, err := io.ReadFull(s.options.Rand, name[:]); err != nil {
		return 0, fmt.Errorf("name an ingest: %w", err)
	}
	list.ingest = hex.EncodeToString(name[:])
	stored, err := s.ingestBatches(ctx, r, rows, set, list)
	if list.count > 0 {
		s.rejects.add(list)
		s.metrics.refusedRows(list)
	}
	switch {
	case err != nil && stored > 0:
		return stored, fmt.Errorf("%d rows before it were stored: %w", stored, err)
	case err == nil && list.count > 0 && set.atomic:
		return 0, list.err()
	}
	return stored, err
}

// ingestBatches reads a stream to its end.
func (s *flightSQL) ingestBatches(ctx context.Context, r *arrowin.Reader, rows *rowBatch, set ingestSettings, list *ingestRejected) (stored int64, err error) {
	for {
		record, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return stored, fmt.Errorf("rows: %w", err)
		}
		if n := rows.held + int(record.NumRows()); n > s.options.MaxBatchSamples {
			return stored, fmt.Errorf("%d rows and more in one ingest that is all or nothing, most is %d; send fewer, or set the option atomic to false: %w", n, s.options.MaxBatchSamples, errTooMany)
		}
		if err := arrowin.Guard(func() error { return rows.add(record, list) }); err != nil {
			return stored, fmt.Errorf("rows: %w", err)
		}
		if !set.atomic {
			n, err := s.store(ctx, rows, list)
			if stored += n; err != nil {
				return stored, err
			}
		}
	}
	if !set.atomic {
		return stored, nil
	}
	rows.judgeAll(list)
	if list.count > 0 {
		return 0, nil
	}
	return s.store(ctx, rows, list)
}

// store submits the rows gathered, waits until they are applied, and begins anew.
func (s *flightSQL) store(ctx context.Context, rows *rowBatch, list *ingestRejected) (int64, error) {
	defer rows.reset()
	rows.judgeAll(list)
	if len(rows.judge.batch.Runs) == 0 {
		return 0, nil
	}
	answer, err := s.submitAndWait(ctx, rows.judge, rows.textBytes+16*rows.held)
	if err != nil {
		return 0, err
	}
	result := answer.GetResult()
	stored := int64(result.GetSamples() + result.GetIgnored())
	if n := result.GetRejected(); n > 0 { // of what the door cannot know: times that were erased since
		rows.refuse(result.GetRejections(), n, list)
		return stored, fmt.Errorf("%d rows were not stored, and others were: %s: %w", n, list.first(), errRowsRejected)
	}
	return stored, nil
}

// err is the error of an ingest that list kept out.
func (l *ingestRejected) err() error {
	return fmt.Errorf("%d rows were not taken and none was stored; %s; the first %d are in ingest_rejects, where ingest = '%s': %w", l.count, l.first(), len(l.rows), l.ingest, errRowsRejected)
}

// first is what is wrong with the first rows that were rejected.
func (l *ingestRejected) first() string {
	var b strings.Builder
	for i, r := range l.rows[:min(len(l.rows), 3)] {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "row %d (%.80s): %s", r.row, r.tag, r.reason)
	}
	return b.String()
}
