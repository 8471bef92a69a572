package main

import (
	"context"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// editFlags are what every correction says.
type editFlags struct {
	client  clientFlags
	author  string
	reason  string
	zone    string
	quality string
	null    bool
	seq     int64
	all     bool
	file    string
}

func newEditCommand() *cobra.Command {
	f := &editFlags{}
	cmd := &cobra.Command{
		Use:   "edit",
		Short: "Correct, insert or remove samples, with a reason",
		Long: `Corrects, inserts or removes samples. What stood there before stays readable as a version, with author and reason.

With --file, a CSV file with the columns time, tag, value, quality, action and seq (only time and tag are required) is
one correction: action is set (the default), insert or remove; an empty value with a quality is a sample without a value. All
corrections of a file are one change: readers see none or all of those that fit.

A value is written as varve query prints it: states by text or code, bytes in base64.`,
		Example: `  varve edit --reason 'sensor was calibrated' set FI-101 2026-03-01T08:00:00Z 12.5
  varve edit --reason 'never happened' remove FI-101 2026-03-01T08:00:00Z
  varve edit --reason 'laboratory report 17' --file corrections.csv`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.file == "" {
				return usageError(fmt.Errorf("say set, insert or remove, or give --file; see %s --help", cmd.CommandPath()))
			}
			return f.runFile(cmd)
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.author, "author", "", "who corrects (default the user's name; the server takes the authenticated one where there is one)")
	flags.StringVar(&f.reason, "reason", "", "why; required")
	flags.StringVar(&f.zone, "tz", "", "IANA zone of times that carry none (default UTC)")
	cmd.Flags().StringVar(&f.file, "file", "", "CSV file of corrections")
	f.client.register(cmd)
	cmd.AddCommand(
		f.newOneCommand("set", "Replace the value of a sample that is there", varvev1.WriteMode_WRITE_MODE_REPLACE),
		f.newOneCommand("insert", "Insert a sample where none is", varvev1.WriteMode_WRITE_MODE_INSERT),
		f.newRemoveCommand(),
	)
	return cmd
}

func (f *editFlags) newOneCommand(name, short string, mode varvev1.WriteMode) *cobra.Command {
	cmd := &cobra.Command{
		Use:     name + " TAG TIME VALUE",
		Short:   short,
		Example: fmt.Sprintf("  varve edit --reason 'laboratory report 17' %s FI-101 2026-03-01T08:00:00Z 12.5 --quality UncertainSubNormal", name),
		// A value such as -12.5 looks like a flag, so this command takes its flags apart by itself.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, raw []string) error {
			args, err := parseAroundNumbers(cmd, raw)
			if errors.Is(err, pflag.ErrHelp) {
				return cmd.Help()
			}
			if err != nil {
				return cmd.FlagErrorFunc()(cmd, err)
			}
			if len(args) != 3 && (len(args) != 2 || !f.null) {
				return usageError(fmt.Errorf("give tag, time and value, or tag, time and --null; see %s --help", cmd.CommandPath()))
			}
			e := edit{tag: args[0], time: args[1], quality: f.quality, null: f.null, seq: f.seq, mode: mode}
			if len(args) == 3 {
				e.value = args[2]
			}
			return f.runEdits(cmd, []edit{e})
		},
	}
	f.client.register(cmd)
	cmd.Flags().StringVar(&f.quality, "quality", "Good", "a status name such as UncertainSubNormal or BadSensorFailure, or its number")
	cmd.Flags().BoolVar(&f.null, "null", false, "a sample without a value")
	if mode == varvev1.WriteMode_WRITE_MODE_REPLACE {
		cmd.Flags().Int64Var(&f.seq, "seq", -1, "which of several samples at that time; varve query --with-seq shows them")
	} else {
		f.seq = -1
	}
	return cmd
}

// parseAroundNumbers reads the flags among args and returns the others, among which negative numbers may be.
func parseAroundNumbers(cmd *cobra.Command, args []string) ([]string, error) {
	const mark = "\x00" // no argument of a program can hold it
	guarded := make([]string, len(args))
	for i, a := range args {
		if _, err := strconv.ParseFloat(a, 64); err == nil && strings.HasPrefix(a, "-") && (i == 0 || !takesValue(cmd, args[i-1])) {
			a = mark + a
		}
		guarded[i] = a
	}
	cmd.DisableFlagParsing = false
	defer func() { cmd.DisableFlagParsing = true }()
	if err := cmd.ParseFlags(guarded); err != nil {
		return nil, err
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return nil, pflag.ErrHelp
	}
	rest := cmd.Flags().Args()
	for i := range rest {
		rest[i] = strings.TrimPrefix(rest[i], mark)
	}
	return rest, nil
}

