package pgwire

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// command is a statement that concerns the session only.
type command struct {
	// tag is what its end is announced with, where run does not say.
	tag string
	// run does it, where it has no rows.
	run func(args arrow.Record) (tag string, err error)
	// rows answers, where it has some.
	rows Statement
	// cursor is what a DECLARE or COPY is about: parameters are those of it.
	cursor *prepared
	// ends is whether it ends a transaction, and so is taken in one that is aborted.
	ends bool
}

// plain is a command that only does something.
func plain(tag string, do func() error) *command {
	return &command{tag: tag, run: func(arrow.Record) (string, error) { return tag, do() }}
}

func nothing() error { return nil }

// writes are the statements that would change something, with how their kind is called in an error.
var writes = map[string]bool{
	"INSERT": true, "UPDATE": true, "DELETE": true, "MERGE": true, "TRUNCATE": true, "CREATE": true, "DROP": true, "ALTER": true,
	"GRANT": true, "REVOKE": true, "COMMENT": true, "REINDEX": true, "VACUUM": true, "ANALYZE": true, "CLUSTER": true, "REFRESH": true,
}

// parseCommand is the command a statement is, nil for one that is answered with rows of the store.
func (s *session) parseCommand(st statement, oids []uint32) (*command, error) {
	first := st.key(0)
	switch first {
	case "BEGIN", "START":
		return s.beginCommand(st)
	case "COMMIT", "END":
		return s.endCommand(st, true)
	case "ROLLBACK", "ABORT":
		if st.is(0, "ROLLBACK") && (st.is(1, "TO") || st.is(2, "TO")) {
			return s.savepointCommand(st)
		}
		return s.endCommand(st, false)
	case "SAVEPOINT", "RELEASE":
		return s.savepointCommand(st)
	case "SET":
		return s.setCommand(st)
	case "RESET":
		if st.is(1, "ALL") && len(st.tokens) == 2 {
			return plain("RESET", s.resetAll), nil
		}
		name, err := settingName(st, 1)
		return plain("RESET", func() error { return s.reset(name) }), err
	case "SHOW":
		return s.showCommand(st)
	case "DISCARD":
		return s.discardCommand(st)
	case "DEALLOCATE":
		return s.deallocateCommand(st)
	case "DECLARE":
		return s.declareCommand(st, oids)
	case "FETCH":
		return s.fetchCommand(st)
	case "CLOSE":
		return s.closeCommand(st)
	case "UNLISTEN":
		return plain("UNLISTEN", nothing), nil
	case "SELECT":
		return s.setConfigCommand(st)
	case "LISTEN", "NOTIFY":
		return nil, errorf(codeNotSupported, "%s is not answered: nothing is ever notified here", first)
	case "COPY":
		return s.copyCommand(st, oids)
	case "PREPARE", "EXECUTE":
		return nil, errorf(codeNotSupported, "%s as a statement is not answered", first).hint("prepare statements by the messages of the protocol, as drivers do")
	}
	if writes[first] {
		return nil, errorf(codeReadOnly, "cannot execute %s in a read-only transaction", first).hint("samples come in by the other doors; this one reads")
	}
	return nil, nil
}

// beginCommand begins a transaction. It promises nothing: every statement reads what there is when it begins.
func (s *session) beginCommand(st statement) (*command, error) {
	if st.is(0, "START") && !st.is(1, "TRANSACTION") {
		return nil, errorf(codeSyntax, "START must be START TRANSACTION")
	}
	tag := "BEGIN"
	if st.is(0, "START") {
		tag = "START TRANSACTION"
	}
	warn := st.hasAny("REPEATABLE", "SERIALIZABLE")
	return plain(tag, func() error {
		if s.status != outside {
			s.notice(severityWarning, codeActive, "there is already a transaction in progress")
			return nil
		}
		if warn {
			s.notice(severityWarning, codeNotSupported, "every statement reads what is stored when it begins, whatever the isolation level")
		}
		s.status, s.before, s.local, s.savepoints = inside, maps.Clone(s.values), nil, nil
		return nil
	}), nil
}

// endCommand ends a transaction.
func (s *session) endCommand(st statement, commit bool) (*command, error) {
	if st.hasAny("PREPARED") {
		return nil, errorf(codeNotSupported, "prepared transactions are not answered")
	}
	chain := st.hasAny("CHAIN") && !st.hasAny("NO")
	return &command{ends: true, run: func(arrow.Record) (string, error) {
		if s.status == outside {
			s.notice(severityWarning, codeNoTransaction, "there is no transaction in progress")
		}
		tag := "ROLLBACK"
		if commit && s.status != aborted {
			tag = "COMMIT"
		}
		s.endTransaction(tag == "COMMIT")
		if chain {
			s.status = inside
		}
		return tag, nil
	}}, nil
}

