package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// measure runs everything the options ask for.
func measure(ctx context.Context, o *options) (*report, error) {
	dir, err := workDir(o)
	if err != nil {
		return nil, err
	}
	if !o.Keep {
		defer os.RemoveAll(dir)
	}
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	r := &report{Machine: describeMachine(), Workload: *o, Samples: uint64(o.samples())}
	data := o.Store
	if data == "" {
		data = filepath.Join(dir, "store")
		err = measureStore(ctx, binary, data, o, r, nil)
	} else {
		err = measureKept(ctx, binary, o, r)
	}
	if err != nil {
		return nil, err
	}
	if o.Seal && o.Queries {
		if r.FirstQueries, err = measureFirst(ctx, binary, data, o); err != nil {
			return nil, err
		}
	}
	if o.Kill {
		if o.LatePercent > 0 {
			return nil, errors.New("--kill: what is accepted of a tag is a prefix only without --late")
		}
		if r.Restart, err = measureRestart(ctx, binary, dir, o); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// workDir is a fresh directory under --dir, or a temporary one.
func workDir(o *options) (string, error) {
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o755); err != nil {
			return "", fmt.Errorf("--dir: %w", err)
		}
	}
	return os.MkdirTemp(o.Dir, "varve-bench-")
}

// measureStore loads an empty store, flushes it, and asks it questions; last comes what look asks, unless it is nil.
func measureStore(ctx context.Context, binary, data string, o *options, r *report, look func(*grpc.ClientConn) error) error {
	s, err := startServer(ctx, binary, data, o.ServerArgs)
	if err != nil {
		return err
	}
	defer s.kill()
	if r.Ingest, err = measureIngest(ctx, s, o); err != nil {
		return fmt.Errorf("%w\nthe server said:\n%s", err, s.log)
	}
	conn, err := dial(s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if r.Stored, err = measureStored(ctx, s, conn, data, r.Samples, flush); err != nil {
		return err
	}
	if o.Queries {
		profiled := make(chan error, 1)
		if o.QueryProfile != "" {
			go func() { profiled <- fetchProfile(ctx, o, o.QueryProfile, 5) }()
		} else {
			profiled <- nil
		}
		if r.Queries, err = measureQueries(ctx, s, o); err != nil {
			return err
		}
		if err := <-profiled; err != nil {
			return err
		}
	}
	if o.Seal {
		if r.Sealed, err = measureStored(ctx, s, conn, data, r.Samples, seal); err != nil {
			return err
		}
	}
	if o.Seal && o.Queries {
		if r.SealedQueries, err = measureQueries(ctx, s, o); err != nil {
			return err
		}
	}
	if look != nil {
		if err := look(conn); err != nil {
			return err
		}
	}
	used, err := s.usage()
	if err != nil {
		return err
	}
	r.QueryPeakRSS = used.rssPeak
	took, err := s.stop()
	r.StopSeconds = took.Seconds()
	return err
}

// measureKept asks questions of a sealed store that an earlier run kept.
func measureKept(ctx context.Context, binary string, o *options, r *report) error {
	s, err := startServer(ctx, binary, o.Store, o.ServerArgs)
	if err != nil {
		return err
	}
	defer s.kill()
	if r.SealedQueries, err = measureQueries(ctx, s, o); err != nil {
		return err
	}
	took, err := s.stop()
	r.StopSeconds = took.Seconds()
	return err
}

// ingestReport is one load, seen from the client and from the kernel.
type ingestReport struct {
	loadResult
	AcceptedPerSecond float64 `json:"accepted_per_second"`
	AppliedPerSecond  float64 `json:"applied_per_second"`
	ServerCPU         float64 `json:"server_cpu_seconds_per_million"` // until the last batch is applied
	ClientCPU         float64 `json:"client_cpu_seconds_per_million"`
	WirePerSample     float64 `json:"wire_bytes_per_sample"`
	ServerPeakRSS     uint64  `json:"server_peak_rss_bytes"`
	// OthersCores is how many cores other processes took meanwhile; above a tenth or so the rates are too low.
	OthersCores float64 `json:"others_cores"`
}

func measureIngest(ctx context.Context, s *server, o *options) (*ingestReport, error) {
	c, err := startClient(ctx, s.address, o)
	if err != nil {
		return nil, err
	}
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	busy, began := machineBusySeconds(), time.Now()
	if err := c.begin(); err != nil {
		return nil, err
	}
	profiled := make(chan error, 1)
	if o.Profile != "" {
		go func() { profiled <- fetchProfile(ctx, o, o.Profile, max(2, o.samples()/6_000_000)) }()
	} else {
		profiled <- nil
	}
	loaded, err := c.wait(func(uint64) {})
	if err != nil {
		return nil, err
	}
	wall, busy := time.Since(began).Seconds(), machineBusySeconds()-busy
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	if err := <-profiled; err != nil {
		return nil, err
	}
	if loaded.Error != "" {
		return nil, fmt.Errorf("load: %s", loaded.Error)
	}
	if want := uint64(o.samples()); loaded.Accepted != want || loaded.Applied != want {
		return nil, fmt.Errorf("%d samples were sent, %d accepted, %d applied", want, loaded.Accepted, loaded.Applied)
	}
	millions := float64(o.samples()) / 1e6
	return &ingestReport{
		loadResult:        *loaded,
		AcceptedPerSecond: float64(loaded.Accepted) / loaded.AcceptedSeconds,
		AppliedPerSecond:  float64(loaded.Applied) / loaded.AppliedSeconds,
		ServerCPU:         (after.cpu - before.cpu) / millions,
		ClientCPU:         loaded.CPUSeconds / millions,
		WirePerSample:     float64(loaded.WireBytes) / float64(o.samples()),
		ServerPeakRSS:     after.rssPeak,
		OthersCores:       max(0, busy-(after.cpu-before.cpu)-loaded.CPUSeconds) / wall,
	}, nil
}

// fetchProfile gets a CPU profile of the server's next seconds over the address its --pprof-listen was given.
func fetchProfile(ctx context.Context, o *options, file string, seconds int) error {
	address := ""
	for _, a := range o.ServerArgs {
		if v, ok := strings.CutPrefix(a, "--pprof-listen="); ok {
			address = v
		}
	}
	if address == "" {
		return errors.New("profile of the server: needs --server-arg=--pprof-listen=HOST:PORT")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, seconds), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("profile of the server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("profile of the server: it answers %s", answer.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, answer.Body)
	return errors.Join(err, f.Close())
}
