package opcua

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
)

// plant is a server whose channels and sessions are the library's and whose variables, subscriptions and history are its own: queues with their overflow,
// messages that are kept until they are acknowledged, pages of history.
type plant struct {
	mu         sync.Mutex
	url        string
	namespaces []string
	state      ua.ServerState
	level      uint8
	values     map[string]*ua.DataValue
	history    map[string][]*ua.DataValue
	page       int // values in a page of history
	noHistory  bool
	noTransfer bool
	swallow    int // messages that are sent and do not arrive
	subs       map[uint32]*plantSub
	lastSub    uint32
	points     map[string]historyPlace
	pages      int
	reads      []*ua.ReadRawModifiedDetails
	samples    bool                  // variables are sampled as often as is asked for; else each change is reported
	sampled    map[string][2]float64 // interval and queue that were asked for, by node
}

type historyPlace struct {
	node string
	at   int
}

type plantSub struct {
	id     uint32
	token  string
	items  []*plantItem
	seq    uint32
	sent   map[uint32]*ua.NotificationMessage
	parked []parked
	quiet  time.Time
}

type plantItem struct {
	node   string
	handle uint32
	size   int
	queue  []*ua.DataValue
	every  time.Duration // sampled so often; 0 for each change
	newest *ua.DataValue // since the last sample; nil for none
	due    time.Time
}

type parked struct {
	channel *uasc.SecureChannel
	id      uint32
	handle  uint32
}

// newPlant is a plant; handlers answer in place of its own.
func newPlant(t *testing.T, handlers ...map[uint16]server.Handler) *plant {
	log.SetOutput(io.Discard) // the library tells of every server
	p := &plant{
		namespaces: []string{"http://opcfoundation.org/UA/", "urn:plant:server", "http://plant/"}, level: 255, page: 1000,
		values: map[string]*ua.DataValue{}, history: map[string][]*ua.DataValue{}, subs: map[uint32]*plantSub{}, points: map[string]historyPlace{},
		sampled: map[string][2]float64{},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	s := server.New(server.EnableSecurity("None", ua.MessageSecurityModeNone), server.EnableAuthMode(ua.UserTokenTypeAnonymous), server.EndPoint("127.0.0.1", port))
	for _, own := range handlers { // the first of a request counts
		for request, h := range own {
			s.RegisterHandler(request, h)
		}
	}
	for request, h := range map[uint16]server.Handler{
		id.ReadRequest_Encoding_DefaultBinary: p.read, id.CreateSubscriptionRequest_Encoding_DefaultBinary: p.subscribe,
		id.CreateMonitoredItemsRequest_Encoding_DefaultBinary: p.monitor, id.PublishRequest_Encoding_DefaultBinary: p.publish,
		id.RepublishRequest_Encoding_DefaultBinary: p.republish, id.TransferSubscriptionsRequest_Encoding_DefaultBinary: p.transfer,
		id.HistoryReadRequest_Encoding_DefaultBinary: p.readHistory, id.BrowseRequest_Encoding_DefaultBinary: p.browse,
	} {
		s.RegisterHandler(request, h)
	}
	s.RegisterHandler(id.GetEndpointsRequest_Encoding_DefaultBinary, func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
		return &ua.GetEndpointsResponse{ResponseHeader: header(r, ua.StatusOK), Endpoints: s.Endpoints()}, nil // by whatever way a client comes
	})
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, s.Start(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for wait(ctx, 5*time.Millisecond) {
			p.flush()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-stopped
		_ = s.Close()
	})
	p.url = s.URLs()[0]
	return p
}

func header(req ua.Request, status ua.StatusCode) *ua.ResponseHeader {
	return &ua.ResponseHeader{
		Timestamp: time.Now(), RequestHandle: req.Header().RequestHandle, ServiceResult: status, ServiceDiagnostics: &ua.DiagnosticInfo{}, StringTable: []string{},
		AdditionalHeader: ua.NewExtensionObject(nil),
	}
}

