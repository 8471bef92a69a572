import java.lang.reflect.InvocationTargetException;
import java.sql.*;
import java.time.*;
import java.util.*;

/**
 * Uses a Varve server through the JDBC driver for Flight SQL: Jdbc HOST:PORT. Looks at all metadata that JDBC knows, and asks statements
 * where the server has SQL. The zone of the JVM must make no difference to any of it.
 */
public class Jdbc {
	static String version;

	public static void main(String[] args) throws Exception {
		String url = "jdbc:arrow-flight-sql://" + args[0] + "/?useEncryption=false";
		boolean sql;
		try (Connection c = DriverManager.getConnection(url)) {
			version = c.getMetaData().getDriverVersion();
			metadata(c.getMetaData());
			ran("metadata", "every method of DatabaseMetaData, those about tables with what there is");
			sql = statements(c);
			if (sql) table(c);
		}
		if (sql) cancel(url);
		else System.out.println("skipped | JDBC (Flight SQL) | statements: the server has no SQL, and says so");
	}

	/** A test that held. */
	static void ran(String test, String what) {
		System.out.println("ran | JDBC (Flight SQL) | " + version + " | " + test + " | " + what + "; zone " + ZoneId.systemDefault());
	}

	/** A statement that would go on for hours ends when it is cancelled. */
	static void cancel(String url) throws Exception {
		Connection c = DriverManager.getConnection(url);
		Statement s = c.createStatement();
		ResultSet r = s.executeQuery("select a.time_ns from samples a, samples b, samples c");
		check("a first row", r.next(), true);
		s.cancel();
		try {
			while (r.next()) {}
			throw new AssertionError("a statement that was cancelled went on to its end");
		} catch (SQLException e) {
			check("it says so", e.getMessage().toLowerCase().contains("cancel"), true);
		}
		try {
			r.close();
			s.close();
			c.close();
		} catch (SQLException e) {
			// The driver finds memory of its own that it did not give back.
		}
		ran("cancel", "of an endless statement after its first row");
	}

	/** A page of a table as DBeaver opens it: so many rows at most, fetched in pieces, every column by its type. */
	static void table(Connection c) throws Exception {
		try (Statement s = c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
			s.setFetchSize(50);
			s.setMaxRows(200);
			check("most rows", s.getMaxRows(), 200);
			try (ResultSet r = s.executeQuery("SELECT * FROM main.samples s WHERE s.tag = 'TEP.XMEAS_01'")) {
				ResultSetMetaData m = r.getMetaData();
				List<String> types = new ArrayList<>();
				for (int i = 1; i <= m.getColumnCount(); i++) types.add(m.getColumnLabel(i) + " " + JDBCType.valueOf(m.getColumnType(i)));
				check("columns", types, List.of("time TIMESTAMP_WITH_TIMEZONE", "tag VARCHAR", "value DOUBLE", "quality BIGINT", "status VARCHAR", "severity VARCHAR", "value_int BIGINT",
					"value_text VARCHAR", "time_ns BIGINT", "tag_id BIGINT", "seq BIGINT"));
				int n = 0;
				for (; r.next(); n++) {
					Instant at = r.getObject("time", Instant.class);
					check("time of a row", at.getEpochSecond() * 1000000000 + at.getNano(), r.getLong("time_ns"));
					check("zone of a row", r.getObject("time", OffsetDateTime.class).toInstant(), at);
					check("no text", r.getString("value_text"), null);
				}
				check("rows of a page", n, 200);
			}
		}
		ran("read", "a page of a table as DBeaver opens it, 200 rows at most, instants exact; errors say what was wrong");
	}

	static void check(String what, Object got, Object want) {
		if (!Objects.equals(got, want)) throw new AssertionError(what + ": got " + got + ", want " + want);
	}

