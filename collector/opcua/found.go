package opcua

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/varvedb/varve/collector"
)

// What patterns of tags are for is found by looking through the server, when it is connected to and every while from then on. It is kept on disk, so that after a restart it is read, its
// history too, before the server was looked through; and a variable that is gone stays, without a value, until the patterns want it no more.

const (
	foundFile = "found.json"
	mostFound = 200_000 // addresses
)

var errEnough = errors.New("enough was found")

// recall takes up what was found before and is still wanted.
func (r *run) recall() {
	r.points = r.points[:r.named]
	if r.patterns.None() {
		return
	}
	b, err := os.ReadFile(filepath.Join(r.env.Dir, foundFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var addresses []string
	if err == nil {
		err = json.Unmarshal(b, &addresses)
	}
	if err != nil {
		r.env.Logger.Warn("what was found in the server before cannot be read; it is found anew", "error", err)
		return
	}
	r.points = append(r.points, r.fresh(r.place.Namespaces, addresses[:min(len(addresses), mostFound)])...)
}

// point is an address that a pattern is for and no tag names.
func (x *source) point(address string) (*point, bool) {
	if !x.patterns.Want(address) || slices.Contains(x.env.Addresses, address) {
		return nil, false
	}
	p, err := parseAddress(address)
	p.sampling = x.samplings.sampling(address)
	return &p, err == nil
}

// wanted collects offers that patterns are for.
func (x *source) wanted(out *[]collector.Offer) func(collector.Offer) error {
	return func(o collector.Offer) error {
		if !x.patterns.Want(o.Address) {
			return nil
		}
		if len(*out) >= mostFound {
			return errEnough
		}
		*out = append(*out, o)
		return nil
	}
}

// look looks through the server every while for what patterns are for, and hands it to publish, which watches.
func (r *run) look(ctx context.Context, c *conn) error {
	if r.patterns.None() {
		return nil
	}
	for {
		var offers []collector.Offer
		err := walkFrom(ctx, c, "", r.place.Namespaces, r.wanted(&offers))
		if errors.Is(err, errEnough) {
			r.env.Logger.Error("patterns are for more variables than one source reads; the others are left out", "most", mostFound)
			err = nil
		}
		if err != nil && ctx.Err() == nil {
			r.env.Logger.Warn("the server cannot be looked through; it is tried again", "error", err, "retry_in", r.s.Browse)
		}
		if err == nil {
			select {
			case r.offered <- offers:
			case <-ctx.Done():
				return nil
			}
		}
		if !wait(ctx, r.s.Browse) {
			return nil
		}
	}
}

func addressesOf(offers []collector.Offer) []string {
	out := make([]string, len(offers))
	for i, o := range offers {
		out[i] = o.Address
	}
	return out
}

// fresh is points of those addresses that patterns are for and that are not read yet, by whatever name of their namespace.
func (r *run) fresh(namespaces, addresses []string) (out []*point) {
	read := map[string]bool{}
	key := func(n *node, element []uint32) string {
		id, err := n.id(namespaces, r.place.Namespaces)
		if err != nil { // the server does not have the namespace, or it is not known yet
			return fmt.Sprint(*n, element)
		}
		return fmt.Sprint(id, element)
	}
	for _, p := range r.points {
		read[key(&p.node, p.element)] = true
		if p.whole != nil {
			read[key(p.whole, nil)] = true
		}
	}
	for _, a := range addresses {
		if p, ok := r.point(a); ok && !read[key(&p.node, p.element)] {
			read[key(&p.node, p.element)] = true
			out = append(out, p)
		}
	}
	return out
}

// watchFound has the server watch what was found and is not read yet.
func (r *run) watchFound(ctx context.Context, c *conn, offers []collector.Offer) error {
	points := r.fresh(c.namespaces, addressesOf(offers))
	if len(points) == 0 {
		return nil
	}
	r.env.Logger.Info("variables were found that patterns are for", "variables", len(points))
	if d, ok := r.out.(collector.Describer); ok {
		d.Describe(offers)
	}
	r.points = append(r.points, points...)
	var addresses []string
	for _, p := range r.points[r.named:] {
		addresses = append(addresses, p.address)
	}
	b, err := json.Marshal(addresses)
	if err == nil {
		err = collector.WriteFile(filepath.Join(r.env.Dir, foundFile), b)
	}
	if err != nil {
		r.env.Logger.Warn("what was found cannot be kept", "error", err)
	}
	return r.watchNodes(ctx, c, points, 0)
}
