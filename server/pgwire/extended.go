package pgwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/jackc/pgx/v5/pgproto3"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// prepared is a statement that can be executed.
type prepared struct {
	text    string
	tag     string    // what its end is announced with: SELECT and the like
	oids    []uint32  // what the client said of its parameters, or else the statement
	command *command  // what the session does by itself; nil for the others
	rows    Statement // what answers with rows; nil for a command that has none, and for nothing at all
	users   int       // its name and its portals: the last one to go closes it
}

func (p *prepared) release() {
	if p.users--; p.users > 0 {
		return
	}
	if p.rows != nil {
		p.rows.Close()
	}
	if p.command != nil && p.command.cursor != nil {
		p.command.cursor.release()
	}
}

// parameters is how many there are, and of which types.
func (p *prepared) parameters() *arrow.Schema {
	switch {
	case p.command != nil && p.command.cursor != nil:
		return p.command.cursor.parameters()
	case p.rows == nil:
		return nil
	}
	return p.rows.Parameters()
}

// ends reports whether it ends a transaction, and so is taken in one that is aborted.
func (p *prepared) ends() bool { return p.command != nil && p.command.ends }

// prepare makes a statement ready.
func (s *session) prepare(st statement, oids []uint32) (*prepared, error) {
	p := &prepared{text: st.text, oids: oids, tag: "SELECT", users: 1}
	if len(st.tokens) == 0 {
		return p, nil
	}
	c, err := s.parseCommand(st, oids)
	if err != nil {
		return nil, s.shifted(err, st.before)
	}
	if s.status == aborted && (c == nil || !c.ends) {
		return nil, errAborted()
	}
	if c != nil {
		p.command, p.tag, p.rows = c, c.tag, c.rows
		if c.cursor != nil {
			p.oids = c.cursor.oids
		}
		return p, nil
	}
	if st.is(0, "EXPLAIN") {
		p.tag = "EXPLAIN"
	}
	p.oids = s.withTypes(st, oids)
	types := make([]arrow.DataType, len(p.oids))
	for i, oid := range p.oids {
		if types[i], err = parameterType(oid); err != nil {
			return nil, ofParameter(i, err)
		}
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	end := s.beginRunning(cancel)
	defer end()
	sql, changed := s.translate(st)
	if p.rows, err = s.server.options.Statements.Prepare(ctx, sql, types); err != nil {
		err = cause(ctx, err)
		if changed {
			return nil, s.shifted(err, -1)
		}
		return nil, s.shifted(s.located(err, st), st.before)
	}
	return p, nil
}

// named finds what an error of the engine is about: it has no places, but quotes the word.
var named = regexp.MustCompile(`(?:at or near|[Cc]olumn|[Tt]able|Function with name) "?([^"\s;]+)"?`)

// located is err with its place, if the word that it names stands in the statement once.
func (s *session) located(err error, st statement) error {
	e := s.server.describe(err)
	found := named.FindStringSubmatch(e.Message)
	if e.Position > 0 || found == nil {
		return err
	}
	at := -1
	for i := range st.tokens {
		if name, ok := st.name(i); st.raw(i) != found[1] && (!ok || !strings.EqualFold(name, found[1])) {
			continue
		}
		if at >= 0 {
			return err
		}
		at = i
	}
	if at < 0 {
		return err
	}
	placed := *e
	placed.Position = utf8.RuneCountInString(st.text[:st.tokens[at].start]) + 1
	return &placed
}

// shifted is err with its place counted from the beginning of what the client sent, before characters earlier. Negative: the
// place is one of a text that the client has not written, and is left out.
func (s *session) shifted(err error, before int) error {
	e := s.server.describe(err)
	if e.Position == 0 || before == 0 {
		return err
	}
	moved := *e
	if moved.Position += before; before < 0 {
		moved.Position = 0
	}
	return &moved
}

// cause is why a statement ended: what ended its context, if that is known better.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
}

func errAborted() error {
	return errorf(codeAborted, "current transaction is aborted, commands ignored until end of transaction block")
}

// parse answers Parse.
func (s *session) parse(m *pgproto3.Parse) error {
	if err := checkText([]byte(m.Query)); err != nil {
		return err
	}
	if _, ok := s.statements[m.Name]; ok && m.Name != "" {
		return errorf(codeDuplicate, "prepared statement %.60q already exists", m.Name)
	}
	s.closeStatement(m.Name)
	if len(s.statements) >= s.server.options.MaxStatements {
		return errorf(codeLimit, "session has %d prepared statements, the most there may be", len(s.statements)).hint("close those that are not needed any more")
	}
	// A session may hold the text of as many statements as fit in a few messages.
	if most := 4 * s.server.options.MaxMessageBytes; s.held+len(m.Query) > most {
		return errorf(codeLimit, "prepared statements of the session have %d bytes, most is %d", s.held+len(m.Query), most)
	}
	statements := split(m.Query)
	if len(statements) > 1 {
		return errorf(codeSyntax, "cannot insert multiple commands into a prepared statement")
	}
	var st statement
	if len(statements) == 1 {
		st = statements[0]
	}
	p, err := s.prepare(st, append([]uint32(nil), m.ParameterOIDs...))
	if err != nil {
		return err
	}
	s.statements[m.Name] = p
	s.held += len(p.text)
	s.send(&pgproto3.ParseComplete{})
	return nil
}

