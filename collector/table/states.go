package table

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// StateCodes are the codes of state sets: of each the versions that the server has, ascending.
type StateCodes map[string][]StateVersion

// StateVersion is one version of a set: text to code, in force from an instant on.
type StateVersion struct {
	From  int64
	Codes map[string]int64
}

// code is what a text stood for at an instant: in the highest version that had begun by then, or else in the first.
func (s StateCodes) code(set string, at int64, text []byte) (int64, bool) {
	for i, v := range slices.Backward(s[set]) {
		if v.From <= at || i == 0 {
			code, ok := v.Codes[string(text)]
			return code, ok
		}
	}
	return 0, false
}

// write writes the sets as part of an identity. A set of one version is written as it was before versions counted.
func (s StateCodes) write(w io.Writer) {
	for _, set := range slices.Sorted(maps.Keys(s)) {
		for i, v := range s[set] {
			codes, _ := json.Marshal(v.Codes)
			if i > 0 {
				fmt.Fprintf(w, "from %d ", v.From)
			}
			fmt.Fprintf(w, "%q %s\n", set, codes)
		}
	}
}

// stateSetAt is the set of a tag at an instant.
func (t *Tag) stateSetAt(at int64) string {
	for i, s := range slices.Backward(t.settings) {
		if s.FromNs <= at || i == 0 {
			return s.StateSet
		}
	}
	return t.StateSet
}

// fetchStates fetches all versions of a set, unless they are there.
func (im *importer) fetchStates(ctx context.Context, set string) error {
	if _, known := im.states[set]; known || set == "" {
		return nil
	}
	newest, err := im.server.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: set})
	if err != nil {
		return fmt.Errorf("look up state set %s: %w", set, err)
	}
	versions := make([]StateVersion, 0, newest.Version)
	for v := uint32(1); v < newest.Version; v++ {
		has, err := im.server.Catalog.GetStateSet(ctx, &varvev1.GetStateSetRequest{Name: set, Version: v})
		if err != nil {
			return fmt.Errorf("look up version %d of state set %s: %w", v, set, err)
		}
		versions = append(versions, versionOf(has))
	}
	im.states[set] = append(versions, versionOf(newest))
	return nil
}

func versionOf(set *varvev1.StateSet) StateVersion {
	v := StateVersion{From: set.FromNs, Codes: make(map[string]int64, len(set.States))}
	for _, s := range set.States {
		v.Codes[s.Text] = s.Code
	}
	return v
}
