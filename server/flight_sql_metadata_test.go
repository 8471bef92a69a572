package server

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/relation"
)

func TestMetadataOfTables(t *testing.T) {
	s := start(t, Options{Version: "1.2.3"})
	c, ctx := s.sqlClient(t), testContext(t)
	ask := func(info *flight.FlightInfo, err error) [][]string {
		t.Helper()
		require.NoError(t, err)
		rows, err := fetch(ctx, c, info)
		require.NoError(t, err)
		return rows
	}
	text := func(s string) *string { return &s }
	require.Equal(t, [][]string{{"varve"}}, ask(c.GetCatalogs(ctx)))
	require.Equal(t, [][]string{{"varve", "main"}}, ask(c.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{})))
	require.Equal(t, [][]string{{"varve", "main"}}, ask(c.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{Catalog: text("varve"), DbSchemaFilterPattern: text("m%")})))
	require.Empty(t, ask(c.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{Catalog: text("")})))
	require.Equal(t, [][]string{{"TABLE"}, {"VIEW"}}, ask(c.GetTableTypes(ctx)))
	require.Equal(t, [][]string{{"varve", "main", "good_samples", "VIEW"}, {"varve", "main", "samples", "TABLE"}}, ask(c.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: text("%samples")})))
	require.Equal(t, [][]string{{"varve", "main", "good_samples", "VIEW"}, {"varve", "main", "latest", "VIEW"}}, ask(c.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"VIEW"}})))
	tables := ask(c.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"TABLE"}}))
	require.Contains(t, tables, []string{"varve", "main", "samples", "TABLE"})
	require.Equal(t, tables, ask(c.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE", "table"}})), "as Grafana's data source asks")
	require.Empty(t, ask(c.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE"}})))
	require.Empty(t, ask(c.GetTables(ctx, &flightsql.GetTablesOpts{Catalog: text("other")})))

	info, err := c.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: text("samples"), IncludeSchema: true})
	require.NoError(t, err)
	r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	require.NoError(t, err)
	require.True(t, r.Next())
	schema, err := flight.DeserializeSchema(r.Record().Column(4).(*array.Binary).Value(0), memory.DefaultAllocator)
	require.NoError(t, err)
	samples, _ := table.Named("samples")
	require.True(t, samples.Arrow().Equal(schema), schema)
	r.Release()

	require.Equal(t, [][]string{
		{"varve", "main", "samples", "tag_id", "1", "samples_key"}, {"varve", "main", "samples", "time_ns", "2", "samples_key"}, {"varve", "main", "samples", "seq", "3", "samples_key"},
	}, ask(c.GetPrimaryKeys(ctx, flightsql.TableRef{Table: "samples"})))
	imported := ask(c.GetImportedKeys(ctx, flightsql.TableRef{Table: "samples"}))
	require.Equal(t, [][]string{{"varve", "main", "tags", "tag_id", "varve", "main", "samples", "tag_id", "1", "samples_tag_id", "tags_key", "3", "3"}}, imported)
	exported := ask(c.GetExportedKeys(ctx, flightsql.TableRef{Table: "tags"}))
	require.Contains(t, exported, imported[0])
	require.Greater(t, len(exported), 5)
	require.Equal(t, imported, ask(c.GetCrossReference(ctx, flightsql.TableRef{Table: "tags"}, flightsql.TableRef{Table: "samples"})))
	require.Empty(t, ask(c.GetCrossReference(ctx, flightsql.TableRef{Table: "samples"}, flightsql.TableRef{Table: "tags"})))

	types := ask(c.GetXdbcTypeInfo(ctx, nil))
	require.Len(t, types, 6)
	for i, code := range []string{"-7", "-5", "-3", "8", "12", "93"} {
		require.Equal(t, code, types[i][1], "in the order of their numbers")
	}
	one := int32(-5)
	bigint := ask(c.GetXdbcTypeInfo(ctx, &one))
	require.Len(t, bigint, 1)
	require.Equal(t, []string{"BIGINT", "-5", "19"}, bigint[0][:3])
	for _, schema := range []func() (*flight.SchemaResult, error){
		func() (*flight.SchemaResult, error) { return c.GetCatalogsSchema(ctx) }, func() (*flight.SchemaResult, error) { return c.GetSqlInfoSchema(ctx) },
		func() (*flight.SchemaResult, error) { return c.GetTablesSchema(ctx, &flightsql.GetTablesOpts{}) },
		func() (*flight.SchemaResult, error) { return c.GetCrossReferenceSchema(ctx) },
	} {
		got, err := schema()
		require.NoError(t, err)
		_, err = flight.DeserializeSchema(got.Schema, memory.DefaultAllocator)
		require.NoError(t, err)
	}
}

// TestClientsAreToldOfTheTablesThatAreRead holds what metadata says to what statements read.
func TestClientsAreToldOfTheTablesThatAreRead(t *testing.T) {
	told := map[string][]string{}
	for _, one := range table.All() {
		for _, c := range one.Columns {
			told[one.Name] = append(told[one.Name], c.Name+" "+c.Type.Arrow().String())
		}
	}
	read := map[string][]string{}
	for _, one := range relation.Tables {
		if one.Arguments != nil {
			continue // a function
		}
		for _, c := range one.Columns {
			read[one.Name] = append(read[one.Name], c.Name+" "+c.Type.String())
		}
	}
	require.Equal(t, read, told)
}

func TestTheServerTellsOfItselfByAnyNumber(t *testing.T) {
	s := start(t, Options{Version: "1.2.3"})
	c, ctx := s.sqlClient(t), testContext(t)
	ask := func(ids ...flightsql.SqlInfo) map[uint32]string {
		info, err := c.GetSqlInfo(ctx, ids)
		require.NoError(t, err)
		r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
		require.NoError(t, err)
		defer r.Release()
		out := map[uint32]string{}
		for r.Next() {
			values := r.Record().Column(1).(*array.DenseUnion)
			for i := range int(r.Record().NumRows()) {
				out[r.Record().Column(0).(*array.Uint32).Value(i)] = values.Field(values.ChildID(i)).ValueStr(int(values.ValueOffset(i)))
			}
		}
		require.NoError(t, r.Err())
		return out
	}
	require.Equal(t, map[uint32]string{0: "varve", 1: "1.2.3", 2: arrow.PkgVersion}, ask(0, 1, 2, 77, 99999), "a number nobody knows spoils no answer")
	all := ask()
	for id := uint32(500); id <= 576; id++ {
		require.Contains(t, all, id)
	}
	require.Equal(t, "3600000", all[100])
	require.Equal(t, "true", all[10], "bulk ingest")
	require.Contains(t, all[508], "ASOF")
	actions, err := c.Client.ListActions(ctx, &flight.Empty{})
	require.NoError(t, err)
	first, err := actions.Recv()
	require.NoError(t, err)
	require.Equal(t, "CreatePreparedStatement", first.Type)
	stream, err := c.Client.DoAction(ctx, &flight.Action{Type: "BeginSavepoint"})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireCode(t, codes.Unimplemented, err, `"BeginSavepoint"`)
}

func TestPatternsOfNames(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"samples", "samples", true}, {"sample", "samples", false}, {"%", "", true}, {"", "", true}, {"", "x", false}, {"_", "é", true},
		{"s%s", "samples", true}, {"%a%e%", "samples", true}, {"%b%", "samples", false}, {"tag_names", "tagXnames", true}, {`tag\_names`, "tagXnames", false},
		{`tag\_names`, "tag_names", true}, {`100\%`, "100%", true}, {`100\%`, "1000", false}, {"%%_", "a", true}, {"%_%_%", "a", false}, {`\`, `\`, true},
		{strings.Repeat("%a", 30) + "b", strings.Repeat("a", 60), false},
	} {
		require.Equal(t, c.want, like(&c.pattern, c.name), "%q %q", c.pattern, c.name)
	}
	require.True(t, like(nil, "anything"))
}
