package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/collector/table"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type importFlags struct {
	client       clientFlags
	mapping      string
	tags         []string
	timeColumn   string
	timeFormat   string
	timeZone     string
	keyColumns   []string
	prefix       string
	shape        string
	delimiter    string
	decimal      string
	missing      []string
	bad          []string
	quality      string
	qualities    []string
	types        []string
	mode         string
	source       string
	resend       bool
	allowRejects bool
	dryRun       bool
	output       string
	quiet        bool
}

func newImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import [flags] FILE...",
		Short: "Read tables of plant data (CSV, .gz, .zst) into the server",
		Long: `Reads tables of plant data into the server and returns once all of it is applied.

A wide table has a time column and a column per tag. With --key-column, given once per column, the tag is key.column and
several rows may share a time. A long table has columns time, tag and value and a row per sample; a column quality holds
its quality, text in a column detail becomes a sample of the tag TAG.detail, every other column a text tag of its own. So
what varve query --output csv writes can be read.

The type of a tag is found from all its values: bool, float64 (integers too, unless only int64 or uint64 can hold them),
else string. --types, --mapping or an existing tag decide otherwise. An empty field of a wide table is no sample; in a
long table it is the empty text, or for other types no value with quality BadNoData. UNAVAILABLE is quality
BadNoCommunication: text tags keep the word, others have no value then.

The same file under the same mapping is the same import: reading it again changes nothing, and after an interruption the
import goes on where it stopped. A file that is no table is named, and those behind it are read. Exit status 1 then, or if any row or sample was rejected, unless --allow-rejects.`,
		Example: `  varve import --server 127.0.0.1:7420 --prefix TEP.06. tep_idv06.csv.gz
  varve import --key-column turbine --time-zone Europe/Berlin wind.csv.zst
  varve import --missing '?' --tags tags.csv --types 'STATUS*=string' laboratory.csv
  varve import --qualities 192=Good --qualities 64=Uncertain --qualities 0=Bad opc_export.csv
  varve import --decimal , --time-format '%d.%m.%Y %H:%M:%S' --time-zone Europe/Berlin export.csv
  varve import --mapping plant.yaml --mode append events.csv.gz`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("no file to import; see %s --help", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.mapping, "mapping", "", "YAML file that says how columns become tags; flags go before it")
	flags.StringArrayVar(&f.tags, "tags", nil, "CSV file with columns tag, description, unit (repeatable)")
	flags.StringVar(&f.timeColumn, "time-column", "", "column of the times, or two as DATE+CLOCK (default the first named time, date, timestamp, ...)")
	flags.StringVar(&f.timeFormat, "time-format", "", "such as 02/01/2006 15:04:05, %d/%m/%Y %H:%M:%S, unix, unix_ms (default found from the data)")
	flags.StringVar(&f.timeZone, "time-zone", "", "IANA zone of times that carry none, such as Europe/Berlin (default UTC)")
	flags.StringArrayVar(&f.keyColumns, "key-column", nil, "column whose field stands before the column's name in the tag: key.column (repeatable)")
	flags.StringVar(&f.prefix, "prefix", "", "stands before every tag's name; {file} in it is the file's name (default none)")
	flags.StringVar(&f.shape, "shape", "", "wide or long (default found from the header)")
	flags.StringVar(&f.delimiter, "delimiter", "", "between fields: one byte, or tab (default comma, or the semicolon, tab or bar of a first line without one)")
	flags.StringVar(&f.decimal, "decimal", "", "what numbers have before their decimals: . or , (default .)")
	flags.StringArrayVar(&f.missing, "missing", nil, "field that stands for no value, besides the empty one (repeatable)")
	flags.StringArrayVar(&f.bad, "bad", nil, "WORD=QUALITY: field that stands for a bad quality (repeatable; default UNAVAILABLE=BadNoCommunication)")
	flags.StringVar(&f.quality, "quality-column", "", "column of the qualities of a long table (default quality)")
	flags.StringArrayVar(&f.qualities, "qualities", nil, "WORD=QUALITY: what a word or number in the quality column stands for, such as 192=Good (repeatable)")
	flags.StringSliceVar(&f.types, "types", nil, "COLUMN=TYPE or PATTERN=TYPE: float64, float32, int64, uint64, bool, string (repeatable)")
	flags.StringVar(&f.mode, "mode", "no_replace", "where a sample stands at that time already: no_replace, append, update, insert, replace")
	flags.StringVar(&f.source, "source", "", "name of this import (default made from the content of the file and the mapping)")
	flags.BoolVar(&f.resend, "resend", false, "send also what the server says it has applied; it changes nothing there")
	flags.BoolVar(&f.allowRejects, "allow-rejects", false, "exit with 0 although rows or samples were rejected")
	flags.BoolVar(&f.dryRun, "dry-run", false, "read the files, say what tags they would make, send nothing")
	flags.StringVar(&f.output, "output", "text", "the report: text or json (one object per file)")
	flags.BoolVar(&f.quiet, "quiet", false, "no progress bar, and a report only of what went wrong")
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command, files []string) error {
	if f.output != "text" && f.output != "json" {
		return usageError(fmt.Errorf("output %q: must be text or json", f.output))
	}
	mapping, err := f.mappingOf()
	if err != nil {
		return usageError(err)
	}
	mode, err := parseMode(f.mode)
	if err != nil {
		return usageError(err)
	}
	if f.dryRun {
		return f.plan(cmd, mapping, files)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	rejected, failed := 0, 0
	for _, file := range files {
		bar := newImportBar(cmd.ErrOrStderr(), file, f.quiet)
		report, err := table.Import(cmd.Context(), table.Server{Ingest: c.ingest, Catalog: c.catalog}, file, table.Options{
			Mapping: mapping, Mode: mode, Source: f.source, Resend: f.resend, OnProgress: bar.show,
		})
		bar.finish()
		if report.AnyRejected() {
			rejected++
		}
		if err == nil || report.Sent > 0 || f.output == "json" {
			f.print(cmd, report)
		}
		if err == nil {
			continue
		}
		explained := c.explainImport(file, err)
		if len(files) == 1 || !aboutFile(report, err) {
			return explained
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "varve:", explained)
		failed++
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d files could not be imported, see above; the others were", failed, len(files))
	}
	if rejected > 0 && !f.allowRejects {
		return fmt.Errorf("%d of %d files had rows or samples that were rejected, see above; --allow-rejects takes that as success", rejected, len(files))
	}
	return nil
}

// aboutFile reports whether an import failed for its file alone, before anything was sent, so that the files behind it can
// be imported all the same.
func aboutFile(report *table.Report, err error) bool {
	var asked interface{ GRPCStatus() *status.Status }
	return report.Source == "" && !errors.As(err, &asked) && !errors.Is(err, context.Canceled)
}

func (c *client) explainImport(file string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("import %s: stopped; run the same command again to go on", file)
	}
	return fmt.Errorf("import %s: %w", file, c.explain(err))
}

