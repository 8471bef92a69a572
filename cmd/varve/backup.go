package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/backup"
)

// checkpointPrefix begins the names of checkpoints that backups are copied from. One that an interrupted command left may be
// deleted.
const checkpointPrefix = "backup-"

// backupFlags is what the command lines of backup and restore share.
type backupFlags struct {
	memory   size
	noHashes bool
	output   string
}

func (f *backupFlags) register(cmd *cobra.Command) {
	f.memory = 256 << 20
	cmd.Flags().Var(&f.memory, "memory", "memory for reading the copy, from 32MiB")
	registerOutput(cmd, &f.output)
}

func registerOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "table or json")
}

func checkOutput(output string) error {
	if output != "table" && output != "json" {
		return usageError(fmt.Errorf("output %q: must be table or json", output))
	}
	return nil
}

func (f *backupFlags) options() backup.Options {
	return backup.Options{Release: version(), NoHashes: f.noHashes, Storage: storage.Options{MemoryBytes: int64(f.memory)}}
}

func newBackupCommand() *cobra.Command {
	var f backupFlags
	var c clientFlags
	var data, to string
	cmd := &cobra.Command{
		Use:   "backup --to DIR",
		Short: "Copy a store into a folder of backups",
		Long: `Copy a store into a folder of backups, which is made if nothing is there. Files that the folder has already are not
copied again. What the store holds is read once and hashed per tag and day, so that a restored store, or another
server, can be held against it.

A running server makes a checkpoint first: start it with --checkpoint-dir, on the file system of the store, and run
this command on its machine. The checkpoint is removed when it is copied. A stopped store is named with --data.`,
		Example: `  varve serve --data /var/lib/varve --checkpoint-dir /var/lib/varve-checkpoints
  varve backup --to /mnt/backup/plant1
  varve backup --data /var/lib/varve --to /mnt/backup/plant1
  varve backup list /mnt/backup/plant1
  varve backup prune --keep 14 /mnt/backup/plant1`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usageError(errors.New("--to is required: the folder of backups"))
			}
			if err := checkOutput(f.output); err != nil {
				return err
			}
			taken, err := takeBackup(cmd.Context(), &c, data, to, f.options(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), takenJSON{manifestJSONOf(taken.Manifest), taken.NewFiles, taken.NewBytes})
			}
			return printTaken(cmd.OutOrStdout(), &taken)
		},
	}
	c.register(cmd)
	f.register(cmd)
	cmd.Flags().StringVar(&data, "data", "", "directory of a stopped store, instead of a server's")
	cmd.Flags().StringVar(&to, "to", "", "folder of backups (required)")
	cmd.Flags().BoolVar(&f.noHashes, "no-hashes", false, "do not read and hash what the store holds; also for a store known to be damaged")
	cmd.AddCommand(newBackupListCommand(), newBackupPruneCommand())
	return cmd
}

func takeBackup(ctx context.Context, f *clientFlags, data, to string, o backup.Options, stderr io.Writer) (backup.Taken, error) {
	if data != "" {
		return backup.Take(ctx, data, to, o)
	}
	c, err := f.dial()
	if err != nil {
		return backup.Taken{}, err
	}
	defer c.close()
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	name := checkpointPrefix + hex.EncodeToString(id[:])
	made, err := c.admin.Checkpoint(ctx, &varvev1.CheckpointRequest{Directory: name})
	if err != nil {
		return backup.Taken{}, c.explain(err)
	}
	if filepath.Base(made.Directory) != name {
		return backup.Taken{}, fmt.Errorf("the server made a checkpoint in %q and not where it can be found: it may be an older release", made.Directory)
	}
	if _, err := os.Stat(made.Directory); err != nil {
		return backup.Taken{}, fmt.Errorf("the checkpoint lies on the server's machine, in %s, and is not found here: %w; run this command there, then remove it", made.Directory, err)
	}
	defer func() {
		if err := os.RemoveAll(made.Directory); err != nil {
			fmt.Fprintf(stderr, "varve: the checkpoint stays in %s: %v; remove it\n", made.Directory, err)
		}
	}()
	return backup.Take(ctx, made.Directory, to, o)
}

// manifestJSON is a backup as JSON. Scripts read it: fields are added, never renamed.
type manifestJSON struct {
	ID       string `json:"id"`
	Snapshot string `json:"snapshot"`
	Store    string `json:"store"`
	Time     string `json:"time"`
	Release  string `json:"release"`
	Offset   uint64 `json:"offset"`
	Lost     uint64 `json:"lost"`
	Revision uint64 `json:"catalog_revision"`
	Tags     uint64 `json:"tags"`
	Samples  uint64 `json:"samples"`
	Versions uint64 `json:"versions"`
	First    string `json:"first,omitempty"`
	Last     string `json:"last,omitempty"`
	Content  string `json:"content,omitempty"` // hash of the content list
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
}

type takenJSON struct {
	manifestJSON
	NewFiles int   `json:"new_files"`
	NewBytes int64 `json:"new_bytes"`
}

