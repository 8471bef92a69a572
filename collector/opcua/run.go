package opcua

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
	retryRefused = time.Minute // nodes that the server did not have may come
	mostPerBatch = 5000        // notifications in one publish response, so that it stays below the 2 MB that are the least a client takes
	placeMargin  = time.Minute // what a place on disk may be ahead of what the queue has on disk
	mostRepublic = 10_000      // messages that are asked for again one by one
)

// sinkError is an error of the sink: nothing more can be stored.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// errSubscription is returned where the server has the subscription no more.
var errSubscription = errors.New("the server has ended the subscription")

// item is one variable that the server watches, and what reads it.
type item struct {
	id       *ua.NodeID
	sampling Sampling
	readers  []reader
	held     int64 // the first value is also stored at the server's time if its own lies before this instant; 0 for never
	last     int64 // time of the newest value; 0 before the first
}

// reader is an address of an item; element is nil for the node as it is.
type reader struct {
	address string
	element []uint32
	point   *point
}

func (i *item) addresses() []string {
	out := make([]string, len(i.readers))
	for k, p := range i.readers {
		out[k] = p.address
	}
	return out
}

// run is one Run of a source, over all its connections.
type run struct {
	*source
	out collector.Sink

	place    place
	session  *opcua.Session
	url      string // of the session
	sub      uint32 // 0 for none
	next     uint32 // sequence number of the message that is expected
	lostFrom int64  // since when messages before the next are lost; 0 for none
	patience time.Duration
	items    []*item         // by client handle - 1
	elements map[*point]bool // points that turned out to be elements, where their names could have been nodes
	names    []string        // namespaces of the connection before
	refused  []*point
	retried  time.Time
	acks     []*ua.SubscriptionAcknowledgement
	downAt   int64 // by the server's clock; 0 while nothing is down
	heard    atomic.Int64
	missing  missing
	batch    []collector.Reading
	offered  chan []collector.Offer // by look, for publish
	untimed  bool                   // it was said that values have no times of their source
}

// place is what is kept on disk: since when values are missing, and what the numbers of namespaces meant first.
type place struct {
	Heard      int64    `json:"heard"`
	Namespaces []string `json:"namespaces"`
}

func (x *source) placeFile() string { return filepath.Join(x.env.Dir, "place.json") }

func (x *source) readPlace() (p place) {
	b, err := os.ReadFile(x.placeFile())
	if err == nil && json.Unmarshal(b, &p) != nil {
		x.env.Logger.Warn("the place cannot be read; what was missed while the collector was off is not asked for", "file", x.placeFile())
	}
	return p
}

func (r *run) writePlace() {
	p := r.place
	p.Heard = min(r.heard.Load(), r.missing.oldest()) // what is still to be read from the history is missing after a restart too
	b, err := json.Marshal(p)
	if err == nil {
		err = collector.WriteFile(r.placeFile(), b)
	}
	if err != nil {
		r.env.Logger.Warn("the place cannot be kept", "error", err)
	}
}

