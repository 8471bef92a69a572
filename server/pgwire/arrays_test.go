package pgwire

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/query/table"
)

func TestArraysAsText(t *testing.T) {
	for text, want := range map[string]string{
		"{}": "[]", " { } ": "[]", "{1}": `["1"]`, "{ 1 , NULL,null , 3 }": `["1",null,null,"3"]`, `{"NULL",a b , "c,d" ,"e\"f","\\"}`: `["NULL","a b","c,d","e\"f","\\"]`,
		`{a\ ,\NULL,""}`: `["a ","NULL",""]`, `{é,"{}"}`: `["é","{}"]`,
		"": "error", "1": "error", "{": "error", "}": "error", "{1,}": "error", "{,1}": "error", "{{1},{2}}": "error", `{"a"b}`: "error", `{a"b"}`: "error", "{1}2": "error", `{"a}`: "error",
		"[1:1]={1}": "error", "{1,2}}": "error", `{a\`: "error",
	} {
		got, err := parseArray(oidText, false, []byte(text))
		if want == "error" {
			require.ErrorContains(t, err, "is not an array of one dimension", text)
			continue
		}
		require.NoError(t, err, text)
		list, err := listText(got)
		require.NoError(t, err)
		require.Equal(t, want, list, text)
	}
	_, err := parseArray(oidInt8, false, []byte("{1,x}"))
	require.ErrorContains(t, err, `"x" is not a value of type int8`)
	_, err = parseArray(oidText, false, []byte("{\xff}"))
	require.ErrorContains(t, err, "UTF-8")
}

// TestArraysAreReadAsTheyAreSent: what the door sends as an array, in either format, it takes as the same elements.
func TestArraysAreReadAsTheyAreSent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := rng.IntN(5)
		texts, floats, times := array.NewListBuilder(memory.DefaultAllocator, arrow.BinaryTypes.String), array.NewListBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Float64), array.NewListBuilder(memory.DefaultAllocator, utc)
		texts.Append(true)
		floats.Append(true)
		times.Append(true)
		var wantTexts, wantFloats, wantTimes []*string
		for range n {
			if rng.IntN(5) == 0 {
				texts.ValueBuilder().AppendNull()
				floats.ValueBuilder().AppendNull()
				times.ValueBuilder().AppendNull()
				wantTexts, wantFloats, wantTimes = append(wantTexts, nil), append(wantFloats, nil), append(wantTimes, nil)
				continue
			}
			text := ""
			for range rng.IntN(4) {
				text += []string{"a", ",", `"`, `\`, "{", "}", " ", "null", "é", "\n", "'"}[rng.IntN(11)]
			}
			texts.ValueBuilder().(*array.StringBuilder).Append(text)
			f := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, 0.1, rng.NormFloat64()}[rng.IntN(8)]
			floats.ValueBuilder().(*array.Float64Builder).Append(f)
			us := rng.Int64N(1<<52) - 1<<51
			times.ValueBuilder().(*array.TimestampBuilder).Append(arrow.Timestamp(us * 1000))
			float, at := string(appendFloat(nil, f)), time.UnixMicro(us).UTC().Format("2006-01-02 15:04:05.000000+00")
			wantTexts, wantFloats, wantTimes = append(wantTexts, &text), append(wantFloats, &float), append(wantTimes, &at)
		}
		for _, x := range []struct {
			oid  uint32
			list *array.List
			want []*string
		}{
			{oidText, texts.NewListArray(), wantTexts}, {oidFloat8, floats.NewListArray(), wantFloats}, {oidTimestamptz, times.NewListArray(), wantTimes},
		} {
			for _, inBinary := range []bool{false, true} {
				send, err := values(x.list, inBinary)
				require.NoError(t, err)
				sent := send(nil, 0)
				got, err := parseArray(x.oid, inBinary, sent)
				require.NoError(t, err, "%q", sent)
				text, err := listText(got)
				require.NoError(t, err)
				want, err := json.Marshal(append([]*string{}, x.want...))
				require.NoError(t, err)
				require.Equal(t, string(want), text, "%q", sent)
			}
		}
	}
}

