package pgwire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

func TestStatementsOfTheSimpleProtocol(t *testing.T) {
	r := start(t, map[string]*fake{"select n from three": numbers(3, 2), "select n from none": numbers(0, 1), "explain select 1": numbers(1, 1)}, nil)
	c := r.login(t)
	require.Equal(t, "UTC", c.told["TimeZone"])
	require.Equal(t, "UTF8", c.told["client_encoding"])
	require.Equal(t, "on", c.told["default_transaction_read_only"])
	for _, step := range []struct {
		sql  string
		want string
	}{
		{"", "EmptyQueryResponse;ReadyForQuery I"},
		{" ; -- nothing\n /* at /* all */ */ ;", "EmptyQueryResponse;ReadyForQuery I"},
		{"select n from three", "RowDescription n:20:0;DataRow 0;DataRow 1;DataRow 2;CommandComplete SELECT 3;ReadyForQuery I"},
		{"select n from none;", "RowDescription n:20:0;CommandComplete SELECT 0;ReadyForQuery I"},
		{"explain select 1", "RowDescription n:20:0;DataRow 0;CommandComplete EXPLAIN;ReadyForQuery I"},
		{"begin; select n from none; commit", "CommandComplete BEGIN;RowDescription n:20:0;CommandComplete SELECT 0;CommandComplete COMMIT;ReadyForQuery I"},
		{"select n from none; select n from nothing; select n from none", "RowDescription n:20:0;CommandComplete SELECT 0;ERROR 42P01 at 35: there is no such table;ReadyForQuery I"},
		{"/* é */ select n from nothing", "ERROR 42P01 at 23: there is no such table;ReadyForQuery I"},
		{"select 1 from \xff", "ERROR 22021 at 0: text is not UTF-8;ReadyForQuery I"},
		{"insert into samples values (1)", "ERROR 25006 at 0: cannot execute INSERT in a read-only transaction;ReadyForQuery I"},
		{"copy samples to stdout", "ERROR 42P01 at 0: there is no such table;ReadyForQuery I"},
		{"select plain error", "ERROR XX000 at 0: something of ours;ReadyForQuery I"},
	} {
		require.Equal(t, step.want, strings.Join(c.query(step.sql), ";"), step.sql)
	}
}

func TestTransactionsReadAndAreAbortedByErrors(t *testing.T) {
	r := start(t, map[string]*fake{"select 1": numbers(1, 1)}, nil)
	c := r.login(t)
	for _, step := range []struct{ sql, want string }{
		{"begin", "CommandComplete BEGIN;ReadyForQuery T"},
		{"start transaction", "WARNING 25001: there is already a transaction in progress;CommandComplete START TRANSACTION;ReadyForQuery T"},
		{"savepoint a", "CommandComplete SAVEPOINT;ReadyForQuery T"},
		{"select wrong", "ERROR 42P01 at 15: there is no such table;ReadyForQuery E"},
		{"select 1", "ERROR 25P02 at 0: current transaction is aborted, commands ignored until end of transaction block;ReadyForQuery E"},
		{"show timezone", "ERROR 25P02 at 0: current transaction is aborted, commands ignored until end of transaction block;ReadyForQuery E"},
		{`rollback to savepoint "a"`, "CommandComplete ROLLBACK;ReadyForQuery T"},
		{"release a", "CommandComplete RELEASE;ReadyForQuery T"},
		{"release a", "ERROR 3B001 at 0: savepoint \"a\" does not exist;ReadyForQuery E"},
		{"commit", "CommandComplete ROLLBACK;ReadyForQuery I"},
		{"rollback", "WARNING 25P01: there is no transaction in progress;CommandComplete ROLLBACK;ReadyForQuery I"},
		{"savepoint a", "ERROR 25P01 at 0: SAVEPOINT can only be used in transaction blocks;ReadyForQuery I"},
		{"begin isolation level serializable read only", "WARNING 0A000: every statement reads what is stored when it begins, whatever the isolation level;CommandComplete BEGIN;ReadyForQuery T"},
		{"end and chain", "CommandComplete COMMIT;ReadyForQuery T"},
		{"abort", "CommandComplete ROLLBACK;ReadyForQuery I"},
	} {
		require.Equal(t, step.want, strings.Join(c.query(step.sql), ";"), step.sql)
	}
}

