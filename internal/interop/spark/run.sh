# Sourced by ../run.sh with VARVE ADDRESS: Spark on exports, and over Flight SQL in parallel.
if [ ! -x "$(dirname "$1")/varve-sql" ]; then
	skipped "Spark (exports)" "varve-sql is not built here"
	skipped "Spark (Flight SQL)" "varve-sql is not built here"
elif command -v java >/dev/null && packages pyspark adbc-driver-flightsql pandas; then
	held "$python" -W ignore "$interop/spark/spark.py" "$1" "$2" "$work/csv" "$root/docs/howto/spark.md" "$work/spark" 2>"$work/sparklog" || { tail -n 40 "$work/sparklog"; exit 1; }
else
	skipped "Spark (exports)" "there is no Java here, or Spark could not be had"
	skipped "Spark (Flight SQL)" "there is no Java here, or Spark could not be had"
fi
