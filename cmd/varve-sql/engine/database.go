//go:build cgo

package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/duckdb/duckdb-go/mapping"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
)

// Options tune a Database.
type Options struct {
	MemoryBytes int64  // what the engine may hold before it writes to TempDir
	Threads     int    //
	TempDir     string // empty: nothing is written, and what does not fit fails
	TempBytes   int64  // most in TempDir
}

// Database is the engine. It is safe for concurrent use.
type Database struct {
	db     mapping.Database
	tables map[string]*Table

	mu       sync.Mutex
	sessions map[uint64]*session // by the number of their connection
	idle     []*session
}

// Table is a table that statements may name.
type Table struct {
	rewrite.Table
	Types   []Type // of each column
	Dynamic bool   // a function whose columns depend on its arguments; it is described without
}

// Type is a type of column.
type Type uint8

const (
	Boolean Type = iota + 1
	BigInt
	Double
	Varchar
	TimestampTZ
	Blob
)

func (t Type) engine() mapping.Type {
	switch t {
	case Boolean:
		return mapping.TypeBoolean
	case BigInt:
		return mapping.TypeBigInt
	case Double:
		return mapping.TypeDouble
	case TimestampTZ:
		return mapping.TypeTimestampTZ
	case Blob:
		return mapping.TypeBlob
	}
	return mapping.TypeVarchar
}

// ErrStatement is a statement that the engine does not take, or that fails for what it says.
var ErrStatement = errors.New("statement fails")

// ErrMemory is a statement that needs more memory, or temporary space, than it may have. It is an ErrStatement.
var ErrMemory = fmt.Errorf("%w for want of memory", ErrStatement)

// Open opens an empty database that knows tables.
func Open(o Options, tables []*Table) (*Database, error) {
	d := &Database{tables: map[string]*Table{}, sessions: map[uint64]*session{}}
	for _, t := range tables {
		d.tables[t.Name] = t
	}
	var config mapping.Config
	if mapping.CreateConfig(&config) != mapping.StateSuccess {
		return nil, errors.New("open the engine: no configuration")
	}
	defer mapping.DestroyConfig(&config)
	for _, s := range o.atOpen() {
		if mapping.SetConfig(config, s[0], s[1]) != mapping.StateSuccess {
			return nil, fmt.Errorf("open the engine: it does not take %s=%s", s[0], s[1])
		}
	}
	var message string
	if mapping.OpenExt(":memory:", &d.db, config, &message) != mapping.StateSuccess {
		return nil, fmt.Errorf("open the engine: %s", message)
	}
	if err := d.lock(o); err != nil {
		mapping.Close(&d.db)
		return nil, err
	}
	return d, nil
}

// atOpen is what must be set before anything runs.
func (o Options) atOpen() [][2]string {
	return [][2]string{
		{"autoinstall_known_extensions", "false"}, {"autoload_known_extensions", "false"}, {"allow_community_extensions", "false"}, {"allow_unsigned_extensions", "false"},
		{"threads", strconv.Itoa(max(o.Threads, 1))}, {"memory_limit", fmt.Sprintf("%dB", o.MemoryBytes)},
		{"temp_directory", o.TempDir},
		{"allocator_background_threads", "false"},
	}
}

// settings is what lock sets, in order, and reads back.
var settings = [][2]string{
	{"TimeZone", "UTC"}, {"Calendar", "gregorian"}, {"preserve_insertion_order", "true"},
	{"allow_persistent_secrets", "false"}, {"enable_external_access", "false"}, {"lock_configuration", "true"},
}

// macros are functions that clients of other databases ask for, made of those there are. Grafana's data source for Flight SQL writes date_bin,
// which is PostgreSQL's.
var macros = []string{"CREATE MACRO date_bin(stride, source, origin) AS time_bucket(stride, source, origin)"}

// lock makes settings final, registers scans and macros, and reads back that all is as it was set.
func (d *Database) lock(o Options) error {
	s, err := d.connect()
	if err != nil {
		return err
	}
	defer d.release(s)
	if err := register(s.conn); err != nil {
		return err
	}
	for _, m := range macros {
		if err := s.run(m); err != nil {
			return fmt.Errorf("%s: %w", m, err)
		}
	}
	// At the opening the engine takes this one, tells it, and does not keep to it.
	bound := [2]string{"max_temp_directory_size", fmt.Sprintf("%dB", o.TempBytes)}
	for _, x := range append([][2]string{bound}, settings...) {
		if err := s.run(fmt.Sprintf("SET GLOBAL %s = '%s'", x[0], x[1])); err != nil {
			return fmt.Errorf("set %s: %w", x[0], err)
		}
	}
	for _, x := range append(settings, [2]string{"autoinstall_known_extensions", "false"}, [2]string{"autoload_known_extensions", "false"},
		[2]string{"allow_community_extensions", "false"}, [2]string{"threads", strconv.Itoa(max(o.Threads, 1))}, [2]string{"temp_directory", o.TempDir}) {
		have, err := s.text(fmt.Sprintf("SELECT current_setting('%s')::VARCHAR", x[0]))
		if err != nil {
			return fmt.Errorf("read back %s: %w", x[0], err)
		}
		if !strings.EqualFold(have, x[1]) {
			return fmt.Errorf("setting %s is %q after it was set to %q", x[0], have, x[1])
		}
	}
	if err := s.run("SET threads = 7"); err == nil {
		return errors.New("settings can be changed after they were locked")
	}
	return nil
}

// Close ends the engine. No statement may run.
func (d *Database) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sessions {
		s.close()
	}
	mapping.Close(&d.db)
}

// acquire is a session for one statement.
func (d *Database) acquire() (*session, error) {
	d.mu.Lock()
	if n := len(d.idle); n > 0 {
		s := d.idle[n-1]
		d.idle = d.idle[:n-1]
		d.mu.Unlock()
		return s, nil
	}
	d.mu.Unlock()
	return d.connect()
}

// connect opens a session.
func (d *Database) connect() (*session, error) {
	s := &session{database: d}
	if mapping.Connect(d.db, &s.conn) != mapping.StateSuccess {
		return nil, errors.New("connect to the engine: refused")
	}
	var c mapping.ClientContext
	mapping.ConnectionGetClientContext(s.conn, &c)
	s.number = uint64(mapping.ClientContextGetConnectionId(c))
	mapping.DestroyClientContext(&c)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[s.number] = s
	return s, nil
}

// release gives a session back.
func (d *Database) release(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle = append(d.idle, s)
}

// drop ends a session that is in no state to be used again.
func (d *Database) drop(s *session) {
	d.mu.Lock()
	delete(d.sessions, s.number)
	d.mu.Unlock()
	s.close()
}

func (d *Database) known() map[string]*rewrite.Table {
	out := make(map[string]*rewrite.Table, len(d.tables))
	for name, t := range d.tables {
		out[name] = &t.Table
	}
	return out
}
