package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/server"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make tokens that clients show to a server", Args: cobra.NoArgs}
	cmd.AddCommand(newTokenNewCommand())
	return cmd
}

func newTokenNewCommand() *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a token",
		Long: `Make a token for NAME. The token is printed on stdout, once: nothing keeps it. The line that lets it in is printed on
stderr, for the file that serve reads with --tokens; it holds a salted hash and no secret.`,
		Example: `  varve token new collector-1 --scope write > collector-1.token 2>> /etc/varve/tokens`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := server.ParseScope(scope)
			if err != nil {
				return usageError(fmt.Errorf("--scope: %w", err))
			}
			token, line, err := server.NewToken(args[0], s, nil)
			if err != nil {
				return usageError(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			fmt.Fprintln(cmd.ErrOrStderr(), line)
			return nil
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "read", "what the token allows: read, write, admin, or several with commas between")
	return cmd
}
