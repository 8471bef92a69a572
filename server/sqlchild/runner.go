package sqlchild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/message"
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
)

// Errors of statements.
var (
	// ErrNotBuilt is SQL asked of a server that has no SQL process to start.
	ErrNotBuilt = errors.New("SQL is not built")
	// ErrOff is SQL asked of a server that is told to have none.
	ErrOff = errors.New("SQL is switched off")
	// ErrLost is a statement whose process ended. Asked again it finds another one.
	ErrLost = errors.New("the SQL process ended while the statement ran")
	// ErrTimeout is a statement that took longer than it may.
	ErrTimeout = errors.New("the statement took longer than it may")
)

// Options tune a Runner. The zero value of a field means its default.
type Options struct {
	// Off refuses statements.
	Off bool
	// Binary is the program of the process. The default is varve-sql beside the program that runs.
	Binary string
	// MemoryBytes is what the engine may hold. The default is 256 MiB. Its process is killed at 512 MiB more.
	MemoryBytes int64
	// Threads is how many threads the engine has. The default is 1: a statement leaves the rest of the machine to ingest.
	Threads int
	// Timeout is how long a statement may run, and its client may take over its rows. The default is 5 minutes.
	Timeout time.Duration
	// TempDir is a directory of the runner's own for what does not fit in memory: it is emptied when the process starts. The default is none;
	// what does not fit then fails.
	TempDir string
	// TempBytes is the most in TempDir. The default is 1 GiB.
	TempBytes int64
	// Running is how many statements run at once. The default is 4.
	Running int
	// Waiting is how many more may wait for their turn. The default is 64.
	Waiting int
	// Written is how many samples writers have brought so far. While they bring more than 100,000 a second, the process keeps off the first of the
	// machine's processors (Linux). By default none are.
	Written func() uint64
	// Logger gets what an operator should know. The default discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Written == nil {
		o.Written = func() uint64 { return 0 }
	}
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find the program of the SQL process: %w", err)
		}
		o.Binary = filepath.Join(filepath.Dir(self), "varve-sql")
	}
	setDefault(&o.MemoryBytes, 256<<20)
	setDefault(&o.Threads, 1)
	setDefault(&o.Timeout, 5*time.Minute)
	setDefault(&o.TempBytes, 1<<30)
	setDefault(&o.Running, 4)
	setDefault(&o.Waiting, 64)
	switch {
	case o.MemoryBytes < 32<<20:
		return o, fmt.Errorf("memory for SQL is %d bytes, least is %d", o.MemoryBytes, 32<<20)
	case o.Threads < 1 || o.Running < 1 || o.Waiting < 0 || o.Timeout < 0 || o.TempBytes < 0:
		return o, fmt.Errorf("threads %d, statements %d and %d, timeout %s, temporary bytes %d for SQL: none may be negative, the first two must be at least 1",
			o.Threads, o.Running, o.Waiting, o.Timeout, o.TempBytes)
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Runner runs statements in a process that it keeps. It is safe for concurrent use.
type Runner struct {
	o       Options
	tables  sqlchildv1.TableServiceServer
	options []grpc.ServerOption
	gate    *gate

	life context.Context // of starts
	end  context.CancelFunc

	mu       sync.Mutex
	process  *process  // nil: none was started, or it ended
	starting *starting // nil: none is
	failed   int       // starts that failed, or ended at once, in a row
	next     time.Time
	closed   bool
}

// starting is a process that is to answer soon. Whoever waits for it may give up; it is for whoever asks next then.
type starting struct {
	done    chan struct{} // closed when the rest is set
	process *process
	err     error
}

// New makes a runner whose process asks tables, which are served with options. It starts none before the first statement.
func New(o Options, tables sqlchildv1.TableServiceServer, options ...grpc.ServerOption) (*Runner, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	return &Runner{o: o, tables: tables, options: options, gate: newGate(o.Running, o.Waiting), life: life, end: end}, nil
}

// Timeout is how long a statement may run.
func (r *Runner) Timeout() time.Duration { return r.o.Timeout }

// Close ends the process. Statements that run end with ErrLost.
func (r *Runner) Close() {
	r.end()
	r.mu.Lock()
	p, s := r.process, r.starting
	r.closed = true
	r.mu.Unlock()
	if s != nil {
		<-s.done
		p = s.process
	}
	if p != nil {
		p.kill("the server stops")
		<-p.ended
	}
}

// Kill ends the process, if there is one. The next statement finds another.
func (r *Runner) Kill(reason string) {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p != nil {
		p.kill(reason)
	}
}

// Pid is the number of the process, 0 while there is none.
func (r *Runner) Pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	return r.process.pid()
}

// Prepare says which columns and parameters a statement has.
func (r *Runner) Prepare(ctx context.Context, caller string, request *sqlchildv1.StatementRequest) (out *sqlchildv1.Prepared, err error) {
	err = r.with(ctx, caller, func(ctx context.Context, p *process) error {
		out, err = p.engine.Prepare(ctx, request)
		return err
	})
	return out, err
}

