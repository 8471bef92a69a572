package opcua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/varvedb/varve/collector"
)

// window is a time that values of an item are missing for, both ends included, by the server's clock.
type window struct {
	from, to int64
	lost     bool // no gap says so yet
}

// missing is the windows of items that are still to be read from the server's history.
type missing struct {
	mu      sync.Mutex
	windows map[*item]window
	taken   []task // that are being read
	wake    chan struct{}
}

// add notes a window. Windows of one item are made one: what lies between is there already, and is not replaced.
func (m *missing) add(i *item, w window) {
	if w.to <= w.from || len(i.readers) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.windows == nil {
		m.windows = map[*item]window{}
	}
	if o, ok := m.windows[i]; ok {
		w = window{min(o.from, w.from), max(o.to, w.to), o.lost || w.lost}
	}
	m.windows[i] = w
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// task is an item and its window.
type task struct {
	item *item
	window
}

func (m *missing) take() (out []task) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range m.windows {
		out = append(out, task{i, w})
	}
	m.windows, m.taken = nil, out
	slices.SortFunc(out, func(a, b task) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.item.readers[0].address, b.item.readers[0].address))
	})
	return out
}

// oldest is since when values are missing; MaxInt64 for none.
func (m *missing) oldest() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := int64(math.MaxInt64)
	for _, w := range m.windows {
		out = min(out, w.from)
	}
	for _, t := range m.taken {
		out = min(out, t.from)
	}
	return out
}

const (
	historyPage  = 1000 // values of a node in one answer
	emptyPages   = 3    // in a row: a server that goes on so never ends
	historyTries = 3
	historyPause = 5 * time.Second
)

