package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"github.com/varvedb/varve/compression/encoding"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure parts of varve on data of your own; needs no server",
		Example: "  varve bench codecs plant.csv.gz",
		Args:    asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newBenchCodecsCommand())
	return cmd
}

func newBenchCodecsCommand() *cobra.Command {
	var output string
	var passes int
	cmd := &cobra.Command{
		Use:   "codecs FILE...",
		Short: "Size and speed of every codec of sealed float columns",
		Long: `Size and speed of every codec of sealed float columns, alone, and of the one that
a seal would choose. A FILE is CSV with a header line, of which every column is
measured whose fields are numbers or empty, or little-endian float64 values
(name ends in .f64); either may be under gzip (.gz).

Columns are cut into chunks of 65,536 values. Speeds are medians over passes of
wall time on one core, in million values a second; zstd, on the 8 bytes of each
value, is there to compare with. Codecs that a column is not for are left out.`,
		Example: `  varve bench codecs plant.csv.gz
  varve bench codecs --output json city_temp.f64.gz | jq '.[] | select(.codec == "chosen")'`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			if passes < 1 {
				return usageError(fmt.Errorf("passes %d: must be 1 at least", passes))
			}
			b, err := newCodecBench(passes)
			if err != nil {
				return err
			}
			for _, file := range files {
				columns, err := readNumbers(file)
				if err != nil {
					return fmt.Errorf("read %s: %w", file, err)
				}
				for _, c := range columns {
					if err := b.measure(filepath.Base(file), c); err != nil {
						return err
					}
					if err := cmd.Context().Err(); err != nil {
						return err
					}
				}
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), b.results)
			}
			return printCodecs(cmd.OutOrStdout(), b.results)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().IntVar(&passes, "passes", 7, "how often each codec runs; the median counts")
	return cmd
}

// codecResult is one codec on one column, as JSON. Scripts read it: fields are added, never renamed.
type codecResult struct {
	File         string   `json:"file"`
	Column       string   `json:"column,omitempty"`
	Values       int      `json:"values"`
	Codec        string   `json:"codec"`
	Chose        []string `json:"chose,omitempty"` // of "chosen": the codecs of its chunks
	BitsPerValue float64  `json:"bits_per_value"`
	EncodeMPerS  float64  `json:"encode_million_values_per_s"`
	DecodeMPerS  float64  `json:"decode_million_values_per_s"`
}

// numbers is a column of float64 bits.
type numbers struct {
	name string
	bits []uint64
}

const chunkValues = 65536

// codecBench measures codecs in memory that it keeps, as a seal and a read do.
type codecBench struct {
	passes  int
	results []codecResult

	enc      encoding.SealedEncoder
	dec      encoding.SealedDecoder
	zstdEnc  *zstd.Encoder
	zstdDec  *zstd.Decoder
	raw, out []byte
	values   []uint64
}

func newCodecBench(passes int) (*codecBench, error) {
	b := &codecBench{passes: passes, results: []codecResult{}, values: make([]uint64, chunkValues)}
	var err error
	if b.zstdEnc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, err
	}
	b.zstdDec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	return b, err
}

// codec encodes a chunk behind dst, and decodes one of n values into the memory of b.
type codec struct {
	name   string
	encode func(dst []byte, v []uint64) ([]byte, bool)
	decode func(chunk []byte, n int) error
}

func (b *codecBench) codecs() []codec {
	sealed := func(chunk []byte, n int) error {
		blocks := (n + encoding.SealedBlock - 1) / encoding.SealedBlock
		return b.dec.Float64s(b.values[:n], n, chunk, 0, blocks)
	}
	all := []codec{{"chosen", func(dst []byte, v []uint64) ([]byte, bool) { return b.enc.AppendFloat64s(dst, v), true }, sealed}}
	for _, name := range encoding.FloatCodecs() {
		all = append(all, codec{name, func(dst []byte, v []uint64) ([]byte, bool) { return b.enc.AppendFloat64sAs(name, dst, v) }, sealed})
	}
	unsealed := func(chunk []byte, n int) error {
		_, _, err := encoding.DecodeFloat64s(b.values, n, chunk) // has the room, so that is where they are
		return err
	}
	return append(all,
		codec{"unsealed", func(dst []byte, v []uint64) ([]byte, bool) { return encoding.AppendFloat64s(dst, v), true }, unsealed},
		codec{"zstd", b.encodeZstd, b.decodeZstd})
}

func (b *codecBench) encodeZstd(dst []byte, v []uint64) ([]byte, bool) {
	b.raw = b.raw[:0]
	for _, x := range v {
		b.raw = binary.LittleEndian.AppendUint64(b.raw, x)
	}
	return b.zstdEnc.EncodeAll(b.raw, dst), true
}

