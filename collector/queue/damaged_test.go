package queue

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// mixed puts one scan of what a plant has: some tags each time, one now and then, one whose times go to and fro, and values of yesterday.
func (x *outage) mixed() {
	at := time.Now().UnixNano()
	var runs []*varvev1.Run
	add := func(tag string, mode varvev1.WriteMode, times ...int64) {
		r := &varvev1.Run{Tag: tag, Mode: mode, TimesNs: times}
		for _, t := range times {
			x.n++
			r.Float64 = append(r.Float64, x.n)
			x.put[key{tag, t}] = x.n
		}
		runs = append(runs, r)
	}
	for i := range 3 {
		add(fmt.Sprint("each-", i), 0, at, at+int64(time.Millisecond))
	}
	if x.random.IntN(20) == 0 {
		add("seldom", 0, at)
	}
	if x.random.IntN(4) == 0 {
		add("to and fro", 0, at-x.random.Int64N(int64(time.Hour)))
	}
	if x.random.IntN(10) == 0 {
		day := at - int64(24*time.Hour)
		add("seldom", varvev1.WriteMode_WRITE_MODE_NO_REPLACE, day+x.random.Int64N(int64(time.Hour)), day)
	}
	require.NoError(x.t, x.q.Put(x.t.Context(), runs))
}

// spoil damages some place of the files of a folder, or takes some away, and says how. Cut off is the newest file alone.
func (x *outage) spoil(folder string) string {
	names, err := x.fs.List(folder)
	require.NoError(x.t, err)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	slices.Sort(names)
	name := names[x.random.IntN(len(names))]
	said := ""
	how := x.random.IntN(4)
	switch how {
	case 2:
		name = names[len(names)-1]
	case 3:
		from := x.random.IntN(len(names))
		for _, n := range names[from:min(from+2, len(names))] {
			said += n + " "
			require.NoError(x.t, x.fs.Remove(folder+"/"+n))
		}
		return said + "taken away"
	}
	rewrite(x.t, x.fs, folder+"/"+name, func(b []byte) []byte {
		at := x.random.IntN(len(b))
		said = fmt.Sprintf("%s of %d bytes, at %d: %d", name, len(b), at, how)
		switch how {
		case 0:
			for range 1 + x.random.IntN(3) {
				b[x.random.IntN(len(b))] ^= 1 << x.random.IntN(8)
			}
		case 1:
			clear(b[at:min(len(b), at+x.random.IntN(8<<10))])
		case 2:
			b = b[:at]
		}
		return b
	})
	return said
}

// Samples of records that are damaged, whatever the damage, lie in gaps of their tags, and without damage there are none. A gap of a tag that is read in order begins
// where its samples are missing, so that nobody reads across; of what was not in the damaged records there are none.
func TestDamageIsToldAsGaps(t *testing.T) {
	damaged := 0
	for seed := range seeds(t, 24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ahead atomic.Int64 // of the queue's clock, ns
				x := newOutage(t, uint64(seed), 2, Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
				for _, p := range x.servers {
					p.set(func() { p.breaks = nil })
				}
				x.collect(2, 2) // tag-0 and tag-1 have nothing from here on
				x.drain()
				x.stop()
				x.start() // what comes is a chapter of its own
				x.servers[0].setDown(true)
				scans := 100 + x.random.IntN(600)
				again := x.random.IntN(scans)
				for i := range scans {
					x.mixed()
					time.Sleep(time.Duration(2+x.random.IntN(2000)) * time.Millisecond)
					if i == again {
						x.stop()
						time.Sleep(time.Minute)
						x.start()
					}
					if seed%5 == 4 && x.random.IntN(50) == 0 {
						ahead.Store(x.random.Int64N(int64(time.Hour)))
					}
				}
				time.Sleep(time.Minute) // server-1 has all
				x.stop()
				said := "nothing"
				switch {
				case seed%8 == 7:
					said = "contents: " + x.spoil("queue/contents")
				case seed%8 > 0:
					said = x.spoil("queue/samples")
				}
				x.start()
				for range 40 {
					x.mixed()
					time.Sleep(time.Second)
				}
				x.drain()
				time.Sleep(time.Hour)
				for range 3 { // also what comes now, so that nothing waits for its tag
					x.mixed()
					time.Sleep(time.Minute)
				}
				x.drain()
				x.stop()
				require.Empty(t, x.servers[1].gaps, said)
				missing := x.checkGaps(x.servers[0], said, seed%5 != 4)
				if seed%8 == 0 || seed%8 == 7 {
					require.Zero(t, missing, said)
					require.Empty(t, x.servers[0].gaps, said)
				}
				damaged += missing
			})
		})
	}
	require.Positive(t, damaged)
}

