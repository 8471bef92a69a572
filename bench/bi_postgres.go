package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// biPostgresWords are the words of PostgreSQL where they are not those of the questions.
//
//go:embed bi/postgres.sql
var biPostgresWords string

// biPostgres is PostgreSQL with a table of the columns of samples, indexed by tag and time.
type biPostgres struct {
	biLink
	cluster *postgres
	own     map[string]biWords
}

// biWords are a question in the words of a peer, or why it is not asked.
type biWords struct {
	sql, why string
	about    bool
}

// biWordsOf reads a file of them.
func biWordsOf(text string) map[string]biWords {
	all := map[string]biWords{}
	sections(text, func(name, flags, sql string) {
		why, _ := strings.CutPrefix(flags, "not asked, ")
		if flags == "" || flags == "about" {
			why = ""
		}
		all[name] = biWords{sql: sql, why: why, about: flags == "about"}
	})
	return all
}

// newBIPostgres is PostgreSQL, or why it cannot be asked here.
func newBIPostgres() (biPeer, string) {
	c, missing := newPostgres()
	if missing != "" {
		return nil, missing
	}
	return &biPostgres{cluster: c.(*postgres), own: biWordsOf(biPostgresWords)}, ""
}

func (p *biPostgres) name() string {
	_, version, _ := strings.Cut(p.cluster.version, ") ")
	version, _, _ = strings.Cut(version, " ")
	return "postgres " + version
}

func (p *biPostgres) words(q *biQuestion) (string, float64, string) {
	if q.functions {
		return "", 0, "it is for a function of varve"
	}
	w, ok := p.own[q.name]
	switch {
	case !ok:
		return q.sql, q.tolerance(), ""
	case w.about:
		return w.sql, biAbout, w.why
	}
	return w.sql, q.tolerance(), w.why
}

// biPostgresTables are the tables of SQL as PostgreSQL has them, in a database and a schema of the same names.
const biPostgresTables = `
CREATE SCHEMA main;
ALTER DATABASE varve SET search_path = main;
ALTER DATABASE varve SET timezone = 'UTC';
ALTER DATABASE varve SET work_mem = '256MB';
SET search_path = main;
CREATE TABLE samples (time timestamptz NOT NULL, tag text NOT NULL, value float8, quality int8 NOT NULL, status text NOT NULL, severity text NOT NULL, value_int int8, value_text text,
	time_ns int8 NOT NULL, tag_id int8 NOT NULL, seq int8 NOT NULL);
CREATE TABLE tags (tag_id int8 PRIMARY KEY, name text NOT NULL, description text, type text NOT NULL, unit text, stepped bool NOT NULL,
	first_time timestamptz, last_time timestamptz, samples int8);
CREATE TABLE tag_attributes (tag_id int8, name text, value text);
CREATE VIEW good_samples AS SELECT * FROM samples WHERE severity = 'Good'`

func (p *biPostgres) load(ctx context.Context, dir string, tags []*biTag) error {
	if err := p.cluster.start(ctx, dir); err != nil {
		return err
	}
	if err := p.cluster.link.run("CREATE DATABASE varve"); err != nil {
		return err
	}
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/varve", p.cluster.port)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, biPostgresTables, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	columns := []string{"time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id", "seq"}
	for _, t := range tags {
		i := 0
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"samples"}, columns, pgx.CopyFromFunc(func() ([]any, error) {
			if i == len(t.times) {
				return nil, nil
			}
			r := t.row(i)
			i++
			return []any{time.UnixMicro(r.ns / 1000), t.name, r.number, int64(r.quality), r.status(), r.severity, r.integer, r.text, r.ns, int64(t.id), int64(r.seq)}, nil
		})); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		null := func(text string) any {
			if text == "" {
				return nil
			}
			return text
		}
		if _, err := conn.Exec(ctx, "INSERT INTO tags VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", int64(t.id), t.name, null(t.description), t.kind, null(t.unit), t.stepped,
			time.UnixMicro(t.times[0]/1000), time.UnixMicro(t.times[len(t.times)-1]/1000), int64(len(t.times))); err != nil {
			return err
		}
		if t.area != "" {
			if _, err := conn.Exec(ctx, "INSERT INTO tag_attributes VALUES ($1, 'area', $2)", int64(t.id), t.area); err != nil {
				return err
			}
		}
	}
	for _, sql := range []string{"CREATE INDEX ON samples (tag, time)", "CREATE INDEX ON samples (tag_id, time)", "VACUUM ANALYZE samples", "VACUUM ANALYZE tags", "VACUUM ANALYZE tag_attributes", "CHECKPOINT"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return p.connect(ctx, url) // with the settings of the database
}

func (p *biPostgres) stop() error {
	p.hangUp()
	return p.cluster.stop()
}

// biDoor is varve again, through its door for clients of PostgreSQL.
type biDoor struct {
	biLink
	of *biVarve
}

func (d *biDoor) name() string { return "varve, PostgreSQL door" }

func (d *biDoor) load(ctx context.Context, _ string, _ []*biTag) error {
	address, _ := strings.CutPrefix(d.of.args[len(d.of.args)-1], "--postgres=")
	return d.connect(ctx, "postgres://bench@"+address+"/varve")
}

func (d *biDoor) words(q *biQuestion) (string, float64, string) { return q.sql, q.tolerance(), "" }

func (d *biDoor) stop() error {
	d.hangUp()
	return nil
}

// biLink is a connection of PostgreSQL's protocol. Statements are prepared the first time, as the driver does by itself.
type biLink struct{ conn *pgx.Conn }

func (l *biLink) connect(ctx context.Context, url string) (err error) {
	l.conn, err = pgx.Connect(ctx, url)
	return err
}

func (l *biLink) hangUp() {
	if l.conn != nil {
		l.conn.Close(context.Background())
	}
}

// ask decodes every value, as the client of the others does.
func (l *biLink) ask(ctx context.Context, sql string, keep *cells) (int, error) {
	rows, err := l.conn.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		values, err := rows.Values()
		if err != nil {
			return n, err
		}
		if keep == nil {
			continue
		}
		for i := range values {
			if values[i], err = postgresCell(values[i]); err != nil {
				return n, fmt.Errorf("column %s: %w", rows.FieldDescriptions()[i].Name, err)
			}
		}
		*keep = append(*keep, values)
	}
	return n, rows.Err()
}
