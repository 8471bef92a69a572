//go:build cgo && unix

// Command varve-sql is the SQL process of a Varve server, which starts it: it owns no files and no network and sees samples and tags through
// two sockets that it inherits. docs/design/sql.md says why it is a process, and what it is kept from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/cmd/varve-sql/engine"
	"github.com/varvedb/varve/cmd/varve-sql/sandbox"
	"github.com/varvedb/varve/internal/inherited"
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
)

// The files that the server leaves open.
const (
	engineFile = 3 // the server asks
	tablesFile = 4 // we ask
)

func main() {
	var o engine.Options
	var limits sandbox.Limits
	flag.Int64Var(&o.MemoryBytes, "memory", 256<<20, "bytes the engine may hold")
	flag.IntVar(&o.Threads, "threads", 1, "threads of the engine")
	flag.StringVar(&o.TempDir, "temp", "", "directory for what does not fit in memory; empty for none")
	flag.Int64Var(&o.TempBytes, "temp-bytes", 1<<30, "most bytes in --temp")
	confined := flag.Bool("confined", false, "the process has given up its rights already")
	flag.Parse()
	limits = sandbox.Limits{AddressBytes: 2*o.MemoryBytes + 3<<30, FileBytes: o.TempBytes, Files: 256, Dir: o.TempDir}
	if err := run(o, limits, *confined); err != nil {
		fmt.Fprintln(os.Stderr, "varve-sql:", err)
		os.Exit(1)
	}
}

func run(o engine.Options, limits sandbox.Limits, confined bool) error {
	if !confined {
		// Rights to files are given up by one thread for what it executes, so the program begins anew.
		return sandbox.Again(limits, append(os.Args, "--confined"))
	}
	report, err := sandbox.Filter()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "confined:", report)
	runtime.GOMAXPROCS(o.Threads) // one more looks for work on the processor that the engine has: three times the time a row
	debug.SetMemoryLimit(128 << 20)

	asked, err := inherited.Conn(os.NewFile(engineFile, "engine"))
	if err != nil {
		return err
	}
	asking, err := inherited.Conn(os.NewFile(tablesFile, "tables"))
	if err != nil {
		return err
	}
	client, err := inherited.Dial(asking, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)), grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(16<<20),
		grpc.WithReadBufferSize(256<<10))
	if err != nil {
		return err
	}
	tables := sqlchildv1.NewTableServiceClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	known, err := listTables(ctx, tables)
	if err != nil {
		return fmt.Errorf("ask for the tables: %w", err)
	}
	db, err := engine.Open(o, known)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(codec), grpc.MaxRecvMsgSize(64<<20), grpc.InitialWindowSize(4<<20), grpc.WriteBufferSize(256<<10))
	sqlchildv1.RegisterEngineServiceServer(server, &service{db: db, tables: tables})
	l := inherited.Listen(asked)
	go func() {
		// Who asked is gone: nothing is worth finishing.
		<-l.Ended
		os.Exit(0)
	}()
	if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
