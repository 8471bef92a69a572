package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func newTagsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tags",
		Short: "List, make and change tags and their digital-state sets",
		Example: `  varve tags list 'BOILER*'
  varve tags create PUMP-101.RUN --type state --state-set pump
  varve tags states put pump 0=stopped 1=running`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newTagsListCommand(), newTagsGetCommand(), newTagsCreateCommand(), newTagsUpdateCommand(), newTagsRenameCommand(), newStatesCommand())
	return cmd
}

func checkTagsOutput(s string) error {
	if s != "table" && s != "json" {
		return usageError(fmt.Errorf("output %q: must be table or json", s))
	}
	return nil
}

func exactlyNames(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError(fmt.Errorf("give %s; see %s --help", what, cmd.CommandPath()))
		}
		return nil
	}
}

func newTagsListCommand() *cobra.Command {
	var f clientFlags
	var typ, unit, output string
	var attributes map[string]string
	cmd := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List the tags whose names match a pattern with * and ?",
		Example: `  varve tags list
  varve tags list 'XMEAS_*' --type float64 --output json`,
		Args: asUsage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask := &varvev1.ListTagsRequest{Unit: unit, Attributes: attributes, PageSize: 10_000}
			if len(args) == 1 {
				ask.Filter = args[0]
			}
			if typ != "" {
				t, err := model.ParseType(typ)
				if err != nil {
					return usageError(err)
				}
				ask.Type = varvev1.Type(t)
			}
			if err := checkTagsOutput(output); err != nil {
				return err
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			list := newTagLister(cmd.OutOrStdout(), output)
			if err := c.eachTag(cmd.Context(), ask, list.add); err != nil {
				return err
			}
			return list.finish()
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&typ, "type", "", "only tags of this type")
	cmd.Flags().StringVar(&unit, "unit", "", "only tags with this unit")
	cmd.Flags().StringToStringVar(&attributes, "attribute", nil, "NAME=VALUE: only tags with this attribute (repeatable)")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	return cmd
}

// tagLister prints tags as they come.
type tagLister struct {
	table *tabwriter.Writer // nil for JSON
	json  *json.Encoder
	err   error
}

func newTagLister(w io.Writer, output string) *tagLister {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return &tagLister{json: e}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTYPE\tUNIT\tSTEPPED\tDESCRIPTION")
	return &tagLister{table: t}
}

func (l *tagLister) add(t *varvev1.Tag) {
	if l.json != nil {
		if err := l.json.Encode(tagToJSON(t)); l.err == nil {
			l.err = err
		}
		return
	}
	s := settingsOf(t)
	typ := s.typ.String()
	if s.states != "" {
		typ += " " + s.states
	}
	fmt.Fprintf(l.table, "%s\t%s\t%s\t%t\t%s\n", t.Name, typ, s.unit, s.stepped, t.Description)
}

func (l *tagLister) finish() error {
	if l.table != nil {
		return l.table.Flush()
	}
	return l.err
}

