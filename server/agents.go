package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/metadata"

	"github.com/varvedb/varve/model"
)

const (
	// maxAgentBody is the largest body of an agent, unpacked.
	maxAgentBody = 64 << 20
	// maxAgentHeld is how many bytes are taken at once by bodies that are read whole, as they came and unpacked.
	maxAgentHeld = 128 << 20
	// maxAgentWrites is how many bodies are taken at once; another waits.
	maxAgentWrites = 32
	// agentPatience is how long a body waits for its turn, and for the log to have room.
	agentPatience = 10 * time.Second
	// agentPieceSamples and agentPieceText bound the samples and the bytes of text that are gathered before they are logged: a body of less is one
	// record of the log, all or nothing but for what is wrong with single samples.
	agentPieceSamples = 32 << 10
	agentPieceText    = 4 << 20
)

// errBusy is what an agent is told that comes while too many others do.
var errBusy = errors.New("too much is being written; try again")

// errBody is what an agent is told whose body is not what it says it is, or did not come.
var errBody = errors.New("the body cannot be read")

// agents is what the doors for agents share.
type agents struct {
	names  []*agentNames       // for templates in their order, then for what none is for
	room   *semaphore.Weighted // bytes of bodies that are held whole
	places *semaphore.Weighted // bodies that are taken at once
	idle   sync.Pool           // of *agentRows: the one that was used last is used first, while it is in the processor's cache
}

func newAgents(templates []AgentTemplate) (*agents, error) {
	a := &agents{room: semaphore.NewWeighted(maxAgentHeld), places: semaphore.NewWeighted(maxAgentWrites)}
	plain := map[string]*AgentTemplate{}
	for _, t := range defaultTemplates {
		if err := t.compile(); err != nil {
			return nil, err
		}
		plain[t.Door] = &t
	}
	most := int64(agentShardBytes / (1 + len(templates)))
	for _, t := range slices.Concat(templates, defaultTemplates) {
		if err := t.compile(); err != nil {
			return nil, fmt.Errorf("template of agents: %w", err)
		}
		a.names = append(a.names, newAgentNames(&t, plain[t.Door], most))
	}
	return a, nil
}

// namesOf is the names of what somebody writes at a door, to a database or to none.
func (a *agents) namesOf(door, user, database string) *agentNames {
	i := slices.IndexFunc(a.names, func(n *agentNames) bool {
		t := n.template
		return t.Door == door && (t.User == "" || t.User == user) && (t.Database == "" || t.Database == database)
	})
	return a.names[i] // each door has one for everybody
}

// beginAgent waits for a place. Give it back with endAgent.
func (s *Server) beginAgent(ctx context.Context, names *agentNames) (*agentRows, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, agentPatience, errBusy)
	defer cancel()
	if err := s.agents.places.Acquire(ctx, 1); err != nil {
		return nil, unavailable(context.Cause(ctx))
	}
	a, ok := s.agents.idle.Get().(*agentRows)
	if !ok {
		a = &agentRows{server: s, judge: newJudge(door{}, model.Update), wanted: map[string]bool{}, refused: map[string]*refusal{}}
	}
	a.names, a.judge.door = names, s.door()
	a.most = min(agentPieceSamples, s.options.MaxBatchSamples, s.options.MaxBatchRuns)
	a.sent, a.stale, a.tags, a.gapSource, a.agentFaults = nil, nil, nil, "", agentFaults{}
	a.reset()
	return a, nil
}

func (s *Server) endAgent(a *agentRows) {
	if a.last = nil; cap(a.rows) <= 2*agentPieceSamples && cap(a.text) <= 2*agentPieceText {
		s.agents.idle.Put(a)
	}
	s.agents.places.Release(1)
}

// serveAgent lets take gather what is in a body, and waits until it is stored. The error is the answer to the body as a whole; faults call what their
// numbers count by one.
func (s *Server) serveAgent(ctx context.Context, names *agentNames, one string, take func(*agentRows) error) (stored uint64, err error) {
	a, err := s.beginAgent(ctx, names)
	if err != nil {
		return 0, err
	}
	waiting, err := s.gather(a, take)
	stored, waitErr := waiting.wait(ctx)
	if err == nil && waitErr == nil {
		waitErr = waiting.keepGaps(ctx, &stored)
	}
	switch {
	case err != nil && stored > 0:
		return stored, fmt.Errorf("%d values before it were stored: %w", stored, err)
	case err != nil || waitErr != nil:
		return stored, errors.Join(err, waitErr)
	}
	return stored, waiting.err(one)
}