func TestSettings(t *testing.T) {
	r := start(t, nil, nil)
	c := r.login(t, "options", `-c statement_timeout=5s --application-name=a\ b`, "extra_float_digits", "3")
	shown := func(name string) string {
		t.Helper()
		got := c.query("show " + name)
		require.Len(t, got, 4, "%q", got)
		return strings.TrimPrefix(got[1], "DataRow ")
	}
	require.Equal(t, "a b", c.told["application_name"])
	require.Equal(t, "5s", shown("statement_timeout"))
	for _, step := range []struct{ sql, want, name, value string }{
		{"set application_name to 'x''y'", "CommandComplete SET", "application_name", "x'y"},
		{"set datestyle = iso, mdy", "CommandComplete SET", "DateStyle", "ISO, MDY"},
		{"set time zone 'utc'", "CommandComplete SET", "TIME ZONE", "UTC"},
		{"set names 'utf8'", "CommandComplete SET", "client_encoding", "UTF8"},
		{"set client_encoding = 'utf-8'", "CommandComplete SET", "client_encoding", "UTF8"},
		{"set client_encoding = '''utf-8'''", "CommandComplete SET", "client_encoding", "UTF8"},
		{"set extra_float_digits = -5", "CommandComplete SET", "extra_float_digits", "-5"},
		{"reset extra_float_digits", "CommandComplete RESET", "extra_float_digits", "3"},
		{"set timezone to 'Europe/Berlin'", "ERROR 0A000 at 0: TimeZone cannot be \"Europe/Berlin\" here, only UTC", "timezone", "UTC"},
		{"set server_version = '16'", `ERROR 55P02 at 0: parameter "server_version" cannot be changed`, "server_version", ServerVersion},
		{"set nothing = 1", `ERROR 42704 at 0: unrecognized configuration parameter "nothing"`, "application_name", "x'y"},
		{"set client_encoding = latin1", `ERROR 22023 at 0: client_encoding cannot be "latin1" here, only UTF8`, "client_encoding", "UTF8"},
		{"begin; set application_name = 'inside'; rollback", "CommandComplete BEGIN;CommandComplete SET;CommandComplete ROLLBACK", "application_name", "x'y"},
		{"begin; set local application_name = 'inside'; commit", "CommandComplete BEGIN;CommandComplete SET;CommandComplete COMMIT", "application_name", "x'y"},
		{"begin; set application_name = 'inside'; commit", "CommandComplete BEGIN;CommandComplete SET;CommandComplete COMMIT", "application_name", "inside"},
		{"select pg_catalog.set_config('search_path', '', false)", "RowDescription set_config:25:0;DataRow ;CommandComplete SELECT 1", "search_path", ""},
		{"set role other", `ERROR 42501 at 0: a session cannot become "other"`, "session authorization", "me"},
		{"discard all", "CommandComplete DISCARD ALL", "application_name", "a b"},
	} {
		got := strings.Join(c.query(step.sql), ";")
		require.Equal(t, step.want+";ReadyForQuery I", got, step.sql)
		require.Equal(t, step.value, shown(step.name), step.sql)
	}
	require.Equal(t, "a b", c.told["application_name"], "changes are reported")

	c = r.login(t, "TimeZone", "Europe/Berlin")
	require.Equal(t, "UTC", c.told["TimeZone"], "a client that sends the zone of its machine is told")
	for _, wrong := range []string{"statement_timeout", "nothing"} {
		c := r.dial(t)
		c.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "me", "database": "varve", wrong: "x"}})
		require.Contains(t, strings.Join(c.until("FATAL"), ";"), wrong)
	}
}

// TestErrorsAreToldBeforeSync: a client may send Sync only when it hears of the error.
func TestErrorsAreToldBeforeSync(t *testing.T) {
	r := start(t, map[string]*fake{"select n": numbers(3, 1)}, nil)
	c := r.login(t)
	c.say(&pgproto3.Parse{Name: "s", Query: "select n"}, &pgproto3.Describe{ObjectType: 'S', Name: "other"}, &pgproto3.Flush{})
	require.Equal(t, []string{"ParseComplete", `ERROR 26000 at 0: prepared statement "other" does not exist`}, c.until("ERROR"))
	c.say(&pgproto3.Execute{}, &pgproto3.Flush{}, &pgproto3.Sync{})
	require.Equal(t, []string{"ReadyForQuery I"}, c.until("ReadyForQuery"))
}

