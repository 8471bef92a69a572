package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varvedb/varve/bench/plant"
)

// grown is a sealed store of W1 that grew in stages, each a plant of its own behind the one before.
type grown struct {
	Tags  int `json:"tags"`
	Total int `json:"samples"`
	Stage int `json:"stage"`
}

func (g grown) validate() error {
	if g.Tags < 2 || g.Stage < 1 || g.Total < g.Stage || g.Stage%(10*g.Tags) != 0 || g.Total%g.Stage != 0 {
		return fmt.Errorf("--samples %d, --stage %d: must be multiples, the first of the second and that of ten times --tags %d, of which there are two", g.Total, g.Stage, g.Tags)
	}
	return nil
}

// stages are the loads it is made of.
func (g grown) stages() []options {
	w := (&growthOptions{Connections: 2, Repeat: 1, Output: "table"}).workload(g.Tags, g.Stage)
	w.Begin = plant.Start
	all := []options{*w}
	for range g.Total/g.Stage - 1 {
		all = append(all, all[len(all)-1].following())
	}
	return all
}

// steps is how many samples each tag has, one a second.
func (g grown) steps() int { return g.Total / g.Tags }

// at is where a step begins in nanoseconds; the sample of it follows within 40 ms.
func (g grown) at(step int) int64 { return plant.Start*millisecond + int64(step)*second }

// sent are the samples of a tag between two instants in nanoseconds.
func (g grown) sent(tag int, from, to int64) series {
	var out series
	for _, o := range g.stages() {
		begin, end := o.start()*millisecond, (o.start()+int64(o.TagSamples)*o.step())*millisecond
		if end+second <= from || begin >= to {
			continue
		}
		times, values := makeTag(&o, tag, min(o.TagSamples, int((to-begin)/second)+1))
		for i, t := range times {
			if t >= from && t < to {
				out.add(t/millisecond, values[i])
			}
		}
	}
	return out
}

// grownFile says beside a store that is kept what it holds.
const grownFile = "bench.json"

// load makes the store under dir unless a run before left it there.
func (g grown) load(ctx context.Context, binary, dir string, log io.Writer) (*ingestReport, error) {
	b, err := os.ReadFile(filepath.Join(dir, grownFile))
	if err == nil {
		var have grown
		if err := json.Unmarshal(b, &have); err != nil || have != g {
			return nil, fmt.Errorf("the store in %s holds other samples, %s: another --data, or its --tags, --samples and --stage", dir, bytes.TrimSpace(b))
		}
		return nil, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data := filepath.Join(dir, "store")
	if _, err := os.Stat(data); err == nil {
		return nil, fmt.Errorf("%s is a store that was not loaded to its end: remove it", data)
	}
	s, err := startServer(ctx, binary, data, nil)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	var last *ingestReport
	for i, o := range g.stages() {
		fmt.Fprintf(log, "the store grows to %.1f M samples\n", float64((i+1)*g.Stage)/1e6)
		if last, err = measureIngest(ctx, s, &o); err != nil {
			return nil, fmt.Errorf("%w\nthe server said:\n%s", err, s.log)
		}
	}
	conn, err := dial(s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := measureStored(ctx, s, conn, data, uint64(g.Total), seal); err != nil {
		return nil, err
	}
	if _, err := s.stop(); err != nil {
		return nil, err
	}
	b, err = json.Marshal(g)
	if err != nil {
		return nil, err
	}
	return last, os.WriteFile(filepath.Join(dir, grownFile), append(b, '\n'), 0o644)
}
