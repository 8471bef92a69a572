package collector

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/internal/disk"
	"github.com/varvedb/varve/internal/saturate"
	"github.com/varvedb/varve/model"
)

// The quarantine of a source is a folder of files with readings whose times are not believed, a line of JSON each, as the source gave them. Whoever
// knows what was wrong with the clock asks for them to be replayed with other times; the running collector, or the next one, does it.
const (
	quarantineFolder = "quarantine"
	quarantineExt    = ".jsonl"    // readings
	requestExt       = ".replay"   // beside a file: how to replay it
	replayedExt      = ".replayed" // readings that were replayed, kept until they are dropped
	// maxQuarantineFile is where a file ends and the next begins.
	maxQuarantineFile = 8 << 20
)

// quarantine writes the readings of one source that are set aside.
type quarantine struct {
	dir  string
	max  int64 // bytes of all files
	file *os.File
	size int64 // of file
	all  int64 // bytes of all files

	dirty bool
}

var errQuarantineFull = errors.New("the quarantine is full: replay or drop what is in it")

// set aside is one reading of a quarantine.
type setAside struct {
	Address    string `json:"address"`
	Time       int64  `json:"time"`     // as the source gave it, ns UTC
	Received   int64  `json:"received"` // ns UTC
	Type       string `json:"type,omitempty"`
	Bits       uint64 `json:"bits,omitempty"`
	Text       []byte `json:"text,omitempty"`
	Quality    uint32 `json:"quality,omitempty"`
	Historical bool   `json:"historical,omitempty"`
}

func (x setAside) reading() (Reading, error) {
	r := Reading{Address: x.Address, Time: x.Time, HasTime: true, Quality: model.Quality(x.Quality), Historical: true}
	if x.Type != "" {
		t, err := model.ParseType(x.Type)
		if err != nil {
			return r, err
		}
		r.Value = Value{Type: t, Bits: x.Bits, Text: string(x.Text)}
	}
	return r, nil
}

func openQuarantine(sourceDir string, most int64) (*quarantine, error) {
	q := &quarantine{dir: filepath.Join(sourceDir, quarantineFolder), max: most}
	if err := os.MkdirAll(q.dir, 0o755); err != nil {
		return nil, err
	}
	return q, q.measure()
}

func (q *quarantine) measure() error {
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return err
	}
	q.all = 0
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			q.all += st.Size()
		}
	}
	return nil
}

