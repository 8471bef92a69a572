package export

import (
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// parquetWriter writes a Parquet file, a row group for each record batch.
type parquetWriter struct{ file *pqarrow.FileWriter }

func newParquetWriter(w io.Writer, schema *arrow.Schema) (fileWriter, error) {
	options := []parquet.WriterProperty{
		parquet.WithVersion(parquet.V2_LATEST), // older versions have no nanoseconds
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCreatedBy("varve"),
	}
	for _, i := range []int{columnTime, columnTimeNs} { // they ascend in steps that hardly vary
		options = append(options, parquet.WithDictionaryFor(fields[i].Name, false), parquet.WithEncodingFor(fields[i].Name, parquet.Encodings.DeltaBinaryPacked))
	}
	for _, i := range []int{columnValue, columnBad} {
		// A dictionary of the library has one NaN, so that payloads would be lost; and plain under zstd is the smallest for what plants measure,
		// see docs/design/exports.md. Least and greatest leave out NaN, and a reader that has NaN above all numbers would skip it.
		options = append(options, parquet.WithDictionaryFor(fields[i].Name, false), parquet.WithStatsFor(fields[i].Name, false))
	}
	w = struct{ io.Writer }{w} // the library would close what can be closed
	file, err := pqarrow.NewFileWriter(schema, w, parquet.NewWriterProperties(options...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, err
	}
	return parquetWriter{file}, nil
}

func (p parquetWriter) Write(rec arrow.Record) (err error) {
	defer caught(&err)
	return p.file.Write(rec)
}

func (p parquetWriter) Close() (err error) {
	defer caught(&err)
	return p.file.Close()
}

// caught makes an error of a panic: the library panics where the output fails.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%v", p)
	}
}