// TestTypesThatTheStatementTells: parameters that a client leaves to the statement.
func TestTypesThatTheStatementTells(t *testing.T) {
	tables := []table.Table{
		{Name: "samples", Columns: []table.Column{{Name: "time", Type: table.Time}, {Name: "tag", Type: table.Text}, {Name: "tag_id", Type: table.Int64}, {Name: "x", Type: table.Text}}},
		{Name: "tags", Columns: []table.Column{{Name: "tag_id", Type: table.Int64}, {Name: "x", Type: table.Float64}}},
	}
	s := &session{server: &Server{options: Options{Tables: tables}}}
	for sql, want := range map[string]string{
		"select 1 from samples where tag = any($1)": "[1009]", "select 1 from Samples s where s.tag_id <> ALL ($1) and \"time\" >= some($3)": "[1016 0 1185]", "select 1 from samples, tags where x = any($1)": "[1009]",
		"select 1 from tags where x = any($1)": "[1022]", "select 1 where tag_id = any($1)": "[1009]",
		"select 1 where lower(tag) = any($1)": "[1009]", "select 1 where y = any($1)": "[1009]", "select $2::int[], $1": "[0 1007]", "select cast($1 as double precision[])": "[1022]",
		"select $1::oid[]": "[1028]", "select $1::int": "[23]", "select $1::date, $2::timestamp with time zone, $3::timestamp, $4::text, $5::numeric(3, 1), $6::bool": "[1082 0 1114 0 0 16]", "select $1 as date, cast($2 as date)": "[0 1082]", "select $1::json[]": "[]", "select $1::uuid[], $2::bytea[]": "[]", "select any_value($1)": "[]", "select $1 as x": "[]", "select f(any, $1)": "[]",
		"select $99999999999::int[]": "[]", "select $40000::int[]": "[]", "select '$1'::int[]": "[]",
	} {
		require.Equal(t, want, fmt.Sprint(s.withTypes(split(sql)[0], nil)), sql)
	}
	require.Equal(t, []uint32{oidText, 1005}, s.withTypes(split("select 1 where tag_id = any($1) or tag_id = any($2)")[0], []uint32{oidText, 1005}))
}

func FuzzArray(f *testing.F) {
	for _, s := range []string{`{1,"a\"b",NULL}`, "{}", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x19\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff\xff\xff\x00\x00\x00\x01a", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x14\xff\xff\xff\xff\x00\x00\x00\x01"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, element := range []uint32{oidText, oidInt8, oidTimestamptz} {
			for _, inBinary := range []bool{false, true} {
				all, err := parseArray(element, inBinary, b)
				if err != nil {
					require.IsType(t, &Error{}, err)
					continue
				}
				require.LessOrEqual(t, len(all), len(b))
				if _, err := listText(all); err != nil {
					require.IsType(t, &Error{}, err)
				}
			}
		}
	})
}