// tagJSON is a tag as JSON. Scripts read it: fields are added, never renamed.
type tagJSON struct {
	Name        string            `json:"name"`
	ID          uint32            `json:"id"`
	UUID        string            `json:"uuid"`
	Type        string            `json:"type"`
	Unit        string            `json:"unit,omitempty"`
	Stepped     bool              `json:"stepped"`
	StateSet    string            `json:"state_set,omitempty"`
	MaxGap      string            `json:"max_gap,omitempty"`
	Description string            `json:"description,omitempty"`
	SpanLow     float64           `json:"span_low"`
	SpanHigh    float64           `json:"span_high"`
	Retention   string            `json:"retention,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Exception   *filterJSON       `json:"exception,omitempty"`
	Compression *filterJSON       `json:"compression,omitempty"`
	Filtered    []filteredJSON    `json:"filtered,omitempty"`
	Settings    []settingsJSON    `json:"settings"`
	Names       []aliasJSON       `json:"names"`
	Created     string            `json:"created"`
}

type filterJSON struct {
	Deviation float64 `json:"deviation"`
	MinTime   string  `json:"min_time,omitempty"`
	MaxTime   string  `json:"max_time,omitempty"`
}

// filterToJSON is a filter, nil for one that is off.
func filterToJSON(f *varvev1.Filter) *filterJSON {
	if f.GetDeviation() == 0 {
		return nil
	}
	out := &filterJSON{Deviation: f.Deviation}
	if f.MinTimeNs != 0 {
		out.MinTime = time.Duration(f.MinTimeNs).String()
	}
	if f.MaxTimeNs != 0 {
		out.MaxTime = time.Duration(f.MaxTimeNs).String()
	}
	return out
}

// filteredJSON is what a compression deviation left out while it was one and the same.
type filteredJSON struct {
	filterJSON
	First    string  `json:"first"`
	Last     string  `json:"last"`
	Samples  uint64  `json:"samples"`
	LeftOut  uint64  `json:"left_out"`
	MaxError float64 `json:"max_error"`
	ErrorAt  string  `json:"error_at,omitempty"` // the sample kept behind; empty where none was left out
}

func filteredToJSON(f *varvev1.Filtered) filteredJSON {
	out := filteredJSON{
		First: model.FormatTime(f.FirstNs), Last: model.FormatTime(f.LastNs), Samples: f.Samples, LeftOut: f.LeftOut, MaxError: f.MaxError,
	}
	if set := filterToJSON(f.Filter); set != nil {
		out.filterJSON = *set
	}
	if f.LeftOut > 0 {
		out.ErrorAt = model.FormatTime(f.ErrorAtNs)
	}
	return out
}

type settingsJSON struct {
	From     string `json:"from"`
	Type     string `json:"type"`
	Unit     string `json:"unit,omitempty"`
	Stepped  bool   `json:"stepped"`
	StateSet string `json:"state_set,omitempty"`
	MaxGap   string `json:"max_gap,omitempty"`
}

type aliasJSON struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to,omitempty"` // empty while it is the name
}

func tagToJSON(t *varvev1.Tag) tagJSON {
	now := settingsOf(t)
	out := tagJSON{
		Name: t.Name, ID: t.Id, UUID: t.Uuid, Type: now.typ.String(), Unit: now.unit, Stepped: now.stepped, StateSet: now.states,
		Description: t.Description, SpanLow: t.SpanLow, SpanHigh: t.SpanHigh, Retention: t.Retention, Attributes: t.Attributes,
		Exception: filterToJSON(t.Exception), Compression: filterToJSON(t.Compression),
		Created: model.FormatTime(t.CreatedNs), Settings: []settingsJSON{}, Names: []aliasJSON{},
	}
	for _, s := range t.Settings {
		j := settingsJSON{From: fromText(s.FromNs), Type: model.Type(s.Type).String(), Unit: s.Unit, Stepped: s.Stepped, StateSet: s.StateSet}
		if s.MaxGapNs != 0 {
			j.MaxGap = time.Duration(s.MaxGapNs).String()
		}
		out.Settings = append(out.Settings, j)
		out.MaxGap = j.MaxGap
	}
	for _, f := range t.Filtered {
		out.Filtered = append(out.Filtered, filteredToJSON(f))
	}
	for _, a := range t.Aliases {
		j := aliasJSON{Name: a.Name, From: fromText(a.FromNs)}
		if a.ToNs <= model.MaxTime {
			j.To = model.FormatTime(a.ToNs)
		}
		out.Names = append(out.Names, j)
	}
	return out
}

// fromText is when something began to hold: a time, or min for always.
func fromText(ns int64) string {
	if ns <= model.MinTime {
		return "min"
	}
	return model.FormatTime(ns)
}

func newTagsGetCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "get TAG",
		Short:   "Print all settings of a tag, present and past, and what its filter left out, as JSON",
		Example: "  varve tags get XMEAS_01",
		Args:    exactlyNames(1, "one tag"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			t, err := c.catalog.GetTag(cmd.Context(), &varvev1.GetTagRequest{Name: args[0]})
			if err != nil {
				return c.explain(err)
			}
			return printJSON(cmd.OutOrStdout(), tagToJSON(t))
		},
	}
	f.register(cmd)
	return cmd
}

// tagSettingFlags are the settings that create and update share.
type tagSettingFlags struct {
	typ, unit, description, stateSet, retention string
	stepped                                     bool
	maxGap                                      time.Duration
	spanLow, spanHigh                           float64
	attributes                                  map[string]string
	exception, compression                      model.Filter
}

