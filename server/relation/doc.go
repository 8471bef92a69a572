// Package relation is the tables that SQL has: what columns they have, and how they are read at one moment of the store. It knows nothing
// of SQL. docs/reference/sql.md has the tables; a test holds the page to this package.
package relation