// endTransaction undoes the settings that were only for it, or all of them that it made.
func (s *session) endTransaction(commit bool) {
	if s.status != outside {
		for _, known := range sortedSettings() {
			key := strings.ToLower(known.name)
			if commit && !s.local[key] || s.values[key] == s.before[key] {
				continue
			}
			old, ok := s.before[key]
			if !ok {
				old = known.value
			}
			_ = s.set(known.name, old) // it was taken before
		}
	}
	s.status, s.before, s.local, s.savepoints = outside, nil, nil, nil
	s.closePortals(false)
}

// savepointCommand answers SAVEPOINT, RELEASE and ROLLBACK TO, which have nothing to take back but an error.
func (s *session) savepointCommand(st statement) (*command, error) {
	first := st.key(0)
	name, ok := st.name(len(st.tokens) - 1)
	if !ok || len(st.tokens) < 2 {
		return nil, errorf(codeSyntax, "%s must be followed by a name", first)
	}
	c := plain(first, func() error {
		if s.status == outside {
			return errorf(codeNoTransaction, "%s can only be used in transaction blocks", first)
		}
		if first == "SAVEPOINT" {
			if len(s.savepoints) >= s.server.options.MaxStatements {
				return errorf(codeLimit, "transaction has %d savepoints, the most there may be", len(s.savepoints))
			}
			s.savepoints = append(s.savepoints, name)
			return nil
		}
		at := len(s.savepoints) - 1
		for at >= 0 && s.savepoints[at] != name {
			at--
		}
		if at < 0 {
			return errorf("3B001", "savepoint %.60q does not exist", name)
		}
		if first == "RELEASE" {
			s.savepoints = s.savepoints[:at]
			return nil
		}
		s.savepoints, s.status = s.savepoints[:at+1], inside
		return nil
	})
	c.ends = first == "ROLLBACK"
	return c, nil
}

// hasAny reports whether one of the words stands in the statement.
func (s *statement) hasAny(keys ...string) bool {
	for i := range s.tokens {
		if slices.Contains(keys, s.key(i)) {
			return true
		}
	}
	return false
}

// settingName is the name of a setting from the n-th token on.
func settingName(st statement, n int) (string, error) {
	switch {
	case st.is(n, "TIME", "ZONE"):
		return "TimeZone", nil
	case st.is(n, "TRANSACTION", "ISOLATION", "LEVEL"):
		return "transaction_isolation", nil
	case st.is(n, "SESSION", "AUTHORIZATION"):
		return "session_authorization", nil
	}
	name, ok := st.name(n)
	if !ok || len(st.tokens) > n+1 {
		return "", errorf(codeSyntax, "%s must be followed by the name of a setting", st.key(0))
	}
	return name, nil
}

// setCommand answers the forms of SET.
func (s *session) setCommand(st statement) (*command, error) {
	n, local := 1, false
	if st.is(n, "LOCAL") {
		n, local = n+1, true
	} else if st.is(n, "SESSION") && !st.is(n+1, "CHARACTERISTICS") && !st.is(n+1, "AUTHORIZATION") {
		n++
	}
	switch {
	case st.is(n, "SESSION", "CHARACTERISTICS"), st.is(n, "TRANSACTION"), st.is(n, "CONSTRAINTS"):
		return plain("SET", nothing), nil
	case st.is(n, "SESSION", "AUTHORIZATION"), st.is(n, "ROLE"):
		who := st.value(len(st.tokens) - 1)
		return plain("SET", func() error {
			if who == s.user || strings.EqualFold(who, "NONE") || strings.EqualFold(who, "DEFAULT") {
				return nil
			}
			return errorf(codeForbidden, "a session cannot become %.60q", who)
		}), nil
	}
	name, value, err := st.assignment(n)
	if err != nil {
		return nil, err
	}
	if st.is(n+2, "DEFAULT") && len(st.tokens) == n+3 {
		return plain("SET", func() error { return s.reset(name) }), nil
	}
	return s.setter(name, value, local), nil
}