func (f *tagSettingFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.typ, "type", "", "float64, float32, int64, uint64, bool, state, string or bytes")
	flags.StringVar(&f.unit, "unit", "", "UCUM code of the unit, such as m3/h, Cel, bar")
	flags.StringVar(&f.description, "description", "", "what the tag measures")
	flags.StringVar(&f.stateSet, "state-set", "", "digital-state set, for type state")
	flags.StringVar(&f.retention, "retention", "", "retention class")
	flags.BoolVar(&f.stepped, "stepped", false, "hold the last value instead of sloping to the next")
	flags.DurationVar(&f.maxGap, "max-gap", 0, "longest distance to interpolate across, such as 90s (0: no limit)")
	flags.Float64Var(&f.spanLow, "span-low", 0, "lowest value to expect")
	flags.Float64Var(&f.spanHigh, "span-high", 0, "highest value to expect")
	flags.StringToStringVar(&f.attributes, "attribute", nil, "NAME=VALUE (repeatable); an empty VALUE takes it away")
	// docs/reference/filters.md defines the filters. The archive keeps its bound whatever the minimum time, so there is no flag for that.
	flags.Float64Var(&f.exception.Deviation, "exception-deviation", 0, "collectors may not send what is this close to the last sent, in the unit (0: all is sent)")
	flags.DurationVar(&f.exception.MinTime, "exception-min-time", 0, "collectors send no number sooner than this after the last")
	flags.DurationVar(&f.exception.MaxTime, "exception-max-time", 0, "collectors send a sample at least this often (0: no limit)")
	flags.Float64Var(&f.compression.Deviation, "compression-deviation", 0,
		"leave samples out of the archive for good that are this close to a line between two kept, in the unit (0: all are kept); varve tune tells what it would do")
	flags.DurationVar(&f.compression.MaxTime, "compression-max-time", 0, "archive a sample at least this often (0: no limit)")
}

// filterOf is a filter with the flags that were given in place of what it was; nil if none was.
func filterOf(cmd *cobra.Command, set model.Filter, name string, old *varvev1.Filter) *varvev1.Filter {
	given := cmd.Flags().Changed
	if !given(name+"-deviation") && !given(name+"-min-time") && !given(name+"-max-time") {
		return nil
	}
	out := &varvev1.Filter{Deviation: old.GetDeviation(), MinTimeNs: old.GetMinTimeNs(), MaxTimeNs: old.GetMaxTimeNs()}
	if given(name + "-deviation") {
		out.Deviation = set.Deviation
	}
	if given(name + "-min-time") {
		out.MinTimeNs = int64(set.MinTime)
	}
	if given(name + "-max-time") {
		out.MaxTimeNs = int64(set.MaxTime)
	}
	return out
}

func newTagsCreateCommand() *cobra.Command {
	var f clientFlags
	var set tagSettingFlags
	cmd := &cobra.Command{
		Use:     "create TAG...",
		Short:   "Make tags",
		Example: "  varve tags create FI-101 --type float64 --unit m3/h --description 'feed flow'",
		Args:    asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			typ, err := model.ParseType(orDefault(set.typ, "float64"))
			if err != nil {
				return usageError(err)
			}
			ask := &varvev1.CreateTagsRequest{}
			for _, name := range names {
				ask.Tags = append(ask.Tags, &varvev1.Tag{
					Name: name, Description: set.description, SpanLow: set.spanLow, SpanHigh: set.spanHigh, Retention: set.retention,
					Exception: filterOf(cmd, set.exception, "exception", nil), Compression: filterOf(cmd, set.compression, "compression", nil),
					Attributes: set.attributes, Settings: []*varvev1.Settings{{
						Type: varvev1.Type(typ), Unit: set.unit, Stepped: set.stepped, StateSet: set.stateSet, MaxGapNs: int64(set.maxGap),
					}},
				})
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			answer, err := c.catalog.CreateTags(cmd.Context(), ask)
			if err != nil {
				return c.explain(err)
			}
			return printCreated(cmd.OutOrStdout(), names, answer.Tags)
		},
	}
	f.register(cmd)
	set.register(cmd)
	return cmd
}