func manifestJSONOf(m *backup.Manifest) manifestJSON {
	out := manifestJSON{
		ID: m.ID, Snapshot: m.Snapshot.String(), Store: m.Store.String(), Time: m.Time.UTC().Format(time.RFC3339), Release: m.Release,
		Offset: m.Offset, Lost: m.Lost, Revision: m.Revision, Tags: m.Tags, Samples: m.Samples, Versions: m.Versions,
		Files: len(m.Files), Bytes: m.Bytes(),
	}
	if m.First != 0 || m.Last != 0 {
		out.First, out.Last = model.FormatTime(m.First), model.FormatTime(m.Last)
	}
	if m.Content != nil {
		out.Content = m.Content.Hash.String()
	}
	return out
}

func printManifest(t io.Writer, m *backup.Manifest) {
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("backup", "%s", m.ID)
	row("snapshot", "%s", m.Snapshot)
	row("store", "%s at log offset %d, catalogue revision %d", m.Store, m.Offset, m.Revision)
	if m.Lost > 0 {
		row("lost", "%d log records are damaged", m.Lost)
	}
	row("holds", "%s tags, %s samples", grouped(m.Tags), grouped(m.Samples))
	if m.First != 0 || m.Last != 0 {
		row("from", "%s to %s", model.FormatTime(m.First), model.FormatTime(m.Last))
	}
	row("files", "%d, %s", len(m.Files), inBytes(uint64(m.Bytes())))
	if m.Content == nil {
		row("hashes", "none")
	}
}

func printTaken(w io.Writer, taken *backup.Taken) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printManifest(t, taken.Manifest)
	fmt.Fprintf(t, "copied\t%d files, %s\n", taken.NewFiles, inBytes(uint64(taken.NewBytes)))
	return t.Flush()
}

func newBackupListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list DIR",
		Short: "List the backups of a folder, oldest first",
		Example: `  varve backup list /mnt/backup/plant1
  varve backup list --output json /mnt/backup/plant1`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := checkOutput(output); err != nil {
				return err
			}
			all, err := backup.List(args[0], backup.Options{})
			if err != nil {
				return err
			}
			if output == "json" {
				list := []manifestJSON{}
				for _, m := range all {
					list = append(list, manifestJSONOf(m))
				}
				return printJSON(cmd.OutOrStdout(), list)
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "BACKUP\tOFFSET\tTAGS\tSAMPLES\tFILES\tSIZE\tHASHES")
			for _, m := range all {
				hashes := "yes"
				if m.Content == nil {
					hashes = "no"
				}
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%s\t%s\n", m.ID, m.Offset, grouped(m.Tags), grouped(m.Samples), len(m.Files), inBytes(uint64(m.Bytes())), hashes)
			}
			return t.Flush()
		},
	}
	registerOutput(cmd, &output)
	return cmd
}

func newBackupPruneCommand() *cobra.Command {
	var keep int
	cmd := &cobra.Command{
		Use:   "prune --keep N DIR",
		Short: "Remove all but the newest backups of a folder",
		Long: `Remove all but the newest N backups of a folder, and the files that none of these needs. A backup that cannot be read
stops it before anything is removed.`,
		Example: `  varve backup prune --keep 30 /mnt/backup/plant1`,
		Args:    asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep < 1 {
				return usageError(fmt.Errorf("--keep %d: must be at least 1", keep))
			}
			p, err := backup.Prune(args[0], keep, backup.Options{})
			if err != nil {
				return err
			}
			for _, id := range p.Removed {
				fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", id)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "kept %d backups, removed %d files, %s\n", len(p.Kept), p.Files, inBytes(uint64(p.Bytes)))
			return err
		},
	}
	cmd.Flags().IntVar(&keep, "keep", 0, "how many backups stay (required)")
	return cmd
}

func newRestoreCommand() *cobra.Command {
	var f backupFlags
	var from, id, to string
	cmd := &cobra.Command{
		Use:   "restore --from DIR --to DIR",
		Short: "Make a store of a backup",
		Long: `Make a store of a backup in a new directory. Every file is held against its length and hash, what comes of them is
opened and held against the manifest, and only then the directory gets its name: after an error or an interruption
there is none.`,
		Example: `  varve restore --from /mnt/backup/plant1 --to /var/lib/varve-restored
  varve restore --from /mnt/backup/plant1 --backup 12 --to /var/lib/varve-restored`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return usageError(errors.New("--from and --to are required: the folder of backups and a directory to make"))
			}
			if err := checkOutput(f.output); err != nil {
				return err
			}
			m, err := backup.Restore(cmd.Context(), from, id, filepath.Clean(to), f.options())
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), manifestJSONOf(m))
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			printManifest(t, m)
			return t.Flush()
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&from, "from", "", "folder of backups (required)")
	cmd.Flags().StringVar(&id, "backup", "", "which one, by id or number (default the newest)")
	cmd.Flags().StringVar(&to, "to", "", "directory to make; must not be there or be empty (required)")
	return cmd
}
