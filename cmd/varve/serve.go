package main

import (
	"github.com/spf13/cobra"
)

// serveFlags is what the command line of serve says.
type serveFlags struct {
	data   string
	listen string
}

func newServeCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve --data DIR",
		Short:   "Run the server",
		Example: "  varve serve --data /var/lib/varve --listen 127.0.0.1:7420",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.MarkFlagRequired("data") },
	}
	cmd.Flags().StringVar(&f.data, "data", "", "directory of the store; made if nothing is there")
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:7420", "address to accept connections on; port 0 picks one")
	return cmd
}