func (f *importFlags) mappingOf() (m table.Mapping, err error) {
	if f.mapping != "" {
		if m, err = table.ReadMapping(f.mapping); err != nil {
			return m, err
		}
	}
	for to, from := range map[*string]string{
		&m.TimeColumn: f.timeColumn, &m.TimeFormat: f.timeFormat, &m.TimeZone: f.timeZone, &m.Prefix: f.prefix, &m.Delimiter: f.delimiter,
		&m.QualityColumn: f.quality, &m.Decimal: f.decimal,
	} {
		if from != "" {
			*to = from
		}
	}
	if f.shape != "" {
		m.Shape = table.Shape(f.shape)
	}
	if len(f.keyColumns) > 0 {
		m.KeyColumns = f.keyColumns
	}
	m.Missing = append(m.Missing, f.missing...)
	if err := addWords(&m.Bad, "--bad", f.bad); err != nil {
		return m, err
	}
	if err := addWords(&m.Qualities, "--qualities", f.qualities); err != nil {
		return m, err
	}
	if m.Columns == nil {
		m.Columns = map[string]table.Column{}
	}
	for _, t := range f.types {
		name, typ, ok := cutLast(t, "=")
		if !ok {
			return m, fmt.Errorf("--types %q: must be COLUMN=TYPE", t)
		}
		column := m.Columns[name]
		column.Type = typ
		m.Columns[name] = column
	}
	for _, file := range f.tags {
		if err := m.AddTags(file); err != nil {
			return m, err
		}
	}
	return m, m.Check()
}

