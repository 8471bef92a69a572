package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// killAfter is the part of the workload that is accepted when the server is killed.
const killAfter = 0.92

// restartReport is a kill -9 at full rate and the start after it.
type restartReport struct {
	AcceptedSamples  uint64  `json:"accepted_samples"`  // when the client saw the stream break
	ListeningSeconds float64 `json:"listening_seconds"` // from starting the process to its accepting connections
	ServingSeconds   float64 `json:"serving_seconds"`   // to the first answer that holds every accepted batch
	RunningPeakRSS   uint64  `json:"running_peak_rss_bytes"`
	RestartPeakRSS   uint64  `json:"restart_peak_rss_bytes"`
	RestartCPU       float64 `json:"restart_cpu_seconds"`
	CheckedTags      int     `json:"checked_tags"` // whose every accepted sample was read back and compared
}

// measureRestart loads an empty store, kills the server while it is being written, and starts it again.
func measureRestart(ctx context.Context, binary, dir string, o *options) (*restartReport, error) {
	data := filepath.Join(dir, "killed")
	if err := os.RemoveAll(data); err != nil {
		return nil, err
	}
	s, err := startServer(ctx, binary, data, o.ServerArgs)
	if err != nil {
		return nil, err
	}
	r := &restartReport{}
	loaded, err := loadAndKill(ctx, s, o, r)
	if err != nil {
		return nil, err
	}
	r.AcceptedSamples = loaded.Accepted

	began := time.Now()
	if s, err = startServer(ctx, binary, data, o.ServerArgs); err != nil {
		return nil, fmt.Errorf("start after the kill: %w", err)
	}
	defer s.kill()
	r.ListeningSeconds = time.Since(began).Seconds()
	if err := r.compare(ctx, s, o, loaded, began); err != nil {
		return nil, fmt.Errorf("after the kill: %w", err)
	}
	_, err = s.stop()
	return r, err
}

// loadAndKill ends with the server gone.
func loadAndKill(ctx context.Context, s *server, o *options, r *restartReport) (*loadResult, error) {
	c, err := startClient(ctx, s.address, o)
	if err != nil {
		s.kill()
		return nil, err
	}
	if err := c.begin(); err != nil {
		s.kill()
		return nil, err
	}
	killed := false
	var usageErr error
	loaded, err := c.wait(func(accepted uint64) {
		if killed || float64(accepted) < killAfter*float64(o.samples()) {
			return
		}
		var u usage
		u, usageErr = s.usage()
		r.RunningPeakRSS = u.rssPeak
		s.kill()
		killed = true
	})
	if !killed {
		s.kill()
		err = errors.Join(err, errors.New("the load ended before the server could be killed; give it more samples"))
	}
	return loaded, errors.Join(err, usageErr)
}

// compare times the first answer and reads back what was accepted of a few tags of every connection.
func (r *restartReport) compare(ctx context.Context, s *server, o *options, loaded *loadResult, began time.Time) error {
	conn, err := dial(s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	read := grpcDoor(conn, varvev1.QueryService_ReadRange_FullMethodName)
	for c, runs := range loaded.AcceptedRuns {
		from, to := c*o.Tags/o.Connections, (c+1)*o.Tags/o.Connections
		for i := range 10 {
			tag := from + i*(to-from)/10
			// The workload sends a run of every tag in turn.
			accepted := (int(runs) + to - 1 - tag) / (to - from) * o.RunSamples
			got, err := readBack(ctx, read, o, tag)
			if err != nil {
				return err
			}
			if r.ServingSeconds == 0 {
				r.ServingSeconds = time.Since(began).Seconds()
			}
			if got < accepted {
				return fmt.Errorf("%s has %d samples, %d were accepted", plant.Name(tag), got, accepted)
			}
			r.CheckedTags++
		}
	}
	u, err := s.usage()
	r.RestartPeakRSS, r.RestartCPU = u.rssPeak, u.cpu
	return err
}

// readBack is how many samples of a tag there are; each is one that was sent, and none between them is missing.
func readBack(ctx context.Context, read door, o *options, tag int) (int, error) {
	question, _ := rangeOf(o, 1, o.samplesPerTag())
	question.Tags = []string{plant.Name(tag)}
	times, values := makeTag(o, tag, o.samplesPerTag())
	at := 0
	err := read(ctx, question, func(rec arrow.Record) error {
		gotTimes, err := column[*array.Timestamp](rec, "time")
		if err != nil {
			return err
		}
		gotValues, err := column[*array.Float64](rec, "value")
		if err != nil {
			return err
		}
		for row := range int(rec.NumRows()) {
			if at == len(times) || int64(gotTimes.Value(row)) != times[at] || gotValues.Value(row) != values[at] {
				return fmt.Errorf("%s: sample %d is not the one that was sent", plant.Name(tag), at)
			}
			at++
		}
		return nil
	})
	return at, err
}