// assignment is the name of a setting and its value, from the n-th token on.
func (s *statement) assignment(n int) (name, value string, err error) {
	switch {
	case s.is(n, "NAMES"):
		return "client_encoding", s.value(n + 1), nil
	case s.is(n, "TIME", "ZONE"):
		return "TimeZone", s.list(n + 2), nil
	}
	name, ok := s.name(n)
	if equals := s.key(n + 1); !ok || equals != "TO" && equals != "=" || len(s.tokens) < n+3 {
		return "", "", errorf(codeSyntax, "SET must be SET name TO value")
	}
	return name, s.list(n + 2), nil
}

func (s *session) setter(name, value string, local bool) *command {
	return plain("SET", func() error { return s.setFor(name, value, local) })
}

// setFor changes a setting, for the transaction only if local.
func (s *session) setFor(name, value string, local bool) error {
	if local && s.status == outside {
		s.notice(severityWarning, codeNoTransaction, "SET LOCAL can only be used in transaction blocks")
		return nil
	}
	if err := s.set(name, value); err != nil {
		return err
	}
	if s.status != outside {
		if s.local == nil {
			s.local = map[string]bool{}
		}
		s.local[strings.ToLower(name)] = local
	}
	return nil
}

// list is the values from the n-th token on, with commas between.
func (s *statement) list(n int) string {
	var out strings.Builder
	for i := n; i < len(s.tokens); i++ {
		if s.key(i) == "," {
			out.WriteString(", ")
			continue
		}
		out.WriteString(s.value(i))
	}
	return out.String()
}

func (s *session) showCommand(st statement) (*command, error) {
	if st.is(1, "TABLES") || st.is(1, "ALL", "TABLES") {
		return nil, nil // which are the store's
	}
	if st.is(1, "ALL") && len(st.tokens) == 2 {
		return &command{tag: "SHOW", rows: shown([]string{"name", "setting", "description"}, func() ([][]string, error) {
			var out [][]string
			for _, known := range sortedSettings() {
				value, err := s.settingOf(known.name)
				if err != nil {
					return nil, err
				}
				out = append(out, []string{known.name, value, ""})
			}
			return out, nil
		})}, nil
	}
	name, err := settingName(st, 1)
	if err != nil {
		return nil, err
	}
	known, ok := settings[strings.ToLower(name)]
	if !ok {
		return nil, errorf(codeNoObject, "unrecognized configuration parameter %.60q", name)
	}
	return &command{tag: "SHOW", rows: shown([]string{known.name}, func() ([][]string, error) {
		value, err := s.settingOf(name)
		return [][]string{{value}}, err
	})}, nil
}

// setConfigCommand answers SELECT set_config('name', 'value', false), which clients send to set a setting by a function. Nil for
// any other SELECT.
func (s *session) setConfigCommand(st statement) (*command, error) {
	n := 1
	if st.is(n, "PG_CATALOG", ".") {
		n += 2
	}
	if !st.is(n, "SET_CONFIG", "(") {
		return nil, nil
	}
	n += 2
	local := st.key(n + 4)
	if len(st.tokens) != n+6 || st.tokens[n].kind != text || st.key(n+1) != "," || st.tokens[n+2].kind != text || st.key(n+3) != "," ||
		local != "TRUE" && local != "FALSE" || st.key(n+5) != ")" {
		return nil, errorf(codeNotSupported, "set_config is only answered as SELECT set_config('name', 'value', false)")
	}
	name, value := st.value(n), st.value(n+2)
	return &command{tag: "SELECT", rows: shown([]string{"set_config"}, func() ([][]string, error) {
		if err := s.setFor(name, value, local == "TRUE"); err != nil {
			return nil, err
		}
		now, err := s.settingOf(name)
		return [][]string{{now}}, err
	})}, nil
}

func (s *session) discardCommand(st statement) (*command, error) {
	what := st.key(1)
	switch what {
	case "PLANS", "SEQUENCES", "TEMP", "TEMPORARY":
		return plain("DISCARD "+what, nothing), nil
	case "ALL":
		return plain("DISCARD ALL", func() error {
			if s.status != outside {
				return errorf(codeActive, "DISCARD ALL cannot run inside a transaction block")
			}
			s.closePortals(true)
			for name := range s.statements {
				s.closeStatement(name)
			}
			return s.resetAll()
		}), nil
	}
	return nil, errorf(codeSyntax, "DISCARD must be DISCARD ALL, PLANS, SEQUENCES or TEMP")
}

