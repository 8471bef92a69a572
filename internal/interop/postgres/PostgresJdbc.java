import java.sql.*;
import java.time.*;
import java.util.*;

/**
 * Uses a Varve server through the JDBC driver for PostgreSQL: PostgresJdbc HOST PORT. The zone of the JVM, which the driver tells the server,
 * must make no difference to any of it.
 */
public class PostgresJdbc {
	public static void main(String[] args) throws Exception {
		String url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/varve?user=me";
		for (String mode : List.of("extended", "simple")) {
			try (Connection c = DriverManager.getConnection(url + "&preferQueryMode=" + mode)) {
				metadata(c);
				statements(c, mode);
			}
		}
		try (Connection c = DriverManager.getConnection(url + "&binaryTransfer=true&prepareThreshold=-1")) {
			statements(c, "binary");
			pieces(c);
			cancel(c);
		}
		ran("metadata", "every question about tables, as DBeaver asks them too");
		ran("prepare", "in the simple and the extended protocol, seven times and more");
		ran("parameters", "OffsetDateTime exact, getLong of a Bad quality, NULL; in text and binary");
		ran("read", "rows in pieces, a page of a table as DBeaver opens it");
		ran("cancel", "by a time and by cancel() from another thread; the connection goes on");
	}

	/** A test that held. */
	static void ran(String test, String what) {
		System.out.println("ran | JDBC (PostgreSQL) | " + org.postgresql.Driver.class.getPackage().getImplementationVersion() + " | " + test + " | " + what + "; zone " + ZoneId.systemDefault());
	}

	static void check(String what, Object got, Object want) {
		if (!Objects.equals(got, want)) throw new AssertionError(what + ": got " + got + ", want " + want);
	}

	/** All questions about tables are answered; those that concern us with what is there. */
	static void metadata(Connection c) throws Exception {
		DatabaseMetaData m = c.getMetaData();
		check("product", m.getDatabaseProductName(), "PostgreSQL");
		check("catalogs", column(m.getCatalogs(), "TABLE_CAT"), List.of("varve"));
		check("schemas", column(m.getSchemas(), "TABLE_SCHEM").contains("main"), true);
		check("tables", column(m.getTables(null, "main", "%", new String[]{"TABLE"}), "TABLE_NAME").containsAll(List.of("samples", "tags")), true);
		check("views", column(m.getTables(null, "main", "%", new String[]{"VIEW"}), "TABLE_NAME").contains("good_samples"), true);
		check("any tables", column(m.getTables("varve", null, "samp%", null), "TABLE_NAME"), List.of("samples"));
		Map<String, Integer> types = new LinkedHashMap<>();
		try (ResultSet r = m.getColumns(null, "main", "samples", "%")) {
			while (r.next()) types.put(r.getString("COLUMN_NAME"), r.getInt("DATA_TYPE"));
		}
		check("columns", types.keySet().iterator().next(), "time");
		check("types", List.of(types.get("time"), types.get("value"), types.get("quality"), types.get("tag")), List.of(Types.TIMESTAMP, Types.DOUBLE, Types.BIGINT, Types.VARCHAR));
		check("keys", column(m.getPrimaryKeys(null, "main", "samples"), "COLUMN_NAME"), List.of());
		for (ResultSet r : List.of(m.getImportedKeys(null, "main", "samples"), m.getExportedKeys(null, "main", "samples"), m.getIndexInfo(null, "main", "samples", false, true),
			m.getBestRowIdentifier(null, "main", "samples", 1, true), m.getTypeInfo(), m.getProcedures(null, "main", "%"), m.getFunctions(null, "main", "%"), m.getTablePrivileges(null, "main", "%"),
			m.getColumnPrivileges(null, "main", "samples", "%"), m.getUDTs(null, "main", "%", null), m.getTableTypes(), m.getFunctionColumns(null, "main", "%", "%"),
			m.getCrossReference(null, "main", "samples", null, "main", "tags"), m.getProcedureColumns(null, "main", "%", "%"), m.getClientInfoProperties())) r.close();
		m.getSQLKeywords();
		check("user", m.getUserName(), "me");
		check("schema", c.getSchema(), "main");
		check("valid", c.isValid(5), true);
	}

	static List<String> column(ResultSet r, String name) throws SQLException {
		List<String> out = new ArrayList<>();
		while (r.next()) out.add(r.getString(name));
		r.close();
		return out;
	}

