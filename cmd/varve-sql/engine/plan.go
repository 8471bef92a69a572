//go:build cgo

package engine

import (
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/duckdb/duckdb-go/mapping"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/server/hint"
)

// plan is a statement as a session keeps it: taken apart and prepared, and so are the statements of ours that narrow its scans. It has
// nothing of an execution: values, hints and rows are those of a Statement, and its scans ask for those of the one that runs.
type plan struct {
	text      string
	statement *rewrite.Statement
	values    [][]byte       // of each scan, see rewrite.Scan
	given     [][]byte       // likewise
	fixed     [][]hint.Value // of each scan, of bounds that are fixed; nil where they are not, or not known yet
	prepared  mapping.PreparedStatement
	ours      map[string]mapping.PreparedStatement // by their trees
	dynamic   bool                                 // its columns are those of the arguments it was made with

	described   Description
	undescribed error // why there is none
}

// prepare makes p the plan of its text, and the plan of the statement.
func (s *Statement) prepare(p *plan) error {
	tree, err := s.session.tree(p.text)
	if err != nil {
		return s.failed(err.Error())
	}
	if p.statement, err = rewrite.Rewrite([]byte(tree), s.session.database.known(), s.session.sql); err != nil {
		return err
	}
	p.fixed = make([][]hint.Value, len(p.statement.Scans))
	for _, scan := range p.statement.Scans {
		p.values, p.given = append(p.values, scan.Values()), append(p.given, scan.Given())
	}
	s.follow(p)
	for at := range s.scans {
		p.dynamic = p.dynamic || s.table(at).Dynamic
	}
	if err := s.columns(); err != nil {
		return err
	}
	text, err := s.session.sql(p.statement.Tree)
	if err != nil {
		return err
	}
	if p.prepared, err = s.session.prepare(text); err != nil {
		return s.failed(err.Error())
	}
	p.described, p.undescribed = p.describe()
	return nil
}

// follow makes a plan that of the statement.
func (s *Statement) follow(p *plan) {
	n := len(p.statement.Scans)
	s.plan, s.scans, s.given = p, p.statement.Scans, p.statement.Parameters
	s.hints, s.exact, s.dynamic = make([]Hints, n), make([]bool, n), make([]*Table, n)
}

// describe says which columns and parameters a statement has. The engine knows before it executes it for the first time.
func (p *plan) describe() (out Description, err error) {
	var columns, parameters []arrow.Field
	for i := range mapping.PreparedStatementColumnCount(p.prepared) {
		typ := mapping.PreparedStatementColumnLogicalType(p.prepared, i)
		f, err := field(mapping.PreparedStatementColumnName(p.prepared, i), typ)
		if err != nil {
			return out, err
		}
		columns = append(columns, f)
	}
	for _, x := range p.statement.Parameters {
		f := arrow.Field{Name: x.Name, Type: arrow.BinaryTypes.String, Nullable: true}
		var at mapping.IdxT
		if mapping.BindParameterIndex(p.prepared, &at, x.Name) == mapping.StateSuccess {
			if f, err = field(x.Name, mapping.ParamLogicalType(p.prepared, at)); err != nil {
				return out, err
			}
		} else if t, ok := argumentTypes[x.Type]; ok {
			f.Type = t
		}
		parameters = append(parameters, f)
	}
	out = Description{Columns: arrow.NewSchema(columns, nil), Parameters: arrow.NewSchema(parameters, nil)}
	out.Plain = p.shape(out.Columns)
	return out, nil
}

// own is a statement of ours, prepared.
func (p *plan) own(s *session, tree []byte) (mapping.PreparedStatement, error) {
	if own, ok := p.ours[string(tree)]; ok {
		return own, nil
	}
	text, err := s.sql(tree)
	if err != nil {
		return mapping.PreparedStatement{}, err
	}
	own, err := s.prepare(text)
	if err == nil {
		p.ours[string(tree)] = own
	}
	return own, err
}

func (p *plan) close() {
	for _, own := range p.ours {
		mapping.DestroyPrepare(&own)
	}
	if p.prepared.Ptr != nil {
		mapping.DestroyPrepare(&p.prepared)
	}
}

const (
	maxPlans     = 64
	maxPlanBytes = 256 << 10 // of their texts
)

// plans is the last statements of a session, those used last behind.
type plans struct {
	all   []*plan
	bytes int
}

// take is the plan of a text, which is not among them then; nil for none.
func (l *plans) take(text string) *plan {
	for i, p := range slices.Backward(l.all) {
		if p.text == text {
			l.all = slices.Delete(l.all, i, i+1)
			l.bytes -= len(text)
			return p
		}
	}
	return nil
}

// keep takes a plan, and lets go of what is too much.
func (l *plans) keep(p *plan) {
	l.all = append(l.all, p)
	for l.bytes += len(p.text); len(l.all) > maxPlans || l.bytes > maxPlanBytes; {
		l.bytes -= len(l.all[0].text)
		l.all[0].close()
		l.all = slices.Delete(l.all, 0, 1)
	}
}

func (l *plans) close() {
	for _, p := range l.all {
		p.close()
	}
	l.all = nil
}
