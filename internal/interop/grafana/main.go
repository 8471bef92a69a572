// Grafana asks a Varve server what Grafana's data sources for Flight SQL and PostgreSQL ask: grafana FLIGHT POSTGRES CSV PAGE. CSV is what the server holds,
// its columns with TEP. before their names; PAGE is docs/howto/grafana.md, whose statements are asked as they stand there.
//
// The frames are made by Grafana's library for data sources. The macros, the metadata and the way a statement is asked are those of the
// two data sources, as their documentation has them; Grafana itself does not run here.
package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/data/sqlutil"
)

func main() {
	p, err := readPlant(os.Args[3])
	if err == nil {
		p.page, err = statements(os.Args[4])
	}
	if err == nil {
		err = flightSQL(context.Background(), os.Args[1], p)
	}
	if err == nil {
		err = postgres(context.Background(), os.Args[2], p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Grafana:", err)
		os.Exit(1)
	}
}

// ran reports a test of a client that held, with the version of its module.
func ran(client, module, test, what string) {
	version := "-"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				version = strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	fmt.Printf("ran | %s | %s | %s | %s\n", client, version, test, what)
}

const sdk = "github.com/grafana/grafana-plugin-sdk-go"

// plant is the file: times, the values of each column, and the statements of the page by their heading.
type plant struct {
	times   []time.Time
	columns map[string][]float64
	page    map[string][]string
}

func readPlant(path string) (*plant, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	p := &plant{columns: map[string][]float64{}}
	for _, row := range rows[1:] {
		t, err := time.Parse(time.RFC3339, row[0])
		if err != nil {
			return nil, err
		}
		p.times = append(p.times, t.UTC())
		for c, text := range row[1:] {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			p.columns[rows[0][c+1]] = append(p.columns[rows[0][c+1]], v)
		}
	}
	return p, nil
}

// statements are the blocks of SQL of a page, by the heading they stand under.
func statements(path string) (map[string][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out, heading := map[string][]string{}, ""
	var block *strings.Builder
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "## "):
			heading = line[3:]
		case line == "```sql":
			block = &strings.Builder{}
		case line == "```" && block != nil:
			out[heading] = append(out[heading], block.String())
			block = nil
		case block != nil:
			block.WriteString(line + "\n")
		}
	}
	return out, nil
}

// The time range of the dashboard, and the length of a step that Grafana works out of it and the width of the panel.
var (
	from     = time.Date(2001, 1, 1, 7, 0, 0, 0, time.UTC)
	to       = time.Date(2001, 1, 1, 9, 0, 0, 0, time.UTC)
	interval = 15 * time.Minute
)

// query is what the data source gets for a panel. Grafana itself replaces its variables first: $__interval stands for 15m there.
func query(text string) *sqlutil.Query {
	return &sqlutil.Query{RawSQL: text, RefID: "A", Interval: interval, TimeRange: backend.TimeRange{From: from, To: to}, MaxDataPoints: 100}
}

// step is a part of the range, its first time and the mean of the values in it.
type step struct {
	at   time.Time
	mean float64
	n    int
}

// means are those of a column, in steps of interval from 1970, between from and to, which both belong to it.
func (p *plant) means(column string) (out []step) {
	for i, t := range p.times {
		if t.Before(from) || t.After(to) {
			continue
		}
		at := t.Truncate(interval)
		if len(out) == 0 || !out[len(out)-1].at.Equal(at) {
			out = append(out, step{at: at})
		}
		s := &out[len(out)-1]
		s.mean += p.columns[column][i]
		s.n++
	}
	for i := range out {
		out[i].mean /= float64(out[i].n)
	}
	return out
}

// samples are those of a column between from and to, which both belong to it.
func (p *plant) samples(column string) (out []step) {
	for i, t := range p.times {
		if !t.Before(from) && !t.After(to) {
			out = append(out, step{t, p.columns[column][i], 1})
		}
	}
	return out
}

// requireSeries holds the field of a frame with a label, or without where tag is empty, against the values that should be there.
func requireSeries(f *data.Frame, tag string, want []step) error {
	if t := f.TimeSeriesSchema().Type; t != data.TimeSeriesTypeWide {
		return fmt.Errorf("the frame is no wide time series: %v", t)
	}
	times := f.Fields[f.TimeSeriesSchema().TimeIndex]
	for _, field := range f.Fields {
		if field == times || tag != "" && field.Labels["tag"] != tag && field.Labels["metric"] != tag {
			continue
		}
		if field.Len() != len(want) {
			return fmt.Errorf("%d rows, not %d", field.Len(), len(want))
		}
		for i, w := range want {
			t, _ := times.ConcreteAt(i)
			v, err := field.FloatAt(i)
			if err != nil {
				return err
			}
			if at := t.(time.Time); !at.Equal(w.at) || v-w.mean > 1e-12*max(w.mean, -w.mean) || w.mean-v > 1e-12*max(w.mean, -w.mean) {
				return fmt.Errorf("row %d is %v, %v, not %v, %v", i, at, v, w.at, w.mean)
			}
		}
		return nil
	}
	return errors.New("there is no such series")
}

// wide is a frame as a panel takes it.
func wide(f *data.Frame) (*data.Frame, error) {
	if f.TimeSeriesSchema().Type == data.TimeSeriesTypeLong {
		return data.LongToWide(f, nil)
	}
	return f, nil
}

// variables puts in place what Grafana replaces before a data source is asked.
func variables(text string) string {
	return strings.NewReplacer("$__interval", "15m", "$tag", "TEP.XMEAS_09").Replace(text)
}