func addWords(words *map[string]string, flag string, given []string) error {
	for _, g := range given {
		word, quality, ok := cutLast(g, "=")
		if !ok {
			return fmt.Errorf("%s %q: must be WORD=QUALITY", flag, g)
		}
		if *words == nil {
			*words = map[string]string{}
		}
		(*words)[word] = quality
	}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func parseMode(s string) (varvev1.WriteMode, error) {
	m, ok := varvev1.WriteMode_value["WRITE_MODE_"+strings.ToUpper(s)]
	if !ok || m == 0 || m == int32(varvev1.WriteMode_WRITE_MODE_REMOVE) {
		return 0, fmt.Errorf("mode %q: must be one of no_replace, append, update, insert, replace", s)
	}
	return varvev1.WriteMode(m), nil
}

// plan prints what files would become, without a server.
func (f *importFlags) plan(cmd *cobra.Command, m table.Mapping, files []string) error {
	out := cmd.OutOrStdout()
	for _, file := range files {
		p, err := table.Scan(cmd.Context(), file, m, nil)
		if err != nil {
			return err
		}
		if p.Rows == 0 {
			fmt.Fprintf(out, "%s: no rows", file)
		} else {
			fmt.Fprintf(out, "%s: %s, %d rows, times in column %s as %s, %d tags", file, p.Shape, p.Rows, p.TimeColumn, p.TimeFormat, len(p.Tags))
		}
		if p.BadRows > 0 {
			fmt.Fprintf(out, ", and %d rows that would be rejected", p.BadRows)
		}
		fmt.Fprintln(out)
		for _, t := range p.Tags {
			fmt.Fprintf(out, "  %-40s %-8s %9d values  %s %s\n", t.Name, typeOrNone(t), t.Values, t.Unit, t.Description)
		}
		if w := p.SuggestMissing(); w != "" {
			fmt.Fprintf(out, "  columns of numbers became text because of %q; if it stands for no value, give --missing '%s'\n", w, w)
		}
		if c := p.SuggestDecimal(); c != "" {
			fmt.Fprintf(out, "  %s holds numbers with a decimal comma and became text; give --decimal ','\n", c)
		}
	}
	return nil
}

func typeOrNone(t *table.Tag) string {
	if t.Type == 0 {
		return "-"
	}
	return t.Type.String()
}

func (f *importFlags) print(cmd *cobra.Command, r *table.Report) {
	if f.output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetEscapeHTML(false)
		_ = e.Encode(r) // the exit status tells of a broken pipe soon enough
		return
	}
	if f.quiet && !r.AnyRejected() {
		return
	}
	printReport(cmd.OutOrStdout(), r)
}

func printReport(w io.Writer, r *table.Report) {
	fmt.Fprintf(w, "%s: %s rows, %s samples of %s tags (%s new), %s applied, %s ignored as present, %s rejected, %s out of order, %s/s\n",
		r.File, grouped(r.Rows), grouped(r.Samples), grouped(r.Tags), grouped(r.TagsCreated), grouped(r.Applied), grouped(r.Ignored),
		grouped(r.Rejected+uint64(r.BadFields)), grouped(r.OutOfOrder), grouped(uint64(r.Rate)))
	if r.BadRows > 0 {
		fmt.Fprintf(w, "  %s rows rejected\n", grouped(r.BadRows))
	}
	for i, reason := range r.Reasons {
		if i == 20 {
			fmt.Fprintf(w, "  … %d further reasons; --output json lists them\n", len(r.Reasons)-i)
			break
		}
		fmt.Fprintf(w, "  rejected %s: ", grouped(reason.Count))
		if reason.Column != "" {
			fmt.Fprintf(w, "%s: ", reason.Column)
		}
		fmt.Fprint(w, reason.Reason)
		if len(reason.Lines) > 0 {
			fmt.Fprintf(w, " (line %s)", firstLines(reason))
		}
		fmt.Fprintln(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
}

func firstLines(f table.Fault) string {
	most := min(len(f.Lines), 5)
	parts := make([]string, most)
	for i := range parts {
		parts[i] = fmt.Sprint(f.Lines[i])
	}
	s := strings.Join(parts, ", ")
	if f.Count > most {
		s += ", …"
	}
	return s
}

// grouped writes a count with a comma between thousands.
func grouped[T int | uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// importBar shows how far an import has come, if a person watches.
type importBar struct {
	bar     *progressbar.ProgressBar // nil: nobody watches
	w       io.Writer                // for what must be said although nobody watches
	waiting bool
	began   time.Time
	drawn   time.Time
}

const barPause = 100 * time.Millisecond

func newImportBar(w io.Writer, file string, quiet bool) *importBar {
	f, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return &importBar{w: w}
	}
	return &importBar{w: w, began: time.Now(), bar: progressbar.NewOptions64(1000,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(file), progressbar.OptionSetWidth(24),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(barPause))}
}

// show counts the first pass, which sends nothing, as a fifth of the work.
func (b *importBar) show(p table.Progress) {
	if b.bar == nil && (p.Waiting != "") != b.waiting {
		if b.waiting = p.Waiting != ""; b.waiting {
			fmt.Fprintf(b.w, "varve: the connection was lost: %s\n", p.Waiting)
		} else {
			fmt.Fprintln(b.w, "varve: connected again")
		}
	}
	if b.bar == nil || p.Size == 0 || time.Since(b.drawn) < barPause {
		return
	}
	b.drawn = time.Now()
	done := 200 * p.Read / p.Size
	text := "reading"
	if !p.Scanning {
		done = 200 + 800*p.Read/p.Size
		text = fmt.Sprintf("%s/s, %s rejected", grouped(uint64(float64(p.Applied)/time.Since(b.began).Seconds())), grouped(p.Rejected))
	}
	if p.Waiting != "" {
		text = "waiting: " + p.Waiting
	}
	b.bar.Describe(text)
	_ = b.bar.Set64(min(done, 999)) // only fails past the end
}

func (b *importBar) finish() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