// TestPortalsReadInPiecesWhatIsReadAtOnce: however an answer is asked for, its rows are the same.
func TestPortalsReadInPiecesWhatIsReadAtOnce(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		count := rng.IntN(400)
		r := start(t, map[string]*fake{"select n": numbers(count, 1+rng.IntN(50))}, nil)
		c := r.login(t)
		c.say(&pgproto3.Parse{Name: "s", Query: "select n"}, &pgproto3.Query{String: "begin"})
		c.until("ReadyForQuery")
		c.say(&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"}, &pgproto3.Flush{})
		c.until("BindComplete")
		next := 0
		for ended := false; !ended; {
			most := 1 + rng.IntN(60)
			c.say(&pgproto3.Execute{Portal: "p", MaxRows: uint32(most)}, &pgproto3.Sync{})
			got := c.until("ReadyForQuery")
			for _, row := range got[:len(got)-2] {
				require.Equal(t, fmt.Sprintf("DataRow %d", next), row, "seed %d", seed)
				next++
			}
			ended = got[len(got)-2] != "PortalSuspended"
			if ended {
				require.Equal(t, fmt.Sprintf("CommandComplete SELECT %d", len(got)-2), got[len(got)-2], "seed %d", seed)
			} else {
				require.Len(t, got, most+2, "seed %d", seed)
			}
		}
		require.Equal(t, count, next, "seed %d", seed)
		c.query("commit")
		c.say(&pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{})
		require.Equal(t, []string{`ERROR 34000 at 0: portal "p" does not exist`, "ReadyForQuery I"}, c.until("ReadyForQuery"), "the end of its transaction is the end of a portal")
	}
}