func value(v any) *ua.DataValue {
	d := &ua.DataValue{Value: ua.MustVariant(v), ServerTimestamp: time.Now()}
	d.UpdateMask()
	return d
}

// at is a data value of a time of its source.
func at(ns int64, v any, status ua.StatusCode) *ua.DataValue {
	d := &ua.DataValue{Status: status, SourceTimestamp: time.Unix(0, ns), ServerTimestamp: time.Now()}
	if v != nil {
		d.Value = ua.MustVariant(v)
	}
	d.UpdateMask()
	return d
}

func (p *plant) valueLocked(n *ua.NodeID) *ua.DataValue {
	bad := &ua.DataValue{EncodingMask: ua.DataValueStatusCode, Status: ua.StatusBadNodeIDUnknown}
	if n.Namespace() == 0 {
		switch n.IntID() {
		case id.Server_ServerStatus_State:
			return value(int32(p.state))
		case id.Server_ServiceLevel:
			return value(p.level)
		case id.Server_NamespaceArray:
			return value(p.namespaces)
		case id.Server_ServerStatus_CurrentTime:
			return value(time.Now())
		}
		return bad
	}
	if v, ok := p.values[n.String()]; ok {
		return v
	}
	return bad
}

func (p *plant) read(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.ReadRequest)
	res := &ua.ReadResponse{ResponseHeader: header(req, ua.StatusOK)}
	for _, n := range req.NodesToRead {
		res.Results = append(res.Results, attributeOf(p.valueLocked(n.NodeID), n.AttributeID))
	}
	return res, nil
}

// attributeOf is an attribute of a variable that has a value.
func attributeOf(v *ua.DataValue, a ua.AttributeID) *ua.DataValue {
	if a == ua.AttributeIDValue || v.Value == nil {
		return v
	}
	rank, kind := int32(-1), uint32(id.String)
	switch v.Value.Value().(type) {
	case float64:
		kind = id.Double
	case int64:
		kind = id.Int64
	case []int64:
		rank, kind = 1, id.Int64
	}
	switch a {
	case ua.AttributeIDDataType:
		return value(ua.NewNumericNodeID(0, kind))
	case ua.AttributeIDValueRank:
		return value(rank)
	}
	return &ua.DataValue{EncodingMask: ua.DataValueStatusCode, Status: ua.StatusBadAttributeIDInvalid}
}

// browse lists all variables below the folder of objects.
func (p *plant) browse(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.BrowseRequest)
	res := &ua.BrowseResponse{ResponseHeader: header(req, ua.StatusOK)}
	for _, n := range req.NodesToBrowse {
		result := &ua.BrowseResult{}
		if n.NodeID.Namespace() == 0 && n.NodeID.IntID() == id.ObjectsFolder {
			for name := range p.values {
				node := ua.MustParseNodeID(name)
				result.References = append(result.References, &ua.ReferenceDescription{
					ReferenceTypeID: ua.NewNumericNodeID(0, id.Organizes), IsForward: true, NodeID: &ua.ExpandedNodeID{NodeID: node},
					BrowseName: &ua.QualifiedName{NamespaceIndex: 2, Name: node.StringID()}, DisplayName: ua.NewLocalizedText(node.StringID()),
					NodeClass: ua.NodeClassVariable, TypeDefinition: &ua.ExpandedNodeID{NodeID: ua.NewNumericNodeID(0, id.BaseDataVariableType)},
				})
			}
		}
		res.Results = append(res.Results, result)
	}
	return res, nil
}

func (p *plant) subscribe(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.CreateSubscriptionRequest)
	p.lastSub++
	p.subs[p.lastSub] = &plantSub{id: p.lastSub, token: req.RequestHeader.AuthenticationToken.String(), sent: map[uint32]*ua.NotificationMessage{}, quiet: time.Now()}
	return &ua.CreateSubscriptionResponse{
		ResponseHeader: header(req, ua.StatusOK), SubscriptionID: p.lastSub, RevisedPublishingInterval: req.RequestedPublishingInterval,
		RevisedLifetimeCount: req.RequestedLifetimeCount, RevisedMaxKeepAliveCount: req.RequestedMaxKeepAliveCount,
	}, nil
}