	static void statements(Connection c, String mode) throws Exception {
		try (PreparedStatement s = c.prepareStatement("select time, value, quality, tag from samples where tag = ? and time >= ? and value > ? and quality < ? order by time limit 2")) {
			s.setString(1, "TEP.XMEAS_01");
			s.setObject(2, OffsetDateTime.parse("2001-01-01T01:03:00+01:00"));
			s.setDouble(3, -1.5);
			s.setLong(4, 4294967296L);
			if (!mode.equals("simple")) {
				ResultSetMetaData m = s.getMetaData();
				check("class of time", m.getColumnTypeName(1), "timestamptz");
				check("class of quality", m.getColumnClassName(3), "java.lang.Long");
				check("parameters", s.getParameterMetaData().getParameterCount(), 4);
			}
			for (int again = 0; again < 7; again++) {
				try (ResultSet r = s.executeQuery()) {
					check("row", r.next(), true);
					check("time", r.getObject(1, OffsetDateTime.class).toInstant(), Instant.parse("2001-01-01T00:03:00Z"));
					check("timestamp", r.getTimestamp(1).toInstant(), Instant.parse("2001-01-01T00:03:00Z"));
					check("value", r.getDouble(2), 0.24944);
					check("quality", r.getLong(3), 0L);
					check("tag", r.getString(4), "TEP.XMEAS_01");
					check("second", r.next(), true);
					check("end", r.next(), false);
				}
			}
		}
		try (PreparedStatement s = c.prepareStatement("select 2147483648::bigint + ?, ?::boolean, ?::timestamptz, 2147614720::bigint as bad, ?::varchar is null")) {
			s.setInt(1, 1);
			s.setBoolean(2, true);
			s.setObject(3, OffsetDateTime.parse("1969-12-31T23:59:59.999999Z"));
			s.setNull(4, Types.VARCHAR);
			try (ResultSet r = s.executeQuery()) {
				r.next();
				check("sum", r.getLong(1), 2147483649L);
				check("boolean", r.getBoolean(2), true);
				check("before 1970", r.getObject(3, OffsetDateTime.class).toInstant(), Instant.parse("1969-12-31T23:59:59.999999Z"));
				check("a Bad quality", r.getObject(4), 2147614720L);
				check("null", r.getBoolean(5), true);
			}
		}
		try (Statement s = c.createStatement()) {
			s.executeUpdate("delete from samples");
			throw new AssertionError("a delete was not refused");
		} catch (SQLException e) {
			check("state of a delete", e.getSQLState(), "25006");
		}
	}

	/** A transaction reads an answer in pieces, through a portal that is suspended. */
	static void pieces(Connection c) throws Exception {
		c.setAutoCommit(false);
		c.setReadOnly(true);
		try (Statement s = c.createStatement()) {
			s.setFetchSize(13);
			int n = 0;
			try (ResultSet r = s.executeQuery("select value from samples where tag = 'TEP.XMEAS_01'")) {
				while (r.next()) n++;
			}
			check("rows in pieces", n, 960);
		}
		try (Statement s = c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
			s.setFetchSize(50);
			s.setMaxRows(200);
			int n = 0;
			try (ResultSet r = s.executeQuery("SELECT s.* FROM main.samples s WHERE s.tag = 'TEP.XMEAS_01'")) {
				check("table of a column", r.getMetaData().getColumnCount(), 11);
				for (; r.next(); n++) {
					Instant at = r.getObject("time", OffsetDateTime.class).toInstant();
					check("time of a row", at.getEpochSecond() * 1000000000 + at.getNano(), r.getLong("time_ns"));
				}
			}
			check("rows of a page", n, 200);
		}
		c.commit();
		c.setAutoCommit(true);
	}

	static void cancel(Connection c) throws Exception {
		try (Statement s = c.createStatement()) {
			s.setQueryTimeout(1);
			s.executeQuery("select count(*) from samples a, samples b, samples c");
			throw new AssertionError("a statement was not cancelled");
		} catch (SQLException e) {
			check("state of what was cancelled", e.getSQLState(), "57014");
		}
		try (Statement s = c.createStatement()) {
			Thread canceller = new Thread(() -> {
				try {
					Thread.sleep(500);
					s.cancel();
				} catch (InterruptedException | SQLException e) {
					throw new AssertionError(e);
				}
			});
			canceller.start();
			try {
				s.executeQuery("select count(*) from samples a, samples b, samples c");
				throw new AssertionError("a statement was not cancelled by cancel()");
			} catch (SQLException e) {
				check("state of what cancel() ended", e.getSQLState(), "57014");
			}
			canceller.join();
		}
		try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("select 1")) {
			check("the connection goes on", r.next(), true);
		}
	}
}