func printCreated(w io.Writer, names []string, results []*varvev1.CreateTagResult) error {
	failed := 0
	for i, r := range results {
		switch {
		case r.Code != varvev1.RejectCode_REJECT_CODE_UNSPECIFIED:
			failed++
			fmt.Fprintf(w, "%s: refused: %s\n", names[i], r.Reason)
		case r.Created:
			fmt.Fprintf(w, "%s: created\n", names[i])
		default:
			fmt.Fprintf(w, "%s: exists, unchanged; varve tags update changes it\n", names[i])
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d tags were refused", failed, len(results))
	}
	return nil
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func newTagsUpdateCommand() *cobra.Command {
	var f clientFlags
	var set tagSettingFlags
	var from string
	cmd := &cobra.Command{
		Use:   "update TAG",
		Short: "Change the settings of a tag that are given, and leave the others",
		Long: `Changes the settings of a tag that are given and leaves the others. Type, unit, stepped, max-gap and state-set change what
samples mean, so they are dated: they hold from --from on, and samples before keep the settings they had. A type changes behind all samples
that the tag has.`,
		Example: "  varve tags update FI-101 --unit l/s --from 2026-03-01T00:00:00Z\n  varve tags update FI-101 --compression-deviation 0.5",
		Args:    exactlyNames(1, "one tag"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			old, err := c.catalog.GetTag(cmd.Context(), &varvev1.GetTagRequest{Name: args[0]})
			if err != nil {
				return c.explain(err)
			}
			ask, err := set.updateOf(cmd, old, from)
			if err != nil {
				return usageError(err)
			}
			t, err := c.catalog.UpdateTag(cmd.Context(), ask)
			if err != nil {
				return c.explain(err)
			}
			return printJSON(cmd.OutOrStdout(), tagToJSON(t))
		},
	}
	f.register(cmd)
	set.register(cmd)
	cmd.Flags().StringVar(&from, "from", "now", "from when type, unit, stepped, max-gap and state-set hold; 'min' for always")
	return cmd
}

// updateOf is the request for the flags that were given.
func (f *tagSettingFlags) updateOf(cmd *cobra.Command, old *varvev1.Tag, from string) (*varvev1.UpdateTagRequest, error) {
	given := cmd.Flags().Changed
	ask := &varvev1.UpdateTagRequest{Id: old.Id, SetAttributes: f.attributes}
	if given("description") {
		ask.Description = &f.description
	}
	if given("span-low") {
		ask.SpanLow = &f.spanLow
	}
	if given("span-high") {
		ask.SpanHigh = &f.spanHigh
	}
	if given("retention") {
		ask.Retention = &f.retention
	}
	ask.Exception = filterOf(cmd, f.exception, "exception", old.Exception)
	ask.Compression = filterOf(cmd, f.compression, "compression", old.Compression)
	if !given("type") && !given("unit") && !given("stepped") && !given("max-gap") && !given("state-set") {
		return ask, nil
	}
	at, err := timeexpr.Parse(from, time.Now(), time.UTC)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	last := old.Settings[len(old.Settings)-1]
	s := &varvev1.Settings{FromNs: at, Type: last.Type, Unit: last.Unit, Stepped: last.Stepped, MaxGapNs: last.MaxGapNs, StateSet: last.StateSet}
	if given("type") {
		t, err := model.ParseType(f.typ)
		if err != nil {
			return nil, err
		}
		if old := model.Type(s.Type); t != old { // what came with the old type goes with it
			s.Stepped, s.StateSet = s.Stepped && !old.AlwaysStepped(), ""
		}
		s.Type = varvev1.Type(t)
	}
	if given("unit") {
		s.Unit = f.unit
	}
	if given("stepped") {
		s.Stepped = f.stepped
	}
	if given("max-gap") {
		s.MaxGapNs = int64(f.maxGap)
	}
	if given("state-set") {
		s.StateSet = f.stateSet
	}
	ask.Settings = s
	return ask, nil
}

func newTagsRenameCommand() *cobra.Command {
	var f clientFlags
	var from string
	cmd := &cobra.Command{
		Use:     "rename TAG NEW-NAME",
		Short:   "Give a tag a new name; the old one keeps finding its history",
		Example: "  varve tags rename FI-101 UNIT1.FEED.FLOW --from 2026-03-01",
		Args:    exactlyNames(2, "a tag and its new name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask := &varvev1.RenameTagRequest{Name: args[0], NewName: args[1]}
			if from != "now" {
				at, err := timeexpr.Parse(from, time.Now(), time.UTC)
				if err != nil {
					return usageError(fmt.Errorf("--from: %w", err))
				}
				ask.FromNs = at
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			t, err := c.catalog.RenameTag(cmd.Context(), ask)
			if err != nil {
				return c.explain(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is now %s\n", args[0], t.Name)
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&from, "from", "now", "from when the new name holds")
	return cmd
}
