package queue

import (
	"context"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// week is the samples of many tags in a regular week: which of them came, a bit each.
type week struct {
	start time.Time
	every time.Duration
	came  [][]uint64 // of each tag
	twice int
	wrong int
}

func newWeek(tags, scans int, every time.Duration) *week {
	w := &week{start: time.Now(), every: every, came: make([][]uint64, tags)}
	for i := range w.came {
		w.came[i] = make([]uint64, (scans+63)/64)
	}
	return w
}

func (w *week) take(r *varvev1.Run) {
	tag, err := strconv.Atoi(strings.TrimPrefix(r.Tag, "tag-"))
	i := int((r.FirstTimeNs - w.start.UnixNano()) / int64(w.every))
	if err != nil || r.Count != 1 || r.Float64[0] != float64(i)+float64(tag)/1e4 {
		w.wrong++
		return
	}
	if w.came[tag][i/64]>>(i%64)&1 == 1 {
		w.twice++
	}
	w.came[tag][i/64] |= 1 << (i % 64)
}

func (w *week) count() (n int) {
	for _, c := range w.came {
		for _, b := range c {
			n += bits.OnesCount64(b)
		}
	}
	return n
}

// A week of 2,000 tags, 60 million samples, with twenty restarts of either side.
func TestAWeekOfManyTags(t *testing.T) {
	tags, scans := 20, 3024
	if os.Getenv("VARVE_STRESS") != "" {
		tags, scans = 2000, 30240
	}
	every := 7 * 24 * time.Hour / time.Duration(scans)
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{MaxBytes: 8 << 30})
		p := x.servers[0]
		p.week = newWeek(tags, scans, every)
		for i := range scans {
			at := p.week.start.Add(time.Duration(i) * every)
			time.Sleep(time.Until(at))
			runs := make([]*varvev1.Run, tags)
			for tag := range runs {
				runs[tag] = &varvev1.Run{Tag: fmt.Sprint("tag-", tag), FirstTimeNs: at.UnixNano(), Count: 1, Float64: []float64{float64(i) + float64(tag)/1e4}}
			}
			require.NoError(t, x.q.Put(context.Background(), runs))
			if i%(scans/20) == scans/40 {
				x.crash()
			}
			switch i % (scans / 20) {
			case scans / 60:
				p.setDown(true)
			case scans / 30:
				p.setDown(false)
			}
		}
		x.drain()
		require.Zero(t, p.week.wrong)
		require.Zero(t, p.week.twice)
		require.Equal(t, tags*scans, p.week.count())
		x.stop()
	})
}
