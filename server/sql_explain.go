package server

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	"github.com/varvedb/varve/server/relation"
	"github.com/varvedb/varve/storage"
)

// scanRead is a scan of a statement and what it read.
type scanRead struct {
	table *relation.Table
	scan  *relation.Scan
	rows  uint64
	plain bool // its rows are the answer
	storage.Reading
}

// note keeps what a scan read, for who asks.
func (x *openStatement) note(r scanRead) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reads = append(x.reads, r)
}

var explainWord = regexp.MustCompile(`(?i)^\s*explain\s+(analyze\s+)?`)

// explained is a statement without EXPLAIN, and whether it had that.
func explained(sql string) (string, bool) {
	if at := explainWord.FindStringIndex(sql); at != nil {
		return sql[at[1]:], true
	}
	return sql, false
}

// explainSchema is the columns of EXPLAIN: a row for each scan that the statement took.
var explainSchema = arrow.NewSchema([]arrow.Field{
	{Name: "scan", Type: arrow.BinaryTypes.String},
	{Name: "columns", Type: arrow.BinaryTypes.String},
	{Name: "narrowed_by", Type: arrow.BinaryTypes.String},
	{Name: "rows", Type: arrow.PrimitiveTypes.Int64},
	{Name: "chunks_decoded", Type: arrow.PrimitiveTypes.Int64},
	{Name: "samples_decoded", Type: arrow.PrimitiveTypes.Int64},
	{Name: "answered_by", Type: arrow.BinaryTypes.String},
}, nil)

// explainStatement runs a statement and says what its scans read in place of what it answers.
func (s *Server) explainStatement(ctx context.Context, st statement, put func(ipc []byte) error) error {
	return s.withStatement(ctx, st, func(ctx context.Context, x *openStatement, r *sqlchildv1.StatementRequest) error {
		if err := s.runOpen(ctx, x, r, answerTo{func([]byte) error { return nil }, discard{}}); err != nil {
			return err
		}
		x.end()
		b := array.NewRecordBuilder(memory.DefaultAllocator, explainSchema)
		defer b.Release()
		for _, r := range x.reads {
			b.Field(0).(*array.StringBuilder).Append(r.table.Name)
			b.Field(1).(*array.StringBuilder).Append(r.columns())
			b.Field(2).(*array.StringBuilder).Append(r.narrowedBy())
			b.Field(3).(*array.Int64Builder).Append(int64(r.rows))
			b.Field(4).(*array.Int64Builder).Append(r.Chunks)
			b.Field(5).(*array.Int64Builder).Append(r.Decoded)
			b.Field(6).(*array.StringBuilder).Append(map[bool]string{false: "engine", true: "server"}[r.plain])
		}
		record := b.NewRecord()
		defer record.Release()
		var out bytes.Buffer
		w := ipc.NewWriter(&out, ipc.WithSchema(explainSchema))
		if err := w.Write(record); err != nil {
			return fmt.Errorf("encode explanation: %w", err)
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("encode explanation: %w", err)
		}
		return put(out.Bytes())
	})
}

func (r *scanRead) columns() string {
	var names []string
	for _, c := range r.scan.Columns {
		if c < len(r.table.Columns) {
			names = append(names, r.table.Columns[c].Name)
		}
	}
	return strings.Join(names, ", ")
}

// narrowedBy is in words what of a table was wanted.
func (r *scanRead) narrowedBy() string {
	s := r.scan
	if s.Nothing {
		return "nothing can meet it"
	}
	var parts []string
	if n := len(s.Names); n == 1 {
		parts = append(parts, fmt.Sprintf("tag %q", s.Names[0]))
	} else if s.Names != nil {
		parts = append(parts, fmt.Sprintf("%d names of tags", n))
	}
	if s.IDs != nil {
		parts = append(parts, fmt.Sprintf("%d ids of tags", len(s.IDs)))
	}
	if s.In.Start > model.MinTime {
		parts = append(parts, "from "+model.FormatTime(s.In.Start))
	}
	if s.In.End != model.All.End {
		parts = append(parts, "before "+model.FormatTime(s.In.End))
	}
	if s.Severities != 0 {
		var names []string
		for i, name := range []string{"Good", "Uncertain", "Bad"} {
			if s.Severities>>i&1 == 1 {
				names = append(names, name)
			}
		}
		parts = append(parts, strings.Join(names, " or "))
	}
	if s.PerTag > 0 {
		parts = append(parts, fmt.Sprintf("%s %d of each tag%s", map[bool]string{false: "oldest", true: "newest"}[s.Newest], s.PerTag, map[bool]string{true: " with a value"}[s.Valued]))
	}
	for _, level := range s.Levels {
		parts = append(parts, "level "+time.Duration(level).String())
	}
	for name, value := range s.Arguments {
		parts = append(parts, name+" "+value)
	}
	slices.Sort(parts[len(parts)-len(s.Arguments):])
	return strings.Join(parts, ", ")
}
