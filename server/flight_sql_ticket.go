package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// ticketLife is how long a ticket can be shown.
	ticketLife = 10 * time.Minute
	// ticketVersion begins every ticket.
	ticketVersion = 1
	// maxCancelled bounds the tickets that are remembered as cancelled.
	maxCancelled = 10_000
)

var (
	errBadTicket = errors.New("ticket cannot be used")
	errCancelled = errors.New("the statement was cancelled")
)

// handle names a prepared statement; zero names none. nonce names one ticket.
type (
	handle [16]byte
	nonce  [16]byte
)

// execution is what a ticket is for: a statement by its text, or by the handle of a prepared one and its parameters; or a part of the answer of
// a plain one, which has neither.
type execution struct {
	nonce  nonce
	text   string
	handle handle
	args   []byte // as encodeArgs makes them, or a part
}

func (x execution) isPart() bool { return x.text == "" && x.handle == handle{} }

// tickets signs executions, so that whoever shows a ticket got it here, within ticketLife and as the same caller. The key lives as
// long as the server: after a restart a client asks anew. A ticket grants nothing else; the caller is authorized as for any call.
//
//	1 version | 8 expires, nanoseconds UTC | 16 nonce | 16 handle | 4 length of text | text | parameters or part | 32 HMAC-SHA-256
//
// The code is of the caller's name, its length before it, and of everything in front of it. Numbers are big-endian.
type tickets struct {
	key  []byte
	rand io.Reader
	now  func() time.Time
}

const ticketHead = 1 + 8 + len(nonce{}) + len(handle{}) + 4

func newTickets(rand io.Reader, now func() time.Time) (tickets, error) {
	t := tickets{key: make([]byte, sha256.Size), rand: rand, now: now}
	if _, err := io.ReadFull(rand, t.key); err != nil {
		return t, fmt.Errorf("make the key of tickets: %w", err)
	}
	return t, nil
}

// issue makes a ticket for a caller.
func (t *tickets) issue(caller string, x execution) ([]byte, *timestamppb.Timestamp, error) {
	if _, err := io.ReadFull(t.rand, x.nonce[:]); err != nil {
		return nil, nil, fmt.Errorf("make a ticket: %w", err)
	}
	expires := t.now().Add(ticketLife)
	b := make([]byte, 0, ticketHead+len(x.text)+len(x.args)+sha256.Size)
	b = append(b, ticketVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(expires.UnixNano()))
	b = append(append(b, x.nonce[:]...), x.handle[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(x.text)))
	b = append(append(b, x.text...), x.args...)
	return append(b, t.sign(caller, b)...), timestamppb.New(expires), nil
}

func (t *tickets) sign(caller string, b []byte) []byte {
	mac := hmac.New(sha256.New, t.key)
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(caller))))
	mac.Write([]byte(caller))
	mac.Write(b)
	return mac.Sum(nil)
}

// verify is what a ticket that a caller shows is for.
func (t *tickets) verify(caller string, b []byte) (x execution, err error) {
	if len(b) < ticketHead+sha256.Size || b[0] != ticketVersion {
		return x, fmt.Errorf("%d bytes are no ticket of this server: %w", len(b), errBadTicket)
	}
	body, code := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(code, t.sign(caller, body)) {
		return x, fmt.Errorf("it was not made by this server since it started, or not for this caller; ask for the statement anew: %w", errBadTicket)
	}
	if expires := time.Unix(0, int64(binary.BigEndian.Uint64(body[1:]))); !t.now().Before(expires) {
		return x, fmt.Errorf("it expired at %s, %s after it was made; ask for the statement anew: %w", expires.UTC().Format(time.RFC3339), ticketLife, errBadTicket)
	}
	rest := body[1+8:]
	rest = rest[copy(x.nonce[:], rest):]
	rest = rest[copy(x.handle[:], rest):]
	n := binary.BigEndian.Uint32(rest)
	if rest = rest[4:]; uint64(n) > uint64(len(rest)) {
		return x, fmt.Errorf("text of %d bytes in a ticket of %d: %w", n, len(b), errBadTicket)
	}
	x.text, x.args = string(rest[:n]), rest[n:]
	return x, nil
}

// executions is what runs now and which tickets may not run any more.
type executions struct {
	mu struct {
		sync.Mutex
		running   map[nonce]map[*context.CancelCauseFunc]struct{} // a ticket may be shown several times
		cancelled map[nonce]time.Time                             // until when they are remembered
	}
}

// begin is a context for an execution that cancel ends. done must be called.
func (e *executions) begin(ctx context.Context, x execution) (_ context.Context, done func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.mu.cancelled[x.nonce]; ok {
		cancel(nil)
		return nil, nil, errCancelled
	}
	if e.mu.running == nil {
		e.mu.running = map[nonce]map[*context.CancelCauseFunc]struct{}{}
	}
	if e.mu.running[x.nonce] == nil {
		e.mu.running[x.nonce] = map[*context.CancelCauseFunc]struct{}{}
	}
	e.mu.running[x.nonce][&cancel] = struct{}{}
	return ctx, func() {
		cancel(nil)
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.mu.running[x.nonce], &cancel)
		if len(e.mu.running[x.nonce]) == 0 {
			delete(e.mu.running, x.nonce)
		}
	}, nil
}

// cancel ends what runs for a ticket, and keeps it from running again.
func (e *executions) cancel(x execution, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.mu.running[x.nonce] {
		(*c)(errCancelled)
	}
	for n, until := range e.mu.cancelled {
		if now.After(until) {
			delete(e.mu.cancelled, n)
		}
	}
	if len(e.mu.cancelled) >= maxCancelled {
		return fmt.Errorf("%d tickets were cancelled in %s; what ran for this one was ended, and the ticket itself stays good: %w", maxCancelled, ticketLife, errTooMany)
	}
	if e.mu.cancelled == nil {
		e.mu.cancelled = map[nonce]time.Time{}
	}
	e.mu.cancelled[x.nonce] = now.Add(ticketLife)
	return nil
}
