package catalog

import (
	"maps"
	"slices"

	"github.com/varvedb/varve/model"
)

// interner keeps one copy of what many tags have alike: units, retention classes, and settings that were never dated
// anew. A million tags of a plant share a few hundred of them.
//
// It stops taking in new ones at maxInterned, so that what every tag has for itself does not cost twice.
type interner struct {
	texts  map[string]string
	single map[model.Settings][]model.Settings
}

const maxInterned = 65_536

func newInterner() interner {
	return interner{texts: map[string]string{}, single: map[model.Settings][]model.Settings{}}
}

func (in *interner) text(s string) string {
	if s == "" {
		return ""
	}
	if kept, ok := in.texts[s]; ok {
		return kept
	}
	if len(in.texts) < maxInterned {
		in.texts[s] = s
	}
	return s
}

func (in *interner) settings(s []model.Settings) []model.Settings {
	if len(s) != 1 {
		return s
	}
	if kept, ok := in.single[s[0]]; ok {
		return kept
	}
	s = s[:1:1]
	s[0].Unit, s[0].StateSet = in.text(s[0].Unit), in.text(s[0].StateSet)
	if len(in.single) < maxInterned {
		in.single[s[0]] = s
	}
	return s
}

func sortedKeys(m map[string]string) []string {
	return slices.Sorted(maps.Keys(m))
}