// Run is part of collector.Source.
func (x *source) Run(ctx context.Context, out collector.Sink) error {
	if x.named == 0 && x.patterns.None() {
		return errors.New("a source of type opcua reads the addresses that its tags name, or their patterns fit, and they have none")
	}
	r := &run{source: x, out: out, place: x.readPlace(), elements: map[*point]bool{}, offered: make(chan []collector.Offer, 1)}
	r.recall()
	r.missing.wake = make(chan struct{}, 1)
	if r.place.Heard > 0 {
		r.heard.Store(r.place.Heard - int64(placeMargin))
	}
	began := false
	pause := firstPause
	for ctx.Err() == nil {
		c, err := r.connect(ctx)
		if err == nil {
			began, pause = true, firstPause
			err = r.serve(ctx, c)
		}
		if fatal := (sinkError{}); errors.As(err, &fatal) {
			return fatal.error
		}
		if ctx.Err() != nil {
			break
		}
		r.env.Logger.Warn("the server is lost", "error", err)
		if !began { // the collector pauses, and opens the source anew
			if err := out.Down(ctx, nil, x.env.Now().UnixNano(), err.Error()); err != nil {
				return err
			}
			return err
		}
		out.Count(collector.Reconnects, 1)
		if c == nil { // the first attempt is made at once: a session that is taken over within moments leaves no gap
			if err := r.down(ctx, err); err != nil {
				return err
			}
			if !wait(ctx, pause) {
				break
			}
			pause = min(2*pause, longestPause)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// down says once that the server does not answer, from when it was last heard.
func (r *run) down(ctx context.Context, why error) error {
	if r.downAt != 0 {
		return nil
	}
	if r.downAt = r.heard.Load(); r.downAt == 0 {
		r.downAt = r.env.Now().UnixNano()
	}
	return r.out.Down(ctx, nil, r.downAt, why.Error())
}

// connect connects to the server that is best, and makes or takes over the subscription.
func (r *run) connect(ctx context.Context) (*conn, error) {
	c, resumed, err := r.reach(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.attach(ctx, c, resumed); err != nil {
		c.close()
		r.session, r.sub = nil, 0
		return nil, err
	}
	return c, nil
}

// reach connects to the server of the session, if it is still the one to be read, else to the one with the highest service level.
func (r *run) reach(ctx context.Context) (*conn, bool, error) {
	var errs []error
	if r.session != nil {
		c, resumed, err := r.dial(ctx, r.url, r.session)
		if err == nil && (c.status.level >= healthy || len(r.s.URLs) == 1) {
			return c, resumed, nil
		}
		if errs = append(errs, err); err == nil {
			c.close()
			r.session, r.sub = nil, 0
		} else if len(r.s.URLs) == 1 {
			return nil, false, err
		}
	}
	var best *conn
	for _, url := range r.s.URLs {
		c, _, err := r.dial(ctx, url, nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if best != nil && best.status.level >= c.status.level {
			c.close()
			continue
		}
		if best != nil {
			best.close()
		}
		if best = c; c.status.level >= healthy {
			break
		}
	}
	if best == nil {
		return nil, false, errors.Join(errs...)
	}
	return best, false, nil
}

// attach takes over the subscription, or makes one.
func (r *run) attach(ctx context.Context, c *conn, resumed bool) error {
	moved := r.place.Namespaces != nil && r.url == c.url && len(r.items) > 0 && !slices.Equal(r.names, c.namespaces)
	if r.place.Namespaces == nil && len(c.namespaces) > 0 {
		r.place.Namespaces = c.namespaces
	}
	known := r.sub != 0 && r.url == c.url && !moved
	if known && !resumed {
		known = r.transfer(ctx, c)
	}
	r.session, r.url = c.client.Session(), c.url
	r.names = c.namespaces
	if known {
		err := r.republish(ctx, c, 0)
		if errors.Is(err, ua.StatusBadSubscriptionIDInvalid) && resumed && r.transfer(ctx, c) { // the session lost it
			err = r.republish(ctx, c, 0)
		}
		if err == nil {
			return r.resume(ctx, c)
		}
		if fatal := (sinkError{}); errors.As(err, &fatal) {
			return err
		}
	}
	if r.heard.Load() != 0 && r.sub != 0 {
		if err := r.down(ctx, errors.New("the subscription was lost")); err != nil {
			return sinkError{err}
		}
	}
	return r.subscribe(ctx, c)
}

// transfer has the subscription of a session that is gone moved to the new one.
func (r *run) transfer(ctx context.Context, c *conn) bool {
	res, err := ask[*ua.TransferSubscriptionsResponse](ctx, c, &ua.TransferSubscriptionsRequest{SubscriptionIDs: []uint32{r.sub}})
	return err == nil && len(res.Results) == 1 && res.Results[0] != nil && res.Results[0].StatusCode == ua.StatusOK
}

// republish has the server send again what was sent and not received: up to the message before upto, or all that it has where upto is 0.
func (r *run) republish(ctx context.Context, c *conn, upto uint32) error {
	for range mostRepublic {
		if upto != 0 && r.next == upto {
			return nil
		}
		res, err := ask[*ua.RepublishResponse](ctx, c, &ua.RepublishRequest{SubscriptionID: r.sub, RetransmitSequenceNumber: r.next})
		if errors.Is(err, ua.StatusBadMessageNotAvailable) {
			if upto == 0 {
				return nil
			}
			r.skip(after(r.next)) // those behind it may be there
			continue
		}
		if err != nil {
			return err
		}
		if res.NotificationMessage == nil || res.NotificationMessage.SequenceNumber != r.next {
			return fmt.Errorf("the server sent another message than %d again", r.next)
		}
		if err := r.take(ctx, res.NotificationMessage); err != nil {
			return err
		}
	}
	return nil
}

// resume ends the gap of an outage that the subscription outlived: what changed meanwhile came, or will. What did not change is said at the server's time.
func (r *run) resume(ctx context.Context, c *conn) error {
	if r.downAt == 0 {
		return nil
	}
	at := r.downAt
	r.downAt = 0
	if err := r.out.Up(ctx, nil, at+1); err != nil {
		return sinkError{err}
	}
	var ids []*ua.NodeID
	for _, i := range r.items {
		ids = append(ids, i.id)
	}
	values, err := c.read(ctx, ua.AttributeIDValue, ids...)
	if err != nil {
		return err
	}
	for k, i := range r.items {
		i.held = at
		if d := values[k]; d != nil {
			if t, ok := instant(d.SourceTimestamp, d.SourcePicoseconds); ok && t <= at {
				r.hold(i, d, c.status.now)
			}
		}
		i.held = 0
	}
	return r.put(ctx)
}

// subscribe makes a subscription with all its items.
func (r *run) subscribe(ctx context.Context, c *conn) error {
	s := &r.s
	res, err := ask[*ua.CreateSubscriptionResponse](ctx, c, &ua.CreateSubscriptionRequest{
		RequestedPublishingInterval: float64(s.Publishing) / float64(time.Millisecond), RequestedMaxKeepAliveCount: uint32(max(s.KeepAlive/s.Publishing, 1)),
		RequestedLifetimeCount: uint32(max(s.Lifetime/s.Publishing, 3)), MaxNotificationsPerPublish: mostPerBatch, PublishingEnabled: true,
	})
	if err != nil {
		return fmt.Errorf("make a subscription: %w", err)
	}
	r.sub, r.next, r.lostFrom, r.items, r.refused, r.acks = res.SubscriptionID, 1, 0, nil, nil, nil
	keep := time.Duration(res.RevisedPublishingInterval * float64(time.Millisecond) * float64(res.RevisedMaxKeepAliveCount))
	r.patience = min(max(2*keep, 0)+s.Timeout, longestAnswer(&r.s))
	from := r.heard.Load()
	held := r.downAt
	if held == 0 && c.status.now != 0 {
		held = c.status.now - 2*int64(s.Publishing)
	}
	if err := r.watchNodes(ctx, c, r.points, held); err != nil {
		return err
	}
	r.downAt = 0   // the first value of each tag ends its gap
	if from == 0 { // what was before nobody was to have
		r.heard.Store(cmp.Or(c.status.now, r.env.Now().UnixNano()))
	}
	if from == 0 || s.History != nil && !*s.History {
		return nil
	}
	now, err := c.readStatus(ctx)
	if err != nil {
		return err
	}
	slack := int64(s.Publishing)
	for _, i := range r.items {
		slack = max(slack, int64(s.Publishing+i.sampling.Every))
	}
	for _, i := range r.items {
		r.missing.add(i, window{from: from - slack, to: now.now})
	}
	return nil
}

// watchNodes has the server watch the nodes of points. What it does not have gets a Bad reading, and is tried again later.
func (r *run) watchNodes(ctx context.Context, c *conn, points []*point, held int64) error {
	byKey := map[string]*item{}
	var made []*item
	first := len(r.items)
	for _, p := range points {
		id, element, err := r.target(c, p)
		if err != nil {
			r.refuse(p, ua.StatusBadNodeIDUnknown, c.status.now)
			continue
		}
		key := fmt.Sprint(id, p.sampling)
		if byKey[key] == nil {
			byKey[key] = &item{id: id, sampling: p.sampling, held: held}
			made = append(made, byKey[key])
		}
		byKey[key].readers = append(byKey[key].readers, reader{p.address, element, p})
	}
	r.items = append(r.items, made...)
	var again []*point
	handle := uint32(first)
	for part := range slices.Chunk(made, c.limits.items) {
		req := &ua.CreateMonitoredItemsRequest{SubscriptionID: r.sub, TimestampsToReturn: ua.TimestampsToReturnBoth}
		for _, i := range part {
			handle++
			req.ItemsToCreate = append(req.ItemsToCreate, &ua.MonitoredItemCreateRequest{
				ItemToMonitor:  &ua.ReadValueID{NodeID: i.id, AttributeID: ua.AttributeIDValue, DataEncoding: &ua.QualifiedName{}},
				MonitoringMode: ua.MonitoringModeReporting,
				RequestedParameters: &ua.MonitoringParameters{
					ClientHandle: handle, SamplingInterval: i.sampling.interval(), QueueSize: i.sampling.Queue,
					DiscardOldest: true, Filter: i.sampling.filter(),
				},
			})
		}
		res, err := ask[*ua.CreateMonitoredItemsResponse](ctx, c, req)
		if err != nil {
			return fmt.Errorf("watch %d nodes: %w", len(part), err)
		}
		if len(res.Results) != len(part) {
			return fmt.Errorf("watch %d nodes: %d results came", len(part), len(res.Results))
		}
		for k, result := range res.Results {
			if result.StatusCode>>30 < 2 {
				continue
			}
			for _, x := range part[k].readers {
				if r.undamped(x.point, result.StatusCode) || r.element(x.point, result.StatusCode) {
					again = append(again, x.point)
				} else {
					r.refuse(x.point, result.StatusCode, c.status.now)
				}
			}
			part[k].readers = nil
		}
	}
	r.retried = r.env.Now()
	if len(again) > 0 {
		return r.watchNodes(ctx, c, again, held)
	}
	return r.put(ctx)
}

// target is the node that a point reads, and the element of it. A name that ends as an element does is taken as it stands, until the server says that it has no such node.
func (r *run) target(c *conn, p *point) (id *ua.NodeID, element []uint32, err error) {
	n, element := p.node, p.element
	if p.whole != nil && !r.elements[p] {
		n, element = *p.whole, nil
	}
	id, err = n.id(c.namespaces, r.place.Namespaces)
	return id, element, err
}

// element reports whether a point that the server does not have is to be tried as an element.
func (r *run) element(p *point, why ua.StatusCode) bool {
	if why != ua.StatusBadNodeIDUnknown && why != ua.StatusBadNodeIDInvalid || p.whole == nil || r.elements[p] {
		return false
	}
	r.elements[p] = true
	return true
}

// undamped reports whether a point is to be tried without its deadband: a server has none for texts and the like, or none in percent of a range that it does not know. All of its
// values come then.
func (r *run) undamped(p *point, why ua.StatusCode) bool {
	switch why {
	case ua.StatusBadFilterNotAllowed, ua.StatusBadMonitoredItemFilterUnsupported, ua.StatusBadMonitoredItemFilterInvalid, ua.StatusBadDeadbandFilterInvalid:
	default:
		return false
	}
	if p.sampling.filter() == nil {
		return false
	}
	r.env.Logger.Warn("the server has no such deadband for an address; all of its values are taken", "address", p.address, "error", why)
	p.sampling.Deadband, p.sampling.DeadbandPercent = 0, 0
	return true
}

// refuse notes that a server does not let an address be watched.
func (r *run) refuse(p *point, why ua.StatusCode, at int64) {
	r.env.Logger.Warn("an address cannot be read; it is tried again", "address", p.address, "error", why)
	if p.whole != nil {
		delete(r.elements, p)
	}
	r.refused = append(r.refused, p)
	r.batch = append(r.batch, collector.Reading{Address: p.address, Time: at, HasTime: at != 0, Quality: model.Quality(why)})
}

// serve takes what the subscription sends until the connection is lost, or another server is to be read.
func (r *run) serve(ctx context.Context, c *conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{}, 3)
	go func() {
		defer func() { done <- struct{}{} }()
		cancel(r.watch(ctx, c))
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		if err := r.fill(ctx, c); err != nil {
			cancel(err)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		if err := r.look(ctx, c); err != nil {
			cancel(err)
		}
	}()
	err := r.publish(ctx, c)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(err)
	for range cap(done) {
		<-done
	}
	r.writePlace()
	switch {
	case errors.Is(err, errOther), errors.Is(err, context.Canceled), errors.As(err, &sinkError{}):
		c.close()
		r.session = nil
	case errors.Is(err, errSubscription), errors.Is(err, errMoved):
		c.close()
		r.session, r.sub = nil, 0
		if derr := r.down(context.WithoutCancel(ctx), err); derr != nil {
			return sinkError{derr}
		}
	default:
		r.session = c.drop()
	}
	return err
}

var (
	errOther = errors.New("another server of the set is healthier")
	errMoved = errors.New("the server's namespaces have moved")
)

// watch reads the server's state as often as it should be heard, and returns why it is to be left.
func (r *run) watch(ctx context.Context, c *conn) error {
	level := c.status.level
	for wait(ctx, r.s.KeepAlive) {
		s, err := c.readStatus(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("the server does not say its state: %w", err)
		case s.state == ua.ServerStateShutdown:
			return fmt.Errorf("%w in %d s", errShutdown, s.shutdown)
		case len(s.namespaces) > 0 && !slices.Equal(s.namespaces, c.namespaces):
			return errMoved
		case s.level < healthy && len(r.s.URLs) > 1:
			if r.healthier(ctx, c.url, s.level) {
				return fmt.Errorf("%w: %s has service level %d", errOther, c.url, s.level)
			}
		}
		if s.level != level {
			r.env.Logger.Info("the service level changed", "url", c.url, "from", level, "to", s.level)
			level = s.level
		}
		r.writePlace()
	}
	return context.Cause(ctx)
}

// healthier reports whether another server of the set has a higher service level.
func (r *run) healthier(ctx context.Context, than string, level uint8) bool {
	for _, url := range r.s.URLs {
		if url == than {
			continue
		}
		c, _, err := r.dial(ctx, url, nil)
		if err != nil {
			continue
		}
		c.close()
		if c.status.level > level {
			return true
		}
	}
	return false
}

// publish asks for one message after another.
func (r *run) publish(ctx context.Context, c *conn) error {
	for {
		select {
		case offers := <-r.offered:
			if err := r.watchFound(ctx, c, offers); err != nil {
				return err
			}
		default:
		}
		if len(r.refused) > 0 && r.env.Now().Sub(r.retried) > retryRefused {
			again := r.refused
			r.refused = nil
			if err := r.watchNodes(ctx, c, again, 0); err != nil {
				return err
			}
		}
		res, err := askFor[*ua.PublishResponse](ctx, c, &ua.PublishRequest{SubscriptionAcknowledgements: r.acks}, r.patience)
		switch {
		case errors.Is(err, ua.StatusBadNoSubscription), errors.Is(err, ua.StatusBadSubscriptionIDInvalid):
			return fmt.Errorf("%w: %w", errSubscription, err)
		case errors.Is(err, ua.StatusBadTooManyPublishRequests):
			if !wait(ctx, r.s.Publishing) {
				return ctx.Err()
			}
			continue
		case err != nil:
			return err
		}
		r.acks = nil
		m := res.NotificationMessage
		if m == nil || res.SubscriptionID != r.sub { // one of a subscription that was left
			continue
		}
		if err := r.ordered(ctx, c, m); err != nil {
			return err
		}
	}
}

// ordered takes a message, after those before it that did not come.
func (r *run) ordered(ctx context.Context, c *conn, m *ua.NotificationMessage) error {
	if ahead := m.SequenceNumber - r.next; ahead >= 1<<31 {
		return nil // it came already
	} else if ahead != 0 {
		if err := r.republish(ctx, c, m.SequenceNumber); err != nil {
			return err
		}
		r.skip(m.SequenceNumber)
	}
	return r.take(ctx, m)
}

// after is the sequence number that follows: it goes on with 1 (Part 4, 7.9).
func after(n uint32) uint32 { return max(n+1, 1) }

// skip goes on with another message than the next, which is not to be had. What was in those between is missing from the last one that came to the first
// that comes now.
func (r *run) skip(to uint32) {
	if to == r.next {
		return
	}
	r.env.Logger.Warn("messages are lost", "from", r.next, "before", to)
	if r.lostFrom == 0 {
		r.lostFrom = r.heard.Load()
	}
	r.next = to
}

// found ends a loss: what was lost lies before the instant at.
func (r *run) found(at int64) {
	if r.lostFrom == 0 {
		return
	}
	for _, i := range r.items {
		r.missing.add(i, window{from: r.lostFrom - int64(r.s.Publishing+i.sampling.Every), to: at, lost: true})
	}
	r.lostFrom = 0
}

// take hands on what a message says. A message without data says that the server is there, and the number of the next.
func (r *run) take(ctx context.Context, m *ua.NotificationMessage) error {
	at, ok := instant(m.PublishTime, 0)
	if !ok { // servers are met that do not say
		at = r.env.Now().UnixNano()
	}
	r.found(at)
	if len(m.NotificationData) > 0 {
		for _, data := range m.NotificationData {
			if data == nil {
				continue
			}
			switch n := data.Value.(type) {
			case *ua.DataChangeNotification:
				for _, x := range n.MonitoredItems {
					r.value(x, at)
				}
			case *ua.StatusChangeNotification:
				if n.Status>>30 >= 2 {
					return fmt.Errorf("%w: %w", errSubscription, n.Status)
				}
			}
		}
		if err := r.put(ctx); err != nil {
			return err
		}
		r.acks = append(r.acks, &ua.SubscriptionAcknowledgement{SubscriptionID: r.sub, SequenceNumber: m.SequenceNumber})
		r.next = after(m.SequenceNumber)
	}
	r.heard.Store(at)
	return nil
}

// value adds the readings of one notification to the batch.
func (r *run) value(x *ua.MonitoredItemNotification, published int64) {
	if x == nil || x.Value == nil || x.ClientHandle == 0 || uint64(x.ClientHandle) > uint64(len(r.items)) {
		r.out.Count(collector.Rejected, 1)
		return
	}
	i := r.items[x.ClientHandle-1]
	at := r.add(i, x.Value)
	if x.Value.Status&overflowBits == overflowBits && i.last != 0 && at > i.last {
		r.missing.add(i, window{from: i.last + 1, to: at, lost: true})
	}
	i.last = max(i.last, at)
	if i.held != 0 {
		if at <= i.held {
			r.hold(i, x.Value, published)
		}
		i.held = 0
	}
}

// add adds the readings of a data value, and returns its time.
func (r *run) add(i *item, d *ua.DataValue) (at int64) {
	for _, p := range i.readers {
		x, sourced := reading(p.address, p.element, d)
		if at = x.Time; !sourced && !r.untimed {
			r.untimed = true
			r.env.Logger.Info("the server does not say the times of some sources; its own times are taken", "address", p.address)
		}
		if x.Quality == badTypeMismatch || x.Quality == badDataTypeUnknown {
			r.out.Count(collector.Rejected, 1)
		}
		r.batch = append(r.batch, x)
	}
	return at
}

// hold adds readings of a value whose source has not changed since before the instant held, at the server's time: it was the value then too, and ends the gap
// of an outage.
func (r *run) hold(i *item, d *ua.DataValue, published int64) {
	at, ok := instant(d.ServerTimestamp, d.ServerPicoseconds)
	if !ok || at <= i.held {
		at = published
	}
	if at <= i.held {
		return
	}
	for _, p := range i.readers {
		x, _ := reading(p.address, p.element, d)
		x.Time, x.HasTime = at, true
		r.batch = append(r.batch, x)
	}
}

// put hands on the batch.
func (r *run) put(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	err := r.out.Put(ctx, r.batch)
	r.batch = r.batch[:0]
	if err != nil {
		return sinkError{err}
	}
	return nil
}

// Check is part of collector.Checker.
func (x *source) Check(ctx context.Context, report func(collector.Reading)) error {
	r := &run{source: x, place: x.readPlace(), elements: map[*point]bool{}}
	c, _, err := r.reach(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	left := slices.Clone(x.points)
	if !x.patterns.None() {
		var offers []collector.Offer
		if err := walkFrom(ctx, c, "", r.place.Namespaces, x.wanted(&offers)); err != nil {
			return err
		}
		left = append(left, r.fresh(c.namespaces, addressesOf(offers))...)
	}
	for len(left) > 0 {
		var ids []*ua.NodeID
		var read []reader
		for _, p := range left {
			id, element, err := r.target(c, p)
			if err != nil {
				report(collector.Reading{Address: p.address, Quality: model.Quality(ua.StatusBadNodeIDUnknown)})
				continue
			}
			ids, read = append(ids, id), append(read, reader{p.address, element, p})
		}
		values, err := c.read(ctx, ua.AttributeIDValue, ids...)
		if err != nil {
			return err
		}
		left = nil
		for k, x := range read {
			if d := values[k]; d != nil && r.element(x.point, d.Status) {
				left = append(left, x.point)
			} else if d != nil {
				out, _ := reading(x.address, x.element, d)
				report(out)
			}
		}
	}
	return nil
}
