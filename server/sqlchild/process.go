package sqlchild

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"

	"github.com/varvedb/varve/internal/inherited"
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
)

// process is one SQL process.
type process struct {
	cmd    *exec.Cmd
	client *grpc.ClientConn
	engine sqlchildv1.EngineServiceClient
	server *grpc.Server
	begun  time.Time
	ended  chan struct{} // closed when the process is gone

	answered atomic.Bool // a statement was answered

	mu     sync.Mutex
	reason string // why it was killed, or how it ended
	code   int    // it ended with
}

// exitNotBuilt is what a program ends with that was built without SQL.
const exitNotBuilt = 3

// startTimeout is how long a process may take to begin.
const startTimeout = 20 * time.Second

// start starts a process and waits until it answers.
func start(ctx context.Context, o Options, tables sqlchildv1.TableServiceServer, options []grpc.ServerOption) (*process, error) {
	if _, err := os.Stat(o.Binary); err != nil {
		return nil, fmt.Errorf("%w: there is no program %s; `make build` makes it where a C compiler is, beside varve", ErrNotBuilt, o.Binary)
	}
	if err := emptyDir(o.TempDir); err != nil {
		return nil, err
	}
	ours, theirs, err := socketPairs(2)
	if err != nil {
		return nil, err
	}
	p := &process{begun: time.Now(), ended: make(chan struct{})}
	p.cmd = exec.Command(o.Binary, "--memory", strconv.FormatInt(o.MemoryBytes, 10), "--threads", strconv.Itoa(o.Threads), "--temp", o.TempDir,
		"--temp-bytes", strconv.FormatInt(o.TempBytes, 10))
	p.cmd.Env = []string{} // not even ours
	p.cmd.Dir = "/"
	p.cmd.ExtraFiles = theirs
	p.cmd.SysProcAttr = attributes()
	said, err := p.cmd.StderrPipe()
	if err != nil {
		closeAll(ours, theirs)
		return nil, err
	}
	started := make(chan error, 1)
	go p.wait(o, said, started)
	err = <-started
	for _, f := range theirs {
		_ = f.Close() // they are the process's now
	}
	if err != nil {
		closeAll(ours, nil)
		return nil, fmt.Errorf("start %s: %w", o.Binary, err)
	}
	if err := p.connect(ours, tables, options); err != nil {
		p.kill(err.Error())
		return nil, err
	}
	go p.watch(o.MemoryBytes+512<<20, o.Written)
	if err := p.ready(ctx); err != nil {
		p.kill(err.Error())
		<-p.ended
		p.hangUp()
		if p.code == exitNotBuilt {
			return nil, fmt.Errorf("%w: %s was built without a C compiler; build it again with one (`make build`)", ErrNotBuilt, o.Binary)
		}
		return nil, fmt.Errorf("start %s: %w (%s)", o.Binary, err, p.why())
	}
	o.Logger.Info("SQL process started", "pid", p.pid(), "took", time.Since(p.begun))
	return p, nil
}

// emptyDir makes a directory of our own that is empty.
func emptyDir(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory for temporary files of SQL: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "duckdb_temp_*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("remove temporary files of SQL: %w", err)
		}
	}
	return nil
}

func closeAll(conns []net.Conn, files []*os.File) {
	for _, c := range conns {
		_ = c.Close()
	}
	for _, f := range files {
		_ = f.Close()
	}
}

// connect speaks over our ends of the sockets.
func (p *process) connect(ours []net.Conn, tables sqlchildv1.TableServiceServer, options []grpc.ServerOption) error {
	client, err := inherited.Dial(ours[0],
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(16<<20), grpc.WithReadBufferSize(256<<10),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}), // one that hangs is gone
	)
	if err != nil {
		return err
	}
	server := grpc.NewServer(append([]grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20), grpc.WriteBufferSize(256 << 10)}, options...)...)
	sqlchildv1.RegisterTableServiceServer(server, tables)
	p.mu.Lock()
	p.client, p.engine, p.server = client, sqlchildv1.NewEngineServiceClient(client), server
	p.mu.Unlock()
	go func() { _ = server.Serve(inherited.Listen(ours[1])) }() // its end is that of the process, which wait tells of
	return nil
}

// hangUp ends what is spoken with the process.
func (p *process) hangUp() {
	p.mu.Lock()
	client, server := p.client, p.server
	p.mu.Unlock()
	if client != nil {
		_ = client.Close()
	}
	if server != nil {
		server.Stop()
	}
}

// ready waits until the process answers.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it did not answer in %s", startTimeout))
	defer cancel()
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	_, err := p.engine.Prepare(ctx, &sqlchildv1.StatementRequest{Sql: "SELECT 1"}, grpc.WaitForReady(true))
	if err != nil && p.over() {
		return errors.New("it ended at once")
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		go p.watchConnection()
	}
	return err
}

// watchConnection kills a process that does not answer any more.
func (p *process) watchConnection() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-p.ended
		cancel()
	}()
	for state := p.client.GetState(); p.client.WaitForStateChange(ctx, state); {
		if state = p.client.GetState(); state == connectivity.TransientFailure || state == connectivity.Shutdown {
			p.kill("it did not answer")
			return
		}
	}
}

// tail keeps the last lines a process said.
const tailLines = 20

// scan logs what a process says until it says no more.
func scan(o Options, said io.Reader) {
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 64<<10)
	for n := 0; lines.Scan(); n++ {
		if n < 10*tailLines {
			o.Logger.Info("SQL process", "says", lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, said)
}

// finish notes how the process ended.
func (p *process) finish(o Options, err error) {
	p.mu.Lock()
	if p.reason == "" {
		p.reason = "it ended by itself"
		if err != nil {
			p.reason = err.Error()
		}
	}
	p.code = p.cmd.ProcessState.ExitCode()
	reason := p.reason
	p.mu.Unlock()
	close(p.ended)
	p.hangUp()
	o.Logger.Info("SQL process ended", "pid", p.pid(), "reason", reason)
}

// kill ends the process.
func (p *process) kill(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason == "" {
		p.reason = reason
	}
	_ = p.cmd.Process.Kill() // if it is gone already, so much the better
}

func (p *process) why() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }
