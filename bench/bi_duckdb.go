package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// biDuckDB is DuckDB on Parquet files with the columns of the SQL tables, sorted by tag and time. It is asked in the same words, and what it answers is
// what the others are held against.
type biDuckDB struct{ *duckdb }

func (d biDuckDB) name() string { return "duckdb " + d.version }

// biSchema is the columns of the SQL table samples.
var biSchema = arrow.NewSchema([]arrow.Field{
	{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}, {Name: "tag", Type: arrow.BinaryTypes.String},
	{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "quality", Type: arrow.PrimitiveTypes.Int64},
	{Name: "status", Type: arrow.BinaryTypes.String}, {Name: "severity", Type: arrow.BinaryTypes.String},
	{Name: "value_int", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "value_text", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "time_ns", Type: arrow.PrimitiveTypes.Int64}, {Name: "tag_id", Type: arrow.PrimitiveTypes.Int64}, {Name: "seq", Type: arrow.PrimitiveTypes.Int64},
}, nil)

func (d biDuckDB) load(ctx context.Context, dir string, tags []*biTag) error {
	if err := d.start(ctx, dir); err != nil {
		return err
	}
	parquet := filepath.Join(dir, "parquet")
	statements := []string{
		"SET TimeZone = 'UTC'", "ATTACH ':memory:' AS varve",
		`CREATE TABLE samples_in (time TIMESTAMPTZ, tag VARCHAR, value DOUBLE, quality BIGINT, status VARCHAR, severity VARCHAR, value_int BIGINT, value_text VARCHAR,
			time_ns BIGINT, tag_id BIGINT, seq BIGINT)`,
		`CREATE TABLE tags_in (tag_id BIGINT, name VARCHAR, description VARCHAR, type VARCHAR, unit VARCHAR, stepped BOOLEAN, first_time TIMESTAMPTZ, last_time TIMESTAMPTZ, samples BIGINT)`,
		"CREATE TABLE tag_attributes_in (tag_id BIGINT, name VARCHAR, value VARCHAR)",
	}
	for _, t := range tags {
		first, last := t.times[0]/1000, t.times[len(t.times)-1]/1000
		statements = append(statements, fmt.Sprintf("INSERT INTO tags_in VALUES (%d, %s, %s, %s, %s, %t, make_timestamptz(%d), make_timestamptz(%d), %d)",
			t.id, quoted(t.name), quotedOrNull(t.description), quoted(t.kind), quotedOrNull(t.unit), t.stepped, first, last, len(t.times)))
		if t.area != "" {
			statements = append(statements, fmt.Sprintf("INSERT INTO tag_attributes_in VALUES (%d, 'area', %s)", t.id, quoted(t.area)))
		}
	}
	if err := d.runAll(statements); err != nil {
		return err
	}
	for _, t := range tags {
		if err := d.insert(t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	statements = nil
	for table, order := range map[string]string{"samples": "tag, time_ns, seq", "tags": "tag_id", "tag_attributes": "tag_id"} {
		file := quoted(filepath.Join(parquet, table+".parquet"))
		statements = append(statements,
			fmt.Sprintf("COPY (FROM %s_in ORDER BY %s) TO %s (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)", table, order, file),
			fmt.Sprintf("CREATE VIEW varve.main.%s AS SELECT * FROM read_parquet(%s)", table, file), fmt.Sprintf("DROP TABLE %s_in", table))
	}
	statements = append(statements, "CREATE VIEW varve.main.good_samples AS SELECT * FROM varve.main.samples WHERE severity = 'Good'", "CHECKPOINT", "USE varve.main")
	return d.runAll(statements)
}

func quotedOrNull(text string) string {
	if text == "" {
		return "NULL"
	}
	return quoted(text)
}

func (d biDuckDB) runAll(statements []string) error {
	for _, sql := range statements {
		if err := d.link.run(sql); err != nil {
			return fmt.Errorf("%.100s: %w", sql, err)
		}
	}
	return nil
}

// insert sends the samples of a tag.
func (d biDuckDB) insert(t *biTag) error {
	const most = 500_000
	b := array.NewRecordBuilder(memory.DefaultAllocator, biSchema)
	defer b.Release()
	for first := 0; first < len(t.times); first += most {
		for i := first; i < min(first+most, len(t.times)); i++ {
			r := t.row(i)
			b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(r.ns / 1000))
			b.Field(1).(*array.StringBuilder).Append(t.name)
			appendOrNull(b.Field(2), b.Field(2).(*array.Float64Builder).Append, r.number)
			b.Field(3).(*array.Int64Builder).Append(int64(r.quality))
			b.Field(4).(*array.StringBuilder).Append(r.status())
			b.Field(5).(*array.StringBuilder).Append(r.severity)
			appendOrNull(b.Field(6), b.Field(6).(*array.Int64Builder).Append, r.integer)
			appendOrNull(b.Field(7), b.Field(7).(*array.StringBuilder).Append, r.text)
			b.Field(8).(*array.Int64Builder).Append(r.ns)
			b.Field(9).(*array.Int64Builder).Append(int64(t.id))
			b.Field(10).(*array.Int64Builder).Append(int64(r.seq))
		}
		record := b.NewRecord()
		var body bytes.Buffer
		out := ipc.NewWriter(&body, ipc.WithSchema(biSchema))
		err := errors.Join(out.Write(record), out.Close())
		record.Release()
		if err != nil {
			return fmt.Errorf("encode rows: %w", err)
		}
		if _, err := d.link.ask("INSERT INTO samples_in FROM batch", body.Bytes(), func(arrow.Record) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

func appendOrNull[T any](b array.Builder, add func(T), v *T) {
	if v == nil {
		b.AppendNull()
	} else {
		add(*v)
	}
}

func (d biDuckDB) words(q *biQuestion) (string, float64, string) {
	if q.functions {
		return "", 0, "it is for a function of varve"
	}
	return q.sql, q.tolerance(), ""
}

func (d biDuckDB) ask(_ context.Context, sql string, keep *cells) (rows int, err error) {
	visit := cellsOf(keep)
	_, err = d.link.ask(sql, nil, func(r arrow.Record) error {
		rows += int(r.NumRows())
		if keep == nil {
			return nil
		}
		return visit(r)
	})
	return rows, err
}

// newBIDuckDB is DuckDB, or why it cannot be asked here.
func newBIDuckDB() (biPeer, string) {
	c, missing := newDuckDB()
	if missing != "" {
		return nil, missing
	}
	return biDuckDB{c.(*duckdb)}, ""
}