// checkGaps holds what a server was told to what it lacks, and returns how many samples that are. A clock that jumps makes gaps begin too early at a restart.
func (x *outage) checkGaps(p *plainServer, said string, steady bool) (missing int) {
	gaps := gapsAfter(p.calls)
	lost := map[string][]int64{}
	for k := range x.put {
		if _, ok := p.values[k]; !ok {
			missing++
			lost[k.tag] = append(lost[k.tag], k.time)
			require.True(x.t, inGap(gaps[k.tag], varvev1.GapKind_GAP_KIND_LOST, k.time), "%s: %v is lost, gaps are %v", said, k, gaps[k.tag])
		}
	}
	for tag, of := range gaps {
		require.False(x.t, strings.HasPrefix(tag, "tag-"), "%s: %s was not in what is damaged", said, tag)
		for _, g := range of {
			first := int64(math.MaxInt64)
			for _, at := range lost[tag] {
				if at >= g.start && at < g.end {
					first = min(first, at)
				}
			}
			if !strings.HasPrefix(tag, "each-") || !steady {
				continue
			}
			require.NotEqual(x.t, int64(math.MaxInt64), first, "%s: a gap of %s without a loss", said, tag)
			for k := range p.values {
				require.False(x.t, k.tag == tag && k.time >= g.start && k.time < first, "%s: a sample of %s stands in a gap before what is lost", said, tag)
			}
		}
	}
	return missing
}

// Also where a full queue drops or thins out what is damaged.
func TestDamageInAFullQueue(t *testing.T) {
	for seed := range seeds(t, 4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, uint64(seed), 1, Options{MaxBytes: 1 << 20, Full: []Policy{DropOldest, Thin}[seed%2]})
				p := x.servers[0]
				p.setDown(true)
				scan := func(n int) {
					for range n {
						x.mixed()
						x.collect(1, 1000)
						time.Sleep(time.Second)
					}
				}
				scan(80)
				x.stop()
				said := x.spoil("queue/samples")
				x.start()
				scan(160)
				x.drain()
				x.mixed()
				time.Sleep(time.Hour)
				x.stop()
				require.Positive(t, x.q.Status().Destinations[0].Dropped)
				missing := 0
				for k := range x.put {
					if _, ok := p.values[k]; !ok {
						missing++
						require.True(t, p.covered(k), "%s: %v is lost", said, k)
					}
				}
				require.Positive(t, missing)
			})
		})
	}
}

// What was said of the contents of a queue costs little beside them.
func TestContentsAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{})
		x.servers[0].setDown(true)
		for range 600 {
			x.collect(50, 1)
			time.Sleep(time.Second)
		}
		require.Less(t, x.q.holds.log.Bytes(), x.q.samples.Bytes()/8)
		x.drain()
		for range 120 {
			x.collect(50, 1)
			time.Sleep(time.Second)
		}
		require.Less(t, x.q.holds.log.Bytes(), uint64(100<<10), "of what was sent nothing is kept")
		x.stop()
	})
}

// A queue of a release that said nothing of its contents, or whose contents are gone: what the other records have is told.
func TestDamageWithoutContents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 3, 1, Options{})
		p := x.servers[0]
		p.setDown(true)
		for range 200 {
			x.mixed()
			time.Sleep(time.Second)
		}
		x.stop()
		names, err := x.fs.List("queue/contents")
		require.NoError(t, err)
		for _, n := range names {
			require.NoError(t, x.fs.Remove("queue/contents/"+n))
		}
		names, err = x.fs.List("queue/samples")
		require.NoError(t, err)
		slices.Sort(names)
		i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".log") })
		rewrite(t, x.fs, "queue/samples/"+names[i], func(b []byte) []byte { clear(b[len(b)/2:][:4<<10]); return b })
		x.start()
		x.mixed()
		x.drain()
		time.Sleep(time.Hour)
		x.stop()
		gaps, missing := gapsAfter(p.calls), 0
		for k := range x.put {
			if _, ok := p.values[k]; !ok {
				missing++
				require.True(t, inGap(gaps[k.tag], varvev1.GapKind_GAP_KIND_LOST, k.time), "%v", k)
			}
		}
		require.Positive(t, missing)
	})
}

func someChapter() *chapter {
	return &chapter{follows: true, ordered: true, from: 5, until: 100, of: map[tagKey]held{
		{"b", true}:  {least: -300, most: -2, typ: varvev1.Type_TYPE_BOOL},
		{"a", false}: {least: -3, most: 2, ordered: true, typ: varvev1.Type_TYPE_FLOAT64},
	}}
}

// A record of contents as version 1 has it.
func TestContentsAreThoseOfTheirVersion(t *testing.T) {
	c := someChapter()
	b := c.encode(true, 7, 9)
	require.Equal(t, []byte{1, 7, 7, 9, 10, 0xc8, 1, 2, byte(varvev1.Type_TYPE_FLOAT64)<<2 | 2, 1, 'a', 5, 4, byte(varvev1.Type_TYPE_BOOL)<<2 | 1, 1, 'b', 0xd7, 4, 3}, b)
	d, err := decodeSaid(b)
	require.NoError(t, err)
	require.Equal(t, &said{chapter: *c, begins: true, first: 7, before: 9}, d)
	for i := range b {
		_, err := decodeSaid(b[:i])
		require.Error(t, err, "%d bytes", i)
	}
	b[0]++
	_, err = decodeSaid(b)
	require.ErrorContains(t, err, "version 2")
}

func FuzzContents(f *testing.F) {
	f.Add(someChapter().encode(true, 7, 9))
	f.Add(someChapter().encode(false, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeSaid(b)
		if err != nil {
			return
		}
		again, err := decodeSaid(d.encode(d.begins, d.first, d.before))
		require.NoError(t, err)
		require.Equal(t, d, again)
	})
}