func (p *plant) monitor(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.CreateMonitoredItemsRequest)
	res := &ua.CreateMonitoredItemsResponse{ResponseHeader: header(req, ua.StatusOK)}
	for _, i := range req.ItemsToCreate {
		v := p.valueLocked(i.ItemToMonitor.NodeID)
		result := &ua.MonitoredItemCreateResult{StatusCode: ua.StatusOK, FilterResult: ua.NewExtensionObject(nil)}
		if v.Status == ua.StatusBadNodeIDUnknown {
			result.StatusCode = v.Status
		} else if _, text := valueOf(v).(string); text && i.RequestedParameters.Filter != nil && i.RequestedParameters.Filter.Value != nil {
			result.StatusCode = ua.StatusBadFilterNotAllowed
		} else if s := p.subs[req.SubscriptionID]; s != nil {
			x := &plantItem{node: i.ItemToMonitor.NodeID.String(), handle: i.RequestedParameters.ClientHandle, size: int(max(i.RequestedParameters.QueueSize, 1))}
			if p.samples {
				x.every = time.Duration(i.RequestedParameters.SamplingInterval * float64(time.Millisecond))
			}
			x.push(v)
			p.sampled[x.node] = [2]float64{i.RequestedParameters.SamplingInterval, float64(i.RequestedParameters.QueueSize)}
			s.items = append(s.items, x)
		}
		res.Results = append(res.Results, result)
	}
	return res, nil
}

// changed notes a value of the variable. What changes between two samples is not seen.
func (i *plantItem) changed(v *ua.DataValue) {
	if i.every == 0 {
		i.push(v)
		return
	}
	i.newest = v
}

func (i *plantItem) sample(now time.Time) {
	if i.newest != nil && now.After(i.due) {
		i.push(i.newest)
		i.newest, i.due = nil, now.Add(i.every)
	}
}

// push queues a value; the oldest goes when the queue is full, and the next says so.
func (i *plantItem) push(v *ua.DataValue) {
	i.queue = append(i.queue, v)
	if len(i.queue) > i.size {
		i.queue = i.queue[1:]
		x := *i.queue[0]
		x.Status |= overflowBits
		x.UpdateMask()
		i.queue[0] = &x
	}
}

func (p *plant) publish(sc *uasc.SecureChannel, r ua.Request, reqID uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.PublishRequest)
	for _, a := range req.SubscriptionAcknowledgements {
		if s := p.subs[a.SubscriptionID]; s != nil {
			delete(s.sent, a.SequenceNumber)
		}
	}
	for _, s := range p.subs {
		if s.token == req.RequestHeader.AuthenticationToken.String() {
			s.parked = append(s.parked, parked{sc, reqID, req.RequestHeader.RequestHandle})
			return nil, nil
		}
	}
	return &ua.ServiceFault{ResponseHeader: header(req, ua.StatusBadNoSubscription)}, nil
}

// flush sends what there is, and says that the server is there when there was nothing for a while.
func (p *plant) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subs {
		for _, i := range s.items {
			i.sample(time.Now())
		}
		for len(s.parked) > 0 {
			m := s.message()
			if m.NotificationData == nil && time.Since(s.quiet) < 50*time.Millisecond {
				break
			}
			s.quiet = time.Now()
			if m.NotificationData != nil && p.swallow > 0 {
				p.swallow--
				continue
			}
			x := s.parked[0]
			s.parked = s.parked[1:]
			_ = x.channel.SendResponseWithContext(context.Background(), x.id, &ua.PublishResponse{ // the client may be away
				ResponseHeader: &ua.ResponseHeader{
					Timestamp: time.Now(), RequestHandle: x.handle, ServiceDiagnostics: &ua.DiagnosticInfo{}, StringTable: []string{}, AdditionalHeader: ua.NewExtensionObject(nil),
				},
				SubscriptionID: s.id, NotificationMessage: m, AvailableSequenceNumbers: []uint32{}, Results: []ua.StatusCode{}, DiagnosticInfos: []*ua.DiagnosticInfo{},
			})
		}
	}
}