// codec takes answers as they came, in memory that the next ones take again.
var codec = message.NewCodec(&message.Pool{})

// Execute runs a statement and hands its answer to put as it comes: whole messages of an Arrow stream, which hold until put returns. Of an
// answer that is plain put gets nothing, and the scan that it is the rows of is returned; the statement has no turn any more then.
func (r *Runner) Execute(ctx context.Context, caller string, request *sqlchildv1.StatementRequest, put func(ipc []byte) error) (plain *sqlchildv1.Plain, err error) {
	err = r.with(ctx, caller, func(ctx context.Context, p *process) error {
		plain = nil
		stream, err := p.engine.Execute(ctx, request, grpc.ForceCodecV2(codec))
		if err != nil {
			return err
		}
		var m message.Received
		defer m.Free()
		for begun := false; ; begun = true {
			m.Free()
			err := stream.RecvMsg(&m)
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil && begun && p.lost(ctx, err):
				return fmt.Errorf("%w (%s); ask again", ErrLost, p.why())
			case err != nil:
				return err
			}
			ipc, err := m.Bytes(1)
			if err != nil {
				return err
			}
			if ipc == nil && !begun {
				var answer sqlchildv1.Answer
				if err := proto.Unmarshal(m.Data(), &answer); err != nil {
					return fmt.Errorf("decode answer: %w", err)
				}
				if plain = answer.Plain; plain != nil {
					continue
				}
			}
			if err := put(ipc); err != nil {
				return err
			}
		}
	})
	return plain, err
}

// again is how long a statement may have run that is asked anew when its process ended: it found a dead one. One that ran for longer may
// be what killed it.
const again = 2 * time.Second

// with waits for a turn, and lets ask ask the process. An ask that has put out anything says itself that its process ended.
func (r *Runner) with(ctx context.Context, caller string, ask func(context.Context, *process) error) error {
	if r.o.Off {
		return fmt.Errorf("%w on this server (--sql off)", ErrOff)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.Timeout, fmt.Errorf("%w: %s", ErrTimeout, r.o.Timeout))
	defer cancel()
	if err := r.gate.enter(ctx, caller); err != nil {
		return err
	}
	defer r.gate.leave()
	for first := true; ; first = false {
		p, err := r.running(ctx)
		if err != nil {
			return err
		}
		begun := time.Now()
		err = ask(ctx, p)
		lasted := time.Since(begun)
		if err == nil {
			p.answered.Store(true)
			return nil
		}
		switch lost := p.lost(ctx, err); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !lost:
			return err
		case !first || lasted > again:
			return fmt.Errorf("%w (%s); ask again", ErrLost, p.why())
		}
	}
}

// The pause before another start grows with starts that came to nothing.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 30 * time.Second
	steady     = 10 * time.Second // a process that lasted as long, or answered a statement, did not come to nothing
)

// running is the process, a new one if need be.
func (r *Runner) running(ctx context.Context) (*process, error) {
	for {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return nil, fmt.Errorf("%w (the server stops)", ErrLost)
		}
		if r.process != nil && !r.process.over() {
			defer r.mu.Unlock()
			return r.process, nil
		}
		s, pause := r.startLocked()
		r.mu.Unlock()
		if s == nil { // others may look meanwhile; who comes first starts it
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil, context.Cause(ctx)
			}
			continue
		}
		select {
		case <-s.done:
			return s.process, s.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// startLocked is the process that is being started, or how long it is until another may be.
func (r *Runner) startLocked() (*starting, time.Duration) {
	if r.starting != nil {
		return r.starting, 0
	}
	if r.process != nil {
		r.over(r.process.answered.Load() || time.Since(r.process.begun) >= steady)
	}
	if pause := time.Until(r.next); pause > 0 {
		return nil, pause
	}
	r.starting = &starting{done: make(chan struct{})}
	go r.start(r.starting)
	return r.starting, 0
}

// start starts a process, in its own time and not in that of the statement that asked first.
func (r *Runner) start(s *starting) {
	defer close(s.done)
	s.process, s.err = start(r.life, r.o, r.tables, r.options)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting = nil
	switch {
	case s.err == nil:
		r.process = s.process
	case !errors.Is(s.err, ErrNotBuilt):
		r.over(false)
		r.o.Logger.Error("the SQL process does not start", "error", s.err)
	}
}

// over notes that a process ended, or did not start. One that was of use may be followed at once, and so may the first that was not.
func (r *Runner) over(useful bool) {
	r.process = nil
	if useful {
		r.failed, r.next = 0, time.Time{}
		return
	}
	if r.failed > 0 {
		r.next = time.Now().Add(min(firstPause<<min(r.failed-1, 10), mostPause))
	}
	r.failed++
}

// lost reports whether a call ended because its process did, and not for want of time.
func (p *process) lost(ctx context.Context, err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
	default:
		return false
	}
	select {
	case <-p.ended: // which is noticed a moment later than that of its calls
		return true
	case <-ctx.Done(): // as its time is, which the process may notice first
		return false
	case <-time.After(time.Second):
		return false
	}
}
