package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/varvedb/varve/internal/export"
	"github.com/varvedb/varve/internal/timeexpr"
)

type exportFlags struct {
	client     clientFlags
	settings   export.Settings
	compareAll bool
	verify     bool
	output     string
	quiet      bool
}

func newExportCommand() *cobra.Command {
	f := exportFlags{settings: export.Defaults}
	cmd := &cobra.Command{
		Use:   "export [flags] DIR [TAG...]",
		Short: "Write the samples of tags into a folder of Parquet or Arrow files, and keep it up to date",
		Long: `Writes the stored samples of tags into DIR, one file for each group of tags and UTC day, in folders as Hive, Spark, DuckDB, Polars
and pyarrow read them: DIR/group=BOILER/day=2026-03-01/part-0.parquet. A name with * or ? stands for every tag that matches.

Run again, with DIR alone, it brings the folder up to date: files of which anything changed since are written anew, whether by new or late
samples, edits, deletes, other names, units or states of their tags; files of which nothing is left are removed; the others stay. Tags
made later join if they match. The server says which days changed, and with --compare-all all are compared.

Every file is there whole or not at all, and _manifest.json, which names them with rows, bytes, SHA-256 and times, is written last. A run that
was stopped or killed goes on where it was when it is run again. --verify reads all files and holds them against the manifest.

--group-by says in which group a tag is: segments:N takes the first N parts of its name, divided by . or /, but never the last one;
attribute:NAME the value of an attribute; tag gives each tag its own; none puts all together. Tags without a group are in
` + "group=__HIVE_DEFAULT_PARTITION__" + `, which readers show as null.

Columns: time, tag, value, quality, status, severity, value_int, value_text, time_ns, tag_id, seq, value_bytes, and for the values of Bad
samples bad_value, bad_value_int, bad_value_text, bad_value_bytes. docs/reference/export.md says what stands where. Rows are in the
order of tag, time, seq. --time-unit us writes time in microseconds, for readers such as Spark that have no others; time_ns is exact.

Times are ` + timeexpr.Help + `.
Those without a zone are UTC. A relative --start moves from run to run, and days that it leaves behind are removed.`,
		Example: `  varve export ./lake 'TEP.*'
  varve export ./lake
  varve export --verify ./lake
  varve export --format arrow --group-by attribute:area --start -30d ./recent '*'`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.settings.Tags = args[1:]
			return f.run(cmd, args[0])
		},
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.settings.Start, "start", "", "first time exported (default the first sample)")
	flags.StringVar(&f.settings.Stop, "stop", "", "time behind the last one exported (default the last sample)")
	flags.StringVar(&f.settings.GroupBy, "group-by", f.settings.GroupBy, "group of a tag: segments:N, attribute:NAME, tag or none")
	flags.StringVar(&f.settings.Format, "format", f.settings.Format, "files: parquet or arrow")
	flags.StringVar(&f.settings.TimeUnit, "time-unit", f.settings.TimeUnit, "of the column time: ns or us")
	flags.BoolVar(&f.compareAll, "compare-all", false, "compare every day with the server, not only those that changed")
	flags.BoolVar(&f.verify, "verify", false, "hold the files against the manifest, ask no server")
	flags.StringVarP(&f.output, "output", "o", "text", "the report: text or json")
	flags.BoolVar(&f.quiet, "quiet", false, "no progress bar, and no report")
	return cmd
}

