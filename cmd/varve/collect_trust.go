package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/collector/opcua"
	"github.com/varvedb/varve/model"
)

func newCollectTrustCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Show and decide which servers a source trusts",
		Long: `A source of type opcua trusts no server until somebody says so. The certificate of one that it met is kept: compare its fingerprint with what
the server's own tool shows, and accept it. A collector that runs need not be told: it looks at each attempt to connect.`,
		Example: `  varve collect --config plant.yaml --check
  varve collect trust list --config plant.yaml boiler
  varve collect trust accept --config plant.yaml boiler 5f2c81d0f9a4c2a7d3c6a1b9e4f00c9d6f1f7b2a8e5d4c3b2a190817161514aa`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newTrustListCommand(), newTrustMoveCommand("accept", "Trust the server, or the authority, of a certificate that was met",
		func(dir, fingerprint string) (opcua.Certificate, error) {
			return opcua.Accept(dir, fingerprint, time.Now())
		}),
		newTrustMoveCommand("reject", "Trust a certificate no more; a connection that is open stays so", opcua.Reject))
	return cmd
}

// trustFolder is the folder of the source that arguments name.
func (f *collectFlags) trustFolder(source string) (string, error) {
	c, err := f.read()
	if err != nil {
		return "", err
	}
	s, err := c.Source(source)
	if err != nil {
		return "", usageError(err)
	}
	if s.Type != opcua.Type {
		return "", usageError(fmt.Errorf("source %s is of type %s; only those of type %s have certificates to trust", s.Name, s.Type, opcua.Type))
	}
	return c.SourceDir(s), nil
}

func newTrustListCommand() *cobra.Command {
	var f collectFlags
	var output string
	cmd := &cobra.Command{
		Use:   "list --config FILE SOURCE",
		Short: "List the certificates that a source trusts, and those that it met",
		Example: `  varve collect trust list --config plant.yaml boiler
  varve collect trust list --config plant.yaml boiler --output json`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			dir, err := f.trustFolder(args[0])
			if err != nil {
				return err
			}
			all, err := opcua.Certificates(dir)
			if err != nil {
				return err
			}
			lists, err := opcua.RevocationLists(dir, time.Now())
			if err != nil {
				return err
			}
			return printCertificates(cmd.OutOrStdout(), output, all, lists, time.Now())
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	return cmd
}

// trustState is what becomes of a server with a certificate.
func trustState(c opcua.Certificate, now time.Time) string {
	state := "rejected"
	switch {
	case c.Trusted && c.Authority:
		state = "trusted authority"
	case c.Trusted:
		state = "trusted"
	case c.Issuer:
		state = "issuer"
	}
	switch {
	case c.Revoked:
		return state + ", revoked"
	case now.After(c.NotAfter):
		return state + ", expired"
	case now.Before(c.NotBefore):
		return state + ", not yet valid"
	}
	return state
}

func printCertificates(out io.Writer, output string, all []opcua.Certificate, lists []opcua.RevocationList, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if output == "table" {
		fmt.Fprintln(w, "state\tname\tvalid until\tSHA-256")
	}
	row := func(state, name, fingerprint string, from, until time.Time, more map[string]any) error {
		if output == "table" {
			end := "-"
			if !until.IsZero() {
				end = until.UTC().Format(time.DateOnly)
			}
			_, err := fmt.Fprintf(w, "%s\t%q\t%s\t%s\n", state, name, end, fingerprint)
			return err
		}
		more["state"], more["name"], more["sha256"], more["valid_from"] = state, name, fingerprint, model.FormatTime(from.UnixNano())
		if !until.IsZero() {
			more["valid_until"] = model.FormatTime(until.UnixNano())
		}
		line, err := json.Marshal(more)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", line)
		}
		return err
	}
	for _, c := range all {
		more := map[string]any{"applications": c.Applications, "authority": c.Authority, "sha1": c.Thumbprint, "file": c.File}
		if err := row(trustState(c, now), c.Name, c.Fingerprint, c.NotBefore, c.NotAfter, more); err != nil {
			return err
		}
	}
	for _, l := range lists {
		state := fmt.Sprintf("list, %d revoked", l.Revoked)
		if l.Lacks != "" {
			state += ", " + l.Lacks
		}
		if err := row(state, l.Name, l.Fingerprint, l.ThisUpdate, l.NextUpdate, map[string]any{"revoked": l.Revoked, "file": l.File}); err != nil {
			return err
		}
	}
	return w.Flush()
}

// newTrustMoveCommand is accept and reject.
func newTrustMoveCommand(name, short string, move func(dir, fingerprint string) (opcua.Certificate, error)) *cobra.Command {
	var f collectFlags
	cmd := &cobra.Command{
		Use:     name + " --config FILE SOURCE FINGERPRINT...",
		Short:   short,
		Example: "  varve collect trust " + name + " --config plant.yaml boiler 5f2c81d0f9a4c2a7d3c6a1b9e4f00c9d6f1f7b2a8e5d4c3b2a190817161514aa",
		Args:    asUsage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := f.trustFolder(args[0])
			if err != nil {
				return err
			}
			for _, fingerprint := range args[1:] {
				c, err := move(dir, fingerprint)
				if errors.Is(err, opcua.ErrFingerprint) {
					return usageError(err)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\t%q\t%s\n", trustState(c, time.Now()), c.Name, c.Fingerprint)
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}
