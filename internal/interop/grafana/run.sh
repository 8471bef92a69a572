# Sourced by ../run.sh with FLIGHT POSTGRES HTTP CSV, the addresses of a server and what it holds: Grafana's data sources. Grafana itself does not run here:
# its frames are made by its library for data sources, of what the server answers to the statements that data sources send.
if program "$interop/grafana" grafana; then
	held "$work/grafana" "$1" "$2" "$4" "$root/docs/howto/grafana.md"
else
	for client in "Grafana (Flight SQL)" "Grafana (PostgreSQL)" pgx; do
		skipped "$client" "it could not be built here"
	done
fi
held "$python" "$interop/grafana/series.py" "$3" "$4"
