package server

import (
	"context"
	"errors"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// errNoSQL refuses statements where nothing answers them.
var errNoSQL = errors.New("SQL is not built into this server")

// Statements prepares SQL for a caller, who is in the context as for every other call. Every door that takes SQL asks here.
type Statements interface {
	// Prepare says of which columns the answer is and which parameters there are. types are what a client says of its parameters,
	// nil where it does not.
	Prepare(ctx context.Context, text string, types []arrow.DataType) (Statement, error)
}

// Statement is prepared once and executed any number of times, also at the same time.
type Statement interface {
	Schema() *arrow.Schema     // of the answer; only bool, int64, float64, utf8, binary and timestamp[ns, UTC]
	Parameters() *arrow.Schema // in their order; names "1", "2", …
	// Execute answers for args, one row, nil for none. The reader ends when ctx does.
	Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error)
	Close()
}

// noStatements refuses every statement.
type noStatements struct{}

// Prepare is part of Statements.
func (noStatements) Prepare(context.Context, string, []arrow.DataType) (Statement, error) {
	return nil, errNoSQL
}
