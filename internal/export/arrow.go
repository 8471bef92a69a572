package export

import (
	"errors"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
)

// arrowWriter writes an Arrow file. It is not compressed, so that a reader can map it into memory and use it where it lies.
type arrowWriter struct{ file *ipc.FileWriter }

func newArrowWriter(w io.Writer, schema *arrow.Schema) (fileWriter, error) {
	file, err := ipc.NewFileWriter(&position{w: w}, ipc.WithSchema(schema))
	if err != nil {
		return nil, err
	}
	return arrowWriter{file}, nil
}

func (a arrowWriter) Write(rec arrow.Record) error { return a.file.Write(rec) }
func (a arrowWriter) Close() error                 { return a.file.Close() }

// position lets the library, which asks where it stands and never goes elsewhere, write to what cannot seek.
type position struct {
	w  io.Writer
	at int64
}

func (p *position) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.at += int64(n)
	return n, err
}

func (p *position) Seek(offset int64, whence int) (int64, error) {
	if offset == 0 && whence == io.SeekCurrent {
		return p.at, nil
	}
	return p.at, errors.New("an Arrow file is written from front to back")
}