func TestCopy(t *testing.T) {
	mixed := &fake{schema: arrow.NewSchema([]arrow.Field{{Name: "a,b", Type: arrow.PrimitiveTypes.Int64}, {Name: "t", Type: arrow.BinaryTypes.String}}, nil)}
	b := array.NewRecordBuilder(memory.DefaultAllocator, mixed.schema)
	for i, text := range []string{"plain", "a\tb\\\n", `say "x", y`, ""} {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append(text)
	}
	b.Field(0).AppendNull()
	b.Field(1).AppendNull()
	mixed.records = append(mixed.records, b.NewRecord())
	r := start(t, map[string]*fake{"select n from three": numbers(3, 2), "SELECT * FROM t": mixed, "SELECT n, m FROM t": numbers(1, 1), "select '('": numbers(1, 1)}, nil)
	c := r.login(t)
	for _, x := range []struct{ sql, want string }{
		{"copy (select n from three) to stdout", "CopyOut 0|0\n|1\n|2\n|COPY 3"},
		{"copy t to stdout", "CopyOut 0|0\tplain\n|1\ta\\tb\\\\\\n\n|2\tsay \"x\", y\n|3\t\n|\\N\t\\N\n|COPY 5"},
		{"COPY t TO STDOUT WITH (FORMAT csv, HEADER true)", "CopyOut 0|\"a,b\",t\n|0,plain\n|1,\"a\tb\\\n\"\n|2,\"say \"\"x\"\", y\"\n|3,\"\"\n|,\n|COPY 5"},
		{"copy t to stdout csv header delimiter as ';' null 'nil' quote '''' escape '\\'", "CopyOut 0|a,b;t\n|0;plain\n|1;'a\tb\\\\\n'\n|2;say \"x\", y\n|3;\n|nil;nil\n|COPY 5"},
		{"copy t to stdout with (format csv, force_quote *, header on)", "CopyOut 0|\"a,b\",t\n|\"0\",\"plain\"\n|\"1\",\"a\tb\\\n\"\n|\"2\",\"say \"\"x\"\", y\"\n|\"3\",\"\"\n|,\n|COPY 5"},
		{"copy t (n, m) to stdout (delimiter E'\\t', encoding 'utf-8')", "CopyOut 0|0\n|COPY 1"},
		{"copy (select '(') to stdout", "CopyOut 0|0\n|COPY 1"},
		{"copy (select n from three) to stdout (format binary)", "CopyOut 1|PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00|" +
			"\x00\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01|\x00\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x02|\xff\xff|COPY 3"},
		{"copy t from stdin", "ERROR 25006: cannot execute COPY FROM in a read-only transaction"},
		{"copy t to '/tmp/x'", "ERROR 0A000: COPY is answered TO STDOUT alone"},
		{"copy t to program 'rm'", "ERROR 0A000: COPY is answered TO STDOUT alone"},
		{"copy t", "ERROR 42601: COPY must be COPY (query) TO STDOUT"},
		{"copy (select 1", "ERROR 42601: COPY has a parenthesis that is not closed"},
		{"copy (begin) to stdout", "ERROR 42601: COPY must be of a query"},
		{"copy (copy t to stdout) to stdout", "ERROR 42601: COPY must be of one query"},
		{strings.Repeat("copy (", 10_000) + "select 1", "ERROR 42601: COPY has a parenthesis that is not closed"},
		{strings.Repeat("declare a cursor for ", 10_000) + "select 1", "ERROR 42601: DECLARE must be of one query"},
		{"copy t to stdout (format parquet)", `ERROR 22023: COPY format "parquet": must be text, csv or binary`},
		{"copy t to stdout (format binary, header)", "ERROR 42601: COPY in binary has no other options"},
		{"copy t to stdout (force_quote *)", "ERROR 42601: COPY has FORCE_QUOTE in csv alone"},
		{"copy t to stdout (format csv, delimiter 'ab')", `ERROR 22023: COPY option DELIMITER is "ab", must be one character of ASCII that ends no line, QUOTE and ESCAPE of csv`},
		{"copy t to stdout (format csv, delimiter '\"')", `ERROR 22023: COPY delimiter '"', quote '"' and null "" could be taken for each other, or for what is written`},
		{"copy t to stdout (delimiter)", "ERROR 42601: COPY has option DELIMITER without a value"},
		{"copy t to stdout (rows 5)", `ERROR 0A000: COPY has no option "rows" here`},
		{"copy t to stdout (header) x", "ERROR 42601: COPY has something behind its options"},
		{"copy t to stdout (", "ERROR 42601: COPY has something behind its options"},
	} {
		for _, extended := range []bool{false, true} {
			if c.say(&pgproto3.Query{String: x.sql}); extended {
				c.copied(t)
				c.say(&pgproto3.Parse{Query: x.sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			}
			require.Equal(t, x.want, c.copied(t), x.sql)
		}
	}
}

// copied is what comes up to the end of a statement, a row each.
func (c *client) copied(t *testing.T) string {
	var out []string
	for {
		m, err := c.Receive()
		require.NoError(t, err)
		switch m := m.(type) {
		case *pgproto3.CopyOutResponse:
			out = append(out, fmt.Sprintf("CopyOut %d", m.OverallFormat))
		case *pgproto3.CopyData:
			out = append(out, string(m.Data))
		case *pgproto3.CommandComplete:
			out = append(out, string(m.CommandTag))
		case *pgproto3.ErrorResponse:
			out = append(out, m.Severity+" "+m.Code+": "+m.Message)
		case *pgproto3.ReadyForQuery:
			return strings.Join(out, "|")
		}
	}
}
