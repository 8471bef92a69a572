package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newAnnotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "annotate",
		Short: "Write texts on tags, on values and on ranges of time, and read them",
		Long: `An annotation is a text of up to 4,096 bytes on an instant of a tag, on a range of it, or on the tag as a whole. What an annotation
said before an edit or its removal stays readable with varve annotate list --history.`,
		Example: `  varve annotate add --start 2026-03-01T10:04:00Z --text 'valve stuck' FI-101
  varve annotate list 'FI-*'
  varve annotate edit --text 'valve stuck; replaced at noon' 9aa00000-0000-4700-8000-000000000001
  varve annotate remove 9aa00000-0000-4700-8000-000000000001`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newAnnotateAddCommand(), newAnnotateEditCommand(), newAnnotateRemoveCommand(), newAnnotateListCommand())
	return cmd
}

// annotateFlags are what the commands about annotations share.
type annotateFlags struct {
	client clientFlags
	author string
	text   string
	start  string
	stop   string
	zone   string
	output string
}

func (f *annotateFlags) register(cmd *cobra.Command) {
	f.client.register(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, csv or json (one object per line)")
}

func (f *annotateFlags) who(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.author, "author", "", "who (default the user's name; the server takes the authenticated one where there is one)")
}

func (f *annotateFlags) saysText(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.text, "text", "", "what it says; required")
}

// run asks for annotations and prints them as they come.
func (f *annotateFlags) run(cmd *cobra.Command, ask func(context.Context, *client, func(*varvev1.Annotation)) error) error {
	if f.output != "table" && f.output != "csv" && f.output != "json" {
		return usageError(fmt.Errorf("output %q: must be table, csv or json", f.output))
	}
	if cmd.Flags().Lookup("text") != nil && f.text == "" {
		return usageError(errors.New("--text is required: it is what the annotation says"))
	}
	if f.author == "" {
		f.author = userName()
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	list := newAnnotationLister(cmd.OutOrStdout(), f.output)
	if err := ask(cmd.Context(), c, list.add); err != nil {
		return err
	}
	return list.finish()
}

// one runs a call that answers with an annotation.
func (f *annotateFlags) one(cmd *cobra.Command, call func(context.Context, *client) (*varvev1.Annotation, error)) error {
	return f.run(cmd, func(ctx context.Context, c *client, add func(*varvev1.Annotation)) error {
		a, err := call(ctx, c)
		if err != nil {
			return c.explain(err)
		}
		add(a)
		return nil
	})
}

// instants is what --start and another flag say, nil for one that says nothing.
func (f *annotateFlags) instants(second string) (start, stop *int64, err error) {
	zone, err := loadZone(f.zone)
	if err != nil {
		return nil, nil, usageError(err)
	}
	now := time.Now()
	for _, x := range []struct {
		flag, text string
		into       **int64
	}{{"--start", f.start, &start}, {second, f.stop, &stop}} {
		if x.text == "" {
			continue
		}
		at, err := timeexpr.Parse(x.text, now, zone)
		if err != nil {
			return nil, nil, usageError(fmt.Errorf("%s: %w", x.flag, err))
		}
		*x.into = &at
	}
	if start != nil && stop != nil && *stop < *start {
		return nil, nil, usageError(fmt.Errorf("%s must not be earlier than --start", second))
	}
	return start, stop, nil
}

func newAnnotateAddCommand() *cobra.Command {
	f := &annotateFlags{}
	cmd := &cobra.Command{
		Use:   "add --text TEXT [--start TIME [--stop TIME]] TAG",
		Short: "Write an annotation",
		Long: `Writes a text on a tag: with --start on that instant, with --stop too on the range from --start up to, but not including,
--stop, with neither on the tag as a whole.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve annotate add --start 2026-03-01T10:04:00Z --text 'valve stuck' FI-101
  varve annotate add --start 2026-03-01 --stop 2026-03-08 --text 'turnaround' FI-101
  varve annotate add --text 'reads 2 % high since it was moved' FI-101 --output json`,
		Args: exactlyNames(1, "one tag"),
		RunE: func(cmd *cobra.Command, names []string) error {
			start, stop, err := f.instants("--stop")
			if err != nil {
				return err
			}
			if stop == nil {
				stop = start
			}
			if start == nil && stop != nil {
				return usageError(errors.New("--stop needs --start"))
			}
			return f.one(cmd, func(ctx context.Context, c *client) (*varvev1.Annotation, error) {
				return c.annotations.Annotate(ctx, &varvev1.AnnotateRequest{Tag: names[0], StartNs: start, StopNs: stop, Text: f.text, Author: f.author})
			})
		},
	}
	f.register(cmd)
	f.who(cmd)
	f.saysText(cmd)
	cmd.Flags().StringVar(&f.start, "start", "", "the instant, or the first of a range")
	cmd.Flags().StringVar(&f.stop, "stop", "", "instant behind the last of a range")
	cmd.Flags().StringVar(&f.zone, "tz", "", "IANA zone of times that carry none (default UTC)")
	return cmd
}

func newAnnotateEditCommand() *cobra.Command {
	f := &annotateFlags{}
	cmd := &cobra.Command{
		Use:     "edit --text TEXT ID",
		Short:   "Have an annotation say something else",
		Example: "  varve annotate edit --text 'valve stuck; replaced at noon' 9aa00000-0000-4700-8000-000000000001",
		Args:    exactlyNames(1, "the id of an annotation, as varve annotate list shows it"),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return f.one(cmd, func(ctx context.Context, c *client) (*varvev1.Annotation, error) {
				return c.annotations.EditAnnotation(ctx, &varvev1.EditAnnotationRequest{Id: ids[0], Text: f.text, Author: f.author})
			})
		},
	}
	f.register(cmd)
	f.who(cmd)
	f.saysText(cmd)
	return cmd
}