	/** Every method of DatabaseMetaData without arguments answers, and those about tables say what there is. */
	static void metadata(DatabaseMetaData m) throws Exception {
		for (var method : DatabaseMetaData.class.getMethods()) {
			if (method.getParameterCount() > 0) continue;
			try {
				if (method.invoke(m) instanceof ResultSet r) r.close();
			} catch (InvocationTargetException e) {
				throw new AssertionError(method.getName(), e.getCause());
			}
		}
		check("product", m.getDatabaseProductName(), "varve");
		check("catalogs", column(m.getCatalogs(), "TABLE_CAT"), List.of("varve"));
		check("schemas", column(m.getSchemas(), "TABLE_SCHEM"), List.of("main"));
		check("tables", column(m.getTables("varve", "main", "%samples", null), "TABLE_NAME"), List.of("good_samples", "samples"));
		check("views", column(m.getTables(null, null, "%", new String[] {"VIEW"}), "TABLE_NAME"), List.of("good_samples", "latest"));
		check("columns", column(m.getColumns(null, null, "samples", "%"), "COLUMN_NAME"),
			List.of("time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id", "seq"));
		check("types of columns", column(m.getColumns(null, null, "samples", "%"), "TYPE_NAME").subList(0, 4), List.of("TIMESTAMP WITH TIME ZONE", "VARCHAR", "DOUBLE", "BIGINT"));
		check("key", column(m.getPrimaryKeys("varve", "main", "samples"), "COLUMN_NAME"), List.of("tag_id", "time_ns", "seq"));
		check("imported key", column(m.getImportedKeys("varve", "main", "samples"), "PKTABLE_NAME"), List.of("tags"));
		for (ResultSet r : List.of(m.getImportedKeys(null, null, "nothing"), m.getProcedures(null, null, "%"), m.getFunctions(null, null, "%"), m.getIndexInfo(null, "main", "samples", false, true))) {
			check("of what there is none", r.next(), false);
			r.close();
		}
		check("cross reference", column(m.getCrossReference(null, null, "tags", null, null, "samples"), "FKCOLUMN_NAME"), List.of("tag_id"));
		check("never null", column(m.getColumns("varve", "main", "samples", "t%"), "IS_NULLABLE").size() > 0, true);
		check("exported keys", column(m.getExportedKeys("varve", "main", "tags"), "FKTABLE_NAME").contains("samples"), true);
	}

	static List<Object> column(ResultSet r, String name) throws SQLException {
		try (r) {
			List<Object> out = new ArrayList<>();
			while (r.next()) out.add(r.getString(name));
			return out;
		}
	}

	/** What ADBC wrote before is read here. False where the server has no SQL. */
	static boolean statements(Connection c) throws Exception {
		try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("select count(*) from samples where tag = 'TEP.XMEAS_01'")) {
			r.next();
			check("there are samples", r.getLong(1) > 0, true);
		} catch (SQLException e) {
			if (e.getMessage().contains("SQL is not built")) return false;
			throw e;
		}
		Instant day = Instant.parse("2002-01-01T00:00:00Z");
		Calendar utc = Calendar.getInstance(TimeZone.getTimeZone("UTC"));
		String text = "select time, value, quality, time_ns from samples where tag = ? and time >= ? and time < ? and quality >= ? order by time";
		try (PreparedStatement p = c.prepareStatement(text)) {
			check("parameters", p.getParameterMetaData().getParameterCount(), 4);
			check("columns", p.getMetaData().getColumnCount(), 4);
			for (int again = 0; again < 2; again++) {
				p.setString(1, "TEP.XMEAS_02");
				p.setTimestamp(2, Timestamp.from(day), utc); // by itself it would be the wall clock of the JVM's zone
				p.setTimestamp(3, Timestamp.from(day.plusSeconds(86400)), utc);
				p.setLong(4, 0x80000000L);
				try (ResultSet r = p.executeQuery()) {
					check("a row", r.next(), true);
					check("time", r.getObject(1, OffsetDateTime.class).toInstant(), day.plusSeconds(2));
					check("time", r.getObject(1, Instant.class), day.plusSeconds(2));
					check("value", r.getObject(2), null);
					check("quality", r.getLong(3), 0x80310000L);
					check("nanoseconds", r.getLong(4), day.plusSeconds(2).toEpochMilli() * 1000000);
					check("no more", r.next(), false);
				}
			}
			ran("prepare", "columns and parameters are told, a statement executed twice");
			ran("parameters", "texts, instants, BIGINT; OffsetDateTime and Instant exact, getLong of a Bad quality");
		}
		try (Statement s = c.createStatement()) {
			s.executeQuery("select nonsense from samples");
			throw new AssertionError("a column that is not there was read");
		} catch (SQLException e) {
			check("the fault is named", e.getMessage().contains("nonsense"), true);
		}
		return true;
	}
}
