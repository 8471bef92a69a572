package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/backup"
)

// verifyFlags is what the command line of verify says.
type verifyFlags struct {
	backupFlags
	client                    clientFlags
	data, folder, id, against string
	start, end                string
}

func newVerifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify --data DIR | --backup DIR | --server HOST:PORT",
		Short: "Read everything a store or a folder of backups holds, and list what is damaged",
		Long: `Read everything a stopped store or a folder of backups holds, and list every damaged place: log segments, tables, chunks
and their headers, directories, newest samples, identities and both copies of the catalogue. Nothing is changed. Exit
status: 0 if all is sound, 1 if anything is damaged or could not be read.

Of a folder all manifests and files are read, and the newest backup, or the one named with --id, also as the store it
would be restored to, which is held against the hashes taken with it.

With --server a running server hashes what it holds, and the list is printed, one line for each tag and day; or it is
compared with that of another server (--against) or of a backup (--backup), and what differs is listed. Two that stand
at different log offsets differ in what was written between: give --end, or let both come to rest. Of two servers with
logs of their own, as the two of a pair are, tags of one name are compared, with their versions.`,
		Example: `  varve verify --data /var/lib/varve
  varve verify --server plant1:7420 --against plant1b:7420 --end 2026-11-25T00:00:00Z
  varve verify --server plant1:7420 --backup /mnt/backup/plant1 --id 12
  varve verify --backup /mnt/backup/plant1 --output json`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			online := f.client.server != ""
			switch {
			case online && (f.data != "" || f.folder != "" && f.against != ""):
				return usageError(errors.New("--server is compared with one of --against and --backup, and not with --data"))
			case !online && (f.against != "" || f.start != "" || f.end != ""):
				return usageError(errors.New("--against, --start and --end go with --server"))
			case !online && (f.data == "") == (f.folder == ""):
				return usageError(errors.New("give one of --data, --backup and --server"))
			}
			if f.id != "" && f.folder == "" {
				return usageError(errors.New("--id goes with --backup"))
			}
			if err := checkOutput(f.output); err != nil {
				return err
			}
			if online {
				return f.online(cmd.Context(), cmd.OutOrStdout())
			}
			r, err := f.run(cmd.Context())
			if err != nil {
				return err
			}
			if err := r.print(cmd.OutOrStdout(), f.output); err != nil {
				return err
			}
			if n := len(r.Damage); n > 0 {
				return fmt.Errorf("%d damaged places", n)
			}
			return nil
		},
	}
	f.register(cmd)
	f.client.register(cmd)
	cmd.Flags().StringVar(&f.against, "against", "", "another server to compare --server with, reached with the same credentials")
	cmd.Flags().StringVar(&f.start, "start", "", "with --server, only days from this instant on, RFC 3339")
	cmd.Flags().StringVar(&f.end, "end", "", "with --server, only days before this instant, RFC 3339")
	cmd.Flags().StringVar(&f.data, "data", "", "directory of a stopped store")
	cmd.Flags().StringVar(&f.folder, "backup", "", "folder of backups")
	cmd.Flags().StringVar(&f.id, "id", "", "with --backup, only this one, by id or number (default all, the newest as a store)")
	return cmd
}

// verifyReport is what verify found, as JSON. Scripts read it: fields are added, never renamed.
type verifyReport struct {
	Sound     bool         `json:"sound"`
	Damage    []damageJSON `json:"damage"`
	Store     string       `json:"store,omitempty"`
	Offset    uint64       `json:"offset"`
	Revision  uint64       `json:"catalog_revision"`
	Tags      int          `json:"tags"`
	Samples   uint64       `json:"samples"`
	Versions  uint64       `json:"versions"`
	Records   uint64       `json:"log_records"`
	Tables    int          `json:"tables"`
	TableSize int64        `json:"table_bytes"`
	Chunks    int          `json:"chunks"`
	Backups   []string     `json:"backups,omitempty"`
	Objects   int          `json:"objects,omitempty"`
	Bytes     int64        `json:"object_bytes,omitempty"`
}

type damageJSON struct {
	Part   string `json:"part"`
	File   string `json:"file,omitempty"`
	At     int64  `json:"at,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	Tag    uint32 `json:"tag,omitempty"`
	Start  string `json:"start,omitempty"`
	End    string `json:"end,omitempty"`
	Detail string `json:"detail"`

	text string
}

func (f *verifyFlags) run(ctx context.Context) (*verifyReport, error) {
	r := &verifyReport{Damage: []damageJSON{}}
	report := func(d storage.Damage) {
		x := damageJSON{Part: d.Part, File: d.File, At: d.At, Bytes: d.Bytes, Tag: uint32(d.Tag), Detail: d.Detail, text: d.String()}
		if !d.In.Empty() {
			x.Start, x.End = model.FormatTime(d.In.Start), model.FormatTime(d.In.End)
		}
		r.Damage = append(r.Damage, x)
	}
	o := f.options()
	var c storage.Checked
	var err error
	if f.data != "" {
		c, err = storage.Verify(ctx, f.data, o.Storage, report, nil)
	} else {
		var v backup.Verified
		v, err = backup.Verify(ctx, f.folder, f.id, o, report)
		c = v.Store
		for _, m := range v.Backups {
			r.Backups = append(r.Backups, m.ID)
		}
		r.Objects, r.Bytes = v.Objects, v.Bytes
	}
	if err != nil {
		return nil, err
	}
	if c.Store != (model.UUID{}) {
		r.Store = c.Store.String()
	}
	r.Sound = len(r.Damage) == 0
	r.Offset, r.Revision, r.Tags, r.Samples, r.Versions = c.Offset, c.Content.Revision, c.Content.Tags, c.Content.Samples, c.Content.Versions
	r.Records, r.Tables, r.TableSize, r.Chunks = c.Records, c.Tables, c.Blocks, c.Chunks
	return r, nil
}

func (r *verifyReport) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, r)
	}
	for _, d := range r.Damage {
		fmt.Fprintf(w, "damaged: %s\n", d.text)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	if len(r.Backups) > 0 {
		row("backups", "%d, %d files, %s", len(r.Backups), r.Objects, inBytes(uint64(r.Bytes)))
	}
	if r.Store != "" {
		row("store", "%s at log offset %d, catalogue revision %d", r.Store, r.Offset, r.Revision)
	}
	row("read", "%d log records, %d tables of %s, %d chunks", r.Records, r.Tables, inBytes(uint64(r.TableSize)), r.Chunks)
	row("holds", "%s tags, %s samples", grouped(uint64(r.Tags)), grouped(r.Samples))
	row("damaged", "%d places", len(r.Damage))
	return t.Flush()
}