// add sets a reading aside.
func (q *quarantine) add(r *Reading, received int64) error {
	x := setAside{Address: r.Address, Time: r.Time, Received: received, Bits: r.Value.Bits, Quality: uint32(r.Quality), Historical: r.Historical}
	if !r.Value.IsNull() {
		x.Type = r.Value.Type.String()
	}
	if r.Value.Type.Blob() {
		x.Text = []byte(r.Value.Text)
	}
	line, err := json.Marshal(x)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if q.all+int64(len(line)) > q.max {
		return errQuarantineFull
	}
	if q.file == nil || q.size+int64(len(line)) > maxQuarantineFile {
		if err := q.close(); err != nil {
			return err
		}
		name := time.Unix(0, received).UTC().Format("20060102T150405.000000000Z") + quarantineExt
		if q.file, err = os.OpenFile(filepath.Join(q.dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			return err
		}
		if err := disk.SyncDir(q.dir); err != nil {
			return err
		}
		q.size = 0
	}
	if _, err := q.file.Write(line); err != nil {
		return err
	}
	q.size, q.all, q.dirty = q.size+int64(len(line)), q.all+int64(len(line)), true
	return nil
}

func (q *quarantine) sync() error {
	if !q.dirty {
		return nil
	}
	q.dirty = false
	return q.file.Sync()
}

func (q *quarantine) close() error {
	if q.file == nil {
		return nil
	}
	err := errors.Join(q.sync(), q.file.Close())
	q.file = nil
	return err
}

// QuarantineFile is one file of readings set aside.
type QuarantineFile struct {
	ID       string // SOURCE/NAME
	Readings int
	// Received is from the first to the last, ns UTC; Times from the earliest to the latest that the source gave.
	FirstReceived, LastReceived int64
	FirstTime, LastTime         int64
	Addresses                   int
	State                       string // waiting, to be replayed, or replayed
	path                        string
}

// Off is by how much the source's times are ahead of the collector's, between which bounds.
func (f QuarantineFile) Off() (least, most time.Duration) {
	return time.Duration(saturate.Sub(f.FirstTime, f.FirstReceived)), time.Duration(saturate.Sub(f.LastTime, f.LastReceived))
}

// ListQuarantine is what the sources of a configuration have set aside; of one source where it is not empty.
func ListQuarantine(c *Config, source string) (out []QuarantineFile, err error) {
	for i := range c.Sources {
		name := c.Sources[i].Name
		if source != "" && source != name {
			continue
		}
		dir := filepath.Join(c.sourceDir(name), quarantineFolder)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if ext != quarantineExt && ext != replayedExt {
				continue
			}
			f, err := lookAtQuarantine(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			f.ID = name + "/" + strings.TrimSuffix(strings.TrimSuffix(e.Name(), replayedExt), quarantineExt)
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b QuarantineFile) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func lookAtQuarantine(path string) (QuarantineFile, error) {
	f := QuarantineFile{path: path, State: "waiting", FirstTime: math.MaxInt64, LastTime: math.MinInt64}
	if filepath.Ext(path) == replayedExt {
		f.State = "replayed"
	} else if _, err := os.Stat(path + requestExt); err == nil {
		f.State = "to be replayed"
	}
	all, err := readQuarantine(path)
	addresses := map[string]bool{}
	for _, x := range all {
		if f.Readings++; f.Readings == 1 {
			f.FirstReceived = x.Received
		}
		f.LastReceived = x.Received
		f.FirstTime, f.LastTime = min(f.FirstTime, x.Time), max(f.LastTime, x.Time)
		addresses[x.Address] = true
	}
	f.Addresses = len(addresses)
	return f, err
}

// readQuarantine reads a file. A last line that a crash cut off is left out.
func readQuarantine(path string) (out []setAside, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, len(b)+1)
	for lines.Scan() {
		var x setAside
		if json.Unmarshal(lines.Bytes(), &x) == nil {
			out = append(out, x)
		}
	}
	return out, lines.Err()
}

// Replay says with which times readings are replayed.
type Replay struct {
	Shift   time.Duration `json:"shift"`   // is added to the source's times
	Receipt bool          `json:"receipt"` // the time of receipt takes their place instead
}

func (r Replay) timeOf(x setAside) int64 {
	if r.Receipt {
		return x.Received
	}
	t := x.Time + int64(r.Shift)
	if (t > x.Time) != (r.Shift > 0) && r.Shift != 0 {
		return math.MaxInt64 // no time that a sample has
	}
	return t
}

func quarantineByID(c *Config, id string) (QuarantineFile, error) {
	all, err := ListQuarantine(c, "")
	if err != nil {
		return QuarantineFile{}, err
	}
	for _, f := range all {
		if f.ID == id {
			return f, nil
		}
	}
	return QuarantineFile{}, fmt.Errorf("no quarantine file has the id %q; varve collect quarantine list shows them", id)
}

// RequestReplay asks the collector to replay a file, by the id that ListQuarantine gives it: at once if it runs, else when it does.
func RequestReplay(c *Config, id string, r Replay) error {
	f, err := quarantineByID(c, id)
	if err != nil {
		return err
	}
	if f.State == "replayed" { // with other times now: what was stored before stays
		back := strings.TrimSuffix(f.path, replayedExt)
		if err := os.Rename(f.path, back); err != nil {
			return err
		}
		f.path = back
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return WriteFile(f.path+requestExt, b)
}

// DropQuarantine removes a file for good.
func DropQuarantine(c *Config, id string) error {
	f, err := quarantineByID(c, id)
	if err != nil {
		return err
	}
	if err := os.Remove(f.path + requestExt); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(f.path)
}

// requests are the files that ask for a replay of the one beside them. That is not written to any more.
func (q *quarantine) requests() ([]string, error) {
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), quarantineExt+requestExt) {
			found = append(found, filepath.Join(q.dir, e.Name()))
		}
	}
	if found == nil {
		return nil, nil
	}
	return found, errors.Join(q.close(), q.measure())
}

// replay hands what was set aside to put, as readings that are late on purpose, and notes that it is done when put returns nil. After a crash
// in between it is done again, which changes nothing that is stored.
func replay(request string, put func([]Reading) error) error {
	b, err := os.ReadFile(request)
	if err != nil {
		return err
	}
	var how Replay
	if err := json.Unmarshal(b, &how); err != nil {
		return errors.Join(err, os.Rename(request, request+".bad"))
	}
	path := strings.TrimSuffix(request, requestExt)
	all, err := readQuarantine(path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(request)
	}
	if err != nil {
		return fmt.Errorf("replay %s: %w", path, err)
	}
	readings := make([]Reading, 0, len(all))
	for _, x := range all {
		r, err := x.reading()
		if err != nil {
			continue // of a release that has other types
		}
		r.Time = how.timeOf(x)
		readings = append(readings, r)
	}
	if err := put(readings); err != nil {
		return fmt.Errorf("replay %s: %w", path, err)
	}
	if err := os.Rename(path, path+replayedExt); err != nil {
		return err
	}
	return os.Remove(request)
}