func (s *session) deallocateCommand(st statement) (*command, error) {
	n := 1
	if st.is(n, "PREPARE") {
		n++
	}
	if st.is(n, "ALL") {
		return plain("DEALLOCATE ALL", func() error {
			for name := range s.statements {
				s.closeStatement(name)
			}
			return nil
		}), nil
	}
	name, ok := st.name(n)
	if !ok {
		return nil, errorf(codeSyntax, "DEALLOCATE must be followed by the name of a prepared statement, or ALL")
	}
	return plain("DEALLOCATE", func() error {
		if !s.closeStatement(name) {
			return errorf(codeNoStatement, "prepared statement %.60q does not exist", name)
		}
		return nil
	}), nil
}

// declareCommand answers DECLARE: a cursor is a portal that has a name in SQL.
func (s *session) declareCommand(st statement, oids []uint32) (*command, error) {
	name, ok := st.name(1)
	at := 2
	hold := false
	for ; at < len(st.tokens) && !st.is(at, "FOR"); at++ {
		if st.is(at, "SCROLL") && !st.is(at-1, "NO") {
			return nil, errorf(codeNotSupported, "cursors only go forward").hint("declare it NO SCROLL")
		}
		hold = hold || st.is(at, "WITH", "HOLD")
	}
	if !ok || at+1 >= len(st.tokens) || !st.hasAny("CURSOR") {
		return nil, errorf(codeSyntax, "DECLARE must be DECLARE name CURSOR FOR query")
	}
	from := st.tokens[at+1].start
	cursor, err := s.prepareOf("DECLARE", st.text[from:], oids)
	if err != nil {
		return nil, err
	}
	return &command{cursor: cursor, run: func(args arrow.Record) (string, error) {
		if s.status == outside && !hold {
			return "", errorf(codeNoTransaction, "DECLARE CURSOR can only be used in transaction blocks").hint("begin a transaction, or declare the cursor WITH HOLD")
		}
		if _, ok := s.portals[name]; ok {
			return "", errorf(codeDuplicateName, "cursor %.60q already exists", name)
		}
		if len(s.portals) >= s.server.options.MaxPortals {
			return "", errorf(codeLimit, "session has %d open portals, the most there may be", len(s.portals))
		}
		if args != nil {
			args.Retain()
		}
		open, err := s.open(cursor, args, nil)
		if err != nil {
			return "", err
		}
		open.hold = hold
		s.portals[name] = open
		return "DECLARE CURSOR", nil
	}}, nil
}

// prepareOf makes the query ready that a command is about.
func (s *session) prepareOf(command, query string, oids []uint32) (*prepared, error) {
	rest := split(query)
	if len(rest) != 1 || rest[0].is(0, "COPY") || rest[0].is(0, "DECLARE") { // which would be taken apart as often as they are nested
		return nil, errorf(codeSyntax, "%s must be of one query", command)
	}
	p, err := s.prepare(rest[0], oids)
	if err != nil {
		return nil, s.shifted(err, -1)
	}
	if p.command != nil || p.rows == nil {
		p.release()
		return nil, errorf(codeSyntax, "%s must be of a query", command)
	}
	return p, nil
}

// fetchCommand answers FETCH: the next rows of a cursor.
func (s *session) fetchCommand(st statement) (*command, error) {
	n, most := 1, int64(1)
	if st.is(n, "FORWARD") || st.is(n, "NEXT") {
		n++
	}
	switch {
	case st.is(n, "ALL"):
		n, most = n+1, math.MaxInt64
	case n < len(st.tokens) && st.tokens[n].kind == number:
		count, err := strconv.ParseInt(st.raw(n), 10, 64)
		if err != nil {
			return nil, errorf(codeSyntax, "FETCH %.20s: must be a number of rows or ALL", st.raw(n))
		}
		n, most = n+1, count
	case st.hasAny("BACKWARD", "PRIOR", "LAST", "FIRST", "ABSOLUTE", "RELATIVE", "-"):
		return nil, errorf(codeNotSupported, "cursors only go forward").hint("FETCH FORWARD n FROM name")
	}
	if st.is(n, "FROM") || st.is(n, "IN") {
		n++
	}
	name, ok := st.name(n)
	if !ok || len(st.tokens) != n+1 {
		return nil, errorf(codeSyntax, "FETCH must be FETCH n FROM name")
	}
	open, ok := s.portals[name]
	if !ok || open.columns == nil {
		return nil, errorf(codeNoCursor, "cursor %.60q does not exist", name)
	}
	return &command{tag: "FETCH", rows: &fetch{session: s, name: name, schema: open.prepared.rows.Schema(), most: most}}, nil
}

