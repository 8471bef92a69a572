package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newStatusCommand() *cobra.Command {
	var f clientFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print the state of the server and its store",
		Example: `  varve status
  varve status --server 127.0.0.1:7420 --output json`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			s, err := c.admin.Status(cmd.Context(), &varvev1.StatusRequest{})
			if err != nil {
				return c.explain(err)
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), statusJSON(s))
			}
			return printStatus(cmd.OutOrStdout(), c.address, s)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// serverStatus is the status as JSON. Scripts read it: fields are added, never renamed.
type serverStatus struct {
	Version         string       `json:"version"`
	UUID            string       `json:"uuid"`
	Started         string       `json:"started"`
	Tags            uint64       `json:"tags"`
	Samples         uint64       `json:"samples"`
	Bytes           bytesOnDisk  `json:"bytes"`
	AcceptedOffset  uint64       `json:"accepted_offset"`
	AppliedOffset   uint64       `json:"applied_offset"`
	ArchivedOffset  uint64       `json:"archived_offset"`
	CatalogRevision uint64       `json:"catalog_revision"`
	Sources         uint64       `json:"sources"`
	Sessions        uint64       `json:"sessions"`
	Generations     uint64       `json:"generations"`
	Partitions      uint64       `json:"partitions"`
	HeadSamples     uint64       `json:"head_samples"`
	MemoryBytes     uint64       `json:"memory_bytes"`
	IngestStopped   bool         `json:"ingest_stopped"`
	Alarms          []alarm      `json:"alarms"`
	Lost            []offsetsOff `json:"lost"`
	Scrub           scrubJSON    `json:"scrub"`
}

type scrubJSON struct {
	Pass    uint64 `json:"pass"`
	Running bool   `json:"running"`
	Begun   string `json:"begun,omitempty"`
	Ended   string `json:"ended,omitempty"`
	Bytes   uint64 `json:"bytes"`
	Total   uint64 `json:"total_bytes"`
	Damaged uint64 `json:"damaged"`
}

func scrubJSONOf(s *varvev1.Scrub) scrubJSON {
	out := scrubJSON{Pass: s.GetPass(), Running: s.GetRunning(), Bytes: s.GetBytes(), Total: s.GetTotalBytes(), Damaged: s.GetDamaged()}
	if s.GetBegunNs() != 0 {
		out.Begun = model.FormatTime(s.GetBegunNs())
	}
	if s.GetEndedNs() != 0 {
		out.Ended = model.FormatTime(s.GetEndedNs())
	}
	return out
}

// scrubText is how far the scrub is, in words.
func scrubText(s *varvev1.Scrub) string {
	j := scrubJSONOf(s)
	switch {
	case j.Pass == 0:
		return "none yet"
	case j.Running:
		return fmt.Sprintf("pass %d since %s, %s of %s, %d damaged", j.Pass, j.Begun, inBytes(j.Bytes), inBytes(j.Total), j.Damaged)
	}
	return fmt.Sprintf("pass %d ended %s, %s, %d damaged", j.Pass, j.Ended, inBytes(j.Bytes), j.Damaged)
}

type bytesOnDisk struct {
	Log      uint64 `json:"log"`
	Samples  uint64 `json:"samples"`
	Versions uint64 `json:"versions"`
	Catalog  uint64 `json:"catalog"`
	Other    uint64 `json:"other"`
	Total    uint64 `json:"total"`
	Moved    uint64 `json:"moved"`
}

type alarm struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
	Since  string `json:"since"`
	Count  uint64 `json:"count"`
}

type offsetsOff struct {
	First uint64 `json:"first"`
	End   uint64 `json:"end"`
}

func statusJSON(s *varvev1.StatusResponse) serverStatus {
	b := s.GetBytes()
	out := serverStatus{
		Version: s.Version, UUID: s.Uuid, Started: model.FormatTime(s.StartedNs), Tags: s.Tags, Samples: s.Samples,
		Bytes: bytesOnDisk{
			Log: b.GetLog(), Samples: b.GetSamples(), Versions: b.GetVersions(), Catalog: b.GetCatalog(),
			Other: b.GetOther(), Total: b.GetTotal(), Moved: b.GetMoved(),
		},
		AcceptedOffset: s.AcceptedOffset, AppliedOffset: s.AppliedOffset, ArchivedOffset: s.ArchivedOffset,
		CatalogRevision: s.CatalogRevision, Sources: s.Sources, Sessions: s.Sessions, Generations: s.Generations,
		Partitions: s.Partitions, HeadSamples: s.HeadSamples, MemoryBytes: s.MemoryBytes, IngestStopped: s.IngestStopped,
		Alarms: []alarm{}, Lost: []offsetsOff{}, Scrub: scrubJSONOf(s.Scrub),
	}
	for _, a := range s.Alarms {
		out.Alarms = append(out.Alarms, alarm{a.Name, a.Detail, model.FormatTime(a.SinceNs), a.Count})
	}
	for _, l := range s.Lost {
		out.Lost = append(out.Lost, offsetsOff{l.First, l.End})
	}
	return out
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printStatus(w io.Writer, address string, s *varvev1.StatusResponse) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	b := s.GetBytes()
	row("server", "%s, version %s, up %s", address, s.Version, time.Since(time.Unix(0, s.StartedNs)).Round(time.Second))
	row("store", "%s", s.Uuid)
	row("tags", "%s", grouped(s.Tags))
	row("samples", "%s (%s in the head)", grouped(s.Samples), grouped(s.HeadSamples))
	row("log offsets", "accepted %d, applied %d, archived %d", s.AcceptedOffset, s.AppliedOffset, s.ArchivedOffset)
	row("on disk", "%s: samples %s, versions %s, catalog %s, log %s, other %s", inBytes(b.GetTotal()), inBytes(b.GetSamples()),
		inBytes(b.GetVersions()), inBytes(b.GetCatalog()), inBytes(b.GetLog()), inBytes(b.GetOther()))
	if s.MovedSeals > 0 {
		row("in the tier", "%s in %d objects", inBytes(b.GetMoved()), s.MovedSeals)
	}
	row("layers", "%d generations in %d partitions", s.Generations, s.Partitions)
	row("sources", "%d, %d sessions open", s.Sources, s.Sessions)
	row("scrub", "%s", scrubText(s.Scrub))
	row("memory", "%s", inBytes(s.MemoryBytes))
	if s.IngestStopped {
		row("ingest", "STOPPED, see the alarms")
	}
	for _, l := range s.Lost {
		row("lost", "log offsets %d up to, not including, %d", l.First, l.End)
	}
	for _, a := range s.Alarms {
		row("alarm", "%s since %s, %d times: %s", a.Name, model.FormatTime(a.SinceNs), a.Count, a.Detail)
	}
	if len(s.Alarms) == 0 {
		row("alarms", "none")
	}
	return t.Flush()
}

// inBytes writes a size in binary units.
func inBytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	x, unit := float64(n)/1024, 0
	for x >= 1024 && unit < 5 {
		x /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", x, "KMGTPE"[unit])
}
