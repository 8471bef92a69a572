package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
)

// adbcScan is the program that reads a statement with ADBC.
//
//go:embed adbc/scan.py
var adbcScan string

// adbcPython is a Python that has ADBC's driver for Flight SQL, empty for none.
func adbcPython() string {
	pythons := []string{"python3"}
	if root, err := moduleRoot(); err == nil {
		pythons = append([]string{filepath.Join(root, "bin", "duckdb", "bin", "python3")}, pythons...)
	}
	for _, python := range pythons {
		if exec.Command(python, "-c", "import adbc_driver_flightsql.dbapi, pyarrow").Run() == nil {
			return python
		}
	}
	return ""
}

// measureADBC reads a statement once with ADBC in Python, in a process of its own.
func measureADBC(ctx context.Context, s *server, python, sql string, rows int64) (*scanReport, error) {
	r := &scanReport{Name: "the first, ADBC in Python", Rows: rows, Runs: 1}
	pid := s.process.Process.Pid
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	child := sqlCPU(pid)
	w := watch(pid, "")
	p := exec.CommandContext(ctx, python, "-c", adbcScan, s.address, sql)
	endWithUs(p)
	out, err := p.Output()
	r.Whole = w.stop()
	if err != nil {
		return nil, fmt.Errorf("ADBC in Python: %w", err)
	}
	var got struct {
		Rows    int64   `json:"rows"`
		First   float64 `json:"first_ms"`
		Seconds float64 `json:"seconds"`
		CPU     float64 `json:"cpu_seconds"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, fmt.Errorf("ADBC in Python says %.100q: %w", out, err)
	}
	if got.Rows != rows {
		return nil, fmt.Errorf("ADBC in Python: %d rows, want %d", got.Rows, rows)
	}
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	millions := float64(rows) / 1e6
	r.FirstRow, r.Seconds, r.RowsPerSecond = got.First, got.Seconds, float64(rows)/got.Seconds
	r.ServerCPU, r.ChildCPU, r.ClientCPU = (after.cpu-before.cpu)/millions, (sqlCPU(pid)-child)/millions, got.CPU/millions
	return r, nil
}