// takesValue reports whether arg is a flag whose value is the next argument.
func takesValue(cmd *cobra.Command, arg string) bool {
	name, long := strings.CutPrefix(arg, "--")
	flag := cmd.Flag(name)
	return long && flag != nil && flag.NoOptDefVal == ""
}

func (f *editFlags) newRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove TAG TIME",
		Short:   "Take a sample away; its value stays readable as a version",
		Example: "  varve edit --reason 'never happened' remove FI-101 2026-03-01T08:00:00Z --all",
		Args:    exactlyNames(2, "tag and time"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.runEdits(cmd, []edit{{tag: args[0], time: args[1], seq: f.seq, all: f.all, mode: varvev1.WriteMode_WRITE_MODE_REMOVE}})
		},
	}
	f.client.register(cmd)
	cmd.Flags().Int64Var(&f.seq, "seq", -1, "which of several samples at that time; varve query --with-seq shows them")
	cmd.Flags().BoolVar(&f.all, "all", false, "every sample at that time")
	return cmd
}

// edit is one correction as written by a person.
type edit struct {
	tag, time, value, quality string
	null, all                 bool
	seq                       int64 // -1: none
	mode                      varvev1.WriteMode
	line                      int // of the file, 0 for the command line
}

func (e *edit) where() string {
	if e.line > 0 {
		return fmt.Sprintf("line %d: ", e.line)
	}
	return ""
}

func (f *editFlags) runFile(cmd *cobra.Command) error {
	file, err := os.Open(f.file)
	if err != nil {
		return usageError(err)
	}
	defer file.Close()
	edits, err := readEdits(file)
	if err != nil {
		return usageError(fmt.Errorf("read %s: %w", f.file, err))
	}
	return f.runEdits(cmd, edits)
}

// maxEdits is the most corrections of one file: they are one batch, applied together.
const maxEdits = 100_000

func readEdits(r io.Reader) ([]edit, error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = 0
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; the header needs the columns time and tag")
	}
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	for i, h := range header {
		h = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(h, "\uFEFF")))
		if !slices.Contains([]string{"time", "tag", "value", "quality", "action", "seq"}, h) {
			return nil, fmt.Errorf("column %q: must be time, tag, value, quality, action or seq", h)
		}
		at[h] = i
	}
	if _, ok := at["time"]; !ok || len(at) != len(header) {
		return nil, errors.New("the header needs the columns time and tag, each once")
	}
	if _, ok := at["tag"]; !ok {
		return nil, errors.New("the header needs the columns time and tag, each once")
	}
	var out []edit
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(out) == maxEdits {
			return nil, fmt.Errorf("more than %d corrections; split the file", maxEdits)
		}
		field := func(name string) string {
			if i, ok := at[name]; ok {
				return row[i]
			}
			return ""
		}
		line, _ := rows.FieldPos(0)
		e, err := editOf(field)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		e.line = line
		out = append(out, e)
	}
}

func editOf(field func(string) string) (edit, error) {
	e := edit{tag: field("tag"), time: field("time"), value: field("value"), quality: orDefault(field("quality"), "Good"), seq: -1}
	switch strings.ToLower(field("action")) {
	case "", "set", "replace":
		e.mode = varvev1.WriteMode_WRITE_MODE_REPLACE
	case "insert":
		e.mode = varvev1.WriteMode_WRITE_MODE_INSERT
	case "remove":
		e.mode = varvev1.WriteMode_WRITE_MODE_REMOVE
	default:
		return e, fmt.Errorf("action %q: must be set, insert or remove", field("action"))
	}
	if s := field("seq"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return e, fmt.Errorf("seq %q: must be a number from 0", s)
		}
		e.seq = int64(n)
	}
	return e, nil
}

