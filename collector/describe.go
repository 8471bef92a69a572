package collector

import (
	"github.com/varvedb/varve/model/unit"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Describer is a Sink that takes what a source learns of its addresses while it reads, as a node of Sparkplug tells the units of its metrics in
// its birth. A collector's Sink is one.
type Describer interface {
	// Describe says what stands at addresses, before the first reading of them. Unit and description go into tags that a server does not have
	// yet, where the mapping says nothing of them; the unit only if it is a UCUM code and the mapping does not scale. Tags that are there stay as
	// they are: they may have been corrected.
	Describe(offers []Offer)
}

func (i *inlet) Describe(offers []Offer) {
	if !i.r.over.Load() {
		i.r.feed.describe(offers)
	}
}

func (f *feed) describe(offers []Offer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range offers {
		t := f.tagLocked(o.Address)
		if t == nil || t.refused != "" {
			continue
		}
		if _, err := unit.Parse(o.Unit); err != nil || t.rule.scaled || len(o.Unit) > maxUnitBytes {
			o.Unit = ""
		}
		if len(o.Description) > maxDescriptionBytes {
			o.Description = ""
		}
		f.names.describe(t.name, o.Unit, o.Description)
	}
}

// describe completes the settings with which a tag is made.
func (g *registry) describe(name, unit, description string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x, ok := g.tags[name]
	if !ok || (unit == "" || x.settings.Unit != "") && (description == "" || x.settings.Description != "") {
		return
	}
	s := x.settings
	x.settings = &varvev1.NewTag{ // others may be reading the one before
		Name: s.Name, Type: s.Type, Unit: s.Unit, Description: s.Description, Stepped: s.Stepped, StateSet: s.StateSet,
	}
	if s.Unit == "" {
		x.settings.Unit = unit
	}
	if s.Description == "" {
		x.settings.Description = description
	}
}