// closeStatement lets go of a prepared statement and reports whether there was one.
func (s *session) closeStatement(name string) bool {
	p, ok := s.statements[name]
	if !ok {
		return false
	}
	delete(s.statements, name)
	s.held -= len(p.text)
	p.release()
	return true
}

// bind answers Bind.
func (s *session) bind(m *pgproto3.Bind) error {
	p, ok := s.statements[m.PreparedStatement]
	if !ok {
		return errorf(codeNoStatement, "prepared statement %.60q does not exist", m.PreparedStatement)
	}
	if s.status == aborted && !p.ends() {
		return errAborted()
	}
	if _, ok := s.portals[m.DestinationPortal]; ok && m.DestinationPortal != "" {
		return errorf(codeDuplicateName, "portal %.60q already exists", m.DestinationPortal)
	}
	s.closePortal(m.DestinationPortal)
	if len(s.portals) >= s.server.options.MaxPortals {
		return errorf(codeLimit, "session has %d open portals, the most there may be", len(s.portals))
	}
	args, err := bindParameters(p.parameters(), p.oids, m.ParameterFormatCodes, m.Parameters)
	if err != nil {
		return err
	}
	open, err := s.open(p, args, append([]int16(nil), m.ResultFormatCodes...))
	if err != nil {
		return err
	}
	s.portals[m.DestinationPortal] = open
	s.send(&pgproto3.BindComplete{})
	return nil
}

// describe answers Describe.
func (s *session) describe(m *pgproto3.Describe) error {
	switch m.ObjectType {
	case 'S':
		p, ok := s.statements[m.Name]
		if !ok {
			return errorf(codeNoStatement, "prepared statement %.60q does not exist", m.Name)
		}
		return s.describeStatement(p)
	case 'P':
		open, ok := s.portals[m.Name]
		if !ok {
			return errorf(codeNoCursor, "portal %.60q does not exist", m.Name)
		}
		if open.columns == nil {
			s.send(&pgproto3.NoData{})
			return nil
		}
		s.send(open.columns)
		return nil
	}
	return errorf(codeProtocol, "Describe of %q: must be S or P", m.ObjectType)
}

func (s *session) describeStatement(p *prepared) error {
	out := &pgproto3.ParameterDescription{}
	if schema := p.parameters(); schema != nil {
		if schema.NumFields() > maxColumns {
			return errorf(codeLimit, "statement has %d parameters, most is %d", schema.NumFields(), maxColumns)
		}
		for i := range schema.Fields() {
			out.ParameterOIDs = append(out.ParameterOIDs, parameterOid(schema, p.oids, i))
		}
	}
	if p.rows == nil {
		s.send(out)
		s.send(&pgproto3.NoData{})
		return nil
	}
	columns, err := describeColumns(p.rows.Schema(), nil)
	if err != nil {
		return err
	}
	s.send(out)
	s.send(columns)
	return nil
}

// execute answers Execute.
func (s *session) execute(m *pgproto3.Execute) error {
	open, ok := s.portals[m.Portal]
	if !ok {
		return errorf(codeNoCursor, "portal %.60q does not exist", m.Portal)
	}
	if s.status == aborted && !open.prepared.ends() {
		return errAborted()
	}
	return s.answer(open, m.MaxRows)
}

// close answers Close. What is not there is closed already.
func (s *session) close(m *pgproto3.Close) error {
	switch m.ObjectType {
	case 'S':
		s.closeStatement(m.Name)
	case 'P':
		s.closePortal(m.Name)
	default:
		return errorf(codeProtocol, "Close of %q: must be S or P", m.ObjectType)
	}
	s.send(&pgproto3.CloseComplete{})
	return nil
}

// portal is a statement with its arguments, whose answer is read in as many pieces as the client likes.
type portal struct {
	prepared *prepared
	args     arrow.Record // nil for none
	formats  []int16
	columns  *pgproto3.RowDescription // nil if it has no rows
	hold     bool                     // it stays when its transaction ends
	write    func(dst []byte, cols []column, row int) []byte

	ctx    context.Context
	cancel context.CancelCauseFunc
	reader array.RecordReader // nil before the first row was asked for
	batch  arrow.Record       // of which row is the next to send; the reader's
	cols   []column
	row    int64
	sent   uint64
	ended  bool
	failed error
	began  time.Time
}