// gather lets take gather what is in a body, and gives back the place. What it returns waits for the disk, and needs none.
func (s *Server) gather(a *agentRows, take func(*agentRows) error) (waiting *agentRows, err error) {
	whole := false
	defer func() {
		if !whole { // take panicked: whoever guards the call says so, and the rows are not used again
			s.agents.places.Release(1)
		}
	}()
	err = take(a)
	whole = true
	waiting = &agentRows{server: s, sent: a.sent, stale: a.stale, tags: a.tags, gapSource: a.gapSource, agentFaults: a.agentFaults}
	s.endAgent(a)
	return waiting, err
}

// agentContext is the context of a request of an agent: it refuses pages of other origins, and finds the token wherever agents have room for one.
func agentContext(ctx context.Context, r *http.Request) (context.Context, error) {
	// A body of lines is text, which a page in a browser of this machine may send anywhere without asking.
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return ctx, fmt.Errorf("%w: %w", err, errForbidden)
	}
	token, ok := agentToken(r)
	if !ok {
		return ctx, nil // whoever judges the caller says what is missing
	}
	md, _ := metadata.FromIncomingContext(ctx)
	md = md.Copy()
	md.Set("authorization", "Bearer "+token)
	return metadata.NewIncomingContext(ctx, md), nil
}

// agentToken is the token of a request: behind Bearer or Token, as the password of Basic authentication, behind Token as user:password, or as the
// parameter p beside u. The header goes first. Users are any, as elsewhere on this listener.
func agentToken(r *http.Request) (token string, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return "", false
	}
	if len(headers) == 0 {
		values := r.URL.Query()
		return values.Get("p"), values.Has("p")
	}
	if _, token, ok = basicAuth(headers[0]); ok {
		return token, true
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return token, true
	case strings.EqualFold(scheme, "token"):
		if _, password, ok := strings.Cut(token, ":"); ok {
			return password, true
		}
		return token, true
	}
	return "", false
}

// body is the body of a request, unpacked and bounded.
func (a *agentRows) body(r *http.Request) (io.Reader, error) {
	if r.ContentLength > maxAgentBody {
		return nil, bodyTooLarge()
	}
	a.raw = rawBody{from: http.MaxBytesReader(nil, r.Body, maxAgentBody)}
	packed := &a.raw
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return packed, nil
	case "gzip":
		var err error
		if a.zip == nil {
			a.zip, err = gzip.NewReader(packed)
		} else {
			err = a.zip.Reset(packed)
		}
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return &boundedReader{from: a.zip, left: maxAgentBody}, nil
	default:
		return nil, &httpError{http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.40q: must be gzip or none: %w", encoding, errBadField)}
	}
}

func bodyTooLarge() error {
	return &httpError{http.StatusRequestEntityTooLarge, fmt.Errorf("body has more than %d bytes, unpacked: %w", maxAgentBody, errTooMany)}
}

// boundedReader fails where what it reads goes on behind its bound.
type boundedReader struct {
	from io.Reader
	left int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.from.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, bodyTooLarge()
	}
	return n, err
}

// rawBody is a body as it comes, which remembers why it could not be read.
type rawBody struct {
	from io.Reader
	err  error
}

func (b *rawBody) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// bodyError is why a body could not be read: because of what it is, or because it did not come, which may be better the next time.
func (a *agentRows) bodyError(err error) error {
	_, large := errors.AsType[*http.MaxBytesError](err)
	_, own := errors.AsType[*httpError](err)
	switch {
	case own:
		return err
	case large:
		return bodyTooLarge()
	case a.raw.err != nil:
		return unavailable(fmt.Errorf("%w: %w", errBody, err))
	}
	return fmt.Errorf("%w: %w", errBody, err)
}

// hold waits until so many bytes may be held whole.
func (s *Server) hold(ctx context.Context, n int64) (release func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, agentPatience, errBusy)
	defer cancel()
	if err := s.agents.room.Acquire(ctx, n); err != nil {
		return nil, unavailable(context.Cause(ctx))
	}
	return func() { s.agents.room.Release(n) }, nil
}