func TestExtendedProtocol(t *testing.T) {
	one := numbers(2, 1)
	one.parameters = arrow.NewSchema([]arrow.Field{{Name: "1", Type: arrow.PrimitiveTypes.Float64}, {Name: "2", Type: arrow.BinaryTypes.String}}, nil)
	r := start(t, map[string]*fake{"select $1, $2": one, "select n": numbers(2, 1)}, func(o *Options) { o.MaxPortals, o.MaxStatements = 2, 3 })
	c := r.login(t)
	ask := func(messages ...pgproto3.FrontendMessage) string {
		t.Helper()
		c.say(append(messages, &pgproto3.Sync{})...)
		return strings.Join(c.until("ReadyForQuery"), ";")
	}
	require.Equal(t, "ParseComplete;ParameterDescription [701 25];RowDescription n:20:0;ReadyForQuery I",
		ask(&pgproto3.Parse{Name: "a", Query: "select $1, $2"}, &pgproto3.Describe{ObjectType: 'S', Name: "a"}))
	require.Equal(t, "ParseComplete;ParameterDescription [23 25];RowDescription n:20:0;ReadyForQuery I",
		ask(&pgproto3.Parse{Name: "b", Query: "select $1, $2", ParameterOIDs: []uint32{oidInt4}}, &pgproto3.Describe{ObjectType: 'S', Name: "b"}), "what a client said of a parameter stays")
	require.Equal(t, "BindComplete;RowDescription n:20:1;DataRow \x00\x00\x00\x00\x00\x00\x00\x00;DataRow \x00\x00\x00\x00\x00\x00\x00\x01;CommandComplete SELECT 2;ReadyForQuery I",
		ask(&pgproto3.Bind{PreparedStatement: "b", ParameterFormatCodes: []int16{1, 0}, Parameters: [][]byte{{0, 0, 0, 7}, []byte("x")}, ResultFormatCodes: []int16{1}},
			&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}))
	require.Equal(t, `[7] ["x"]`, fmt.Sprint(one.args.Column(0), one.args.Column(1)))
	for _, step := range []struct {
		want     string
		messages []pgproto3.FrontendMessage
	}{
		{`ERROR 42P05 at 0: prepared statement "a" already exists`, []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "a", Query: "select n"}}},
		{"ERROR 42601 at 0: cannot insert multiple commands into a prepared statement", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "select n; select n"}}},
		{`ERROR 26000 at 0: prepared statement "no" does not exist`, []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "no"}, &pgproto3.Execute{}}},
		{"ERROR 08P01 at 0: 1 values for 2 parameters", []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{nil}}}},
		{`ERROR 22P02 at 0: parameter $1: "x" is not a value of type float8`, []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{[]byte("x"), nil}}}},
		{"ERROR 08P01 at 0: 3 formats for 1 columns", []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{nil, nil}, ResultFormatCodes: []int16{0, 0, 0}}}},
		{"ERROR 08P01 at 0: format 2 of columns: must be 0, text, or 1, binary", []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{nil, nil}, ResultFormatCodes: []int16{2}}}},
		{"ERROR 0A000 at 0: parameter $1: parameters of type 600 are not taken", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "select $1, $2", ParameterOIDs: []uint32{600}}}},
		{"ParseComplete;ParameterDescription [];NoData", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: ""}, &pgproto3.Describe{ObjectType: 'S'}}},
		{"BindComplete;NoData;EmptyQueryResponse", []pgproto3.FrontendMessage{&pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}}},
		{"ParseComplete;BindComplete;NoData;CommandComplete BEGIN", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "BEGIN"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}}},
		{"BindComplete;ERROR 54000 at 0: session has 2 open portals, the most there may be", []pgproto3.FrontendMessage{
			&pgproto3.Bind{PreparedStatement: "a", DestinationPortal: "1", Parameters: [][]byte{nil, nil}},
			&pgproto3.Bind{PreparedStatement: "a", DestinationPortal: "2", Parameters: [][]byte{nil, nil}}}}, // beside that of BEGIN
		{"ParseComplete;BindComplete;CommandComplete ROLLBACK", []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "ROLLBACK"}, &pgproto3.Bind{}, &pgproto3.Execute{}}},
		{"ERROR 54000 at 0: session has 3 prepared statements, the most there may be", []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "c", Query: "select n"}}},
		{"CloseComplete;CloseComplete;ParseComplete", []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "b"}, &pgproto3.Close{ObjectType: 'P', Name: "no"}, &pgproto3.Parse{Name: "c", Query: "select n"}}},
		{"ERROR 0A000 at 0: function calls of the protocol are not answered", []pgproto3.FrontendMessage{&pgproto3.FunctionCall{}}},
	} {
		got := ask(step.messages...)
		require.Equal(t, step.want, got[:strings.LastIndex(got, ";ReadyForQuery")], "%+v", step.messages)
	}
}

func TestCursors(t *testing.T) {
	r := start(t, map[string]*fake{"select n": numbers(7, 3)}, nil)
	c := r.login(t)
	for _, step := range []struct{ sql, want string }{
		{"declare c cursor for select n", "ERROR 25P01 at 0: DECLARE CURSOR can only be used in transaction blocks;ReadyForQuery I"},
		{"begin; declare c no scroll cursor for select n", "CommandComplete BEGIN;CommandComplete DECLARE CURSOR;ReadyForQuery T"},
		{"fetch 2 from c", "RowDescription n:20:0;DataRow 0;DataRow 1;CommandComplete FETCH 2;ReadyForQuery T"},
		{"fetch c", "RowDescription n:20:0;DataRow 2;CommandComplete FETCH 1;ReadyForQuery T"},
		{"fetch forward all in c", "RowDescription n:20:0;DataRow 3;DataRow 4;DataRow 5;DataRow 6;CommandComplete FETCH 4;ReadyForQuery T"},
		{"fetch next from c", "RowDescription n:20:0;CommandComplete FETCH 0;ReadyForQuery T"},
		{"close c; commit", "CommandComplete CLOSE CURSOR;CommandComplete COMMIT;ReadyForQuery I"},
		{"declare h cursor with hold for select n", "CommandComplete DECLARE CURSOR;ReadyForQuery I"},
		{"fetch 1 from h", "RowDescription n:20:0;DataRow 0;CommandComplete FETCH 1;ReadyForQuery I"},
		{"fetch 1 from h", "RowDescription n:20:0;DataRow 1;CommandComplete FETCH 1;ReadyForQuery I"},
		{"close h; fetch 1 from h", "CommandComplete CLOSE CURSOR;ERROR 34000 at 0: cursor \"h\" does not exist;ReadyForQuery I"},
		{"fetch backward 1 from h", "ERROR 0A000 at 0: cursors only go forward;ReadyForQuery I"},
		{"declare h scroll cursor for select n", "ERROR 0A000 at 0: cursors only go forward;ReadyForQuery I"},
	} {
		require.Equal(t, step.want, strings.Join(c.query(step.sql), ";"), step.sql)
	}
}