// runEdits sends corrections as one batch and says what became of them.
func (f *editFlags) runEdits(cmd *cobra.Command, edits []edit) error {
	if f.reason == "" {
		return usageError(errors.New("give --reason: a correction without one cannot be judged later"))
	}
	if len(edits) == 0 {
		return usageError(fmt.Errorf("%s has a header and no corrections", f.file))
	}
	zone, err := loadZone(f.zone)
	if err != nil {
		return usageError(err)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	runs, err := c.editRuns(cmd.Context(), edits, zone)
	if err != nil {
		return err
	}
	answer, err := c.ingest.Edit(cmd.Context(), &varvev1.EditRequest{Author: f.authorName(), Reason: f.reason, Runs: runs})
	if err != nil {
		return c.explain(err)
	}
	return reportEdit(cmd.OutOrStdout(), edits, answer.GetResult())
}

func (f *editFlags) authorName() string {
	if f.author != "" {
		return f.author
	}
	return userName()
}

// userName is who runs the command, as its machine knows them.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return orDefault(os.Getenv("USER"), "unknown")
}

// editRuns makes one run per correction, in their order, so that an answer names a correction by its run.
func (c *client) editRuns(ctx context.Context, edits []edit, zone *time.Location) ([]*varvev1.Run, error) {
	known := map[string]*editTag{}
	runs := make([]*varvev1.Run, len(edits))
	now := time.Now()
	for i := range edits {
		e := &edits[i]
		tag, ok := known[e.tag]
		if !ok {
			var err error
			if tag, err = c.editTag(ctx, e.tag); err != nil {
				return nil, fmt.Errorf("%s%w", e.where(), err)
			}
			known[e.tag] = tag
		}
		run, err := e.run(tag, now, zone)
		if err != nil {
			return nil, usageError(fmt.Errorf("%s%w", e.where(), err))
		}
		runs[i] = run
	}
	return runs, nil
}

// editTag is what a correction must know of its tag.
type editTag struct {
	name  string
	typ   model.Type // at the time of the correction
	types answer.Types
	sets  []*varvev1.StateSet // versions of its digital-state set, ascending
}

func (c *client) editTag(ctx context.Context, name string) (*editTag, error) {
	found, err := c.findTag(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("tag %q: a correction is about one tag, not a pattern", name)
	}
	s := settingsOf(found[0].Tag)
	t := &editTag{name: name, typ: s.typ, types: answer.TypesOf(found[0].Tag)}
	if s.states != "" {
		if t.sets, err = c.stateSetVersions(ctx, s.states); err != nil {
			return nil, c.explain(err)
		}
	}
	return t, nil
}

// stateSetVersions is all versions of a set, ascending.
func (c *client) stateSetVersions(ctx context.Context, name string) ([]*varvev1.StateSet, error) {
	newest, err := c.catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name})
	if err != nil {
		return nil, err
	}
	sets := make([]*varvev1.StateSet, newest.Version)
	sets[newest.Version-1] = newest
	for v := range newest.Version - 1 {
		if sets[v], err = c.catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: name, Version: v + 1}); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// statesAt is the states of the tag at an instant: of the highest version in force then, or else of the first.
func (t *editTag) statesAt(at int64) []*varvev1.DigitalState {
	for i, s := range slices.Backward(t.sets) {
		if s.FromNs <= at || i == 0 {
			return s.States
		}
	}
	return nil
}

func (e *edit) run(tag *editTag, now time.Time, zone *time.Location) (*varvev1.Run, error) {
	t, err := timeexpr.Parse(e.time, now, zone)
	if err != nil {
		return nil, err
	}
	tag.typ = tag.types.At(t)
	var run *varvev1.Run
	if e.mode == varvev1.WriteMode_WRITE_MODE_REMOVE {
		run = &varvev1.Run{Tag: tag.name, TimesNs: []int64{t}, Mode: e.mode, All: e.all}
	} else if run, err = e.valueRun(tag, t); err != nil {
		return nil, err
	}
	if e.seq >= 0 {
		if e.seq > math.MaxUint32 {
			return nil, fmt.Errorf("seq %d: most is %d", e.seq, uint32(math.MaxUint32))
		}
		run.Seq = []uint32{uint32(e.seq)}
	}
	return run, nil
}

