package main

import (
	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	_ "github.com/grafana/grafana-plugin-sdk-go/data/sqlutil"
	_ "github.com/jackc/pgx/v5/stdlib"
)

func main() {}
