package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// shuffleReport is one plant in two stores: sent in order of time, and in slices of time whose order is random.
type shuffleReport struct {
	Machine  machine `json:"machine"`
	Ordered  *report `json:"ordered"`
	Shuffled *report `json:"shuffled"`
	// Equal is how many tags and days both stores were asked for by content hash; all of them are equal.
	Equal int `json:"equal_contents"`

	// What the shuffled store did over what the one in order did.
	AcceptedRate float64 `json:"accepted_rate_ratio"`
	AppliedRate  float64 `json:"applied_rate_ratio"`
	ServerCPU    float64 `json:"server_cpu_ratio"`
	SealedBytes  float64 `json:"sealed_bytes_ratio"`
}

func newShuffleCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "shuffle",
		Short: "Measure a day of W1 in slices of ten seconds, in order and shuffled, in one run",
		Long: `Sends W1's tags to two empty stores, one after the other: the first gets the slices of time in their order, the second in a
random one. Both are asked the same questions, whose answers are held against what was sent, and then for the content hash of
every tag and day, which must be equal. By default that is 10,000 tags for a day with a sample every ten seconds, one to a slice.`,
		Example: `  go run ./bench shuffle --output json
  go run ./bench shuffle --tags 1000 --step 1 --run-samples 10   # slices of ten seconds at 1 Hz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureShuffle(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	flags := cmd.Flags()
	o.register(flags)
	for name, value := range map[string]string{"hours": "24", "step": "10", "run-samples": "1"} {
		f := flags.Lookup(name)
		f.DefValue = value
		_ = f.Value.Set(value) // numbers
	}
	return cmd
}

// content is what a store says of one tag on one day.
type content struct {
	day               int32
	tag               uint32
	samples, versions uint64
	first, last       int64
	hash              uint64
}

// contentsOf is the content of every tag and day of a store.
func contentsOf(ctx context.Context, conn *grpc.ClientConn) (out []content, err error) {
	stream, err := varvev1.NewAdminServiceClient(conn).ContentHashes(ctx, &varvev1.ContentHashesRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask for content hashes: %w", err)
	}
	for {
		some, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask for content hashes: %w", err)
		}
		for _, x := range some.Rows {
			if x.Damage != "" {
				return nil, fmt.Errorf("content of tag %d on day %d: %s", x.Tag, x.Day, x.Damage)
			}
			out = append(out, content{x.Day, x.Tag, x.Samples, x.Versions, x.FirstNs, x.LastNs, x.Hash})
		}
	}
}

func measureShuffle(ctx context.Context, o *options) (*shuffleReport, error) {
	if o.Workload != "w1" || o.Shuffled || o.LatePercent > 0 || o.Kill {
		return nil, errors.New("shuffle measures w1 in order and shuffled; --shuffled, --late and --kill are not for it")
	}
	dir, err := workDir(o)
	if err != nil {
		return nil, err
	}
	if !o.Keep {
		defer os.RemoveAll(dir)
	}
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	r := &shuffleReport{Machine: describeMachine()}
	run := func(shuffled bool) (one *report, all []content, err error) {
		with := *o
		with.Shuffled = shuffled
		data := filepath.Join(dir, map[bool]string{false: "ordered", true: "shuffled"}[shuffled])
		one = &report{Machine: r.Machine, Workload: with, Samples: uint64(with.samples())}
		err = measureStore(ctx, binary, data, &with, one, func(conn *grpc.ClientConn) error {
			all, err = contentsOf(ctx, conn)
			return err
		})
		if !o.Keep {
			err = errors.Join(err, os.RemoveAll(data))
		}
		return one, all, err
	}
	var ordered, shuffled []content
	if r.Ordered, ordered, err = run(false); err != nil {
		return nil, fmt.Errorf("in order: %w", err)
	}
	if r.Shuffled, shuffled, err = run(true); err != nil {
		return nil, fmt.Errorf("shuffled: %w", err)
	}
	if r.Equal, err = compareContents(ordered, shuffled); err != nil {
		return nil, err
	}
	r.compare()
	return r, nil
}

// compareContents returns how many contents two stores have, or how they differ.
func compareContents(a, b []content) (int, error) {
	if len(a) != len(b) || len(a) == 0 {
		return 0, fmt.Errorf("in order there are contents of %d tags and days, shuffled of %d", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			return 0, fmt.Errorf("in order a content is %+v, shuffled it is %+v", a[i], b[i])
		}
	}
	return len(a), nil
}

func (r *shuffleReport) compare() {
	a, b := r.Ordered.Ingest, r.Shuffled.Ingest
	r.AcceptedRate = b.AcceptedPerSecond / a.AcceptedPerSecond
	r.AppliedRate = b.AppliedPerSecond / a.AppliedPerSecond
	r.ServerCPU = b.ServerCPU / a.ServerCPU
	if r.Ordered.Sealed != nil {
		r.SealedBytes = r.Shuffled.Sealed.BytesPerSample / r.Ordered.Sealed.BytesPerSample
	}
}

// table writes both reports and what came of the comparison.
func (r *shuffleReport) table(out io.Writer) error {
	for _, one := range []*report{r.Ordered, r.Shuffled} {
		if err := one.table(out); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "shuffled over in order\taccepted %.2f, applied %.2f, server CPU %.2f, sealed bytes %.3f\n", r.AcceptedRate, r.AppliedRate, r.ServerCPU, r.SealedBytes)
	fmt.Fprintf(t, "same content\t%d tags and days, by hash\n", r.Equal)
	return t.Flush()
}