func (e *edit) valueRun(tag *editTag, t int64) (*varvev1.Run, error) {
	b := session.RunBuilder{Name: tag.name, Type: tag.typ, Mode: e.mode}
	if err := e.addTo(&b, tag, t); err != nil {
		return nil, err
	}
	return b.Run(0, 1), nil
}

// addTo adds the value as a sample to a run of the tag.
func (e *edit) addTo(b *session.RunBuilder, tag *editTag, t int64) error {
	q, err := model.ParseQuality(e.quality)
	if err != nil {
		return err
	}
	switch {
	case e.null, e.value == "" && tag.typ != model.String && q != model.Good:
		b.AddNull(t, q)
	case tag.typ == model.Bytes:
		value, err := base64.StdEncoding.DecodeString(e.value)
		if err != nil {
			return fmt.Errorf("value %q: must be base64, since %s is of type bytes", e.value, tag.name)
		}
		b.AddText(t, string(value), q)
	case tag.typ == model.String:
		b.AddText(t, e.value, q)
	default:
		bits, err := parseValue(tag, t, e.value)
		if err != nil {
			return err
		}
		b.Add(t, bits, q)
	}
	return nil
}

// parseValue reads a value of a type that is no text as its bits. The text of a state means what it does at the instant.
func parseValue(tag *editTag, at int64, s string) (bits uint64, err error) {
	switch tag.typ {
	case model.Float64:
		var x float64
		x, err = strconv.ParseFloat(s, 64)
		bits = math.Float64bits(x)
	case model.Float32:
		var x float64
		x, err = strconv.ParseFloat(s, 32)
		bits = uint64(math.Float32bits(float32(x)))
	case model.Int64:
		var x int64
		x, err = strconv.ParseInt(s, 10, 64)
		bits = uint64(x)
	case model.Uint64:
		bits, err = strconv.ParseUint(s, 10, 64)
	case model.Bool:
		var x bool
		if x, err = strconv.ParseBool(s); x {
			bits = 1
		}
	case model.State:
		return parseStateValue(tag, at, s)
	}
	if err != nil {
		return 0, fmt.Errorf("value %q: is no %s, the type of %s", s, tag.typ, tag.name)
	}
	return bits, nil
}

func parseStateValue(tag *editTag, at int64, s string) (uint64, error) {
	var texts []string
	for _, d := range tag.statesAt(at) {
		if d.Text == s {
			return uint64(d.Code), nil
		}
		texts = append(texts, d.Text)
	}
	if code, err := strconv.ParseInt(s, 10, 64); err == nil {
		return uint64(code), nil
	}
	return 0, fmt.Errorf("value %q: no state of %s; there are %s", s, tag.name, strings.Join(texts, ", "))
}

// refusal says why a correction was not made in the words of this command, where the server speaks of write modes.
func (e *edit) refusal(j *varvev1.Rejection) string {
	switch {
	case j.Code == varvev1.RejectCode_REJECT_CODE_EXISTS:
		return "a sample stands at this time already; set replaces it"
	case j.Code == varvev1.RejectCode_REJECT_CODE_ABSENT && e.mode == varvev1.WriteMode_WRITE_MODE_REMOVE:
		return "no sample stands at this time, so none can be removed"
	case j.Code == varvev1.RejectCode_REJECT_CODE_ABSENT:
		return "no sample stands at this time; insert adds one"
	case j.Code == varvev1.RejectCode_REJECT_CODE_AMBIGUOUS:
		return "several samples stand at this time; say which with seq, which varve query --with-seq shows"
	}
	return orDefault(j.Reason, j.Code.String())
}

func reportEdit(w io.Writer, edits []edit, r *varvev1.BatchResult) error {
	if r == nil {
		return errors.New("the server did not say what became of the correction")
	}
	fmt.Fprintf(w, "%d of %d corrections applied, as log record %d\n", r.Samples, len(edits), r.Offset)
	for _, j := range r.Rejections {
		e := edit{}
		if int(j.Run) < len(edits) {
			e = edits[j.Run]
		}
		fmt.Fprintf(w, "  %s%s at %s: %s\n", e.where(), e.tag, e.time, e.refusal(j))
	}
	if r.Rejected > 0 {
		return fmt.Errorf("%d of %d corrections were refused, see above", r.Rejected, len(edits))
	}
	return nil
}
