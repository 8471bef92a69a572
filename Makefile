# Bare `make` lists the targets. CI runs these same targets through .ci/run.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
GO ?= go

# What `make test` and `make stress` ask of the seeded tests. A failing test prints the seed that repeats it.
TEST_SEEDS ?= 1000
TEST_DAMAGE ?= 2000
TEST_KILLS ?= 20
RACE_SEEDS ?= 25
STRESS_SEEDS ?= 10000
STRESS_KILLS ?= 100
STRESS_OUTAGES ?= 100
FUZZ_TIME ?= 60s

# with_cc runs a command of the SQL process where there is a C compiler.
with_cc = if command -v "$${CC:-$$($(GO) env CC)}" >/dev/null; then echo "$(1)"; $(1); else echo "no C compiler: cmd/varve-sql is left out, and varve answers no SQL"; fi

seeds = VARVE_CRASH_SEEDS=$(1) VARVE_DAMAGE_SEEDS=$(2) VARVE_KILLS=$(3)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: bin/varve bin/varve-sql ## build bin/varve, and bin/varve-sql where there is a C compiler

.PHONY: bin/varve
bin/varve:
	CGO_ENABLED=0 $(GO) build -o bin/varve ./cmd/varve

# A module of its own: its libraries are half a gigabyte, and only it needs cgo. varve runs without it and says that SQL is not built.
.PHONY: bin/varve-sql
bin/varve-sql:
	@$(call with_cc,cd cmd/varve-sql && CGO_ENABLED=1 $(GO) build -o ../../bin/varve-sql .)

.PHONY: run
run: bin/varve ## load the bundled sample into ./data, show a query on it, stop
	cmd/varve/sample/demo.sh bin/varve

.PHONY: test
test: vet ## vet, all tests, then all tests under the race detector (three quarters of an hour on 2 cores)
	$(call seeds,$(TEST_SEEDS),$(TEST_DAMAGE),$(TEST_KILLS)) $(GO) test -timeout 40m ./...
	$(call seeds,$(RACE_SEEDS),$(RACE_SEEDS),1) CGO_ENABLED=1 $(GO) test -race -short -timeout 40m ./...
	@$(call with_cc,cd cmd/varve-sql && CGO_ENABLED=1 $(GO) test -timeout 20m ./...)

.PHONY: stress
stress: ## 10,000 crash seeds, 100 kills, 100 weeks of outages, every fuzz target for 60 s (hours)
	VARVE_STRESS=1 VARVE_OUTAGE_SEEDS=$(STRESS_OUTAGES) $(call seeds,$(STRESS_SEEDS),$(STRESS_SEEDS),$(STRESS_KILLS)) $(GO) test -count=1 -timeout 6h ./...
	GO=$(GO) internal/stress/fuzz.sh $(FUZZ_TIME)

.PHONY: interop
interop: build ## outside clients against a running server: ADBC, JDBC, Python, Go, psql, Grafana, Power BI, Telegraf, Prometheus, MQTT, Modbus, OPC UA, questions of BI tools; a table at the end
	internal/interop/run.sh bin/varve

# Spark is 400 MB to download. The log is kept beside those of other days.
.PHONY: interop-full
interop-full: build ## the same and Spark, written to docs/interop/DATE.log too
	@mkdir -p docs/interop
	internal/interop/run.sh bin/varve full | tee docs/interop/$$(date +%F).log

# What cross does: all, or commands: no vet and no tests. TARGETS="linux/arm/7" is one of the systems.
CROSS ?= all

.PHONY: cross
cross: ## build and vet for Linux on amd64, arm64, armv7, Windows, macOS; answers and tests of ARM under qemu-user where it is here
	GO=$(GO) internal/cross/run.sh $(CROSS)

.PHONY: generate
generate: ## generate the Go code of proto/ again
	cd proto && $(GO) tool -modfile=../internal/tools/go.mod buf lint && $(GO) tool -modfile=../internal/tools/go.mod buf generate

.PHONY: lint
lint: vet ## gofmt, vet, staticcheck
	@files=$$(git ls-files --cached --others --exclude-standard '*.go' | grep -v '\.pb\.go$$' | xargs -r gofmt -l); \
	if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	$(GO) tool staticcheck ./...

.PHONY: vet
vet:
	$(GO) vet ./...
	@$(call with_cc,cd cmd/varve-sql && CGO_ENABLED=1 $(GO) vet ./...)

.PHONY: fmt
fmt: ## format the Go code
	git ls-files --cached --others --exclude-standard '*.go' | grep -v '\.pb\.go$$' | xargs -r gofmt -w

.PHONY: bench
bench: ## a short run of workload W1 (18 million samples); `go run ./bench --help` has the long ones
	$(GO) run ./bench --workload w1 --short --output table

# What `make bench-peers` gives the command: --short is 18 million samples a workload. For more see bench peers --help.
PEERS ?= --short

.PHONY: bench-peers
bench-peers: ## varve beside VictoriaMetrics, InfluxDB, PostgreSQL and DuckDB on Parquet, same run; INSTALL=1 as root gets them
	@if [ "$(INSTALL)" = 1 ]; then \
		if [ "$$(id -u)" != 0 ]; then echo "INSTALL=1 needs root; else: apt-get install victoria-metrics influxdb postgresql python3-venv, make bin/duckdb" >&2; exit 1; fi; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends victoria-metrics influxdb postgresql python3-venv; \
		$(MAKE) --no-print-directory bin/duckdb || echo "DuckDB could not be installed here, the run is without it"; \
	fi
	@$(GO) run ./bench peers $(PEERS)

# A Python of this tree's own with DuckDB, which is a library and needs a process that holds it.
bin/duckdb: bench/duckdb/requirements.txt
	rm -rf $@
	{ python3 -m venv $@ && $@/bin/pip install --quiet --disable-pip-version-check -r $<; } || { rm -rf $@; exit 1; }
