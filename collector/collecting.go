package collector

import (
	"math"
	"slices"
)

// Collecting is what sources read now. Servers are told of it, so that a tag that does not change is told from one that nobody reads.
func (k *Collector) Collecting() (out []Collecting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, r := range k.mu.running {
		until, alive := k.mu.alive[name]
		if !alive { // it is at its end
			continue
		}
		if x := r.feed.collecting(until, r.entry.kind.Resumes); len(x.Tags) > 0 {
			x.Source = k.mu.config.Collector + "." + name
			out = append(out, x)
		}
	}
	return out
}

// collecting is the tags that are collected. A source that goes on where it was has said all up to its newest reading, however late it is now; others until they
// were read last.
func (f *feed) collecting(until int64, resumes bool) Collecting {
	f.mu.Lock()
	defer f.mu.Unlock()
	if resumes {
		until = min(until, f.mu.newest)
	}
	if until == math.MinInt64 {
		return Collecting{}
	}
	list, n := uint64(0), 0
	for _, t := range f.mu.tags {
		if t.refused == "" {
			list, n = list+hashName(t.name), n+1
		}
	}
	if list |= 1; list != f.mu.list || n != len(f.mu.listed) {
		f.mu.list, f.mu.listed = list, make([]string, 0, n)
		for _, t := range f.mu.tags {
			if t.refused == "" {
				f.mu.listed = append(f.mu.listed, t.name)
			}
		}
		slices.Sort(f.mu.listed)
	}
	return Collecting{List: list, Tags: f.mu.listed, Until: until}
}

// hashName is 64 bits of a name, FNV-1a, the same in every run: their sum names a set of names, in any order.
func hashName(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}
