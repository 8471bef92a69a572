package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query/calendar"
)

func newCalendarsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "calendars",
		Short: "Calendars of shifts and periods that the server keeps, for --calendar of varve query",
		Example: `  varve calendars put plant plant.json
  varve query --start -7d --every shift --calendar plant --aggregate time_weighted_average FI-101`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newCalendarsPutCommand(), newCalendarsListCommand(), newCalendarsShowCommand())
	return cmd
}

func newCalendarsPutCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "put NAME FILE",
		Short: "Store a definition under a name, as a new version of what is there",
		Long: `Stores the definition of a calendar (docs/reference/calendars.md) under a name, from a file or, for -, from the standard input.
Whoever names it from now on gets this version; the ones before can be shown. The same definition once more changes nothing.`,
		Example: "  varve calendars put plant plant.json",
		Args:    exactlyNames(2, "a name and a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isFile(args[0]) {
				return usageError(fmt.Errorf("name %q: --calendar %s would be taken for a file; give a name without a slash and not ending in .json", args[0], args[0]))
			}
			text, err := readDefinition(cmd.InOrStdin(), args[1])
			if err != nil {
				return err
			}
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			stored, err := c.catalog.PutCalendar(cmd.Context(), &varvev1.PutCalendarRequest{Name: args[0], Definition: text})
			if err != nil {
				return c.explain(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s version %d\n", stored.Name, stored.Version)
			return err
		},
	}
	f.register(cmd)
	return cmd
}

// readDefinition reads a file, or the standard input for -, up to what a definition may have.
func readDefinition(in io.Reader, path string) (string, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, calendar.MaxDefinitionBytes+1))
	if err == nil && len(text) > calendar.MaxDefinitionBytes {
		err = fmt.Errorf("%s: more than %d bytes, the most of a definition", path, calendar.MaxDefinitionBytes)
	}
	return string(text), err
}

func newCalendarsListCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print the name and newest version of every calendar",
		Example: "  varve calendars list",
		Args:    asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(out, "name\tversion\tstored\tzone")
			for page := ""; ; {
				answer, err := c.catalog.ListCalendars(cmd.Context(), &varvev1.ListCalendarsRequest{PageToken: page})
				if err != nil {
					return c.explain(err)
				}
				for _, x := range answer.Calendars {
					zone := "not known to this version"
					if read, err := calendar.Parse([]byte(x.Definition)); err == nil {
						zone = read.Zone().String()
					}
					fmt.Fprintf(out, "%s\t%d\t%s\t%s\n", x.Name, x.Version, model.FormatTime(x.StoredNs), zone)
				}
				if page = answer.NextPageToken; page == "" {
					return out.Flush()
				}
			}
		},
	}
	f.register(cmd)
	return cmd
}

func newCalendarsShowCommand() *cobra.Command {
	var f clientFlags
	var version uint32
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print the definition of a calendar",
		Example: "  varve calendars show plant --version 1",
		Args:    exactlyNames(1, "one calendar"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.dial()
			if err != nil {
				return err
			}
			defer c.close()
			x, err := c.catalog.GetCalendar(cmd.Context(), &varvev1.GetCalendarRequest{Name: args[0], Version: version})
			if err != nil {
				return c.explain(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), x.Definition)
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().Uint32Var(&version, "version", 0, "version to print (default the newest)")
	return cmd
}

// calendarOf is what --calendar means: a definition that is given in place, one in a file, or the name of one the server keeps.
func calendarOf(flag string) (string, error) {
	if strings.HasPrefix(flag, "{") || !isFile(flag) {
		return flag, nil
	}
	return readDefinition(nil, flag)
}

// isFile reports whether --calendar is a file: by how it is written, and not by which files there are.
func isFile(flag string) bool {
	return strings.HasSuffix(flag, ".json") || strings.ContainsAny(flag, `/\`)
}
