package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type watchFlags struct {
	client clientFlags
	from   string
	since  string
	zone   string
	unit   string
	output string
	count  int
	linger time.Duration
}

func newWatchCommand() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch [flags] TAG...",
		Short: "Print changes of tags as they happen",
		Long: `Prints what becomes of the samples of tags, as it is applied, until it is told to stop: new samples, late ones, those replaced or removed,
and ranges that were deleted, restored or erased. A name with * or ? is every tag that matches, also those made later.

When it ends it prints a token on standard error; --from TOKEN goes on behind the last change printed, also after the server
was restarted. With --output json a line with the token follows the lines of every message.

The server keeps what was told for a while (varve serve --keep-log). What it has no more is told as lost: query the tags then.
--since begins with what was ingested at that time or later. Times are ` + timeexpr.Help + `.`,
		Example: `  varve watch PUMP-101.FLOW 'BOILER*'
  varve watch --output json --from oldest '*' > changes.json
  varve watch --from AbXY0cDxM5lBeK4yVwsaGhoqAAAAAAAAAAAAAADx7Yc1 PUMP-101.FLOW
  varve watch --unit bar PI-101
  varve watch --since -10m --count 100 PUMP-101.FLOW`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.client.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "now", "now, oldest (what the server has of them), or a token of an earlier watch")
	flags.StringVar(&f.since, "since", "", "begin with what was ingested at this time or later, in place of --from")
	flags.StringVar(&f.zone, "tz", "", "IANA zone in which --since is read and the table printed (default UTC)")
	flags.StringVarP(&f.output, "output", "o", "table", "one of "+strings.Join(answer.ChangeOutputs, ", "))
	flags.StringVar(&f.unit, "unit", "", "UCUM code of the unit to convert values to, such as bar; not with patterns (default as stored)")
	flags.IntVar(&f.count, "count", 0, "end behind the message with this change (default none)")
	flags.DurationVar(&f.linger, "linger", 100*time.Millisecond, "how long changes wait for more of them, up to 10s")
	return cmd
}

func (f *watchFlags) run(cmd *cobra.Command, names []string) error {
	zone, err := loadZone(f.zone)
	if err != nil {
		return usageError(err)
	}
	ask, err := f.question(names, zone)
	if err != nil {
		return usageError(err)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	stream, err := varvev1.NewSubscriptionServiceClient(c.conn).Subscribe(ctx, ask)
	if err != nil {
		return c.explain(err)
	}
	out := answer.NewChangeWriter(cmd.OutOrStdout(), f.output, zone, func(tag string) (answer.Types, error) {
		if f.unit != "" {
			return answer.OfType(model.Float64), nil
		}
		t, err := c.catalog.GetTag(ctx, &varvev1.GetTagRequest{Name: tag})
		if err != nil {
			return nil, c.explain(err)
		}
		return answer.TypesOf(t), nil
	})
	token, err := f.print(stream.Recv, out, cmd.ErrOrStderr())
	if token != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "varve: go on with --from "+token)
	}
	if cmd.Context().Err() != nil { // told to stop
		return nil
	}
	return c.explain(err)
}

func (f *watchFlags) question(names []string, zone *time.Location) (*varvev1.SubscribeRequest, error) {
	switch {
	case !slices.Contains(answer.ChangeOutputs, f.output):
		return nil, fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(answer.ChangeOutputs, ", "))
	case f.count < 0:
		return nil, fmt.Errorf("--count %d: must be positive", f.count)
	case f.linger < 0 || f.linger > 10*time.Second:
		return nil, fmt.Errorf("--linger %s: must be from 0s to 10s", f.linger)
	case f.since != "" && f.from != "now":
		return nil, errors.New("--since and --from: give one of them")
	}
	ask := &varvev1.SubscribeRequest{LingerMs: proto.Uint32(uint32(f.linger.Milliseconds())), BatchRows: uint32(min(f.count, 1<<14)), Unit: f.unit}
	for _, name := range names {
		if strings.ContainsAny(name, "*?") {
			ask.Globs = append(ask.Globs, name)
		} else {
			ask.Tags = append(ask.Tags, name)
		}
	}
	switch {
	case f.since != "":
		t, err := timeexpr.Parse(f.since, time.Now(), zone)
		if err != nil {
			return nil, fmt.Errorf("--since: %w", err)
		}
		ask.From = &varvev1.SubscribeRequest_SinceNs{SinceNs: t}
	case f.from == "oldest":
		ask.From = &varvev1.SubscribeRequest_Oldest{Oldest: true}
	case f.from != "now":
		ask.From = &varvev1.SubscribeRequest_Token{Token: f.from}
	}
	return ask, nil
}

// print prints messages until there are enough, and returns the token of the last one that is printed whole.
func (f *watchFlags) print(recv func() (*varvev1.SubscribeResponse, error), out *answer.ChangeWriter, stderr io.Writer) (token string, err error) {
	for seen := 0; f.count == 0 || seen < f.count; {
		m, err := recv()
		if err != nil {
			return token, err
		}
		if lost := m.GetLost(); lost != nil && f.output != "json" {
			fmt.Fprintf(stderr, "varve: changes of log records %d to %d can no longer be told; varve query shows what the tags hold now\n", lost.First, lost.End-1)
		}
		n, err := out.Write(m)
		if err != nil {
			return token, err
		}
		token = m.Token
		seen += n
	}
	return token, nil
}