// open makes a portal.
func (s *session) open(p *prepared, args arrow.Record, formats []int16) (*portal, error) {
	o := &portal{prepared: p, args: args, formats: formats, write: appendRow}
	if p.rows != nil {
		err := checkFormats("columns", formats, p.rows.Schema().NumFields())
		if err == nil {
			o.columns, err = describeColumns(p.rows.Schema(), formats)
		}
		if err != nil {
			if args != nil {
				args.Release()
			}
			return nil, err
		}
	}
	o.ctx, o.cancel = context.WithCancelCause(s.ctx)
	p.users++
	return o, nil
}

// close ends what the portal reads. It is closed once.
func (o *portal) close() {
	o.stop()
	o.prepared.release()
}

// stop lets go of the answer.
func (o *portal) stop() {
	o.cancel(nil)
	if o.reader != nil {
		o.reader.Release()
		o.reader, o.batch, o.cols = nil, nil, nil
	}
	if o.args != nil {
		o.args.Release()
		o.args = nil
	}
}

func (s *session) closePortal(name string) bool {
	open, ok := s.portals[name]
	if !ok {
		return false
	}
	delete(s.portals, name)
	open.close()
	return true
}

// closePortals closes those of a transaction that has ended; all of them also those that were to stay.
func (s *session) closePortals(all bool) {
	for name, open := range s.portals {
		if all || !open.hold {
			s.closePortal(name)
		}
	}
}

// suspended reports whether an answer is open that the client has begun to read.
func (s *session) suspended() bool {
	for _, open := range s.portals {
		if open.reader != nil && open.failed == nil && !open.ended {
			return true
		}
	}
	return false
}

// stallPortals closes the answers that have waited too long for their client. They hold memory for queries, and a view of the
// store.
func (s *session) stallPortals() {
	for _, open := range s.portals {
		if open.reader == nil || open.ended {
			continue
		}
		open.stop()
		open.failed = errorf(codeCanceled, "the next rows were not asked for in %s, and the answer was closed", s.server.options.StallTimeout).
			hint("read the rows faster, or ask for fewer")
	}
}

// answer sends the next rows of a portal, all there are if most is 0, and how it ended.
func (s *session) answer(o *portal, most uint32) error {
	p := o.prepared
	if p.command == nil && p.rows == nil {
		s.send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	if p.command != nil && p.command.run != nil {
		tag, err := p.command.run(o.args)
		if err != nil {
			return err
		}
		s.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
		return nil
	}
	if o.failed != nil {
		return o.failed
	}
	end := s.beginRunning(o.cancel)
	defer end()
	n, err := s.sendRows(o, uint64(most))
	if err != nil {
		return cause(o.ctx, err)
	}
	if !o.ended {
		s.send(&pgproto3.PortalSuspended{})
		return nil
	}
	tag := p.tag
	if tag == "SELECT" || tag == "FETCH" {
		tag = fmt.Sprintf("%s %d", tag, n)
	}
	s.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
	return nil
}

// sendRows sends up to most rows, all for 0, and how many those were. A portal that has no more is ended.
func (s *session) sendRows(o *portal, most uint64) (n uint64, err error) {
	if o.ended {
		return 0, nil
	}
	if o.reader == nil {
		o.began = time.Now()
		if o.reader, err = o.prepared.rows.Execute(o.ctx, o.args); err != nil {
			return 0, err
		}
	}
	for most == 0 || n < most {
		if o.batch == nil || o.row >= o.batch.NumRows() {
			more, err := s.nextBatch(o)
			if err != nil {
				return n, err
			}
			if !more {
				o.ended = true
				s.server.options.Answered(o.sent, time.Since(o.began))
				return n, nil
			}
			continue
		}
		s.out = o.write(s.out, o.cols, int(o.row))
		o.row++
		o.sent++
		n++
		if len(s.out) >= flushBytes {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// nextBatch goes to the next batch of a portal, and reports whether there is one. What was gathered is sent before it is
// waited for, unless it is next to nothing.
func (s *session) nextBatch(o *portal) (bool, error) {
	if len(s.out) > flushBytes/16 {
		if err := s.flush(); err != nil {
			return false, err
		}
	}
	o.batch = nil
	if !o.reader.Next() {
		if err := o.reader.Err(); err != nil {
			return false, err
		}
		return false, o.ctx.Err()
	}
	o.batch, o.row = o.reader.Record(), 0
	var err error
	o.cols, err = columns(o.batch, o.formats)
	return true, err
}
