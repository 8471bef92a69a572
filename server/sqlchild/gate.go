package sqlchild

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrBusy is a statement that finds too many others waiting.
var ErrBusy = errors.New("too many statements wait")

// gate lets so many statements run at once. Those that wait take turns by caller, so that one who asks much keeps nobody else from asking.
type gate struct {
	mu      sync.Mutex
	free    int
	most    int // that wait
	waiting int
	callers []*line // who waits, the next to be let in first
}

// line is the statements of one caller that wait.
type line struct {
	caller string
	turns  []chan struct{}
}

func newGate(running, waiting int) *gate { return &gate{free: running, most: waiting} }

// enter waits for a turn; leave must be called behind it.
func (g *gate) enter(ctx context.Context, caller string) error {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	if g.waiting >= g.most {
		g.mu.Unlock()
		return fmt.Errorf("%d already: ask again later: %w", g.most, ErrBusy)
	}
	turn := make(chan struct{})
	g.lineOf(caller).turns = append(g.lineOf(caller).turns, turn)
	g.waiting++
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !g.giveUp(caller, turn) { // it came at the same moment
		g.leave()
	}
	return context.Cause(ctx)
}

func (g *gate) lineOf(caller string) *line {
	for _, l := range g.callers {
		if l.caller == caller {
			return l
		}
	}
	l := &line{caller: caller}
	g.callers = append(g.callers, l)
	return l
}

// giveUp takes a turn out of its line; false where it is not there any more.
func (g *gate) giveUp(caller string, turn chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, l := range g.callers {
		for j, t := range l.turns {
			if l.caller != caller || t != turn {
				continue
			}
			l.turns = append(l.turns[:j], l.turns[j+1:]...)
			if len(l.turns) == 0 {
				g.callers = append(g.callers[:i], g.callers[i+1:]...)
			}
			g.waiting--
			return true
		}
	}
	return false
}

// leave lets the next one in.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.callers) == 0 {
		g.free++
		return
	}
	l := g.callers[0]
	turn := l.turns[0]
	l.turns = l.turns[1:]
	g.callers = g.callers[1:]
	if len(l.turns) > 0 {
		g.callers = append(g.callers, l)
	}
	g.waiting--
	close(turn)
}