func (b *codecBench) decodeZstd(chunk []byte, n int) (err error) {
	if b.out, err = b.zstdDec.DecodeAll(chunk, b.out[:0]); err != nil {
		return err
	}
	for i := range b.values[:n] {
		b.values[i] = binary.LittleEndian.Uint64(b.out[8*i:])
	}
	return nil
}

// measure runs every codec on a column, and holds what comes back against what went in.
func (b *codecBench) measure(file string, column numbers) error {
	for _, c := range b.codecs() {
		r := codecResult{File: file, Column: column.name, Values: len(column.bits), Codec: c.name}
		size, encode, decode := 0, time.Duration(0), time.Duration(0)
		var chunk []byte
		fits := true
		for v := range slices.Chunk(column.bits, chunkValues) {
			spent := b.median(func() error {
				chunk, fits = c.encode(chunk[:0], v)
				return nil
			})
			if !fits {
				break
			}
			encode += spent
			size += len(chunk)
			var err error
			decode += b.median(func() error {
				err = c.decode(chunk, len(v))
				return err
			})
			if err != nil {
				return fmt.Errorf("%s of %s %s: %w", c.name, file, column.name, err)
			}
			if !slices.Equal(v, b.values[:len(v)]) {
				return fmt.Errorf("%s of %s %s: other values came back", c.name, file, column.name)
			}
			if c.name == "chosen" {
				r.Chose = append(r.Chose, encoding.FloatCodecOf(chunk))
			}
		}
		if !fits {
			continue
		}
		r.BitsPerValue = float64(size) * 8 / float64(len(column.bits))
		r.EncodeMPerS = millionsPerSecond(len(column.bits), encode)
		r.DecodeMPerS = millionsPerSecond(len(column.bits), decode)
		b.results = append(b.results, r)
	}
	return nil
}

// median is how long work takes. It runs once more at first, to warm up.
func (b *codecBench) median(work func() error) time.Duration {
	spent := make([]time.Duration, b.passes)
	if work() != nil {
		return 0
	}
	for i := range spent {
		begin := time.Now()
		if work() != nil {
			return 0
		}
		spent[i] = time.Since(begin)
	}
	slices.Sort(spent)
	return spent[len(spent)/2]
}

func millionsPerSecond(n int, spent time.Duration) float64 {
	return float64(n) / 1e6 / max(spent.Seconds(), 1e-9)
}

// readNumbers reads the columns of a file.
func readNumbers(path string) ([]numbers, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	name, packed := strings.CutSuffix(path, ".gz")
	if packed {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, err
		}
	}
	switch filepath.Ext(name) {
	case ".f64":
		return readDoubles(r)
	case ".csv":
		return readCSVNumbers(r)
	}
	return nil, errors.New("not a .csv or .f64 file, nor one of these under .gz")
}

func readDoubles(r io.Reader) ([]numbers, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b)%8 != 0 {
		return nil, fmt.Errorf("%d bytes are no float64 values", len(b))
	}
	v := make([]uint64, len(b)/8)
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return []numbers{{bits: v}}, nil
}

// readCSVNumbers is the columns of which every field is a number or empty, and not all are empty. Empty ones are no values.
func readCSVNumbers(r io.Reader) ([]numbers, error) {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("header line: %w", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	columns := make([]numbers, len(head))
	other := make([]bool, len(head))
	for i, name := range head {
		columns[i].name = strings.Clone(name)
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for i, field := range row {
			if field == "" || other[i] {
				continue
			}
			x, err := strconv.ParseFloat(field, 64)
			if err != nil {
				other[i], columns[i].bits = true, nil
				continue
			}
			columns[i].bits = append(columns[i].bits, math.Float64bits(x))
		}
	}
	return slices.DeleteFunc(columns, func(c numbers) bool { return len(c.bits) == 0 }), nil
}

func printCodecs(w io.Writer, results []codecResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FILE\tCOLUMN\tVALUES\tCODEC\tBITS/VALUE\tENCODE M/S\tDECODE M/S\t")
	for _, r := range results {
		name := r.Codec
		if len(r.Chose) > 0 {
			name += " (" + strings.Join(slices.Compact(slices.Clone(r.Chose)), ", ") + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%.3f\t%.0f\t%.0f\t\n", r.File, cmp.Or(r.Column, "-"), r.Values, name, r.BitsPerValue, r.EncodeMPerS, r.DecodeMPerS)
	}
	return t.Flush()
}