func TestCancelNeedsTheSecret(t *testing.T) {
	begun := make(chan struct{}, 1)
	r := start(t, map[string]*fake{"select blocked": blocked(begun), "select 1": numbers(1, 1)}, nil)
	for _, version := range []uint32{pgproto3.ProtocolVersion30, pgproto3.ProtocolVersion32} {
		c := r.dial(t)
		c.say(&pgproto3.StartupMessage{ProtocolVersion: version, Parameters: map[string]string{"user": "me", "database": "varve"}})
		c.until("ReadyForQuery")
		require.Len(t, c.key.SecretKey, map[uint32]int{pgproto3.ProtocolVersion30: 4, pgproto3.ProtocolVersion32: 32}[version])
		cancel := func(process uint32, secret []byte) {
			other := r.dial(t)
			other.say(&pgproto3.CancelRequest{ProcessID: process, SecretKey: secret})
			_, err := other.Receive()
			require.Error(t, err, "whoever asks is told nothing")
		}
		c.say(&pgproto3.Query{String: "select blocked"})
		<-begun
		wrong := append([]byte(nil), c.key.SecretKey...)
		wrong[0]++
		cancel(c.key.ProcessID, wrong)
		cancel(c.key.ProcessID, c.key.SecretKey[:0:0])
		cancel(c.key.ProcessID+1, c.key.SecretKey)
		cancel(c.key.ProcessID, c.key.SecretKey)
		require.Equal(t, []string{"RowDescription n:20:0", "ERROR 57014 at 0: canceling statement due to user request", "ReadyForQuery I"}, c.until("ReadyForQuery"))
		require.Len(t, c.query("select 1"), 4, "the session goes on")
		cancel(c.key.ProcessID, c.key.SecretKey) // nothing runs
		require.Len(t, c.query("select 1"), 4)
	}
}

func TestStatementsEndWithTheirTimeAndTheirClient(t *testing.T) {
	begun := make(chan struct{}, 1)
	r := start(t, map[string]*fake{"select blocked": blocked(begun)}, nil)
	c := r.login(t)
	require.Equal(t, []string{"CommandComplete SET", "RowDescription n:20:0", "ERROR 57014 at 0: canceling statement due to statement timeout", "ReadyForQuery I"},
		c.query("set statement_timeout = '20ms'; select blocked"))
	<-begun
	c.query("set statement_timeout = 0")
	c.say(&pgproto3.Query{String: "select blocked"})
	<-begun
	require.NoError(t, c.conn.Close()) // the end of the test finds the statement closed
}

