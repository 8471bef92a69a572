package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/data/sqlutil"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const pgxModule = "github.com/jackc/pgx/v5"

// postgresMacros are those of Grafana's data source for PostgreSQL, as they are without TimescaleDB.
var postgresMacros = sqlutil.Macros{
	"time": func(_ *sqlutil.Query, a []string) (string, error) { return a[0] + ` AS "time"`, nil },
	"timeEpoch": func(_ *sqlutil.Query, a []string) (string, error) {
		return "extract(epoch from " + a[0] + `) as "time"`, nil
	},
	"timeFilter": func(q *sqlutil.Query, a []string) (string, error) {
		return fmt.Sprintf("%s BETWEEN '%s' AND '%s'", a[0], q.TimeRange.From.Format(time.RFC3339Nano), q.TimeRange.To.Format(time.RFC3339Nano)), nil
	},
	"timeFrom": func(q *sqlutil.Query, _ []string) (string, error) {
		return "'" + q.TimeRange.From.Format(time.RFC3339Nano) + "'", nil
	},
	"timeTo": func(q *sqlutil.Query, _ []string) (string, error) {
		return "'" + q.TimeRange.To.Format(time.RFC3339Nano) + "'", nil
	},
	"timeGroup": timeGroup(""), "timeGroupAlias": timeGroup(` AS "time"`),
	"unixEpochFilter": func(q *sqlutil.Query, a []string) (string, error) {
		return fmt.Sprintf("%[1]s >= %[2]d AND %[1]s <= %[3]d", a[0], q.TimeRange.From.Unix(), q.TimeRange.To.Unix()), nil
	},
	"unixEpochGroup": func(_ *sqlutil.Query, a []string) (string, error) {
		d, err := step15(a)
		return fmt.Sprintf("floor((%s)/%d)*%d", a[0], d, d), err
	},
}

// timeGroup is a step of time as seconds since 1970.
func timeGroup(alias string) sqlutil.MacroFunc {
	return func(_ *sqlutil.Query, a []string) (string, error) {
		d, err := step15(a)
		return fmt.Sprintf("floor(extract(epoch from %s)/%d)*%d%s", a[0], d, d, alias), err
	}
}

func step15(a []string) (seconds int, err error) {
	d, err := time.ParseDuration(strings.Trim(strings.TrimSpace(a[1]), "'"))
	return int(d.Seconds()), err
}

// about is what its query editor asks of the catalogue, in words of ours, and a value that must be in the first column.
var about = []struct{ sql, has string }{
	{"SELECT 1", "1"},
	{"SELECT current_setting('server_version_num')::int/100 as version", "1500"},
	{"SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') ORDER BY 1", "samples"},
	{`SELECT CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(part[i]) = '"$user"' THEN user ELSE trim(part[i]) END
		FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
		string_to_array(current_setting('search_path'), ',') part) THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END
		FROM information_schema.tables`, "samples"},
	{`SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE CASE WHEN array_length(parse_ident('samples'), 1) = 2
		THEN quote_ident(table_schema) = (parse_ident('samples'))[1] AND quote_ident(table_name) = (parse_ident('samples'))[2] ELSE quote_ident(table_name) = 'samples' END`, "value"},
	{"SELECT DISTINCT tag FROM samples WHERE tag ~ 'TEP.XMEAS_.*'", "TEP.XMEAS_09"},
	{"SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'", "0"},
}

func postgres(ctx context.Context, address string, p *plant) (err error) {
	config, err := pgx.ParseConfig("postgres://me@" + address + "/varve?sslmode=disable")
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	s := &postgresSource{ctx, db}
	for _, x := range about {
		values, err := s.first(x.sql)
		if err != nil {
			return fmt.Errorf("%s: %w", x.sql, err)
		}
		if !slices.Contains(values, x.has) {
			return fmt.Errorf("%s: %q is not among %q", x.sql, x.has, values)
		}
	}
	ran("Grafana (PostgreSQL)", sdk, "metadata", fmt.Sprintf("%d questions of its query editor: version, tables of the search path, columns, values of variables", len(about)))

	for _, x := range []struct {
		sql  string
		tag  string
		want []step
	}{
		{"SELECT $__time(time), value FROM samples WHERE tag = 'TEP.XMEAS_09' AND $__timeFilter(time) ORDER BY 1", "", p.samples("XMEAS_09")},
		{"SELECT time AS \"time\", tag AS metric, value FROM samples WHERE tag IN ('TEP.XMEAS_01', 'TEP.XMEAS_09') AND $__timeFilter(time) ORDER BY 1", "TEP.XMEAS_01", p.samples("XMEAS_01")},
		{"SELECT $__timeGroupAlias(time,'15m'), avg(value) AS mean FROM samples WHERE tag = 'TEP.XMEAS_09' AND $__timeFilter(time) GROUP BY 1 ORDER BY 1", "", p.means("XMEAS_09")},
		{"SELECT $__timeGroup(time,'15m') AS \"time\", avg(value) AS mean FROM samples WHERE tag = 'TEP.XMEAS_09' AND time >= $__timeFrom() AND time <= $__timeTo() GROUP BY 1 ORDER BY 1", "", p.means("XMEAS_09")},
		{"SELECT $__unixEpochGroup(time_ns/1000000000,'15m') AS \"time\", avg(value) AS mean FROM samples WHERE tag = 'TEP.XMEAS_09' AND $__unixEpochFilter(time_ns/1000000000) GROUP BY 1 ORDER BY 1",
			"", p.means("XMEAS_09")},
		{"SELECT $__timeEpoch(time), value FROM samples WHERE tag = 'TEP.XMEAS_09' AND $__timeFilter(time) ORDER BY 1", "", p.samples("XMEAS_09")},
		// What the macros are where TimescaleDB is said to be there.
		{"SELECT time_bucket('900.000s',time) AS \"time\", avg(value) AS mean FROM samples WHERE tag = 'TEP.XMEAS_09' AND $__timeFilter(time) GROUP BY 1 ORDER BY 1", "", p.means("XMEAS_09")},
	} {
		frame, err := s.frame(x.sql)
		if err == nil {
			err = requireSeries(frame, x.tag, x.want)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", x.sql, err)
		}
	}
	ran("Grafana (PostgreSQL)", sdk, "parameters", "macros: time, timeEpoch, timeFilter, timeFrom, timeTo, timeGroup, timeGroupAlias, unixEpochFilter, unixEpochGroup; time_bucket of TimescaleDB")
	asked, err := askPage(p, "PostgreSQL", s.frame)
	if err != nil {
		return err
	}
	ran("Grafana (PostgreSQL)", sdk, "read", fmt.Sprintf("time series equal to the file, of one tag and by tag, as its library makes frames; %d statements of the page", asked))
	return driver(ctx, db, p)
}