func newAnnotateRemoveCommand() *cobra.Command {
	f := &annotateFlags{}
	cmd := &cobra.Command{
		Use:     "remove ID",
		Short:   "End an annotation; what it said stays readable",
		Example: "  varve annotate remove 9aa00000-0000-4700-8000-000000000001",
		Args:    exactlyNames(1, "the id of an annotation, as varve annotate list shows it"),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return f.one(cmd, func(ctx context.Context, c *client) (*varvev1.Annotation, error) {
				return c.annotations.RemoveAnnotation(ctx, &varvev1.RemoveAnnotationRequest{Id: ids[0], Author: f.author})
			})
		},
	}
	f.register(cmd)
	f.who(cmd)
	return cmd
}

func newAnnotateListCommand() *cobra.Command {
	f := &annotateFlags{}
	history := false
	cmd := &cobra.Command{
		Use:   "list TAG...",
		Short: "Print the annotations of tags",
		Long: `Prints the annotations of which any instant lies from --start up to, but not including, --end, and those of the tags as a
whole. A name with * or ? means every tag that matches. With --history a row per text an annotation ever had, oldest first, and one for
its removal.

Times are ` + timeexpr.Help + `.`,
		Example: `  varve annotate list FI-101
  varve annotate list --start -1d --end now 'FI-*' --output csv
  varve annotate list --history FI-101 --output json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("no tag to list annotations of; see %s --help", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			start, end, err := f.instants("--end")
			if err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, c *client, add func(*varvev1.Annotation)) error {
				tags, err := c.findTags(ctx, names)
				if err != nil {
					return err
				}
				return c.eachAnnotation(ctx, &varvev1.ListAnnotationsRequest{TagIds: idsOf(tags), StartNs: start, EndNs: end, History: history}, add)
			})
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.start, "start", "", "first instant of the range (default the first there is)")
	cmd.Flags().StringVar(&f.stop, "end", "", "instant behind the last (default the last there is)")
	cmd.Flags().StringVar(&f.zone, "tz", "", "IANA zone of times that carry none (default UTC)")
	cmd.Flags().BoolVar(&history, "history", false, "what annotations said before too, and those that were removed")
	return cmd
}

// eachAnnotation asks page after page.
func (c *client) eachAnnotation(ctx context.Context, r *varvev1.ListAnnotationsRequest, each func(*varvev1.Annotation)) error {
	for {
		page, err := c.annotations.ListAnnotations(ctx, r)
		if err != nil {
			return c.explain(err)
		}
		for _, a := range page.Annotations {
			each(a)
		}
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			return nil
		}
	}
}

// annotationJSON is an annotation as JSON. Scripts read it: fields are added, never renamed.
type annotationJSON struct {
	ID      string            `json:"id"`
	Tag     string            `json:"tag"`
	Start   string            `json:"start,omitempty"` // neither: of the tag as a whole
	Stop    string            `json:"stop,omitempty"`
	Text    string            `json:"text"`
	Author  string            `json:"author"`
	Created string            `json:"created"`
	Editor  string            `json:"editor,omitempty"`
	Edited  string            `json:"edited,omitempty"`
	Removed bool              `json:"removed"`
	History []annotationState `json:"history,omitempty"`
}

// annotationState is what an annotation said; nothing once it was removed.
type annotationState struct {
	At     string `json:"at"`
	Author string `json:"author"`
	Text   string `json:"text"`
}

func annotationToJSON(a *varvev1.Annotation) *annotationJSON {
	out := &annotationJSON{ID: a.Id, Tag: a.Tag, Text: a.Text, Author: a.Author, Created: utcText(a.CreatedNs), Editor: a.Editor, Removed: a.Removed}
	if a.StartNs != nil && a.StopNs != nil {
		out.Start, out.Stop = utcText(*a.StartNs), utcText(*a.StopNs)
	}
	if a.EditedNs != 0 {
		out.Edited = utcText(a.EditedNs)
	}
	for _, v := range a.History {
		out.History = append(out.History, annotationState{utcText(v.IngestNs), v.Author, v.Text})
	}
	return out
}

// states is what the rows of a table are about: each text there was where the history is known, else what the annotation says now.
func (a *annotationJSON) states() []annotationState {
	switch {
	case len(a.History) > 0:
		return a.History
	case a.Edited != "":
		return []annotationState{{a.Edited, a.Editor, a.Text}}
	}
	return []annotationState{{a.Created, a.Author, a.Text}}
}

// annotationLister prints annotations as they come.
type annotationLister struct {
	json  *json.Encoder
	csv   *csv.Writer
	table *tabwriter.Writer
	err   error
}

func newAnnotationLister(w io.Writer, output string) *annotationLister {
	switch output {
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return &annotationLister{json: e}
	case "csv":
		l := &annotationLister{csv: csv.NewWriter(w)}
		l.err = l.csv.Write([]string{"id", "tag", "start", "stop", "at", "author", "text"})
		return l
	}
	l := &annotationLister{table: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(l.table, "ID\tTAG\tSTART\tSTOP\tAT\tAUTHOR\tTEXT")
	return l
}

func (l *annotationLister) add(wire *varvev1.Annotation) {
	a := annotationToJSON(wire)
	if l.json != nil {
		l.err = errors.Join(l.err, l.json.Encode(a))
		return
	}
	for _, s := range a.states() {
		if l.csv != nil {
			l.err = errors.Join(l.err, l.csv.Write([]string{a.ID, a.Tag, a.Start, a.Stop, s.At, s.Author, s.Text}))
			continue
		}
		text := "(removed)"
		if s.Text != "" {
			text = fmt.Sprintf("%q", s.Text)
		}
		fmt.Fprintf(l.table, "%s\t%s\t%s\t%s\t%s\t%q\t%s\n", a.ID, a.Tag, a.Start, a.Stop, s.At, s.Author, text)
	}
}

func (l *annotationLister) finish() error {
	switch {
	case l.csv != nil:
		l.csv.Flush()
		return errors.Join(l.err, l.csv.Error())
	case l.table != nil:
		return l.table.Flush()
	}
	return l.err
}