func TestAnswersThatNobodyReadsAreEnded(t *testing.T) {
	r := start(t, map[string]*fake{"select endless": endless(), "select 1": numbers(1, 1)}, func(o *Options) { o.StallTimeout = 50 * time.Millisecond })
	c := r.login(t)
	c.say(&pgproto3.Query{String: "begin"}, &pgproto3.Parse{Query: "select endless"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Sync{})
	c.until("ReadyForQuery")
	c.until("ReadyForQuery")
	require.Eventually(t, func() bool { return r.fakes.open.Load() == 1 }, 10*time.Second, time.Millisecond, "the answer is closed, the statement is not")
	c.say(&pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Sync{})
	require.Contains(t, c.until("ReadyForQuery")[0], "ERROR 57014 at 0: the next rows were not asked for in 50ms")

	c.say(&pgproto3.Terminate{})
	require.Eventually(t, func() bool { return r.fakes.open.Load() == 0 }, 10*time.Second, time.Millisecond)
	other := r.login(t)
	other.say(&pgproto3.Query{String: "select endless"})
	require.Eventually(t, func() bool { return r.fakes.open.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return r.fakes.open.Load() == 0 }, 20*time.Second, 5*time.Millisecond, "who does not read is let go")
}

func TestLimits(t *testing.T) {
	r := start(t, map[string]*fake{"select 1": numbers(1, 1)}, func(o *Options) {
		o.MaxMessageBytes, o.LoginTimeout, o.Idle = 2000, 300*time.Millisecond, 300*time.Millisecond
	})
	ended := func(c *client) {
		t.Helper()
		_, err := c.Receive()
		require.Error(t, err)
	}
	c := r.login(t)
	c.say(&pgproto3.Query{String: strings.Repeat("x", 3000)})
	require.Equal(t, []string{"FATAL 54000 at 0: message has 3001 bytes, most is 2000"}, c.until("FATAL"))
	ended(c)
	c = r.login(t)
	require.Equal(t, []string{"FATAL 57P05 at 0: terminating connection because it was idle for 300ms"}, c.until("FATAL"))
	ended(c)
	c = r.login(t)
	for i := range 5 {
		c.say(&pgproto3.Parse{Name: fmt.Sprint(i), Query: "select 1" + strings.Repeat(" ", 1900)}, &pgproto3.Flush{})
		c.until("ParseComplete") // white space is not kept
	}
	c = r.login(t)
	_, err := c.conn.Write([]byte("?\x00\x00\x00\x04"))
	require.NoError(t, err)
	require.Equal(t, []string{"FATAL 08P01 at 0: unknown message type: ?"}, c.until("FATAL"))

	ended(r.dial(t)) // says nothing
	for first, want := range map[string]string{
		"\x00\x00\x00\x03":                              "FATAL 08P01 at 0: first packet has 3 bytes, must be 8 to 10000",
		"\x7f\x00\x00\x00":                              "FATAL 08P01 at 0: first packet has 2130706432 bytes, must be 8 to 10000",
		"\x00\x00\x00\x08\x00\x02\x00\x00":              "FATAL 0A000 at 0: protocol 2.0 is not spoken, only 3.0 and 3.2",
		"\x00\x00\x00\x09\x00\x03\x00\x00\x00":          "FATAL 28000 at 0: no user name in the startup message",
		"\x00\x00\x00\x09\x00\x03\x00\x00a":             "FATAL 08P01",
		"\x00\x00\x00\x0a\x00\x03\x00\x00a\x00":         "FATAL 08P01",
		"\x00\x00\x00\x0c\x00\x03\x00\x00a\x00\x00\x00": "FATAL 28000 at 0: no user name in the startup message",
	} {
		c := r.dial(t)
		_, err := c.conn.Write([]byte(first))
		require.NoError(t, err)
		require.Contains(t, c.until("FATAL")[0], want, "%q", first)
	}
	c = r.dial(t)
	c.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "me", "database": "postgres"}})
	require.Equal(t, []string{`FATAL 3D000 at 0: database "postgres" does not exist`}, c.until("FATAL"))
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	r := start(t, map[string]*fake{"select 1": numbers(1, 1)}, nil)
	c, other := r.login(t), r.login(t)
	c.say(&pgproto3.Query{String: "select panic"})
	_, err := c.Receive()
	require.Error(t, err)
	require.Len(t, other.query("select 1"), 4)
	require.EqualValues(t, 1, r.panics.Load())
}

func TestServeDrains(t *testing.T) {
	begun := make(chan struct{}, 1)
	r := start(t, map[string]*fake{"select blocked": blocked(begun), "select n": numbers(5, 1)}, func(o *Options) { o.DrainTimeout = 200 * time.Millisecond })
	idle, busy := r.login(t), r.login(t)
	busy.say(&pgproto3.Query{String: "select blocked"})
	<-begun
	r.stop()
	require.Equal(t, []string{"FATAL 57P01 at 0: terminating connection because the server is shutting down"}, idle.until("FATAL"))
	err := <-r.ended
	r.ended <- err
	require.NoError(t, err)
	_, err = net.Dial("tcp", r.addr)
	require.Error(t, err)
}

