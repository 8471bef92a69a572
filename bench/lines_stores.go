package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// lineStore is a database that takes lines over HTTP.
type lineStore interface {
	describe() description
	start(ctx context.Context, dir string) error
	base() string // of addresses: http://HOST:PORT
	usage() (usage, error)
	// settle brings a store of so many samples into the form it keeps, fails where it has not as many, and says how many bytes it takes.
	settle(ctx context.Context, samples int) (uint64, error)
	// read shows all samples of a series.
	read(ctx context.Context, series int, each func(at int64, value float64)) error
	// exact is whether doubles are kept bit for bit.
	exact() bool
	stop() error
}

// varveLines is the server of this tree.
type varveLines struct {
	varve
	web  int // its port
	args []string
}

func (v *varveLines) exact() bool  { return true }
func (v *varveLines) base() string { return "http://127.0.0.1:" + strconv.Itoa(v.web) }

func (v *varveLines) describe() description {
	d := v.varve.describe()
	d.Durable, d.Through = "yes: fsync of the log, and reads see it", "lines over HTTP"
	return d
}

func (v *varveLines) start(ctx context.Context, dir string) (err error) {
	if v.web, err = freePort(); err != nil {
		return err
	}
	v.varve.args = append([]string{"--http-listen=127.0.0.1:" + strconv.Itoa(v.web)}, v.args...)
	return v.varve.start(ctx, dir)
}

func (v *varveLines) settle(ctx context.Context, samples int) (uint64, error) {
	v.count = uint64(samples)
	if err := v.varve.settle(ctx); err != nil {
		return 0, err
	}
	return v.stored()
}

func (v *varveLines) read(ctx context.Context, series int, each func(at int64, value float64)) error {
	ask := &varvev1.ReadRangeRequest{Tags: []string{lineTag(series)}, StartNs: proto.Int64(lineStart), EndNs: proto.Int64(math.MaxInt64)}
	return v.varve.read(ctx, ask, func(r arrow.Record) error {
		c, err := rawColumnsOf(r)
		if err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			if q := c.quality.Value(row); q != 0 {
				return fmt.Errorf("a sample of quality %#x, all were sent as good", q)
			}
			each(int64(c.times.Value(row)), c.values.Value(row))
		}
		return nil
	})
}

// victoriaLines is VictoriaMetrics.
type victoriaLines struct{ *victoriaMetrics }

func (v victoriaLines) exact() bool  { return false }
func (v victoriaLines) base() string { return v.web.base }

func (v victoriaLines) describe() description {
	d := v.victoriaMetrics.describe()
	d.Through = "lines over HTTP"
	return d
}

func (v victoriaLines) settle(ctx context.Context, samples int) (uint64, error) {
	if err := v.victoriaMetrics.settle(ctx); err != nil {
		return 0, err
	}
	count := 0.0
	path := query("/api/v1/query", "query", "sum(count_over_time("+lineMetric+"[7d]))", "time", seconds(lineStart/millisecond+6*86_400_000), "nocache", "1")
	bi := &biVictoriaMetrics{victoriaMetrics: v.victoriaMetrics}
	if err := bi.series(ctx, path, func(_ string, _, n float64) { count += n }); err != nil {
		return 0, err
	}
	if count != float64(samples) {
		return 0, fmt.Errorf("the store has %.0f samples, %d were sent", count, samples)
	}
	return v.stored()
}

func (v victoriaLines) read(ctx context.Context, series int, each func(at int64, value float64)) error {
	path := query("/api/v1/export", "match[]", fmt.Sprintf("%s{unit=%q}", lineMetric, lineUnit(series)))
	return v.web.get(ctx, path, func(b []byte) error {
		for line := range strings.Lines(string(b)) {
			var l importLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				return fmt.Errorf("a line of the export: %w", err)
			}
			if l.Metric["area"] != lineArea(series) || len(l.Values) != len(l.Timestamps) {
				return fmt.Errorf("a line of the export is of %v and has %d times and %d values", l.Metric, len(l.Timestamps), len(l.Values))
			}
			for i, at := range l.Timestamps {
				each(at*millisecond, l.Values[i])
			}
		}
		return nil
	})
}

// checkLines holds all samples of some series against what was sent.
func checkLines(ctx context.Context, s lineStore, p *linePlan) error {
	for k := range lineSeriesChecked {
		series := k * (p.series - 1) / (lineSeriesChecked - 1)
		round := 0
		var wrong error
		err := s.read(ctx, series, func(at int64, value float64) {
			sent := float64(lineValue(series, round)) / 1000
			if same := value == sent || !s.exact() && math.Abs(value-sent) <= 1e-12*math.Abs(sent); wrong == nil && (!same || at != lineTime(round)) {
				wrong = fmt.Errorf("round %d is %v at %d, %v at %d was sent", round, value, at, sent, lineTime(round))
			}
			round++
		})
		if err = errors.Join(err, wrong); err == nil && round != p.rounds {
			err = fmt.Errorf("%d samples, %d were sent", round, p.rounds)
		}
		if err != nil {
			return fmt.Errorf("series %s: %w", lineUnit(series), err)
		}
	}
	return nil
}

// lineSeriesChecked is how many series are read back.
const lineSeriesChecked = 50