func (f *exportFlags) run(cmd *cobra.Command, dir string) error {
	if f.output != "text" && f.output != "json" {
		return usageError(fmt.Errorf("output %q: must be text or json", f.output))
	}
	bar := newExportBar(cmd.ErrOrStderr(), dir, f.quiet)
	defer bar.finish()
	if f.verify {
		return f.verifyFolder(cmd, dir, bar)
	}
	if err := f.settle(cmd, dir); err != nil {
		return err
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	report, err := export.Run(cmd.Context(), export.Server{Query: c.query, Catalog: c.catalog}, dir, export.Options{
		Settings: f.settings, CompareAll: f.compareAll, Release: version(), OnProgress: bar.show,
	})
	bar.finish()
	if errors.Is(err, context.Canceled) || cmd.Context().Err() != nil {
		return fmt.Errorf("export to %s: stopped; run varve export %s to go on", dir, dir)
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", dir, c.explain(err))
	}
	if f.quiet {
		return nil
	}
	if f.output == "json" {
		return printJSON(cmd.OutOrStdout(), report)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s files, of which %d were written (%s rows, %s bytes) and %d removed\n",
		dir, grouped(report.Files), report.Written, grouped(report.Rows), grouped(uint64(report.Bytes)), report.Removed)
	return err
}

// settle takes the settings of the export that is in the folder, and refuses others: what the folder has would be mixed with them.
func (f *exportFlags) settle(cmd *cobra.Command, dir string) error {
	stored, err := export.SettingsOf(dir)
	if err != nil {
		return err
	}
	if stored == nil {
		if err := f.settings.Check(time.Now()); err != nil {
			return usageError(err)
		}
		return nil
	}
	given := *stored
	if len(f.settings.Tags) > 0 {
		given.Tags = f.settings.Tags
	}
	for name, to := range map[string][2]*string{
		"start": {&given.Start, &f.settings.Start}, "stop": {&given.Stop, &f.settings.Stop}, "group-by": {&given.GroupBy, &f.settings.GroupBy},
		"format": {&given.Format, &f.settings.Format}, "time-unit": {&given.TimeUnit, &f.settings.TimeUnit},
	} {
		if cmd.Flags().Changed(name) {
			*to[0] = *to[1]
		}
	}
	if !given.Equal(stored) {
		return usageError(fmt.Errorf("%s holds an export of %v with --start %q --stop %q --group-by %s --format %s --time-unit %s; "+
			"leave tags and flags out to bring it up to date, or choose another folder",
			dir, stored.Tags, stored.Start, stored.Stop, stored.GroupBy, stored.Format, stored.TimeUnit))
	}
	f.settings = *stored
	return nil
}

func (f *exportFlags) verifyFolder(cmd *cobra.Command, dir string, bar *exportBar) error {
	if len(f.settings.Tags) > 0 {
		return usageError(errors.New("--verify is of the whole folder; leave the tags out"))
	}
	v, err := export.Verify(cmd.Context(), dir, bar.count)
	bar.finish()
	if err != nil {
		return err
	}
	switch {
	case f.output == "json":
		if err := printJSON(cmd.OutOrStdout(), v); err != nil {
			return err
		}
	default:
		for _, p := range v.Problems {
			fmt.Fprintln(cmd.OutOrStdout(), p)
		}
		if !f.quiet {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s files, %s rows, %s bytes, %d problems\n", dir, grouped(v.Files), grouped(v.Rows), grouped(uint64(v.Bytes)), len(v.Problems))
		}
	}
	if len(v.Problems) > 0 {
		return fmt.Errorf("%s is not as it was written; remove the files that are named and run varve export %s", dir, dir)
	}
	return nil
}

// exportBar shows how far an export has come, if a person watches.
type exportBar struct {
	bar   *progressbar.ProgressBar // nil: nobody watches
	began time.Time
	drawn time.Time
}

func newExportBar(w io.Writer, dir string, quiet bool) *exportBar {
	f, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return &exportBar{}
	}
	return &exportBar{began: time.Now(), bar: progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(dir), progressbar.OptionSetWidth(24),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(barPause))}
}

func (b *exportBar) show(p export.Progress) {
	if b.bar == nil || p.Days == 0 || time.Since(b.drawn) < barPause {
		return
	}
	b.drawn = time.Now()
	b.bar.Describe(fmt.Sprintf("%s, %s rows, %s/s", p.Day, grouped(p.Rows), grouped(uint64(float64(p.Rows)/time.Since(b.began).Seconds()))))
	b.bar.ChangeMax(p.Days)
	_ = b.bar.Set(p.DaysDone) // only fails past the end
}

func (b *exportBar) count(done, of int) {
	if b.bar != nil {
		b.bar.ChangeMax(of)
		_ = b.bar.Set(done)
	}
}

func (b *exportBar) finish() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.bar = nil
	}
}
