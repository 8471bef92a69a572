package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func small(workload string, late int) *options {
	o := &options{Workload: workload, Tags: 7, Hours: 1, Days: 1, Connections: 2, Mode: "update", LatePercent: late, BatchSamples: 20_000, InFlight: 1, Seed: 1, Repeat: 1, Output: "table"}
	if workload == "w2" {
		o.RunSamples = 900
	}
	return o
}

// drain collects what a connection sends, by tag, and how many runs stand before one of an earlier time.
func drain(t *testing.T, o *options) (times map[int][]int64, values map[int][]float64, lateRuns, runs int) {
	t.Helper()
	require.NoError(t, o.validate())
	times, values = map[int][]int64{}, map[int][]float64{}
	for _, w := range newWorkloads(o) {
		newest := int64(0)
		from, to := w.tags()
		for {
			tag, ts, vs, ok := w.next()
			if !ok {
				break
			}
			require.True(t, tag >= from && tag < to)
			require.Len(t, ts, o.RunSamples)
			times[tag], values[tag] = append(times[tag], ts...), append(values[tag], vs...)
			if ts[0] < newest-300*second {
				lateRuns++
			}
			newest = max(newest, ts[0])
			runs++
		}
	}
	return times, values, lateRuns, runs
}

func TestWorkloadsSendEverySampleOnceInTimeOrder(t *testing.T) {
	for _, workload := range []string{"w1", "w2"} {
		o := small(workload, 0)
		times, values, late, _ := drain(t, o)
		require.Len(t, times, o.Tags)
		require.Zero(t, late)
		for tag := range o.Tags {
			wantTimes, wantValues := makeTag(o, tag, o.samplesPerTag())
			require.True(t, slices.Equal(wantTimes, times[tag]), "times of %s, tag %d", workload, tag)
			require.True(t, slices.Equal(wantValues, values[tag]), "values of %s, tag %d", workload, tag)
		}
	}
}

func TestLateRunsAreSentOnceAndLate(t *testing.T) {
	o := small("w1", 10)
	o.Tags = 50
	times, _, late, runs := drain(t, o)
	for tag := range o.Tags {
		want, _ := makeTag(o, tag, o.samplesPerTag())
		slices.Sort(times[tag])
		require.True(t, slices.Equal(want, times[tag]), "tag %d", tag)
	}
	require.InDelta(t, 0.10, float64(late)/float64(runs), 0.02)
}

func TestShuffledSlicesAreSentOnce(t *testing.T) {
	o := small("w1", 0)
	o.Step, o.RunSamples, o.Shuffled = 10, 1, true
	times, values, _, runs := drain(t, o)
	require.Equal(t, o.samples(), runs)
	for tag := range o.Tags {
		wantTimes, wantValues := makeTag(o, tag, o.samplesPerTag())
		require.Len(t, wantTimes, 360)
		require.False(t, slices.IsSorted(times[tag]))
		at := map[int64]float64{}
		for i, x := range times[tag] {
			at[x] = values[tag][i]
		}
		for i, x := range wantTimes {
			require.Equal(t, wantValues[i], at[x], "tag %d", tag)
		}
	}
}

func TestOptionsSayWhatIsWrong(t *testing.T) {
	for want, spoil := range map[string]func(*options){
		"--workload":    func(o *options) { o.Workload = "w3" },
		"--output":      func(o *options) { o.Output = "xml" },
		"--mode":        func(o *options) { o.Mode = "append" },
		"--connections": func(o *options) { o.Connections = 8 },
		"--late":        func(o *options) { o.LatePercent = 101 },
		"--shuffled":    func(o *options) { o.Shuffled, o.Kill = true, true },
		"--step":        func(o *options) { o.Step = -1 },
		"--run-samples": func(o *options) { o.RunSamples = 7 },
	} {
		o := small("w1", 0)
		spoil(o)
		require.ErrorContains(t, o.validate(), want)
	}
}

func TestPercentiles(t *testing.T) {
	var all []float64
	for i := range 101 {
		all = append(all, float64(100-i))
	}
	require.Equal(t, percentiles{50, 95, 99, 100}, percentilesOf(all))
	require.Zero(t, percentilesOf(nil))
}

func TestUsageOfThisProcess(t *testing.T) {
	cpu, err := cpuSeconds("self")
	if err != nil {
		t.Skip("figures come from /proc, which this machine does not have: ", err)
	}
	require.GreaterOrEqual(t, cpu, 0.0)
	fields, err := procFields("/proc/self/status")
	require.NoError(t, err)
	require.Greater(t, fields["VmHWM"], uint64(1000))
}
