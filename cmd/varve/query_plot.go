package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/chart"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

const (
	chartWidthDefault = 80
	chartWidthMax     = 400
	chartMargin       = 14 // scale to the left of a chart
)

func (f *queryFlags) checkPlot() error {
	switch {
	case f.lttb && f.pixels == 0:
		return errors.New("--lttb: keep how many samples? add --pixels, such as --pixels 800")
	case f.plot && f.pixels > 0:
		return errors.New("--plot and --pixels: give one; --plot draws as many pixels as there are dots")
	case f.charted() && (f.latest || f.modified || f.reverse || f.limit > 0 || f.seq || f.source):
		return errors.New("--plot and --pixels: go with none of --latest, --modified, --reverse, --limit, --with-seq and --with-source")
	}
	return nil
}

// charted reports whether the question is what a chart shows, to be drawn or printed.
func (f *queryFlags) charted() bool { return f.plot || f.pixels > 0 }

// askPlot asks for so many pixels of what r asks for.
func (f *queryFlags) askPlot(ctx context.Context, c *client, r *varvev1.ReadRangeRequest, width int) (answer.Stream, error) {
	in := model.Between(r.GetStartNs(), r.GetEndNs())
	q := &varvev1.ReadPlotRequest{
		Tags: r.Tags, Expressions: r.Expressions, StartNs: in.Start, EndNs: in.End, Consistency: r.Consistency, AsOfNs: r.AsOfNs, Unit: r.Unit,
		UseUncertain: f.useUncertain || f.plot,
	}
	if f.lttb {
		q.Lttb = uint32(width)
	} else {
		q.Width = uint32(width)
	}
	return c.query.ReadPlot(ctx, q)
}

func (f *queryFlags) plotAll(ctx context.Context, cmd *cobra.Command, c *client, ask *varvev1.ReadRangeRequest, tags []foundTag, zone *time.Location) error {
	out := cmd.OutOrStdout()
	width := f.width
	if file, ok := out.(*os.File); ok && width == 0 {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil {
			width = columns - chartMargin
		}
	}
	if width <= 0 {
		width = chartWidthDefault
	}
	for _, t := range tags {
		ask.Tags = []string{t.asked}
		if err := f.plotTag(ctx, out, c, ask, t, min(width, chartWidthMax), zone); err != nil {
			return err
		}
	}
	return nil
}

func (f *queryFlags) plotTag(ctx context.Context, out io.Writer, c *client, ask *varvev1.ReadRangeRequest, t foundTag, width int, zone *time.Location) error {
	s := settingsOf(t.Tag)
	if s.typ.Blob() {
		_, err := fmt.Fprintf(out, "%s: samples of %s have no chart\n", t.Name, s.typ)
		return err
	}
	title := t.Name
	if u := cmp.Or(f.unit, s.unit); u != "" {
		title += " [" + u + "]"
	}
	in := model.Between(ask.GetStartNs(), ask.GetEndNs())
	drawing := chart.New(title, in.Start, in.End, width, min(f.height, 100), s.stepped)
	stream, err := f.askPlot(ctx, c, ask, drawing.Columns())
	if err != nil {
		return err
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return err
	}
	defer r.Close()
	err = answer.EachPlotRow(r, func(x answer.PlotRow) {
		if x.Break {
			drawing.Gap()
		} else {
			drawing.Add(x.Time, x.Value)
		}
	})
	if err != nil {
		return err
	}
	return drawing.Draw(out, zone)
}
