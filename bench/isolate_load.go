package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// pace is when the batches of a connection are due: one every so often.
type pace struct {
	every time.Duration
	due   time.Time // of the next one
}

// next waits until the next batch is due and returns when it begins. One that is late, because the server did not take the one before in time,
// began when it was due.
func (p *pace) next() time.Time {
	now := time.Now()
	if p == nil {
		return now
	}
	if p.due.IsZero() {
		p.due = now
	}
	due := p.due
	p.due = p.due.Add(p.every)
	if now.After(due) {
		return due
	}
	time.Sleep(due.Sub(now))
	return time.Now()
}

// endless is W1 made as it is sent, until it is told to end, which it does behind a run of every tag.
type endless struct {
	*year
	over *atomic.Bool
}

func (e *endless) next() (int, []int64, []float64, bool) {
	if e.at == 0 && e.over.Load() {
		return 0, nil, nil, false
	}
	return e.year.next()
}

// steadyLoad sends W1 at a steady rate until it is ended.
type steadyLoad struct {
	o     *options
	load  *load
	over  atomic.Bool
	ended chan struct{} // closed when all of it is applied, or the server failed
	sent  *loadResult   // read after ended

	mu   sync.Mutex
	acks []ack
}

// ack is an accepted batch: when it began, and after how many milliseconds it was accepted.
type ack struct {
	begun time.Time
	ms    float64
}

// startSteadyLoad begins to send rate samples a second.
func startSteadyLoad(ctx context.Context, address string, tags, rate int) (*steadyLoad, error) {
	w := &steadyLoad{ended: make(chan struct{})}
	w.o = (&growthOptions{Connections: 2, Repeat: 1, Output: "table"}).workload(tags, 10*tags)
	var works []workload
	for c := range w.o.Connections {
		y := newYear(w.o, c*tags/w.o.Connections, (c+1)*tags/w.o.Connections)
		y.left = math.MaxInt
		works = append(works, &endless{year: y, over: &w.over})
	}
	var err error
	if w.load, err = prepareLoadOf(ctx, address, w.o, works); err != nil {
		return nil, err
	}
	every := time.Duration(float64(w.o.BatchSamples*w.o.Connections) / float64(rate) * float64(time.Second))
	for i, s := range w.load.senders {
		// They take turns, as sources that know nothing of each other do on average.
		s.pace = &pace{every: every, due: time.Now().Add(every * time.Duration(i) / time.Duration(len(works)))}
		s.acked = w.note
	}
	go func() {
		defer close(w.ended)
		w.sent = w.load.run(ctx, func(uint64) error { return nil })
	}()
	return w, nil
}

func (w *steadyLoad) note(begun time.Time, ms float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, ack{begun, ms})
}

// between are the times of batches that began in a half-open interval.
func (w *steadyLoad) between(from, to time.Time) (all []float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.acks {
		if !a.begun.Before(from) && a.begun.Before(to) {
			all = append(all, a.ms)
		}
	}
	return all
}

// end lets the load end and waits until all of it is applied.
func (w *steadyLoad) end() error {
	w.over.Store(true)
	<-w.ended
	if w.sent.Error != "" {
		return fmt.Errorf("load: %s", w.sent.Error)
	}
	if w.sent.Accepted != w.sent.Sent || w.sent.Applied != w.sent.Sent {
		return fmt.Errorf("%d samples were sent, %d accepted, %d applied", w.sent.Sent, w.sent.Accepted, w.sent.Applied)
	}
	return nil
}

// check holds what is stored against what was accepted: how many there are, and every sample of every tag.
func (w *steadyLoad) check(ctx context.Context, conn *grpc.ClientConn) error {
	status, err := varvev1.NewAdminServiceClient(conn).Status(ctx, &varvev1.StatusRequest{})
	if err != nil {
		return err
	}
	if status.Samples != w.sent.Accepted {
		return fmt.Errorf("the store has %d samples, %d were accepted", status.Samples, w.sent.Accepted)
	}
	errs := make([]error, w.o.Connections)
	var wait sync.WaitGroup
	for c, s := range w.load.senders {
		wait.Go(func() {
			o := *w.o
			from, to := s.work.tags()
			o.TagSamples = int(s.accepted.Load()) / (to - from)
			read := grpcDoor(conn, varvev1.QueryService_ReadRange_FullMethodName)
			for tag := from; tag < to && errs[c] == nil; tag++ {
				got, err := readBack(ctx, read, &o, tag)
				if err == nil && got != o.TagSamples {
					err = fmt.Errorf("%d samples of tag %d, %d were accepted", got, tag, o.TagSamples)
				}
				errs[c] = err
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