// fill reads what is missing from the server's history, as it becomes known.
func (r *run) fill(ctx context.Context, c *conn) error {
	for {
		for tasks := r.missing.take(); len(tasks) > 0; tasks = r.missing.take() {
			for _, group := range groups(tasks, c.limits.history) {
				if err := r.fillGroup(ctx, c, group); err != nil {
					return err
				}
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		select {
		case <-r.missing.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// groups are tasks of the same window, as many as one call may have.
func groups(tasks []task, most int) (out [][]task) {
	for len(tasks) > 0 {
		n := 1
		for n < len(tasks) && n < most && tasks[n].window == tasks[0].window {
			n++
		}
		out, tasks = append(out, tasks[:n]), tasks[n:]
	}
	return out
}

// fillGroup reads one window of some items. An outage of the server puts them back; a server that has no history leaves the gap.
func (r *run) fillGroup(ctx context.Context, c *conn, group []task) error {
	if r.s.History != nil && !*r.s.History {
		return r.leave(ctx, group, errors.New("history is off"))
	}
	var err error
	for range historyTries {
		var rest []task
		if rest, err = r.readHistory(ctx, c, group); err == nil {
			return nil
		}
		if fatal := (sinkError{}); errors.As(err, &fatal) {
			return err
		}
		if group = rest; hopeless(err) || !wait(ctx, historyPause) {
			break
		}
	}
	if ctx.Err() != nil { // the connection is lost, or the source ends
		for _, t := range group {
			r.missing.add(t.item, t.window)
		}
		return nil
	}
	return r.leave(ctx, group, err)
}

// hopeless reports whether asking again is of no use.
func hopeless(err error) bool {
	for _, s := range []ua.StatusCode{
		ua.StatusBadHistoryOperationUnsupported, ua.StatusBadHistoryOperationInvalid, ua.StatusBadServiceUnsupported, ua.StatusBadNotReadable,
		ua.StatusBadUserAccessDenied, ua.StatusBadNodeIDUnknown, ua.StatusBadNodeIDInvalid, ua.StatusBadNotSupported, ua.StatusBadNotImplemented,
		ua.StatusBadNoData, ua.StatusBadAttributeIDInvalid,
	} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// leave tells of what cannot be read any more.
func (r *run) leave(ctx context.Context, group []task, why error) error {
	for _, t := range group {
		r.env.Logger.Info("the server's history does not have what was missed; the gap stays", "address", t.item.readers[0].address, "error", why)
		if !t.lost {
			continue
		}
		if err := r.out.Lost(ctx, t.item.addresses(), t.from, t.to, "lost in the server's queue: "+why.Error()); err != nil {
			return sinkError{err}
		}
	}
	return nil
}

// readHistory reads one window of some items, page by page. Pages are continued by the server's continuation points and never by times: several
// values may stand at the time where a page ends. With an error come the tasks that are not done.
func (r *run) readHistory(ctx context.Context, c *conn, group []task) (rest []task, err error) {
	details := &ua.ReadRawModifiedDetails{
		StartTime: time.Unix(0, group[0].from).UTC(), EndTime: time.Unix(0, group[0].to+100).UTC(), // the end is excluded, and has steps of 100 ns
		NumValuesPerNode: historyPage,
	}
	type node struct {
		task  task
		point []byte
		empty int
	}
	left := make([]*node, len(group))
	for i, t := range group {
		left[i] = &node{task: t}
	}
	undone := func() (out []task) {
		for _, n := range left {
			out = append(out, n.task)
		}
		return out
	}
	var errs []error
	var failed []task
	for len(left) > 0 {
		req := &ua.HistoryReadRequest{TimestampsToReturn: ua.TimestampsToReturnBoth, HistoryReadDetails: ua.NewExtensionObject(details)}
		for _, n := range left {
			req.NodesToRead = append(req.NodesToRead, &ua.HistoryReadValueID{NodeID: n.task.item.id, DataEncoding: &ua.QualifiedName{}, ContinuationPoint: n.point})
		}
		res, err := ask[*ua.HistoryReadResponse](ctx, c, req)
		if err == nil && len(res.Results) != len(left) {
			err = fmt.Errorf("%d results came for %d nodes", len(res.Results), len(left))
		}
		if err != nil {
			return append(failed, undone()...), errors.Join(append(errs, err)...)
		}
		var next []*node
		for k, result := range res.Results {
			n := left[k]
			count, err := r.page(ctx, n.task, result)
			if n.point, n.empty = result.ContinuationPoint, n.empty+1; count > 0 {
				n.empty = 0
			}
			if err == nil && n.empty >= emptyPages && len(n.point) > 0 {
				err = fmt.Errorf("%d pages of history in a row are empty", n.empty)
			}
			switch {
			case errors.As(err, &sinkError{}):
				return nil, err
			case err != nil:
				errs, failed = append(errs, err), append(failed, n.task)
			case len(n.point) > 0:
				next = append(next, n)
			}
		}
		left = next
	}
	return failed, errors.Join(errs...)
}

// page hands on one page of a node's history.
func (r *run) page(ctx context.Context, t task, result *ua.HistoryReadResult) (count int, err error) {
	if result.StatusCode>>30 >= 2 && result.StatusCode != ua.StatusBadNoData {
		return 0, result.StatusCode
	}
	if result.HistoryData == nil || result.HistoryData.Value == nil {
		return 0, nil
	}
	data, ok := result.HistoryData.Value.(*ua.HistoryData)
	if !ok {
		return 0, fmt.Errorf("history comes as %T: %w", result.HistoryData.Value, ua.StatusBadNotSupported)
	}
	var batch []collector.Reading
	for _, d := range data.DataValues {
		if d == nil {
			continue
		}
		for _, p := range t.item.readers {
			x, _ := reading(p.address, p.element, d)
			if !x.HasTime || x.Time < t.from || x.Time > t.to {
				continue
			}
			x.Historical = true
			batch = append(batch, x)
		}
	}
	if len(batch) > 0 {
		if err := r.out.Put(ctx, batch); err != nil {
			return 0, sinkError{err}
		}
	}
	return len(data.DataValues), nil
}
