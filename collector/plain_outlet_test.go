package collector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// plainOutlet keeps what it is given, as a server would: one value for each tag and time.
type plainOutlet struct {
	mu     sync.Mutex
	sent   map[string][]model.Sample // by tag, in the order they came
	late   map[string]int            // of them, how many came as NO_REPLACE
	gaps   []Gap
	full   chan struct{} // not nil: Submit waits for it
	first  chan struct{} // not nil: the next Submit waits for it, and later ones do not
	refuse error
	status OutletStatus
	waits  int // commits waited for
}

func newPlainOutlet() *plainOutlet {
	return &plainOutlet{sent: map[string][]model.Sample{}, late: map[string]int{}}
}

func (o *plainOutlet) Submit(ctx context.Context, runs []*varvev1.Run) (func(context.Context) error, error) {
	o.mu.Lock()
	full := o.full
	if o.first != nil {
		full, o.first = o.first, nil
	}
	o.mu.Unlock()
	if full != nil {
		select {
		case <-full:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse != nil {
		return nil, o.refuse
	}
	for _, r := range runs {
		samples, err := samplesOf(r)
		if err != nil {
			return nil, err
		}
		o.sent[r.Tag] = append(o.sent[r.Tag], samples...)
		if r.Mode == varvev1.WriteMode_WRITE_MODE_NO_REPLACE {
			o.late[r.Tag] += len(samples)
		}
	}
	return func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.waits++
		return nil
	}, nil
}

func (o *plainOutlet) PutGap(_ context.Context, g Gap) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.Tags = slices.Clone(g.Tags)
	o.gaps = append(o.gaps, g)
	return nil
}

func (o *plainOutlet) Status() OutletStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status
}

func (o *plainOutlet) of(tag string) []model.Sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.sent[tag])
}

func (o *plainOutlet) tags() (out []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for t := range o.sent {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

// gapsOf is the gaps of a tag as text: what was said, in order.
func (o *plainOutlet) gapsOf(tag string) (out []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, g := range o.gaps {
		switch {
		case !slices.Contains(g.Tags, tag):
		case g.Ends:
			out = append(out, fmt.Sprintf("ends %d", g.End))
		case g.End > g.Start:
			out = append(out, fmt.Sprintf("%s %d to %d", model.GapKind(g.Kind), g.Start, g.End))
		default:
			out = append(out, fmt.Sprintf("%s from %d", model.GapKind(g.Kind), g.Start))
		}
	}
	return out
}

// samplesOf reads a run as the protocol defines it.
func samplesOf(r *varvev1.Run) (out []model.Sample, err error) {
	times := r.TimesNs
	switch {
	case len(times) > 0:
	case r.Count > 0:
		for i := range int64(r.Count) {
			times = append(times, r.FirstTimeNs+i*r.StepNs)
		}
	default:
		times = []int64{r.FirstTimeNs}
		for _, d := range r.TimeDeltas {
			times = append(times, times[len(times)-1]+d*int64(r.TimeUnitNs))
		}
	}
	columns := 0
	column := func(t model.Type, n int, bits func(int) uint64, text func(int) string) {
		if n == 0 {
			return
		}
		columns++
		for i := range n {
			x := model.Sample{Type: t}
			if bits != nil {
				x.Bits = bits(i)
			} else {
				x.Blob = []byte(text(i))
			}
			out = append(out, x)
		}
	}
	column(model.Float64, len(r.Float64), func(i int) uint64 { return math.Float64bits(r.Float64[i]) }, nil)
	column(model.Float32, len(r.Float32), func(i int) uint64 { return uint64(math.Float32bits(r.Float32[i])) }, nil)
	column(model.Int64, len(r.Int64), func(i int) uint64 { return uint64(r.Int64[i]) }, nil)
	column(model.Uint64, len(r.Uint64), func(i int) uint64 { return r.Uint64[i] }, nil)
	column(model.Bool, len(r.Bool), func(i int) uint64 { return Bool(r.Bool[i]).Bits }, nil)
	column(model.State, len(r.State), func(i int) uint64 { return uint64(r.State[i]) }, nil)
	column(model.String, len(r.Text), nil, func(i int) string { return r.Text[i] })
	column(model.Bytes, len(r.Blob), nil, func(i int) string { return string(r.Blob[i]) })
	if columns != 1 || len(out) != len(times) {
		return nil, fmt.Errorf("run of %s: %d columns, %d values, %d times", r.Tag, columns, len(out), len(times))
	}
	at := 0
	for i, n := range r.QualityCount {
		for range n {
			out[at].Quality = model.Quality(r.QualityCode[i])
			at++
		}
	}
	if at != 0 && at != len(out) {
		return nil, fmt.Errorf("run of %s: qualities of %d of %d samples", r.Tag, at, len(out))
	}
	for _, i := range r.NullAt {
		out[i].Null, out[i].Bits, out[i].Blob = true, 0, nil
	}
	for i := range out {
		out[i].Time = times[i]
	}
	return out, nil
}

type scriptedSettings struct {
	Device string `yaml:"device"`
	Port   uint16 `yaml:"port"`
	Slaves []struct {
		ID uint8 `yaml:"id"`
	} `yaml:"slaves"`
	Every time.Duration `yaml:"every"`
	Pass  Secret        `yaml:"pass"`
}

func (s *scriptedSettings) Check() error {
	for i, x := range s.Slaves {
		if x.ID == 0 {
			return At(At(errors.New("id 0: must be from 1"), "id"), "slaves", i)
		}
	}
	return nil
}

// script hands each run of a scripted source to the test.
type script struct {
	runs chan scriptedRun
}

type scriptedRun struct {
	ctx      context.Context
	out      Sink
	env      Env
	settings *scriptedSettings
	end      chan error
}

func (s *script) kind() Kind {
	return NewKind("scripted", func(e Env, settings *scriptedSettings) (Source, error) {
		if settings.Device == "broken" {
			return nil, At(errors.New("device broken: is none"), "device")
		}
		var errs []error
		for _, a := range e.Addresses {
			if strings.HasPrefix(a, "bad") {
				errs = append(errs, AtAddress(errors.New(a+" is none"), a))
			}
		}
		return &scriptedSource{s, e, settings}, errors.Join(errs...)
	})
}

type scriptedSource struct {
	script   *script
	env      Env
	settings *scriptedSettings
}

func (s *scriptedSource) Run(ctx context.Context, out Sink) error {
	r := scriptedRun{ctx, out, s.env, s.settings, make(chan error)}
	select {
	case s.script.runs <- r:
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-r.end:
		if err != nil && err.Error() == "panic" {
			panic("as the test wants it")
		}
		return err
	case <-ctx.Done():
		return nil
	}
}