func (s *plantSub) message() *ua.NotificationMessage {
	m := &ua.NotificationMessage{SequenceNumber: s.seq + 1, PublishTime: time.Now()}
	n := &ua.DataChangeNotification{DiagnosticInfos: []*ua.DiagnosticInfo{}}
	for _, i := range s.items {
		for _, v := range i.queue {
			n.MonitoredItems = append(n.MonitoredItems, &ua.MonitoredItemNotification{ClientHandle: i.handle, Value: v})
		}
		i.queue = nil
	}
	if len(n.MonitoredItems) > 0 {
		m.NotificationData = []*ua.ExtensionObject{ua.NewExtensionObject(n)}
		s.seq++
		s.sent[s.seq] = m
	}
	return m
}

func (p *plant) republish(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.RepublishRequest)
	s := p.subs[req.SubscriptionID]
	if s == nil || s.token != req.RequestHeader.AuthenticationToken.String() {
		return &ua.ServiceFault{ResponseHeader: header(req, ua.StatusBadSubscriptionIDInvalid)}, nil
	}
	m := s.sent[req.RetransmitSequenceNumber]
	if m == nil {
		return &ua.ServiceFault{ResponseHeader: header(req, ua.StatusBadMessageNotAvailable)}, nil
	}
	return &ua.RepublishResponse{ResponseHeader: header(req, ua.StatusOK), NotificationMessage: m}, nil
}

func (p *plant) transfer(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.TransferSubscriptionsRequest)
	res := &ua.TransferSubscriptionsResponse{ResponseHeader: header(req, ua.StatusOK)}
	for _, n := range req.SubscriptionIDs {
		x := &ua.TransferResult{StatusCode: ua.StatusBadSubscriptionIDInvalid}
		if s := p.subs[n]; s != nil && !p.noTransfer {
			x.StatusCode, s.token, s.parked = ua.StatusOK, req.RequestHeader.AuthenticationToken.String(), nil
		}
		res.Results = append(res.Results, x)
	}
	return res, nil
}

func (p *plant) readHistory(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req := r.(*ua.HistoryReadRequest)
	if p.noHistory {
		return &ua.ServiceFault{ResponseHeader: header(req, ua.StatusBadServiceUnsupported)}, nil
	}
	details := req.HistoryReadDetails.Value.(*ua.ReadRawModifiedDetails)
	p.reads = append(p.reads, details)
	res := &ua.HistoryReadResponse{ResponseHeader: header(req, ua.StatusOK)}
	for _, n := range req.NodesToRead {
		place := historyPlace{node: n.NodeID.String()}
		if len(n.ContinuationPoint) > 0 {
			place = p.points[string(n.ContinuationPoint)]
		}
		all := slices.DeleteFunc(slices.Clone(p.history[place.node]), func(d *ua.DataValue) bool {
			return d.SourceTimestamp.Before(details.StartTime) || !d.SourceTimestamp.Before(details.EndTime)
		})
		page := all[min(place.at, len(all)):min(place.at+p.page, len(all))]
		result := &ua.HistoryReadResult{StatusCode: ua.StatusOK, HistoryData: ua.NewExtensionObject(&ua.HistoryData{DataValues: page})}
		if place.at += len(page); place.at < len(all) {
			p.pages++
			result.ContinuationPoint = []byte{byte(p.pages), byte(p.pages >> 8), 1}
			p.points[string(result.ContinuationPoint)] = place
		}
		res.Results = append(res.Results, result)
	}
	return res, nil
}

// set changes a variable, and keeps it in the history.
func (p *plant) set(name string, d *ua.DataValue) { p.do(func() { p.setLocked(name, d) }) }

