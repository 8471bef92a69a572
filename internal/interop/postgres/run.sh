# Sourced by ../run.sh with ADDRESS CSV: clients of PostgreSQL. ADDRESS is that of --postgres, CSV is what the server holds, its columns with TEP. before
# their names.
postgres=$interop/postgres host=${1%:*} port=${1##*:}

if [ "$(id -u)" = 0 ] && ! command -v psql >/dev/null && command -v apt-get >/dev/null; then
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql-client; } >"$work/apt" 2>&1 || tail -n 3 "$work/apt"
fi
if command -v psql >/dev/null; then
	held "$postgres/psql.sh" "$host" "$port" "$work" "$2"
else
	skipped psql "it could not be installed here"
fi

if packages psycopg psycopg-binary psycopg2-binary pg8000 SQLAlchemy pandas asyncpg greenlet adbc-driver-postgresql connectorx polars pyarrow; then
	held "$python" "$postgres/clients.py" "$host" "$port" "$2"
	held "$python" "$postgres/npgsql.py" "$host" "$port"
else
	for client in psycopg psycopg2 pg8000 asyncpg "ADBC (PostgreSQL)" "Polars (PostgreSQL)" SQLAlchemy "pandas (PostgreSQL)" "Npgsql, statements"; do
		skipped "$client" "it could not be installed here"
	done
fi

if jar org.postgresql:postgresql; then
	mkdir -p "$work/classes"
	javac -cp "$jar" -d "$work/classes" "$postgres/PostgresJdbc.java"
	for zone in UTC America/New_York; do
		held java -Duser.timezone=$zone -cp "$work/classes:$jar" PostgresJdbc "$host" "$port" 2>"$work/java" || { tail -n 30 "$work/java"; exit 1; }
	done
else
	skipped "JDBC (PostgreSQL)" "no JDK and mvn here, or the driver could not be had"
fi
