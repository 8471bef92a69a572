package calendar_test

import (
	"fmt"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/calendar"
)

// The edges between which a range is divided: counted before anything is allocated, and cut where the range is.
func ExampleDivision_Buckets() {
	berlin, err := calendar.In("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	days, err := berlin.Every("1d")
	if err != nil {
		panic(err)
	}
	r := model.Between(
		time.Date(2024, 3, 30, 12, 0, 0, 0, time.UTC).UnixNano(),
		time.Date(2024, 4, 2, 0, 0, 0, 0, time.UTC).UnixNano(),
	)
	n, err := days.Count(r, 1000)
	if err != nil {
		panic(err)
	}
	edges := make([]int64, 0, n+1)
	for b := range days.Buckets(r) {
		cut := b.Clip(r)
		if len(edges) == 0 {
			edges = append(edges, cut.Start)
		}
		edges = append(edges, cut.End)
		fmt.Println(days.Label(b), time.Duration(cut.End-cut.Start), "whole:", b.Within(r))
	}
	fmt.Println(len(edges), "edges")
	// Output:
	// 2024-03-30 11h0m0s whole: false
	// 2024-03-31 23h0m0s whole: true
	// 2024-04-01 24h0m0s whole: true
	// 2024-04-02 2h0m0s whole: false
	// 5 edges
}