func (s *session) closeCommand(st statement) (*command, error) {
	if st.is(1, "ALL") {
		return plain("CLOSE CURSOR ALL", func() error {
			s.closePortals(true)
			return nil
		}), nil
	}
	name, ok := st.name(1)
	if !ok {
		return nil, errorf(codeSyntax, "CLOSE must be followed by the name of a cursor, or ALL")
	}
	return plain("CLOSE CURSOR", func() error {
		if !s.closePortal(name) {
			return errorf(codeNoCursor, "cursor %.60q does not exist", name)
		}
		return nil
	}), nil
}

// shown is a statement whose rows are text that is known when it runs.
func shown(names []string, rows func() ([][]string, error)) Statement {
	fields := make([]arrow.Field, len(names))
	for i, n := range names {
		fields[i] = arrow.Field{Name: n, Type: arrow.BinaryTypes.String}
	}
	return &textRows{arrow.NewSchema(fields, nil), rows}
}

type textRows struct {
	schema *arrow.Schema
	rows   func() ([][]string, error)
}

func (t *textRows) Schema() *arrow.Schema     { return t.schema }
func (t *textRows) Parameters() *arrow.Schema { return nil }
func (t *textRows) Close()                    {}

func (t *textRows) Execute(context.Context, arrow.Record) (array.RecordReader, error) {
	rows, err := t.rows()
	if err != nil {
		return nil, err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, t.schema)
	defer b.Release()
	for _, row := range rows {
		for i, v := range row {
			b.Field(i).(*array.StringBuilder).Append(v)
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	return array.NewRecordReader(t.schema, []arrow.Record{rec})
}

// fetch is a statement whose rows are the next ones of a cursor.
type fetch struct {
	session *session
	name    string
	schema  *arrow.Schema
	most    int64
}

func (f *fetch) Schema() *arrow.Schema     { return f.schema }
func (f *fetch) Parameters() *arrow.Schema { return nil }
func (f *fetch) Close()                    {}

// Execute begins to read the cursor, if nobody has.
func (f *fetch) Execute(ctx context.Context, _ arrow.Record) (array.RecordReader, error) {
	open, ok := f.session.portals[f.name]
	switch {
	case !ok || open.columns == nil || !open.prepared.rows.Schema().Equal(f.schema):
		return nil, errorf(codeNoCursor, "cursor %.60q does not exist", f.name)
	case open.failed != nil:
		return nil, open.failed
	}
	if open.reader == nil && !open.ended {
		var err error
		if open.reader, err = open.prepared.rows.Execute(open.ctx, open.args); err != nil {
			return nil, fmt.Errorf("cursor %.60q: %w", f.name, err)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		if why := context.Cause(ctx); why != context.Canceled { // which is only the end of this FETCH
			open.cancel(why)
		}
	})
	r := &fetchReader{cursor: open, left: f.most, schema: f.schema, stop: stop}
	r.users.Store(1)
	return r, nil
}

// fetchReader reads up to left rows of a cursor.
type fetchReader struct {
	users  atomic.Int64
	cursor *portal
	schema *arrow.Schema
	left   int64
	rec    arrow.Record
	err    error
	stop   func() bool
}

// Retain is part of array.RecordReader.
func (r *fetchReader) Retain() { r.users.Add(1) }

// Release is part of array.RecordReader.
func (r *fetchReader) Release() {
	if r.users.Add(-1) == 0 {
		r.stop()
		r.drop()
	}
}

func (r *fetchReader) drop() {
	if r.rec != nil {
		r.rec.Release()
		r.rec = nil
	}
}

// Schema is part of array.RecordReader.
func (r *fetchReader) Schema() *arrow.Schema { return r.schema }

// Record is part of array.RecordReader.
func (r *fetchReader) Record() arrow.Record { return r.rec }

// Err is part of array.RecordReader.
func (r *fetchReader) Err() error { return r.err }

// Next cuts the next rows from the batch the cursor is at.
func (r *fetchReader) Next() bool {
	r.drop()
	o := r.cursor
	for r.left > 0 && !o.ended && r.err == nil {
		if o.batch == nil || o.row >= o.batch.NumRows() {
			o.batch = nil
			if !o.reader.Next() {
				if r.err = o.reader.Err(); r.err == nil {
					o.ended = true
				}
				return false
			}
			o.batch, o.row = o.reader.Record(), 0
			continue
		}
		n := min(r.left, o.batch.NumRows()-o.row)
		r.rec = o.batch.NewSlice(o.row, o.row+n)
		o.row += n
		r.left -= n
		return true
	}
	return false
}