// TestADriverReads is pgx, which asks for binary formats, describes what it prepares and keeps it.
func TestADriverReads(t *testing.T) {
	r := start(t, map[string]*fake{"select n": numbers(5000, 700)}, nil)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://me@"+r.addr+"/varve?sslmode=disable")
	require.NoError(t, err)
	for range 3 {
		rows, err := conn.Query(ctx, "select n")
		require.NoError(t, err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		require.NoError(t, err)
		require.Len(t, got, 5000)
		for i, n := range got {
			require.EqualValues(t, i, n)
		}
	}
	_, err = conn.Exec(ctx, "select wrong")
	require.ErrorContains(t, err, "42P01")
	require.NoError(t, conn.Close(ctx))
}

func TestOneSessionTooManyIsRefusedAndOthersCanStillBeCanceled(t *testing.T) {
	begun := make(chan struct{}, 1)
	r := start(t, map[string]*fake{"select blocked": blocked(begun), "select 1": numbers(1, 1)}, func(o *Options) { o.MaxSessions = 1 })
	c := r.login(t)
	c.say(&pgproto3.Query{String: "select blocked"})
	<-begun
	other := r.dial(t)
	other.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "me", "database": "varve"}})
	require.Equal(t, []string{"FATAL 53300 at 0: there are 1 sessions, the most there may be"}, other.until("FATAL"))
	other = r.dial(t)
	other.say(&pgproto3.CancelRequest{ProcessID: c.key.ProcessID, SecretKey: c.key.SecretKey})
	require.Contains(t, c.until("ReadyForQuery")[1], "57014")
	require.Len(t, c.query("select 1"), 4)
	c.say(&pgproto3.Terminate{})
	require.Eventually(t, func() bool {
		other := r.dial(t)
		other.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "me", "database": "varve"}})
		m, err := other.Receive()
		_, ok := m.(*pgproto3.AuthenticationOk)
		return err == nil && ok
	}, 10*time.Second, 5*time.Millisecond, "a session that ends makes room")
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	require.NoError(t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(crand.Reader, cert, cert, &key.PublicKey, key)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(parsed)
	trusting := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{alpn}}
	r := start(t, map[string]*fake{"select 1": numbers(1, 1)}, func(o *Options) {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}}
	})
	secured := func(c *client, config *tls.Config) *client {
		conn := tls.Client(c.conn, config)
		require.NoError(t, conn.Handshake())
		return &client{Frontend: pgproto3.NewFrontend(conn, conn), t: t, conn: conn, told: map[string]string{}}
	}
	login := func(c *client) {
		t.Helper()
		c.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "me", "database": "varve"}})
		c.until("ReadyForQuery")
		require.Equal(t, "DataRow on", c.query("show ssl")[1])
		require.Len(t, c.query("select 1"), 4)
	}
	answer := func(c *client) string {
		t.Helper()
		one := make([]byte, 1)
		_, err := io.ReadFull(c.conn, one)
		require.NoError(t, err)
		return string(one)
	}
	c := r.dial(t)
	c.say(&pgproto3.GSSEncRequest{})
	require.Equal(t, "N", answer(c))
	c.say(&pgproto3.SSLRequest{})
	require.Equal(t, "S", answer(c))
	login(secured(c, trusting))

	login(secured(r.dial(t), trusting)) // without a request

	c = secured(r.dial(t), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	require.Contains(t, c.until("FATAL")[0], "ALPN")

	c = r.dial(t)
	c.Send(&pgproto3.SSLRequest{})
	c.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "me"}})
	require.Contains(t, c.until("FATAL")[0], "not encrypted follows the request for TLS")

	c = r.dial(t)
	c.say(&pgproto3.SSLRequest{})
	require.Equal(t, "S", answer(c))
	c = secured(c, trusting)
	c.say(&pgproto3.SSLRequest{})
	require.Contains(t, c.until("FATAL")[0], "inside TLS")

	none := start(t, nil, nil)
	c = none.dial(t)
	c.say(&pgproto3.SSLRequest{})
	require.Equal(t, "N", answer(c))
	c.say(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30 + 9, Parameters: map[string]string{"user": "me", "database": "varve", "_pq_.x": "y"}})
	require.Equal(t, "NegotiateProtocolVersion 196610 [_pq_.x]", c.until("ReadyForQuery")[0])
}