func (p *plant) setLocked(name string, d *ua.DataValue) {
	node := ua.NewStringNodeID(2, name).String()
	p.values[node] = d
	p.history[node] = append(p.history[node], d)
	for _, s := range p.subs {
		for _, i := range s.items {
			if i.node == node {
				i.changed(d)
			}
		}
	}
}

// do is done while the plant stands still.
func (p *plant) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// wire is a way to a server that can be cut.
type wire struct {
	mu    sync.Mutex
	l     net.Listener
	to    string
	conns []net.Conn
	cut   bool
}

func newWire(t *testing.T, url string) (*wire, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{l: l, to: url[len("opc.tcp://"):]}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.carry(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		w.set(true)
	})
	return w, "opc.tcp://" + l.Addr().String()
}

func (w *wire) carry(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		_ = c.Close()
		return
	}
	s, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = c.Close()
		return
	}
	w.conns = append(w.conns, c, s)
	for _, pair := range [][2]net.Conn{{c, s}, {s, c}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1]) // it is cut at some time
			_ = pair[0].Close()
		}()
	}
}

// set cuts the wire, or mends it. What is open is cut in any case.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// taken is a sink that keeps everything.
type taken struct {
	mu       sync.Mutex
	readings []collector.Reading
	down, up []int64
	lost     [][2]int64
	counts   map[collector.Counter]int
	came     chan struct{}
}

func newTaken() *taken {
	return &taken{counts: map[collector.Counter]int{}, came: make(chan struct{}, 1)}
}

func (s *taken) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	select {
	case s.came <- struct{}{}:
	default:
	}
}

func (s *taken) Put(_ context.Context, r []collector.Reading) error {
	s.note(func() { s.readings = append(s.readings, r...) })
	return nil
}
func (s *taken) Flush(context.Context) error { return nil }
func (s *taken) Down(_ context.Context, _ []string, at int64, _ string) error {
	s.note(func() { s.down = append(s.down, at) })
	return nil
}
func (s *taken) Up(_ context.Context, _ []string, at int64) error {
	s.note(func() { s.up = append(s.up, at) })
	return nil
}
func (s *taken) Lost(_ context.Context, _ []string, from, to int64, _ string) error {
	s.note(func() { s.lost = append(s.lost, [2]int64{from, to}) })
	return nil
}
func (s *taken) Count(c collector.Counter, n int) { s.note(func() { s.counts[c] += n }) }

// until waits until something holds.
func (s *taken) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		s.mu.Lock()
		ok := holds()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.came:
		case <-deadline:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("it did not come to this: %s; %v, down %v, up %v, lost %v", what, s.readings, s.down, s.up, s.lost)
		}
	}
}

// of is the readings of an address.
func (s *taken) of(address string, historical bool) (out []collector.Reading) {
	for _, r := range s.readings {
		if r.Address == address && r.Historical == historical {
			out = append(out, r)
		}
	}
	return out
}

// quick are settings for tests.
func quick(urls ...string) Settings {
	return Settings{
		URLs: urls, Security: none, Publishing: 20 * time.Millisecond, KeepAlive: 100 * time.Millisecond, Lifetime: time.Minute, Timeout: 2 * time.Second,
		Sampling: Sampling{Queue: 1000},
	}
}

func open(t *testing.T, s Settings, addresses ...string) *source {
	t.Helper()
	require.NoError(t, s.Check())
	x, err := newSource(collector.Env{Name: "plc", Dir: t.TempDir(), Addresses: addresses, Logger: testLogger(), Now: time.Now}, &s)
	require.NoError(t, err)
	return x.(*source)
}

func start(t *testing.T, x *source) *taken {
	t.Helper()
	out := newTaken()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		for { // as the collector does it
			err := x.Run(ctx, out)
			if err == nil || ctx.Err() != nil || !wait(ctx, 20*time.Millisecond) {
				done <- nil
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return out
}

func testLogger() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}
