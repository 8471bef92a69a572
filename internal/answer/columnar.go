package answer

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/arrow/util"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// WriteArrow writes an Arrow file: the columns as the server sends them, but names as plain text, because an Arrow file
// cannot take the dictionaries that grow along the stream and some readers know none.
func WriteArrow(w io.Writer, r *Reader) (samples uint64, err error) {
	defer catch("Arrow", &err)
	schema := plainSchema(r.Schema())
	out, err := NewArrowFile(w, schema)
	if err != nil {
		return 0, fmt.Errorf("begin the Arrow file: %w", err)
	}
	return copyRecords(r, schema, out.Write, out.Close)
}

// NewArrowFile begins an Arrow file, which is not compressed, so that a reader can map it into memory, on a writer that need not seek.
func NewArrowFile(w io.Writer, schema *arrow.Schema) (*ipc.FileWriter, error) {
	return ipc.NewFileWriter(&position{w: w}, ipc.WithSchema(schema))
}

// parquetGroupRows is the rows of a row group: enough for readers to skip and to compress well, few enough to hold.
const parquetGroupRows = 1 << 20

// ParquetLayout is how a Parquet file is written. A row group is held until it is whole.
type ParquetLayout struct {
	groupBytes int64 // of columns
	codec      compress.Compression
	chunks     int // most columns times groups, 0 for any: what the footer says of each is held to the end
}

// ErrTooManyChunks ends a Parquet file whose footer would not fit the memory for it.
var ErrTooManyChunks = errors.New("too many columns and row groups")

var (
	// ForFiles is for who has a file to keep and the memory for it: groups of 64 MiB, zstd.
	ForFiles = ParquetLayout{groupBytes: 64 << 20, codec: compress.Codecs.Zstd}
	// ForStreams is for a server with many answers on their way: groups of StreamGroupBytes, Snappy. The library makes for zstd an encoder
	// of megabytes for each page, and a wide answer has thousands of small ones.
	ForStreams = ParquetLayout{groupBytes: StreamGroupBytes, codec: compress.Codecs.Snappy, chunks: streamChunks}
)

// StreamGroupBytes is how many bytes of columns a row group of a stream has at most, if a record batch has no more.
const StreamGroupBytes = 8 << 20

// streamChunks is about 40 MiB of footer: 64 GiB of 4 columns, 256 MiB of 1,000.
const streamChunks = 32 << 10

// StreamBytes is what writing a stream of so many columns may hold beside a record batch, as measured: pages of many columns are small, and
// have buffers of a size of their own.
func StreamBytes(columns int) int64 {
	if columns <= 32 {
		return 3 * StreamGroupBytes
	}
	return 5*StreamGroupBytes + int64(columns)*(12<<10)
}

// WriteParquet writes a Parquet file with the same columns as [WriteArrow].
func WriteParquet(w io.Writer, r *Reader, l ParquetLayout) (samples uint64, err error) {
	defer catch("Parquet", &err)
	schema := plainSchema(r.Schema())
	options := []parquet.WriterProperty{
		parquet.WithVersion(parquet.V2_LATEST), // older versions have no nanoseconds
		parquet.WithCompression(l.codec),
		parquet.WithMaxRowGroupLength(parquetGroupRows),
		parquet.WithCreatedBy("varve"),
		parquet.WithDictionaryDefault(false), // which knows one NaN only
	}
	for _, f := range schema.Fields() {
		if f.Type.ID() == arrow.STRING {
			options = append(options, parquet.WithDictionaryFor(f.Name, true))
		}
	}
	props := parquet.NewWriterProperties(options...)
	w = struct{ io.Writer }{w} // the library would close what can be closed
	out, err := pqarrow.NewFileWriter(schema, w, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return 0, fmt.Errorf("begin the Parquet file: %w", err)
	}
	held, groups := int64(0), 1
	write := func(rec arrow.Record) error {
		size := util.TotalRecordSize(rec)
		if held += size; held > l.groupBytes && held > size {
			if groups++; l.chunks > 0 && groups*schema.NumFields() > l.chunks {
				return fmt.Errorf("row group %d of %d columns, most is %d in all; ask for fewer rows, or for Arrow: %w", groups, schema.NumFields(), l.chunks, ErrTooManyChunks)
			}
			out.NewBufferedRowGroup()
			held = size
		}
		return out.WriteBuffered(rec)
	}
	return copyRecords(r, schema, write, out.Close)
}

// catch makes an error of a panic: the libraries panic on columns that do not fit together and, for Parquet, where the
// output fails.
func catch(kind string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("write the %s file: %v", kind, p)
	}
}

func copyRecords(r *Reader, schema *arrow.Schema, write func(arrow.Record) error, closeFile func() error) (samples uint64, err error) {
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return samples, closeFile()
		}
		if err != nil {
			return samples, err
		}
		plain, err := plainRecord(rec, schema)
		if err != nil {
			return samples, err
		}
		err = write(plain)
		plain.Release()
		if err != nil {
			return samples, fmt.Errorf("write %d samples: %w", rec.NumRows(), err)
		}
		samples += uint64(rec.NumRows())
	}
}

// plainSchema is a schema with text in place of dictionaries of text.
func plainSchema(s *arrow.Schema) *arrow.Schema {
	fields := make([]arrow.Field, s.NumFields())
	for i, f := range s.Fields() {
		if d, ok := f.Type.(*arrow.DictionaryType); ok {
			f.Type = d.ValueType
		}
		fields[i] = f
	}
	meta := s.Metadata()
	return arrow.NewSchema(fields, &meta)
}

func plainRecord(rec arrow.Record, schema *arrow.Schema) (arrow.Record, error) {
	cols := make([]arrow.Array, rec.NumCols())
	for i := range cols {
		col := rec.Column(i)
		col.Retain()
		if d, ok := col.(*array.Dictionary); ok {
			names, ok := d.Dictionary().(*array.String)
			if !ok {
				return nil, fmt.Errorf("column %s has a dictionary of %s", rec.ColumnName(i), d.Dictionary().DataType())
			}
			col.Release()
			col = plainText(d, names)
		}
		cols[i] = col
	}
	out := array.NewRecord(schema, cols, rec.NumRows())
	for _, c := range cols {
		c.Release()
	}
	return out, nil
}

func plainText(d *array.Dictionary, names *array.String) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Reserve(d.Len())
	for i := range d.Len() {
		if d.IsNull(i) {
			b.AppendNull()
		} else {
			b.Append(names.Value(d.GetValueIndex(i)))
		}
	}
	return b.NewArray()
}

// position lets the Arrow file writer, which asks where it stands and never goes elsewhere, write to a pipe.
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