type postgresSource struct {
	ctx context.Context
	db  *sql.DB
}

// first are the values of the first column, as text.
func (s *postgresSource) first(text string) (out []string, err error) {
	rows, err := s.db.QueryContext(s.ctx, text)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprint(*values[0].(*any)))
	}
	return out, rows.Err()
}

// frame is what a panel gets for a statement. Numbers in a column named time are seconds since 1970, as the data source has it.
func (s *postgresSource) frame(text string) (*data.Frame, error) {
	asked, err := sqlutil.Interpolate(query(text), postgresMacros)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(s.ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", asked, err)
	}
	defer rows.Close()
	f, err := sqlutil.FrameFromRows(rows, -1)
	if err != nil {
		return nil, err
	}
	for i, field := range f.Fields {
		if field.Name != "time" || field.Type().Time() {
			continue
		}
		times := make([]*time.Time, field.Len())
		for k := range times {
			seconds, err := field.FloatAt(k)
			if err != nil {
				return nil, err
			}
			t := time.UnixMicro(int64(seconds * 1e6)).UTC()
			times[k] = &t
		}
		f.Fields[i] = data.NewField("time", nil, times)
	}
	return wide(f)
}

// driver is pgx by itself, with what Go programs do.
func driver(ctx context.Context, db *sql.DB, p *plant) (err error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	st, err := c.PrepareContext(ctx, "select time, value, quality from samples where tag = $1 and time >= $2 and time <= $3 order by time")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	want := p.samples("XMEAS_01")
	for range 3 {
		rows, err := st.QueryContext(ctx, "TEP.XMEAS_01", from, to)
		if err != nil {
			return err
		}
		n := 0
		for ; rows.Next(); n++ {
			var at time.Time
			var v float64
			var quality int64
			if err := rows.Scan(&at, &v, &quality); err != nil {
				return err
			}
			if n >= len(want) || !at.Equal(want[n].at) || v != want[n].mean || quality != 0 {
				return fmt.Errorf("pgx: row %d is %v %v", n, at, v)
			}
		}
		if rows.Err() != nil || n != len(want) {
			return fmt.Errorf("pgx: %d rows, not %d: %w", n, len(want), rows.Err())
		}
	}
	ran("pgx", pgxModule, "read", "rows equal to the file, binary")
	ran("pgx", pgxModule, "prepare", "a statement, asked three times")
	ran("pgx", pgxModule, "parameters", "a text and instants")
	types := map[string]uint32{}
	err = c.Raw(func(raw any) error {
		d, err := raw.(*stdlib.Conn).Conn().Prepare(ctx, "", "select time, value, quality, tag from samples")
		if err == nil {
			for _, field := range d.Fields {
				types[field.Name] = field.DataTypeOID
			}
		}
		return err
	})
	if err != nil || types["time"] != 1184 || types["value"] != 701 || types["quality"] != 20 || types["tag"] != 25 {
		return fmt.Errorf("pgx: types are %v: %w", types, err)
	}
	ran("pgx", pgxModule, "metadata", "types of columns of a prepared statement")
	limited, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if _, err := db.ExecContext(limited, "select count(*) from samples a, samples b, samples c"); err == nil {
		return errors.New("pgx: an endless statement was not ended by its context")
	}
	var one int
	if err := db.QueryRowContext(ctx, "select 1").Scan(&one); err != nil {
		return err
	}
	ran("pgx", pgxModule, "cancel", "of an endless statement by its context; the next one answers")
	return nil
}
