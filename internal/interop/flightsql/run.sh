# Sourced by ../run.sh with VARVE ADDRESS: clients of Flight SQL. Without SQL in the server they look at metadata, write, and are told that there
# are no statements.
flightsql=$interop/flightsql

if packages adbc-driver-flightsql; then
	# The example of the page is run as it stands there.
	awk '/^```python/ { on = 1; next } /^```/ { on = 0 } on' "$root/docs/reference/flight-sql.md" | sed "s/127.0.0.1:7420/$2/" >"$work/page.py"
	held "$python" "$flightsql/adbc.py" "$2" "$1" "$work/page.py"
else
	skipped "ADBC (Python)" "it could not be installed here"
fi
if packages adbc-driver-flightsql pandas polars; then
	held "$python" -W ignore "$flightsql/frames.py" "$2" "$work/csv"
else
	skipped "pandas (Flight SQL)" "it could not be installed here"
	skipped "Polars (Flight SQL)" "it could not be installed here"
fi

if program "$flightsql/adbc" adbc; then
	held "$work/adbc" "$2"
else
	skipped "ADBC (Go)" "it could not be built here"
fi

if jar org.apache.arrow:flight-sql-jdbc-driver; then
	mkdir -p "$work/classes"
	javac -cp "$jar" -d "$work/classes" "$flightsql/Jdbc.java"
	for zone in UTC America/New_York; do
		held java --add-opens=java.base/java.nio=ALL-UNNAMED -Duser.timezone=$zone -cp "$work/classes:$jar" Jdbc "$2" 2>"$work/java" || { tail -n 30 "$work/java"; exit 1; }
	done
else
	skipped "JDBC (Flight SQL)" "no JDK and mvn here, or the driver could not be had"
fi
