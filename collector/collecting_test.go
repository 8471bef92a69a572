package collector

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// What is read is the tags that are collected, by a number that is the same for the same tags whatever the run, and another where one came.
func TestCollectingIsTheTagsThatAreCollected(t *testing.T) {
	dir := t.TempDir()
	f := makeFeed(t, dir, "")
	require.Empty(t, f.collecting(5, false).Tags)
	require.NoError(t, f.put(background, []Reading{at("b", 7, Float64(1)), at("a", 9, Float64(1))}, false))
	first := f.collecting(50, false)
	require.Equal(t, Collecting{List: first.List, Tags: []string{"plc.a", "plc.b"}, Until: 50}, first)
	require.NotZero(t, first.List)
	require.Equal(t, int64(9), f.collecting(50, true).Until, "a source that goes on where it was has said all up to its newest reading")
	require.NoError(t, f.put(background, []Reading{at("c", 8, Float64(1))}, false))
	second := f.collecting(50, false)
	require.NotEqual(t, first.List, second.List)
	require.Equal(t, []string{"plc.a", "plc.b", "plc.c"}, second.Tags)
	require.Equal(t, []string{"plc.a", "plc.b"}, first.Tags, "what was handed out does not change")
	require.NoError(t, f.close())

	f = makeFeed(t, dir, "")
	require.Equal(t, second, f.collecting(50, false), "it knows its tags, also before a reading")
	require.Empty(t, f.collecting(50, true).Tags, "nothing was read yet")
	require.NoError(t, f.close())
}

func TestListsOfManyTagsDiffer(t *testing.T) {
	seen, sum := map[uint64]bool{}, uint64(0)
	for i := range 10_000 {
		sum += hashName(fmt.Sprint("tag-", i))
		require.False(t, seen[sum|1])
		seen[sum|1] = true
	}
}

// A device that is down and then answers with a wrong clock is not down any more: its readings are set aside.
func TestADeviceThatAnswersWithAWrongClockIsNotDown(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "\n    clock: {ahead: 1s}\n")
	now := f.clock.ns.Load()
	require.NoError(t, f.put(background, []Reading{at("a", now-100, Float64(1))}, false))
	require.NoError(t, f.down(background, nil, varvev1.GapKind_GAP_KIND_DEVICE_DOWN, now-50, "no answer"))
	require.NoError(t, f.put(background, []Reading{at("a", now+3600e9, Float64(2)), at("a", now+3601e9, Float64(2))}, false))
	require.NoError(t, f.put(background, []Reading{at("a", now+20, Float64(3))}, false))
	require.Equal(t, []string{
		fmt.Sprintf("device_down from %d", now-50), fmt.Sprintf("ends %d", now), fmt.Sprintf("quarantined from %d", now), fmt.Sprintf("ends %d", now+20),
	}, f.out.gapsOf("plc.a"))
}
