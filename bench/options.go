package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// options are one run's settings. They travel to the client process and into the report as JSON.
type options struct {
	Workload     string `json:"workload"`
	Tags         int    `json:"tags"`
	Hours        int    `json:"hours,omitempty"`        // W1
	Days         int    `json:"days,omitempty"`         // W2
	Step         int    `json:"step_seconds,omitempty"` // between samples of a tag; 0 means 1
	Connections  int    `json:"connections"`
	Mode         string `json:"mode"`
	LatePercent  int    `json:"late_percent"`
	Shuffled     bool   `json:"shuffled,omitempty"`
	RunSamples   int    `json:"run_samples"`
	BatchSamples int    `json:"batch_samples"`
	InFlight     int    `json:"in_flight_batches"` // per connection
	Seed         uint64 `json:"seed"`

	// What only the series of a growing store set.
	TagSamples int   `json:"samples_per_tag,omitempty"` // in place of Hours
	Begin      int64 `json:"begin_ms,omitempty"`        // the first step, in place of the workload's

	Queries    bool     `json:"-"`
	Kill       bool     `json:"-"`
	Seal       bool     `json:"-"`
	Short      bool     `json:"short,omitempty"`
	Repeat     int      `json:"-"`
	Dir        string   `json:"-"`
	Store      string   `json:"-"`
	Keep       bool     `json:"-"`
	Output     string   `json:"-"`
	Binary     string   `json:"-"`
	ServerArgs []string `json:"server_args,omitempty"`
	Profile    string   `json:"-"`

	QueryProfile  string `json:"-"`
	ClientProfile string `json:"client_profile,omitempty"`
}

func (o *options) register(f *pflag.FlagSet) {
	f.StringVar(&o.Workload, "workload", "w1", "w1: many tags for hours, w2: few tags for a year")
	f.IntVar(&o.Tags, "tags", 0, "tags; 0 means 10,000 for w1 and 10 for w2")
	f.IntVar(&o.Hours, "hours", 3, "hours of samples, w1")
	f.IntVar(&o.Days, "days", 365, "days of samples, w2")
	f.BoolVar(&o.Short, "short", false, "half an hour (w1) or 20 days (w2) of samples, about 18 million")
	f.IntVar(&o.Connections, "connections", 2, "connections, each with its share of the tags")
	f.StringVar(&o.Mode, "mode", "update", "write mode: update or insert")
	f.IntVar(&o.Step, "step", 1, "seconds between the samples of a tag, w1")
	f.BoolVar(&o.Shuffled, "shuffled", false, "send the slices of time, a run of every tag each, in random order, w1")
	f.IntVar(&o.LatePercent, "late", 0, "percent of the runs that are sent ten minutes of sample time late, w1")
	f.IntVar(&o.RunSamples, "run-samples", 0, "samples of one tag that travel together; 0 means 10 for w1 and 1,000 for w2")
	f.IntVar(&o.BatchSamples, "batch-samples", 20_000, "samples of a batch")
	f.IntVar(&o.InFlight, "in-flight", 16, "batches of a connection sent and not yet accepted, at most")
	f.Uint64Var(&o.Seed, "seed", 1, "names the plant")
	f.BoolVar(&o.Queries, "queries", true, "measure queries after ingest")
	f.BoolVar(&o.Seal, "seal", true, "seal after that, and measure stored bytes and queries again")
	f.BoolVar(&o.Kill, "kill", false, "load a second, empty store, kill -9 the server at full rate, and measure the restart")
	f.IntVar(&o.Repeat, "repeat", 11, "warm runs of each query")
	f.StringVar(&o.Dir, "dir", "", "directory for the stores; the default is a temporary one")
	f.StringVar(&o.Store, "store", "", "the sealed store that a run of the same settings left with --keep: it is asked, and nothing is loaded")
	f.BoolVar(&o.Keep, "keep", false, "keep the stores")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds the one of this tree")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "one more argument for varve serve; may be repeated")
	f.StringVar(&o.QueryProfile, "query-profile", "", "write a CPU profile of the server during the first five seconds of queries to this file; needs the same")
	f.StringVar(&o.ClientProfile, "client-profile", "", "write a CPU profile of the client during ingest to this file")
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile of the server during ingest to this file; needs --server-arg with its --pprof-listen")
}

func (o *options) validate() error {
	switch o.Workload {
	case "w1":
		o.Days = 0
		o.Tags, o.RunSamples = orElse(o.Tags, 10_000), orElse(o.RunSamples, 10)
	case "w2":
		o.Hours = 0
		o.Tags, o.RunSamples = orElse(o.Tags, 10), orElse(o.RunSamples, 1000)
		if o.LatePercent != 0 || o.Shuffled || o.Step > 1 {
			return errors.New("--late, --shuffled, --step: w2 has none of them")
		}
	default:
		return fmt.Errorf("--workload %q: must be w1 or w2", o.Workload)
	}
	switch {
	case o.Output != "table" && o.Output != "json":
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	case o.Mode != "update" && o.Mode != "insert":
		return fmt.Errorf("--mode %q: must be update or insert", o.Mode)
	case o.Tags < o.Connections || o.Connections < 1:
		return fmt.Errorf("--connections %d: must be from 1 to the number of tags, %d", o.Connections, o.Tags)
	case o.LatePercent < 0 || o.LatePercent > 100:
		return fmt.Errorf("--late %d: must be from 0 to 100", o.LatePercent)
	case o.Shuffled && (o.LatePercent > 0 || o.Kill):
		return errors.New("--shuffled: not with --late or --kill")
	case o.Step < 0 || o.Step > 3600:
		return fmt.Errorf("--step %d: must be from 1 to 3600", o.Step)
	case o.RunSamples < 1 || o.BatchSamples < o.RunSamples:
		return fmt.Errorf("--batch-samples %d: must hold at least one run of --run-samples %d", o.BatchSamples, o.RunSamples)
	case o.samplesPerTag()%o.RunSamples != 0:
		return fmt.Errorf("--run-samples %d: must divide the %d samples of a tag", o.RunSamples, o.samplesPerTag())
	case o.Store != "" && (o.Kill || o.Profile != "" || !o.Seal || !o.Queries):
		return errors.New("--store: is for questions to what is sealed alone")
	case o.InFlight < 1 || o.Repeat < 1:
		return errors.New("--in-flight and --repeat: must be at least 1")
	}
	return nil
}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// step is the milliseconds between samples of a tag.
func (o *options) step() int64 { return int64(max(o.Step, 1)) * 1000 }

// within is how many samples a tag has in some seconds, or in all of the workload if that is shorter.
func (o *options) within(seconds int) int {
	return min(seconds*1000/int(o.step()), o.samplesPerTag())
}

// lasting is how long so many samples of a tag take.
func (o *options) lasting(samples int) time.Duration {
	return time.Duration(samples) * time.Duration(o.step()) * time.Millisecond
}

func (o *options) samplesPerTag() int {
	switch {
	case o.TagSamples > 0:
		return o.TagSamples
	case o.Workload == "w1" && o.Short:
		return 1800_000 / int(o.step())
	case o.Workload == "w1":
		return o.Hours * 3600_000 / int(o.step())
	case o.Short:
		return 20 * 86_400
	}
	return o.Days * 86_400
}

func (o *options) samples() int { return o.Tags * o.samplesPerTag() }

func (o *options) writeMode() varvev1.WriteMode {
	if o.Mode == "insert" {
		return varvev1.WriteMode_WRITE_MODE_INSERT
	}
	return varvev1.WriteMode_WRITE_MODE_UNSPECIFIED
}
