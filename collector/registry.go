package collector

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// registry knows every tag the collector writes: by which address of which source, and with which settings a server makes it.
type registry struct {
	mu   sync.Mutex
	tags map[string]*registered

	exceptions map[string]filter.Settings // that the server has, by tag
	taken      atomic.Uint64              // how often they changed
	written    uint64                     // taken as it is on disk
}

type registered struct {
	source, address string
	settings        *varvev1.NewTag // type UNSPECIFIED until it is known
}

func newRegistry() *registry {
	return &registry{tags: map[string]*registered{}, exceptions: map[string]filter.Settings{}}
}

// claim gives a tag to an address. Two addresses of one tag would be two truths in one history.
func (g *registry) claim(name, source, address string, r *rule) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if other, ok := g.tags[name]; ok && (other.source != source || other.address != address) {
		return fmt.Errorf("tag %s is that of address %.80q of source %s already", name, other.address, other.source)
	}
	g.tags[name] = &registered{source, address, &varvev1.NewTag{
		Name: name, Type: varvev1.Type(r.typ), Unit: r.Unit, Description: r.Description, Stepped: r.Stepped, StateSet: r.StateSet,
	}}
	return nil
}

func (g *registry) release(name, source, address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x, ok := g.tags[name]; ok && x.source == source && x.address == address {
		delete(g.tags, name)
	}
}

// settle says which type a tag has.
func (g *registry) settle(name string, t model.Type) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x, ok := g.tags[name]; ok {
		s := x.settings
		x.settings = &varvev1.NewTag{ // others may be reading the one before
			Name: s.Name, Type: varvev1.Type(t), Unit: s.Unit, Description: s.Description, Stepped: s.Stepped, StateSet: s.StateSet,
		}
	}
}

// own claims a tag of the collector itself.
func (g *registry) own(t *varvev1.NewTag) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tags[t.Name] = &registered{source: "the collector itself", settings: t}
}

// newTag is the settings of a tag, nil where they are not known.
func (g *registry) newTag(name string) *varvev1.NewTag {
	g.mu.Lock()
	defer g.mu.Unlock()
	x, ok := g.tags[name]
	if !ok || x.settings.Type == varvev1.Type_TYPE_UNSPECIFIED {
		return nil
	}
	return x.settings
}
