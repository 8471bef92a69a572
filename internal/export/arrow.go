package export

import (
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/varvedb/varve/internal/answer"
)

// arrowWriter writes an Arrow file.
type arrowWriter struct{ file *ipc.FileWriter }

func newArrowWriter(w io.Writer, schema *arrow.Schema) (fileWriter, error) {
	file, err := answer.NewArrowFile(w, schema)
	if err != nil {
		return nil, err
	}
	return arrowWriter{file}, nil
}

func (a arrowWriter) Write(rec arrow.Record) error { return a.file.Write(rec) }
func (a arrowWriter) Close() error                 { return a.file.Close() }
